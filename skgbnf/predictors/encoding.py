"""Features of any type as numbers: codes for trees, standardised columns for smooth models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_array

from skgbnf.table.cells import Cells, read_columns
from skgbnf.table.checks import TIMES, check_in_memory, check_unmasked, raise_for
from skgbnf.table.frames import Description, container_of
from skgbnf.table.labels import Label

_MOST_CATEGORIES = 30
_LARGEST = 8.0


@dataclass(frozen=True, eq=False)
class Encoder:
    """The map of a table of features onto numbers, as the training samples have it.

    Attributes
    ----------
    table : Description
        Labels of the features.

    categories : tuple of (tuple of str or None)
        Categories of each feature, in the order of their codes; None for a numeric feature.

    location, scale : ndarrays of shape (n_features,)
        Mean and standard deviation of the numeric features, 0 and 1 of others.

    has_gaps : ndarray of bool of shape (n_features,)
        Whether values are missing, of which there is then a column of its own.
    """

    table: Description
    categories: tuple[tuple[str, ...] | None, ...]
    location: np.ndarray
    scale: np.ndarray
    has_gaps: np.ndarray

    @classmethod
    def from_table(cls, X: Any, names: Sequence[Any]) -> Self:
        """Learn categories, units and gaps from the training samples.

        Parameters
        ----------
        X : array or frame of shape (n_samples, n_features)
            As :func:`checked_features` returns it.

        names : sequence
            Names of the features if X is an array.
        """
        columns = read_columns(X)
        table, categories = Description.of(X, names), tuple(map(_categories, columns))
        codes = _codes_of_all(columns, categories, table)
        gaps = np.isnan(codes)
        counts = np.maximum((~gaps).sum(axis=0), 1)
        filled = np.where(gaps, 0.0, codes)
        # Divided first, lest sums of huge values overflow.
        size = np.maximum(np.abs(filled).max(axis=0), np.finfo(np.float64).tiny)
        location = (filled / size).sum(axis=0) / counts * size
        deviation = np.where(gaps, 0.0, codes - location) / size
        scale = np.sqrt(np.square(deviation).sum(axis=0) / counts) * size
        numeric = np.array([names is None for names in categories])
        return cls(
            table,
            categories,
            np.where(numeric, location, 0.0),
            np.where(numeric & (scale > 0), scale, 1.0),
            gaps.any(axis=0),
        )

    @property
    def n_features(self) -> int:
        return len(self.categories)

    @property
    def n_columns(self) -> int:
        """Number of standardised columns."""
        return self.standardised(np.zeros((1, self.n_features))).shape[1]

    def codes(self, X: Any) -> np.ndarray:
        """Features as float64 of shape (n_samples, n_features).

        Categories are numbers from 0, and NaN where they were not seen in fit; gaps are NaN.
        """
        return _codes_of_all(read_columns(X), self.categories, self.table)

    def standardised(self, codes: np.ndarray) -> np.ndarray:
        """Columns near mean 0 and variance 1 of codes, without gaps.

        Categories have a column each, if there are not too many, and so have gaps.
        """
        parts = []
        for j, names in enumerate(self.categories):
            x = codes[:, j]
            if names is None or len(names) > _MOST_CATEGORIES:
                scaled = (x - self.location[j]) / self.scale[j]
                parts.append(np.nan_to_num(scaled, nan=0.0).clip(-_LARGEST, _LARGEST)[:, None])
            else:
                parts.append((x[:, None] == np.arange(len(names))).astype(np.float64))
            if self.has_gaps[j]:
                parts.append(np.isnan(x)[:, None].astype(np.float64))
        return np.concatenate(parts, axis=1)

    def to_plain(self) -> dict[str, Any]:
        """The encoder as JSON values and arrays."""
        categories = [None if names is None else list(names) for names in self.categories]
        arrays = {"location": self.location, "scale": self.scale, "has_gaps": self.has_gaps}
        return {"table": self.table.to_plain(), "categories": categories, **arrays}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        names = plain["categories"]
        if not all(c is None or all(isinstance(name, str) for name in c) for c in names):
            raise ValueError("a category of a feature is no string")
        table = Description.from_plain(plain["table"])
        self = cls(
            table,
            tuple(None if c is None else tuple(c) for c in names),
            plain["location"],
            plain["scale"],
            plain["has_gaps"],
        )
        arrays = (self.location, self.scale, self.has_gaps)
        if len(names) != len(table.labels) or any(a.shape != (len(names),) for a in arrays):
            raise ValueError("its features have more or fewer units than names")
        if not (np.isfinite(self.location).all() and (self.scale > 0).all()):
            raise ValueError("the units of its features are no positive numbers")
        return self


def checked_features(X: Any, input_name: str = "X", estimator: Any = None) -> Any:
    """A table of features, checked: a frame as it is, or an array of numbers and gaps.

    Raises
    ------
    ValueError, TypeError
        If it is lazy or masked, holds times or infinite numbers, or is no table.
    """
    check_in_memory(X, input_name)
    check_unmasked(X, input_name)
    if container_of(X) == "numpy":
        return check_array(
            X, dtype="numeric", ensure_all_finite="allow-nan", input_name=input_name,
            estimator=estimator,
        )  # fmt: skip
    cells = read_columns(X, input_name, estimator)
    raise_for([TIMES if column.unit else None for column in cells], X, input_name)
    return X


def _categories(cells: Cells) -> tuple[str, ...] | None:
    """Categories that occur, sorted; None for numbers."""
    if cells.levels is None or cells.numbers() is not None:
        return None
    seen = np.unique(cells.values[~np.isnan(cells.values)]).astype(int)
    return tuple(sorted({str(cells.levels[code]) for code in seen}))


def _codes_of_all(
    columns: Sequence[Cells], categories: Sequence[tuple[str, ...] | None], table: Description
) -> np.ndarray:
    parts = zip(columns, categories, table.labels, strict=True)
    return np.column_stack([_codes(*part) for part in parts])


def _codes(cells: Cells, categories: tuple[str, ...] | None, label: Label) -> np.ndarray:
    """Numbers, or the positions of categories; NaN for gaps and for other categories."""
    if categories is None:
        numbers = cells.numbers()
        if numbers is None:
            raise ValueError(f"X: column {label!r} holds text, but numbers in fit.")
        return numbers
    code_of = {name: float(code) for code, name in enumerate(categories)}
    levels = [code_of.get(str(level), np.nan) for level in cells.levels or ()]
    return cells.looked_up(np.array(levels)) if levels else np.full(len(cells.values), np.nan)
