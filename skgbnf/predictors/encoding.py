"""Features of any type as numbers: codes for trees, standardised columns for smooth models."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_array

from skgbnf.table.checks import check_in_memory, check_unmasked
from skgbnf.table.frames import (
    Description,
    column_labels,
    column_types,
    column_values,
    container_of,
)

_TIMES = re.compile(r"date|time|duration|period", re.IGNORECASE)
_NUMBERS = "biuf"
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
        columns = _columns(X)
        categories = tuple(map(_categories, columns))
        codes = np.column_stack([_codes(*pair) for pair in zip(columns, categories, strict=True)])
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
            Description.of(X, names),
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
        pairs = zip(_columns(X), self.categories, strict=True)
        return np.column_stack([_codes(*pair) for pair in pairs])

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
    labels, types = column_labels(X) or [], column_types(X)
    if not (labels and len(X)):
        raise ValueError(f"{input_name}: a table without rows or columns.")
    for j, (label, dtype) in enumerate(zip(labels, types, strict=True)):
        if _TIMES.match(str(dtype)):
            raise ValueError(f"{input_name}: column {label!r} holds times; make numbers of them.")
        values = column_values(X, j)
        if values.dtype.kind == "f" and np.isinf(values).any():
            raise ValueError(f"{input_name}: column {label!r} holds infinite values (inf).")
    return X


def _columns(X: Any) -> list[np.ndarray]:
    if container_of(X) == "numpy":
        return list(np.asarray(X).T)
    return [_values(X, j) for j in range(X.shape[1])]


def _values(X: Any, j: int) -> np.ndarray:
    """One column of a frame: floats with NaN, or objects; an ordered type gives its own order."""
    values = column_values(X, j)
    if values.dtype.kind in _NUMBERS:
        return values
    try:
        # Nullable numbers of pandas, of which missing ones are no floats by themselves.
        numbers = [np.nan if _is_missing(v) else v for v in values.tolist()]
        if all(isinstance(v, int | float | np.number) for v in numbers):
            return np.array(numbers, dtype=np.float64)
    except (TypeError, ValueError):
        pass
    return values.astype(object)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and np.isnan(value)


def _categories(values: np.ndarray) -> tuple[str, ...] | None:
    if values.dtype.kind in _NUMBERS:
        return None
    return tuple(sorted({str(v) for v in values.tolist() if not _is_missing(v)}))


def _codes(values: np.ndarray, categories: tuple[str, ...] | None) -> np.ndarray:
    if categories is None:
        return values.astype(np.float64)
    number_of = {name: float(code) for code, name in enumerate(categories)}
    return np.array([number_of.get(str(v), np.nan) for v in values.tolist()], dtype=np.float64)
