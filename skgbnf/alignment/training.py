r"""The map of one domain, trained towards a density that stays as it is.

With the map :math:`T` of a domain and the shared density
:math:`g = \sum_k w_k g_k`, the map minimises

.. math:: -E[\log \sum_k w_k \, g_k(T(x)) + \log |\det T'(x)|]
    - \lambda \, E[\log \varphi(T(x)) + \log |\det T'(x)|] + \tau \, E|T(x) - x|^2

over map and weights, the latter being the domain's own: classes that are frequent in one domain and
rare in another are no reason to move samples. The first term is, up to a constant, the
alignment upper bound for a shared density that is given.

References
----------
AlignFlow: Cycle Consistent Learning from Multiple Domains via Normalizing Flows. A. Grover,
C. Chute, R. Shu, Z. Cao, S. Ermon, 2020. https://arxiv.org/abs/1905.12892

Cooperative Distribution Alignment via JSD Upper Bound. W. Cho, Z. Gong, D. I. Inouye, 2022.
https://arxiv.org/abs/2207.02286
"""

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from skgbnf._random import derive_seed, own_generator
from skgbnf.alignment.maps import (
    DomainMap,
    MapArchitecture,
    in_double,
    match_moments,
    number_of_parameters,
)
from skgbnf.alignment.shared import SharedDensity
from skgbnf.flows.actnorm import ActNorm
from skgbnf.flows.linear import ExactLinear
from skgbnf.training.descent import descend
from skgbnf.training.mixture import mixture_log_prob
from skgbnf.training.objective import TrainingSettings

_RATE_OF_WEIGHTS = 5.0
_CLEAR = 1.0
_FEWEST_BATCHES = 4
_ADVICE = "Lower learning_rate_init, or raise noise."


@dataclass(frozen=True)
class MapSettings:
    """What maps are made of, and what they are trained for.

    Attributes
    ----------
    layers : tuple of str
        Layers that a map may have, in their order.

    lambda_mle : float
        Weight of the likelihood of images under the standard normal.

    transport_penalty : float
        Weight of the squared distance by which layers move samples.

    training : TrainingSettings
    """

    layers: tuple[str, ...]
    lambda_mle: float
    transport_penalty: float
    training: TrainingSettings


@dataclass(frozen=True, eq=False)
class TrainedMap:
    """A map in one of its sizes.

    Attributes
    ----------
    architecture : MapArchitecture

    module : MapWithWeights

    values : Tensor of shape (n_held_out,)
        The objective without penalties for each held-out sample, in nats.
    """

    architecture: MapArchitecture
    module: "MapWithWeights"
    values: Tensor

    @property
    def score(self) -> float:
        """Mean of the values."""
        return float(self.values.mean())

    def gains_on(self, other: "TrainedMap", n_parameters: int, n_samples: int) -> bool:
        """Whether it is clearly better than a map that has so many parameters less."""
        gains = self.values - other.values
        error = float(gains.std(correction=0) / math.sqrt(len(gains)))
        price = n_parameters * math.log(n_samples) / (2 * n_samples)
        return float(gains.mean()) > max(price, _CLEAR * error)


def train_map(
    x: Tensor, held_out: Tensor, shared: SharedDensity, settings: MapSettings, seed: int
) -> TrainedMap:
    """Grow the map of one domain, layer by layer, while held-out samples gain from it.

    A layer is kept if they gain more than one standard error of the gain, and more than its
    parameters cost by the Bayesian information criterion, ``n_parameters * log(n_samples) /
    (2 * n_samples)`` nats. A shared density that is not exactly right rewards some movements that
    are wrong; these gain less than that.

    Parameters
    ----------
    x, held_out : Tensors of shape (n_samples, n_features)
        Standardised samples.

    shared : SharedDensity

    settings : MapSettings

    seed : int
    """
    bare = MapWithWeights(DomainMap([]), shared)
    target = _Target(bare, x, held_out, shared, settings)
    best = _trained(MapArchitecture(x.shape[1]), [bare], target, settings, seed)
    n_samples = len(x) + len(held_out)
    for number, name in enumerate(settings.layers):
        architecture = replace(best.architecture, layers=(*best.architecture.layers, name))
        with own_generator(derive_seed(seed, number)):
            added = in_double(MapArchitecture(x.shape[1], (name,)))
        starts = _starts(best.module, added, x, shared)
        larger = _trained(architecture, starts, target, settings, seed)
        if larger.gains_on(best, number_of_parameters(added), n_samples):
            best = larger
    common = _trained(
        best.architecture, [_with_common_weights(best, shared)], target, settings, seed
    )
    chosen = best if best.gains_on(common, len(shared.weights) - 1, n_samples) else common
    target = replace(target, x=torch.cat([x, held_out]))
    return _trained(chosen.architecture, [chosen.module], target, settings, seed)


