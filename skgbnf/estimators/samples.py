"""Samples of a fit, and who of them learns and who judges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skgbnf._random import derive_seed
from skgbnf.estimators.plan import TableOptions, number_of_folds
from skgbnf.table.dequantisation import Dequantisation
from skgbnf.table.split import fold_rows, split_rows
from skgbnf.table.weights import rounded_weights

_SPLIT_KEY = 0


@dataclass(frozen=True, eq=False)
class Sample:
    """Samples in the units of X, their weights, and the codes of their features if any.

    `exact` are the samples without noise, `positions` those in the table given.
    """

    X: np.ndarray
    weights: np.ndarray
    exact: np.ndarray
    positions: np.ndarray
    codes: np.ndarray | None = None

    @classmethod
    def weighted(
        cls, X: np.ndarray, sample_weight: Any, part: str, codes: np.ndarray | None
    ) -> "Sample":
        """The samples of positive weight."""
        weights = rounded_weights(sample_weight, len(X), f"X{part}")
        kept = weights > 0
        sample = cls(X, weights, X, np.arange(len(X)), codes)
        return sample if kept.all() else sample[kept]

    def __getitem__(self, index: np.ndarray | slice) -> "Sample":
        codes = None if self.codes is None else self.codes[index]
        positions, exact = self.positions[index], self.exact[index]
        return Sample(self.X[index], self.weights[index], exact, positions, codes)

    def with_noise(self, noise: Dequantisation, seed: int) -> "Sample":
        """The samples with noise where values repeat."""
        return replace(self, X=noise.apply(self.X, seed))

    def known_codes(self) -> np.ndarray:
        """The codes of the features; ValueError if there are none."""
        if self.codes is None:
            raise ValueError("a conditional density needs features of its samples")
        return self.codes


@dataclass(frozen=True, eq=False)
class Split:
    """Training samples, and those that judge: a validation set, or each fold in its turn.

    Attributes
    ----------
    train : Sample

    validation : Sample or None
        None with folds, and where there is no validation set.

    folds : list of pairs of ndarrays of int
        Indices of the training samples and of the validation set of each fold, empty without folds.
    """

    train: Sample
    validation: Sample | None = None
    folds: Sequence[tuple[np.ndarray, np.ndarray]] = ()

    def row_folds(self, n_given: int) -> np.ndarray | None:
        """The fold in which each of the samples given judges, -1 for none; None without folds."""
        if not self.folds:
            return None
        row_folds = np.full(n_given, -1, dtype=np.int32)
        for k, (_, aside) in enumerate(self.folds):
            row_folds[self.train.positions[aside]] = k
        return row_folds


def split_samples(
    sample: Sample,
    own: Sample | None,
    options: TableOptions,
    n_folds_before: int | None,
    seed: int,
) -> Split:
    """Who learns and who judges, in samples with noise.

    Parameters
    ----------
    sample : Sample

    own : Sample or None
        The user's validation set.

    options : TableOptions

    n_folds_before : int or None
        Number of folds of the rounds already fitted, 1 for none; None if there are no rounds.

    seed : int
    """
    n_samples, key = len(sample.X), derive_seed(seed, _SPLIT_KEY)
    asked = options.n_folds
    if n_folds_before is not None:
        asked = _kept_folds(n_folds_before, options, own)
    n_folds = None if own is not None else number_of_folds(asked, n_samples)
    if n_folds is not None:
        return Split(sample, folds=fold_rows(n_samples, n_folds, key))
    if own is not None:
        return Split(sample, own)
    kept, aside = split_rows(n_samples, options.validation_fraction, key)
    return Split(sample[kept], sample[aside] if len(aside) else None)


def _kept_folds(n_folds: int, options: TableOptions, own: Sample | None) -> int | None:
    """The number of folds of the rounds already fitted; ValueError if another is asked for."""
    if own is not None and n_folds > 1:
        raise ValueError("X_val: the rounds already fitted are judged by folds of X (n_folds).")
    if isinstance(options.n_folds, int) and options.n_folds != n_folds and own is None:
        raise ValueError(f"n_folds must be that of the rounds already fitted, {n_folds}.")
    return n_folds if n_folds > 1 else None
