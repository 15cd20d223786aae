"""Outliers: rows of low density, by a threshold from rows that the density has not seen."""

import math
import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skgbnf._random import RandomState
from skgbnf.delegation import as_rows, fit_clone, inherit_tags, take
from skgbnf.validation import check_real, check_weights, seed_from


class FlowOutlierDetector(OutlierMixin, BaseEstimator):
    r"""Detector of outliers as rows of low density, with conformal p-values.

    A density is fitted to a part of the rows. The others, which it has not seen, are scored by it:
    their log-densities set the threshold of :meth:`predict` and are what :meth:`pvalues` compares
    with. A density scores the rows it was fitted to higher than new ones, so a threshold from
    these would flag more of new rows than was asked for.

    .. warning::
       A high density is no proof that a row is of the kind seen in fit. In many columns a row of
       quite another kind may have a higher density than all rows of fit, as images of another
       data set had under flows in [1]_: typical rows do not lie where the density is highest. This
       detector flags low densities only. Which they are depends on the columns: it is not the
       same for a column and for its logarithm.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Density with ``fit`` and ``score_samples``, of which a clone is fitted; None stands for
        :class:`GradientBoostedFlowDensity` with default parameters.

    contamination : float, default=0.1
        Share of rows to flag, above 0 and below 1: of new rows drawn as those of fit, no more
        than this share is flagged on average. If the rows of fit are inliers only, it is the
        rate of false alarms; if a share of them are outliers, that share is the natural choice.

    calibration_fraction : float or None, default=0.2
        Share of the rows that the density does not see and that set the threshold. On small
        tables it is raised to the ``1 / contamination - 1`` rows that a threshold needs, but to
        no more than a third of the rows. None fits the density to all rows and takes the threshold
        from these, as other detectors of scikit-learn do: the share `contamination` of the rows
        of fit is then flagged, of new rows usually more, and there are no p-values.

    random_state : int, RandomState instance or None, default=None
        Governs which rows are set aside. Unless it is None, it also draws a seed for each
        parameter `random_state` of `estimator`, nested ones too.

    Attributes
    ----------
    estimator_ : estimator
        The fitted density.

    offset_ : float
        Log-density below which rows are outliers, in nats.

    calibration_scores_ : ndarray of shape (n_calibration_samples,) or None
        Log-densities of the rows set aside, ascending; None with ``calibration_fraction=None``.

    calibration_weights_ : ndarray of shape (n_calibration_samples,) or None
        Their weights, in the same order.

    n_features_in_ : int
        Number of columns seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X had string names for all of them.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers as rows that random splits isolate early.
    sklearn.neighbors.LocalOutlierFactor : Rows in places less dense than those of neighbours.
    sklearn.covariance.EllipticEnvelope : Rows of low density under one robust Gaussian.

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

    def __init__(
        self,
        estimator: Any = None,
        *,
        contamination: float = 0.1,
        calibration_fraction: float | None = 0.2,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the density to a part of the rows and calibrate on the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, of which some may be outliers.

        y : None
            Ignored, present for the scikit-learn interface.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for the density and for the threshold. A row of weight 0 counts
            as absent; a common factor changes nothing.

        Returns
        -------
        self : FlowOutlierDetector

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, there are too few rows, or the density refuses
            them or their weights.

        Warns
        -----
        UserWarning
            If too few rows are set aside for `contamination`. The threshold is then the lowest
            of their log-densities, and of n rows set aside it flags one new row in n + 1.
        """
        check_real("contamination", self.contamination, 0, 1, open_low=True)
        if self.calibration_fraction is not None:
            check_real("calibration_fraction", self.calibration_fraction, 0, 1, open_low=True)
        validate_data(self, X, skip_check_array=True)
        table = as_rows(X)
        rng = None if self.random_state is None else check_random_state(self.random_state)
        weights = check_weights(sample_weight, table.shape[0])
        learned, judged = self._split(np.flatnonzero(weights), seed_from(rng))
        given = None if sample_weight is None else weights[learned]
        density = fit_clone(self.estimator, take(table, learned), given, rng)
        scores = np.asarray(density.score_samples(take(table, judged)), dtype=np.float64)
        order = np.argsort(scores, kind="stable")
        scores, weights = scores[order], weights[judged][order]
        self.estimator_, self.offset_ = density, self._threshold(scores, weights)
        self.calibration_scores_: np.ndarray | None = None
        self.calibration_weights_: np.ndarray | None = None
        if self.calibration_fraction is not None:
            self.calibration_scores_, self.calibration_weights_ = scores, weights
        return self

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, as `estimator_` gives it; lower is more of an outlier.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the detector is not fitted.
        """
        check_is_fitted(self, "offset_")
        return self.estimator_.score_samples(X)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each row above the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_`` in nats, negative for outliers.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Say of each row whether it is an outlier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers, 1 for inliers.
        """
        # Not by the decision, which is not a number where a density of zero meets one as offset.
        return np.where(self.score_samples(X) < self.offset_, -1, 1)

    def pvalues(self, X: ArrayLike) -> np.ndarray:
        r"""Conformal p-value of each row, against "it is of the kind seen in fit".

        .. math:: p(x) = \frac{1 + \#\{i : s_i \le s(x)\}}{n + 1}

        with the log-density :math:`s(x)` of the row and those :math:`s_i` of the n rows set aside.
        If the row is exchangeable with these, whatever their distribution and however poor the
        density, then :math:`P(p \le t) \le t` for every t [1]_, [2]_. ``predict(X) == -1`` is
        ``pvalues(X) <= contamination``, unless fit warned of too few rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples,)
            From ``1 / (n + 1)`` to 1; small for outliers.

        Raises
        ------
        ValueError
            If no rows were set aside.

        Notes
        -----
        The guarantee is marginal: it holds on average over the rows set aside too. Once these are
        drawn, the share of inliers with :math:`p \le t` is near t, about
        :math:`\sqrt{t (1 - t) / n}` off, for all rows that are asked for.

        It is for one row. Of many inliers, a share t has :math:`p \le t`: test m rows by the
        procedure of Benjamini and Hochberg to bound the expected share of false alarms among the
        flagged, which holds, again marginally, though these p-values depend on one another [1]_.

        Outliers among the rows of fit make the test one of being like these rows, outliers
        included; the p-values of inliers are then usually too large, and outliers harder to find.
        With `sample_weight`, a row counts by its weight and the one tested as an average row; the
        guarantee is for equal weights.

        References
        ----------
        .. [1] Testing for Outliers with Conformal p-values. S. Bates, E. Candès, L. Lei,
           Y. Romano, M. Sesia, 2023. https://arxiv.org/abs/2104.08279

        .. [2] Algorithmic Learning in a Random World. V. Vovk, A. Gammerman, G. Shafer, 2005.
           https://doi.org/10.1007/b106715
        """
        check_is_fitted(self, "offset_")
        if self.calibration_scores_ is None or self.calibration_weights_ is None:
            raise ValueError("pvalues needs rows set aside, but calibration_fraction is None.")
        n_below = np.searchsorted(self.calibration_scores_, self.score_samples(X), side="right")
        weights = self.calibration_weights_
        return _tail(weights, weights.mean())[n_below]

    def _split(self, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows for the density and rows to calibrate with: all for both, or apart."""
        if self.calibration_fraction is None:
            return rows, rows
        n_asked = round(self.calibration_fraction * len(rows))
        n_needed = math.ceil(1 / self.contamination) - 1
        n_judged = max(n_asked, min(n_needed, len(rows) // 3))
        if n_judged == 0:
            raise ValueError(
                "FlowOutlierDetector needs at least 3 rows to set one of them aside, got "
                f"n_samples={len(rows)}; calibration_fraction=None sets none aside."
            )
        if self.contamination * (n_judged + 1) < 1:
            warnings.warn(
                f"contamination={self.contamination:g} needs {n_needed} rows set aside, and there "
                f"are {n_judged}: about one new row in {n_judged + 1} will be flagged.",
                stacklevel=3,
            )
        order = np.random.default_rng(seed).permutation(len(rows))
        return rows[order[n_judged:]], rows[order[:n_judged]]

    def _threshold(self, scores: np.ndarray, weights: np.ndarray) -> float:
        """The lowest log-density that is not among the share `contamination` of the rows."""
        new = 0.0 if self.calibration_fraction is None else weights.mean()
        return float(scores[np.argmax(_tail(weights, new)[1:] > self.contamination)])

    def __sklearn_tags__(self) -> Tags:
        return inherit_tags(super().__sklearn_tags__(), self.estimator)


def _tail(weights: np.ndarray, new: float) -> np.ndarray:
    """Share of the weight that the first 0, 1, 2, ... rows and a new one have of all of them."""
    sums = new + np.append(0.0, np.cumsum(weights))
    return sums / sums[-1]
