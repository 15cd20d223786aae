"""Scores of training samples by what did not see them."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from skgbnf.estimators.wrapping import fit_clone
from skgbnf.table.selection import take
from skgbnf.table.split import fold_rows
from skgbnf.training.fitted import FittedMixture

Score = Callable[[Any, Any], np.ndarray]
"""From a fitted density and samples to scores, one or several for each sample."""


def density_of_fold(density: Any, k: int) -> Any:
    """The mixture of the components that did not see the samples of a fold.

    Parameters
    ----------
    density : GradientBoostedFlowDensity
        Fitted with folds.

    k : int
        From 0 to ``n_folds_ - 1``.
    """
    fitted, n_folds = density.fitted_, density.n_folds_
    combination = fitted.combination
    # The components of a round share its weight equally.
    weights = n_folds * combination.staged_weights[:, k::n_folds]
    own = FittedMixture(combination.components[k::n_folds], weights)
    alone = copy.copy(density)
    alone.fitted_ = replace(fitted, combination=own, row_folds=None)
    return alone


def scores_out_of_fold(density: Any, X: Any, score: Score) -> np.ndarray:
    """Scores of the samples of a fit with folds, each by the mixture that did not see it.

    Parameters
    ----------
    density : GradientBoostedFlowDensity
        Fitted to X with folds.

    X : array or data frame of shape (n_samples, n_features)

    score : callable

    Returns
    -------
    scores : ndarray of shape (n_samples, ...)
        Of samples that no component saw, by all components.
    """
    scorers = {k: density_of_fold(density, k) for k in range(density.n_folds_)}
    return _scores_by({**scorers, -1: density}, density.row_folds_, X, score)


def scores_cross_fitted(
    estimator: Any, X: Any, score: Score, n_folds: int, rng: np.random.RandomState | None, seed: int
) -> np.ndarray:
    """Scores of samples by clones of a density, each fitted to those of all other folds.

    Parameters
    ----------
    estimator : estimator or None
        As for :func:`~skgbnf.estimators.wrapping.fit_clone`.

    X : array or data frame of shape (n_samples, n_features)

    score : callable

    n_folds : int
        At least 2.

    rng : RandomState or None
        Of the seeds of the clones.

    seed : int
        Of the folds.

    Raises
    ------
    ValueError
        If there are fewer samples than folds.
    """
    n_samples = X.shape[0]
    if n_folds > n_samples:
        raise ValueError(f"n_folds={n_folds} is above the number of samples, {n_samples}.")
    folds, scorers = np.empty(n_samples, dtype=int), {}
    for k, (learned, aside) in enumerate(fold_rows(n_samples, n_folds, seed)):
        folds[aside] = k
        scorers[k] = fit_clone(estimator, take(X, learned), None, rng, X)
    return _scores_by(scorers, folds, X, score)


def _scores_by(scorers: dict[int, Any], folds: np.ndarray, X: Any, score: Score) -> np.ndarray:
    """Scores of each sample by the density of its fold."""
    rows = {k: np.flatnonzero(folds == k) for k in scorers}
    parts = {k: score(scorers[k], take(X, own)) for k, own in rows.items() if len(own)}
    shape = next(iter(parts.values())).shape[1:]
    scores = np.empty((len(folds), *shape))
    for k, part in parts.items():
        scores[rows[k]] = part
    return scores
