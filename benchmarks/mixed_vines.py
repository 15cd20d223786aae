"""Vine copulas with margins of several kinds, for `bench_mixed.py`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from mixed_tables import CODED, Column, MixedFit, MixedTable, events, has_numbers, log_cell, on_grid
from peers import vine_controls

HELD_OUT = 0.125
FEWEST_COMPLETE = 0.1
"""Share of complete training rows below which those say too little of the others."""


def fit_vine(table: MixedTable, seconds: float, seed: int) -> MixedFit:
    """VineDensity of pyvinecopulib, with margins of the kinds that it has, on complete rows.

    Categories go in as their codes: as dummies they would have probabilities for two levels at
    once. Held-out rows choose how pair copulas are fitted, as in `bench_peers.py`.
    """
    whole = complete_rows(table.train)
    if len(whole) < FEWEST_COMPLETE * len(table.train):
        raise ValueError(f"only {len(whole)} of {len(table.train)} training rows are complete")
    coding = VineCoding.of(table.columns, whole)
    held_out, train = np.split(coding(whole), [int(HELD_OUT * len(whole))])
    tried = {
        name: finite_mean(model.score_samples(held_out))
        for name, model in fitted_vines(coding, train, seconds / 2, seed)
    }
    chosen = max(tried, key=tried.get)
    model = vine(coding, vine_controls()[chosen], seed).fit(coding(whole))

    def log_density(rows: np.ndarray) -> np.ndarray:
        scores = np.full(len(rows), np.nan)
        there = ~np.isnan(rows).any(axis=1)
        found = model.score_samples(coding(rows[there])) + coding.log_det
        scores[there] = np.where(coding.possible(rows[there]), found, -np.inf)
        return scores

    return MixedFit(
        log_density,
        sample=lambda n_samples: coding.inverse(model.sample(n_samples, seed)),
        chosen={"pair_copulas": chosen},
        takes_gaps=False,
    )


@dataclass(frozen=True)
class VineCoding:
    """Rows in units of their grids, without constant columns, and the types of the margins.

    The most frequent atom of a column is moved to zero, where such a margin may have one; a cell
    of the grid stands for the others.
    """

    rows: np.ndarray
    kept: np.ndarray
    origins: np.ndarray
    units: np.ndarray
    grids: list[bool]
    types: list[str]
    supports: list[tuple[float, float] | None]
    log_det: float

    @classmethod
    def of(cls, columns: tuple[Column, ...], rows: np.ndarray) -> "VineCoding":
        kept = np.array([len(np.unique(x)) > 1 for x in rows.T])
        used = [column for column, keep in zip(columns, kept, strict=True) if keep]
        types = ["d" if not has_numbers(c) else "zi" if c.atoms else "c" for c in used]
        units = np.array([column.step or 1.0 for column in used])
        origins = [origin(x, column) for x, column in zip(rows[:, kept].T, used, strict=True)]
        supports = [
            (0.0, (events(c)[-1] - start) / unit) if kind == "d" else None
            for c, kind, start, unit in zip(used, types, origins, units, strict=True)
        ]
        grids = [column.step > 0 or column.kind in CODED for column in used]
        log_det = -sum(map(log_cell, used))
        return cls(rows, kept, np.array(origins), units, grids, types, supports, log_det)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return (rows[:, self.kept] - self.origins) / self.units

    def possible(self, rows: np.ndarray) -> np.ndarray:
        """Whether rows have the only value of each column without a margin."""
        return (rows == self.rows[0])[:, ~self.kept].all(axis=1)

    def inverse(self, coded: np.ndarray) -> np.ndarray:
        rows = np.tile(self.rows[0], (len(coded), 1))
        for i, j in enumerate(np.flatnonzero(self.kept)):
            x = self.origins[i] + self.units[i] * coded[:, i]
            known = np.unique(self.rows[:, j])
            rows[:, j] = on_grid(x, known, self.units[i]) if self.grids[i] else x
        return rows


def origin(x: np.ndarray, column: Column) -> float:
    """The first event of a column without other numbers; else the most frequent atom, or 0."""
    if not has_numbers(column):
        return float(events(column)[0])
    return max(column.atoms, key=lambda atom: (x == atom).sum(), default=0.0)


def fitted_vines(
    coding: VineCoding, train: np.ndarray, seconds: float, seed: int
) -> Iterator[tuple[str, object]]:
    """Vines by the names of their controls, while the next would end in time."""
    start, took = time.perf_counter(), 0.0
    for name, controls in vine_controls().items():
        begin = time.perf_counter()
        if begin - start + took > seconds:
            return
        yield name, vine(coding, controls, seed).fit(train)
        took = time.perf_counter() - begin


def vine(coding: VineCoding, controls, seed: int):
    from pyvinecopulib.sklearn import VineDensity

    model = VineDensity(controls=controls, random_state=seed, n_jobs=1)
    model.schema_ = {"var_types": coding.types, "supports": coding.supports}
    return model


def finite_mean(scores: np.ndarray) -> float:
    return float(scores[np.isfinite(scores)].mean())


def complete_rows(rows: np.ndarray) -> np.ndarray:
    return rows[~np.isnan(rows).any(axis=1)]
