"""A product of powers of components that grows by rounds: its objective, its powers.

References
----------
Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
https://arxiv.org/abs/2002.11896
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed
from skgbnf.boosting.base import Stage
from skgbnf.boosting.candidates import CandidatePlan
from skgbnf.boosting.likelihood import LikelihoodBoosting
from skgbnf.boosting.objectives import WEIGHT_CLIP, MaximumLikelihood
from skgbnf.boosting.powers import N_DRAWS, ComponentDraws, finite, fit_powers
from skgbnf.flows import Architecture, FittedByEM
from skgbnf.training.fitted import FittedProduct
from skgbnf.training.mixture import component_log_prob
from skgbnf.training.objective import Index, Objective, TrainingSettings
from skgbnf.training.product import Product, check_no_context, log_normalizer
from skgbnf.training.rows import Rows

_MOST_TRAINING_DRAWS = 20_000


@dataclass(frozen=True)
class ProductStage(Stage):
    """The product after one round.

    Attributes
    ----------
    log_normalizer, log_normalizer_error : float
        Logarithm of what the product of powers integrates to, and its standard error.
    """

    log_normalizer: float
    log_normalizer_error: float


class GeometricGreedy:
    r"""The likelihood of the product as a function of the new component.

    Maximises ``mean(rho log g + (1 - rho) log G) - log Z``, where ``Z`` is the mean of
    ``(g / G) ** rho`` over samples that are drawn from the product ``G`` so far. These join the
    training samples with negative weights: the component is to be high at the data and low where
    ``G`` puts mass that it should not.

    Parameters
    ----------
    train, validation : Rows

    drawn_train, drawn_validation : Tensors of shape (n_drawn, n_features)
        Samples drawn from ``G``.

    log_G : callable
        Log-density of the product so far.

    rho : float
        Weight of the component to begin with.
    """

    weights_stay = False

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        drawn_train: Tensor,
        drawn_validation: Tensor,
        log_G: Callable[[Tensor], Tensor],
        rho: float,
    ) -> None:
        self._rho, self._smallest = rho, min(rho, 1 - rho)
        self._log_Z = 0.0
        self._validation = validation
        self.train_rows = train.joined(drawn_train)
        self.validation_rows = validation.joined(drawn_validation)
        self._drawn = torch.arange(len(self.train_rows), device=train.x.device) >= len(train)
        self._log_G_train = log_G(self.train_rows.x)
        self._log_G_validation = log_G(self.validation_rows.x)

    def row_weights(self, log_g: Tensor, index: Index, progress: float) -> Tensor:
        log_share = self._rho * (log_g - self._log_G_train[index]) - self._log_Z
        share = -log_share.clamp(max=math.log(WEIGHT_CLIP)).exp()
        return self.train_rows.weights[index] * torch.where(self._drawn[index], share, 1.0)

    def score(self, log_g: Tensor) -> float:
        n_rows = len(self._validation)
        difference = log_g - self._log_G_validation
        at_rows, at_drawn = self._validation.mean(difference[:n_rows]), difference[n_rows:]

        def log_Z(rho: float) -> float:
            return float(torch.logsumexp(rho * at_drawn, dim=0)) - math.log(len(at_drawn))

        bounds = self._smallest / 2, 1 - self._smallest / 2
        best = minimize_scalar(
            lambda rho: log_Z(rho) - rho * at_rows, bounds=bounds, method="bounded"
        )
        self._rho, self._log_Z = float(best.x), log_Z(best.x)
        return self._validation.mean(self._log_G_validation[:n_rows]) - float(best.fun)


class GeometricBoosting(LikelihoodBoosting):
    """A product of powers of components that grows by rounds; it has no context.

    Beside the log-densities of all samples it keeps, of each component, two sets of samples drawn
    from it: one to fit the powers, the other to estimate the normaliser, which is thus independent
    of the choice of the powers.
    """

    stages: list[ProductStage]

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        plan: CandidatePlan,
        settings: TrainingSettings,
        seed: int,
    ) -> None:
        check_no_context(train.context)
        super().__init__(train, validation, plan, settings, seed)
        self._for_weights = ComponentDraws(derive_seed(seed, 3))
        self._for_normalizer = ComponentDraws(derive_seed(seed, 4))
        self._drawn: tuple[LazyDistribution, list[Tensor]] | None = None

    def new_objective(self, architecture: Architecture, component: LazyDistribution) -> Objective:
        """EM cannot use negative weights: what it fits is trained for its own likelihood."""
        if isinstance(component, FittedByEM):
            return MaximumLikelihood(self.train, self.validation)
        return self.joint_objective()

    def joint_objective(self) -> Objective:
        if not self.components:
            return MaximumLikelihood(self.train, self.validation)
        drawn_train, drawn_validation = self._drawn_rows()
        return GeometricGreedy(
            train=self.train,
            validation=self.validation,
            drawn_train=drawn_train,
            drawn_validation=drawn_validation,
            log_G=self._product().log_prob,
            rho=1 / (len(self.components) + 1),
        )

    def rows_to_score(self) -> int:
        """Those that it draws and that others drew, and those that other networks then score."""
        n_networks = sum(not isinstance(component, FittedByEM) for component in self.components)
        n_times = 8 + 2 * len(self.components) + 3 * n_networks
        return len(self.train) + 4 * len(self.validation) + n_times * N_DRAWS

    def _drawn_rows(self) -> list[Tensor]:
        """Samples of the product so far, for training and for validation, fixed for a round."""
        newest = self.components[-1]
        if self._drawn is None or self._drawn[0] is not newest:
            product = self._product()
            sizes = min(len(self.train), _MOST_TRAINING_DRAWS), N_DRAWS
            drawn = [
                finite(product.sample(n, derive_seed(self._seed, 5, len(self.components), i)))
                for i, n in enumerate(sizes)
            ]
            self._drawn = newest, drawn
        return self._drawn[1]

    def _gain(self, component: LazyDistribution) -> float:
        """The directional derivative of the likelihood at weight zero, which no weight exceeds."""
        product = self._product()
        drawn = finite(product.sample(N_DRAWS, derive_seed(self._seed, 6)))
        rows = self.validation
        at_rows = component_log_prob(component, rows.x) - self._log_density(rows)
        at_drawn = component_log_prob(component, drawn) - product.log_prob(drawn)
        return rows.mean(at_rows) - float(at_drawn.mean())

    def _log_density(self, rows: Rows) -> Tensor:
        return self._log_probs[rows] @ self.stages[-1].weights - self.stages[-1].log_normalizer

    def _product(self) -> Product:
        stage = self.stages[-1]
        log_normalizer = self.train.x.new_tensor([stage.log_normalizer])
        return Product(self.components, stage.weights, log_normalizer)

    def _stage(self, log_probs: dict[Rows, Tensor], start: Tensor) -> ProductStage:
        """The product of components, with powers fitted to the validation set."""
        components = self.components[: len(start)]
        weights = self.validation.weights / self.validation.weights.sum()
        means = weights @ log_probs[self.validation]
        powers = fit_powers(means, self._for_weights.log_probs(components))
        log_Z, error = log_normalizer(self._for_normalizer.log_probs(components), powers)
        train, validation = (
            rows.mean(log_probs[rows] @ powers) - log_Z for rows in (self.train, self.validation)
        )
        return ProductStage(powers, train, validation, log_Z, error)

    def fine_tune(self, number: int, seconds: float) -> None:
        """Raise ValueError: a product cannot be fine-tuned."""
        raise ValueError("a product of components cannot be fine-tuned")

    def fitted(self) -> FittedProduct:
        log_normalizers = np.array([stage.log_normalizer for stage in self.stages])
        return FittedProduct(
            self._fitted_components(),
            self._staged_weights(),
            log_normalizers,
            self.stages[-1].log_normalizer_error,
        )
