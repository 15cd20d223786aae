"""Log-densities as features of another estimator."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import check_flag, check_integer
from skgbnf._fitting import unchanged_on_failure
from skgbnf._random import RandomState, seed_from
from skgbnf.estimators.out_of_fold import scores_cross_fitted, scores_out_of_fold
from skgbnf.estimators.wrapping import (
    DensityWrapper,
    check_whole,
    densities_from_plain,
    densities_to_plain,
    fit_clone,
)
from skgbnf.persistence import adopt_columns, from_parameters, persistent
from skgbnf.table.checks import note_columns
from skgbnf.table.selection import as_rows

_LOWEST = -1e6
"""In nats; other estimators refuse infinite values."""


@persistent
class FlowTransformer(DensityWrapper, TransformerMixin, BaseEstimator):
    """Transformer: log-densities of samples, as features of another estimator.

    A density is higher on the samples it was fitted to than on new ones, so an estimator that
    learns from its log-densities of these would be misled. :meth:`fit_transform` therefore returns
    out-of-fold log-densities, by components that did not see the sample, and differs from
    ``fit(X).transform(X)``, as that of :class:`~sklearn.preprocessing.TargetEncoder` does.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Density with ``fit`` and ``score_samples``, a clone of which is fitted; None is
        :class:`GradientBoostedFlowDensity` with default parameters.

    features : bool, default=False
        Whether to add one column for each feature: the log-density of its value given the other
        features, NaN where it is missing. It needs a :class:`GradientBoostedFlowDensity`.

    n_folds : int, default=5
        Number of folds of :meth:`fit_transform`, at least 2, in each of which a density is fitted.
        Ignored if the density has folds itself, as it does by default with 10 to 1,999 samples.

    random_state : int, RandomState instance or None, default=None
        Determines the folds. Unless it is None, it also draws a seed for each parameter
        `random_state` of `estimator`, nested ones too.

    Attributes
    ----------
    estimator_ : estimator
        The density, fitted to all samples.

    n_features_in_ : int
        Number of features seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names for all of them.

    See Also
    --------
    FlowOutlierDetector : Samples of low density.
    GradientBoostedFlowDensity.feature_score_samples : Each value, given the rest of its sample.

    Examples
    --------
    >>> import numpy as np
    >>> from skgbnf import FlowTransformer, GradientBoostedFlowDensity
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> density = GradientBoostedFlowDensity(1, flow="affine", max_iter=5)
    >>> transformer = FlowTransformer(density, random_state=0)
    >>> transformer.fit_transform(X).shape
    (200, 1)
    >>> transformer.get_feature_names_out().tolist()
    ['log_density']
    >>> near, far = transformer.transform([[0.0, 0.0], [5.0, 5.0]])[:, 0]
    >>> bool(near > far)
    True
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    def __init__(
        self,
        estimator: Any = None,
        *,
        features: bool = False,
        n_folds: int = 5,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.features = features
        self.n_folds = n_folds
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit the density to all samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        y : None
            Ignored, present for the scikit-learn interface.

        Returns
        -------
        self : FlowTransformer

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, or the density refuses the samples. The transformer
            is then unchanged.
        """
        with unchanged_on_failure(self):
            self._fit(X)
        return self

    def _fit(self, X: ArrayLike) -> tuple[Any, np.random.RandomState | None]:
        self._check_parameters()
        table = as_rows(X)
        note_columns(self, table, reset=True)
        check_whole(self.estimator, table)
        rng = None if self.random_state is None else check_random_state(self.random_state)
        density = fit_clone(self.estimator, table, None, rng)
        if self.features and not hasattr(density, "feature_score_samples"):
            raise TypeError("features: the estimator needs a method feature_score_samples.")
        self.estimator_ = density
        return table, rng

    def fit_transform(self, X: ArrayLike, y: object = None) -> np.ndarray:
        """Fit the density, and return out-of-fold log-densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        y : None
            Ignored, present for the scikit-learn interface.

        Returns
        -------
        log_density : ndarray of shape (n_samples, n_columns)
            As :meth:`transform` returns them, each by components that did not see the sample. With
            `max_time`, samples for which there was no time were seen by none.

        Raises
        ------
        ValueError, TypeError
            As for :meth:`fit`.
        """
        with unchanged_on_failure(self):
            table, rng = self._fit(X)
            if getattr(self.estimator_, "row_folds_", None) is not None:
                return scores_out_of_fold(self.estimator_, table, self._scores)
            n_folds, seed = int(self.n_folds), seed_from(rng)
            return scores_cross_fitted(self.estimator, table, self._scores, n_folds, rng, seed)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Log-densities of new samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_density : ndarray of shape (n_samples, n_columns)
            In nats, at least -1e6; the first column is that of whole samples.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the transformer is not fitted.
        """
        check_is_fitted(self, "estimator_")
        return self._scores(self.estimator_, X)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the features if X had none in `fit`; otherwise they must be those.

        Returns
        -------
        names : ndarray of str objects
            ``"log_density"``, and with ``features=True`` ``"log_density_"`` before the name of each
            feature.
        """
        check_is_fitted(self, "estimator_")
        known = getattr(self, "feature_names_in_", None)
        names = known if input_features is None else np.asarray(input_features, dtype=object)
        if names is None:
            names = [f"x{j}" for j in range(self.n_features_in_)]
        if known is not None and not np.array_equal(names, known):
            raise ValueError("input_features is not equal to feature_names_in_")
        if len(names) != self.n_features_in_:
            raise ValueError(
                "input_features should have length equal to number of features "
                f"({self.n_features_in_}), got {len(names)}"
            )
        added = [f"log_density_{name}" for name in names] if self.features else []
        return np.array(["log_density", *added], dtype=object)

    def _scores(self, density: Any, X: Any) -> np.ndarray:
        """Columns of log-densities of samples."""
        columns = [np.asarray(density.score_samples(X), dtype=np.float64)[:, None]]
        if self.features:
            columns.append(density.feature_score_samples(X))
        return np.maximum(np.hstack(columns), _LOWEST)

    def _check_parameters(self) -> None:
        """Raise ValueError or TypeError unless every parameter is in its range."""
        check_flag("features", self.features)
        check_integer("n_folds", self.n_folds, 2)

    def to_plain(self) -> dict[str, Any]:
        """The fitted transformer as JSON values and arrays."""
        check_is_fitted(self, "estimator_")
        return densities_to_plain(self, [self.estimator_])

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = from_parameters(cls, plain["parameters"])
        (self.estimator_,) = densities_from_plain(plain)
        adopt_columns(self, self.estimator_)
        return self
