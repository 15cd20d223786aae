"""What a fitted density says of parts of a sample."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import check_integer
from skgbnf._random import RandomState, seed_from
from skgbnf.estimators.conditionals import completed_rows, conditional_scores
from skgbnf.estimators.fitted import FittedDensity
from skgbnf.estimators.marginal import MarginalDensity
from skgbnf.estimators.scoring import checked_blocks
from skgbnf.table.filling import filled
from skgbnf.table.frames import container_of
from skgbnf.table.labels import Label, find_label, position_of
from skgbnf.table.selection import as_rows, take


class PartAnswers:
    """Mixin of the methods of a fitted density that concern parts of a sample."""

    fitted_: FittedDensity
    device: str | torch.device

    def conditional_score_samples(
        self,
        X: ArrayLike,
        given: Label | Sequence[Label],
        *,
        n_draws: int = 100,
        return_std: bool = False,
    ) -> Any:
        """Log-density of each sample's other features, given some of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples. Of missing values nothing is known: they are neither scored nor given.

        given : label or sequence of labels
            Names, or positions, of the features that the rest is conditional on; an empty list for
            the log-density itself.

        n_draws : int, default=100
            Number of draws for each sample, where draws are needed.

        return_std : bool, default=False
            Whether to return standard errors too.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of X; -inf where it is 0.

        std : ndarray of shape (n_samples,)
            Standard errors in nats, only with ``return_std=True``; 0 where the value is exact.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X is not a table with the features seen in fit, or `given` names none of them.

        Notes
        -----
        It is log p(rest, given) - log p(given). The second term is exact if one categorical feature
        is the rest, and for components of "location_mixture"; otherwise it is estimated by
        importance sampling, from draws of the components that know conditionals ("location_mixture"
        and "masked"), or after a fit to a table of numbers from a mixture of Gaussians fitted to
        draws of the density. Draws are the same at each call.

        Examples
        --------
        >>> import numpy as np
        >>> from skgbnf import GradientBoostedFlowDensity
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> X[:, 1] += X[:, 0]
        >>> X[:50, 0] = np.nan
        >>> model = GradientBoostedFlowDensity(flow="location_mixture", random_state=0).fit(X)
        >>> model.conditional_score_samples(X[:3], given=[1]).round(1).tolist()
        [0.0, 0.0, 0.0]
        """
        check_is_fitted(self)
        check_integer("n_draws", n_draws, 2)
        places = self._places(given, "given")
        rows = self._part_rows(X)
        chosen = np.zeros(rows.shape[1], dtype=bool)
        chosen[places] = True
        chosen = np.broadcast_to(chosen, rows.shape)
        scores, std = conditional_scores(self, rows, chosen, int(n_draws), seed=0)
        return (scores, std) if return_std else scores

    def feature_score_samples(self, X: ArrayLike, *, n_draws: int = 100) -> np.ndarray:
        """Log-density of each value, given the other features of its sample.

        The lower one is, the less it fits the rest of the sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; missing values are left out.

        n_draws : int, default=100
            Number of draws for each number, as for :meth:`conditional_score_samples`.

        Returns
        -------
        log_density : ndarray of shape (n_samples, n_features)
            In nats, in the units of each feature; NaN where the value is missing.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        check_integer("n_draws", n_draws, 2)
        rows = self._part_rows(X)
        scores = np.full(rows.shape, np.nan)
        for j in range(rows.shape[1]):
            known = ~np.isnan(rows[:, j])
            if known.any():
                given = np.ones((int(known.sum()), rows.shape[1]), dtype=bool)
                given[:, j] = False
                scores[known, j] = conditional_scores(self, rows[known], given, int(n_draws), 0)[0]
        return scores

    def sample_missing(
        self, X: ArrayLike, n_samples: int = 1, random_state: RandomState = None
    ) -> Any:
        """Draw the missing values of each sample, given its other features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples with gaps.

        n_samples : int, default=1
            Number of draws for each sample.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        completed : ndarray of shape (n_rows, n_samples, n_features), or data frame
            Of a data frame, one of its library of ``n_rows * n_samples`` rows, the draws for each
            row one after the other. What was known is as it was.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        check_integer("n_samples", n_samples, 1)
        table = as_rows(X)
        rows = self._part_rows(table)
        drawn = completed_rows(self, rows, int(n_samples), seed_from(random_state))
        every = np.repeat(np.arange(len(rows)), n_samples)
        missing = np.isnan(rows)[every]
        completed = self.fitted_.table_like(
            drawn.reshape(missing.shape)[missing.any(axis=1)], table
        )
        # What is known stays the very same cell: large integers and nanoseconds are no floats.
        completed = filled(take(table, every), completed, missing)
        if container_of(table) == "numpy":
            return completed.reshape(drawn.shape)
        return completed

    def marginal(self, columns: Label | Sequence[Label]) -> MarginalDensity:
        """The density of some of the features.

        Parameters
        ----------
        columns : label or sequence of labels
            Names, or positions, of features.

        Returns
        -------
        density : MarginalDensity
            With ``score_samples`` and ``sample``, and of one feature ``cdf`` and ``quantile``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If `columns` names no feature.
        """
        check_is_fitted(self)
        places = self._places(columns, "columns")
        if not places:
            raise ValueError("columns must name at least one feature.")
        return MarginalDensity(self, places)

    def _places(self, labels: Label | Sequence[Label], parameter: str) -> list[int]:
        """Positions of features; a tuple that is no label is several."""
        known = self.fitted_.table.labels
        several = isinstance(labels, Iterable) and not isinstance(labels, str)
        if isinstance(labels, tuple) and find_label(labels, known):
            several = False
        places = [
            position_of(label, known, parameter) for label in (labels if several else [labels])
        ]
        for j in places:
            if places.count(j) > 1:
                raise ValueError(f"{parameter}: column {known[j]!r} is named twice.")
        return places

    def _part_rows(self, X: Any) -> np.ndarray:
        """Samples with gaps as numbers."""
        blocks = [*checked_blocks(self, X, self.fitted_, gaps=True)]
        return np.concatenate(blocks).astype(np.float64, copy=False)
