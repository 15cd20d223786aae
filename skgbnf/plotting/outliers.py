"""Histograms of log-densities, and a threshold for outliers."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline

from skgbnf._checks import check_real
from skgbnf.plotting.axes import (
    MODEL,
    REFERENCE,
    ROWS,
    Keywords,
    axes_or_new,
    bin_edges,
    import_pyplot,
    style,
)
from skgbnf.plotting.tables import score_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class OutlierDisplay:
    """Histograms of the log-densities of one or two sets of samples, with a threshold.

    Log-densities below the range that is drawn, -inf included, are counted in the first bin, so
    that each histogram contains all of its samples.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Log-densities of samples, in nats.

    other_scores : ndarray of shape (n_other_samples,) or None, default=None
        Log-densities of other samples, such as suspected outliers, in nats.

    threshold : float or None, default=None
        Log-density below which a sample counts as an outlier, in nats.

    Attributes
    ----------
    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    line_ : matplotlib Line2D or None
        The threshold, if it is finite.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.mixture import GaussianMixture
    >>> from skgbnf.plotting import OutlierDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = GaussianMixture(random_state=0).fit(X[y == 0])
    >>> display = OutlierDisplay.from_estimator(
    ...     model, X[y == 0], X[y == 1], contamination=0.05
    ... )
    >>> bool((display.other_scores < display.threshold).all())
    True
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        scores: np.ndarray,
        other_scores: np.ndarray | None = None,
        threshold: float | None = None,
    ) -> None:
        self.scores = scores
        self.other_scores = other_scores
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        X_other: ArrayLike | None = None,
        *,
        contamination: float | None = None,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the log-densities of samples under a fitted estimator.

        Parameters
        ----------
        estimator : estimator instance
            Fitted, with ``score_samples``: a density or an outlier detector of scikit-learn.

        X : {array-like, dataframe} of shape (n_samples, n_features)
            Samples, such as those of training.

        X_other : {array-like, dataframe} of shape (n_other_samples, n_features), default=None
            Other samples.

        contamination : float, default=None
            Fraction of X below the threshold. By default the threshold is `offset_` of an outlier
            detector, also of one at the end of a :class:`~sklearn.pipeline.Pipeline`; other
            estimators have none.

        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : OutlierDisplay

        Raises
        ------
        TypeError
            If the estimator lacks ``score_samples``.

        ValueError
            If `contamination` is not in (0, 1).

        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        if contamination is not None:
            check_real("contamination", contamination, 0.0, 1.0, open_low=True)
        scores = score_rows(estimator, X)
        last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        threshold = getattr(last, "offset_", None)
        if contamination is not None:
            # No quantile between two rows: one may have no density, and a log-density of -inf.
            threshold = np.sort(scores)[int(contamination * len(scores))]
        display = cls(
            scores=scores,
            other_scores=None if X_other is None else score_rows(estimator, X_other),
            threshold=None if threshold is None else float(threshold),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        labels: tuple[str, str] = ("rows", "other rows"),
        hist_kw: Keywords | None = None,
        line_kw: Keywords | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        labels : pair of str, default=("rows", "other rows")
            Names for the legend.

        hist_kw : dict, default=None
            Passed to ``Axes.hist`` for both histograms.

        line_kw : dict, default=None
            Passed to ``Axes.axvline`` for the threshold.

        Returns
        -------
        display : OutlierDisplay
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        self.ax_ = axes_or_new(plt, ax)
        self.figure_ = self.ax_.figure
        groups = [(self.scores, MODEL, labels[0])]
        if self.other_scores is not None:
            groups.append((self.other_scores, ROWS, labels[1]))
        low = self._lowest_drawn()
        drawn = np.concatenate([np.maximum(scores, low) for scores, *_ in groups])
        given = dict(hist_kw or {})
        bins = bin_edges(drawn, given.pop("bins", None))
        for scores, colour, label in groups:
            shares = np.full(len(scores), 1.0 / len(scores))
            styled = style({"color": colour, "alpha": 0.5, "label": label}, given)
            self.ax_.hist(np.maximum(scores, low), bins.tolist(), weights=shares, **styled)
        self.line_ = None
        if (threshold := self._drawn_threshold()) is not None:
            defaults = {"color": REFERENCE, "linestyle": "--", "label": "threshold"}
            self.line_ = self.ax_.axvline(threshold, **style(defaults, line_kw))
        clipped = any(scores.min() < low for scores, *_ in groups)
        beyond = f"; first bin: all below {bins[1]:.4g}" if clipped else ""
        self.ax_.set(xlabel=f"log-density (nats{beyond})", ylabel="share of the rows")
        self.ax_.legend()
        return self

    def _drawn_threshold(self) -> float | None:
        if self.threshold is None or not np.isfinite(self.threshold):
            return None
        return self.threshold

    def _lowest_drawn(self) -> float:
        """Twice as far below the median as the 1 % quantile, or as the threshold, if lower."""
        finite = self.scores[np.isfinite(self.scores)]
        middle, low = np.quantile(finite if len(finite) else [0.0], [0.5, 0.01])
        if (threshold := self._drawn_threshold()) is not None:
            low = min(low, threshold)
        # Equal scores leave room below them, too.
        return float(middle - (2.0 * (middle - low) or 1.0))
