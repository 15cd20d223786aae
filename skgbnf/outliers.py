"""Outliers: rows of low density, and p-values from rows that the density has not seen."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from skgbnf._random import RandomState
from skgbnf.delegation import (
    adopt_columns,
    as_rows,
    check_whole,
    fit_clone,
    inherit_tags,
    take,
    wrapper_from_state,
    wrapper_to_state,
)
from skgbnf.fitting import unchanged_on_failure
from skgbnf.persistence import persistent
from skgbnf.table.checks import note_columns
from skgbnf.validation import check_real, seed_from

_FEWEST_ASIDE = 19
_TIE = 1e-5
"""Difference of scores, relative to their size, that float32 may make of rows that repeat."""

_REPEATED = 1e-9
"""The same for one batch in double precision."""

"""With as many rows set aside the smallest p-value is 5 %."""


@persistent
class FlowOutlierDetector(OutlierMixin, BaseEstimator):
    r"""Detector of outliers as rows of low density, with conformal p-values.

    A density is fitted to a part of the rows. The threshold of :meth:`predict` is such that the
    share `contamination` of all rows of fit lies below, as that of scikit-learn's other
    detectors. The rows that the density has not seen are what :meth:`pvalues` compares with.

    A density is higher on the rows it was fitted to than on new ones, so of new rows
    :meth:`predict` usually flags more than `contamination`. ``pvalues(X) <= t`` does not: of new
    rows like those of fit, it flags no more than the share t on average.

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
        Share of the rows of fit to flag, above 0 and below 1. Equal scores at the threshold count
        as inliers, so that fewer are flagged where many rows are equal.

    calibration_fraction : float or None, default=0.2
        Share of the rows that the density does not see and that p-values compare with. A smaller
        share than 19 rows, which a p-value of 5 % needs, is raised to 19, or to a third of the
        rows if that is less. None fits the density to all rows, and there are no p-values.

    random_state : int, RandomState instance or None, default=None
        Governs which rows are set aside. Unless it is None, it also draws a seed for each
        parameter `random_state` of `estimator`, nested ones too.

    Attributes
    ----------
    estimator_ : estimator
        The fitted density.

    offset_ : float
        Log-density below which rows are outliers, in nats: the quantile `contamination` of those
        of the rows of fit.

    calibration_scores_ : ndarray of shape (n_calibration_samples,) or None
        Log-densities of the rows set aside, ascending; None with ``calibration_fraction=None``.

    n_features_in_ : int
        Number of columns seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X had string names for all of them.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers as rows that random splits isolate early.
    sklearn.neighbors.LocalOutlierFactor : Rows in places less dense than those of neighbours.
    sklearn.covariance.EllipticEnvelope : Rows of low density under one robust Gaussian.

    Notes
    -----
    Rows have no weights here. With weights, a row of weight 2 would have to count as two rows of
    which one may be set aside, and a row is set aside or not. A density takes weights, and a
    quantile of its scores is a threshold.

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

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit the density to a part of the rows and score all of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, of which some may be outliers.

        y : None
            Ignored, present for the scikit-learn interface.

        Returns
        -------
        self : FlowOutlierDetector

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range, there are too few rows, or the density refuses
            them.
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
        learned, aside = self._split(table.shape[0], seed_from(rng))
        density = fit_clone(self.estimator, take(table, learned), None, rng)
        scores = np.asarray(density.score_samples(table), dtype=np.float64)
        self.estimator_, self.offset_ = density, _quantile(scores, self.contamination)
        self.calibration_scores_ = np.sort(scores[aside]) if len(aside) else None

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

        .. math:: p(x) = \frac{1 + \#\{i : s_i \lesssim s(x)\}}{n + 1}

        with the log-density :math:`s(x)` of the row and those :math:`s_i` of the n rows set aside.
        Scores that float32 cannot tell apart count as equal, so that rows that repeat have equal
        p-values in every batch.
        If the row is exchangeable with these, whatever their distribution and however poor the
        density, then :math:`P(p \le t) \le t` for every t [1]_, [2]_.

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
        Rows of fit are not new rows: most of them the density has seen, and their p-values are
        too large as well.

        References
        ----------
        .. [1] Testing for Outliers with Conformal p-values. S. Bates, E. Candès, L. Lei,
           Y. Romano, M. Sesia, 2023. https://arxiv.org/abs/2104.08279

        .. [2] Algorithmic Learning in a Random World. V. Vovk, A. Gammerman, G. Shafer, 2005.
           https://doi.org/10.1007/b106715
        """
        check_is_fitted(self, "offset_")
        if self.calibration_scores_ is None:
            raise ValueError("pvalues needs rows set aside, but calibration_fraction is None.")
        scores = np.asarray(self.score_samples(X), dtype=np.float64)
        ties = scores + _tolerance(scores)
        n_below = np.searchsorted(self.calibration_scores_, ties, side="right")
        return (1 + n_below) / (1 + len(self.calibration_scores_))

    def _check_parameters(self) -> None:
        check_real("contamination", self.contamination, 0, 1, open_low=True)
        if self.calibration_fraction is not None:
            check_real("calibration_fraction", self.calibration_fraction, 0, 1, open_low=True)

    def _split(self, n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of rows for the density, and of rows set aside for p-values."""
        order = np.random.default_rng(seed).permutation(n_rows)
        if self.calibration_fraction is None:
            return np.arange(n_rows), order[:0]
        n_aside = round(self.calibration_fraction * n_rows)
        n_aside = max(n_aside, min(_FEWEST_ASIDE, n_rows // 3))
        if n_aside == 0:
            raise ValueError(
                "FlowOutlierDetector needs at least 3 rows to set one of them aside, got "
                f"n_samples={n_rows}; calibration_fraction=None sets none aside."
            )
        if n_rows - n_aside < 2:
            raise ValueError(
                f"calibration_fraction={self.calibration_fraction} leaves the density fewer than "
                f"two of {n_rows} rows."
            )
        return order[n_aside:], order[:n_aside]

    def _get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON data and arrays from which :meth:`_from_state` restores the detector."""
        check_is_fitted(self, "offset_")
        data, arrays = wrapper_to_state(self, [self.estimator_])
        arrays["offset_"] = np.array([self.offset_])
        if self.calibration_scores_ is not None:
            arrays["calibration_scores_"] = self.calibration_scores_
        return data, arrays

    @classmethod
    def _from_state(cls, data: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Restore a fitted detector, checking that data and arrays fit together."""
        parameters, (density,) = wrapper_from_state(data, arrays)
        self = cls(**parameters)
        self._check_parameters()
        (offset,), scores = arrays["offset_"].astype(np.float64), arrays.get("calibration_scores_")
        if np.isnan(offset):
            raise ValueError("its threshold is not a number")
        if scores is not None:
            rising = scores.ndim == 1 and len(scores) and (scores == np.sort(scores)).all()
            if scores.dtype != np.float64 or not rising:
                raise ValueError("its calibration scores are no ascending numbers")
        self.estimator_, self.offset_, self.calibration_scores_ = density, float(offset), scores
        adopt_columns(self, density)
        return self

    def __sklearn_tags__(self) -> Tags:
        return inherit_tags(super().__sklearn_tags__(), self.estimator)


def _tolerance(scores: np.ndarray) -> np.ndarray:
    """How far apart scores may be that float32 cannot tell from each other."""
    finite = np.where(np.isfinite(scores), scores, 0.0)
    return _TIE * np.maximum(1.0, np.abs(finite))


def _quantile(scores: np.ndarray, share: float) -> float:
    """Log-density that the given share of the rows lies below.

    Where it is that of rows that repeat, it is lowered halfway to the next one below, so that
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
