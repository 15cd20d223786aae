"""Why a sample is an outlier: how unexpected each of its values is, given the others."""

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import check_flag
from skgbnf.estimators.wrapping import chosen
from skgbnf.table.frames import container_of

_N_TYPICAL = 100


class ExplainsSamples:
    """Mixin of detectors whose density says how likely each value of a sample is."""

    estimator: Any
    estimator_: Any

    @available_if(lambda detector: hasattr(chosen(detector.estimator), "feature_score_samples"))
    def explain(self, X: ArrayLike, *, relative: bool = True) -> Any:
        r"""How unexpected each value is, given the other values of its sample.

        .. math:: e_j(x) = -\log p(x_j \mid x_{-j}) - m_j

        Available if `estimator` has ``feature_score_samples``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, such as those that :meth:`predict` flags.

        relative : bool, default=True
            Whether to subtract :math:`m_j`, the median of the same over samples of the density,
            for which a hundred are drawn at the first call. Without it densities of continuous
            features, which depend on units, stand beside probabilities of discrete ones, and
            features that are hard to predict beside those that are easy. With False
            :math:`m_j = 0`.

        Returns
        -------
        explanation : ndarray or pandas.DataFrame of shape (n_samples, n_features)
            In nats: the higher, the less the value fits the rest of the sample. NaN where the value
            is missing, inf where it is impossible. A frame with the labels of X, if X is one of
            pandas.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the detector is not fitted.

        Notes
        -----
        Where two features determine each other and one of them is wrong, both are unexpected, and
        nothing but other features can tell which is wrong. The values do not sum to the log-density
        of the sample.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from skgbnf import FlowOutlierDetector, GradientBoostedFlowDensity
        >>> rng = np.random.default_rng(0)
        >>> shop = rng.choice(["north", "south"], 200)
        >>> frame = pd.DataFrame({"shop": shop, "price": rng.normal(size=200)})
        >>> frame.loc[0, "price"] = 9
        >>> density = GradientBoostedFlowDensity(1, flow="location_mixture", n_folds=None)
        >>> detector = FlowOutlierDetector(density, random_state=0).fit(frame)
        >>> detector.explain(frame.iloc[:1]).idxmax(axis=1).tolist()
        ['price']
        """
        check_is_fitted(self, "estimator_")
        check_flag("relative", relative)
        values = -self.estimator_.feature_score_samples(X)
        if relative:
            values = values - _typical(self.estimator_)
        return _labelled(values, X)


_TYPICAL: WeakKeyDictionary[Any, np.ndarray] = WeakKeyDictionary()
"""Medians of fitted densities in use; beside them, lest they get into pickles and copies."""


def _typical(density: Any) -> np.ndarray:
    """Median, over samples of a density, of -log p of each value given the others."""
    fitted = density.fitted_
    if fitted not in _TYPICAL:
        named = density.container_ != "numpy"
        draw = density.sample_frame if named else density.sample
        values = -density.feature_score_samples(draw(_N_TYPICAL, random_state=0))
        _TYPICAL[fitted] = np.median(values, axis=0)
    return _TYPICAL[fitted]


def _labelled(values: np.ndarray, X: Any) -> Any:
    """The values as a frame of pandas with the labels of X, if X is one."""
    if container_of(X) != "pandas":
        return values
    return type(X)(values, index=X.index, columns=X.columns)
