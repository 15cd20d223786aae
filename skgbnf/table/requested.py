"""The parameter `columns`: kinds of columns that the user asks for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skgbnf.table.labels import Label, label_from_plain, label_to_plain, position_of

_KINDS = ("continuous", "ordinal", "categorical", "mixed", "periodic")
_FORM = f'columns: a kind is one of {_KINDS} or a pair ("periodic", period)'


@dataclass(frozen=True)
class Request:
    """A kind, and its period if that is periodic and known; otherwise 0."""

    kind: str
    period: float = 0.0


def check_requested(columns: Any) -> None:
    """Raise unless `columns` is a dictionary of kinds, or None; its keys are checked in `fit`."""
    if columns is None:
        return
    if not isinstance(columns, Mapping):
        raise TypeError(f"columns must be a dictionary or None, got {columns!r}.")
    for kind in columns.values():
        _request(kind)


def requests_from(columns: Any, labels: Sequence[Label]) -> dict[int, Request]:
    """The parameter `columns` by the positions of the columns.

    Parameters
    ----------
    columns : dict or None
        Kinds by name or position of a column; a key that is a name means that column.

    labels : sequence of length n_features
        Names of the columns, or positions if they have none.

    Raises
    ------
    ValueError, TypeError
        If a column is unknown or named twice, or a kind is unknown.
    """
    check_requested(columns)
    requests: dict[int, Request] = {}
    for key, kind in (columns or {}).items():
        j = position_of(key, labels, "columns")
        if j in requests:
            raise ValueError(f"columns: column {labels[j]!r} is named twice.")
        requests[j] = _request(kind)
    return requests


def _request(given: Any) -> Request:
    kind, period = given, None
    if isinstance(given, list | tuple) and len(given) == 2 and given[0] == "periodic":
        kind, period = given
    if not isinstance(kind, str):
        raise TypeError(f"{_FORM}, got {given!r}.")
    if kind not in _KINDS:
        raise ValueError(f"{_FORM}, got {given!r}.")
    return Request(kind, 0.0 if period is None else _checked_period(period))


def _checked_period(period: Any) -> float:
    try:
        number = math.nan if isinstance(period, str | bytes | bool) else float(period)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"columns: a period must be a positive number, got {period!r}.")
    return number


def requested_to_plain(columns: Any) -> Any:
    """The parameter `columns` as JSON values; keys keep their type."""
    if columns is None:
        return None
    pairs = [(label_to_plain(key), _request(kind)) for key, kind in columns.items()]
    return {"by_column": [[key, r.kind, r.period] for key, r in pairs]}


def requested_from_plain(plain: Any) -> Any:
    """Inverse of :func:`requested_to_plain`."""
    if plain is None:
        return None
    columns = {
        label_from_plain(key): (kind, period) if period else kind
        for key, kind, period in plain["by_column"]
    }
    check_requested(columns)
    return columns
