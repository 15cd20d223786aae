"""What a fitted density says of parts of a sample."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import check_integer
from skgbnf._device import score_device
from skgbnf._random import RandomState, seed_from
from skgbnf.estimators.fitted import FittedDensity
from skgbnf.estimators.importance import Proposal, proposal_for
from skgbnf.estimators.marginal import MarginalDensity
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.estimators.scoring import checked_blocks
from skgbnf.table.frames import container_of
from skgbnf.table.labels import Label, position_of


class PartAnswers:
    """Mixin of the methods of a fitted density that concern parts of a sample."""

    fitted_: FittedDensity
    device: str | torch.device

    def conditional_score_samples(
        self, X: ArrayLike, given: Label | Sequence[Label], *, return_std: bool = False
    ) -> Any:
        """Log-density of each sample's other features, given some of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples. Of missing values nothing is known: they are neither scored nor given.

        given : label or sequence of labels
            Names, or positions, of the features that the rest is conditional on; an empty list for
            the log-density itself.

        return_std : bool, default=False
            Whether to return standard errors too.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of X; -inf where it is 0.

        std : ndarray of shape (n_samples,)
            Standard errors, only with ``return_std=True``: 0 after a fit to a mixed table, whose
            components know all conditionals. Otherwise the density of the given features is
            estimated by importance sampling, from 1,000 draws of a mixture of Gaussians.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X is not a table with the features seen in fit, or `given` names none of them.

        Notes
        -----
        Components of the family "masked" give log p(rest | given) in another order of the features
        than log p(rest, given), and the two agree as far as the network has learned them.

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
        places = self._places(given)
        rows = self._part_rows(X)
        chosen = np.zeros(rows.shape[1], dtype=bool)
        chosen[places] = True
        scores, std = self._conditional(rows, np.broadcast_to(chosen, rows.shape))
        return (scores, std) if return_std else scores

    def feature_score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each value, given the other features of its sample.

        The lower one is, the less it fits the rest of the sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; missing values are left out.

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
        rows = self._part_rows(X)
        scores = np.full(rows.shape, np.nan)
        for j in range(rows.shape[1]):
            known = ~np.isnan(rows[:, j])
            if known.any():
                given = np.ones((int(known.sum()), rows.shape[1]), dtype=bool)
                given[:, j] = False
                scores[known, j] = self._conditional(rows[known], given)[0]
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
            Of a data frame, one of ``n_rows * n_samples`` rows, the draws for each row one after
            the other.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        check_integer("n_samples", n_samples, 1)
        rows = self._part_rows(X)
        drawn = self._completed(np.repeat(rows, n_samples, axis=0), seed_from(random_state))
        coordinates = self.fitted_.coordinates
        if container_of(X) != "numpy":
            return coordinates.frame(drawn, self.fitted_.table)
        return coordinates.values(drawn).reshape(len(rows), int(n_samples), -1)

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
        places = self._places(columns)
        if not places:
            raise ValueError("columns must name at least one feature.")
        return MarginalDensity(self, places)

    def _places(self, labels: Label | Sequence[Label]) -> list[int]:
        """Positions of features, each once."""
        known = self.fitted_.table.labels
        one = isinstance(labels, str | tuple | int | np.integer)
        asked = [labels] if one else list(labels)
        return list(dict.fromkeys(position_of(label, known, "given") for label in asked))

    def _part_rows(self, X: Any) -> np.ndarray:
        """Samples with gaps as numbers."""
        blocks = [*checked_blocks(self, X, self.fitted_, gaps=True)]
        return np.concatenate(blocks).astype(np.float64, copy=False)

    def _conditional(self, rows: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Conditional log-densities and their standard errors."""
        coordinates = self.fitted_.coordinates
        if isinstance(coordinates, MixedCoordinates):
            scores = self.fitted_.conditional_log_densities(
                rows, given, score_device(self.device)
            )
            return scores, np.zeros(len(rows))
        proposal = self._proposal()
        joint, joint_std = proposal.log_densities(rows)
        part, part_std = proposal.log_densities(np.where(given, rows, np.nan))
        return joint - part, np.hypot(joint_std, part_std)

    def _completed(self, rows: np.ndarray, seed: int) -> np.ndarray:
        if isinstance(self.fitted_.coordinates, MixedCoordinates):
            return self.fitted_.completed(rows, seed, score_device(self.device))
        return self._proposal().completed(rows, seed)

    def _proposal(self) -> Proposal:
        return proposal_for(self)
