"""Patterns of gaps: which columns are missing together, and how often."""

from dataclasses import dataclass

import numpy as np

_MOST_PATTERNS = 1000


@dataclass(frozen=True, eq=False)
class GapPatterns:
    """Distinct rows of the mask of gaps.

    Attributes
    ----------
    missing : ndarray of bool of shape (n_patterns, n_features)
        The patterns, the most frequent first, at most 1,000.

    counts : ndarray of int64 of shape (n_patterns,)
        Number of rows that have each.

    shares : ndarray of shape (n_features,)
        Fraction of gaps in each column, of all rows.
    """

    missing: np.ndarray
    counts: np.ndarray
    shares: np.ndarray

    @classmethod
    def from_mask(cls, mask: np.ndarray) -> "GapPatterns":
        """Count the patterns of a mask of shape (n_rows, n_features)."""
        packed = np.packbits(mask, axis=1)
        keys = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
        _, first, counts = np.unique(keys, return_index=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_MOST_PATTERNS]
        return cls(mask[first[order]], counts[order].astype(np.int64), mask.mean(axis=0))

    def to_plain(self) -> dict[str, np.ndarray]:
        """The patterns as arrays."""
        return {"missing": self.missing, "counts": self.counts, "shares": self.shares}

    @classmethod
    def from_plain(cls, plain: dict[str, np.ndarray], n_features: int) -> "GapPatterns":
        """Inverse of :meth:`to_plain`; ValueError unless the arrays fit together."""
        missing, counts, shares = plain["missing"], plain["counts"], plain["shares"]
        if not all(isinstance(part, np.ndarray) for part in (missing, counts, shares)):
            raise ValueError("its patterns of gaps are no arrays")
        fits = (
            missing.dtype == np.bool_
            and missing.shape == (len(counts), n_features)
            and 0 < len(counts) <= _MOST_PATTERNS
            and shares.shape == (n_features,)
        )
        if not fits:
            raise ValueError("its patterns of gaps have more or fewer columns than the table")
        if counts.dtype != np.int64 or counts.ndim != 1 or (counts <= 0).any():
            raise ValueError("its counts of gaps are no positive integers")
        if shares.dtype != np.float64 or not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError("its shares of gaps are no fractions")
        return cls(missing, counts, shares)
