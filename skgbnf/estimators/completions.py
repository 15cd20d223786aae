"""Completions of samples, drawn from a fitted density: by importance, then by Metropolis steps."""

import math

import numpy as np

from skgbnf._random import derive_seed
from skgbnf.estimators.part_samplers import DRAWS_AT_ONCE, PartSampler

_LEAST_SHARE = 0.3
_N_HALVINGS = 30
_LEAST_POWER, _LEAST_LOG_WEIGHT = 1e-12, -1e300
_N_SWEEPS = 3


def completions(
    sampler: PartSampler,
    rows: np.ndarray,
    wanted: np.ndarray,
    n_samples: int,
    n_proposed: int,
    seed: int,
) -> np.ndarray:
    """Samples with draws of what is wanted: of all that are proposed for one, some by their weight.

    Where few weights would decide, draws by flattened weights are the start of Metropolis steps.

    Returns
    -------
    completed : ndarray of shape (n_rows, n_samples, n_columns)
    """
    completed = np.repeat(rows[:, None], n_samples, axis=1)
    rng = np.random.default_rng(derive_seed(seed, 0))
    places = np.flatnonzero(wanted.any(axis=1))
    n_rows = max(1, DRAWS_AT_ONCE // n_proposed)
    for start in range(0, len(places), n_rows):
        some = places[start : start + n_rows]
        repeated, mask = (np.repeat(part[some], n_proposed, axis=0) for part in (rows, wanted))
        drawn = sampler.draw(repeated, mask, derive_seed(seed, 1, start))
        log_p = drawn.log_p.reshape(-1, n_proposed)
        log_weights = log_p - drawn.log_q.reshape(-1, n_proposed)
        chosen = resampled(log_weights, n_samples, rng)
        proposed = drawn.completed.reshape(len(some), n_proposed, -1)
        own = np.take_along_axis(proposed, chosen[..., None], axis=1)
        few = effective_share(log_weights) < _LEAST_SHARE
        if few.any():
            log_p = np.take_along_axis(log_p[few], chosen[few], axis=1)
            own[few] = walked(sampler, own[few], log_p, wanted[some[few]], rng)
        completed[some] = own
    return completed


def walked(
    sampler: PartSampler,
    states: np.ndarray,
    log_p: np.ndarray,
    wanted: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Completions after Metropolis steps from others.

    A step proposes one feature of a sample anew, given all others, and a sweep all that are wanted.
    The states of the first chains after each of three sweeps are returned.

    Parameters
    ----------
    sampler : PartSampler

    states : ndarray of shape (n_rows, n_samples, n_columns)

    log_p : ndarray of shape (n_rows, n_samples)

    wanted : ndarray of bool of shape (n_rows, n_columns)

    rng : Generator

    Returns
    -------
    completed : ndarray of shape (n_rows, n_samples, n_columns)
    """
    n_rows, n_samples, n_columns = states.shape
    n_chains = math.ceil(n_samples / _N_SWEEPS)
    x, log_p = states[:, :n_chains].reshape(-1, n_columns), log_p[:, :n_chains].ravel()
    mask, passed = np.repeat(wanted, n_chains, axis=0), []
    for _ in range(_N_SWEEPS):
        x, log_p = _swept(sampler, x, log_p, mask, rng)
        passed.append(x.reshape(n_rows, n_chains, n_columns))
    # The last come first, since they are nearest to the density.
    return np.concatenate(passed[::-1], axis=1)[:, :n_samples]


def _swept(
    sampler: PartSampler,
    x: np.ndarray,
    log_p: np.ndarray,
    wanted: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples and their log-densities after one step of each wanted feature."""
    x, log_p = x.copy(), log_p.copy()
    for feature in rng.permutation(np.unique(sampler.features[wanted.any(axis=0)])):
        own = wanted & (sampler.features == feature)
        at = np.flatnonzero(own.any(axis=1))
        own = own[at]
        # Any one will do, since the step corrects its proposals, and one costs less than all.
        proposing = sampler.alone(rng.random())
        new = proposing.draw(np.where(own, np.nan, x[at]), own, int(rng.integers(2**32)))
        ratio = (new.log_p - new.log_q) - (log_p[at] - proposing.log_q(x[at], own))
        moved = np.log1p(-rng.random(len(at))) < ratio
        x[at[moved]], log_p[at[moved]] = new.completed[moved], new.log_p[moved]
    return x, log_p


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
    cumulative = tempered(log_weights).cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    places = (np.arange(n_draws) + rng.random((n_rows, 1))) / n_draws
    pairs = zip(cumulative, places, strict=True)
    chosen = [np.searchsorted(ends, place, side="right") for ends, place in pairs]
    index = np.minimum(np.array(chosen, dtype=int).reshape(n_rows, n_draws), n_proposed - 1)
    return rng.permuted(index, axis=1)


def tempered(log_weights: np.ndarray) -> np.ndarray:
    """Weights to a power of at most 1, the largest with which more than a few of a row decide.

    The effective sample size of a row is then at least 30 % of the number of its weights. Where
    proposals are far from the density, a few weights outdo all others: draws by them are one draw
    many times, and farther from the density than draws by flatter weights.

    Parameters
    ----------
    log_weights : ndarray of shape (n_samples, n_proposed)

    Returns
    -------
    weights : ndarray of shape (n_samples, n_proposed)
        The largest of a row is 1; all are, of a row without a finite weight.
    """
    relative = _relative(log_weights)
    low, high = np.full((len(relative), 1), _LEAST_POWER), np.ones((len(relative), 1))
    power = high
    for _ in range(_N_HALVINGS):
        enough = _share(np.exp(relative * power))[:, None] >= _LEAST_SHARE
        low, high = np.where(enough, power, low), np.where(enough, high, power)
        power = (low + high) / 2
    return np.asarray(np.exp(relative * low))


def effective_share(log_weights: np.ndarray) -> np.ndarray:
    """Effective sample size of the weights of each row, over their number."""
    return _share(np.exp(_relative(log_weights)))


def _relative(log_weights: np.ndarray) -> np.ndarray:
    """Log-weights less the largest of each row; zeros where none is finite."""
    top = log_weights.max(axis=1, keepdims=True)
    possible = np.isfinite(top)
    relative = np.where(possible, log_weights, 0.0) - np.where(possible, top, 0.0)
    # The product of -inf and a small power is then no NaN, and its exponential 0 as it was.
    return np.maximum(relative, _LEAST_LOG_WEIGHT)


def _share(weights: np.ndarray) -> np.ndarray:
    size = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1)
    return np.asarray(size / weights.shape[1])
