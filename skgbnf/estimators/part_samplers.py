"""Draws of a part of each sample given the rest, weighed by the fitted density."""

from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch

from skgbnf._device import score_device
from skgbnf._random import derive_seed
from skgbnf.estimators.fitted import FittedDensity, of_all_rounds
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.training.mixture import Mixture
from skgbnf.training.parts import Proposals

_DRAWS_AT_ONCE = 20_000
_N_FITTED = 5_000


class PartSampler(Protocol):
    """What proposes completions of samples, which may be in units of its own."""

    def draw(
        self, rows: np.ndarray, wanted: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples with draws of what is wanted, which is NaN, and log p - log q of each.

        With p the density of all that is known or drawn, in the units of the samples, and q that of
        the draws.
        """


class MixedSampler:
    """Draws by the components of a density of a mixed table; samples are in their units."""

    def __init__(self, fitted: FittedDensity, device: torch.device) -> None:
        mixture: Any = fitted.combination.at(torch.float64, device)
        self._proposals, self._device = Proposals(mixture), device

    def draw(
        self, rows: np.ndarray, wanted: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        x, mask = (torch.from_numpy(array).to(self._device) for array in (rows, wanted))
        completed, log_ratio = self._proposals.draw(x, mask, seed)
        return completed.cpu().numpy(), log_ratio.cpu().numpy()


class GuidedSampler:
    """Draws by a mixture of Gaussians fitted to draws of a density of real numbers.

    Parameters
    ----------
    density : GradientBoostedFlowDensity
        Fitted to a table of numbers.
    """

    def __init__(self, density: Any) -> None:
        self._density, self._guide = density, _guide_of(density)

    def draw(
        self, rows: np.ndarray, wanted: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        coordinates: MixedCoordinates = self._guide.fitted_.coordinates
        mixture: Mixture = self._guide.fitted_.combination.at(torch.float64, torch.device("cpu"))
        given, given_log_det = coordinates.transform(rows)
        completed, log_ratio = Proposals(mixture).draw(
            torch.from_numpy(given), torch.from_numpy(wanted), seed
        )
        X = coordinates.inverse_transform(completed.numpy())
        log_det = coordinates.transform(X)[1] - given_log_det
        log_q = (mixture.log_prob(completed) - log_ratio).numpy() + log_det
        # Not by score_samples, which asks a fit to a frame for names.
        device = score_device(self._density.device)
        log_p = self._density.fitted_.log_densities([X], device, of_all_rounds)[0]
        return X, log_p - log_q


_GUIDES: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""Guides of fitted densities in use; beside them, lest they get into pickles and copies."""


def _guide_of(density: Any) -> Any:
    """A density of real numbers that knows all conditionals, near another one.

    Raises
    ------
    ValueError
        If a feature has atoms, whose probabilities a guide would miss.
    """
    fitted = density.fitted_
    if any(len(atoms) for atoms in fitted.coordinates.noise.atoms):
        raise ValueError(
            "a feature has atoms (atoms_): what the density says of parts of a sample is known "
            "after a fit to a data frame, or with columns={...: 'mixed'}."
        )
    if fitted not in _GUIDES:
        drawn = density.sample(_N_FITTED, random_state=0)
        kinds = dict.fromkeys(range(drawn.shape[1]), "continuous")
        guide = type(density)(2, columns=kinds, flow="location_mixture", n_folds=None)
        _GUIDES[fitted] = guide.set_params(random_state=0).fit(drawn)
    return _GUIDES[fitted]


def log_integral(
    sampler: PartSampler, rows: np.ndarray, wanted: np.ndarray, n_draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of the integral of the density over what is wanted, and its standard error.

    The mean of p / q over draws is without bias for the integral.
    """
    scores, std = np.empty(len(rows)), np.empty(len(rows))
    hidden = np.where(wanted, np.nan, rows)
    n_rows = max(1, _DRAWS_AT_ONCE // n_draws)
    for start in range(0, len(rows), n_rows):
        some = slice(start, start + n_rows)
        repeated, mask = (np.repeat(part[some], n_draws, axis=0) for part in (hidden, wanted))
        _, log_ratio = sampler.draw(repeated, mask, derive_seed(seed, start))
        log_ratio = log_ratio.reshape(-1, n_draws)
        top = log_ratio.max(axis=1, keepdims=True)
        ratios = np.exp(log_ratio - top)
        mean = ratios.mean(axis=1)
        scores[some] = top[:, 0] + np.log(mean)
        std[some] = ratios.std(axis=1) / (mean * np.sqrt(n_draws))
    return scores, std


def completions(
    sampler: PartSampler,
    rows: np.ndarray,
    wanted: np.ndarray,
    n_samples: int,
    n_proposed: int,
    seed: int,
) -> np.ndarray:
    """Samples with draws of what is wanted: of all that are proposed for one, some by their weight.

    Returns
    -------
    completed : ndarray of shape (n_rows, n_samples, n_columns)
    """
    completed = np.repeat(rows[:, None], n_samples, axis=1)
    rng = np.random.default_rng(derive_seed(seed, 0))
    places = np.flatnonzero(wanted.any(axis=1))
    n_rows = max(1, _DRAWS_AT_ONCE // n_proposed)
    for start in range(0, len(places), n_rows):
        some = places[start : start + n_rows]
        repeated, mask = (np.repeat(part[some], n_proposed, axis=0) for part in (rows, wanted))
        drawn, log_ratio = sampler.draw(repeated, mask, derive_seed(seed, 1, start))
        drawn = drawn.reshape(len(some), n_proposed, -1)
        chosen = resampled(log_ratio.reshape(-1, n_proposed), n_samples, rng)
        completed[some] = np.take_along_axis(drawn, chosen[..., None], axis=1)
    return completed


def resampled(log_weights: np.ndarray, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Indices in proportion to weights, by systematic resampling of each row, in random order.

    Parameters
    ----------
    log_weights : ndarray of shape (n_samples, n_proposed)

    n_draws : int

    rng : Generator

    Returns
    -------
    chosen : ndarray of int of shape (n_samples, n_draws)
        Each index as often as its share of the weight says, up to one.
    """
    n_rows, n_proposed = log_weights.shape
    top = log_weights.max(axis=1, keepdims=True)
    weights = np.exp(log_weights - np.where(np.isfinite(top), top, 0.0))
    weights[~np.isfinite(top[:, 0])] = 1.0
    cumulative = weights.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    places = (np.arange(n_draws) + rng.random((n_rows, 1))) / n_draws
    pairs = zip(cumulative, places, strict=True)
    chosen = [np.searchsorted(ends, place, side="right") for ends, place in pairs]
    index = np.minimum(np.array(chosen, dtype=int).reshape(n_rows, n_draws), n_proposed - 1)
    return rng.permuted(index, axis=1)
