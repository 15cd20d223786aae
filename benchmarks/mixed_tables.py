"""Tables of categories, numbers and gaps, for `bench_mixed.py`: kinds of columns, rows, splits.

Tables are `DIR/mixed/NAME.csv.gz`. Every method works on the same *rows*: a matrix of float64 with
the code of its level in a categorical column and NaN in a gap. Log-densities of a row are with
respect to counting for categories, ordinal values and atoms, and to length for other numbers; where
these lie on a grid, the density at a value is the probability of its cell divided by the step.

A column most of whose numbers are repeated and lie on no grid (a price that depends on the state a
person lives in) gets uniform noise as wide as the median distance of neighbouring values. Without
it log-densities would have no upper bound there, and the method with the narrowest peaks would win.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from skgbnf.table.columns import TableColumns
from skgbnf.table.kinds import Column

DROPPED = {
    "flights": {
        "tailnum": "4,043 aircraft, many of which fly once: most levels would not repeat",
        "flight": "a label with 3,844 values, whose size means nothing",
        "time_hour": "repeats year, month, day and hour as text",
    },
    "loans": {"emp_title": "free text: 4,741 values in 10,000 rows"},
    "nafld": {"id": "numbers of rows", "case.id": "the number of another row"},
    "nhefs": {"seqn": "numbers of rows", "id": "numbers of rows"},
}
"""Columns that are left out, and why."""

MOST_ROWS = {"flights": 20_000}
"""Rows drawn from large tables unless the user asks for another number."""

TEST_SHARE = 0.2
CODED = ("categorical", "constant")
NEED = "Give --data or SKGBNF_DATA a folder that holds mixed/NAME.csv.gz."


@dataclass(frozen=True)
class MixedTable:
    """One table, split.

    Attributes
    ----------
    whole : DataFrame
        All rows, from which kinds and levels of columns are taken for every method.

    columns : tuple of Column

    train, test : ndarrays of shape (n_samples, n_columns)
    """

    whole: pd.DataFrame
    columns: tuple[Column, ...]
    train: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)

    def frame(self, rows: np.ndarray) -> pd.DataFrame:
        """Rows as a frame like the whole one; integers with gaps or means become floats."""
        return pd.DataFrame(
            {
                name: restored(values, column, self.whole[name].dtype)
                for name, column, values in zip(self.whole, self.columns, rows.T, strict=True)
            }
        )

    @property
    def categorical(self) -> np.ndarray:
        """Whether each column has codes in place of its values."""
        return np.array([column.kind in CODED for column in self.columns])

    def describe(self) -> dict:
        """What a reader needs to know of the table."""
        kinds = [column.kind for column in self.columns]
        return {
            "rows": {"train": len(self.train), "test": len(self.test)},
            "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
            "gaps": float(np.isnan(np.concatenate([self.train, self.test])).mean()),
        }


@dataclass
class MixedFit:
    """What is measured of a method; None for what it cannot do.

    Attributes
    ----------
    log_density : callable ``(rows)``
        Log-densities of the cells that are there, shape (n_samples,); NaN for rows with gaps of
        methods that need complete rows.

    complete : callable ``(rows)``
        Rows with gaps filled: conditional means of numbers, modes of categories.

    sample : callable ``(n_samples)``
        Rows.

    chosen : dict
        What the method chose.

    takes_gaps : bool
    """

    log_density: Callable | None = None
    complete: Callable | None = None
    sample: Callable | None = None
    chosen: dict = field(default_factory=dict)
    takes_gaps: bool = True


def names(folder: Path | None) -> list[str]:
    """Names of the tables in a folder, or exit with a line on what is needed."""
    found = sorted(Path(folder or "").glob("mixed/*.csv.gz")) if folder else []
    if not found:
        sys.exit(f"There is no table mixed/*.csv.gz. {NEED}")
    return [path.name.removesuffix(".csv.gz") for path in found]


def load(folder: Path, name: str, seed: int, n_rows: int | None = None) -> MixedTable:
    """One table, split by the seed: 80 % of the rows for training.

    Parameters
    ----------
    folder : Path

    name : str
        One of :func:`names`.

    seed : int

    n_rows : int, optional
        Use no more than so many rows, drawn at random; default: `MOST_ROWS`.
    """
    frame = pd.read_csv(Path(folder) / "mixed" / f"{name}.csv.gz")
    frame = frame.drop(columns=list(DROPPED.get(name, ()))).dropna(axis=1, how="all")
    n_rows = n_rows or MOST_ROWS.get(name, len(frame))
    if n_rows < len(frame):
        frame = frame.sample(n_rows, random_state=0)
    return split(blurred(frame.reset_index(drop=True)), seed)


def blurred(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with noise in the columns of repeated numbers that lie on no grid."""
    frame, rng = frame.copy(), np.random.default_rng(0)
    for name, column in zip(frame, find_columns(frame), strict=True):
        if has_numbers(column) and not column.step:
            x = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            apart = np.isin(x, column.atoms)
            frame[name] = np.where(apart, x, x + blur_width(x[~apart]) * noise(rng, x))
    return frame


