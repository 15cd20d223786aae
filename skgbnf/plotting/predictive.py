"""Predictive distributions along one feature: bands of quantiles and strips of density."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skgbnf._checks import check_integer
from skgbnf.plotting.axes import MODEL, ROWS, Keywords, axes_or_new, import_pyplot, style
from skgbnf.plotting.tables import as_rows, as_table, check_methods, column_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
_MARGIN = 0.05
_MOST_ROWS = 2000


class PredictiveDisplay:
    """Predictive distributions along one feature, all others held at their medians.

    Two bands hold 50 and 90 % of the probability, a line is the median. The density is drawn behind
    them, each column of the picture relative to its largest value, so that several branches show.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    grid : ndarray of shape (n_points,)
        Values of the feature.

    quantiles : ndarray of shape (n_points, 5)
        Quantiles of the target at 5, 25, 50, 75 and 95 %.

    targets : ndarray of shape (n_targets,)
        Values of the target.

    densities : ndarray of shape (n_targets, n_points)
        Conditional densities of these values.

    feature_name, target_name : str
        Labels of the axes.

    rows : pair of ndarrays of shape (n_samples,) or None, default=None
        Values of feature and target of samples.

    Attributes
    ----------
    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_diabetes
    >>> from skgbnf import GradientBoostedFlowRegressor
    >>> from skgbnf.plotting import PredictiveDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GradientBoostedFlowRegressor(
    ...     1, context_model=None, flow="affine", max_iter=5, random_state=0
    ... ).fit(X, y)
    >>> display = PredictiveDisplay.from_estimator(model, X, y, feature=2, grid_resolution=20)
    >>> display.quantiles.shape
    (20, 5)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        grid: np.ndarray,
        quantiles: np.ndarray,
        targets: np.ndarray,
        densities: np.ndarray,
        feature_name: str,
        target_name: str,
        rows: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.grid = grid
        self.quantiles = quantiles
        self.targets = targets
        self.densities = densities
        self.feature_name = feature_name
        self.target_name = target_name
        self.rows = rows

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        feature: int | str = 0,
        grid_resolution: int = 100,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the predictive distributions of a fitted regressor.

        Parameters
        ----------
        estimator : estimator instance
            Fitted, with ``predict_quantiles`` and ``score_samples(X, y)``.

        X : {array-like, dataframe} of shape (n_samples, n_features)
            Features, numbers; they set the range of the picture and the medians.

        y : array-like of shape (n_samples,)
            Targets.

        feature : int or str, default=0
            Position or name of the feature.

        grid_resolution : int, default=100
            Number of values of the feature, and of the target.

        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : PredictiveDisplay

        Raises
        ------
        TypeError
            If the estimator lacks a method.

        ValueError
            If there is no such feature.

        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        check_integer("grid_resolution", grid_resolution, 2)
        check_methods(estimator, "predict_quantiles", "score_samples")
        rows, observed = as_rows(X), np.asarray(y, dtype=np.float64).ravel()
        names = column_names(estimator, X, rows.shape[1])
        j = _position(feature, names)
        points = np.tile(np.median(rows, axis=0), (grid_resolution, 1))
        points[:, j] = np.linspace(rows[:, j].min(), rows[:, j].max(), grid_resolution)
        margin = _MARGIN * np.ptp(observed)
        targets = np.linspace(observed.min() - margin, observed.max() + margin, grid_resolution)
        many = as_table(np.tile(points, (grid_resolution, 1)), X)
        scores = estimator.score_samples(many, np.repeat(targets, grid_resolution))
        some = slice(None, None, -(-len(rows) // _MOST_ROWS))
        display = cls(
            grid=points[:, j],
            quantiles=estimator.predict_quantiles(as_table(points, X), _LEVELS),
            targets=targets,
            densities=np.exp(scores).reshape(grid_resolution, grid_resolution),
            feature_name=names[j],
            target_name=str(getattr(y, "name", None) or "y"),
            rows=(rows[some, j], observed[some]),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        density_kw: Keywords | None = None,
        band_kw: Keywords | None = None,
        line_kw: Keywords | None = None,
        scatter_kw: Keywords | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        density_kw : dict, default=None
            Passed to ``Axes.pcolormesh`` for the density.

        band_kw : dict, default=None
            Passed to ``Axes.fill_between`` for both bands.

        line_kw : dict, default=None
            Passed to ``Axes.plot`` for the median.

        scatter_kw : dict, default=None
            Passed to ``Axes.scatter`` for the samples.

        Returns
        -------
        display : PredictiveDisplay
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        self.ax_ = axes_or_new(plt, ax)
        self.figure_ = self.ax_.figure
        largest = np.maximum(self.densities.max(axis=0), np.finfo(np.float64).tiny)
        defaults: Keywords = {"cmap": "Blues", "shading": "auto", "vmax": 1.6, "rasterized": True}
        shades = self.densities / largest
        self.ax_.pcolormesh(self.grid, self.targets, shades, **style(defaults, density_kw))
        if self.rows is not None:
            defaults = {"s": 6, "color": ROWS, "alpha": 0.4, "linewidths": 0, "label": "rows"}
            self.ax_.scatter(*self.rows, **style(defaults, scatter_kw))
        for low, high, label in [(0, 4, "90 %"), (1, 3, "50 %")]:
            defaults = {"color": MODEL, "alpha": 0.2, "linewidth": 0, "label": label}
            ends = self.quantiles[:, low], self.quantiles[:, high]
            self.ax_.fill_between(self.grid, *ends, **style(defaults, band_kw))
        defaults = {"color": MODEL, "label": "median"}
        self.ax_.plot(self.grid, self.quantiles[:, 2], **style(defaults, line_kw))
        self.ax_.set(xlabel=self.feature_name, ylabel=self.target_name)
        self.ax_.set_ylim(self.targets[0], self.targets[-1])
        self.ax_.legend()
        return self


def _position(feature: int | str, names: list[str]) -> int:
    if isinstance(feature, str):
        if feature not in names:
            raise ValueError(f"feature must be one of {names}, got {feature!r}.")
        return names.index(feature)
    check_integer("feature", feature, 0, len(names) - 1)
    return int(feature)
