"""The methods that `bench_mixed.py` compares, each ``(table, seconds, seed)`` to a fit.

`skgbnf` is GradientBoostedFlowDensity with default parameters and `max_time`. Methods without such
a limit end when they are done: the imputers, and the samplers of sdv at their defaults. Those that
have something to choose hold out an eighth of the training rows for it.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from latent_classes import LatentClasses, fit_latent_classes, one_class
from mixed_tables import (
    CODED,
    Column,
    MixedFit,
    MixedTable,
    hide,
    nearest,
    rows_of,
)
from mixed_vines import fit_vine
from peers import OURS
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import skgbnf

HALF = 0.5
N_DRAWS, ROWS_AT_ONCE = 50, 200
MOST_PREDICTORS = 50


def fit_boosted(table: MixedTable, seconds: float, seed: int) -> MixedFit:
    """The estimator of this package, with frames as a user has them."""
    model = skgbnf.GradientBoostedFlowDensity(max_time=seconds, random_state=seed)
    model.fit(table.frame(table.train), X_reference=table.whole)

    def sample(n_samples: int) -> np.ndarray:
        frame = model.sample_frame(n_samples, random_state=seed, missing=True)
        return rows_of(frame, table.columns)

    return MixedFit(
        lambda rows: model.score_samples(table.frame(rows)),
        partial(completed_by_draws, model, table, seed),
        sample,
        {"families": [c.architecture.describe() for c in model.estimators_]},
    )


def completed_by_draws(model, table: MixedTable, seed: int, rows: np.ndarray) -> np.ndarray:
    """Rows whose gaps hold means of draws of numbers, and most frequent draws of categories."""
    parts = []
    for some in np.array_split(rows, -(-len(rows) // ROWS_AT_ONCE)):
        frame = model.sample_missing(table.frame(some), n_samples=N_DRAWS, random_state=seed)
        drawn = rows_of(frame, table.columns).reshape(len(some), N_DRAWS, -1)
        typical = drawn.mean(axis=1)
        for j in np.flatnonzero(table.categorical):
            codes = np.arange(len(table.columns[j].levels))
            typical[:, j] = (drawn[:, :, j, None] == codes).sum(axis=1).argmax(axis=1)
        parts.append(np.where(np.isnan(some), typical, some))
    return np.concatenate(parts)


def fit_independent(table: MixedTable, seconds: float, seed: int) -> MixedFit:
    """Independent columns, each with the density that held-out rows like best."""
    return from_classes(one_class(table.columns, table.train, seed), seed)


def fit_classes(table: MixedTable, seconds: float, seed: int) -> MixedFit:
    """A mixture of tables of independent columns, in twice the time.

    In 60 seconds EM on the larger tables did not get to more than one class.
    """
    return from_classes(fit_latent_classes(table.columns, table.train, 2 * seconds, seed), seed)


def from_classes(model: LatentClasses, seed: int) -> MixedFit:
    return MixedFit(
        model.log_density,
        model.complete,
        lambda n_samples: model.sample(n_samples, seed),
        {"n_classes": len(model.weights)},
    )


def fit_sampler(name: str, table: MixedTable, seconds: float, seed: int) -> MixedFit:
    """A synthesizer of sdv, which has samples and no density."""
    from sdv import single_table
    from sdv.metadata import Metadata

    torch.manual_seed(seed)
    types = {
        label: {"sdtype": "categorical" if column.kind in CODED else "numerical"}
        for label, column in zip(table.whole, table.columns, strict=True)
    }
    metadata = Metadata.load_from_dict({"tables": {"rows": {"columns": types}}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package, about its own future
        model = getattr(single_table, name)(metadata)
        model.fit({"rows": table.frame(table.train)})

    def sample(n_samples: int) -> np.ndarray:
        frame = model.sample(num_rows=n_samples)["rows"]
        return rows_of(frame[list(table.whole)], table.columns)

    return MixedFit(sample=sample)


def fit_imputer(make: Callable, table: MixedTable, seconds: float, seed: int) -> MixedFit:
    """An imputer of scikit-learn on standardised numbers and dummies of categories."""
    dummies = Dummies.of(table.columns, table.train)
    imputer = make(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten rounds, by default
        imputer.fit(dummies(table.train))
    return MixedFit(complete=lambda rows: dummies.inverse(imputer.transform(dummies(rows)), rows))


@dataclass(frozen=True)
class Dummies:
    """Rows as numbers of one scale: standardised columns, and dummies of categories.

    The first category of each column has no dummy, since all of them would be missing at once and
    each would be known from the others in the rows that an imputer learns from.
    """

    n_levels: list[int]
    location: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, columns: tuple[Column, ...], rows: np.ndarray) -> "Dummies":
        n_levels = [len(c.levels) if c.kind in CODED else 0 for c in columns]
        location, scale = moments(rows)
        return cls(n_levels, location, scale)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        scaled = (rows - self.location) / self.scale
        parts = []
        for j, n in enumerate(self.n_levels):
            levels = (rows[:, j, None] == np.arange(1, n)).astype(float)
            levels[np.isnan(rows[:, j])] = np.nan
            parts.append(levels if n else scaled[:, j, None])
        return np.column_stack(parts)

    def inverse(self, filled: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Rows whose gaps are taken from the filled numbers."""
        ends = np.cumsum([n - 1 if n else 1 for n in self.n_levels])
        values = []
        for j, part in enumerate(np.split(filled, ends[:-1], axis=1)):
            if self.n_levels[j]:
                values.append(np.column_stack([1 - part.sum(axis=1), part]).argmax(axis=1))
            else:
                values.append(part[:, 0] * self.scale[j] + self.location[j])
        return np.where(np.isnan(rows), np.column_stack(values), rows)


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of what is there; 0 and 1 where there is nothing."""
    n = np.maximum((~np.isnan(rows)).sum(axis=0), 1)
    location = np.nansum(rows, axis=0) / n
    scale = np.sqrt(np.nansum((rows - location) ** 2, axis=0) / n)
    return location, np.where(scale > 0, scale, 1.0)


def iterative_imputer(seed: int) -> IterativeImputer:
    """With the 50 best-correlated columns as predictors, as wide tables need."""
    return IterativeImputer(
        random_state=seed, n_nearest_features=MOST_PREDICTORS, keep_empty_features=True
    )


def fit_on(
    change: Callable, fit: Callable, table: MixedTable, seconds: float, seed: int
) -> MixedFit:
    """A method on changed training rows, of which only the density is of interest."""
    changed = replace(table, train=change(table, seed))
    return replace(fit(changed, seconds, seed), complete=None, sample=None)


def half_hidden(table: MixedTable, seed: int) -> np.ndarray:
    """Training rows with half of the cells hidden."""
    return hide(table.train, HALF, seed)


def half_imputed(table: MixedTable, seed: int) -> np.ndarray:
    """The same filled by the most frequent category or by the value nearest to the mean."""
    rows = half_hidden(table, seed)
    for x, column in zip(rows.T, table.columns, strict=True):
        known, counts = np.unique(x[~np.isnan(x)], return_counts=True)
        if len(known):
            mean = nearest(known, np.array([known @ counts / counts.sum()]))[0]
            x[np.isnan(x)] = known[counts.argmax() if column.kind in CODED else mean]
    return rows


METHODS: dict[str, Callable[..., MixedFit]] = {
    OURS: fit_boosted,
    "latent classes": fit_classes,
    "independent columns": fit_independent,
    "vine": fit_vine,
    "GaussianCopula": partial(fit_sampler, "GaussianCopulaSynthesizer"),
    "TVAE": partial(fit_sampler, "TVAESynthesizer"),
    "IterativeImputer": partial(fit_imputer, iterative_imputer),
    "KNNImputer": partial(fit_imputer, lambda seed: KNNImputer(keep_empty_features=True)),
    "mean and mode": partial(fit_imputer, lambda seed: SimpleImputer(keep_empty_features=True)),
    **{
        f"{name}, half {how}": partial(fit_on, change, fit)
        for name, fit in {OURS: fit_boosted, "latent classes": fit_classes}.items()
        for how, change in {"hidden": half_hidden, "imputed": half_imputed}.items()
    },
}
"""The methods by name, this package first: the others are compared with it."""

NEEDS = {"vine": "pyvinecopulib", "GaussianCopula": "sdv", "TVAE": "sdv"}
"""Packages of methods that are left out where these are not installed."""
