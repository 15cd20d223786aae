"""Importance sampling of what a density does not say of parts of a sample by itself."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from skgbnf._random import derive_seed

_N_FITTED = 5_000
_N_DRAWS = 1_000
_SHARE_OF_WIDE = 0.1
_ROWS_AT_ONCE = 100


@dataclass(frozen=True, eq=False)
class Proposal:
    """A density, and one fitted to its draws, which knows all parts of a sample.

    Attributes
    ----------
    density, guide : GradientBoostedFlowDensity
        The second one is fitted to draws of the first.
    """

    density: Any
    guide: Any

    def log_densities(self, rows: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Log-density of what is known of each sample, and its standard error.

        The mean of p / q over draws of what is missing from a density q is unbiased for the density
        of the rest.
        """
        scores, std = np.empty(len(rows)), np.zeros(len(rows))
        whole = ~np.isnan(rows).any(axis=1)
        empty = np.isnan(rows).all(axis=1)
        scores[whole], scores[empty] = self._scored(rows[whole]), 0.0
        parts = np.flatnonzero(~whole & ~empty)
        for start in range(0, len(parts), _ROWS_AT_ONCE):
            index = parts[start : start + _ROWS_AT_ONCE]
            _, log_ratios = self._drawn(rows[index], derive_seed(seed, start))
            top = log_ratios.max(axis=1, keepdims=True)
            ratios = np.exp(log_ratios - top)
            mean = ratios.mean(axis=1)
            scores[index] = top[:, 0] + np.log(mean)
            std[index] = ratios.std(axis=1) / mean / np.sqrt(_N_DRAWS)
        return scores, std

    def completed(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Samples with draws in place of gaps, one of a thousand by its weight for each."""
        rows = rows.copy()
        rng = np.random.default_rng(seed)
        parts = np.flatnonzero(np.isnan(rows).any(axis=1))
        for start in range(0, len(parts), _ROWS_AT_ONCE):
            index = parts[start : start + _ROWS_AT_ONCE]
            drawn, log_ratios = self._drawn(rows[index], derive_seed(seed, start))
            noise = rng.gumbel(size=log_ratios.shape)
            chosen = (log_ratios + noise).argmax(axis=1)
            rows[index] = drawn[np.arange(len(index)), chosen]
        return rows

    def _drawn(self, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Completions of samples, (n_rows, n_draws, n_features), and log p - log q of each."""
        drawn = self.guide.sample_missing(rows, _N_DRAWS, random_state=seed)
        flat = drawn.reshape(-1, rows.shape[1]).astype(np.float64)
        given = ~np.isnan(np.repeat(rows, _N_DRAWS, axis=0))
        log_q = self.guide._conditional(flat, given)[0]
        return drawn.astype(np.float64), (self._scored(flat) - log_q).reshape(len(rows), _N_DRAWS)

    def _scored(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.density.score_samples(rows), dtype=np.float64)


_PROPOSALS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""Guides of fitted densities in use; beside them, lest they get into pickles and copies."""


def proposal_for(density: Any) -> Proposal:
    """What completes samples of a density, made at the first call.

    Raises
    ------
    ValueError
        If a feature has atoms, whose probabilities draws of a guide would miss.
    """
    fitted = density.fitted_
    if any(len(atoms) for atoms in fitted.coordinates.noise.atoms):
        raise ValueError(
            "a feature has atoms (atoms_), for which parts of a sample are known only after a fit "
            "to a data frame, or with columns={...: 'mixed'}."
        )
    if fitted not in _PROPOSALS:
        drawn = density.sample(_N_FITTED, random_state=0)
        kinds = dict.fromkeys(range(drawn.shape[1]), "continuous")
        guide = type(density)(2, columns=kinds, flow="location_mixture", random_state=0)
        _PROPOSALS[fitted] = guide.fit(drawn)
    return Proposal(density, _PROPOSALS[fitted])
