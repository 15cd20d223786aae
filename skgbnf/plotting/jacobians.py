"""How much the maps of a fitted density stretch, by the singular values of their Jacobians."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skgbnf._random import RandomState
from skgbnf.diagnostics import JacobianReport, jacobian_report
from skgbnf.plotting.axes import REFERENCE, Keywords, axes_or_new, import_pyplot, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAND = (0.05, 0.5, 0.95)


class JacobianDisplay:
    """Plot of the singular values of the Jacobians of a fitted density, largest first.

    One line per component: the median over the samples, with a band from the 5 % to the 95 %
    quantile. The dotted line at 1 is a map that neither stretches nor shrinks. A component without
    a map, such as a Gaussian mixture, is left out.

    Create it with :meth:`from_estimator` or :meth:`from_report`. All parameters are stored as
    attributes.

    Parameters
    ----------
    singular_values : ndarray of shape (n_components, n_samples, n_features)
        Singular values of the Jacobian of each map at each sample, descending; NaN for a component
        without a map.

    families : sequence of str of length n_components
        Families of the components, for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    lines_ : list of matplotlib Line2D
        Medians, one line for each component that has a map.

    bands_ : list of matplotlib PolyCollection
        The bands, in the order of `lines_`.

    See Also
    --------
    skgbnf.diagnostics.jacobian_report : The numbers that are drawn, and more of them.

    References
    ----------
    Jacobian Determinant of Normalizing Flows. H. Liao, J. He, 2021.
    https://arxiv.org/abs/2102.06539

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_wine
    >>> from skgbnf import GradientBoostedFlowDensity
    >>> from skgbnf.plotting import JacobianDisplay
    >>> X = load_wine().data[:, :3]
    >>> model = GradientBoostedFlowDensity(1, flow="maf", max_iter=5, n_folds=None).fit(X)
    >>> display = JacobianDisplay.from_estimator(model, X)
    >>> [line.get_label() for line in display.lines_]
    ['1: maf']
    >>> plt.close(display.figure_)
    """

    def __init__(self, *, singular_values: np.ndarray, families: tuple[str, ...]) -> None:
        self.singular_values = singular_values
        self.families = families

    @classmethod
    def from_report(
        cls, report: JacobianReport, *, ax: "Axes | None" = None, **kwargs: Any
    ) -> Self:
        """Draw a report that has been computed.

        Parameters
        ----------
        report : JacobianReport
            Returned by :func:`skgbnf.diagnostics.jacobian_report`.

        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : JacobianDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_report")
        display = cls(singular_values=report.singular_values, families=report.families)
        return display.plot(ax=ax, **kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        n_samples: int | None = 500,
        random_state: RandomState = None,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Measure the Jacobians of a fitted density and draw them.

        Parameters
        ----------
        estimator : GradientBoostedFlowDensity
            Fitted.

        X : {array-like, dataframe} of shape (n_samples, n_features)
            Samples, in the units seen in fit, within `bounds`.

        n_samples : int or None, default=500
            Number of samples drawn from X if it has more; None takes all.

        random_state : int, RandomState instance or None, default=None
            Determines which samples are drawn.

        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : JacobianDisplay

        Raises
        ------
        TypeError
            If the estimator is not a boosted density.

        ValueError
            If X does not have the columns seen in fit, or a sample lies outside the bounds.

        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        report = jacobian_report(estimator, X, n_samples=n_samples, random_state=random_state)
        return cls.from_report(report, ax=ax, **kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        line_kw: Keywords | None = None,
        band_kw: Keywords | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        line_kw : dict, default=None
            Passed to ``Axes.plot`` for the medians.

        band_kw : dict, default=None
            Passed to ``Axes.fill_between`` for the bands.

        Returns
        -------
        display : JacobianDisplay
        """
        self.ax_ = axes_or_new(import_pyplot(f"{type(self).__name__}.plot"), ax)
        self.figure_ = self.ax_.figure
        self.lines_: list[Any] = []
        self.bands_: list[Any] = []
        for k, (family, values) in enumerate(zip(self.families, self.singular_values, strict=True)):
            if not np.isnan(values).all():
                self._plot_component(f"{k + 1}: {family}", values, line_kw, band_kw)
        self.ax_.axhline(1, color=REFERENCE, linestyle=":", linewidth=1)
        self.ax_.set(yscale="log", xlabel="singular value, by size", ylabel="stretch of the map")
        self.ax_.locator_params(axis="x", integer=True)
        if self.lines_:
            self.ax_.legend(title="component")
        return self

    def _plot_component(
        self, label: str, values: np.ndarray, line_kw: Keywords | None, band_kw: Keywords | None
    ) -> None:
        places = np.arange(1, values.shape[1] + 1)
        low, middle, high = np.quantile(values, _BAND, axis=0)
        (line,) = self.ax_.plot(places, middle, **style({"marker": "o", "label": label}, line_kw))
        defaults = {"color": line.get_color(), "alpha": 0.2, "linewidth": 0}
        self.lines_.append(line)
        self.bands_.append(self.ax_.fill_between(places, low, high, **style(defaults, band_kw)))
