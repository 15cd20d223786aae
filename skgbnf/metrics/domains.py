"""How alike two sets of samples are, and what a map between them costs."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_consistent_length

from skgbnf._checks import check_integer
from skgbnf._random import RandomState, seed_from


def sliced_wasserstein(
    X: ArrayLike, Y: ArrayLike, *, n_projections: int = 200, random_state: RandomState = 0
) -> float:
    r"""Sliced Wasserstein distance between two sets of samples.

    The square root of the mean, over random directions, of the squared 2-Wasserstein distance
    between the projections of both sets on a direction [1]_, which sorting solves.

    Parameters
    ----------
    X, Y : array-like of shape (n_samples, n_features)
        The sets, which may be of different sizes.

    n_projections : int, default=200
        Number of directions.

    random_state : int, RandomState instance or None, default=0
        Determines the directions.

    Returns
    -------
    distance : float
        In the units of the samples; 0 for sets that are equal.

    References
    ----------
    .. [1] Sliced and Radon Wasserstein Barycenters of Measures. N. Bonneel, J. Rabin, G. Peyre,
       H. Pfister, 2015. https://doi.org/10.1007/s10851-014-0506-3

    Examples
    --------
    >>> from skgbnf.metrics import sliced_wasserstein
    >>> round(sliced_wasserstein([[0.0], [1.0]], [[2.0], [3.0]]), 6)
    2.0
    """
    x, y = _two_tables(X, Y)
    check_integer("n_projections", n_projections, 1)
    directions = check_random_state(random_state).normal(size=(x.shape[1], int(n_projections)))
    directions /= np.linalg.norm(directions, axis=0)
    # Both quantile functions are constant between these probabilities.
    steps = np.union1d(np.arange(len(x) + 1) / len(x), np.arange(len(y) + 1) / len(y))
    middles, lengths = (steps[1:] + steps[:-1]) / 2, np.diff(steps)
    apart = _quantiles(x @ directions, middles) - _quantiles(y @ directions, middles)
    return float(np.sqrt((lengths @ np.square(apart)).mean()))


def two_sample_auc(
    X: ArrayLike, Y: ArrayLike, *, n_folds: int = 5, random_state: RandomState = 0
) -> float:
    """How well a classifier tells two sets of samples apart.

    Parameters
    ----------
    X, Y : array-like of shape (n_samples, n_features)
        The sets, each of at least `n_folds` samples.

    n_folds : int, default=5
        Number of folds of the cross-validation.

    random_state : int, RandomState instance or None, default=0
        Determines the folds.

    Returns
    -------
    auc : float
        Mean over the folds of the area under the ROC curve of
        :class:`~sklearn.ensemble.HistGradientBoostingClassifier`: 0.5 if the sets look alike, up
        to chance, and 1 if they can be told apart.

    Examples
    --------
    >>> import numpy as np
    >>> from skgbnf.metrics import two_sample_auc
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> round(two_sample_auc(X, X + 100.0), 2)
    1.0
    """
    x, y = _two_tables(X, Y)
    check_integer("n_folds", n_folds, 2)
    labels = np.repeat([0, 1], [len(x), len(y)])
    seed = seed_from(random_state)
    folds = StratifiedKFold(int(n_folds), shuffle=True, random_state=seed)
    classifier = HistGradientBoostingClassifier(random_state=seed)
    rows = np.concatenate([x, y])
    scores = cross_val_score(classifier, rows, labels, cv=folds, scoring="roc_auc")
    return float(scores.mean())


def transport_cost(X: ArrayLike, Y: ArrayLike) -> float:
    """Mean squared distance by which a map moves samples.

    Parameters
    ----------
    X, Y : array-like of shape (n_samples, n_features)
        Samples, and their images in the same order.

    Returns
    -------
    cost : float
        In the square of the units of the samples.

    Examples
    --------
    >>> from skgbnf.metrics import transport_cost
    >>> transport_cost([[0.0, 0.0]], [[3.0, 4.0]])
    25.0
    """
    x, y = _two_tables(X, Y)
    check_consistent_length(x, y)
    return float(np.square(x - y).sum(axis=1).mean())


def cycle_error(aligner: Any, X: ArrayLike, source: Any, target: Any) -> float:
    """Largest error of samples that are translated to another domain and back.

    Parameters
    ----------
    aligner : estimator
        Fitted, with ``translate(X, source, target)``.

    X : array-like of shape (n_samples, n_features)
        Samples of the domain `source`.

    source, target : label
        The domains.

    Returns
    -------
    error : float
        In units of X.
    """
    there = aligner.translate(X, source, target)
    back = np.asarray(aligner.translate(there, target, source))
    return float(np.abs(back - np.asarray(X)).max())


def _two_tables(X: ArrayLike, Y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of samples with the same number of features."""
    x, y = (
        check_array(rows, dtype=np.float64, input_name=name) for name, rows in (("X", X), ("Y", Y))
    )
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"X has {x.shape[1]} features, but Y has {y.shape[1]}.")
    return x, y


def _quantiles(values: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Quantiles of each column: the values that hold so large a share of them below or at."""
    index = np.minimum((probabilities * len(values)).astype(int), len(values) - 1)
    ordered: np.ndarray = np.sort(values, axis=0)
    return ordered[index]
