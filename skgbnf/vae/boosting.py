"""Training: the first round and fine-tuning all together, later rounds a component at a time."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed, own_generator
from skgbnf.elbo import BOUNDS, Draws, fit_weights, mixture_bound
from skgbnf.flows import Architecture
from skgbnf.mixture import mixture_log_prob
from skgbnf.training import Descent, cosine, warn_not_finite
from skgbnf.vae.model import Images, LatentModel

_WARM_UP = 0.1
_LATER_START = 0.5
_LATER_RATE = 0.5
_COPY_NOISE = 0.1
_JUDGE_DRAWS = 2
_ROWS_PER_CHUNK = 1000
_JUDGE_KEY, _ROUND_KEY, _FINE_TUNE_KEY = 0, 1, 2


@dataclass(frozen=True)
class Settings:
    """How a model is trained.

    Attributes
    ----------
    max_iter : int
        Epochs of a round.

    batch_size : int

    learning_rate : float

    n_iter_no_change : int
        Epochs without gain after which a round ends.

    objective : {"greedy", "gradient"}

    entropy_weight : float
    """

    max_iter: int
    batch_size: int
    learning_rate: float
    n_iter_no_change: int
    objective: str
    entropy_weight: float


class PosteriorBoosting:
    """A model whose posterior grows by rounds.

    Parameters
    ----------
    model : LatentModel
        Without components.

    architecture : Architecture
        Of the components.

    train, judge : Images
        Images to learn from and images to judge by (the same if none were held out), float32.

    settings : Settings

    seed : int
        A round draws from a seed derived from this one and its number.

    Attributes
    ----------
    weights : Tensor of shape (n_components,)
        float64.

    scores : list of float
        Mean bound of the judging images after each round, in nats of the likelihood's units.

    n_iter : list of int
        Epochs of each round.
    """

    def __init__(
        self,
        model: LatentModel,
        architecture: Architecture,
        train: Images,
        judge: Images,
        settings: Settings,
        seed: int,
    ) -> None:
        self.model, self.train, self.judge = model, train, judge
        self.weights = torch.ones(0, dtype=torch.float64, device=train.inputs.device)
        self.scores: list[float] = []
        self.n_iter: list[int] = []
        self.architecture, self._settings, self._seed = architecture, settings, seed
        generator = torch.Generator().manual_seed(derive_seed(seed, _JUDGE_KEY))
        self._judge_noise = self._noise(generator, _JUDGE_DRAWS, len(judge))

    def add_round(self) -> bool:
        """Train one more component; return whether the judging images gained by it."""
        n_rounds = len(self.model.components)
        seed = derive_seed(self._seed, _ROUND_KEY, n_rounds)
        before = copy.deepcopy(self.model.state_dict()), self.weights
        self.model.requires_grad_(n_rounds == 0)
        self.model.decoder.requires_grad_(True)
        self.model.components.append(self._new_component(seed))
        rho = 1 / (n_rounds + 1)
        self.weights = torch.cat([(1 - rho) * self.weights, self.weights.new_tensor([rho])])
        loss = self._round_loss() if n_rounds else self._joint_loss
        n_iter, score = self._train(loss, seed, start=_LATER_START if n_rounds else 0.0)
        if n_rounds and not score > self.scores[-1]:
            del self.model.components[-1]
            self.model.load_state_dict(before[0])
            self.weights = before[1]
            return False
        self.scores.append(score)
        self.n_iter.append(n_iter)
        return True

    def fine_tune(self) -> None:
        """Train everything at once on the bound of the mixture."""
        self.model.requires_grad_(True)
        # Alike, so that components which a later decoder left behind catch up.
        self.weights = torch.full_like(self.weights, 1 / len(self.weights))
        seed = derive_seed(self._seed, _FINE_TUNE_KEY, sum(self.n_iter))
        n_iter, score = self._train(self._joint_loss, seed, start=1.0)
        self.n_iter[-1] += n_iter
        self.scores[-1] = score

    def _new_component(self, seed: int) -> LazyDistribution:
        """A fresh component, or a noisy copy of the heaviest, so that the decoder knows it."""
        device = self.train.inputs.device
        with own_generator(seed):
            if not len(self.weights):
                return self.architecture.build().to(device)
            component = copy.deepcopy(self.model.components[int(self.weights.argmax())])
            component.requires_grad_(True)
            with torch.no_grad():
                for parameter in component.parameters():
                    size = _COPY_NOISE * parameter.abs().mean()
                    parameter.add_(size * torch.randn_like(parameter))
        return component

    def _train(self, loss: Callable, seed: int, start: float) -> tuple[int, float]:
        """Minimise a loss of batches; leave model and weights in their best state.

        The weight of the divergence rises from `start` to 1 over the first tenth of the epochs.
        A model that has been trained before goes on at half the rate.

        Returns
        -------
        n_iter : int
            Epochs.

        score : float
            Mean bound of the judging images.
        """
        settings, n_samples = self._settings, len(self.train)
        generator = torch.Generator().manual_seed(derive_seed(seed, 1))
        rate = settings.learning_rate * (_LATER_RATE if self.scores else 1.0)
        descent = Descent(self.model, rate)
        n_batches = math.ceil(n_samples / settings.batch_size)
        score, weights = self._judged(descent.average)
        best, n_stale = (score, weights, copy.deepcopy(self.model.state_dict())), 0
        for n_iter in range(1, settings.max_iter + 1):
            order = torch.randperm(n_samples, generator=generator, device="cpu")
            for i, index in enumerate(order.tensor_split(n_batches)):
                progress = (n_iter - 1 + i / n_batches) / settings.max_iter
                kl_weight = min(1.0, start + (1 - start) * progress / _WARM_UP)
                value = loss(index.to(self.train.inputs.device), progress, kl_weight, generator)
                healthy = descent.step(value / self.train.inputs.shape[1], cosine(progress))
                if not healthy:
                    warn_not_finite(
                        "The round ends in its best state so far. Lower learning_rate_init."
                    )
                    break
            score, weights = self._judged(descent.average)
            n_stale += 1
            if score > best[0]:
                best, n_stale = (score, weights, copy.deepcopy(descent.average.state_dict())), 0
            if n_stale >= settings.n_iter_no_change or not healthy:
                break
        score, self.weights, state = best
        self.model.load_state_dict(state)
        return n_iter, score

    def _joint_loss(
        self, index: Tensor, progress: float, kl_weight: float, generator: torch.Generator
    ) -> Tensor:
        """Minus the bound of the mixture, a component drawn for each image."""
        images = self.train[index]
        context = self.model.encoder(images.inputs)
        z, rows = self._mixture_draws(context, self.weights, generator)
        weights = self.weights.to(z)
        log_q = self.model.posterior_log_prob(z, context[rows], weights)
        log_p = self.model.log_joint(z, images.targets[rows], kl_weight)
        return (kl_weight * log_q - log_p).mean()

    def _round_loss(self) -> Callable:
        """Minus what a later round maximises; only the new component and the decoder learn.

        Half of the images of a batch have draws from the new component, half from the mixture.
        """
        component = self.model.components[-1]
        with torch.no_grad():
            contexts = self.model.encoder(self.train.inputs)
        rho = float(self.weights[-1])
        weights = self.weights[:-1] / self.weights[:-1].sum()
        objective = BOUNDS[self._settings.objective]

        def loss(index, progress, kl_weight, generator) -> Tensor:
            n_old = len(index) // 2
            with torch.no_grad():
                old, rows = self._mixture_draws(contexts[index[:n_old]], weights, generator)
            index = torch.cat([index[:n_old][rows], index[n_old:]])
            noise = self._noise(generator, len(index) - n_old)
            new = component(contexts[index[n_old:]]).transform.inv(noise)
            z = torch.cat([old, new])
            log_p = self.model.log_joint(z, self.train.targets[index], kl_weight)
            log_probs = self.model.component_log_prob(z, contexts[index])
            log_G = mixture_log_prob(log_probs[:, :-1], weights.log().to(z))
            everything = log_p, log_probs[:, -1], log_G
            entropy_weight = self._settings.entropy_weight
            draws_old = Draws(*(values[:n_old] for values in everything))
            draws_new = Draws(*(values[n_old:] for values in everything))
            return -objective(draws_new, draws_old, rho, entropy_weight, progress, kl_weight)

        return loss

    def _mixture_draws(
        self, context: Tensor, weights: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """A draw from the mixture for each context, and the row that each is for."""
        origin = torch.multinomial(weights.cpu(), len(context), True, generator=generator)
        noise = self._noise(generator, len(context))
        drawn, rows = [], []
        for k in origin.unique().tolist():
            rows.append(torch.nonzero(origin == k).flatten().to(context.device))
            component = self.model.components[k](context[rows[-1]])
            drawn.append(component.transform.inv(noise[rows[-1]]))
        return torch.cat(drawn), torch.cat(rows)

    @torch.no_grad()
    def _judged(self, model: LatentModel) -> tuple[float, Tensor]:
        """Mean bound of the judging images, and the weights fitted to them."""
        index = torch.arange(len(self.judge), device=self.judge.inputs.device)
        chunks = [
            model.strata(self.judge[rows], self._judge_noise[:, rows])
            for rows in index.split(_ROWS_PER_CHUNK)
        ]
        log_p, log_probs = (torch.cat(part, dim=2).double() for part in zip(*chunks, strict=True))
        weights = fit_weights(log_p, log_probs, self.weights)
        return float(mixture_bound(log_p, log_probs, weights).mean()), weights

    def _noise(self, generator: torch.Generator, *shape: int) -> Tensor:
        """Standard normal numbers of shape (*shape, n_latent)."""
        noise = torch.randn(
            *shape,
            self.architecture.n_features,
            generator=generator,
            dtype=torch.float32,
            device="cpu",
        )
        return noise.to(self.train.inputs.device)
