"""What a fitted regressor answers: densities, means, quantiles, draws."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skgbnf._checks import check_integer, check_real
from skgbnf._device import score_device
from skgbnf._random import RandomState, seed_from
from skgbnf.estimators.fitted import of_all_rounds, of_each_round
from skgbnf.estimators.fitted_regression import FittedRegression
from skgbnf.estimators.marginals import Marginals
from skgbnf.predictors import checked_features
from skgbnf.table.checks import checked_values, note_columns
from skgbnf.table.frames import check_labels

_N_DRAWS = 500


class RegressorAnswers:
    """Mixin of the methods of a fitted regressor."""

    fitted_: FittedRegression
    device: str | torch.device

    def score_samples(self, X: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Log-density of each sample's target given its features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of y; of several targets the joint density. -inf outside `bounds`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X or y are not tables like those of `fit`.
        """
        codes, Y = self._codes_and_targets(X, y)
        device = score_device(self.device)
        return self.fitted_.log_densities(codes, Y, device, of_all_rounds)[0]

    def staged_score_samples(self, X: ArrayLike, y: ArrayLike) -> Iterator[np.ndarray]:
        """Log-density of each sample's target after each round.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Yields
        ------
        log_density : ndarray of shape (n_samples,)
            After round 1, 2 and so on; the last is that of :meth:`score_samples`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            As :meth:`score_samples`.
        """
        codes, Y = self._codes_and_targets(X, y)
        device = score_device(self.device)
        yield from self.fitted_.log_densities(codes, Y, device, of_each_round)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Conditional mean of the targets.

        Of one target it is an integral by quadrature, whose error is far below that of the model;
        of several targets the mean of 500 draws, with a standard error of 4.5 % of the conditional
        standard deviation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            As :meth:`score_samples`.
        """
        return self._moments(X)[0]

    def predict_std(self, X: ArrayLike) -> np.ndarray:
        """Conditional standard deviation of the targets, computed as :meth:`predict` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        std : ndarray of shape (n_samples,) or (n_samples, n_targets)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            As :meth:`score_samples`.
        """
        return self._moments(X)[1]

    def predict_quantiles(self, X: ArrayLike, quantiles: ArrayLike) -> np.ndarray:
        """Conditional quantiles of the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        quantiles : float or array-like of shape (n_quantiles,)
            Between 0 and 1, both excluded.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_quantiles)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            As :meth:`score_samples`, and if there are several targets.
        """
        shares = np.asarray(quantiles, dtype=np.float64)
        if shares.ndim > 1 or not ((shares > 0) & (shares < 1)).all():
            raise ValueError(f"quantiles must lie between 0 and 1, got {quantiles!r}.")
        flat = np.atleast_1d(shares)
        codes = self._codes(X)
        self._check_one_target("quantiles")
        found = self._of_marginals(codes, lambda marginals, _: marginals.quantiles(flat))
        return found if shares.ndim else found[:, 0]

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Central interval that holds the target with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        coverage : float, default=0.9
            Probability of the interval; as much is left below it as above it.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2)
            Lower and upper ends.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            As :meth:`score_samples`, and if there are several targets.
        """
        check_real("coverage", coverage, 0, 1, open_low=True)
        return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2])

    def cdf(self, X: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Conditional probability of a target up to that of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        y : array-like of shape (n_samples,)
            Targets. Of repeated values that are treated by `dequantize` half of their probability
            counts as below.

        Returns
        -------
        probability : ndarray of shape (n_samples,)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            As :meth:`score_samples`, and if there are several targets.
        """
        self._check_one_target("cdf")
        codes, Y = self._codes_and_targets(X, y)
        return self._of_marginals(codes, lambda marginals, rows: marginals.cdf(Y[rows, 0]))

    def sample(
        self, X: ArrayLike, n_samples: int = 1, random_state: RandomState = None
    ) -> np.ndarray:
        """Draw targets given the features of each row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Features.

        n_samples : int, default=1
            Number of draws for each row.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws. The `random_state` of the constructor is for :meth:`fit` only.

        Returns
        -------
        y : ndarray of shape (n_rows, n_samples) or (n_rows, n_samples, n_targets)
            In the units of the targets.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            As :meth:`score_samples`.
        """
        codes = self._codes(X)
        check_integer("n_samples", n_samples, 1)
        seed, device = seed_from(random_state), score_device(self.device)
        drawn = self.fitted_.sample(codes, int(n_samples), seed, device)
        return drawn[..., 0] if self.fitted_.n_targets == 1 else drawn

    def _moments(self, X: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self)
        if self.fitted_.n_targets > 1:
            drawn = self.sample(X, _N_DRAWS, random_state=0)
            return drawn.mean(axis=1), drawn.std(axis=1)
        found = self._of_marginals(
            self._codes(X), lambda marginals, _: np.column_stack(marginals.moments())
        )
        return found[:, 0], found[:, 1]

    def _of_marginals(
        self, codes: np.ndarray, answer: Callable[[Marginals, slice], np.ndarray]
    ) -> np.ndarray:
        return self.fitted_.marginals(codes, score_device(self.device), answer)

    def _check_one_target(self, what: str) -> None:
        check_is_fitted(self)
        if self.fitted_.n_targets > 1:
            raise ValueError(
                f"{what} needs one target, and there are {self.fitted_.n_targets}; draw from their "
                "joint density by sample, or fit a regressor to each."
            )

    def _codes(self, X: Any) -> np.ndarray:
        """Features of samples as numbers, once their columns are those of fit."""
        check_is_fitted(self)
        X = checked_features(X, estimator=self)
        note_columns(self, X, "no_validation", reset=False)
        check_labels(X, self.fitted_.features, "X")
        return self.fitted_.conditioner.encoder.codes(X)

    def _codes_and_targets(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        codes = self._codes(X)
        Y = checked_values(as_columns(y), "y", self).astype(np.float64, copy=False)
        check_consistent_length(codes, Y)
        if Y.shape[1] != self.fitted_.n_targets:
            raise ValueError(f"y must have {self.fitted_.n_targets} columns, got {Y.shape[1]}.")
        return codes, Y


def as_columns(y: Any) -> Any:
    """Targets as a table; of one target a list or a series of values will do."""
    if y is None:
        raise ValueError("this estimator requires y to be passed, but the target y is None.")
    if getattr(y, "ndim", None) == 2 or hasattr(y, "columns"):
        return y
    values = np.asarray(y)
    return values[:, None] if values.ndim == 1 else values
