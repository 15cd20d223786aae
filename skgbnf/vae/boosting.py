"""The rounds of an autoencoder: all together at first, then a component at a time."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed, own_generator
from skgbnf.flows import Architecture
from skgbnf.training.mixture import mixture_log_prob
from skgbnf.training.objective import TrainingSettings
from skgbnf.vae.model import Images, LatentModel
from skgbnf.variational.boosting import (
    VALIDATION_KEY,
    Annealing,
    Loss,
    VariationalBoosting,
    standard_normal,
)
from skgbnf.variational.elbo import Draws

_WARM_UP = 0.1
_COPY_NOISE = 0.1
_DRAWS_PER_IMAGE = 2
_ROWS_PER_CHUNK = 1000
_TRAIN_KEY = 3


class PosteriorBoosting(VariationalBoosting):
    """An autoencoder whose posterior grows by rounds.

    The weight of the divergence from the prior rises to 1 in the first tenth of a round. A new
    component is a noisy copy of the heaviest one, so that the decoder knows it.

    Parameters
    ----------
    model : LatentModel
        Without components.

    train, validation : Images
        Training images and validation set (the same object if there is none), float32.

    architecture, settings, objective, entropy_weight, seed
        As for :class:`~skgbnf.variational.boosting.VariationalBoosting`.
    """

    first = Annealing(0.0, _WARM_UP)
    later = Annealing(0.5, _WARM_UP, rate=0.5)
    last = Annealing(1.0, rate=0.5)
    advice = "Lower learning_rate_init."

    module: LatentModel

    def __init__(
        self,
        model: LatentModel,
        train: Images,
        validation: Images,
        architecture: Architecture,
        settings: TrainingSettings,
        objective: str,
        entropy_weight: float,
        seed: int,
    ) -> None:
        device = train.inputs.device
        super().__init__(model, architecture, settings, objective, entropy_weight, seed, device)
        self.train, self.validation = train, validation
        self.n_batches = -(-len(train) // settings.batch_size)
        self._fixed_noise = {
            images: self._noise(_generator(seed, key), _DRAWS_PER_IMAGE, len(images))
            for images, key in ((train, _TRAIN_KEY), (validation, VALIDATION_KEY))
        }

    @property
    def has_validation(self) -> bool:
        return self.validation is not self.train

    @property
    def log_dets(self) -> tuple[float, float]:
        log_det = self.module.likelihood.log_det
        return log_det, log_det

    def describe(self) -> str:
        n_samples, n_pixels = self.train.inputs.shape
        text = f"{n_samples:,} images of {n_pixels:,} pixels"
        n_validation = len(self.validation) if self.has_validation else 0
        return text + (f", {n_validation:,} for validation" if n_validation else "")

    def batches(self, generator: torch.Generator) -> Iterable[Tensor]:
        order = torch.randperm(len(self.train), generator=generator, device="cpu")
        parts = order.tensor_split(self.n_batches)
        return (index.to(self._device) for index in parts)

    def draws(self, module: Any, *, validation: bool) -> tuple[Tensor, Tensor]:
        images = self.validation if validation else self.train
        noise = self._fixed_noise[images]
        index = torch.arange(len(images), device=self._device)
        chunks = [
            module.strata(images[rows], noise[:, rows]) for rows in index.split(_ROWS_PER_CHUNK)
        ]
        log_p, log_probs = (torch.cat(part, dim=2).double() for part in zip(*chunks, strict=True))
        return log_p, log_probs

    def _let_learn(self, n_rounds: int) -> None:
        self.module.requires_grad_(n_rounds == 0)
        self.module.decoder.requires_grad_(True)

    def _new_component(self, seed: int) -> LazyDistribution:
        with own_generator(seed):
            if not self.stages:
                return self._architecture.build().to(self._device)
            component = copy.deepcopy(self.components[int(self.weights.argmax())])
            component.requires_grad_(True)
            with torch.no_grad():
                for parameter in component.parameters():
                    size = _COPY_NOISE * parameter.abs().mean()
                    parameter.add_(size * torch.randn_like(parameter))
        return component

    def _weights_to_tune(self) -> Tensor:
        # Alike, so that components which a later decoder left behind catch up.
        return torch.full_like(self.weights, 1 / len(self.weights))

    def _tuning_key(self, number: int) -> int:
        return sum(self.n_iter)

    def _joint_loss(
        self, batch: Tensor, progress: float, factor: float, generator: torch.Generator
    ) -> Tensor:
        """A component is drawn for each image."""
        images = self.train[batch]
        context = self.module.encoder(images.inputs)
        z, rows = self._mixture_draws(context, self.weights, generator)
        log_q = self.module.posterior_log_prob(z, context[rows], self.weights.to(z))
        log_p = self.module.log_joint(z, images.targets[rows], factor)
        return (factor * log_q - log_p).mean() / images.inputs.shape[1]

    def _round_loss(self) -> Loss:
        """Half of the images of a batch have draws from the new component, half from the others.

        Only the new component and the decoder learn.
        """
        component = self.components[-1]
        with torch.no_grad():
            contexts = self.module.encoder(self.train.inputs)
        rho = float(self.weights[-1])
        weights = self.weights[:-1] / self.weights[:-1].sum()

        def loss(
            batch: Tensor, progress: float, factor: float, generator: torch.Generator
        ) -> Tensor:
            n_old = len(batch) // 2
            with torch.no_grad():
                old, rows = self._mixture_draws(contexts[batch[:n_old]], weights, generator)
            index = torch.cat([batch[:n_old][rows], batch[n_old:]])
            noise = self._noise(generator, len(index) - n_old)
            new = component(contexts[index[n_old:]]).transform.inv(noise)
            z = torch.cat([old, new])
            log_p = self.module.log_joint(z, self.train.targets[index], factor)
            log_probs = self.module.component_log_prob(z, contexts[index])
            log_G = mixture_log_prob(log_probs[:, :-1], weights.log().to(z))
            everything = log_p, log_probs[:, -1], log_G
            draws_old = Draws(*(values[:n_old] for values in everything))
            draws_new = Draws(*(values[n_old:] for values in everything))
            value = self._objective(
                draws_new, draws_old, rho, self._entropy_weight, progress, factor
            )
            return -value / self.train.inputs.shape[1]

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
            component = self.components[k](context[rows[-1]])
            drawn.append(component.transform.inv(noise[rows[-1]]))
        return torch.cat(drawn), torch.cat(rows)

    def _noise(self, generator: torch.Generator, *shape: int) -> Tensor:
        return standard_normal(generator, (*shape, self._architecture.n_features), self._device)


def _generator(seed: int, key: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, key))
