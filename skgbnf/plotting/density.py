"""A density and the samples that it was fitted to."""

import textwrap
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skgbnf._checks import check_integer
from skgbnf._random import RandomState
from skgbnf.plotting.axes import (
    MODEL,
    ROWS,
    Keywords,
    axes_or_new,
    bin_edges,
    import_pyplot,
    split_axes,
    style,
)
from skgbnf.plotting.grids import on_grid, plot_limits, positions, regions
from skgbnf.plotting.tables import as_rows, column_names, sample_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.contour import QuadContourSet
    from matplotlib.lines import Line2D


class DensityDisplay:
    """Plot of a density: a curve, regions of highest density, or a grid of scatter plots.

    One feature: the density as a curve over a histogram of X. Two features: nested regions of
    highest density, each with a given fraction of the samples of X, and these as points. More
    features: for each pair of them, samples of X and of the model as points, with histograms on the
    diagonal.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples to draw.

    feature_names : list of str
        Names of the features.

    limits : ndarray of shape (n_features, 2)
        Smallest and largest value of each feature that is drawn.

    log_density : ndarray of shape (grid_resolution,) or (grid_resolution, grid_resolution), \
            default=None
        Log-density, in nats, at evenly spaced values between the limits; ``log_density[i, j]`` is
        at the i-th value of the first feature and the j-th of the second. None for a grid of
        scatter plots.

    levels : ndarray of shape (n_levels,), default=None
        Fractions of the samples in the regions, ascending. None unless there are two features.

    thresholds : ndarray of shape (n_levels,), default=None
        Smallest log-density in each region, in nats.

    samples : ndarray of shape (n_samples, n_features), default=None
        Samples of the model, for a grid of scatter plots.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes; for a grid of scatter plots, the hidden axes that contain it.

    axes_ : ndarray of shape (n_features, n_features)
        Axes of the grid of scatter plots, None above the diagonal; otherwise `ax_` alone.

    figure_ : matplotlib Figure

    line_ : matplotlib Line2D or None
        Curve of one feature.

    surface_ : matplotlib QuadContourSet or None
        Regions of two features.

    See Also
    --------
    CoverageDisplay : Calibration of the regions of highest density.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.mixture import GaussianMixture
    >>> from skgbnf.plotting import DensityDisplay
    >>> X = load_iris(as_frame=True).data.iloc[:, 2:]
    >>> model = GaussianMixture(2, random_state=0).fit(X)
    >>> display = DensityDisplay.from_estimator(model, X, grid_resolution=50)
    >>> display.ax_.get_xlabel()
    'petal length (cm)'
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        X: np.ndarray,
        feature_names: list[str],
        limits: np.ndarray,
        log_density: np.ndarray | None = None,
        levels: np.ndarray | None = None,
        thresholds: np.ndarray | None = None,
        samples: np.ndarray | None = None,
    ) -> None:
        self.X = X
        self.feature_names = feature_names
        self.limits = limits
        # Each is None where its kind of picture has none.
        self.log_density: np.ndarray | Any = log_density
        self.levels: np.ndarray | Any = levels
        self.thresholds: np.ndarray | Any = thresholds
        self.samples: np.ndarray | Any = samples

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        features: Sequence[int | str] | None = None,
        feature_names: ArrayLike | None = None,
        levels: ArrayLike = (0.5, 0.8, 0.95),
        percentiles: tuple[float, float] = (0, 1),
        grid_resolution: int = 200,
        subsample: int | None = 5_000,
        random_state: RandomState = None,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the density of a fitted estimator.

        Parameters
        ----------
        estimator : estimator instance
            Fitted, with ``score_samples``. For a grid of scatter plots with ``sample`` too, or a
            :class:`~sklearn.pipeline.Pipeline` whose last step has it and whose other steps have
            ``inverse_transform``.

        X : {array-like, dataframe} of shape (n_samples, n_features)
            Samples to draw.

        features : list of {int, str}, default=None
            Features of a grid of scatter plots, in this order. By default there is a grid only for
            more than two features, with all of them.

        feature_names : array-like of shape (n_features,), default=None
            Names of the features. By default those of a data frame, those seen in fit, or "x0",
            "x1" and so on.

        levels : array-like of float, default=(0.5, 0.8, 0.95)
            Fractions of the samples in the regions of two features.

        percentiles : tuple of float, default=(0, 1)
            Lowest and highest quantile of each feature that is drawn; 5 % of the range is added on
            each side. Narrow them if a few samples lie far away.

        grid_resolution : int, default=200
            Number of values of each feature at which the density is computed.

        subsample : int or None, default=5_000
            Largest number of samples of X to use, drawn at random, for the regions too. None uses
            all.

        random_state : int, RandomState instance or None, default=None
            Seed of the subsample and of the samples of the model.

        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : DensityDisplay

        Raises
        ------
        TypeError
            If the estimator lacks ``score_samples``, or cannot be sampled where it must.

        ValueError
            If X, `features`, `feature_names`, `levels` or `percentiles` are not as above.

        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        rng, rows = check_random_state(random_state), as_rows(X)
        names = column_names(estimator, X, rows.shape[1], feature_names)
        if subsample is not None:
            check_integer("subsample", subsample, 2)
            if len(rows) > subsample:
                rows = rows[rng.permutation(len(rows))[:subsample]]
        limits = plot_limits(rows, percentiles)
        if features is None and rows.shape[1] <= 2:
            check_integer("grid_resolution", grid_resolution, 2)
            log_density = on_grid(estimator, X, limits, grid_resolution)
            shown = regions(estimator, X, rows, levels) if rows.shape[1] == 2 else {}
            display = cls(
                X=rows, feature_names=names, limits=limits, log_density=log_density, **shown
            )
        else:
            chosen = positions(features, names)
            display = cls(
                X=rows[:, chosen],
                feature_names=[names[i] for i in chosen],
                limits=limits[chosen],
                samples=sample_rows(estimator, len(rows), rng)[:, chosen],
            )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        cmap: "str | Colormap" = "Blues",
        line_kw: Keywords | None = None,
        hist_kw: Keywords | None = None,
        contour_kw: Keywords | None = None,
        scatter_kw: Keywords | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure. A grid of scatter plots divides
            them; they must then be part of a grid, as those of ``plt.subplots`` are.

        cmap : str or matplotlib Colormap, default="Blues"
            Colours of the regions of two features.

        line_kw : dict, default=None
            Passed to ``Axes.plot`` for the curve of one feature.

        hist_kw : dict, default=None
            Passed to ``Axes.hist`` for all histograms.

        contour_kw : dict, default=None
            Passed to ``Axes.contourf`` for the regions of two features.

        scatter_kw : dict, default=None
            Passed to ``Axes.scatter`` for all points.

        Returns
        -------
        display : DensityDisplay
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        self.line_: Line2D | None = None
        self.surface_: QuadContourSet | None = None
        if self.samples is not None:
            self.ax_, self.axes_ = self._plot_grid(plt, ax, hist_kw, scatter_kw)
        else:
            self.ax_ = axes_or_new(plt, ax)
            self.axes_ = np.array([[self.ax_]])
            if self.log_density.ndim == 1:
                self._plot_curve(line_kw, hist_kw)
            else:
                colours = plt.get_cmap(cmap)(np.linspace(0.3, 0.8, len(self.levels)))
                self._plot_regions(style({"colors": colours}, contour_kw), scatter_kw)
        self.figure_ = self.ax_.figure
        return self

    def _plot_curve(self, line_kw: Keywords | None, hist_kw: Keywords | None) -> None:
        self._plot_histogram(self.ax_, self.X[:, 0], 0, "rows", hist_kw)
        (low, high), *_ = self.limits
        x = np.linspace(low, high, len(self.log_density))
        line_kw = style({"color": MODEL, "label": "density"}, line_kw)
        (self.line_,) = self.ax_.plot(x, np.exp(self.log_density), **line_kw)
        self.ax_.set(xlim=self.limits[0], xlabel=self.feature_names[0], ylabel="density")
        self.ax_.legend()

    def _plot_regions(self, contour_kw: Keywords, scatter_kw: Keywords | None) -> None:
        ax = self.ax_
        x, y = (np.linspace(low, high, len(self.log_density)) for low, high in self.limits)
        # Regions whose thresholds are the same are drawn as one, the larger.
        edges, order = np.unique(self.thresholds, return_index=True)
        top = max(self.log_density.max(), edges[-1]) + 1.0
        self.surface_ = ax.contourf(x, y, self.log_density.T, [*edges, top], **contour_kw)
        defaults = {**_point_style(len(self.X)), "color": ROWS}
        ax.scatter(*self.X.T, **style(defaults, scatter_kw))
        handles, _ = self.surface_.legend_elements()
        labels = [f"{100 * level:g} %" for level in self.levels[order]]
        ax.legend(handles, labels, title="rows within")
        ax.set(xlim=self.limits[0], ylim=self.limits[1])
        ax.set(xlabel=self.feature_names[0], ylabel=self.feature_names[1])

    def _plot_grid(
        self,
        plt: ModuleType,
        ax: "Axes | None",
        hist_kw: Keywords | None,
        scatter_kw: Keywords | None,
    ) -> "tuple[Axes, np.ndarray]":
        n, size = len(self.feature_names), 1.2 + 1.5 * len(self.feature_names)
        ax, places = split_axes(plt, ax, n, n, (size, size))
        axes = np.full((n, n), None)
        for i in range(n):
            for j in range(i + 1):
                axes[i, j] = panel = ax.figure.add_subplot(places[i, j])
                if i == j:
                    self._plot_margin(panel, i, hist_kw)
                else:
                    self._plot_pair(panel, i, j, scatter_kw)
                self._label(panel, i, j)
        # The upper right is empty; a single panel holds its own legend.
        (ax if n > 1 else axes[0, 0]).legend(*axes[0, 0].get_legend_handles_labels())
        ax.figure.align_labels(axes[np.tril_indices(n)].tolist())
        return ax, axes

    def _plot_margin(self, panel: "Axes", i: int, hist_kw: Keywords | None) -> None:
        outline = {"histtype": "step", "color": MODEL, "linewidth": 1.5, "alpha": 1.0}
        self._plot_histogram(panel, self.X[:, i], i, "rows", hist_kw)
        self._plot_histogram(panel, self.samples[:, i], i, "samples", style(outline, hist_kw))
        panel.set_yticks([])

    def _plot_pair(self, panel: "Axes", i: int, j: int, scatter_kw: Keywords | None) -> None:
        points = np.concatenate([self.X, self.samples])[:, [j, i]]
        colours = np.repeat([ROWS, MODEL], [len(self.X), len(self.samples)])
        # In one order for both, lest those drawn last hide the others.
        order = np.random.default_rng(0).permutation(len(points))
        defaults = {**_point_style(len(points)), "color": colours[order]}
        panel.scatter(*points[order].T, **style(defaults, scatter_kw))
        panel.set_ylim(self.limits[i])

    def _plot_histogram(
        self, panel: "Axes", values: np.ndarray, i: int, label: str, hist_kw: Keywords | None
    ) -> None:
        """Of all values, so that it compares with the density, though it ends at the limits."""
        given = dict(hist_kw or {})
        edges = bin_edges(np.clip(self.X[:, i], *self.limits[i]), given.pop("bins", None))
        counts, _ = np.histogram(values, edges)
        heights = counts / (len(values) * np.diff(edges))
        defaults = {"color": ROWS, "alpha": 0.4, "label": label}
        panel.hist(edges[:-1], edges.tolist(), weights=heights, **style(defaults, given))

    def _label(self, panel: "Axes", i: int, j: int) -> None:
        n = len(self.feature_names)
        panel.set_xlim(self.limits[j])
        panel.locator_params(axis="x", nbins=3)
        if i == n - 1:
            panel.set_xlabel(_wrapped(self.feature_names[j]))
        else:
            panel.tick_params(labelbottom=False)
        if i != j:
            panel.locator_params(axis="y", nbins=3)
        if j == 0 and i > 0:
            panel.set_ylabel(_wrapped(self.feature_names[i]))
        else:
            panel.tick_params(labelleft=False)


def _point_style(n_points: int) -> Keywords:
    """Points that can be seen when few, and do not hide each other when many."""
    size = float(np.clip(6_000 / n_points, 3, 12))
    return {"s": size, "alpha": 0.5, "linewidths": 0, "rasterized": True}


def _wrapped(name: str) -> str:
    """A name in lines that fit beside a small panel, unless its words are longer."""
    return textwrap.fill(name, 14, break_long_words=False, break_on_hyphens=False)
