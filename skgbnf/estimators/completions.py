"""Draws of what samples lack, and what is typical of them."""

import math
from typing import Any

import numpy as np

from skgbnf._device import score_device
from skgbnf._random import derive_seed
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.estimators.part_samplers import GuidedSampler, MixedSampler, PartSampler
from skgbnf.table.column import Column

_DRAWS_AT_ONCE = 50_000


def drawn_completions(density: Any, rows: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
    """Draws of each sample's missing values, given its others.

    As many completions are proposed as are asked for, and resampled by their weights: those of a
    sample may repeat.

    Parameters
    ----------
    density : GradientBoostedFlowDensity
        Fitted.

    rows : ndarray of shape (n_samples, n_features)
        Samples as numbers, NaN where a value is missing.

    n_draws : int

    seed : int

    Returns
    -------
    drawn : ndarray of shape (n_samples, n_draws, n_features)
    """
    drawn = np.empty((len(rows), n_draws, rows.shape[1]))
    n_rows = max(1, _DRAWS_AT_ONCE // n_draws)
    for start in range(0, len(rows), n_rows):
        some = slice(start, start + n_rows)
        own = derive_seed(seed, start)
        proposed, log_ratio = _proposed(density, np.repeat(rows[some], n_draws, axis=0), own)
        proposed = proposed.reshape(-1, n_draws, rows.shape[1])
        chosen = resampled(log_ratio.reshape(-1, n_draws), np.random.default_rng(own))
        drawn[some] = np.take_along_axis(proposed, chosen[:, :, None], axis=1)
    return drawn


def _proposed(density: Any, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples with draws of what is missing, and the logarithms of their weights."""
    fitted, missing = density.fitted_, np.isnan(rows)
    coordinates, sampler = fitted.coordinates, _sampler(density)
    if not isinstance(coordinates, MixedCoordinates):
        return sampler.draw(rows, missing, seed)
    Z, _ = coordinates.transform(rows)
    drawn, log_ratio = sampler.draw(Z, missing[:, coordinates.features], seed)
    return coordinates.inverse_transform(drawn), log_ratio


def _sampler(density: Any) -> PartSampler:
    if isinstance(density.fitted_.coordinates, MixedCoordinates):
        return MixedSampler(density.fitted_, score_device(density.device))
    return GuidedSampler(density)


def resampled(log_weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices in proportion to weights, by systematic resampling of each row.

    Parameters
    ----------
    log_weights : ndarray of shape (n_samples, n_draws)

    rng : Generator

    Returns
    -------
    chosen : ndarray of int of shape (n_samples, n_draws)
        Ascending in each row; each index as often as its share of the weight says, up to one.
    """
    n_rows, n_draws = log_weights.shape
    top = log_weights.max(axis=1, keepdims=True)
    weights = np.exp(log_weights - np.where(np.isfinite(top), top, 0.0))
    weights[~np.isfinite(top[:, 0])] = 1.0
    cumulative = weights.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    places = (np.arange(n_draws) + rng.random((n_rows, 1))) / n_draws
    pairs = zip(cumulative, places, strict=True)
    chosen = [np.searchsorted(ends, place, side="right") for ends, place in pairs]
    return np.minimum(np.array(chosen, dtype=int).reshape(n_rows, n_draws), n_draws - 1)


def mean_of(draws: np.ndarray, column: Column) -> np.ndarray:
    """Mean of the draws of each sample, of numbers; the most frequent draw of other columns.

    Parameters
    ----------
    draws : ndarray of shape (n_samples, n_draws)

    column : Column

    Returns
    -------
    means : ndarray of shape (n_samples,)
        Not yet on the grid of the column, but for codes.
    """
    if column.period:
        angles = draws * (2 * math.pi / column.period)
        means = np.arctan2(np.sin(angles).mean(axis=1), np.cos(angles).mean(axis=1))
        start = 0.0 if draws.min(initial=0.0) >= 0 else -column.period / 2
        return start + np.remainder(means * column.period / (2 * math.pi) - start, column.period)
    if not column.is_coded:
        return np.asarray(draws.mean(axis=1))
    if column.kind != "ordinal" or not column.holds_numbers:
        return most_frequent(draws)
    levels = np.array(column.levels, dtype=np.float64)
    means = levels[draws.astype(int)].mean(axis=1)
    return np.abs(means[:, None] - levels).argmin(axis=1).astype(np.float64)


def mode_of(draws: np.ndarray, column: Column) -> np.ndarray:
    """Most frequent draw of each sample; of continuous columns the half-sample mode.

    An atom is the mode where at least half of the draws are atoms.

    Parameters
    ----------
    draws : ndarray of shape (n_samples, n_draws)

    column : Column

    Returns
    -------
    modes : ndarray of shape (n_samples,)
    """
    if column.is_coded or column.kind == "ordinal":
        return most_frequent(draws)
    if not column.atoms:
        return half_sample_mode(draws)
    modes = np.empty(len(draws))
    for i, own in enumerate(draws):
        at = np.isin(own, column.atoms)
        free = own[None, ~at]
        modes[i] = (
            most_frequent(own[None, at])[0]
            if 2 * at.sum() >= len(own)
            else (half_sample_mode(free)[0])
        )
    return modes


def most_frequent(draws: np.ndarray) -> np.ndarray:
    """Most frequent value of each row; of several the one nearest to the median."""
    modes = np.empty(len(draws))
    for i, own in enumerate(draws):
        values, counts = np.unique(own, return_counts=True)
        most = values[counts == counts.max()]
        modes[i] = most[np.abs(most - np.median(own)).argmin()]
    return modes


def half_sample_mode(draws: np.ndarray) -> np.ndarray:
    """Mode of each row: the shortest half of its values, the shortest half of that, and so on.

    References
    ----------
    On a Fast, Robust Estimator of the Mode: Comparisons to Other Robust Estimators with
    Applications. D. R. Bickel, R. Frühwirth, 2006. https://arxiv.org/abs/math/0505419
    """
    x = np.sort(draws, axis=1)
    while x.shape[1] > 2:
        n_half = -(-x.shape[1] // 2)
        widths = x[:, n_half - 1 :] - x[:, : x.shape[1] - n_half + 1]
        start = widths.argmin(axis=1)
        x = np.take_along_axis(x, start[:, None] + np.arange(n_half), axis=1)
    return np.asarray(x.mean(axis=1))
