"""Missing values filled in by what a density says of them, given the rest of the sample."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import check_choice, check_integer
from skgbnf._fitting import unchanged_on_failure
from skgbnf._random import RandomState, seed_from
from skgbnf.estimators.conditionals import completed_rows
from skgbnf.estimators.density import GradientBoostedFlowDensity
from skgbnf.estimators.scoring import checked_blocks
from skgbnf.estimators.typical import mean_of, mode_of
from skgbnf.estimators.wrapping import (
    DensityWrapper,
    densities_from_plain,
    densities_to_plain,
    fit_clone,
)
from skgbnf.persistence import adopt_columns, from_parameters, persistent
from skgbnf.table.checks import note_columns
from skgbnf.table.filling import filled
from skgbnf.table.selection import as_rows

_STRATEGIES = ("mean", "mode", "sample")


@persistent
class FlowImputer(DensityWrapper, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Imputer: missing values are filled in given the other features of their sample.

    A density of the whole table is fitted, samples with gaps included. The missing values of a
    sample are drawn from it, all of them jointly, given what is known of the sample.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity or None, default=None
        A clone of it is fitted; None is the one with default parameters.

    strategy : {"mean", "mode", "sample"}, default="mean"
        What fills a gap.

        - "mean": the mean of draws, of numbers and dates, moved to the nearest possible value of
          features on a grid; the most frequent draw of categories. It minimises the squared error.
        - "mode": the most frequent draw of categories and of features on a grid, the half-sample
          mode of continuous ones.
        - "sample": one draw. Filled columns are then distributed like complete ones, which those
          of means are not.

    n_draws : int, default=50
        Number of draws for each sample, at least 2. Ignored with ``strategy="sample"``.

    random_state : int, RandomState instance or None, default=None
        Seed of the draws; equal calls of :meth:`transform` return equal values. Unless it is None,
        it also draws a seed for each parameter `random_state` of `estimator`.

    Attributes
    ----------
    estimator_ : GradientBoostedFlowDensity
        The fitted density.

    n_features_in_ : int
        Number of features seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names for all of them.

    See Also
    --------
    sklearn.impute.IterativeImputer : Each feature predicted by the others, in turn.
    sklearn.impute.KNNImputer : The mean of similar samples.
    GradientBoostedFlowDensity.sample_missing : Several draws of each sample.

    Notes
    -----
    A feature without a value in `fit` keeps its gaps. A known value that no sample of `fit` had, of
    a categorical feature, is left as it is, and says nothing of the gaps of its sample.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skgbnf import FlowImputer, GradientBoostedFlowDensity
    >>> x = np.random.default_rng(0).normal(size=200)
    >>> frame = pd.DataFrame({"x": x, "sign": np.where(x > 0, "plus", "minus")})
    >>> frame.loc[frame.index[:2], "sign"] = None
    >>> density = GradientBoostedFlowDensity(1, flow="location_mixture", max_iter=5)
    >>> imputer = FlowImputer(density, random_state=0).fit(frame)
    >>> imputer.transform(pd.DataFrame({"x": [-2.0, 2.0], "sign": [None, None]}, dtype="object"))
         x   sign
    0 -2.0  minus
    1  2.0   plus
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    def __init__(
        self,
        estimator: Any = None,
        *,
        strategy: str = "mean",
        n_draws: int = 50,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.strategy = strategy
        self.n_draws = n_draws
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        """Gaps are filled, also by a density that was fitted without any."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit the density to all samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, with gaps or without.

        y : None
            Ignored, present for the scikit-learn interface.

        Returns
        -------
        self : FlowImputer

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, or the density refuses the samples. The imputer is
            then unchanged.
        """
        with unchanged_on_failure(self):
            self._check_parameters()
            table = as_rows(X)
            note_columns(self, table, reset=True)
            rng = None if self.random_state is None else check_random_state(self.random_state)
            self.estimator_ = fit_clone(self._density(), table, None, rng)
            self._seed = seed_from(rng)
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Fill in missing values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, with gaps or without.

        Returns
        -------
        X : ndarray or data frame of shape (n_samples, n_features)
            Of the library of X, if it is a frame, with its types; floats if it is an array of
            numbers. What was known is as it was.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the imputer is not fitted.

        ValueError
            If X has not the features seen in fit.
        """
        check_is_fitted(self, "estimator_")
        table = as_rows(X)
        blocks = [*checked_blocks(self.estimator_, table, self.estimator_.fitted_, gaps=True)]
        note_columns(self, table, reset=False)
        rows = np.concatenate(blocks).astype(np.float64, copy=False)
        missing = np.isnan(rows)
        completed = self._completed(rows[missing.any(axis=1)])
        return filled(table, self.estimator_.fitted_.table_like(completed, table), missing)

    def _completed(self, rows: np.ndarray) -> np.ndarray:
        """Samples with gaps, as numbers, without them."""
        density, rows, missing = self.estimator_, rows.copy(), np.isnan(rows)
        columns = density.columns_
        for j, column in enumerate(columns):
            if column.is_coded:  # of an unknown level nothing is known
                rows[rows[:, j] < 0, j] = np.nan
        if not len(rows):
            return rows
        if self.strategy == "sample":
            return completed_rows(density, rows, 1, self._seed)[:, 0]
        draws = completed_rows(density, rows, int(self.n_draws), self._seed)
        typical = mean_of if self.strategy == "mean" else mode_of
        for j in np.flatnonzero(missing.any(axis=0)).tolist():
            some = missing[:, j]
            rows[some, j] = typical(draws[some, :, j], columns[j])
        return rows

    def _density(self) -> Any:
        """The density to fit a clone of.

        Raises
        ------
        TypeError
            If it is none of this package.
        """
        if self.estimator is None:
            # Kinds are found in arrays too, so that their atoms are probabilities.
            return GradientBoostedFlowDensity(columns={})
        if not isinstance(self.estimator, GradientBoostedFlowDensity):
            raise TypeError(
                f"estimator must be a GradientBoostedFlowDensity, got {self.estimator!r}."
            )
        return self.estimator

    def _check_parameters(self) -> None:
        """Raise ValueError or TypeError unless every parameter is in its range."""
        check_choice("strategy", self.strategy, _STRATEGIES)
        check_integer("n_draws", self.n_draws, 2)

    def to_plain(self) -> dict[str, Any]:
        """The fitted imputer as JSON values and arrays."""
        check_is_fitted(self, "estimator_")
        return {**densities_to_plain(self, [self.estimator_]), "seed": self._seed}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = from_parameters(cls, plain["parameters"])
        (self.estimator_,) = densities_from_plain(plain)
        self._seed = int(plain["seed"])
        if self._seed < 0:
            raise ValueError("the seed of its draws is negative")
        adopt_columns(self, self.estimator_)
        return self
