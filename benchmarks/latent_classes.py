"""Mixtures of tables of independent columns, by EM: any kinds of columns, and gaps.

Numbers are in units in which their column alone is normal, so that one class is the table of
independent columns itself, and each class has a Gaussian for every column of numbers and a table of
probabilities for events. Cells that are missing say nothing of the class.

pomegranate 1.1, which has such mixtures, cannot take categories beside numbers (one tensor has one
type) and gave wrong log-densities for tensors with gaps.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from column_densities import ColumnDensity, fit_column
from mixed_tables import CODED, Column
from scipy.special import logsumexp, ndtr, ndtri, softmax
from sklearn.cluster import KMeans

N_CLASSES = (1, 2, 4, 8, 16, 32, 64, 128)
PATIENCE = 2
HELD_OUT = 0.125
MOST_ITERATIONS = 100
TOLERANCE = 1e-4
LEAST_DEVIATION = 0.02
OUTLIERS = 0.01
"""Share of each class in which a number is as in the whole table."""

CLIP = 1e-12


@dataclass(frozen=True)
class Cells:
    """One column of some rows in units of its density.

    Attributes
    ----------
    which : ndarray of shape (n_samples,)
        Positions among the shares of the column; -1 for gaps.

    numbers : ndarray of shape (n_numbers,)
        Rows with a number that is no event.

    x, z, low, high : ndarrays of shape (n_numbers,)
        These, in normal units, and the ends of their cells there; the same without a grid.

    log_density : ndarray of shape (n_numbers,)
        Of the column alone.
    """

    which: np.ndarray
    numbers: np.ndarray
    x: np.ndarray
    z: np.ndarray
    low: np.ndarray
    high: np.ndarray
    log_density: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, density: ColumnDensity) -> "Cells":
        which = density.which(x)
        if density.numbers is None:
            return cls(which, *[np.empty(0, dtype=int)] * 6)
        at = np.flatnonzero(which == len(density.events))
        edges = [x[at]] * 2 if not density.numbers.column.step else density.numbers.edges(x[at])
        low, high = (density.numbers.cdf(edge).clip(CLIP, 1 - CLIP) for edge in edges)
        z, low, high = ndtri((low + high) / 2), ndtri(low), ndtri(high)
        return cls(which, at, x[at], z, low, high, density.numbers.log_density(x[at]))

    def log_ratios(self, means: np.ndarray, deviations: np.ndarray, exact: bool) -> np.ndarray:
        """Log-density of each class over that of the column alone, shape (n_numbers, n_classes).

        Exact ones are of the whole cell of a grid, others of its middle.
        """
        scaled = (self.z[:, None] - means) / deviations
        found = np.exp(0.5 * (self.z[:, None] ** 2 - scaled**2)) / deviations
        own = ndtr(self.high) - ndtr(self.low)
        wide = np.flatnonzero(own > 1e-9) if exact else []
        if len(wide):
            high, low = (
                ndtr((edge[wide, None] - means) / deviations) for edge in (self.high, self.low)
            )
            found[wide] = (high - low) / own[wide, None]
        return np.log((1 - OUTLIERS) * found + OUTLIERS)


@dataclass(frozen=True)
class LatentClasses:
    """A fitted mixture.

    Attributes
    ----------
    columns : sequence of Column

    densities : sequence of ColumnDensity

    weights : ndarray of shape (n_classes,)

    shares : list of ndarrays of shape (n_classes, n_shares)
        Probabilities of the events of each column.

    means, deviations, gaps, expected : ndarrays of shape (n_columns, n_classes)
        Of numbers in normal units, the shares of missing cells, and means of numbers as they are:
        those of Gaussians in normal units would be at the mercy of their tails.
    """

    columns: Sequence[Column]
    densities: Sequence[ColumnDensity]
    weights: np.ndarray
    shares: list[np.ndarray]
    means: np.ndarray
    deviations: np.ndarray
    gaps: np.ndarray
    expected: np.ndarray

    def joint(self, cells: Sequence[Cells], exact: bool = True) -> np.ndarray:
        """Log-densities of rows and classes, shape (n_samples, n_classes)."""
        found = np.tile(np.log(self.weights), (len(cells[0].which), 1))
        for j, column in enumerate(cells):
            log_shares = np.log(np.vstack([self.shares[j].T, np.ones(len(self.weights))]))
            found += log_shares[column.which]
            if len(column.numbers):
                ratios = column.log_ratios(self.means[j], self.deviations[j], exact)
                found[column.numbers] += ratios + column.log_density[:, None]
        return found

    def cells(self, rows: np.ndarray) -> list[Cells]:
        return [Cells.of(x, d) for x, d in zip(rows.T, self.densities, strict=True)]

    def log_density(self, rows: np.ndarray) -> np.ndarray:
        """Log-densities of the cells that are there, shape (n_samples,)."""
        return logsumexp(self.joint(self.cells(rows)), axis=1)

    def complete(self, rows: np.ndarray) -> np.ndarray:
        """Rows with gaps filled: conditional means of numbers, modes of categories."""
        posterior = softmax(self.joint(self.cells(rows)), axis=1)
        filled = rows.copy()
        for j, (column, density) in enumerate(zip(self.columns, self.densities, strict=True)):
            gaps = np.isnan(rows[:, j])
            if not gaps.any():
                continue
            if column.kind in CODED:
                filled[gaps, j] = (posterior[gaps] @ self.shares[j]).argmax(axis=1)
            else:
                values = np.tile(density.events, (len(self.weights), 1))
                if density.numbers is not None:
                    values = np.column_stack([values, self.expected[j]])
                filled[gaps, j] = posterior[gaps] @ (self.shares[j] * values).sum(axis=1)
        return filled

    def sample(self, n_samples: int, seed: int) -> np.ndarray:
        """Rows with gaps, shape (n_samples, n_columns)."""
        rng = np.random.default_rng(seed)
        classes = rng.choice(len(self.weights), n_samples, p=self.weights)
        drawn = [self.sample_column(j, classes, rng) for j in range(len(self.columns))]
        return np.column_stack(drawn)

    def sample_column(self, j: int, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        density, n = self.densities[j], len(classes)
        limits = np.cumsum(self.shares[j], axis=1)[:, :-1]
        which = (rng.random(n)[:, None] > limits[classes]).sum(axis=1)
        values = np.append(density.events, np.nan)[which.clip(max=len(density.events))]
        if density.numbers is not None:
            z = self.means[j][classes] + self.deviations[j][classes] * rng.standard_normal(n)
            values = np.where(
                which == len(density.events), density.numbers.quantile(ndtr(z)), values
            )
        return np.where(rng.random(n) < self.gaps[j][classes], np.nan, values)


def one_class(columns: Sequence[Column], rows: np.ndarray, seed: int) -> LatentClasses:
    """The table of independent columns."""
    densities = [fit_column(x, c, seed) for x, c in zip(rows.T, columns, strict=True)]
    n = len(columns)
    gaps = np.array([[density.gap_share] for density in densities])
    shares = [density.shares[None] for density in densities]
    expected = np.array([[d.numbers.mean if d.numbers else 0.0] for d in densities])
    means, deviations = np.zeros((n, 1)), np.ones((n, 1))
    return LatentClasses(columns, densities, np.ones(1), shares, means, deviations, gaps, expected)


def more_classes(
    single: LatentClasses, cells: Sequence[Cells], n_classes: int, seed: int, deadline: float
) -> LatentClasses:
    """A mixture fitted by EM, from the clusters of k-means."""
    if n_classes == 1:
        return single
    labels = KMeans(n_classes, n_init=1, random_state=seed).fit_predict(design(single, cells))
    responsibilities, before = np.eye(n_classes)[labels], -math.inf
    for _ in range(MOST_ITERATIONS):
        model = maximised(single, cells, responsibilities)
        joint = model.joint(cells, exact=False)
        score = float(logsumexp(joint, axis=1).mean())
        if score < before + TOLERANCE or time.perf_counter() > deadline:
            break
        responsibilities, before = softmax(joint, axis=1), score
    return model


def design(single: LatentClasses, cells: Sequence[Cells]) -> np.ndarray:
    """Columns for k-means: events one by one, and numbers in normal units; 0 in gaps."""
    parts = []
    for column, shares in zip(cells, single.shares, strict=True):
        parts.append((column.which[:, None] == np.arange(shares.shape[1])).astype(float))
        z = np.zeros((len(column.which), 1))
        z[column.numbers, 0] = column.z
        parts.append(z)
    return np.column_stack(parts)


def maximised(
    single: LatentClasses, cells: Sequence[Cells], responsibilities: np.ndarray
) -> LatentClasses:
    """The M step; each class has one row of the whole table beside its own."""
    n_samples, n_classes = responsibilities.shape
    weights = (responsibilities.sum(axis=0) + 1) / (n_samples + n_classes)
    parts = [
        maximised_column(single, j, column, responsibilities) for j, column in enumerate(cells)
    ]
    shares, *others = zip(*parts, strict=True)
    return LatentClasses(
        single.columns, single.densities, weights, list(shares),
        *map(np.array, others),
    )  # fmt: skip


def maximised_column(
    single: LatentClasses, j: int, column: Cells, responsibilities: np.ndarray
) -> tuple[np.ndarray, ...]:
    """What classes have of one column, in the order of the attributes of the mixture."""
    shares, gap_share, expected = single.shares[j], single.gaps[j], single.expected[j]
    sums = np.zeros((shares.shape[1] + 1, responsibilities.shape[1]))
    np.add.at(sums, column.which, responsibilities)  # that of gaps, -1, is the last
    counts = sums[:-1].T + shares
    gaps = (sums[-1] + gap_share) / (responsibilities.sum(axis=0) + 1)
    weights = responsibilities[column.numbers]
    total = weights.sum(axis=0) + 1
    means = weights.T @ column.z / total
    within_cells = (column.high - column.low)[:, None] ** 2 / 12
    squares = np.square(column.z[:, None] - means) + within_cells
    variances = ((weights * squares).sum(axis=0) + 1 + means**2) / total
    deviations = np.maximum(np.sqrt(variances), LEAST_DEVIATION)
    expected = (weights.T @ column.x + expected) / total
    return counts / counts.sum(axis=1, keepdims=True), means, deviations, gaps, expected


def fit_latent_classes(
    columns: Sequence[Column], rows: np.ndarray, seconds: float, seed: int
) -> LatentClasses:
    """The number of classes that held-out rows like best, fitted again to all rows.

    Numbers double until two in a row bring nothing or until half of the time is over.
    """
    start = time.perf_counter()
    deadline = start + seconds / 2
    order = np.random.default_rng(seed).permutation(len(rows))
    held_out, train = np.split(rows[order], [int(HELD_OUT * len(rows))])
    single = one_class(columns, train, seed)
    cells, judges = single.cells(train), single.cells(held_out)
    best, chosen, n_stale = -math.inf, 1, 0
    for n_classes in (k for k in N_CLASSES if 4 * k <= len(train)):
        model = more_classes(single, cells, n_classes, seed, deadline)
        score = float(logsumexp(model.joint(judges), axis=1).mean())
        n_stale += 1
        if score > best:
            best, chosen, n_stale = score, n_classes, 0
        if n_stale == PATIENCE or time.perf_counter() > deadline:
            break
    single = one_class(columns, rows, seed)
    return more_classes(single, single.cells(rows), chosen, seed, start + seconds)
