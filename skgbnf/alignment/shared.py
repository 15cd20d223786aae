"""The density that all domains share once they are mapped: a boosted mixture."""

import math

import numpy as np
import torch
from torch import Tensor

from skgbnf._random import own_generator
from skgbnf.boosting.additive import AdditiveBoosting
from skgbnf.boosting.base import Limits
from skgbnf.boosting.candidates import CandidatePlan
from skgbnf.boosting.objectives import corrective_weights
from skgbnf.boosting.rounds import run_rounds
from skgbnf.flows import Architecture
from skgbnf.table.split import split_rows
from skgbnf.training.fitted import FittedComponent, FittedMixture
from skgbnf.training.mixture import Mixture, any_tensor
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.progress import make_progress
from skgbnf.training.rows import Rows

_FAMILY = "affine"
_VALIDATION_FRACTION = 0.1
_TOL = 1e-4
_N_ITER_NO_CHANGE = 2
_CPU = torch.device("cpu")


def boosted(z: np.ndarray, n_estimators: int, seed: int) -> FittedMixture:
    """A mixture of Gaussians that is boosted on samples.

    Parameters
    ----------
    z : ndarray of shape (n_samples, n_features)
        Standardised samples.

    n_estimators : int
        Largest number of rounds, each of which adds a Gaussian.

    seed : int
    """
    x = torch.from_numpy(np.ascontiguousarray(z))
    parts = split_rows(len(x), _VALIDATION_FRACTION, seed)
    train, validation = (Rows(x[torch.from_numpy(part)], x.new_ones(len(part))) for part in parts)
    if not len(validation):
        validation = train
    plan = CandidatePlan(
        first=(),
        later=(_FAMILY,),
        until_network=(),
        sparse=None,
        n_estimators=n_estimators,
        n_samples=len(train),
        template=Architecture(_FAMILY, x.shape[1]),
        n_transforms=None,
        activation=None,
    )
    settings = TrainingSettings(max_iter=1000, batch_size=len(train), learning_rate=1e-3)
    boosting = AdditiveBoosting(train, validation, plan, settings, seed, "greedy")
    limits = Limits(n_estimators, _N_ITER_NO_CHANGE, _TOL)
    interrupt = run_rounds(boosting, limits, make_progress(0, n_estimators), lambda: None)
    if interrupt is not None:
        raise interrupt
    return boosting.fitted()


def standard_normal(n_features: int) -> FittedMixture:
    """The standard normal distribution, as a mixture of one component."""
    architecture = Architecture(_FAMILY, n_features)
    with own_generator(0):
        component = FittedComponent.from_module(architecture, architecture.build())
    return FittedMixture((component,), np.ones((1, 1)))


def on_cpu(mixture: FittedMixture) -> Mixture:
    """The mixture as modules in double precision."""
    return mixture.at(torch.float64, _CPU)


class SharedDensity:
    """A mixture of Gaussians as one function with a gradient, and its mean and covariance.

    Parameters
    ----------
    mixture : Mixture
        Its components map samples to the standard normal by one linear layer.
    """

    def __init__(self, mixture: Mixture) -> None:
        self.weights = mixture.weights[-1]
        n_features = any_tensor(mixture.components[0]).shape[-1]
        identity = torch.eye(n_features, dtype=torch.float64)
        points = torch.cat([torch.zeros_like(identity[:1]), identity])
        with torch.no_grad():
            images = torch.stack([c(None).transform(points) for c in mixture.components])
        self._offsets = images[:, 0]
        self._matrices = images[:, 1:] - images[:, :1]

    def component_log_prob(self, y: Tensor) -> Tensor:
        """Log-density of samples under each component, shape (n_samples, n_components)."""
        n_components, n_features = self._offsets.shape
        wide = self._matrices.transpose(0, 1).flatten(1)
        z = torch.addmm(self._offsets.flatten(), y, wide).unflatten(1, (n_components, n_features))
        log_det = torch.linalg.slogdet(self._matrices).logabsdet
        return log_det - (z.square().sum(-1) + n_features * math.log(2 * math.pi)) / 2

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance."""
        inverses = torch.linalg.inv(self._matrices)
        means = -(self._offsets.unsqueeze(1) @ inverses).squeeze(1)
        mean = self.weights @ means
        apart = means - mean
        within = torch.einsum("k,kji,kjl->il", self.weights, inverses, inverses)
        return mean, within + (apart.T * self.weights) @ apart


def shrunk_weights(mixture: Mixture, y: Tensor) -> Tensor:
    """Weights of the components for the samples of one domain.

    They are those of highest likelihood, after as many samples as there are components have been
    drawn from the mixture as it is.
    """
    common = mixture.weights[-1]
    n_samples, n_components = len(y), len(common)
    if n_components == 1:
        return common
    log_probs = mixture.component_log_prob(y)
    own = corrective_weights(log_probs, y.new_ones(n_samples), common)
    return (n_samples * own + n_components * common) / (n_samples + n_components)
