"""Labels of columns: comparison, and conversion to JSON of strings, numbers, dates and tuples.

A label may be anything that a frame accepts; scikit-learn accepts strings only.
"""

import datetime
import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

Label = Any
"""The name of a column of a frame, or its position in an array."""

_FROM_TEXT: dict[str, Callable[[str], Label]] = {
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "float": float,
}


def same_label(a: Label, b: Label) -> bool:
    """Whether two labels are equal. True does not equal 1, and NaN equals NaN."""
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return a is b or bool(a == b)


def find_label(key: Label, labels: Sequence[Label]) -> list[int]:
    """Positions of the columns with that label."""
    return [j for j, label in enumerate(labels) if same_label(key, label)]


def position_of(key: object, labels: Sequence[Label], parameter: str) -> int:
    """Position of the column with that label, otherwise that position.

    Raises
    ------
    ValueError, TypeError
        If there is no such column, or more than one; the parameter is named.
    """
    named = find_label(key, labels)
    if len(named) > 1:
        raise ValueError(f"{parameter}: {key!r} is the name of {len(named)} columns, {named}.")
    if named:
        return named[0]
    if isinstance(key, bool):
        raise TypeError(f"{parameter}: a column is called by its name or position, got {key!r}.")
    if isinstance(key, Integral) and 0 <= int(key) < len(labels):
        return int(key)
    raise ValueError(f"{parameter}: there is no column {key!r} among {list(labels)}.")


def label_to_plain(label: Label) -> Any:
    """A label as a JSON value.

    Raises
    ------
    ValueError
        If it is of a type that a file cannot hold.
    """
    if isinstance(label, tuple):
        return {"tuple": [label_to_plain(part) for part in label]}
    if isinstance(label, datetime.datetime) and not getattr(label, "nanosecond", 0):
        if label == label:  # the missing date does not equal itself
            return {"datetime": label.isoformat()}
    elif isinstance(label, datetime.date):
        return {"date": label.isoformat()}
    elif hasattr(label, "dtype") and hasattr(label, "item"):
        label = label.item()
    if isinstance(label, float) and not math.isfinite(label):
        return {"float": str(label)}
    if label is None or type(label) in (str, int, float, bool):
        return label
    raise ValueError(
        f"The column name {label!r} cannot be written to a file, which holds strings, numbers, "
        "dates and tuples of these: rename the column before the fit, or pickle the model."
    )


def label_from_plain(plain: Any) -> Label:
    """Inverse of :func:`label_to_plain`.

    Raises
    ------
    ValueError
        If it is not a result of :func:`label_to_plain`.
    """
    if plain is None or type(plain) in (str, int, float, bool):
        return plain
    if isinstance(plain, dict) and len(plain) == 1:
        ((kind, value),) = plain.items()
        if kind == "tuple" and isinstance(value, list):
            return tuple(label_from_plain(part) for part in value)
        if kind in _FROM_TEXT and isinstance(value, str):
            return _FROM_TEXT[kind](value)
    raise ValueError(f"a label of a column is not known: {plain!r}")
