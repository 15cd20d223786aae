"""Data frames: library, labels and types of a table's columns, and frames like it.

pandas, polars and pyarrow are imported only when a frame of theirs is made.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from skgbnf.table.labels import Label, label_from_plain, label_to_plain, same_label
from skgbnf.table.types import TypeContent, default_type, is_known, type_name
from skgbnf.table.writing import Values, pandas_column, polars_column, pyarrow_column

CONTAINERS = ("numpy", "pandas", "polars", "pyarrow")
"""Libraries of tables; anything but a frame counts as an array."""

_NUMERIC = {
    "polars": re.compile(r"U?Int\d+|Float\d+|Boolean"),
    "pyarrow": re.compile(r"u?int\d+|halffloat|float|double|bool"),
}
_INTEGER = re.compile(r"u?int\d+")


@dataclass(frozen=True)
class Description:
    """Description of a table, sufficient to make another one like it.

    Attributes
    ----------
    container : {"numpy", "pandas", "polars", "pyarrow"}
        Library of the table.

    dtypes : list of str of length n_features
        Types of the columns; float64 in place of a type that cannot be restored.

    labels : list of length n_features
        Names of the columns, of any type, or positions if there are none.

    level_names : list
        Names of the levels of a column index of pandas, one unless it is a MultiIndex; [None] for
        other libraries.
    """

    container: str
    dtypes: list[str]
    labels: list[Label]
    level_names: list[Label]

    @classmethod
    def of(cls, X: Any, names: Sequence[Label]) -> "Description":
        """Describe a table; `names` are the labels if it is an array."""
        container = container_of(X)
        labels = column_labels(X)
        if labels is None:
            labels = list(names)
            types = [getattr(X, "dtype", np.dtype(np.float64))] * len(labels)
        else:
            types = column_types(X)
        dtypes = [
            type_name(container, dtype, _cells_of(X, j, dtype)) for j, dtype in enumerate(types)
        ]
        return cls(container, dtypes, labels, _level_names(X))

    @classmethod
    def of_numbers_like(cls, X: Any) -> "Description":
        """Describe a frame of float64 columns with the labels of X."""
        container, labels = container_of(X), column_labels(X) or []
        return cls(container, [default_type(container)] * len(labels), labels, _level_names(X))

    def to_plain(self) -> dict[str, Any]:
        """The description as JSON values.

        Raises
        ------
        ValueError
            If a label is of a type that a file cannot hold.
        """
        return {
            "container": self.container,
            "dtypes": list(self.dtypes),
            "labels": [label_to_plain(label) for label in self.labels],
            "level_names": [label_to_plain(name) for name in self.level_names],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Description":
        """Inverse of :meth:`to_plain`.

        Raises
        ------
        ValueError
            If it does not describe a table that can be restored.
        """
        container, dtypes = plain["container"], plain["dtypes"]
        if container not in CONTAINERS:
            raise ValueError(f"it names an unknown kind of table: {container!r}")
        known = isinstance(dtypes, list) and all(
            isinstance(dtype, str) and is_known(container, dtype) for dtype in dtypes
        )
        if not known:
            raise ValueError(f"its types of columns are not known: {dtypes!r}")
        labels = [label_from_plain(label) for label in plain["labels"]]
        level_names = [label_from_plain(name) for name in plain["level_names"]]
        n_levels = {len(label) for label in labels if isinstance(label, tuple)}
        if len(labels) != len(dtypes) or not (
            len(level_names) == 1 or n_levels == {len(level_names)}
        ):
            raise ValueError("it has more or fewer column labels than types or levels")
        return cls(container, dtypes, labels, level_names)


def container_of(X: Any) -> str:
    """Library of a table, one of :data:`CONTAINERS`."""
    origins = {base.__module__.partition(".")[0] for base in type(X).__mro__}
    name = next((name for name in CONTAINERS[1:] if name in origins), CONTAINERS[0])
    is_frame = hasattr(X, "schema" if name == "pyarrow" else "columns") and hasattr(X, "shape")
    return name if is_frame else CONTAINERS[0]


def column_labels(X: Any) -> list[Label] | None:
    """Names of the columns of a frame, of any type; None for an array."""
    container = container_of(X)
    if container == "pyarrow":
        return list(X.schema.names)
    if container == "polars":
        return list(X.columns)
    return X.columns.tolist() if container == "pandas" else None


def column_types(X: Any) -> list[Any]:
    """Types of the columns of a frame."""
    return list(X.schema.types if container_of(X) == "pyarrow" else X.dtypes)


def _level_names(X: Any) -> list[Label]:
    """Names of the levels of a column index of pandas, [None] for other tables."""
    return list(X.columns.names) if container_of(X) == "pandas" else [None]


def _cells_of(X: Any, j: int, dtype: Any) -> list[Any]:
    """The cells of a column of NumPy or pandas if they are objects or text, otherwise none."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "OU":
        return []
    column = X[:, j] if container_of(X) == "numpy" else X.iloc[:, j]
    return np.asarray(column, dtype=object).tolist()


