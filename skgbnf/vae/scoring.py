"""What a fitted autoencoder says of images, and images of latent rows, by chunks of rows."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from skgbnf._device import computing_on
from skgbnf.vae.model import Images, LatentModel
from skgbnf.vae.plan import likelihood_of
from skgbnf.vae.preparation import check_images, to_images
from skgbnf.validation import check_integer, score_device, seed_from

_CELLS_PER_CHUNK = 4_000_000


def latent_noise(vae, n_draws: int, random_state) -> Tensor:
    """Standard normal draws, shape (n_draws, 1, n_components), in float64."""
    generator = torch.Generator().manual_seed(seed_from(random_state))
    shape = (n_draws, 1, vae.decoder_.architecture.n_latent)
    return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")


def bound(vae, X, evaluate: Callable, n_draws: int, random_state) -> np.ndarray:
    """A bound of the log-density of each image, in nats, in the units of X.

    Parameters
    ----------
    vae : GradientBoostedFlowVAE
        Fitted.

    X : array-like of shape (n_samples, ...)

    evaluate : callable
        From what :meth:`LatentModel.strata` returns and the weights of the components to a Tensor
        of shape (n_samples,).

    n_draws : int
        Draws for each image, shared by the components.

    random_state : int, RandomState instance or None
    """
    check_integer("n_draws", n_draws, 1)
    n_draws = max(1, int(n_draws) // vae.n_estimators_)
    noise, log_det = latent_noise(vae, n_draws, random_state), likelihood_of(vae).log_det

    def of_chunk(model: LatentModel, images: Images, weights: Tensor) -> Tensor:
        strata = model.strata(images, noise.to(images.inputs))
        return evaluate(*strata, weights) + log_det

    return by_chunks(vae, X, of_chunk, vae.n_features_in_ * n_draws * vae.n_estimators_)


@torch.no_grad()
def by_chunks(vae, X, evaluate: Callable, cells_per_row: int) -> np.ndarray:
    """Evaluate something for images, in the precision of X.

    Parameters
    ----------
    vae : GradientBoostedFlowVAE
        Fitted.

    X : array-like of shape (n_samples, ...)

    evaluate : callable ``(model, images, weights) -> Tensor of shape (n_samples, ...)``

    cells_per_row : int
        Size of the largest array that it needs, for one image.
    """
    X = check_images(vae, X)
    device, dtype = score_device(vae.device), _torch_dtype(X)
    model = fitted_model(vae, dtype)
    weights = torch.tensor(vae.estimator_weights_, device=device, dtype=dtype)
    with computing_on(device):
        chunks = [
            evaluate(model, to_images(vae, rows, dtype, device), weights).cpu().numpy()
            for rows in _chunks(X, cells_per_row)
        ]
    return np.concatenate(chunks)


@torch.no_grad()
def decode(vae, Z: np.ndarray, generator: torch.Generator | None = None) -> np.ndarray:
    """Means of pixels, or draws from their distribution if there is a generator."""
    device, dtype = score_device(vae.device), _torch_dtype(Z)
    decoder, likelihood = vae.decoder_.module(dtype, device), likelihood_of(vae)
    chunks = []
    for rows in _chunks(Z, vae.n_features_in_):
        raw = decoder(torch.from_numpy(np.array(rows)).to(device))
        if generator is None:
            targets = likelihood.mean(raw)
        else:
            shape = (len(rows), vae.n_features_in_)
            uniform = torch.rand(shape, generator=generator, dtype=dtype, device="cpu")
            # Not 0, which inversion would send to infinity.
            uniform = uniform.clamp(min=torch.finfo(dtype).tiny).to(device)
            targets = likelihood.draw(raw, uniform)
        chunks.append(likelihood.pixels(targets.cpu().numpy()).astype(Z.dtype, copy=False))
    return np.concatenate(chunks).reshape(-1, *vae.image_shape_)


def fitted_model(vae, dtype: torch.dtype) -> LatentModel:
    device = score_device(vae.device)
    encoder, decoder, *components = (
        fitted.module(dtype, device) for fitted in (vae.encoder_, vae.decoder_, *vae.estimators_)
    )
    return LatentModel(encoder, decoder, components, likelihood_of(vae))


def _torch_dtype(X: np.ndarray) -> torch.dtype:
    return torch.from_numpy(np.empty(0, X.dtype)).dtype


def _chunks(X: np.ndarray, cells_per_row: int) -> Iterator[np.ndarray]:
    step = max(1, _CELLS_PER_CHUNK // cells_per_row)
    return (X[start : start + step] for start in range(0, len(X), step))
