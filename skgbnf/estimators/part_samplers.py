"""Draws of a part of each sample given the rest, weighed by the fitted density."""

from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple, Protocol, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch

from skgbnf._device import score_device
from skgbnf._random import derive_seed
from skgbnf.estimators.fitted import FittedDensity, of_all_rounds
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.training.parts import Proposals

DRAWS_AT_ONCE = 20_000
"""Draws of one call of a sampler, which bounds its memory."""

_N_FITTED = 5_000


class Drawn(NamedTuple):
    """Samples with draws of a part of each.

    Parameters
    ----------
    completed : ndarray of shape (n_samples, n_columns)

    log_p : ndarray of shape (n_samples,)
        Log-density of all that is known or drawn, in the units of the samples.

    log_q : ndarray of shape (n_samples,)
        Log-density that the draws were drawn by.
    """

    completed: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray


class PartSampler(Protocol):
    """What proposes completions of samples, which may be in units of its own.

    Attributes
    ----------
    features : ndarray of int of shape (n_columns,)
        The feature that each column of the samples belongs to.
    """

    features: np.ndarray

    def draw(self, rows: np.ndarray, wanted: np.ndarray, seed: int) -> Drawn:
        """Samples with draws of what is wanted, which is NaN."""

    def log_q(self, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Log-density that a draw of what is wanted has, given the rest."""

    def alone(self, draw: float) -> Self:
        """One of the densities that this is a mixture of, chosen by a uniform number."""


class _WithProposals:
    _proposals: Proposals

    def alone(self, draw: float) -> Self:
        other = copy(self)
        other._proposals = self._proposals.alone(draw)
        return other


class MixedSampler(_WithProposals):
    """Draws by the components of a density of a mixed table; samples are in their units."""

    def __init__(self, fitted: FittedDensity, device: torch.device) -> None:
        mixture: Any = fitted.combination.at(torch.float64, device)
        coordinates: Any = fitted.coordinates
        self._proposals, self._device = Proposals(mixture), device
        self.features = coordinates.features

    def draw(self, rows: np.ndarray, wanted: np.ndarray, seed: int) -> Drawn:
        x, mask = self._tensors(rows, wanted)
        drawn = self._proposals.draw(x, mask, seed)
        return Drawn(*(part.cpu().numpy() for part in drawn))

    def log_q(self, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return np.asarray(self._proposals.log_q(*self._tensors(rows, wanted)).cpu().numpy())

    def _tensors(self, *arrays: np.ndarray) -> Iterator[torch.Tensor]:
        return (torch.from_numpy(array).to(self._device) for array in arrays)


class GuidedSampler(_WithProposals):
    """Draws by a mixture of Gaussians fitted to draws of a density of real numbers.

    Parameters
    ----------
    density : GradientBoostedFlowDensity
        Fitted to a table of numbers.
    """

    def __init__(self, density: Any) -> None:
        self._density, guide = density, _guide_of(density).fitted_
        self._coordinates: MixedCoordinates = guide.coordinates
        self._proposals = Proposals(guide.combination.at(torch.float64, torch.device("cpu")))
        self.features = np.arange(density.n_features_in_)

    def draw(self, rows: np.ndarray, wanted: np.ndarray, seed: int) -> Drawn:
        given, given_log_det = self._coordinates.transform(rows)
        x, mask = torch.from_numpy(given), torch.from_numpy(wanted)
        completed, _, log_q = self._proposals.draw(x, mask, seed)
        X = self._coordinates.inverse_transform(completed.numpy())
        log_det = self._coordinates.transform(X)[1] - given_log_det
        # Not by score_samples, which asks a fit to a frame for names.
        device = score_device(self._density.device)
        log_p = self._density.fitted_.log_densities([X], device, of_all_rounds)[0]
        return Drawn(X, log_p, log_q.numpy() + log_det)

    def log_q(self, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        completed, log_det = self._coordinates.transform(rows)
        given_log_det = self._coordinates.transform(np.where(wanted, np.nan, rows))[1]
        x, mask = torch.from_numpy(completed), torch.from_numpy(wanted)
        return self._proposals.log_q(x, mask).numpy() + log_det - given_log_det


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
    n_rows = max(1, DRAWS_AT_ONCE // n_draws)
    for start in range(0, len(rows), n_rows):
        some = slice(start, start + n_rows)
        repeated, mask = (np.repeat(part[some], n_draws, axis=0) for part in (hidden, wanted))
        drawn = sampler.draw(repeated, mask, derive_seed(seed, start))
        log_ratio = (drawn.log_p - drawn.log_q).reshape(-1, n_draws)
        top = log_ratio.max(axis=1, keepdims=True)
        ratios = np.exp(log_ratio - top)
        mean = ratios.mean(axis=1)
        scores[some] = top[:, 0] + np.log(mean)
        std[some] = ratios.std(axis=1) / (mean * np.sqrt(n_draws))
    return scores, std