def column_values(X: Any, j: int) -> np.ndarray:
    """One column of a frame as an array, of objects if NumPy lacks its type."""
    container = container_of(X)
    if container == "pandas":
        return np.asarray(X.iloc[:, j])
    column = X[:, j] if container == "polars" else X.column(j)
    known = _NUMERIC[container].fullmatch(str(column_types(X)[j]))
    return np.asarray(column.to_numpy()) if known else _objects(list(column))


def _objects(cells: list[Any]) -> np.ndarray:
    array = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        array[i] = cell.as_py() if hasattr(cell, "as_py") else cell
    return array


def named_for_sklearn(labels: Sequence[Label]) -> bool:
    """Whether labels are distinct strings, the only ones that scikit-learn keeps and checks."""
    return all(isinstance(label, str) for label in labels) and len(set(labels)) == len(labels)


def for_sklearn(X: Any) -> Any:
    """The table, or one without names if scikit-learn does not accept them."""
    container, labels = container_of(X), column_labels(X)
    if labels is None or named_for_sklearn(labels):
        return X
    if container == "pandas":
        return X.set_axis(range(X.shape[1]), axis=1)
    return np.broadcast_to(0.0, X.shape)


def check_labels(X: Any, table: Description, input_name: str) -> None:
    """Raise ValueError if a frame has other labels than the one seen in fit.

    scikit-learn compares the number of columns, and names if all are strings.
    """
    given, known = column_labels(X), table.labels
    if table.container == "numpy" or given is None or len(given) != len(known):
        return
    nameless = known == list(range(len(known)))
    if named_for_sklearn(known) or (nameless and named_for_sklearn(given)):
        return
    for j, (found, expected) in enumerate(zip(given, known, strict=True)):
        if not same_label(found, expected):
            raise ValueError(
                f"{input_name}: column {j} is named {found!r}, but {expected!r} in fit; names "
                "and their order must be those of fit."
            )


def integer_columns(dtypes: Sequence[str]) -> np.ndarray:
    """Whether the type of each column is an integer, of shape (n_features,)."""
    return np.array([bool(_INTEGER.match(dtype.lower())) for dtype in dtypes])


def make_frame(rows: np.ndarray, table: Description) -> Any:
    """A frame of numbers like the table described; integers and booleans are rounded.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
        Samples.

    table : Description
        For an array the frame is one of pandas, with columns "x0", "x1" and so on. In place of
        types that hold no numbers there are floats.

    Returns
    -------
    frame : pandas.DataFrame, polars.DataFrame or pyarrow.Table

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    default = default_type(table.container)
    dtypes = [name if TypeContent.of(name).is_numeric else default for name in table.dtypes]
    return frame_of([Values(column) for column in rows.T], replace(table, dtypes=dtypes))


def frame_of(columns: Sequence[Values], table: Description) -> Any:
    """A frame like the table described, of columns that hold what its types hold."""
    pairs = [*zip(columns, table.dtypes, strict=True)]
    if table.container == "polars":
        pl = library("polars")
        series = [polars_column(pl, *pair) for pair in pairs]
        named = zip(series, table.labels, strict=True)
        return pl.DataFrame([column.alias(label) for column, label in named])
    if table.container == "pyarrow":
        pa = library("pyarrow")
        arrays = [pyarrow_column(pa, *pair) for pair in pairs]
        return pa.Table.from_arrays(arrays, names=table.labels)
    pd = library("pandas")
    frame = pd.DataFrame({j: pandas_column(pd, *pair) for j, pair in enumerate(pairs)})
    return frame.set_axis(_column_index(pd, table), axis=1)


def _column_index(pd: ModuleType, table: Description) -> Any:
    """Column index of a frame of pandas."""
    labels, names = table.labels, table.level_names
    if len(names) > 1:
        return pd.MultiIndex.from_tuples(labels, names=names)
    if table.container == "numpy" and not named_for_sklearn(labels):
        labels = [f"x{j}" for j in labels]
    return pd.Index(labels, name=names[0], tupleize_cols=False)


def library(name: str) -> ModuleType:
    """The library of that name; ImportError with a hint if it is not installed."""
    try:
        return import_module(name)
    except ImportError as e:
        raise ImportError(f"sample_frame needs {name}: pip install 'skgbnf[{name}]'.") from e
