"""A fitted autoencoder: its networks, its posterior, and what it says of images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from skgbnf._device import computing_on
from skgbnf.training.fitted import (
    FittedComponent,
    FittedMixture,
    History,
    Plain,
    combination_from_plain,
)
from skgbnf.vae.images import ImageSpace
from skgbnf.vae.model import Images, LatentModel
from skgbnf.vae.networks import NetworkArchitecture

_CELLS_PER_CHUNK = 4_000_000

Evaluate = Callable[[LatentModel, Images, Tensor], Tensor]
"""From a model, images and the weights of its posterior to a Tensor of shape (n_samples, ...)."""


@dataclass(frozen=True, eq=False)
class FittedAutoencoder:
    """All that `fit` found out about images.

    Attributes
    ----------
    space : ImageSpace

    encoder, decoder : FittedComponent

    posterior : FittedMixture
        Its context is what the encoder returns.

    history : History
        Its scores are evidence lower bounds.

    seed : int
        From which every round derives its own.
    """

    space: ImageSpace
    encoder: FittedComponent
    decoder: FittedComponent
    posterior: FittedMixture
    history: History
    seed: int

    @property
    def n_latent(self) -> int:
        """Dimension of the latent space."""
        return self.posterior.n_features

    def noise(self, n_draws: int, seed: int) -> Tensor:
        """Standard normal draws, shape (n_draws, 1, n_latent), in float64."""
        generator = torch.Generator().manual_seed(seed)
        shape = (n_draws, 1, self.n_latent)
        return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")

    def model(self, dtype: torch.dtype, device: torch.device) -> LatentModel:
        """Networks and posterior as modules."""
        components = self.posterior.at(dtype, device).components
        encoder, decoder = (net.module(dtype, device) for net in (self.encoder, self.decoder))
        return LatentModel(encoder, decoder, components, self.space.likelihood)

    @torch.no_grad()
    def evaluate(
        self, X: np.ndarray, device: torch.device, evaluate: Evaluate, cells_per_row: int
    ) -> np.ndarray:
        """Evaluate something for flat images, by chunks, in the precision of X.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_pixels)

        device : torch.device

        evaluate : callable

        cells_per_row : int
            Size of the largest array that it needs, for one image.
        """
        dtype = _torch_dtype(X)
        model = self.model(dtype, device)
        weights = torch.tensor(self.posterior.weights, device=device, dtype=dtype)
        with computing_on(device):
            chunks = [
                evaluate(model, self.space.to_tensors(rows, dtype, device), weights).cpu().numpy()
                for rows in _chunks(X, cells_per_row)
            ]
        return np.concatenate(chunks)

    @torch.no_grad()
    def decode(
        self, Z: np.ndarray, device: torch.device, generator: torch.Generator | None = None
    ) -> np.ndarray:
        """Means of pixels, or draws from their distribution if there is a generator."""
        dtype, space = _torch_dtype(Z), self.space
        decoder = self.decoder.module(dtype, device)
        chunks = []
        for rows in _chunks(Z, space.n_pixels):
            raw = decoder(torch.from_numpy(np.array(rows)).to(device))
            if generator is None:
                targets = space.likelihood.mean(raw)
            else:
                shape = (len(rows), space.n_pixels)
                uniform = torch.rand(shape, generator=generator, dtype=dtype, device="cpu")
                # Not 0, which inversion would send to infinity.
                uniform = uniform.clamp(min=torch.finfo(dtype).tiny).to(device)
                targets = space.likelihood.draw(raw, uniform)
            pixels = space.likelihood.pixels(targets.cpu().numpy())
            chunks.append(pixels.astype(Z.dtype, copy=False))
        return np.concatenate(chunks).reshape(-1, *space.shape)

    def to_plain(self) -> Plain:
        """All of it as plain values and arrays."""
        return {
            "space": self.space.to_plain(),
            "encoder": self.encoder.to_plain(),
            "decoder": self.decoder.to_plain(),
            "posterior": self.posterior.to_plain(),
            "history": self.history.to_plain(),
            "seed": self.seed,
        }

    @classmethod
    def from_plain(cls, plain: Plain, *, check: bool = True) -> Self:
        """Inverse of :meth:`to_plain`.

        Parameters
        ----------
        plain : dict

        check : bool, default=True
            Whether the arrays of modules are compared with their architectures, as those of a
            file must be.

        Raises
        ------
        ValueError
            If the parts do not fit together.
        """
        space = ImageSpace.from_plain(plain["space"])
        encoder, decoder = (
            FittedComponent.from_plain(plain[role], NetworkArchitecture.from_plain)
            for role in ("encoder", "decoder")
        )
        first, second = encoder.architecture, decoder.architecture
        if first.role != "encoder" or second != replace(first, role="decoder"):
            raise ValueError("its encoder does not fit its decoder")
        if first.image_shape != space.shape or (
            first.n_parameters != space.likelihood.n_parameters
        ):
            raise ValueError("its networks are not for its images")
        if check:
            encoder.check()
            decoder.check()
        posterior = combination_from_plain(plain["posterior"], check=check)
        sizes = posterior.n_features, posterior.n_context
        if sizes != (first.n_latent, first.hidden_layer_sizes[-1]):
            raise ValueError("its components do not fit its encoder and decoder")
        if not isinstance(posterior, FittedMixture):
            raise ValueError("its posterior is no mixture")
        history = History.from_plain(plain["history"], len(posterior.components))
        return cls(space, encoder, decoder, posterior, history, int(plain["seed"]))


def _torch_dtype(X: np.ndarray) -> torch.dtype:
    return torch.from_numpy(np.empty(0, X.dtype)).dtype


def _chunks(X: np.ndarray, cells_per_row: int) -> Iterator[np.ndarray]:
    step = max(1, _CELLS_PER_CHUNK // cells_per_row)
    return (X[start : start + step] for start in range(0, len(X), step))
