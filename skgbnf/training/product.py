r"""A normalised product of powers of components.

.. math:: p(x) = \frac{1}{Z} \prod_k g_k(x)^{a_k}, \qquad a_k \ge 0, \quad \sum_k a_k = 1.

The inequality of the arithmetic and the geometric mean bounds the product by the mixture of the
same weights, which can be sampled. Importance weights of its samples are thus at most 1: their
mean estimates ``Z`` with a small error, and accepting each sample with its weight as the
probability draws from the product exactly.

References
----------
Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
https://arxiv.org/abs/2002.11896
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed
from skgbnf.training.mixture import Combination, Mixture, mixture_log_prob

_MOST_ROWS_AT_ONCE = 200_000
_MOST_VAIN_DRAWS = 100
_SMALLEST = 1e-300


class Product(Combination):
    """Product of powers of normalised densities, over its integral.

    It takes no context, on which the integral would depend.

    Parameters
    ----------
    components : sequence of zuko.lazy.LazyDistribution

    weights : Tensor of shape (n_components,) or (n_stages, n_components)
        The powers. Not negative, each row sums to 1.

    log_normalizers : Tensor of shape (n_stages,)
        Logarithm of the integral of the product, for each row of `weights`.
    """

    def __init__(
        self, components: Sequence[LazyDistribution], weights: Tensor, log_normalizers: Tensor
    ) -> None:
        super().__init__(components, weights)
        self.log_normalizers = log_normalizers
        self._mixture = Mixture(components, self.weights)

    def component_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each sample under each component; ValueError if there is a context."""
        check_no_context(context)
        return super().component_log_prob(x)

    @torch.no_grad()
    def sample(self, n_samples: int, seed: int, context: Tensor | None = None) -> Tensor:
        """Draw samples by rejection from the mixture of the same weights."""
        check_no_context(context)
        generator = torch.Generator().manual_seed(derive_seed(seed, 2))
        accepted: list[Tensor] = []
        n_left, i, n_vain = n_samples, 0, 0
        while n_left > 0:
            if n_vain == _MOST_VAIN_DRAWS:
                raise RuntimeError("Rejection accepts no row: the product of components vanishes.")
            n_drawn = math.ceil(1.1 * n_left * math.exp(-float(self.log_normalizers[-1])))
            n_drawn = min(max(n_drawn, 100), _MOST_ROWS_AT_ONCE)
            rows = self._mixture.sample(n_drawn, derive_seed(seed, 3, i))
            log_ratio = product_log_ratio(self.component_log_prob(rows), self.weights[-1])
            uniform = torch.rand(n_drawn, generator=generator, dtype=torch.float64, device="cpu")
            accepted.append(rows[uniform.to(log_ratio.device) < log_ratio.exp()])
            n_left, i = n_left - len(accepted[-1]), i + 1
            n_vain = 0 if len(accepted[-1]) else n_vain + 1
        return torch.cat(accepted)[:n_samples]

    def _combined(self, log_probs: Tensor, stage: int) -> Tensor:
        log_Z = self.log_normalizers[stage].to(log_probs)
        return product_log_prob(log_probs, self.weights[stage].to(log_probs), log_Z)


def product_log_prob(log_probs: Tensor, powers: Tensor, log_normalizer: Tensor | float) -> Tensor:
    """``sum_k a_k log g_k - log Z`` for log-densities of shape (..., n_components)."""
    return log_probs @ powers - log_normalizer


def check_no_context(context: Tensor | None) -> None:
    """Raise ValueError if a product is asked for a density given something."""
    if context is not None:
        raise ValueError("a product of components has no context: its integral depends on it")


def log_normalizer(log_probs: Tensor, powers: Tensor) -> tuple[float, float]:
    """Logarithm of the integral of a product of powers, and its standard error, by sampling.

    Parameters
    ----------
    log_probs : Tensor of shape (n_components, n_draws, n_components)
        Log-densities under all components of samples drawn from each.

    powers : Tensor of shape (n_components,)

    Returns
    -------
    value, error : float
        In nats.
    """
    ratios = product_log_ratio(log_probs, powers).exp()
    Z = max(float(powers @ ratios.mean(dim=1)), _SMALLEST)
    variance = float(powers.square() @ ratios.var(dim=1)) / ratios.shape[1]
    return math.log(Z), math.sqrt(variance) / Z


def product_log_ratio(log_probs: Tensor, powers: Tensor) -> Tensor:
    """Log of the product of powers over the mixture of the same weights; at most 0."""
    powers = powers.to(log_probs)
    mixture = mixture_log_prob(log_probs, powers.log())
    return (log_probs @ powers - mixture).clamp(max=0.0)
