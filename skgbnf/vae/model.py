"""Encoder, decoder and posterior as one module, and their densities."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from zuko.lazy import LazyDistribution

from skgbnf.training.mixture import mixture_log_prob
from skgbnf.vae.likelihoods import Likelihood


@dataclass(frozen=True, eq=False)
class Images:
    """Images as the encoder sees them and as the likelihood does.

    Attributes
    ----------
    inputs, targets : Tensors of shape (n_samples, n_pixels)
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Tensor) -> "Images":
        return Images(self.inputs[index], self.targets[index])


class LatentModel(nn.Module):
    r"""Decoder ``p(x|z)``, standard normal ``p(z)`` and the posterior, a mixture given x.

    .. math:: q(z|x) = \sum_c \rho_c \, g_c(z | h(x)), \qquad h \text{ the encoder.}

    Parameters
    ----------
    encoder, decoder : nn.Module

    components : list of zuko.lazy.LazyDistribution
        Flows conditional on the encoder's output, over a standard normal.

    likelihood : Likelihood
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        components: list[LazyDistribution],
        likelihood: Likelihood,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.components = nn.ModuleList(components)
        self.likelihood = likelihood

    def log_joint(self, z: Tensor, targets: Tensor, kl_weight: float = 1.0) -> Tensor:
        """``log p(x|z) + kl_weight * log p(z)`` in nats, shape (..., n_samples)."""
        log_prior = -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
        return self.likelihood.log_prob(self.decoder(z), targets) + kl_weight * log_prior

    def component_log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """Log-densities of latent rows under each component, the components last."""
        return torch.stack([g(context).log_prob(z) for g in self.components], dim=-1)

    def posterior_log_prob(self, z: Tensor, context: Tensor, weights: Tensor) -> Tensor:
        """Log-density of latent rows under the mixture: the formula of the posterior."""
        return mixture_log_prob(self.component_log_prob(z, context), weights.log())

    def strata(self, images: Images, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What :func:`skgbnf.variational.elbo.mixture_bound` needs, from draws of every component.

        Parameters
        ----------
        images : Images

        noise : Tensor of shape (n_draws, n_samples or 1, n_latent)

        Returns
        -------
        log_p : Tensor of shape (n_components, n_draws, n_samples)

        log_probs : Tensor of shape (n_components, n_draws, n_samples, n_components)
        """
        context = self.encoder(images.inputs)
        z = self.draws(context, noise)
        return self.log_joint(z, images.targets), self.component_log_prob(z, context)

    def draws(self, context: Tensor, noise: Tensor) -> Tensor:
        """Draws of each component, shape (n_components, n_draws, n_samples, n_latent)."""
        noise = noise.expand(-1, len(context), -1)
        return torch.stack([g(context).transform.inv(noise) for g in self.components])
