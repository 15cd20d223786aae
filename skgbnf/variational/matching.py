"""A mixture that grows by rounds towards a log-density that is known up to a constant."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from zuko.lazy import LazyDistribution

from skgbnf._importance import ImportanceReport, importance_report
from skgbnf._random import derive_seed, own_generator
from skgbnf.boosting.base import Stage
from skgbnf.flows import Architecture
from skgbnf.training.mixture import mixture_log_prob
from skgbnf.training.objective import TrainingSettings
from skgbnf.variational.boosting import (
    IMPORTANCE_KEY,
    VALIDATION_KEY,
    Annealing,
    Loss,
    VariationalBoosting,
    standard_normal,
)
from skgbnf.variational.elbo import Draws, mixture_bound

STEPS_PER_EPOCH = 10
_SMALLEST_INVERSE_TEMPERATURE = 0.05
_VALIDATION_DRAWS = 4000
IMPORTANCE_DRAWS = 4000


class Components(nn.Module):
    """Components and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.components = nn.ModuleList()


class Matching(VariationalBoosting):
    """A mixture fitted to an unnormalised log-density.

    Its logarithm is multiplied by an inverse temperature that rises to 1 in the first half of a
    round. The bound is estimated from draws that are the same in every round.

    Parameters
    ----------
    log_prob : callable
        From samples, shape (n_samples, n_features), to their log-densities.

    architecture, settings, objective, entropy_weight, seed, device
        As for :class:`VariationalBoosting`.
    """

    first = later = Annealing(_SMALLEST_INVERSE_TEMPERATURE, warm_up=0.5)
    last = Annealing(1.0, rate=0.5)
    advice = "Lower learning_rate_init, or see that log_prob and its gradient are finite."
    n_batches = STEPS_PER_EPOCH
    has_validation = True
    log_dets = (0.0, 0.0)

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        architecture: Architecture,
        settings: TrainingSettings,
        objective: str,
        entropy_weight: float,
        seed: int,
        device: torch.device,
    ) -> None:
        own = architecture, settings, objective, entropy_weight, seed, device
        super().__init__(Components(), *own)
        self._log_prob = log_prob
        generator = torch.Generator().manual_seed(derive_seed(seed, VALIDATION_KEY))
        self._validation_noise = self._noise(_VALIDATION_DRAWS, generator)

    def describe(self) -> str:
        return f"a log-density of {self._architecture.n_features:,} columns"

    def batches(self, generator: torch.Generator) -> Iterable[None]:
        # What a step learns from is drawn by its loss.
        return (None for _ in range(self.n_batches))

    def draws(self, module: Any, *, validation: bool) -> tuple[Tensor, Tensor]:
        log_p, log_probs = self._strata(module.components, self._validation_noise)
        return log_p.double(), log_probs.double()

    def score(self, module: nn.Module) -> None:
        """A round ends with its last state: draws are new in every step, so none is learned."""

    @torch.no_grad()
    def importance(self) -> ImportanceReport:
        """What fresh draws from the mixture say of it, as importance samples.

        Where the log-density is not a number, the density counts as zero.
        """
        mixture = self.fitted().at(torch.float64, self._device)
        seed = derive_seed(self._seed, IMPORTANCE_KEY)
        z = mixture.sample(IMPORTANCE_DRAWS, seed).float()
        log_p = self._log_prob(z).double().nan_to_num(-math.inf, math.inf, -math.inf)
        return importance_report((log_p - mixture.log_prob(z.double())).cpu().numpy())

    def _let_learn(self, n_rounds: int) -> None:
        self.module.requires_grad_(False)

    def _new_component(self, seed: int) -> LazyDistribution:
        with own_generator(seed):
            return self._architecture.build().to(self._device)

    def _joint_loss(
        self, batch: None, progress: float, factor: float, generator: torch.Generator
    ) -> Tensor:
        """Each component has its share of the draws."""
        noise = self._noise(self._settings.batch_size, generator)
        log_p, log_probs = self._strata(self.components, noise)
        return -mixture_bound(factor * log_p, log_probs, self.weights.to(log_p)).mean()

    def _round_loss(self) -> Loss:
        *earlier, component = self.components
        rho = float(self.weights[-1])
        weights = self.weights[:-1] / self.weights[:-1].sum()

        def draws(z: Tensor, factor: float) -> Draws:
            log_probs = torch.stack([g(None).log_prob(z) for g in earlier], dim=-1)
            log_G = mixture_log_prob(log_probs, weights.log().to(z))
            return Draws(factor * self._log_prob(z), component(None).log_prob(z), log_G)

        def loss(batch: None, progress: float, factor: float, generator: torch.Generator) -> Tensor:
            n_draws = self._settings.batch_size // 2
            noise = self._noise(n_draws, generator)
            origin = torch.multinomial(weights.cpu(), n_draws, True, generator=generator)
            with torch.no_grad():
                old = torch.cat([
                    earlier[k](None).transform.inv(
                        self._noise(int((origin == k).sum()), generator)
                    )
                    for k in origin.unique().tolist()
                ])  # fmt: skip
            new = component(None).transform.inv(noise)
            pair = draws(new, factor), draws(old, factor)
            return -self._objective(*pair, rho, self._entropy_weight, progress)

        return loss

    def _strata(self, components: nn.ModuleList, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What :func:`mixture_bound` needs, from draws of every component."""
        distributions = [component(None) for component in components]
        z = torch.stack([g.transform.inv(noise) for g in distributions])
        log_p = self._log_prob(z.flatten(0, 1)).reshape(z.shape[:2])
        return log_p, torch.stack([g.log_prob(z) for g in distributions], dim=-1)

    def _stage(self) -> Stage:
        stage = super()._stage()
        if not self.stages and not math.isfinite(stage.validation_score):
            raise ValueError(self._why_not_finite())
        return stage

    @torch.no_grad()
    def _why_not_finite(self) -> str:
        """What a user is told of a bound that is not finite."""
        _, log_probs = self._strata(self.components, self._validation_noise)
        if not torch.isfinite(log_probs).all():
            return "Training diverged; lower learning_rate_init."
        return (
            "log_prob is not finite at rows that the first component draws; it must be finite "
            "everywhere: let it fall steeply where the density is to be zero."
        )

    def _train_score(self, weights: Tensor, validation_score: float) -> None:
        """There are no training samples."""

    def _noise(self, n_draws: int, generator: torch.Generator) -> Tensor:
        return standard_normal(generator, (n_draws, self._architecture.n_features), self._device)
