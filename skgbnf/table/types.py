"""Types of columns by name: those of which a column can be made again, and what each holds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skgbnf.table.objects import Objects

_ZONE = r"[A-Za-z0-9_+:/-]+"
_UNIT = "(?:s|ms|us|ns)"
_ARROW_NUMBERS = "u?int(?:8|16|32|64)|halffloat|float|double|bool"
_ARROW = (
    f"{_ARROW_NUMBERS}|string|large_string|string_view|null|date32\\[day\\]|date64\\[ms\\]"
    f"|timestamp\\[{_UNIT}(?:, tz={_ZONE})?\\]|duration\\[{_UNIT}\\]"
    f"|dictionary<values=(?:string|large_string|{_ARROW_NUMBERS})"
    ", indices=u?int(?:8|16|32|64), ordered=[01]>"
)
_NUMPY = (
    f"u?int\\d+|float\\d+|bool|object(?:\\[(?:date|nan)\\])?|datetime64\\[{_UNIT}(?:, {_ZONE})?\\]"
    f"|timedelta64\\[{_UNIT}\\]"
)
_KNOWN = {
    "numpy": re.compile(_NUMPY),
    "pandas": re.compile(
        f"{_NUMPY}|U?Int\\d+|Float\\d+|boolean|str|string|category(?:\\[ordered\\])?"
        f"|(?:{_ARROW})\\[pyarrow\\]"
    ),
    "polars": re.compile(
        "U?Int\\d+|Float\\d+|Boolean|String|Categorical|Enum|Date|Null"
        f"|Datetime\\(time_unit='{_UNIT}', time_zone=(?:None|'{_ZONE}')\\)"
        f"|Duration\\(time_unit='{_UNIT}'\\)"
    ),
    "pyarrow": re.compile(_ARROW),
}
_DEFAULT = {"numpy": "float64", "pandas": "float64", "polars": "Float64", "pyarrow": "double"}

_CONTENTS = (
    ("bool", "bool"),
    ("integer", "u?int"),
    ("number", "float|halffloat|double"),
    ("levels", "categor|enum|dictionary"),
    ("date", r"object\[date\]|date32|date64|date$"),
    ("datetime", "datetime|timestamp"),
    ("duration", "timedelta|duration"),
    ("text", "str|large_string|object"),
    ("null", "null"),
)
_OF_OBJECTS = {
    "integer": "int64",
    "number": "float64",
    "date": "object[date]",
    "duration": "timedelta64[us]",
}


@dataclass(frozen=True)
class TypeContent:
    """What a type of columns holds.

    Attributes
    ----------
    content : str
        "bool", "integer", "number", "levels", "date", "datetime", "duration", "text" or "null".

    unit : str
        Unit of a date with a time of day, or of a duration; empty for others.

    zone : str
        Time zone, empty for none.

    ordered : bool
        Whether levels are declared to be ordered.
    """

    content: str
    unit: str = ""
    zone: str = ""
    ordered: bool = False

    @property
    def is_numeric(self) -> bool:
        return self.content in ("bool", "integer", "number")

    @classmethod
    def of(cls, name: str) -> "TypeContent":
        """What a type that can be made again holds, by its name."""
        lower = name.lower()
        content = next(c for c, pattern in _CONTENTS if re.match(pattern, lower))
        if content not in ("datetime", "duration"):
            ordered = "[ordered]" in name or "ordered=1" in name
            return cls(content, ordered=ordered)
        unit = re.search(rf"[\[']({_UNIT})['\],]", name)
        zone = re.search(rf"(?:, |tz=|time_zone=')({_ZONE})['\]]", name)
        return cls(content, unit[1] if unit else "", zone[1] if zone else "")

    def name_in(self, container: str) -> str:
        """The usual type of a library that holds the same."""
        # Only pandas knows time zones that are a distance from UTC.
        fixed = container != "pandas" and re.match(r"(?:UTC)?[+-]\d", self.zone)
        zone = "UTC" if fixed else self.zone
        if container == "numpy" and self.content in ("text", "levels"):
            return "object"
        of_library = {
            "pandas": {
                "bool": "bool", "integer": "int64", "number": "float64", "null": "object",
                "text": "str", "levels": "category[ordered]" if self.ordered else "category",
                "date": "object[date]", "duration": f"timedelta64[{self.unit}]",
                "datetime": f"datetime64[{self.unit}{zone and ', '}{zone}]",
            },
            "polars": {
                "bool": "Boolean", "integer": "Int64", "number": "Float64", "null": "Null",
                "text": "String", "levels": "Enum", "date": "Date",
                "duration": f"Duration(time_unit='{self.unit}')",
                "datetime": f"Datetime(time_unit='{self.unit}', time_zone={zone or None!r})",
            },
            "pyarrow": {
                "bool": "bool", "integer": "int64", "number": "double", "null": "null",
                "text": "string",
                "levels": f"dictionary<values=string, indices=int32, ordered={self.ordered:d}>",
                "date": "date32[day]", "duration": f"duration[{self.unit}]",
                "datetime": f"timestamp[{self.unit}{zone and ', tz='}{zone}]",
            },
        }  # fmt: skip
        name = of_library["pandas" if container == "numpy" else container][self.content]
        # polars has no seconds.
        return name.replace("='s'", "='ms'") if container == "polars" else name


def default_type(container: str) -> str:
    """Name of the type of floats."""
    return _DEFAULT[container]


def is_known(container: str, name: str) -> bool:
    """Whether a column of that type can be made."""
    return bool(_KNOWN[container].fullmatch(name))


def type_name(container: str, dtype: Any, cells: Sequence[Any] = ()) -> str:
    """Name of a type; that of floats in place of one that cannot be made again.

    Parameters
    ----------
    container : str
        Library of the table.

    dtype : object
        Type of a column.

    cells : sequence, default=()
        The cells, which tell what a column of objects holds.
    """
    name = str(dtype)
    if name == "category" and dtype.ordered:
        return "category[ordered]"
    if name == "object" or name.startswith("<U"):
        return type_of_objects(cells)
    if container == "polars" and name.startswith(("Enum", "Categorical")):
        name = name.partition("(")[0]
    if name.startswith("datetime64[") and not is_known(container, name):
        return "datetime64[us, UTC]" if "," in name else "datetime64[s]"
    if name.startswith("timedelta64[") and not is_known(container, name):
        return "timedelta64[s]"
    return name if is_known(container, name) else _DEFAULT[container]


def type_of_objects(cells: Sequence[Any]) -> str:
    """Name of the type that suits cells which are Python objects; "[nan]" tells what gaps are."""
    try:
        objects = Objects.from_cells(cells)
    except TypeError:
        return _DEFAULT["numpy"]
    if objects.sort == "datetime":
        zoned = any(getattr(cell, "tzinfo", None) for cell in objects.distinct)
        return "datetime64[us, UTC]" if zoned else "datetime64[us]"
    floats = any(isinstance(cell, float) and cell != cell for cell in cells)
    return _OF_OBJECTS.get(objects.sort, "object[nan]" if floats else "object")
