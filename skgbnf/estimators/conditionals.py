"""Conditional log-densities and completions of samples, of mixed tables and of numbers."""

from typing import Any

import numpy as np
import torch

from skgbnf._device import score_device
from skgbnf.estimators.completions import completions
from skgbnf.estimators.fitted import FittedDensity, of_all_rounds
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.estimators.part_samplers import GuidedSampler, MixedSampler, log_integral

_N_PROPOSED = 32
"""Completions of a sample from which one is drawn; of more there is one more for each."""


def conditional_scores(
    density: Any, rows: np.ndarray, given: np.ndarray, n_draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log-density of what is known of samples, given a part of it, with standard errors.

    Parameters
    ----------
    density : GradientBoostedFlowDensity
        Fitted.

    rows : ndarray of shape (n_samples, n_features)
        Samples as numbers, NaN where a value is missing.

    given : ndarray of bool of shape (n_samples, n_features)

    n_draws : int

    seed : int
    """
    rest = ~np.isnan(rows) & ~given
    if isinstance(density.fitted_.coordinates, MixedCoordinates):
        return _of_mixed(density, rows, rest, n_draws, seed)
    joint, joint_std = _of_numbers(density, rows, np.isnan(rows), n_draws, seed)
    part, part_std = _of_numbers(density, rows, rest | np.isnan(rows), n_draws, seed)
    return joint - part, np.hypot(joint_std, part_std)


def scores_of_parts(density: Any, rows: np.ndarray, n_draws: int = 1000) -> np.ndarray:
    """Log-density of what is known of samples.

    Parameters
    ----------
    density, rows
        As for :func:`conditional_scores`.

    n_draws : int, default=1000
        Of an estimate for a density of numbers, whose components know whole samples alone.
    """
    fitted = density.fitted_
    if isinstance(fitted.coordinates, MixedCoordinates):
        return np.asarray(
            fitted.log_densities([rows], score_device(density.device), of_all_rounds)[0]
        )
    return _of_numbers(density, rows, np.isnan(rows), n_draws, 0)[0]


def completed_rows(density: Any, rows: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """Samples with draws in place of what is missing, (n_rows, n_samples, n_features)."""
    fitted = density.fitted_
    n_proposed = n_samples + _N_PROPOSED
    if not isinstance(fitted.coordinates, MixedCoordinates):
        sampler = GuidedSampler(density)
        return completions(sampler, rows, np.isnan(rows), n_samples, n_proposed, seed)
    possible = np.where(fitted.coordinates.impossible(rows), np.nan, rows)
    Z, _ = fitted.coordinates.transform(possible)
    wanted = np.isnan(rows)[:, fitted.coordinates.features]
    if _is_exact(fitted) and len(fitted.combination.components) == 1:
        # The conditional itself; of several components their weights given the rest would differ.
        Z, wanted = (np.repeat(part, n_samples, axis=0) for part in (Z, wanted))
        n_samples, n_proposed = 1, 1
    own = MixedSampler(fitted, score_device(density.device))
    completed = completions(own, Z, wanted, n_samples, n_proposed, seed)
    X = fitted.coordinates.inverse_transform(completed.reshape(-1, Z.shape[1]))
    X = X.reshape(len(rows), -1, rows.shape[1])
    # What is known stays as it is, without a way there and back.
    return np.where(np.isnan(rows)[:, None], X, rows[:, None])


def _of_numbers(
    density: Any, rows: np.ndarray, hidden: np.ndarray, n_draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log-density of what is not hidden, of a density of complete samples."""
    scores, std = np.zeros(len(rows)), np.zeros(len(rows))
    whole, none = ~hidden.any(axis=1), hidden.all(axis=1)
    if whole.any():
        device = score_device(density.device)
        scores[whole] = density.fitted_.log_densities([rows[whole]], device, of_all_rounds)[0]
    part = ~whole & ~none
    if part.any():
        sampler = GuidedSampler(density)
        scores[part], std[part] = log_integral(sampler, rows[part], hidden[part], n_draws, seed)
    return scores, std


def _of_mixed(
    density: Any, rows: np.ndarray, rest: np.ndarray, n_draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Conditional log-densities of a density of a mixed table."""
    fitted, device = density.fitted_, score_device(density.device)
    coordinates: MixedCoordinates = fitted.coordinates
    impossible = coordinates.impossible(rows)
    # As a condition, what has no density says nothing.
    rows = np.where(impossible & ~rest, np.nan, rows)
    Z, log_det = coordinates.transform(rows)
    given_log_det = coordinates.transform(np.where(rest, np.nan, rows))[1]
    wanted = rest[:, coordinates.features]
    joint = _log_prob(fitted, Z, device)
    part, std = joint.copy(), np.zeros(len(rows))
    left = rest.any(axis=1)
    if _is_exact(fitted):
        part = _log_prob(fitted, np.where(wanted, np.nan, Z), device)
    else:
        for k, variable in enumerate(coordinates.variables):
            alone = left & wanted[:, k] & (wanted.sum(axis=1) == 1)
            if variable.n_levels and variable.n_levels <= n_draws and alone.any():
                part[alone] = _log_sum_over_levels(fitted, Z[alone], k, variable.n_levels, device)
                left &= ~alone
        if left.any():
            sampler = MixedSampler(fitted, device)
            part[left], std[left] = log_integral(sampler, Z[left], wanted[left], n_draws, seed)
    scores = joint + log_det - part - given_log_det
    scores[(impossible & rest).any(axis=1)] = -np.inf
    return np.where(rest.any(axis=1), scores, 0.0), std


def _log_sum_over_levels(
    fitted: FittedDensity, Z: np.ndarray, k: int, n_levels: int, device: torch.device
) -> np.ndarray:
    """Logarithm of the sum of the density over all codes of one variable."""
    every = np.repeat(Z, n_levels, axis=0)
    every[:, k] = np.tile(np.arange(n_levels), len(Z))
    scores = _log_prob(fitted, every, device).reshape(len(Z), n_levels)
    return np.asarray(np.logaddexp.reduce(scores, axis=1))


def _log_prob(fitted: FittedDensity, Z: np.ndarray, device: torch.device) -> np.ndarray:
    """Log-densities in the units of components."""
    combination = fitted.combination.at(torch.float64, device)
    x = torch.from_numpy(Z).to(device)
    return np.asarray(of_all_rounds(combination, x, None)[0].cpu().numpy())


def _is_exact(fitted: FittedDensity) -> bool:
    """Whether all components have closed forms for all marginals."""
    components = fitted.combination.components
    return all(component.architecture.record.has_marginals for component in components)
