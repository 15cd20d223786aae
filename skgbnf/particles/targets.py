"""What a flow of particles is trained for: to match straight paths, then for the likelihood.

References
----------
Flow Matching for Generative Modeling. Y. Lipman, R. T. Q. Chen, H. Ben-Hamu, M. Nickel, M. Le,
2023. https://arxiv.org/abs/2210.02747

Equivariant flow matching. L. Klein, A. Krämer, F. Noé, 2023. https://arxiv.org/abs/2306.15030
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from zuko.flows import Flow

from skgbnf.particles.alignment import aligned
from skgbnf.particles.flow import ParticleArchitecture, centred, field_of
from skgbnf.training.mixture import component_log_prob
from skgbnf.training.objective import Objective

_N_STEPS = 6
"""Steps of the solver while the likelihood is maximised."""


class FlowTarget(ABC):
    """A flow in training, as :class:`~skgbnf.training.descent.Target` has it.

    An epoch is a number of batches, whatever the number of samples. States are judged by the
    log-density of the validation set.

    Parameters
    ----------
    component : Flow

    architecture : ParticleArchitecture

    objective : Objective

    batch_size : int
    """

    n_batches: int
    advice = "Lower learning_rate_init or look for extreme values in X."

    def __init__(
        self,
        component: Flow,
        architecture: ParticleArchitecture,
        objective: Objective,
        batch_size: int,
    ) -> None:
        self.module, self._objective, self._batch_size = component, objective, batch_size
        self._types, self._n_dims = architecture.types, architecture.n_dims
        self._x = objective.train_rows.x.float()

    def batches(self, generator: torch.Generator) -> Iterable[Tensor]:
        shape = self.n_batches, self._batch_size
        drawn = torch.randint(len(self._x), shape, generator=generator, device="cpu")
        return drawn.to(self._x.device).unbind()

    def score(self, module: Any) -> float:
        rows = self._objective.validation_rows
        return self._objective.score(component_log_prob(module, rows.x))

    @abstractmethod
    def loss(self, batch: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        """Loss of a batch of samples."""


class MatchingTarget(FlowTarget):
    """Flow matching: the field learns the straight paths from noise to samples.

    Noise is turned and renumbered to lie near its sample: it stays noise, and paths cross less.
    Samples have the weights of the start of a round.
    """

    n_batches = 250

    def loss(self, batch: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        x = self._x[batch].unflatten(1, (len(self._types), self._n_dims))
        noise = torch.randn(x.shape, generator=generator, device="cpu").to(x)
        z = aligned(centred(noise), x, self._types)
        t = torch.rand(len(x), generator=generator, device="cpu").to(x)
        path = torch.lerp(z, x, t.view(-1, 1, 1))
        velocity, _ = field_of(self.module).field(t, path)
        weights = self._objective.row_weights(self._x.new_zeros(len(x)), batch, 0.0)
        return (weights.to(x) * (velocity - (x - z)).square().sum((1, 2))).mean()


class LikelihoodTarget(FlowTarget):
    """Maximum likelihood, through the solver.

    It takes few steps, of lengths drawn anew for each batch: with the same steps always, the field
    would learn to gain by their errors.
    """

    n_batches = 20

    def loss(self, batch: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        flow = field_of(self.module)
        flow.times = _uneven_times(generator).to(self._x)
        log_g = self.module().log_prob(self._x[batch])
        flow.times = None
        weights = self._objective.row_weights(log_g.detach(), batch, progress)
        return -(weights.to(log_g) * log_g).mean()


def _uneven_times(generator: torch.Generator) -> Tensor:
    """Times from 0 to 1, each drawn from an interval of its own."""
    drawn = torch.rand(_N_STEPS - 1, generator=generator, device="cpu") - 0.5
    inner = (torch.arange(1, _N_STEPS, device="cpu") + drawn) / _N_STEPS
    return torch.cat([torch.zeros(1, device="cpu"), inner, torch.ones(1, device="cpu")])
