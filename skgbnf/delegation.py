"""A density that another estimator holds: cloned, seeded and fitted for it."""

from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import Tags, get_tags, indexable
from sklearn.utils.validation import has_fit_parameter

from skgbnf.density import GradientBoostedFlowDensity

_LARGEST_SEED = np.iinfo(np.int32).max


def chosen(estimator: Any) -> Any:
    """The user's density, or the default one for None."""
    return GradientBoostedFlowDensity() if estimator is None else estimator


def fit_clone(
    estimator: Any, X: Any, sample_weight: np.ndarray | None, rng: np.random.RandomState | None
) -> Any:
    """Clone a density and fit it to some rows.

    Parameters
    ----------
    estimator : estimator or None
        None stands for the default density.

    X : array or data frame of shape (n_samples, n_features)

    sample_weight : ndarray of shape (n_samples,) or None
        None is not passed on, for densities that take no weights.

    rng : RandomState or None
        Draws an integer for every parameter `random_state`, nested ones too; None leaves them as
        the user set them.

    Raises
    ------
    TypeError
        If `estimator` is none, or has no ``score_samples``.

    ValueError
        If there are weights and the density takes none.
    """
    density = clone(chosen(estimator))
    if not hasattr(density, "score_samples"):
        raise TypeError(f"estimator must have a method score_samples, got {estimator!r}.")
    if rng is not None:
        names = (k for k in sorted(density.get_params()) if k.split("__")[-1] == "random_state")
        density.set_params(**{name: int(rng.randint(_LARGEST_SEED)) for name in names})
    if sample_weight is None:
        return density.fit(X)
    if not has_fit_parameter(density, "sample_weight"):
        raise ValueError(f"sample_weight: {type(density).__name__}.fit takes no weights.")
    return density.fit(X, sample_weight=sample_weight)


def can_sample(estimator: Any) -> bool:
    """Whether a density draws rows from a seed, as ``sample(n_samples, random_state)``."""
    sample = getattr(chosen(estimator), "sample", None)
    return sample is not None and "random_state" in signature(sample).parameters


def as_rows(X: Any) -> Any:
    """X as something :func:`take` can take rows of; frames stay frames, with their names."""
    (X,) = indexable(X)
    return X if hasattr(X, "shape") else np.asarray(X)


def take(X: Any, rows: np.ndarray) -> Any:
    """The rows of these integers, as an array or a frame like X."""
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def inherit_tags(tags: Tags, estimator: Any) -> Tags:
    """Let a wrapper accept what its density accepts; it validates nothing of X by itself."""
    density = chosen(estimator)
    if hasattr(density, "__sklearn_tags__"):  # otherwise none, which fit refuses
        inner = get_tags(density).input_tags
        tags.input_tags.sparse, tags.input_tags.allow_nan = inner.sparse, inner.allow_nan
    return tags
