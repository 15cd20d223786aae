"""Bars of how unexpected each value of an outlier is, given the others."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skgbnf._checks import check_integer
from skgbnf.plotting.axes import MODEL, REFERENCE, ROWS, Keywords, import_pyplot, split_axes, style
from skgbnf.plotting.tables import check_methods, column_names, score_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_WIDTH, _LINE_HEIGHT = 2.6, 0.32
"""In inches."""

_BEYOND = 1.15
"""Length of the bar of an impossible value, for the longest other one."""


class ExplanationDisplay:
    """Bars of how unexpected each value of some samples is, given the others.

    There is one panel for each sample, with the same features in all of them; the longest bar has a
    colour of its own. Features without a bar are missing in the sample. A value that the density
    holds for impossible has a bar that ends in a sign of infinity.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        In nats, NaN where a value is missing, as :meth:`skgbnf.FlowOutlierDetector.explain`
        returns them.

    rows : list of length n_samples
        Names of the samples: their labels in the index of a frame, or their positions.

    feature_names : list of str of length n_features

    Attributes
    ----------
    ax_ : matplotlib Axes
        The whole, hidden.

    axes_ : list of matplotlib Axes
        One for each sample.

    bars_ : list of matplotlib BarContainer
        One for each sample.

    figure_ : matplotlib Figure

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skgbnf import FlowOutlierDetector, GradientBoostedFlowDensity
    >>> from skgbnf.plotting import ExplanationDisplay
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> X[7, 1] = 9
    >>> kinds = dict.fromkeys(range(3), "continuous")
    >>> density = GradientBoostedFlowDensity(1, flow="location_mixture", columns=kinds)
    >>> detector = FlowOutlierDetector(density, random_state=0).fit(X)
    >>> display = ExplanationDisplay.from_estimator(detector, X, n_rows=2)
    >>> display.rows[0], display.feature_names[display.values[0].argmax()]
    (7, 'x1')
    >>> plt.close(display.figure_)
    """

    def __init__(self, *, values: np.ndarray, rows: list[Any], feature_names: list[str]) -> None:
        self.values = values
        self.rows = rows
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        n_rows: int = 3,
        feature_names: list[str] | None = None,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Explain the samples of lowest density, and draw bars.

        Parameters
        ----------
        estimator : FlowOutlierDetector
            Fitted; or another estimator with ``explain`` and ``score_samples``.

        X : {array-like, dataframe} of shape (n_samples, n_features)
            Samples.

        n_rows : int, default=3
            Number of samples that are drawn, those of lowest density, the lowest first.

        feature_names : list of str or None, default=None
            Names of the features; by default those of X or of the fit.

        ax : matplotlib Axes, default=None
            Axes in whose place the panels are drawn; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : ExplanationDisplay

        Raises
        ------
        TypeError
            If the estimator lacks a method.

        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        check_integer("n_rows", n_rows, 1)
        check_methods(estimator, "explain")
        lowest = np.argsort(score_rows(estimator, X), kind="stable")[:n_rows]
        table: Any = X if hasattr(X, "shape") else np.asarray(X)
        some = table.iloc[lowest] if hasattr(table, "iloc") else table[lowest]
        values = np.asarray(estimator.explain(some), dtype=np.float64)
        rows = (table.index[lowest] if hasattr(table, "iloc") else lowest).tolist()
        names = column_names(estimator, X, values.shape[1], feature_names)
        return cls(values=values, rows=rows, feature_names=names).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        max_features: int = 12,
        bar_kw: Keywords | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes in whose place the panels are drawn; by default those of a new figure.

        max_features : int, default=12
            Number of features that are drawn: those with the longest bars, in the order of X.

        bar_kw : dict, default=None
            Passed to ``Axes.barh``.

        Returns
        -------
        display : ExplanationDisplay
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        check_integer("max_features", max_features, 1)
        shown = self._shown(max_features)
        values, n_rows = self.values[:, shown], len(self.values)
        size = _PANEL_WIDTH * n_rows + 1, _LINE_HEIGHT * len(shown) + 1.2
        self.ax_, places = split_axes(plt, ax, 1, n_rows, size)
        self.figure_ = self.ax_.figure
        self.axes_: list[Any] = []
        self.bars_: list[Any] = []
        for i, (row, own) in enumerate(zip(self.rows, values, strict=True)):
            first = self.axes_[0] if self.axes_ else None
            panel = self.figure_.add_subplot(places[0, i], sharey=first)
            self.axes_.append(panel)
            self.bars_.append(_draw_bars(panel, own, bar_kw))
            panel.set(title=f"row {row}", xlabel="nats")
            if first is not None:
                panel.tick_params(labelleft=False)
        names = [self.feature_names[j] for j in shown]
        self.axes_[0].set_yticks(range(len(shown)), names)
        self.axes_[0].invert_yaxis()
        return self

    def _shown(self, max_features: int) -> np.ndarray:
        """Positions of the features with the longest bars, ascending."""
        longest = np.where(np.isnan(self.values), -np.inf, self.values).max(axis=0)
        return np.sort(np.argsort(-longest, kind="stable")[:max_features])


def _draw_bars(panel: "Axes", values: np.ndarray, bar_kw: Keywords | None) -> Any:
    """Bars of one sample; those of infinite length end a little beyond all others."""
    impossible = np.isposinf(values)
    limit = _BEYOND * max(np.abs(values[np.isfinite(values)]).max(initial=0.0), 1.0)
    lengths = np.where(impossible, limit, np.nan_to_num(values, neginf=-limit))
    colours = [ROWS if length == lengths.max() else MODEL for length in lengths]
    bars = panel.barh(np.arange(len(lengths)), lengths, **style({"color": colours}, bar_kw))
    for place in np.flatnonzero(impossible).tolist():
        panel.text(limit, place, " ∞", va="center", ha="left")
    panel.axvline(0, color=REFERENCE, linewidth=1)
    panel.margins(x=0.1)
    return bars
