"""Classification by Bayes' rule, from one density per class."""

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from skgbnf._checks import check_integer
from skgbnf._fitting import unchanged_on_failure
from skgbnf._random import RandomState, seed_from
from skgbnf.estimators.wrapping import (
    DensityWrapper,
    can_sample,
    check_whole,
    densities_from_plain,
    densities_to_plain,
    fit_clone,
)
from skgbnf.persistence import adopt_columns, from_parameters, persistent
from skgbnf.table.checks import check_unmasked, note_columns
from skgbnf.table.dequantisation import DegenerateDataWarning
from skgbnf.table.selection import as_rows, take
from skgbnf.table.weights import check_weights

_NUMBERS = "biuf"
"""Kinds of labels that are numbers."""


@persistent
class FlowBayesClassifier(DensityWrapper, ClassifierMixin, BaseEstimator):
    r"""Classifier by Bayes' rule, from one density per class.

    .. math:: P(y = k \mid x) \propto \pi_k \, p_k(x)

    where :math:`\pi_k` is the prior probability of class k and :math:`p_k` the density of its
    samples. With Gaussian densities this is quadratic discriminant analysis.

    .. warning::
       Each density must integrate to 1 in the units of X, since they are compared with each other.
       A :class:`~sklearn.pipeline.Pipeline` with a scaler does not: it leaves out the Jacobian,
       which differs between classes. Put such steps before the classifier.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Density with ``fit`` and ``score_samples``, a clone of which is fitted to each class; None
        is :class:`GradientBoostedFlowDensity` with default parameters.

    priors : array-like of shape (n_classes,) or None, default=None
        Prior probabilities, in the order of `classes_`; None for the weighted class frequencies in
        the samples of `fit`.

    random_state : int, RandomState instance or None, default=None
        Draws a seed for each parameter `random_state` of `estimator`, nested ones too, and a new
        one for each class; None leaves them unchanged.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.

    class_prior_ : ndarray of shape (n_classes,)
        Prior probabilities of the classes.

    estimators_ : list of estimators
        The fitted densities, in the order of `classes_`.

    n_features_in_ : int
        Number of features seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names for all of them.

    See Also
    --------
    sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis : The same with Gaussians.
    sklearn.naive_bayes.GaussianNB : The same with independent Gaussian features.

    Notes
    -----
    Each class needs as many samples as its density does: :class:`GradientBoostedFlowDensity`
    accepts two, and needs many more to fit well. Densities that take ``X_reference`` are given all
    samples there, so that the treatment of repeated values and the scale of constant features are
    the same in all classes. Nothing else is shared: a feature that is constant within a class says
    that other values do not occur in it.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skgbnf import FlowBayesClassifier, GradientBoostedFlowDensity
    >>> X, y = load_wine(return_X_y=True)
    >>> density = GradientBoostedFlowDensity(1, flow="affine", dequantize=True)
    >>> classifier = FlowBayesClassifier(density, random_state=0).fit(X, y)
    >>> classifier.predict_proba(X[:5]).shape
    (5, 3)
    >>> rows, labels = classifier.sample(random_state=0, y=[2, 0])
    >>> rows.shape, labels.tolist()
    ((2, 13), [2, 0])
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    def __init__(
        self,
        estimator: Any = None,
        *,
        priors: ArrayLike | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.priors = priors
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit a density to the samples of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training samples.

        y : array-like of shape (n_samples,)
            Class labels.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights, used by the densities and by `class_prior_`. Samples of weight 0 count
            as absent, and so does a class without others.

        Returns
        -------
        self : FlowBayesClassifier

        Raises
        ------
        ValueError, TypeError
            If y holds no class labels, `priors` are not probabilities of its classes, or a density
            refuses the samples of its class or their weights. The classifier is then unchanged.
        """
        with unchanged_on_failure(self):
            self._fit(X, y, sample_weight)
        return self

    def _fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
        check_unmasked(y, "y")
        table = as_rows(X)
        note_columns(self, table, y, reset=True)
        target = check_array(y, ensure_2d=False, dtype=None, input_name="y")
        target = column_or_1d(target, warn=True)
        check_consistent_length(table, target)
        check_classification_targets(target)
        weights = check_weights(sample_weight, len(target))
        as_given = np.broadcast_to(np.asarray(sample_weight), target.shape)
        present = np.flatnonzero(weights)
        classes, labels = np.unique(target[present], return_inverse=True)
        shares = np.bincount(labels, weights=weights[present])
        prior = self._check_priors(shares / shares.sum())
        rng = None if self.random_state is None else check_random_state(self.random_state)
        whole = take(table, present)
        check_whole(self.estimator, whole)
        densities = []
        for k, name in enumerate(classes):
            rows = present[labels == k]
            given = None if sample_weight is None else as_given[rows]
            with warnings.catch_warnings():
                if k:
                    # They are warnings of the whole table, which the first class has given.
                    warnings.simplefilter("ignore", DegenerateDataWarning)
                densities.append(self._fit_class(name, take(table, rows), given, rng, whole))
        self.classes_, self.class_prior_, self.estimators_ = classes, prior, densities

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Most probable class of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        log_proba = self.predict_log_proba(X)
        return self.classes_[np.argmax(log_proba, axis=1)]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of each class, for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Classes in the order of `classes_`; each row sums to 1.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Log-probability of each class, for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_P : ndarray of shape (n_samples, n_classes)
            Classes in the order of `classes_`. A sample with density 0 in every class gets the
            prior probabilities.
        """
        joint = self._joint(X)
        joint[np.isneginf(joint).all(axis=1)] = self._log_prior()
        return joint - logsumexp(joint, axis=1, keepdims=True)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        r"""Log-density of each sample, summed over classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            :math:`\log \sum_k \pi_k p_k(x)`, in nats, in the units of X.
        """
        return logsumexp(self._joint(X), axis=1)

    @available_if(lambda classifier: can_sample(classifier.estimator))
    def sample(
        self, n_samples: int = 1, random_state: RandomState = None, *, y: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw samples with their labels.

        Available if `estimator` has ``sample(n_samples, random_state)``.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples, with labels drawn from `class_prior_`. Ignored if `y` is given.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        y : array-like of shape (n_samples,), default=None
            Labels among `classes_`; one sample is drawn for each.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Sample i is drawn from the density of class ``y[i]``, in the units of the training
            samples.

        y : ndarray of shape (n_samples,)
            The labels.

        Raises
        ------
        ValueError
            If a label was not seen in fit.

        sklearn.exceptions.NotFittedError
            If the classifier is not fitted.
        """
        check_is_fitted(self, "estimators_")
        rng = np.random.RandomState(seed_from(random_state))
        if y is None:
            check_integer("n_samples", n_samples, 1)
            target = rng.choice(self.classes_, n_samples, p=self.class_prior_)
        else:
            target = column_or_1d(y)
        if not len(target):
            raise ValueError("y must hold at least one label.")
        if self.classes_.dtype.kind in "mM":
            # As Python knows them, dates depend on their unit.
            target = target.astype(self.classes_.dtype)
        number_of = {label: k for k, label in enumerate(self.classes_.tolist())}
        labels = np.array([number_of.get(label, -1) for label in target.tolist()])
        if (labels < 0).any():
            unknown = [*dict.fromkeys(target[labels < 0].tolist())]
            raise ValueError(f"y holds labels that fit has not seen: {unknown}.")
        order, drawn = np.argsort(labels, kind="stable"), []
        for k, n_rows in enumerate(np.bincount(labels)):
            if n_rows:
                density = self.estimators_[k]
                drawn.append(density.sample(int(n_rows), random_state=seed_from(rng)))
        return np.concatenate(drawn)[np.argsort(order)], target

    def _check_priors(self, shares: np.ndarray) -> np.ndarray:
        """Prior probabilities: those of the user, or the class frequencies."""
        if self.priors is None:
            return shares
        priors = check_array(
            self.priors, ensure_2d=False, dtype=np.float64, input_name="priors", copy=True
        )
        if priors.shape != shares.shape:
            raise ValueError(
                f"priors must hold a number for each of {len(shares)} classes, "
                f"got an array of shape {priors.shape}."
            )
        if (priors < 0).any() or not np.isclose(priors.sum(), 1.0):
            raise ValueError(f"priors must not be negative and must sum to 1, got {priors}.")
        return priors / priors.sum()

    def _fit_class(
        self,
        name: object,
        X: Any,
        sample_weight: np.ndarray | None,
        rng: np.random.RandomState | None,
        whole: Any,
    ) -> Any:
        """Density of the samples of one class, in the units of the whole table."""
        try:
            return fit_clone(self.estimator, X, sample_weight, rng, whole)
        except ValueError as error:
            text = f"The density of class {name}, of {X.shape[0]} rows, cannot be fitted: {error}"
            raise ValueError(text) from error

    def _joint(self, X: ArrayLike) -> np.ndarray:
        """Log of prior times density, of shape (n_samples, n_classes)."""
        check_is_fitted(self, "estimators_")
        scores = [density.score_samples(X) for density in self.estimators_]
        return np.column_stack(scores).astype(np.float64) + self._log_prior()

    def _log_prior(self) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(self.class_prior_)

    def to_plain(self) -> dict[str, Any]:
        """The fitted classifier as JSON values and arrays."""
        check_is_fitted(self, "estimators_")
        labels: Any = self.classes_
        if labels.dtype.kind not in _NUMBERS:
            if not all(isinstance(label, str) for label in labels):
                raise ValueError(
                    "y: labels other than numbers and strings cannot be saved; pickle it."
                )
            labels = {"labels": labels.tolist(), "objects": labels.dtype == object}
        fitted = {"classes": labels, "class_prior": self.class_prior_}
        return {**densities_to_plain(self, self.estimators_), **fitted}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = from_parameters(cls, plain["parameters"])
        densities = densities_from_plain(plain)
        self.classes_, self.class_prior_ = _labels(plain["classes"]), plain["class_prior"]
        prior, shape = self.class_prior_, (len(densities),)
        if not (self.classes_.shape == prior.shape == shape):
            raise ValueError("it has more or fewer labels or prior probabilities than densities")
        if not ((prior >= 0).all() and np.isclose(prior.sum(), 1.0)):
            raise ValueError("its prior probabilities are negative or do not sum to 1")
        self.estimators_ = densities
        adopt_columns(self, densities[0])
        return self


def _labels(plain: Any) -> np.ndarray:
    """Labels from a file, which are distinct and sorted."""
    labels = plain
    if isinstance(plain, dict):
        if not all(isinstance(label, str) for label in plain["labels"]):
            raise ValueError("a label is neither a number nor a string")
        labels = np.array(plain["labels"], dtype=object if plain["objects"] else str)
    if not np.array_equal(labels, np.unique(labels)):
        raise ValueError("its labels are not distinct and sorted")
    return labels
