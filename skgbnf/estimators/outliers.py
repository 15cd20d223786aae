"""Outlier detection by low density, with conformal p-values."""

from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import Check, check_real, or_auto, or_none
from skgbnf._fitting import unchanged_on_failure
from skgbnf._random import RandomState, seed_from
from skgbnf.estimators.conformal import (
    calibration_by_folds,
    check_calibration,
    conformal_pvalues,
    split_aside,
)
from skgbnf.estimators.explanations import ExplainsSamples
from skgbnf.estimators.wrapping import (
    DensityWrapper,
    check_whole,
    densities_from_plain,
    densities_to_plain,
    fit_clone,
    is_cross_fitted,
)
from skgbnf.persistence import adopt_columns, from_parameters, persistent
from skgbnf.table.checks import note_columns
from skgbnf.table.selection import as_rows, take

_SHARE_ASIDE = 0.2
"""Of the samples in the calibration set, with "auto" and a density without folds."""

_REPEATED = 1e-9
"""Largest difference, relative to their size, between scores of repeated samples in one batch."""

_check_share: Check = partial(check_real, low=0, high=1, open_low=True)


@persistent
class FlowOutlierDetector(ExplainsSamples, DensityWrapper, OutlierMixin, BaseEstimator):
    r"""Outlier detector: samples of low density, with conformal p-values.

    :meth:`predict` flags samples whose log-density is below a threshold: the quantile
    `contamination` over the samples of `fit`, as in scikit-learn's other detectors.
    :meth:`pvalues` compares samples with others that the density was not fitted to: the samples of
    `fit`, each scored by components that did not see it, or a calibration set. :meth:`explain` says
    which values of a sample do not fit the others.

    A density is higher on the samples it was fitted to than on new ones, so :meth:`predict` usually
    flags more than `contamination` of new samples. With a calibration set, ``pvalues(X) <= t``
    flags at most a fraction t of new samples like those of `fit`, on average; with out-of-fold
    scores about t, see :meth:`pvalues`.

    .. warning::
       A high density does not prove a sample an inlier. With many features, samples of another kind
       can have a higher density than all samples of `fit`, as images of another data set had under
       flows in [1]_: typical samples do not lie where the density is highest. This detector flags
       low densities only, and these depend on the units: a feature and its logarithm give different
       outliers.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Density with ``fit`` and ``score_samples``, a clone of which is fitted; None is
        :class:`GradientBoostedFlowDensity` with default parameters.

    contamination : float, default=0.1
        Fraction of the samples of `fit` to flag, in (0, 1). Scores equal to the threshold count as
        inliers, so fewer are flagged where many samples are equal.

    calibration_fraction : float, "auto" or None, default="auto"
        What p-values compare with.

        - "auto": out-of-fold scores of the samples of `fit`, none of which is set aside, if
          `estimator` is a :class:`GradientBoostedFlowDensity` that is cross-fitted to them, as it
          is by default with 10 to 1,999 samples. Otherwise 0.2.
        - a float: fraction of the samples set aside as calibration set, at least 19 samples, which
          a p-value of 5 % needs, or a third of them if that is less.
        - None: nothing. The density is fitted to all samples, without p-values.

    random_state : int, RandomState instance or None, default=None
        Determines the calibration set. Unless it is None, it also draws a seed for each parameter
        `random_state` of `estimator`, nested ones too.

    Attributes
    ----------
    estimator_ : estimator
        The fitted density.

    offset_ : float
        Threshold on the log-density, in nats: the quantile `contamination` over the samples of
        `fit`.

    calibration_scores_ : ndarray of shape (n_calibration_samples,) or None
        Log-densities of the samples that p-values compare with, ascending in each fold; None with
        ``calibration_fraction=None``.

    calibration_folds_ : ndarray of int of shape (n_calibration_samples,) or None
        Fold of each of these, ascending; None with a calibration set.

    n_features_in_ : int
        Number of features seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names for all of them.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers as samples that random splits isolate early.
    sklearn.neighbors.LocalOutlierFactor : Samples in less dense places than their neighbours.
    sklearn.covariance.EllipticEnvelope : Samples of low density under one robust Gaussian.

    Notes
    -----
    There are no sample weights: a sample of weight 2 would have to count as two, one of which may
    be in the calibration set. To use weights, fit a density with them and take a quantile of its
    scores as threshold.

    References
    ----------
    .. [1] Do Deep Generative Models Know What They Don't Know? E. Nalisnick, A. Matsukawa,
       Y. W. Teh, D. Gorur, B. Lakshminarayanan, 2019. https://arxiv.org/abs/1810.09136

    Examples
    --------
    >>> import numpy as np
    >>> from skgbnf import FlowOutlierDetector, GradientBoostedFlowDensity
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> density = GradientBoostedFlowDensity(1, flow="affine", max_iter=5)
    >>> detector = FlowOutlierDetector(density, contamination=0.05, random_state=0).fit(X)
    >>> detector.predict([[0.0, 0.0], [4.0, -4.0]])
    array([ 1, -1])
    >>> bool(detector.pvalues([[4.0, -4.0]])[0] <= 0.05)
    True
    """

    __module__ = "skgbnf"  # the path in pickles, which stays wherever the class moves

    def __init__(
        self,
        estimator: Any = None,
        *,
        contamination: float = 0.1,
        calibration_fraction: float | str | None = "auto",
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit the density to all samples but a calibration set, and score all of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, some of which may be outliers.

        y : None
            Ignored, present for the scikit-learn interface.

        Returns
        -------
        self : FlowOutlierDetector

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, there are too few samples, or the density refuses
            them. The detector is then unchanged.
        """
        with unchanged_on_failure(self):
            self._fit(X)
        return self

    def _fit(self, X: ArrayLike) -> None:
        self._check_parameters()
        table = as_rows(X)
        note_columns(self, table, reset=True)
        check_whole(self.estimator, table)
        rng = None if self.random_state is None else check_random_state(self.random_state)
        share = self._share_aside(table.shape[0])
        learned, aside = split_aside(table.shape[0], share, seed_from(rng))
        density = fit_clone(self.estimator, take(table, learned), None, rng)
        scores = np.asarray(density.score_samples(table), dtype=np.float64)
        self.estimator_, self.offset_ = density, _quantile(scores, self.contamination)
        self.calibration_scores_ = np.sort(scores[aside]) if share else None
        self.calibration_folds_ = None
        if share == 0:
            calibration = calibration_by_folds(density, table)
            self.calibration_scores_, self.calibration_folds_ = calibration

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each sample; the lower, the more of an outlier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, as returned by `estimator_`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the detector is not fitted.
        """
        check_is_fitted(self, "offset_")
        return self.estimator_.score_samples(X)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each sample minus the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_`` in nats, negative for outliers.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the detector is not fitted.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label each sample as outlier or inlier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers, 1 for inliers.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the detector is not fitted.
        """
        # Not by the decision, which is not a number where a density of zero meets one as offset.
        return np.where(self.score_samples(X) < self.offset_, -1, 1)

    def pvalues(self, X: ArrayLike) -> np.ndarray:
        r"""Conformal p-value of each sample, for the null hypothesis that it is an inlier.

        .. math:: p(x) = \frac{1 + \#\{i : s_{k(i)}(x_i) \lesssim s_{k(i)}(x)\}}{n + 1}

        where :math:`x_1, \ldots, x_n` are the samples compared with. With a calibration set,
        :math:`s_k` is the log-density for every k. With out-of-fold scores, :math:`k(i)` is the
        fold of :math:`x_i` and :math:`s_k` the log-density under the mixture of fold k, whose
        components did not see :math:`x_i` (see `n_folds` of :class:`GradientBoostedFlowDensity`).
        Scores that float32 cannot tell apart count as equal, so that repeated samples have equal
        p-values in every batch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        p : ndarray of shape (n_samples,)
            From ``1 / (n + 1)`` to 1; small for outliers.

        Raises
        ------
        ValueError
            If ``calibration_fraction=None``.

        sklearn.exceptions.NotFittedError
            If the detector is not fitted.

        Notes
        -----
        With a calibration set, :math:`P(p \le t) \le t` for every t and a sample exchangeable with
        the set, whatever their distribution and however poor the density [1]_, [2]_. It is marginal
        and also averages over calibration sets: given one, the fraction of inliers with
        :math:`p \le t` differs from t by about :math:`\sqrt{t (1 - t) / n}`.

        Out-of-fold scores give the cross-conformal p-value [3]_, which is close to t in practice.
        What is proved for K separate fits, with folds of equal size, is
        :math:`P(p \le t) \le 2 t + \min(2 (1 - t) \frac{K - 1}{n + K}, \frac{1 - K / n}{K + 1})`
        [4]_, [5]_. The K mixtures of a density share its units, families, numbers of epochs and
        weights, which the scores of all samples choose, so that even this holds only approximately.
        Set `calibration_fraction` to a number where the bound t is needed.

        P-values are for one sample. To test many, use the procedure of Benjamini and Hochberg: with
        a calibration set it bounds the expected fraction of false alarms among the flagged samples,
        again marginally, although these p-values depend on each other [1]_.

        Outliers among the samples of `fit` make p-values of inliers usually too large, and outliers
        harder to find. The p-values of the samples of `fit` are too large as well, since the
        density was fitted to most of them.

        References
        ----------
        .. [1] Testing for Outliers with Conformal p-values. S. Bates, E. Candès, L. Lei,
           Y. Romano, M. Sesia, 2023. https://arxiv.org/abs/2104.08279

        .. [2] Algorithmic Learning in a Random World. V. Vovk, A. Gammerman, G. Shafer, 2005.
           https://doi.org/10.1007/b106715

        .. [3] Cross-conformal predictors. V. Vovk, 2015. https://arxiv.org/abs/1208.0806

        .. [4] Predictive inference with the jackknife+. R. F. Barber, E. J. Candès, A. Ramdas,
           R. J. Tibshirani, 2021. https://arxiv.org/abs/1905.02928

        .. [5] Improving the statistical efficiency of cross-conformal prediction. M. Gasparin,
           A. Ramdas, 2025. https://arxiv.org/abs/2503.01495
        """
        check_is_fitted(self, "offset_")
        if self.calibration_scores_ is None:
            raise ValueError(
                "pvalues needs scores to compare with, but calibration_fraction is None."
            )
        folds = self.calibration_folds_
        if folds is None:
            scores = np.asarray(self.score_samples(X), dtype=np.float64)[None]
            folds = np.zeros(len(self.calibration_scores_), dtype=np.int32)
        else:
            scores = self.estimator_.fold_score_samples(X).astype(np.float64)
        return conformal_pvalues(scores, self.calibration_scores_, folds)

    def _check_parameters(self) -> None:
        """Raise ValueError or TypeError unless every parameter is in its range."""
        _check_share("contamination", self.contamination)
        check = or_none(or_auto(_check_share, "a number"))
        check("calibration_fraction", self.calibration_fraction)

    def _share_aside(self, n_rows: int) -> float | None:
        """Fraction of the samples to set aside, 0 for out-of-fold scores, None without p-values."""
        if not isinstance(self.calibration_fraction, str):
            return self.calibration_fraction
        return 0.0 if is_cross_fitted(self.estimator, n_rows) else _SHARE_ASIDE

    def to_plain(self) -> dict[str, Any]:
        """The fitted detector as JSON values and arrays."""
        check_is_fitted(self, "offset_")
        fitted = {
            "offset": self.offset_,
            "calibration_scores": self.calibration_scores_,
            "calibration_folds": self.calibration_folds_,
        }
        return {**densities_to_plain(self, [self.estimator_]), **fitted}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = from_parameters(cls, plain["parameters"])
        (density,) = densities_from_plain(plain)
        offset, scores = float(plain["offset"]), plain["calibration_scores"]
        folds = plain.get("calibration_folds")
        if np.isnan(offset):
            raise ValueError("its threshold is not a number")
        check_calibration(scores, folds, density.n_folds_)
        self.estimator_, self.offset_ = density, offset
        self.calibration_scores_, self.calibration_folds_ = scores, folds
        adopt_columns(self, density)
        return self


def _quantile(scores: np.ndarray, share: float) -> float:
    """Log-density below which a given fraction of the samples lies.

    If repeated samples have it, it is lowered halfway to the next log-density below, so that
    rounding, which differs between batches, does not decide about them.
    """
    with np.errstate(invalid="ignore"):
        quantile = np.quantile(scores, share)
    # There is no number between a log-density of minus infinity and one of a row above.
    if np.isnan(quantile):
        quantile = np.quantile(scores, share, method="higher")
    with np.errstate(invalid="ignore"):
        tied = np.abs(scores - quantile) <= _REPEATED * max(1.0, abs(quantile))
    lower = scores[np.isfinite(scores) & (scores < quantile) & ~tied]
    if tied.sum() < 2 or not len(lower):
        return float(quantile)
    return float((scores[tied].min() + lower.max()) / 2)
