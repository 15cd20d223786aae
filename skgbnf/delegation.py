"""A density that another estimator holds: cloned, seeded and fitted for it, and its file."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import Tags, get_tags, indexable
from sklearn.utils.validation import has_fit_parameter

from skgbnf.density import GradientBoostedFlowDensity
from skgbnf.persistence import check_savable_random_state, numbered_arrays, plain
from skgbnf.table.checks import check_in_memory, check_unmasked, checked_values
from skgbnf.table.frames import container_of

_LARGEST_SEED = np.iinfo(np.int32).max


def chosen(estimator: Any) -> Any:
    """The user's density, or the default one for None."""
    return GradientBoostedFlowDensity() if estimator is None else estimator


def fit_clone(
    estimator: Any,
    X: Any,
    sample_weight: np.ndarray | None,
    rng: np.random.RandomState | None,
    X_reference: Any = None,
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

    X_reference : array or data frame or None, default=None
        The whole table of which X is a part, for densities whose ``fit`` takes it; they are then
        in the same units as those of other parts.

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
    further = {}
    if X_reference is not None and takes_reference(density):
        further["X_reference"] = X_reference
    if sample_weight is None:
        # scikit-learn's FrozenEstimator insists on a y, others know none.
        has_y = "y" in signature(density.fit).parameters
        return density.fit(X, None, **further) if has_y else density.fit(X, **further)
    if not has_fit_parameter(density, "sample_weight"):
        raise ValueError(f"sample_weight: {type(density).__name__}.fit takes no weights.")
    return density.fit(X, sample_weight=sample_weight, **further)


def takes_reference(estimator: Any) -> bool:
    """Whether a density chooses its units by another table than that of its rows."""
    return has_fit_parameter(chosen(estimator), "X_reference")


def check_whole(estimator: Any, X: Any) -> None:
    """Refuse a table at once that a density of this package would refuse by a part of it."""
    if takes_reference(estimator):
        checked_values(X)


def wrapper_to_state(
    wrapper: Any, fitted: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON data and arrays of what a wrapper was given and of the densities that it fitted.

    Parameters
    ----------
    wrapper : estimator
        With parameters ``estimator`` and ``random_state``.

    fitted : sequence of estimators
        Its fitted densities.

    Raises
    ------
    TypeError
        If they are not densities of this package.

    ValueError
        If a parameter is what no file can hold.
    """
    for density in (chosen(wrapper.estimator), *fitted):
        if type(density) is not GradientBoostedFlowDensity:
            raise TypeError(
                f"estimator: a {type(wrapper).__name__} goes into a file with a "
                f"{GradientBoostedFlowDensity.__name__} only, got {type(density).__name__}; "
                "pickle it."
            )
        density._check_savable()
    check_savable_random_state(wrapper.random_state)
    parameters = {name: plain(value) for name, value in wrapper.get_params(deep=False).items()}
    if wrapper.estimator is not None:
        parameters["estimator"] = wrapper.estimator._plain_parameters()
    states, arrays = [], {}
    for k, density in enumerate(fitted):
        state, own = density._get_state()
        states.append(state)
        arrays.update({f"densities.{k}.{name}": array for name, array in own.items()})
    return {"parameters": parameters, "densities": states}, arrays


def wrapper_from_state(
    data: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], list[GradientBoostedFlowDensity]]:
    """Inverse of :func:`wrapper_to_state`: parameters of the wrapper, and its fitted densities.

    Raises
    ------
    ValueError
        If there are no densities, or they are of different tables.
    """
    parameters = dict(data["parameters"])
    check_savable_random_state(parameters["random_state"])
    if parameters["estimator"] is not None:
        held = GradientBoostedFlowDensity._from_plain_parameters(parameters["estimator"])
        parameters["estimator"] = held
    groups = numbered_arrays("densities.", arrays)
    densities = [
        GradientBoostedFlowDensity._from_state(state, groups.get(str(k), {}))
        for k, state in enumerate(data["densities"])
    ]
    columns = {tuple(density.column_labels_) for density in densities}
    if len(columns) != 1:
        raise ValueError("it has no densities, or their columns differ")
    return parameters, densities


def adopt_columns(wrapper: Any, density: Any) -> None:
    """Let a wrapper that was read from a file know the columns that its density knows."""
    wrapper.n_features_in_ = density.n_features_in_
    if hasattr(density, "feature_names_in_"):
        wrapper.feature_names_in_ = density.feature_names_in_


def can_sample(estimator: Any) -> bool:
    """Whether a density draws rows from a seed, as ``sample(n_samples, random_state)``."""
    sample = getattr(chosen(estimator), "sample", None)
    return sample is not None and "random_state" in signature(sample).parameters


def as_rows(X: Any) -> Any:
    """X as something :func:`take` can take rows of; frames stay frames, with their names."""
    check_in_memory(X, "X")
    check_unmasked(X, "X")
    (X,) = indexable(X)
    return X if hasattr(X, "shape") else np.asarray(X)


def take(X: Any, rows: np.ndarray) -> Any:
    """The rows of these integers, as an array or a frame like X."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return X.take(rows) if container_of(X) == "pyarrow" else X[rows]


def inherit_tags(tags: Tags, estimator: Any) -> Tags:
    """Let a wrapper accept what its density accepts; it validates nothing of X by itself."""
    density = chosen(estimator)
    if hasattr(density, "__sklearn_tags__"):  # otherwise none, which fit refuses
        inner = get_tags(density).input_tags
        tags.input_tags.sparse, tags.input_tags.allow_nan = inner.sparse, inner.allow_nan
    return tags
