"""A table of columns of any kind, as a matrix of numbers and back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skgbnf.table.cells import Cells, read_columns
from skgbnf.table.checks import without_ragged_rows
from skgbnf.table.column import Column
from skgbnf.table.encoding import UNSEEN, decoded, encoded, type_elsewhere, type_for
from skgbnf.table.frames import CONTAINERS, Description, frame_of
from skgbnf.table.gaps import GapPatterns
from skgbnf.table.kinds import find_columns
from skgbnf.table.labels import Label
from skgbnf.table.types import TypeContent
from skgbnf.table.writing import Values, objects_of


@dataclass(frozen=True, eq=False)
class TableColumns:
    """What the columns of a table hold, and how they become numbers.

    Attributes
    ----------
    table : Description
        Library, types and labels of the table.

    columns : tuple of Column
        Kind of each column.

    gaps : GapPatterns
        Which columns had gaps together.

    requested : bool
        Whether the user asked for the kind of a column.
    """

    table: Description
    columns: tuple[Column, ...]
    gaps: GapPatterns
    requested: bool = False

    @classmethod
    def from_table(
        cls,
        X: Any,
        names: Sequence[Label],
        requested: Any = None,
        weights: np.ndarray | None = None,
        reference: Any = None,
        *,
        input_name: str = "X",
        estimator: Any = None,
    ) -> "TableColumns":
        """Find the kinds of the columns of a table.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Table.

        names : sequence
            Names of the columns if X is an array.

        requested : dict or None, default=None
            Kinds that the user asks for, as in :func:`find_columns`.

        weights : ndarray of shape (n_samples,) or None, default=None
            Sample weights; None for equal ones.

        reference : array-like or frame of shape (n_reference_samples, n_features), default=None
            A larger table that kinds, levels and shares of gaps are taken from, with equal weights.

        input_name : str, default="X"
            Name of the table in errors.

        estimator : estimator or None, default=None
            Named in errors of scikit-learn.

        Raises
        ------
        ValueError, TypeError
            If the table cannot be read, or a request does not suit its column.
        """
        X = without_ragged_rows(X, input_name)
        cells = read_columns(X, input_name, estimator)
        table, gaps = Description.of(X, names), GapPatterns.from_mask(_mask(cells))
        if reference is not None:
            cells, weights = read_columns(reference, "X_reference"), None
            _check_number(cells, len(table.labels), "X_reference")
            gaps = replace(gaps, shares=_mask(cells).mean(axis=0))
        columns = find_columns(cells, table.labels, requested, weights)
        parts = zip(columns, table.dtypes, strict=True)
        dtypes = [type_for(column, table.container, name) for column, name in parts]
        return cls(replace(table, dtypes=dtypes), columns, gaps, bool(requested))

    @property
    def is_plain(self) -> bool:
        """Whether all columns are numbers without gaps, atoms or periods, and none is requested."""
        return not (self.requested or self.gaps.shares.any()) and all(
            column.kind in ("continuous", "ordinal", "constant")
            and column.holds_numbers
            and not column.unit
            for column in self.columns
        )

    def rows(self, X: Any, input_name: str = "X", estimator: Any = None) -> np.ndarray:
        """A table as numbers.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            Table.

        input_name : str, default="X"
            Name of the table in errors.

        estimator : estimator or None, default=None
            Named in errors of scikit-learn.

        Returns
        -------
        rows : ndarray of float64 of shape (n_samples, n_features)
            Codes from 0 of columns with levels, -1 for what is none of them; numbers, or seconds
            of dates and durations, of other columns; NaN for gaps.

        Raises
        ------
        ValueError, TypeError
            If the table cannot be read, or a column is of another type than in fit.
        """
        cells = read_columns(X, input_name, estimator)
        _check_number(cells, len(self.columns), input_name)
        return self._rows(cells, input_name)

    def rows_of(self, cells: np.ndarray, places: Sequence[int]) -> np.ndarray:
        """Some columns as numbers, as :meth:`rows` gives all of them.

        Parameters
        ----------
        cells : ndarray of object of shape (n_samples, n_places)

        places : sequence of int
            Positions of the columns.
        """
        parts = zip(read_columns(cells, "X", None), places, strict=True)
        return np.column_stack(
            [encoded(own, self.columns[j], self.table.labels[j], "X") for own, j in parts]
        )

    def _rows(self, cells: list[Cells], input_name: str) -> np.ndarray:
        parts = zip(cells, self.columns, self.table.labels, strict=True)
        return np.column_stack([encoded(*part, input_name) for part in parts])

    def unseen(self, rows: np.ndarray) -> list[Label]:
        """Labels of columns that hold a value which is none of their levels."""
        parts = zip(rows.T, self.columns, self.table.labels, strict=True)
        return [label for x, column, label in parts if column.is_coded and (x == UNSEEN).any()]

    def restore(self, rows: np.ndarray, container: str | None = None) -> Any:
        """Inverse of :meth:`rows`: a frame like the one of fit.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)
            Numbers as :meth:`rows` gives them, or near them: they are moved to the grid of their
            column, and stay within its ends. Codes of no level are gaps.

        container : {"numpy", "pandas", "polars", "pyarrow"} or None, default=None
            Library of the frame; None for that of fit, which is pandas for an array. "numpy" gives
            an array of objects.

        Returns
        -------
        frame : pandas.DataFrame, polars.DataFrame, pyarrow.Table or ndarray of object

        Raises
        ------
        ImportError
            If the library is not installed.
        """
        if container == "numpy":
            return self.values(rows)
        if container is None:
            return frame_of(self._decoded(rows, self.table), self.table)
        if container not in CONTAINERS:
            raise ValueError(f"container must be one of {CONTAINERS} or None, got {container!r}.")
        table = self._table_in(container)
        return frame_of(self._decoded(rows, table), table)

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`rows`: an array of objects, NaN for gaps; see :meth:`restore`."""
        columns = zip(self._decoded(rows, self.table), self.table.dtypes, strict=True)
        cells = np.empty(rows.shape, dtype=object)
        for j, column in enumerate(columns):
            cells[:, j] = objects_of(*column)
        return cells

    def _decoded(self, rows: np.ndarray, table: Description) -> list[Values]:
        parts = zip(rows.T, self.columns, table.dtypes, strict=True)
        return [decoded(x, column, TypeContent.of(name)) for x, column, name in parts]

    def _table_in(self, container: str) -> Description:
        """The table as a frame of another library would have it."""
        if container == self.table.container:
            return self.table
        parts = zip(self.columns, self.table.dtypes, strict=True)
        dtypes = [type_elsewhere(column, name, container) for column, name in parts]
        labels = self.table.labels
        if container != "pandas":
            labels = [f"x{x}" if isinstance(x, int) else str(x) for x in labels]
        elif self.table.container == "numpy":
            return replace(self.table, dtypes=dtypes)
        return Description(container, dtypes, labels, [None])

    def summary(self) -> list[tuple[Label, str, str, str, float]]:
        """Label, kind, further properties, unit and share of gaps of each column."""
        parts = zip(self.table.labels, self.columns, self.gaps.shares.tolist(), strict=True)
        return [(label, c.kind, c.summary(), c.unit, share) for label, c, share in parts]

    def to_plain(self) -> dict[str, Any]:
        """The columns as JSON values and arrays.

        Raises
        ------
        ValueError
            If a label is of a type that a file cannot hold.
        """
        return {
            "table": self.table.to_plain(),
            "columns": [column.to_plain() for column in self.columns],
            "gaps": self.gaps.to_plain(),
            "requested": self.requested,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "TableColumns":
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        table = Description.from_plain(plain["table"])
        columns = tuple(map(Column.from_plain, plain["columns"]))
        if len(columns) != len(table.labels):
            raise ValueError("it has more or fewer kinds than columns")
        for column, name in zip(columns, table.dtypes, strict=True):
            if type_for(column, table.container, name) != name:
                raise ValueError(f"a column of type {name} cannot hold what it is said to hold")
        if type(plain["requested"]) is not bool:
            raise ValueError("whether kinds were requested is not known")
        gaps = GapPatterns.from_plain(plain["gaps"], len(columns))
        return cls(table, columns, gaps, plain["requested"])


def _mask(cells: Sequence[Cells]) -> np.ndarray:
    """Where a table has gaps, of shape (n_samples, n_features)."""
    return np.column_stack([np.isnan(column.values) for column in cells])


def _check_number(cells: Sequence[Cells], expected: int, input_name: str) -> None:
    if len(cells) != expected:
        raise ValueError(f"{input_name} has {len(cells)} columns, but {expected} in fit.")
