"""A density that another estimator holds: cloned, seeded and fitted for it, and its file."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import has_fit_parameter

from skgbnf.estimators.density import GradientBoostedFlowDensity
from skgbnf.estimators.given import Given
from skgbnf.estimators.mixed_preparation import mixed_columns
from skgbnf.estimators.parameters import check_density_parameters
from skgbnf.estimators.plan import expected_folds, table_options
from skgbnf.persistence import (
    PersistentEstimator,
    from_parameters,
    parameters_to_plain,
    plain,
    tuples,
)
from skgbnf.table.checks import (
    checked_values,
)

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


def is_cross_fitted(estimator: Any, n_samples: int) -> bool:
    """Whether a density of this package would be cross-fitted to so many samples."""
    density = chosen(estimator)
    own = isinstance(density, GradientBoostedFlowDensity)
    return own and expected_folds(density, n_samples) is not None


def check_whole(estimator: Any, X: Any) -> None:
    """Refuse a table at once that a density of this package would refuse by a part of it."""
    density = chosen(estimator)
    if not isinstance(density, GradientBoostedFlowDensity):
        return
    check_density_parameters(density)
    if mixed_columns(density, Given(X), table_options(density), None) is None:
        checked_values(X)


class DensityWrapper(PersistentEstimator):
    """Mixin of estimators with a density as their parameter `estimator`."""

    estimator: Any

    @staticmethod
    def _parameter_to_plain(name: str, value: Any) -> Any:
        """One parameter as JSON knows it; a density by its own parameters."""
        if name == "estimator":
            return None if value is None else parameters_to_plain(_own(value))
        return plain(value)

    @staticmethod
    def _parameter_from_plain(name: str, value: Any) -> Any:
        """Inverse of :meth:`_parameter_to_plain`."""
        if name == "estimator":
            return None if value is None else from_parameters(GradientBoostedFlowDensity, value)
        return tuples(value)

    def __sklearn_tags__(self) -> Tags:
        """Those of the density, as for what X may be: a wrapper validates nothing by itself."""
        tags: Tags = super().__sklearn_tags__()  # type: ignore[misc]
        density = chosen(self.estimator)
        if hasattr(density, "__sklearn_tags__"):  # otherwise none, which fit refuses
            inner = get_tags(density).input_tags
            for name in ("sparse", "allow_nan", "string", "categorical"):
                setattr(tags.input_tags, name, getattr(inner, name))
        return tags


def densities_to_plain(wrapper: DensityWrapper, fitted: Sequence[Any]) -> dict[str, Any]:
    """The constructor's parameters and the fitted densities as JSON values and arrays.

    Raises
    ------
    TypeError
        If they are not densities of this package.
    """
    densities = [_own(density).to_plain() for density in fitted]
    return {"parameters": parameters_to_plain(wrapper), "densities": densities}


def densities_from_plain(plain: dict[str, Any]) -> list[GradientBoostedFlowDensity]:
    """The fitted densities of a file; ValueError if there are none, or of different tables."""
    densities = [GradientBoostedFlowDensity.from_plain(state) for state in plain["densities"]]
    if len({tuple(density.column_labels_) for density in densities}) != 1:
        raise ValueError("it has no densities, or their columns differ")
    return densities


def _own(density: Any) -> GradientBoostedFlowDensity:
    """A density that goes into a file.

    Raises
    ------
    TypeError
        If it is none of this package.
    """
    if type(density) is not GradientBoostedFlowDensity:
        raise TypeError(
            f"estimator: only a {GradientBoostedFlowDensity.__name__} goes into a file, got "
            f"{type(density).__name__}; pickle the whole."
        )
    return density


def can_sample(estimator: Any) -> bool:
    """Whether a density draws rows from a seed, as ``sample(n_samples, random_state)``."""
    sample = getattr(chosen(estimator), "sample", None)
    return sample is not None and "random_state" in signature(sample).parameters
