"""Domains before and after they were aligned."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA

from skgbnf._checks import check_integer
from skgbnf.metrics import two_sample_auc
from skgbnf.plotting.axes import CYCLE, REFERENCE, Keywords, import_pyplot, split_axes, style
from skgbnf.plotting.tables import as_rows, check_methods, column_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEWEST = 10
_MOST_POINTS = 1000


class AlignmentDisplay:
    """Samples of several domains, as they are and in their shared space.

    Where the domains are aligned, their clouds cover each other on the right. The title of each
    side says whether a classifier can still tell the reference from the rest: 0.5 is chance, and 1
    certainty. Lines lead from some samples to where they are mapped.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    before, after : ndarray of shape (n_samples, 2)
        Samples in the plane, as they are and in the shared space.

    domain : ndarray of shape (n_samples,)
        Label of the domain of each sample.

    aucs : tuple of float or None
        Areas under the ROC curve of the classifier, before and after; None without one.

    names : tuple of str
        Names of both axes.

    n_lines : int, default=40
        Number of lines.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were divided into two, hidden.

    axes_ : ndarray of matplotlib Axes of shape (2,)

    figure_ : matplotlib Figure

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skgbnf.plotting import AlignmentDisplay
    >>> X = np.random.default_rng(0).normal(size=(60, 2))
    >>> domain = np.repeat(["a", "b"], 30)
    >>> display = AlignmentDisplay(
    ...     before=X, after=X, domain=domain, aucs=None, names=("x0", "x1")
    ... ).plot()
    >>> display.axes_.shape
    (2,)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        before: np.ndarray,
        after: np.ndarray,
        domain: np.ndarray,
        aucs: tuple[float, float] | None,
        names: tuple[str, str],
        n_lines: int = 40,
    ) -> None:
        self.before = before
        self.after = after
        self.domain = domain
        self.aucs = aucs
        self.names = names
        self.n_lines = n_lines

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        domain: ArrayLike,
        *,
        n_lines: int = 40,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw samples under a fitted aligner.

        Parameters
        ----------
        estimator : FlowAligner
            Fitted.

        X : {array-like, dataframe} of shape (n_samples, n_features)
            Samples, best of those that the fit has not seen. Of more than two features the first
            two principal components are drawn, those of the aligned samples.

        domain : array-like of shape (n_samples,)
            Label of the domain of each sample.

        n_lines : int, default=40
            Number of lines.

        ax : matplotlib Axes, default=None
            Axes to divide into two; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : AlignmentDisplay

        Raises
        ------
        TypeError
            If the estimator lacks ``transform``.

        ValueError
            If X has one feature.

        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        check_integer("n_lines", n_lines, 0)
        check_methods(estimator, "transform")
        rows, labels = as_rows(X), np.asarray(domain)
        if rows.shape[1] < 2:
            raise ValueError("X has one feature, and the display needs two.")
        aligned = as_rows(estimator.transform(X, domain=labels))
        first = labels == estimator.reference_
        enough = min(first.sum(), (~first).sum()) >= _FEWEST
        before, after, names = rows, aligned, column_names(estimator, X, rows.shape[1])
        if rows.shape[1] > 2:
            scale = np.where(aligned.std(axis=0) > 0, aligned.std(axis=0), 1.0)
            plane = PCA(2, random_state=0).fit(aligned / scale)
            before, after = (plane.transform(part / scale) for part in (rows, aligned))
            names = ["first component", "second component"]
        return cls(
            before=before,
            after=after,
            domain=labels,
            aucs=(_auc(rows, first), _auc(aligned, first)) if enough else None,
            names=(names[0], names[1]),
            n_lines=n_lines,
        ).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        scatter_kw: Keywords | None = None,
        line_kw: Keywords | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to divide into two; by default those of a new figure.

        scatter_kw : dict, default=None
            Passed to ``Axes.scatter`` for samples, of which at most a thousand are drawn.

        line_kw : dict, default=None
            Passed to ``Axes.plot`` for the lines from samples to their images.

        Returns
        -------
        display : AlignmentDisplay
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        self.ax_, places = split_axes(plt, ax, 1, 2, (9.0, 4.2))
        self.figure_ = self.ax_.figure
        axes = [self.figure_.add_subplot(places[0, i]) for i in range(2)]
        self.axes_ = np.array(axes, dtype=object)
        order = np.random.default_rng(0).permutation(len(self.before))[:_MOST_POINTS]
        for side, (name, rows) in enumerate(
            (("as they are", self.before), ("aligned", self.after))
        ):
            self._points(axes[side], rows[order], self.domain[order], scatter_kw)
            auc = "" if self.aucs is None else f"\nAUC of telling them apart: {self.aucs[side]:.2f}"
            axes[side].set(title=f"{name}{auc}", xlabel=self.names[0], ylabel=self.names[1])
        defaults: Keywords = {"color": REFERENCE, "linewidth": 0.6, "alpha": 0.6, "zorder": 0}
        for i in order[: self.n_lines]:
            ends = np.stack([self.before[i], self.after[i]])
            axes[1].plot(*ends.T, **style(defaults, line_kw))
        axes[0].legend()
        return self

    @staticmethod
    def _points(ax: "Axes", rows: np.ndarray, domain: np.ndarray, given: Keywords | None) -> None:
        for k, label in enumerate(np.unique(domain)):
            own = domain == label
            defaults: Keywords = {"s": 8, "alpha": 0.5, "label": str(label)}
            defaults["color"] = CYCLE[k % len(CYCLE)]
            ax.scatter(*rows[own].T, **style(defaults, given))


def _auc(rows: np.ndarray, first: np.ndarray) -> float:
    """Of telling the reference from the rest."""
    return two_sample_auc(rows[first], rows[~first])
