"""Names, scores and samples that the displays take from an estimator and a table."""

import copy
import inspect
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skgbnf._random import RandomState
from skgbnf.table.checks import checked_values
from skgbnf.table.frames import Description, column_labels, container_of, make_frame


def as_rows(X: Any, name: str = "X") -> np.ndarray:
    """X as a float64 array of shape (n_samples, n_features)."""
    return checked_values(X, name, dtype=np.float64)


def as_table(rows: np.ndarray, X: Any) -> Any:
    """Rows as an array, or as a data frame with the column names of X if X is a frame."""
    if container_of(X) == "numpy":
        return rows
    # Estimators fitted to named columns warn of nameless ones.
    return make_frame(rows, Description.of_numbers_like(X))


def column_names(estimator: Any, X: Any, n_features: int, feature_names: Any = None) -> list[str]:
    """Names of the caller, of a data frame or of the fit, otherwise "x0", "x1" and so on."""
    if feature_names is None:
        feature_names = column_labels(X)
    if feature_names is None:
        feature_names = getattr(estimator, "feature_names_in_", None)
    if feature_names is None:
        feature_names = [f"x{i}" for i in range(n_features)]
    names = [str(name) for name in feature_names]
    if len(names) != n_features:
        raise ValueError(f"feature_names has {len(names)} names for {n_features} columns of X.")
    return names


def check_methods(estimator: Any, *methods: str) -> None:
    """Raise TypeError unless the estimator has all of these methods."""
    for method in methods:
        if getattr(estimator, method, None) is None:
            raise TypeError(
                f"estimator must have the method {method}; {type(estimator).__name__} has not."
            )


def score_rows(estimator: Any, X: Any) -> np.ndarray:
    """Log-densities of the rows of X, in float64."""
    check_methods(estimator, "score_samples")
    return np.asarray(estimator.score_samples(X), dtype=np.float64)


def sample_rows(estimator: Any, n_samples: int, random_state: RandomState) -> np.ndarray:
    """Samples of a density, in the units of its input.

    A pipeline is sampled at its last step, and the steps before it are inverted.
    """
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        transformers = estimator[:-1]
        if not hasattr(transformers, "inverse_transform"):
            raise TypeError(
                "estimator cannot be sampled: a step of the Pipeline has no inverse_transform."
            )
        Z = sample_rows(estimator[-1], n_samples, random_state)
        return np.asarray(transformers.inverse_transform(Z), dtype=np.float64)
    check_methods(estimator, "sample")
    rng = check_random_state(random_state)
    parameters = inspect.signature(estimator.sample).parameters
    if "random_state" in parameters:
        drawn = estimator.sample(n_samples, random_state=rng)
    else:
        drawn = _seeded(estimator, rng).sample(n_samples)
    # A GaussianMixture returns the component of each row too, a classifier its label.
    return np.asarray(drawn[0] if isinstance(drawn, tuple) else drawn, dtype=np.float64)


def _seeded(estimator: Any, rng: np.random.RandomState) -> Any:
    """The estimator; if it has a parameter `random_state`, a shallow copy that uses `rng`."""
    if "random_state" not in getattr(estimator, "get_params", dict)():
        return estimator
    return copy.copy(estimator).set_params(random_state=rng)
