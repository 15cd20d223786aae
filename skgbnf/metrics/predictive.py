"""Scores of predictive distributions, and scorers for scikit-learn's searches."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array, check_consistent_length

from skgbnf.table.weights import check_weights

_N_DRAWS = 200


def log_likelihood_scorer(
    estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Mean conditional log-density of targets, for the parameter `scoring` of a search.

    Parameters
    ----------
    estimator : estimator
        Fitted, with ``score_samples(X, y)``.

    X : array-like of shape (n_samples, n_features)
        Features.

    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.

    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    score : float
        In nats; higher is better.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skgbnf import GradientBoostedFlowRegressor
    >>> from skgbnf.metrics import log_likelihood_scorer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GradientBoostedFlowRegressor(1, context_model=None, max_iter=2, random_state=0)
    >>> choices = {"flow": ["affine", "student_t"]}
    >>> search = GridSearchCV(model, choices, scoring=log_likelihood_scorer, cv=2).fit(X, y)
    >>> search.best_params_["flow"] in choices["flow"]
    True
    """
    scores = np.asarray(estimator.score_samples(X, y), dtype=np.float64)
    return float(np.average(scores, weights=check_weights(sample_weight, len(scores))))


def crps_scorer(
    estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Minus the mean continuous ranked probability score, for `scoring` of a search.

    It is computed from 200 draws for each sample, whose seed is the same at each call.

    Parameters
    ----------
    estimator : estimator
        Fitted, with ``sample(X, n_samples, random_state)``.

    X : array-like of shape (n_samples, n_features)
        Features.

    y : array-like of shape (n_samples,)
        Targets.

    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    score : float
        In units of y; higher is better.
    """
    scores = crps(y, estimator.sample(X, _N_DRAWS, random_state=0))
    return -float(np.average(scores, weights=check_weights(sample_weight, len(scores))))


def crps(y: ArrayLike, draws: ArrayLike) -> np.ndarray:
    r"""Continuous ranked probability score of draws from predictive distributions.

    .. math:: \mathrm{E} |Y - y| - \tfrac{1}{2} \mathrm{E} |Y - Y'|

    with Y and Y' drawn from the distribution; both means are estimated without bias [1]_. For a
    distribution that is one value it is the absolute error.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Observed values.

    draws : array-like of shape (n_samples, n_draws)
        At least two draws for each of them.

    Returns
    -------
    score : ndarray of shape (n_samples,)
        In units of y; lower is better.

    References
    ----------
    .. [1] Strictly Proper Scoring Rules, Prediction, and Estimation. T. Gneiting, A. E. Raftery,
       2007. https://doi.org/10.1198/016214506000001437

    Examples
    --------
    >>> from skgbnf.metrics import crps
    >>> crps([0.0, 0.0], [[1.0, 1.0], [-1.0, 1.0]])
    array([1., 0.])
    """
    values: np.ndarray = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    drawn: np.ndarray = check_array(draws, dtype=np.float64, allow_nd=True, input_name="draws")
    if values.ndim != 1 or drawn.ndim != 2:
        raise ValueError("crps needs one target: y of one dimension, draws of two.")
    check_consistent_length(values, drawn)
    n_draws = drawn.shape[1]
    if n_draws < 2:
        raise ValueError("draws must hold at least two for each sample.")
    ordered = np.sort(drawn, axis=1)
    ranks = 2 * np.arange(1, n_draws + 1) - n_draws - 1
    apart: np.ndarray = ordered @ ranks / (n_draws * (n_draws - 1))
    return np.abs(ordered - values[:, None]).mean(axis=1) - apart


def pit(estimator: Any, X: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Probability integral transform: the predicted probability of values up to those observed.

    Where the predictive distributions are right its values are uniform between 0 and 1.

    Parameters
    ----------
    estimator : estimator
        Fitted, with ``cdf(X, y)``.

    X : array-like of shape (n_samples, n_features)
        Features.

    y : array-like of shape (n_samples,)
        Targets.

    Returns
    -------
    values : ndarray of shape (n_samples,)
    """
    return np.asarray(estimator.cdf(X, y))
