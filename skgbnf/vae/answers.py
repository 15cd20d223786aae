"""What a fitted autoencoder answers: codes, images, bounds of the log-density."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor

from skgbnf._checks import check_integer
from skgbnf._device import score_device
from skgbnf._random import RandomState, seed_from
from skgbnf.table.checks import DTYPES
from skgbnf.training.mixture import mixture_log_prob
from skgbnf.vae.fitted import Evaluate, FittedAutoencoder
from skgbnf.vae.model import Images, LatentModel
from skgbnf.variational.elbo import mixture_bound

_MEAN_DRAWS = 64


class AutoencoderAnswers:
    """Mixin of the methods of a fitted autoencoder."""

    fitted_: FittedAutoencoder
    device: str | torch.device

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Decode latent vectors to the mean of each pixel.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            Latent vectors.

        Returns
        -------
        X : ndarray of shape (n_samples, ...), images of shape `image_shape_`
            In the units of the training images.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If Z has other than `n_components` columns.
        """
        check_is_fitted(self)
        rows = check_array(Z, dtype=DTYPES, input_name="Z")
        if rows.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {rows.shape[1]} columns, but the latent space has {self._n_features_out}."
            )
        return self._decode(rows)

    def reconstruct(self, X: ArrayLike) -> np.ndarray:
        """Encode and decode images.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Images.

        Returns
        -------
        X : ndarray of shape (n_samples, ...), images of shape `image_shape_`
            ``inverse_transform(transform(X))``.
        """
        return self._decode(self._posterior_means(X))

    def sample(
        self, n_samples: int = 1, random_state: RandomState = None, *, noise: bool = True
    ) -> np.ndarray:
        """Draw images.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws. The `random_state` of the constructor is for :meth:`fit` only.

        noise : bool, default=True
            Whether to draw pixels from their distribution, which gives samples of the model. If
            False, pixels are means given the latent vector, which look smoother.

        Returns
        -------
        X : ndarray of shape (n_samples, ...), images of shape `image_shape_`
            float64, in the units of the training images.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        check_integer("n_samples", n_samples, 1)
        seed = seed_from(random_state)
        generator = torch.Generator().manual_seed(seed)
        shape = (int(n_samples), self._n_features_out)
        Z = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").numpy()
        return self._decode(Z, generator if noise else None)

    def score_samples(
        self, X: ArrayLike, n_draws: int = 100, random_state: RandomState = 0
    ) -> np.ndarray:
        r"""Importance-weighted lower bound on the log-density of each image.

        .. math:: \log \sum_c \rho_c \frac{1}{K} \sum_k \frac{p(x, z_{ck})}{q(z_{ck}|x)},
            \qquad z_{ck} \sim g_c(z|x).

        with K draws from each component. Its expectation increases with K towards the log-density
        [3]_.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Images.

        n_draws : int, default=100
            Draws per image, divided equally among the components, at least one each.

        random_state : int, RandomState instance or None, default=0
            Seed of the noise, which is the same for all images.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of X; float32 if X is, otherwise float64.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X does not hold images like those of `fit`.

        References
        ----------
        .. [3] Importance Weighted Autoencoders. Y. Burda, R. Grosse, R. Salakhutdinov, 2015.
           https://arxiv.org/abs/1509.00519
        """
        check_is_fitted(self)

        def evaluate(log_p: Tensor, log_probs: Tensor, weights: Tensor) -> Tensor:
            log_q = mixture_log_prob(log_probs, weights.log())
            log_ratio = log_p - log_q + weights.log()[:, None, None]
            return torch.logsumexp(log_ratio.flatten(0, 1), dim=0) - math.log(log_p.shape[1])

        return self._bound(X, evaluate, n_draws, random_state)

    def elbo(self, X: ArrayLike, n_draws: int = 100, random_state: RandomState = 0) -> np.ndarray:
        """Evidence lower bound of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Images.

        n_draws : int, default=100
            Draws per image, divided equally among the components, at least one each.

        random_state : int, RandomState instance or None, default=0
            Seed of the noise, which is the same for all images.

        Returns
        -------
        bound : ndarray of shape (n_samples,)
            In nats, in the units of X; at most :meth:`score_samples` with the same draws.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        ValueError
            If X does not hold images like those of `fit`.
        """
        check_is_fitted(self)

        def evaluate(log_p: Tensor, log_probs: Tensor, weights: Tensor) -> Tensor:
            return mixture_bound(log_p, log_probs, weights).mean(0)

        return self._bound(X, evaluate, n_draws, random_state)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Mean of :meth:`score_samples`, in nats; higher is better."""
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    @property
    def _n_features_out(self) -> int:
        return self.fitted_.n_latent

    def _posterior_means(self, X: ArrayLike) -> np.ndarray:
        """Posterior mean of each image, of shape (n_samples, n_components)."""
        check_is_fitted(self)
        noise = self.fitted_.noise(_MEAN_DRAWS // 2, seed_from(0))
        noise = torch.cat([noise, -noise])

        def mean(model: LatentModel, images: Images, weights: Tensor) -> Tensor:
            z = model.draws(model.encoder(images.inputs), noise.to(images.inputs))
            return torch.tensordot(weights, z.mean(1), dims=1)

        return self._evaluate(X, mean, self._n_features_out)

    def _bound(
        self,
        X: ArrayLike,
        evaluate: Callable[[Tensor, Tensor, Tensor], Tensor],
        n_draws: int,
        random_state: RandomState,
    ) -> np.ndarray:
        """A bound of the log-density of each image, in nats, in the units of X.

        `evaluate` makes it of what :meth:`LatentModel.strata` returns and the weights.
        """
        check_integer("n_draws", n_draws, 1)
        fitted, n_components = self.fitted_, len(self.fitted_.posterior.components)
        n_draws = max(1, int(n_draws) // n_components)
        noise, log_det = (
            fitted.noise(n_draws, seed_from(random_state)),
            fitted.space.likelihood.log_det,
        )

        def of_chunk(model: LatentModel, images: Images, weights: Tensor) -> Tensor:
            strata = model.strata(images, noise.to(images.inputs))
            return evaluate(*strata, weights) + log_det

        return self._evaluate(X, of_chunk, fitted.space.n_pixels * n_draws * n_components)

    def _evaluate(
        self,
        X: ArrayLike,
        evaluate: Evaluate,
        cells_per_row: int,
    ) -> np.ndarray:
        rows = self.fitted_.space.checked(self, X)
        return self.fitted_.evaluate(rows, score_device(self.device), evaluate, cells_per_row)

    def _decode(self, Z: np.ndarray, generator: torch.Generator | None = None) -> np.ndarray:
        return self.fitted_.decode(Z, score_device(self.device), generator)
