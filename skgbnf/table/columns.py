"""A table of columns of any kind, as a matrix of numbers and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skgbnf.table.cells import Cells, read_columns
from skgbnf.table.checks import without_ragged_rows
from skgbnf.table.encoding import UNSEEN, encoded
from skgbnf.table.frames import Description
from skgbnf.table.gaps import GapPatterns
from skgbnf.table.kinds import Column, find_columns
from skgbnf.table.labels import Label


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
            A larger table that kinds and levels are taken from, with equal weights.

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
        table = Description.of(X, names)
        kinds_from = cells if reference is None else read_columns(reference, "X_reference")
        shares = weights if reference is None else None
        columns = find_columns(kinds_from, table.labels, requested, shares)
        mask = np.column_stack([np.isnan(column.values) for column in cells])
        return cls(table, columns, GapPatterns.from_mask(mask), bool(requested))

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
        if len(cells) != len(self.columns):
            raise ValueError(
                f"{input_name} has {len(cells)} columns, but {len(self.columns)} in fit."
            )
        return self._rows(cells, input_name)

    def _rows(self, cells: list[Cells], input_name: str) -> np.ndarray:
        parts = zip(cells, self.columns, self.table.labels, strict=True)
        return np.column_stack([encoded(*part, input_name) for part in parts])

    def unseen(self, rows: np.ndarray) -> list[Label]:
        """Labels of columns that hold a value which is none of their levels."""
        parts = zip(rows.T, self.columns, self.table.labels, strict=True)
        return [label for x, column, label in parts if column.is_coded and (x == UNSEEN).any()]
