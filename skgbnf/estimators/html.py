"""What notebooks show of a fitted density: a table of its columns."""

from collections.abc import Callable, Iterable
from html import escape
from typing import Any

from skgbnf.estimators.fitted import FittedDensity
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.table.labels import Label
from skgbnf.table.numeric_columns import columns_of

_HEADINGS = ("column", "kind", "values", "unit", "missing")

# Colours are those of the page, whether it is light or dark.
_TABLE = "border-collapse:collapse;margin-top:.6em;color:inherit;background:transparent"
_CELL = "padding:.2em .7em;text-align:left;border-bottom:1px solid rgba(128,128,128,.4)"


class ColumnsInHTML:
    """Mixin of a density whose HTML, once it is fitted, has a table of columns too.

    `_repr_html_` and `_repr_mimebundle_` are what notebooks ask for; scikit-learn has no hook for
    further parts of its HTML.
    """

    fitted_: FittedDensity

    @property
    def _repr_html_(self) -> Callable[[], str]:
        diagram: Callable[[], str] = super()._repr_html_  # type: ignore[misc]
        return lambda: diagram() + self._columns_html()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] += self._columns_html()
        return bundle

    def _columns_html(self) -> str:
        if not hasattr(self, "fitted_"):
            return ""
        coordinates = self.fitted_.coordinates
        if isinstance(coordinates, MixedCoordinates):
            return columns_table(coordinates.columns.summary())
        columns = zip(self.fitted_.table.labels, columns_of(coordinates), strict=True)
        return columns_table((label, c.kind, c.summary(), c.unit, 0.0) for label, c in columns)


def columns_table(summary: Iterable[tuple[Label, str, str, str, float]]) -> str:
    """An HTML table of columns.

    Parameters
    ----------
    summary : iterable of tuples
        Label, kind, further properties, unit and share of gaps of each column.
    """
    head = _row("th", _HEADINGS)
    rows = [
        _row("td", (str(label), kind, values, unit, f"{share:.1%}" if share else ""))
        for label, kind, values, unit, share in summary
    ]
    return (
        f'<details open><summary>Columns</summary><table style="{_TABLE}">'
        f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></details>"
    )


def _row(tag: str, cells: Iterable[str]) -> str:
    marked = (f'<{tag} style="{_CELL}">{escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{''.join(marked)}</tr>"