class MapWithWeights(nn.Module):
    """A map, and the weights that the components of a mixture have in its domain.

    Parameters
    ----------
    domain_map : DomainMap

    shared : SharedDensity
        Its weights are where those of the domain begin.
    """

    map: DomainMap

    def __init__(self, domain_map: DomainMap, shared: SharedDensity) -> None:
        super().__init__()
        self.map = domain_map
        # Adam's steps have one size; weights may change faster than maps.
        self.logits = nn.Parameter(shared.weights.log() / _RATE_OF_WEIGHTS)

    @property
    def log_weights(self) -> Tensor:
        """Logarithms of the weights, of shape (n_components,)."""
        return (_RATE_OF_WEIGHTS * self.logits).log_softmax(-1)


def _starts(
    module: MapWithWeights, added: DomainMap, x: Tensor, shared: SharedDensity
) -> list[MapWithWeights]:
    """The map with more layers, from where it is, and from where moments are those of the density.

    The likelihood has local maxima, and each start finds some that the other does not.
    """
    grown = copy.deepcopy(module)
    grown.map = DomainMap([*grown.map.layers, *added.layers])
    starts = [grown]
    if len(added.layers) == 1 and isinstance(added.layers[0], ActNorm | ExactLinear):
        with torch.no_grad():
            before = module.map(x)[0]
        matched = copy.deepcopy(grown)
        match_moments(matched.map.layers[-1], before, *shared.moments())
        starts.append(matched)
    return starts


def _with_common_weights(trained: TrainedMap, shared: SharedDensity) -> MapWithWeights:
    """The map, with weights that are those of the density and stay so."""
    module = MapWithWeights(copy.deepcopy(trained.module.map), shared)
    module.logits.requires_grad_(False)
    return module


def _trained(
    architecture: MapArchitecture,
    starts: Sequence[MapWithWeights],
    target: "_Target",
    settings: MapSettings,
    seed: int,
) -> TrainedMap:
    """Train a map from each start, and return the best one."""
    trained = []
    for module in starts:
        own = replace(target, module=module)
        if any(parameter.requires_grad for parameter in module.parameters()):
            descend(own, settings.training, seed)
        trained.append(TrainedMap(architecture, module, own.judgement()))
    return max(trained, key=lambda one: one.score)


@dataclass(eq=False)
class _Target:
    """A map with its weights, as :class:`~skgbnf.training.descent.Target` has it."""

    module: Any
    x: Tensor
    held_out: Tensor
    shared: SharedDensity
    settings: MapSettings
    advice: str = _ADVICE

    def __post_init__(self) -> None:
        fewer = math.ceil(len(self.x) / _FEWEST_BATCHES)
        self._batch_size = min(self.settings.training.batch_size, fewer)
        self.n_batches = math.ceil(len(self.x) / self._batch_size)

    def batches(self, generator: torch.Generator) -> Iterable[Tensor]:
        order = torch.randperm(len(self.x), generator=generator)
        return (self.x[part] for part in order.split(self._batch_size))

    def loss(self, batch: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        values, move = self._values(self.module, batch)
        penalty = self.settings.transport_penalty * move.mean()
        # As many samples as there are components, drawn from the mixture as it is.
        common = self.shared.weights
        prior = (common * self.module.log_weights).sum() * len(common) / len(self.x)
        return penalty - values.mean() - prior

    def score(self, module: Any) -> None:
        """No score: held-out samples judge maps that are trained to their end, and no states.

        There are few of them, and the best state of many would be the one that suits these few.
        """

    @torch.no_grad()
    def judgement(self) -> Tensor:
        """What is maximised for each held-out sample, without penalties, in nats."""
        return self._values(self.module, self.held_out)[0]

    def _values(self, module: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is maximised, and how far samples are moved, of shape (n_samples,) each."""
        y, log_det, move = module.map(x)
        values = mixture_log_prob(self.shared.component_log_prob(y), module.log_weights) + log_det
        if self.settings.lambda_mle:
            normal = -(y.square() + math.log(2 * math.pi)).sum(-1) / 2
            values = values + self.settings.lambda_mle * (normal + log_det)
        return values, move
