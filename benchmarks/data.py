"""The sets that methods are compared on, each split into training, held-out and test rows.

Three kinds: files ``NAME.npz`` with an array ``X`` in a folder of the user's, tables that
scikit-learn ships, and known densities. A density is only defined where values are continuous:
on a column of few or repeated values likelihoods have no upper bound, and the method that best
sits on the repeated values wins. So :func:`prepare` drops or blurs such columns by one rule for
all tables.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from targets import TARGETS

BUNDLED = {
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
    "diabetes": load_diabetes,
}
"""Tables that scikit-learn ships."""

SOURCES = {
    "protein": "Physicochemical Properties of Protein Tertiary Structure, UCI 265",
    "magic": "MAGIC Gamma Telescope, UCI 159",
    "pendigits": "Pen-Based Recognition of Handwritten Digits, UCI 81",
    "parkinsons": "Parkinsons Telemonitoring, UCI 189",
    "elevators": "elevators, OpenML 216",
    "mammography": "mammography, OpenML 310",
}
"""Where tables of a folder are kept in public, by their names in the results of this project."""

N_TARGET_ROWS = 14_286
"""Rows drawn from a known density, of which 10,000 are for training."""

MIN_DISTINCT = 50
MAX_SHARE = 0.5
HEAP_SHARE = 0.02
HEAP_WIDTH = 0.01
TRAIN_SHARE, HELD_OUT_SHARE = 0.7, 0.1

NEED = "Give --data or SKGBNF_DATA a folder of files NAME.npz, each with an array X of rows."


@dataclass(frozen=True)
class Table:
    """Rows of one set, split; `truth` holds the exact log-densities of the test rows, if known."""

    kind: str
    train: np.ndarray
    held_out: np.ndarray
    test: np.ndarray
    truth: np.ndarray | None = None
    dropped: list[int] = field(default_factory=list)
    blurred: list[int] = field(default_factory=list)

    def describe(self) -> dict:
        """What a reader needs to know of the set."""
        rows = {name: len(getattr(self, name)) for name in ("train", "held_out", "test")}
        return {
            "kind": self.kind, "rows": rows, "columns": self.train.shape[1],
            "dropped": self.dropped, "blurred": self.blurred,
        }  # fmt: skip


def names(folder: Path | None) -> list[str]:
    """All sets there are: files of the folder, if one is given, then the others."""
    return [*files(folder), *BUNDLED, *TARGETS]


def files(folder: Path | None) -> dict[str, Path]:
    """Files of the folder that hold rows by columns, by name."""
    if folder is None:
        return {}
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        sys.exit(f"There is no file *.npz in {folder}. {NEED}")
    return {path.stem: path for path in paths if len(shape_of_X(path)) == 2}


def shape_of_X(path: Path) -> tuple[int, ...]:
    with np.load(path) as archive:
        return archive["X"].shape if "X" in archive else ()


def load(name: str, seed: int, folder: Path | None = None, n_rows: int | None = None) -> Table:
    """One set, split by the seed, from which rows of a known density are drawn too.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    seed : int

    folder : Path, optional
        Where the files are.

    n_rows : int, optional
        Use no more than so many rows of a file, drawn at random.
    """
    rng = np.random.default_rng([seed, 7])
    if name in TARGETS:
        target = TARGETS[name]
        train, held_out, test = split(target.sample(N_TARGET_ROWS, rng), rng)
        return Table("known", train, held_out, test, target.log_density(test))
    if name in BUNDLED:
        kind, X = "bundled", BUNDLED[name]().data
    else:
        with np.load(files(folder)[name]) as archive:
            kind, X = "file", archive["X"]
    X, dropped, blurred = prepare(np.asarray(X, dtype=np.float64))
    if n_rows is not None and n_rows < len(X):
        X = X[rng.choice(len(X), n_rows, replace=False)]
    return Table(kind, *split(X, rng), dropped=dropped, blurred=blurred)


def split(X: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, held-out and test rows: 70, 10 and 20 % of the rows in random order."""
    n_train, n_held_out = round(TRAIN_SHARE * len(X)), round(HELD_OUT_SHARE * len(X))
    return tuple(np.split(X[rng.permutation(len(X))], [n_train, n_train + n_held_out]))


def prepare(X: np.ndarray) -> tuple[np.ndarray, list[int], list[int]]:
    """Rows whose columns have densities, by one rule for all tables.

    A column is dropped as discrete if it has fewer than 50 distinct values (or fewer than a
    tenth of the rows, if that is less) or one value that half of the rows share. Of the others,
    :func:`blur_width` says which get uniform noise and how wide. The noise does not depend on
    the seed of a split.

    Returns
    -------
    X : ndarray of shape (n_samples, n_kept)

    dropped, blurred : lists of int
        Columns as counted in the table that came in.
    """
    dropped = [j for j in range(X.shape[1]) if is_discrete(X[:, j])]
    kept = [j for j in range(X.shape[1]) if j not in dropped]
    if not kept:
        raise ValueError("no column is continuous enough to have a density.")
    X = X[:, kept]
    widths = np.array([blur_width(column) for column in X.T])
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, X.shape)
    return X + widths * noise, dropped, [kept[j] for j in np.flatnonzero(widths)]


def is_discrete(column: np.ndarray) -> bool:
    """Whether a column has too few values, or too much on one of them, to be blurred."""
    values, counts = np.unique(column, return_counts=True)
    return len(values) < min(MIN_DISTINCT, len(column) / 10) or (
        counts.max() >= MAX_SHARE * len(column)
    )


def blur_width(column: np.ndarray) -> float:
    """Width of the uniform noise that makes a column continuous, in its units; 0 if it is.

    A column most of whose values are repeated lies on a grid: the width is its step, taken as
    the median distance of neighbouring values. A value that more than 2 % of the rows share is
    a heap, spread over at least a hundredth of the column's range.
    """
    values, counts = np.unique(column, return_counts=True)
    repeated = counts[counts > 1].sum() / len(column)
    step = float(np.median(np.diff(values))) if repeated > 0.5 else 0.0
    heap = HEAP_WIDTH * float(np.ptp(values)) if counts.max() > HEAP_SHARE * len(column) else 0.0
    return max(step, heap)
