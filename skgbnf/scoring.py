"""Scores of tables that need not fit into memory: block by block, or lazily.

dask is not imported here. What is one of its collections is told from the name of its module.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skgbnf.geometric import GeometricMixture
from skgbnf.mixture import Combination, FlowMixture
from skgbnf.table.checks import checked_rows, checked_values
from skgbnf.validation import score_device

_ROWS_PER_BLOCK = 200_000


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
                + log_weight.astype(rows.dtype)
                for Z, log_weight in coordinates.points(rows, rows.dtype)
            ]
            block = scores[0] if len(scores) == 1 else _log_sum_exp(np.stack(scores))
            block[:, coordinates.bounds.excludes(rows)] = -np.inf
            blocks.append(block)
    return np.concatenate(blocks, axis=1)


def _log_sum_exp(scores: np.ndarray) -> np.ndarray:
    """Logarithm of the sum over the first axis of the exponentials, in the precision given."""
    largest = scores.max(axis=0)
    return largest + np.log(np.exp(scores - largest).sum(axis=0))


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
