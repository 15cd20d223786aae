"""Rounds: one component after the other, then all together, on bounds from draws."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skgbnf._random import derive_seed, own_generator
from skgbnf.elbo import BOUNDS, Draws, fit_weights, mixture_bound
from skgbnf.flows import Architecture
from skgbnf.mixture import mixture_log_prob
from skgbnf.training import Descent, cosine, warn_not_finite

_JUDGE_KEY, _ROUND_KEY, _FINE_TUNE_KEY = 0, 1, 2
_WARM_UP = 0.5
_COOLEST = 0.05
_FINE_TUNE_RATE = 0.5
_JUDGE_DRAWS = 4000


@dataclass(frozen=True)
class Settings:
    """How a mixture is trained.

    Attributes
    ----------
    max_iter : int
        Steps of a round, and of a pass of fine-tuning.

    batch_size : int
        Draws in a step.

    learning_rate : float

    objective : {"greedy", "gradient"}

    entropy_weight : float
    """

    max_iter: int
    batch_size: int
    learning_rate: float
    objective: str
    entropy_weight: float


class Matching:
    """A mixture that grows by rounds towards a log-density.

    Parameters
    ----------
    log_prob : callable
        From rows, shape (n_samples, n_features), to their log-densities.

    architecture : Architecture
        Of the components.

    settings : Settings

    seed : int
        A round draws from a seed derived from this one and its number.

    device : torch.device

    Attributes
    ----------
    components : nn.ModuleList

    weights : Tensor of shape (n_components,)

    bounds : list of float

    error : float
        Standard error of the last bound.
    """

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        architecture: Architecture,
        settings: Settings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.components, self.bounds, self.error = nn.ModuleList(), [], 0.0
        self.weights = torch.ones(0, dtype=torch.float64, device=device)
        self._log_prob, self._architecture, self._settings = log_prob, architecture, settings
        self._seed, self._device = seed, device
        generator = torch.Generator().manual_seed(derive_seed(seed, _JUDGE_KEY))
        self._judge_noise = self._noise(_JUDGE_DRAWS, generator)

    def run(self, n_estimators: int, fine_tune: int, tol: float, verbose: int) -> None:
        """Add rounds while they gain, then train all together."""
        while len(self.components) < n_estimators and self._add_round(tol):
            self._report(f"round {len(self.components)}/{n_estimators}", verbose)
        for i in range(fine_tune):
            self._fine_tune(i)
            self._report("fine-tuning", verbose)

    def _report(self, what: str, verbose: int) -> None:
        if verbose:
            print(f"[skgbnf] {what}: bound {self.bounds[-1]:.4f} +- {self.error:.4f} nats")

    def _add_round(self, tol: float) -> bool:
        """Train one more component; keep it, and say so, if the bound gains."""
        n_rounds = len(self.components)
        seed = derive_seed(self._seed, _ROUND_KEY, n_rounds)
        with own_generator(seed):
            component = self._architecture.build().to(self._device)
        self.components.requires_grad_(False)
        before = self.weights, self.error
        self.components.append(component)
        rho = 1 / (n_rounds + 1)
        self.weights = torch.cat([(1 - rho) * self.weights, self.weights.new_tensor([rho])])
        loss = self._round_loss(rho) if n_rounds else self._joint_loss
        self._train(component, loss, self._settings.learning_rate, seed, warm_up=_WARM_UP)
        bound = self._judge()
        if not n_rounds and not math.isfinite(bound):
            raise ValueError(self._why_not_finite())
        if n_rounds and not bound > self.bounds[-1] + tol:
            del self.components[-1]
            self.weights, self.error = before
            return False
        self.bounds.append(bound)
        return True

    def _fine_tune(self, number: int) -> None:
        """Train all components on the bound of the mixture; put them back if it falls."""
        before = copy.deepcopy(self.components.state_dict()), self.weights, self.error
        self.components.requires_grad_(True)
        rate = _FINE_TUNE_RATE * self._settings.learning_rate
        seed = derive_seed(self._seed, _FINE_TUNE_KEY, number)
        self._train(self.components, self._joint_loss, rate, seed, warm_up=0.0)
        bound = self._judge()
        if bound > self.bounds[-1]:
            self.bounds[-1] = bound
        else:
            self.components.load_state_dict(before[0])
            self.weights, self.error = before[1:]

    def _train(
        self, module: nn.Module, loss: Callable, learning_rate: float, seed: int, warm_up: float
    ) -> None:
        """Descend a loss; leave the module in the average of its last states."""
        generator = torch.Generator().manual_seed(derive_seed(seed, 1))
        descent = Descent(module, learning_rate)
        for step in range(self._settings.max_iter):
            progress = step / self._settings.max_iter
            warmth = 1.0
            if progress < warm_up:
                warmth = _COOLEST + (1 - _COOLEST) * progress / warm_up
            if not descent.step(loss(generator, warmth, progress), cosine(progress)):
                warn_not_finite(
                    "Training ends with the average of the states so far. Lower "
                    "learning_rate_init, or see that log_prob and its gradient are finite."
                )
                break
        module.load_state_dict(descent.average.state_dict())

    def _joint_loss(self, generator: torch.Generator, warmth: float, progress: float) -> Tensor:
        """Minus the bound of the mixture, each component with its share of the draws."""
        log_p, log_probs = self._strata(self._noise(self._settings.batch_size, generator))
        return -mixture_bound(warmth * log_p, log_probs, self.weights.to(log_p)).mean()

    def _round_loss(self, rho: float) -> Callable:
        """Minus what a later round maximises."""
        *earlier, component = self.components
        weights = self.weights[:-1] / self.weights[:-1].sum()
        objective = BOUNDS[self._settings.objective]

        def draws(z: Tensor, warmth: float) -> Draws:
            log_probs = torch.stack([g().log_prob(z) for g in earlier], dim=-1)
            log_G = mixture_log_prob(log_probs, weights.log().to(z))
            return Draws(warmth * self._log_prob(z), component().log_prob(z), log_G)

        def loss(generator: torch.Generator, warmth: float, progress: float) -> Tensor:
            n_draws = self._settings.batch_size // 2
            noise = self._noise(n_draws, generator)
            origin = torch.multinomial(weights.cpu(), n_draws, True, generator=generator)
            with torch.no_grad():
                old = torch.cat([
                    earlier[k]().transform.inv(self._noise(int((origin == k).sum()), generator))
                    for k in origin.unique().tolist()
                ])  # fmt: skip
            new = component().transform.inv(noise)
            entropy_weight = self._settings.entropy_weight
            pair = draws(new, warmth), draws(old, warmth)
            return -objective(*pair, rho, entropy_weight, progress)

        return loss

    def _strata(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What :func:`skgbnf.elbo.mixture_bound` needs, from draws of every component."""
        distributions = [component() for component in self.components]
        z = torch.stack([g.transform.inv(noise) for g in distributions])
        log_p = self._log_prob(z.flatten(0, 1)).reshape(z.shape[:2])
        return log_p, torch.stack([g.log_prob(z) for g in distributions], dim=-1)

    @torch.no_grad()
    def _why_not_finite(self) -> str:
        """What a user is told of a bound that is not finite."""
        _, log_probs = self._strata(self._judge_noise)
        if not torch.isfinite(log_probs).all():
            return "Training diverged; lower learning_rate_init."
        return (
            "log_prob is not finite at rows that the first component draws; it must be finite "
            "everywhere: let it fall steeply where the density is to be zero."
        )

    @torch.no_grad()
    def _judge(self) -> float:
        """Fit the weights; return the bound and remember its standard error."""
        log_p, log_probs = self._strata(self._judge_noise)
        log_p, log_probs = log_p.double(), log_probs.double()
        self.weights = fit_weights(log_p, log_probs, self.weights)
        values = mixture_bound(log_p, log_probs, self.weights)
        self.error = float(values.std() / len(values) ** 0.5)
        return float(values.mean())

    def _noise(self, n_draws: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(
            n_draws,
            self._architecture.n_features,
            generator=generator,
            dtype=torch.float32,
            device="cpu",
        )
        return noise.to(self._device)
