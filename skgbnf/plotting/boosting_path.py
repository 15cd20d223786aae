"""Scores and mixture weights after each round of boosting."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgbnf.plotting.axes import MODEL, OTHER, ROWS, Keywords, import_pyplot, split_axes, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

_NEEDED = ("train_scores_", "validation_scores_", "staged_weights_")
_SMALLEST_LABELLED = 0.05


class BoostingPathDisplay:
    """Plot of a boosted density, round by round.

    Above: mean log-likelihoods of the training samples, the validation set and, if given, test
    samples after each round. Below: the weights of the components after each round, stacked.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    train_scores : ndarray of shape (n_rounds,)
        Mean log-likelihood of the training samples after each round, in nats.

    staged_weights : ndarray of shape (n_rounds, n_rounds)
        Weights of the components after each round, one row per round; each row sums to 1.

    validation_scores : ndarray of shape (n_rounds,) or None, default=None
        Mean log-likelihood of the validation set after each round, in nats.

    test_scores : ndarray of shape (n_rounds,) or None, default=None
        Mean log-likelihood of test samples after each round, in nats.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Hidden axes that contain the two of `axes_`.

    axes_ : ndarray of shape (2,)
        Axes of the scores and of the weights.

    figure_ : matplotlib Figure

    lines_ : list of matplotlib Line2D
        Training, validation and test scores, as far as there are any.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_wine
    >>> from skgbnf import GradientBoostedFlowDensity
    >>> from skgbnf.plotting import BoostingPathDisplay
    >>> X = load_wine().data[:, :2]
    >>> model = GradientBoostedFlowDensity(2, flow="affine", random_state=0).fit(X)
    >>> display = BoostingPathDisplay.from_estimator(model)
    >>> display.axes_[0].get_ylabel()
    'log-likelihood (nats)'
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        train_scores: np.ndarray,
        staged_weights: np.ndarray,
        validation_scores: np.ndarray | None = None,
        test_scores: np.ndarray | None = None,
    ) -> None:
        self.train_scores = train_scores
        self.staged_weights = staged_weights
        self.validation_scores = validation_scores
        self.test_scores = test_scores

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike | None = None, *, ax: "Axes | None" = None, **kwargs: Any
    ) -> Self:
        """Draw the rounds of a fitted estimator.

        Parameters
        ----------
        estimator : GradientBoostedFlowDensity
            Or any fitted estimator with the attributes `train_scores_`, `validation_scores_` and
            `staged_weights_`, and for test samples the method ``staged_score_samples``.

        X : array-like of shape (n_samples, n_features), default=None
            Test samples. By default only the scores of `fit` are drawn.

        ax : matplotlib Axes, default=None
            Axes to draw on; by default those of a new figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : BoostingPathDisplay

        Raises
        ------
        TypeError
            If the estimator is not a boosted density.

        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ImportError
            If matplotlib is not installed.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        needed = (*_NEEDED, *(["staged_score_samples"] if X is not None else []))
        missing = [name for name in needed if not hasattr(estimator, name)]
        if missing:
            raise TypeError(
                "estimator must be boosted by rounds, as GradientBoostedFlowDensity is; "
                f"{type(estimator).__name__} has no {', '.join(missing)}."
            )
        test_scores = None
        if X is not None:
            test_scores = np.array([np.mean(s) for s in estimator.staged_score_samples(X)])
        weights = estimator.staged_weights_
        n_rounds = len(weights)
        display = cls(
            train_scores=estimator.train_scores_,
            # A round that was cross-fitted has one component for each fold.
            staged_weights=weights.reshape(n_rounds, n_rounds, -1).sum(axis=2),
            validation_scores=estimator.validation_scores_,
            test_scores=test_scores,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        cmap: "str | Colormap" = "cividis",
        line_kw: Keywords | None = None,
        bar_kw: Keywords | None = None,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to divide into two; they must be part of a grid, as those of ``plt.subplots``
            are. By default those of a new figure.

        cmap : str or matplotlib Colormap, default="cividis"
            Colours of the components.

        line_kw : dict, default=None
            Passed to ``Axes.plot`` for all scores.

        bar_kw : dict, default=None
            Passed to ``Axes.bar`` for all weights.

        Returns
        -------
        display : BoostingPathDisplay
        """
        plt = import_pyplot(f"{type(self).__name__}.plot")
        self.ax_, places = split_axes(plt, ax, 2, 1, None, height_ratios=(3, 2))
        self.figure_ = self.ax_.figure
        upper = self.figure_.add_subplot(places[0])
        lower = self.figure_.add_subplot(places[1], sharex=upper)
        self.axes_ = np.array([upper, lower])
        self._plot_scores(upper, line_kw)
        self._plot_weights(lower, plt.get_cmap(cmap), bar_kw)
        upper.tick_params(labelbottom=False)
        lower.locator_params(axis="x", integer=True)
        lower.set_xlim(0.4, len(self.train_scores) + 0.6)
        self.figure_.align_ylabels(self.axes_.tolist())
        return self

    def _plot_scores(self, ax: "Axes", line_kw: Keywords | None) -> None:
        drawn = (
            ("training rows", self.train_scores, MODEL, "o"),
            ("validation rows", self.validation_scores, ROWS, "s"),
            ("test rows", self.test_scores, OTHER, "^"),
        )
        self.lines_ = []
        for label, scores, colour, marker in drawn:
            if scores is not None:
                defaults = {"color": colour, "marker": marker, "label": label}
                rounds = np.arange(1, len(scores) + 1)
                self.lines_ += ax.plot(rounds, scores, **style(defaults, line_kw))
        ax.set_ylabel("log-likelihood (nats)")
        ax.legend()

    def _plot_weights(self, ax: "Axes", cmap: "Colormap", bar_kw: Keywords | None) -> None:
        """Stacked weights; in the last round each is labelled with the number of its component."""
        n_rounds = len(self.staged_weights)
        rounds, bottom = np.arange(1, n_rounds + 1), np.zeros(n_rounds)
        colours = cmap(np.linspace(0.15, 0.9, n_rounds))
        for i, weights in enumerate(self.staged_weights.T):
            defaults = {"color": colours[i], "edgecolor": "white", "linewidth": 0.5}
            bars = ax.bar(rounds, weights, bottom=bottom, **style(defaults, bar_kw))
            bottom = bottom + weights
            if weights[-1] >= _SMALLEST_LABELLED:
                dark = colours[i, :3] @ (0.299, 0.587, 0.114) < 0.5
                labels = [*[""] * (n_rounds - 1), f"{i + 1}"]
                ax.bar_label(bars, labels, label_type="center", color="white" if dark else "black")
        ax.set(xlabel="round", ylabel="weight", ylim=(0, 1))
