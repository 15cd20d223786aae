"""Scores of tables that need not fit into memory: block by block, or lazily.

dask is not imported here. What is one of its collections is told from the name of its module.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skgbnf._random import derive_seed
from skgbnf.geometric import GeometricMixture
from skgbnf.mixture import Combination, FlowMixture
from skgbnf.table.checks import checked_rows, checked_values
from skgbnf.validation import score_device

_ROWS_PER_BLOCK = 200_000
_DRAWN_CELLS, _FEWEST_DRAWN, _MOST_DRAWN = 40_000, 2000, 20_000
_MOST_ATTEMPTS = 20


def fitted_mixture(estimator, dtype: np.dtype) -> Combination:
    """What a fitted density estimator combines, as modules of the given precision."""
    dtype = torch.from_numpy(np.empty(0, dtype)).dtype
    device = score_device(estimator.device)
    components = [fitted.module(dtype, device) for fitted in estimator.estimators_]
    weights = torch.tensor(estimator.staged_weights_, device=device, dtype=dtype)
    if estimator.staged_log_normalizers_ is None:
        return FlowMixture(components, weights)
    log_normalizers = torch.tensor(estimator.staged_log_normalizers_, device=device, dtype=dtype)
    return GeometricMixture(components, weights, log_normalizers)


def log_densities(estimator, X, evaluate: Callable[[Combination, Tensor], Tensor]) -> np.ndarray:
    """Log-densities of shape (n_stages, n_samples), by blocks of rows, without gradients.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity
        Fitted.

    X : array-like of shape (n_samples, n_features)

    evaluate : callable ``(mixture, Z) -> Tensor of shape (n_stages, n_rows)``
    """
    mixture, device, blocks = None, score_device(estimator.device), []
    coordinates = estimator.coordinates_
    with torch.no_grad():
        for rows in _checked_blocks(estimator, X):
            mixture = mixture or fitted_mixture(estimator, rows.dtype)
            scores = [
                evaluate(mixture, torch.from_numpy(Z).to(device)).cpu().numpy()
                + log_det.astype(rows.dtype)
                for Z, log_det in coordinates.points(rows, rows.dtype)
            ]
            block = scores[0] if len(scores) == 1 else _log_mean_exp(np.stack(scores))
            block[:, coordinates.bounds.excludes(rows)] = -np.inf
            masses = estimator.staged_log_masses_[-len(block) :, None]
            blocks.append(block - masses.astype(rows.dtype))
    return np.concatenate(blocks, axis=1)


def _log_mean_exp(scores: np.ndarray) -> np.ndarray:
    """Logarithm of the mean over the first axis of the exponentials, in the precision given."""
    largest = scores.max(axis=0)
    return largest + np.log(np.exp(scores - largest).mean(axis=0))


def log_masses(estimator, seed: int) -> tuple[np.ndarray, float]:
    """Logarithm of the mass within the bounds after each round, and the last one's error.

    The density is divided by it. Zero where no mass can lie outside, or belongs to a value on a
    bound.
    """
    coordinates = estimator.coordinates_
    if not coordinates.has_margins:
        return np.zeros(estimator.n_estimators_), 0.0

    def within(Z: Tensor) -> Tensor:
        X = coordinates.inverse_transform(Z.cpu().numpy())
        return torch.from_numpy(~coordinates.in_margins(X)).to(Z.device)

    n_features = estimator.n_features_in_
    n_samples = min(max(_DRAWN_CELLS // n_features, _FEWEST_DRAWN), _MOST_DRAWN)
    mixture = fitted_mixture(estimator, np.dtype(np.float64))
    shares, errors = (t.cpu().numpy() for t in mixture.staged_shares(within, n_samples, seed))
    shares = shares.clip(min=1 / n_samples)
    return np.log(shares), float(errors[-1] / shares[-1])


def draw_rows(estimator, n_samples: int, seed: int) -> np.ndarray:
    """Rows of a fitted density in the units of X; those outside the bounds are drawn anew."""
    mixture = fitted_mixture(estimator, np.dtype(np.float64))
    coordinates = estimator.coordinates_
    drawn, n_left = [], n_samples
    for attempt in range(_MOST_ATTEMPTS):
        Z = mixture.sample(n_left, derive_seed(seed, attempt) if attempt else seed)
        X = coordinates.inverse_transform(Z.cpu().numpy())
        # The last ones are folded, however little of the mass is inside.
        keep = ~coordinates.in_margins(X) | (attempt == _MOST_ATTEMPTS - 1)
        drawn.append(coordinates.bounds.fold(X[keep]))
        n_left -= len(drawn[-1])
        if n_left == 0:
            break
    return np.concatenate(drawn)


def _checked_blocks(estimator, X) -> Iterator[np.ndarray]:
    """Rows to score, each block checked and converted by itself.

    Of a memory map, thus, no more than a block is ever copied.
    """
    if isinstance(X, np.ndarray) and X.ndim == 2:
        yield checked_rows(estimator, X[:_ROWS_PER_BLOCK], reset=False)
        for start in range(_ROWS_PER_BLOCK, len(X), _ROWS_PER_BLOCK):
            block = X[start : start + _ROWS_PER_BLOCK]
            yield checked_values(block, estimator=estimator)
        return
    X = checked_rows(estimator, X, reset=False)
    for start in range(0, len(X), _ROWS_PER_BLOCK):
        yield X[start : start + _ROWS_PER_BLOCK]


def is_lazy(X) -> bool:
    """Whether X is a collection of dask."""
    return type(X).__module__.partition(".")[0] == "dask"


def score_lazily(estimator: Any, X: Any) -> Any:
    """Log-densities of a dask array as a dask array, computed when they are asked for.

    Raises
    ------
    TypeError
        If X is another collection than an array.

    ValueError
        If it has not the columns seen in fit.
    """
    if not hasattr(type(X), "map_blocks"):
        raise TypeError(f"X: of dask an array is needed, got {type(X).__name__}; to_dask_array().")
    if X.ndim != 2 or X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X must have shape (n_samples, {estimator.n_features_in_}), got {X.shape}."
        )
    dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
    return X.rechunk({1: -1}).map_blocks(
        _score_block, estimator, dtype=dtype, drop_axis=1, meta=np.empty(0, dtype)
    )


def _score_block(X: np.ndarray, estimator) -> np.ndarray:
    # dask may leave a block without rows.
    return estimator.score_samples(X) if len(X) else np.empty(0, X.dtype)
