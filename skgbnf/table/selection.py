"""Samples of a table of any library."""

from typing import Any

import numpy as np
from sklearn.utils import indexable

from skgbnf.table.checks import check_in_memory, check_unmasked, without_ragged_rows
from skgbnf.table.frames import container_of


def as_rows(X: Any) -> Any:
    """X as something :func:`take` can take rows of; frames stay frames, with their names."""
    check_in_memory(X, "X")
    check_unmasked(X, "X")
    (X,) = indexable(X)
    return X if hasattr(X, "shape") else np.asarray(without_ragged_rows(X, "X"))


def take(X: Any, rows: np.ndarray) -> Any:
    """The rows of these integers, as an array or a frame like X."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return X.take(rows) if container_of(X) == "pyarrow" else X[rows]
