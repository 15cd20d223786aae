"""Tables as they came: the library, the names and the types of their columns, given back.

pandas and polars are imported only where a frame of theirs is made.
"""

import re
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

CONTAINERS = ("numpy", "pandas", "polars")
"""Libraries that tables come from; all but frames count as arrays."""

_KNOWN = {
    "numpy": re.compile(r"u?int\d+|float\d+|bool"),
    "pandas": re.compile(
        r"u?int\d+|float\d+|bool|U?Int\d+|Float\d+|boolean"
        r"|(u?int\d+|halffloat|float|double|bool)\[pyarrow\]"
    ),
    "polars": re.compile(r"U?Int\d+|Float\d+|Boolean"),
}
_INTEGER = re.compile(r"(u?int)(\d+)")
_TIME = re.compile("date|time|duration", re.IGNORECASE)
"""Beginnings of the names of types that are none of numbers."""
_LARGEST_BITS = 64


def describe_table(X: Any, n_features: int) -> tuple[str, list[str]]:
    """Library that a table is of, and the types of its columns by name.

    Returns
    -------
    container : {"numpy", "pandas", "polars"}

    dtypes : list of str of length n_features
        "float64" where the type is none that can be given back.
    """
    origins = {base.__module__.partition(".")[0] for base in type(X).__mro__}
    container = next((name for name in CONTAINERS[1:] if name in origins), CONTAINERS[0])
    if container == CONTAINERS[0]:
        dtypes = [str(getattr(X, "dtype", np.dtype(np.float64)))] * n_features
    else:
        dtypes = [str(dtype) for dtype in X.dtypes]
    default = "Float64" if container == "polars" else "float64"
    return container, [d if _KNOWN[container].fullmatch(d) else default for d in dtypes]


def check_no_times(X: Any) -> None:
    """Raise ValueError if columns hold dates or durations.

    As numbers they would be counts of an arbitrary unit, and a missing one a very large count.
    """
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        names, dtypes = X.columns, X.dtypes
    else:
        names, dtypes = ["X"], [X.dtype if hasattr(X, "dtype") else np.asarray(X).dtype]
    times = [n for n, dtype in zip(names, dtypes, strict=True) if _TIME.match(str(dtype))]
    if times:
        raise ValueError(f"{times} hold dates or durations; convert them to numbers.")


def check_description(container: Any, dtypes: Any, n_features: int) -> None:
    """Raise ValueError unless a file's description of a table is one that can be given back."""
    if container not in CONTAINERS:
        raise ValueError(f"it names an unknown kind of table: {container!r}")
    known = isinstance(dtypes, list) and all(
        isinstance(dtype, str) and _KNOWN[container].fullmatch(dtype) for dtype in dtypes
    )
    if not known or len(dtypes) != n_features:
        raise ValueError(f"its types of columns are not known: {dtypes!r}")


def integer_columns(dtypes: Sequence[str]) -> np.ndarray:
    """Whether types of columns know integers only, of shape (n_features,)."""
    return np.array([bool(_INTEGER.match(dtype.lower())) for dtype in dtypes])


def make_frame(
    rows: np.ndarray, container: str, dtypes: Sequence[str], names: Sequence[Any] | None
) -> Any:
    """A frame of rows, each column in its type; integers and booleans are rounded to.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)

    container : {"numpy", "pandas", "polars"}
        For arrays the frame is one of pandas.

    dtypes : sequence of str

    names : sequence of str or None
        None for numbers, or "x0", "x1" and so on for arrays and where a frame must have names.

    Returns
    -------
    frame : pandas.DataFrame or polars.DataFrame

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    columns = [_column(values, dtype) for values, dtype in zip(rows.T, dtypes, strict=True)]
    numbered = [f"x{j}" for j in range(len(columns))]
    if container == "polars":
        pl = _library("polars")
        pairs = zip(numbered if names is None else names, columns, dtypes, strict=True)
        return pl.DataFrame([pl.Series(n, c).cast(getattr(pl, d)) for n, c, d in pairs])
    pd = _library("pandas")
    frame = pd.DataFrame(dict(enumerate(columns))).astype(dict(enumerate(dtypes)))
    if names is None and container == "pandas":
        return frame
    return frame.set_axis(numbered if names is None else names, axis=1)


def _column(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values rounded to integers or booleans where the type is one, within its range."""
    if "bool" in dtype.lower():
        return values > 0.5
    integer = _INTEGER.match(dtype.lower())
    if not integer:
        return values
    kind = np.dtype(integer[1] + str(min(int(integer[2]), _LARGEST_BITS)))
    limits = np.iinfo(kind)
    # Not every integer is a float64: the largest would be rounded up, beyond the range.
    largest = limits.max if kind.itemsize < 8 else np.nextafter(float(limits.max), 0)
    return np.clip(np.round(values), limits.min, largest).astype(kind)


def _library(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as e:
        raise ImportError(f"sample_frame needs {name}: pip install 'skgbnf[{name}]'.") from e
