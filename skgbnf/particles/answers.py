"""What a fitted density of configurations answers, and its public attributes."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgbnf._checks import check_integer
from skgbnf._device import score_device
from skgbnf._random import RandomState, seed_from
from skgbnf.boosting.attributes import RoundAttributes
from skgbnf.particles.fitted import FittedFlow, FittedParticles
from skgbnf.training.fitted import FittedCombination, History


class ParticleAnswers(RoundAttributes):
    """Mixin of the methods and attributes of a fitted density of configurations."""

    fitted_: FittedParticles
    device: str | torch.device

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_particles * n_dims) or \
                (n_samples, n_particles, n_dims)
            Samples; they need not be centred.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, on the space of centred configurations in the units of X, which has
            (n_particles - 1) * n_dims dimensions; float32 if X is, otherwise float64.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X does not hold configurations like those of `fit`, or values that are not finite.
        """
        return self._log_densities(X, staged=False)[0]

    def staged_score_samples(self, X: ArrayLike) -> Iterator[np.ndarray]:
        """Log-density of each sample after each round.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Yields
        ------
        log_density : ndarray of shape (n_samples,)
            In nats, after round 1, 2 and so on; the last is that of :meth:`score_samples`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        yield from self._log_densities(X, staged=True)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Mean log-density of the samples; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        y : None
            Ignored, present for the scikit-learn interface.

        Returns
        -------
        score : float
            In nats per sample.
        """
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw configurations.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws. The `random_state` of the constructor is for :meth:`fit` only.

        Returns
        -------
        X : ndarray of shape (n_samples, n_particles * n_dims) or (n_samples, n_particles, n_dims)
            float64, with the axes that X had in `fit`, in random order. The centre of each is the
            origin.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        check_integer("n_samples", n_samples, 1)
        device = score_device(self.device)
        return self.fitted_.sample(int(n_samples), seed_from(random_state), device)

    @property
    def n_particles_(self) -> int:
        """Number of particles."""
        return self.fitted_.space.shape[0]

    @property
    def n_dims_(self) -> int:
        """Number of dimensions."""
        return self.fitted_.space.n_dims

    @property
    def scale_(self) -> float:
        """Root mean square of a centred coordinate of the training samples, in units of X."""
        return self.fitted_.space.scale

    @property
    def method_(self) -> str:
        """What was fitted: "frames" or "flow"."""
        return self.fitted_.method

    @property
    def solver_errors_(self) -> np.ndarray | None:
        """Mean error that the solver of each component makes in log-densities, in nats.

        ndarray of shape (`n_estimators_`,): the mean absolute difference to log-densities by twice
        as many steps, on samples of the validation set. None with frames, which need no solver.
        """
        return self.fitted_.solver_errors if isinstance(self.fitted_, FittedFlow) else None

    def _rounds(self) -> tuple[FittedCombination, History]:
        """The fitted components, and the notes on their rounds."""
        return self.fitted_.rounds()

    def _log_densities(self, X: ArrayLike, *, staged: bool) -> np.ndarray:
        check_is_fitted(self)
        rows = self.fitted_.space.checked(self, X)
        return self.fitted_.log_densities(rows, score_device(self.device), staged=staged)
