"""Histogram of the probability integral transform of predictive distributions."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from skgbnf._checks import check_integer
from skgbnf.metrics import pit
from skgbnf.plotting.axes import MODEL, REFERENCE, Keywords, axes_or_new, import_pyplot, style
from skgbnf.plotting.tables import check_methods

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CONFIDENCE = 0.99


class PITDisplay:
    """Histogram of predicted probabilities of values up to those observed.

    Where predictive distributions are right these are uniform: the histogram is flat. A hump in the
    middle says that they are too wide, a valley that they are too narrow, a slope that they lie too
    low or too high. The band is where a bin of a right model lies 99 times of 100.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Probabilities between 0 and 1.

    n_bins : int, default=20
        Number of bins of the histogram.

    Attributes
    ----------
    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skgbnf.plotting import PITDisplay
    >>> display = PITDisplay(values=np.random.default_rng(0).uniform(size=500)).plot()
    >>> display.values.shape
    (500,)
    >>> plt.close(display.figure_)
    """

    def __init__(self, *, values: np.ndarray, n_bins: int = 20) -> None:
        self.values = values
        self.n_bins = n_bins

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_bins: int = 20,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the histogram for samples under a fitted regressor.

        Parameters
        ----------
        estimator : estimator instance
            Fitted, with ``cdf(X, y)``.

        X : {array-like, dataframe} of shape (n_samples, n_features)
            Features; of samples that the fit has not seen.

        y : array-like of shape (n_samples,)
            Targets.

        n_bins : int, default=20
            Number of bins.

        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : PITDisplay

        Raises
        ------
        TypeError
            If the estimator lacks ``cdf``.

        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        check_integer("n_bins", n_bins, 2)
        check_methods(estimator, "cdf")
        return cls(values=pit(estimator, X, y), n_bins=n_bins).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        hist_kw: Keywords | None = None,
        band_kw: Keywords | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        hist_kw : dict, default=None
            Passed to ``Axes.hist``.

        band_kw : dict, default=None
            Passed to ``Axes.axhspan`` for the band of a right model.

        Returns
        -------
        display : PITDisplay
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        self.ax_ = axes_or_new(plt, ax)
        self.figure_ = self.ax_.figure
        n, bins = len(self.values), np.linspace(0.0, 1.0, self.n_bins + 1)
        weights = np.full(n, self.n_bins / n)
        defaults: Keywords = {"color": MODEL, "alpha": 0.6}
        self.ax_.hist(self.values, bins.tolist(), weights=weights, **style(defaults, hist_kw))
        low, high = binom.interval(_CONFIDENCE, n, 1 / self.n_bins)
        defaults = {"color": REFERENCE, "alpha": 0.2, "label": "99 % of right models"}
        scale = self.n_bins / n
        self.ax_.axhspan(low * scale, high * scale, **style(defaults, band_kw))
        self.ax_.axhline(1.0, color=REFERENCE, linestyle="--")
        self.ax_.set(
            xlim=(0, 1), xlabel="predicted probability of values up to y", ylabel="density"
        )
        self.ax_.legend()
        return self
