"""Calibration of a density: coverage of its regions of highest density."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from skgbnf._checks import check_integer, check_real
from skgbnf._random import RandomState
from skgbnf.plotting.axes import REFERENCE, Keywords, axes_or_new, import_pyplot, style
from skgbnf.plotting.tables import as_rows, as_table, sample_rows, score_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REFERENCE_LABEL = "calibrated"


class CoverageDisplay:
    r"""Plot of the calibration of a density: are 90 % of new samples in its 90 % region?

    The region of level a is the smallest one with probability a under the model: all points whose
    log-density is at least a threshold. The threshold is estimated as the quantile 1 - a of the
    log-density of samples of the model [1]_. The coverage is the fraction of the samples of X in
    the region. It is on the diagonal for the true density, above it for a model that is too wide,
    and below it for one that is too narrow, for example overfitted.

    Coverage on the diagonal does not prove a model true: only the ranks of densities are compared.
    Use samples that the model was not fitted to.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    levels : ndarray of shape (n_levels,)
        Probability of each region under the model.

    coverage : ndarray of shape (n_levels,)
        Fraction of the samples of X in each region.

    n_rows : int
        Number of samples of X.

    n_samples : int
        Number of samples drawn from the model.

    estimator_name : str, default=None
        Name of the estimator, for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    line_ : matplotlib Line2D
        The coverage.

    band_ : matplotlib PolyCollection or None
        Where the coverage of the true density would be.

    Notes
    -----
    With M samples drawn, the threshold of level a is their j-th largest log-density, where j is
    a (M + 1) rounded. For the true density and without ties, the number of the n samples of X in
    the region is beta-binomial; its fraction has mean j / (M + 1) and approximately the variance
    a (1 - a) (1 / n + 1 / M). The band is that of a binomial fraction with this variance. It holds
    for each level by itself, not for all at once, and coverages of neighbouring levels are
    correlated.

    References
    ----------
    .. [1] Computing and Graphing Highest Density Regions. R. J. Hyndman, The American
       Statistician 50(2), 1996. https://doi.org/10.1080/00031305.1996.10474359

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.model_selection import train_test_split
    >>> from skgbnf.plotting import CoverageDisplay
    >>> X_train, X_test = train_test_split(load_wine().data[:, :3], random_state=0)
    >>> model = GaussianMixture(2, random_state=0).fit(X_train)
    >>> display = CoverageDisplay.from_estimator(model, X_test, levels=[0.5, 0.9], random_state=0)
    >>> display.coverage.shape
    (2,)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        levels: np.ndarray,
        coverage: np.ndarray,
        n_rows: int,
        n_samples: int,
        estimator_name: str | None = None,
    ) -> None:
        self.levels = levels
        self.coverage = coverage
        self.n_rows = n_rows
        self.n_samples = n_samples
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        levels: ArrayLike | None = None,
        n_samples: int = 10_000,
        random_state: RandomState = None,
        name: str | None = None,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the coverage of a fitted estimator.

        Parameters
        ----------
        estimator : estimator instance
            Fitted, with ``score_samples`` and ``sample``, or a
            :class:`~sklearn.pipeline.Pipeline` whose last step has them and whose other steps
            have ``inverse_transform``. For a :class:`~skgbnf.FlowBayesClassifier`, the density
            summed over classes is drawn.

        X : {array-like, dataframe} of shape (n_rows, n_features)
            Samples that the estimator was not fitted to.

        levels : array-like of shape (n_levels,), default=None
            Probabilities of the regions. By default 0.01, 0.02, ..., 0.99.

        n_samples : int, default=10_000
            Number of samples drawn from the model.

        random_state : int, RandomState instance or None, default=None
            Seed of the samples drawn from the model.

        name : str, default=None
            Name for the legend; by default the name of the estimator's class.

        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : CoverageDisplay

        Raises
        ------
        TypeError
            If the estimator lacks ``score_samples`` or cannot be sampled.

        ValueError
            If X is not a finite numeric table, or a level is not in (0, 1).

        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        check_integer("n_samples", n_samples, 1)
        levels = np.arange(1, 100) / 100 if levels is None else np.sort(np.ravel(levels))
        if not len(levels) or not (levels[0] > 0 and levels[-1] < 1):
            raise ValueError(f"levels must be numbers above 0 and below 1, got {levels!r}.")
        as_rows(X)
        scores = score_rows(estimator, X)
        samples = as_table(sample_rows(estimator, n_samples, random_state), X)
        display = cls(
            levels=levels,
            coverage=_coverage(levels, scores, score_rows(estimator, samples)),
            n_rows=len(scores),
            n_samples=n_samples,
            estimator_name=type(estimator).__name__ if name is None else name,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        name: str | None = None,
        ref_line: bool = True,
        confidence: float = 0.95,
        line_kw: Keywords | None = None,
        band_kw: Keywords | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        name : str, default=None
            Name for the legend; by default `estimator_name`.

        ref_line : bool, default=True
            Whether to draw the diagonal and the band around it. Set it to False for further
            models on the same axes.

        confidence : float, default=0.95
            Probability that the coverage of the true density lies in the band, at any one level.

        line_kw : dict, default=None
            Passed to ``Axes.plot`` for the coverage.

        band_kw : dict, default=None
            Passed to ``Axes.fill_between`` for the band.

        Returns
        -------
        display : CoverageDisplay
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        check_real("confidence", confidence, 0.0, 1.0, open_low=True)
        self.ax_ = axes_or_new(plt, ax)
        self.figure_ = self.ax_.figure
        self.band_ = None
        if ref_line:
            self.ax_.plot([0, 1], [0, 1], linestyle="--", color=REFERENCE, label=_REFERENCE_LABEL)
            defaults = {"color": REFERENCE, "alpha": 0.2, "linewidth": 0}
            defaults["label"] = f"{100 * confidence:g} % band of {self.n_rows} rows"
            low, high = self._band(confidence)
            self.band_ = self.ax_.fill_between(self.levels, low, high, **style(defaults, band_kw))
        label = self.estimator_name if name is None else name
        line_kw = style({"label": label}, line_kw)
        (self.line_,) = self.ax_.plot(self.levels, self.coverage, **line_kw)
        self.ax_.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        self.ax_.set(xlabel="share of the model's mass", ylabel="share of the rows")
        self.ax_.legend()
        return self

    def _band(self, confidence: float) -> tuple[np.ndarray, np.ndarray]:
        n = max(1, round(1.0 / (1.0 / self.n_rows + 1.0 / self.n_samples)))
        low, high = binom.interval(confidence, n, self.levels)
        return low / n, high / n


def _coverage(levels: np.ndarray, row_scores: np.ndarray, sample_scores: np.ndarray) -> np.ndarray:
    """Fraction of the rows in each region, whose thresholds are quantiles over the samples."""
    n = len(sample_scores)
    ranks = np.clip(np.round(levels * (n + 1)).astype(int), 1, n)
    thresholds = np.sort(sample_scores)[n - ranks]
    n_below = np.searchsorted(np.sort(row_scores), thresholds, side="left")
    return 1.0 - n_below / len(row_scores)