def blur_width(x: np.ndarray) -> float:
    """Median distance of neighbouring values where most values are repeated, otherwise 0."""
    distinct, counts = np.unique(x[~np.isnan(x)], return_counts=True)
    repeated = counts[counts > 1].sum() > 0.5 * counts.sum()
    return float(np.median(np.diff(distinct))) if repeated and len(distinct) > 1 else 0.0


def noise(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return rng.uniform(-0.5, 0.5, x.shape)


def split(frame: pd.DataFrame, seed: int) -> MixedTable:
    """A table of all rows of a frame, 20 % of them for the test."""
    columns = find_columns(frame)
    order = np.random.default_rng([seed, 11]).permutation(len(frame))
    test, train = np.split(rows_of(frame, columns)[order], [round(TEST_SHARE * len(frame))])
    return MixedTable(frame, columns, train, test)


def rows_of(frame: pd.DataFrame, columns: tuple[Column, ...]) -> np.ndarray:
    """Rows of a frame: numbers, codes of levels, NaN for gaps."""
    coded = [
        codes(frame[name], column.levels)
        if column.kind in CODED
        else frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name, column in zip(frame, columns, strict=True)
    ]
    return np.column_stack(coded)


def codes(values: pd.Series, levels: tuple) -> np.ndarray:
    """Positions among the levels, which hold every value that is there."""
    found = pd.Index(levels).get_indexer(values).astype(np.float64)
    unknown = (found < 0) & values.notna().to_numpy()
    if unknown.any():
        raise ValueError(f"{values[unknown].iloc[0]!r} is no level of {values.name!r}.")
    return np.where(found < 0, np.nan, found)


def restored(values: np.ndarray, column: Column, dtype) -> pd.Series:
    """Values of one column as a series of its type, or of floats where it cannot hold them."""
    gaps = np.isnan(values)
    whole = pd.api.types.is_integer_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)
    if column.kind in CODED:
        fits = not (whole and gaps.any())
        levels = np.append(np.array(column.levels, dtype=object), None)
        values = levels[np.where(gaps, -1, values).astype(int)]
    else:
        fits = not whole or bool((values == np.round(values)).all())
    return pd.Series(values, dtype=dtype if fits else None)


def events(column: Column) -> np.ndarray:
    """Values that have a probability of their own, as they are in rows."""
    if column.kind in CODED:
        return np.arange(len(column.levels), dtype=np.float64)
    return np.array(column.levels or column.atoms, dtype=np.float64)


def has_numbers(column: Column) -> bool:
    """Whether a column has values beside its events."""
    return column.kind not in CODED and not column.levels


def log_cell(column: Column) -> float:
    """What the log-probability of a cell of the grid is lowered by to become the log-density."""
    return np.log(column.step) if column.step and column.kind != "ordinal" else 0.0


def nearest(known: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Positions of the nearest of ascending values."""
    return np.searchsorted((known[1:] + known[:-1]) / 2, x)


def on_grid(x: np.ndarray, known: np.ndarray, step: float) -> np.ndarray:
    """The nearest points of a grid, and the very values of the data where these are known.

    A sum of steps adds rounding, by which a classifier would tell drawn values.
    """
    x = np.round(known[0] + np.round((x - known[0]) / step) * step, 9)
    found = known[nearest(known, x)]
    return np.where(np.abs(found - x) < 0.1 * step, found, x)


def hide(rows: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Rows with a share of the cells that are there hidden, drawn at random."""
    drawn = np.random.default_rng([seed, 13]).random(rows.shape)
    return np.where(drawn < share, np.nan, rows)


def find_columns(frame: pd.DataFrame) -> tuple[Column, ...]:
    """Kinds of the columns, as the estimators of this package find them."""
    return TableColumns.from_table(frame, list(frame)).columns
