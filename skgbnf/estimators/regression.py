"""The regressor of scikit-learn's kind: a density of targets given features."""

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length

from skgbnf._fitting import unchanged_on_failure
from skgbnf._random import RandomState
from skgbnf.boosting.candidates import FamilyName
from skgbnf.estimators.attributes import DensityAttributes
from skgbnf.estimators.fitted_regression import FittedRegression
from skgbnf.estimators.fitting import fit_density
from skgbnf.estimators.given import Given
from skgbnf.estimators.predictions import RegressorAnswers, as_columns
from skgbnf.estimators.saving import PersistentDensity
from skgbnf.flows import SCALE_CLAMP, CopulaBase
from skgbnf.persistence import persistent
from skgbnf.predictors import Encoder, checked_features
from skgbnf.table.bounds import BoundsLike
from skgbnf.table.checks import note_columns
from skgbnf.table.selection import take
from skgbnf.table.weights import check_weights


@persistent
class GradientBoostedFlowRegressor(
    PersistentDensity, RegressorAnswers, DensityAttributes, RegressorMixin, BaseEstimator
):
    r"""Density of targets given features: a mixture of conditional flows, fitted by boosting.

    .. math:: \log p(y \mid x) = \log \sum_c w_c \, g_c(y \mid x).

    Several models of the mean and one of the spread are fitted at first, and each sample is
    predicted by those that have not seen it. Each round of boosting then adds a component: a
    density of the residuals, divided by the spread, whose shape may depend on the features and on
    what the models say of them.

    Parameters
    ----------
    What most fits set:

    n_estimators : int, default=6
        Maximum number of rounds. Fewer are kept if the validation score stops improving.

    max_time : float or None, default=None
        Time limit for `fit`, in seconds; None for no limit. About a third of it is for the models
        of mean and spread. With a limit the model depends on the speed of the machine.

    bounds : dict, sequence of pairs, pair, scipy.optimize.Bounds or None, default=None
        Intervals that targets cannot leave, as for :class:`GradientBoostedFlowDensity`; a pair
        ``(lower, upper)`` for one target.

    random_state : int, RandomState instance or None, default=None
        Seed of `fit`: the same integer gives the same model, bit for bit, on one machine.

    verbose : int, default=0
        Progress reports, as for :class:`GradientBoostedFlowDensity`.

    The model:

    context_model : str, list of str or None, default="auto"
        Models of the mean, whose shares are fitted to predictions out of folds; all but None also
        model the spread, and the density is conditional on their predictions too.

        - "auto": all of them.
        - "boosting": gradient boosted trees, scikit-learn's HistGradientBoostingRegressor.
        - "forest": extremely randomised trees, scikit-learn's ExtraTreesRegressor; quantiles over
          its trees are part of what the density is conditional on [2]_.
        - "kernel": the mean of a Gaussian process with a length scale for each feature.
        - None: no model; components see the features alone.

    flow : str, callable, or list of these, default="auto"
        Family of the components that depend on the features, as for
        :class:`GradientBoostedFlowDensity`; "auto": each round takes the better of "nsf" and
        "gaussian_mixture", which given features is a mixture density network [3]_.

    init : str, list of str or None, default="auto"
        Families of the first rounds, one round each: densities of the residuals that are the same
        for all features. "auto" is ["student_t", "gaussian_mixture"] if `flow` is "auto", and None
        otherwise.

    base, tail, n_transforms, hidden_layer_sizes, activation, dropout, log_det, scale_clamp
        Of the flows, as for :class:`GradientBoostedFlowDensity`.

    The training:

    objective, learning_rate_init, batch_size, max_iter, lipschitz_penalty, fine_tune
        As for :class:`GradientBoostedFlowDensity`.

    When to stop:

    n_folds : int, "auto" or None, default="auto"
        Number of folds for cross-fitting, as for :class:`GradientBoostedFlowDensity`. The models
        of mean and spread have the same folds.

    validation_fraction, n_iter_no_change, tol
        As for :class:`GradientBoostedFlowDensity`.

    The targets:

    dequantize : {"auto", True, False}, float or array-like of shape (n_targets,), default="auto"
        Treatment of repeated values of targets, as for :class:`GradientBoostedFlowDensity`. The
        density at a value on a grid, such as a count, is its probability divided by the step.

    Running and continuing:

    warm_start : bool, default=False
        Whether `fit` adds rounds to those already fitted, up to `n_estimators`. It takes the
        samples of the first fit.

    checkpoint : str, path-like or None, default=None
        File to which the model is saved after each round.

    device : {"cpu", "cuda", "auto"} or torch.device, default="cpu"
        Device to compute on.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names for all of them.

    fitted_ : FittedRegression
        All that `fit` found; the other attributes, properties below, are read from it.

    See Also
    --------
    GradientBoostedFlowDensity : Joint density of a table.

    References
    ----------
    .. [1] Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
       https://arxiv.org/abs/2002.11896
    .. [2] TreeFlow: Going Beyond Tree-Based Parametric Probabilistic Regression. P. Wielopolski,
       M. Zięba, 2023. https://arxiv.org/abs/2206.04140
    .. [3] Mixture Density Networks. C. M. Bishop, 1994.
       https://publications.aston.ac.uk/id/eprint/373/

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skgbnf import GradientBoostedFlowRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GradientBoostedFlowRegressor(
    ...     2, context_model="forest", flow="affine", max_iter=5, random_state=0
    ... )
    >>> model.fit(X, y).score_samples(X, y).shape
    (442,)
    >>> model.predict_interval(X[:2], coverage=0.9).shape
    (2, 2)
    >>> model.sample(X[:2], 5, random_state=0).shape
    (2, 5)
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    _fitted_class = FittedRegression

    def __init__(
        self,
        n_estimators: int = 6,
        *,
        max_time: float | None = None,
        bounds: BoundsLike = None,
        random_state: RandomState = None,
        verbose: int = 0,
        context_model: str | Sequence[str] | None = "auto",
        flow: FamilyName | Sequence[FamilyName] = "auto",
        init: str | Sequence[str] | None = "auto",
        base: str | CopulaBase = "normal",
        tail: str = "base",
        n_transforms: int | str = "auto",
        hidden_layer_sizes: int | Sequence[int] | str = "auto",
        activation: str = "auto",
        dropout: float | str = "auto",
        log_det: str = "lu",
        scale_clamp: float | None = SCALE_CLAMP,
        objective: str = "tempered",
        learning_rate_init: float = 6e-3,
        batch_size: int | str = "auto",
        max_iter: int | str = "auto",
        lipschitz_penalty: float = 0.0,
        fine_tune: int = 0,
        n_folds: int | str | None = "auto",
        validation_fraction: float | None = 0.1,
        n_iter_no_change: int = 2,
        tol: float = 1e-4,
        dequantize: ArrayLike = "auto",
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.n_estimators = n_estimators
        self.max_time = max_time
        self.bounds = bounds
        self.random_state = random_state
        self.verbose = verbose
        self.context_model = context_model
        self.flow = flow
        self.init = init
        self.base = base
        self.tail = tail
        self.n_transforms = n_transforms
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.log_det = log_det
        self.scale_clamp = scale_clamp
        self.objective = objective
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.lipschitz_penalty = lipschitz_penalty
        self.fine_tune = fine_tune
        self.n_folds = n_folds
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.dequantize = dequantize
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        resume_from: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the conditional density to samples, round by round.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features. Numbers may be missing (NaN); a data frame may hold categories, strings and
            booleans too.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets, numbers. Of several targets the joint density is fitted.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights. Weight 0 counts as absent; a common factor changes nothing.

        X_val, y_val : array-likes like X and y, default=None
            Validation set. With one, no training samples are set aside.

        sample_weight_val : array-like of shape (n_val_samples,), default=None
            Weights of the validation set.

        resume_from : str, path-like or None, default=None
            Checkpoint of an interrupted fit of the same samples and parameters.

        Returns
        -------
        self : GradientBoostedFlowRegressor

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, or X, y, the weights or the checkpoint are not as
            described above. The estimator is then unchanged.

        Warns
        -----
        DegenerateDataWarning
            If a target is constant, a linear function of others, or has an atom of which
            `dequantize` says nothing.

        sklearn.exceptions.ConvergenceWarning
            If the loss was not finite in many training steps.
        """
        with unchanged_on_failure(self):
            self._check_parameters()
            table, columns = self._checked(X, y, reset=True)
            names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_)).tolist()
            encoder = Encoder.from_table(self._counted(table, sample_weight), names)
            given = Given(
                columns, sample_weight, codes=encoder.codes(table), **self._validation_of(
                    encoder, X_val, y_val, sample_weight_val
                ),
            )  # fmt: skip
            interrupt = fit_density(self, given, resume_from, encoder)
        if interrupt is not None:
            raise interrupt
        return self

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Coefficient of determination of the mean, as of all regressors.

        To compare densities, use :data:`skgbnf.metrics.log_likelihood_scorer`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        score : float
            1 where every mean is the target, 0 for the mean of all targets; of several targets the
            mean over these.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        return float(super().score(X, y, sample_weight))

    def __sklearn_tags__(self) -> Tags:
        """Several targets, and gaps among the features."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        return tags

    def _checked(self, X: Any, y: Any, part: str = "", *, reset: bool) -> tuple[Any, Any]:
        """Features and targets as tables of equal length."""
        table = checked_features(X, f"X{part}", self)
        note_columns(self, table, "no_validation", reset=reset)
        columns = as_columns(y)
        check_consistent_length(table, columns)
        return table, columns

    @staticmethod
    def _counted(table: Any, sample_weight: Any) -> Any:
        """The rows of positive weight."""
        if sample_weight is None:
            return table
        weights = check_weights(sample_weight, table.shape[0])
        return take(table, np.flatnonzero(weights > 0))

    def _validation_of(
        self, encoder: Encoder, X_val: Any, y_val: Any, weights: Any
    ) -> dict[str, Any]:
        """The validation set as fields of what is given; those of none if there is none."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together.")
        if X_val is None:
            return {"sample_weight_val": weights}
        table, columns = self._checked(X_val, y_val, "_val", reset=False)
        fields = {"X_val": columns, "sample_weight_val": weights}
        return {**fields, "codes_val": encoder.codes(table)}
