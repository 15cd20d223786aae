r"""The geometric mixture: a product of powers of components, and its boosting.

.. math:: p(x) = \frac{1}{Z} \prod_k g_k(x)^{a_k}, \qquad a_k \ge 0, \quad \sum_k a_k = 1.

The inequality of the means bounds the product by the additive mixture of the same weights, which
can be sampled. Importance weights of its rows are thus at most 1: their mean estimates ``Z`` with
a small error, and accepting each row with its weight as the probability samples exactly.

References
----------
Gradient Boosted Normalizing Flows. R. Giaquinto, A. Banerjee, 2020.
https://arxiv.org/abs/2002.11896
"""

import math
from collections.abc import Callable, Sequence
from itertools import takewhile

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed
from skgbnf.boosting import Boosting, Stage
from skgbnf.flows import Architecture
from skgbnf.mixture import (
    Combination,
    FlowMixture,
    component_log_prob,
    mixture_log_prob,
    sample_component,
)
from skgbnf.objectives import WEIGHT_CLIP, MaximumLikelihood
from skgbnf.training import Objective, Rows, Settings, fits_by_em

_N_DRAWS = 10_000
_MOST_TRAINING_DRAWS = 20_000
_MOST_ROWS_AT_ONCE = 200_000
_LEAST_ACCEPTANCE = 0.01
_MOST_VAIN_DRAWS = 100
_MOST_HALVINGS = 100
_SMALLEST = 1e-300
_FARTHEST = 1e6

GEOMETRIC = "geometric"
"""The objective whose mixture is a product; it has a boosting of its own."""


class GeometricMixture(Combination):
    """Product of powers of normalised densities, over its integral.

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
        self._additive = FlowMixture(components, self.weights)

    @torch.no_grad()
    def sample(self, n_samples: int, seed: int) -> Tensor:
        """Draw rows by rejection from the additive mixture of the same weights."""
        generator = torch.Generator().manual_seed(derive_seed(seed, 2))
        accepted, n_left, i, n_vain = [], n_samples, 0, 0
        while n_left > 0:
            if n_vain == _MOST_VAIN_DRAWS:
                raise RuntimeError("Rejection accepts no row: the product of components vanishes.")
            n_drawn = math.ceil(1.1 * n_left * math.exp(-float(self.log_normalizers[-1])))
            n_drawn = min(max(n_drawn, 100), _MOST_ROWS_AT_ONCE)
            rows = self._additive.sample(n_drawn, derive_seed(seed, 3, i))
            log_ratio = _log_ratio(self.component_log_prob(rows), self.weights[-1])
            uniform = torch.rand(n_drawn, generator=generator, dtype=torch.float64, device="cpu")
            accepted.append(rows[uniform.to(log_ratio.device) < log_ratio.exp()])
            n_left, i = n_left - len(accepted[-1]), i + 1
            n_vain = 0 if len(accepted[-1]) else n_vain + 1
        return torch.cat(accepted)[:n_samples]

    def _combined(self, log_probs: Tensor, stage: int) -> Tensor:
        powers, log_Z = self.weights[stage], self.log_normalizers[stage]
        return log_probs @ powers.to(log_probs) - log_Z.to(log_probs)


class GeometricGreedy:
    r"""The likelihood of the geometric mixture as a function of the new component.

    Maximises ``mean(rho log g + (1 - rho) log G) - log Z``, where ``Z`` is the mean of
    ``(g / G) ** rho`` over rows that are drawn from the mixture ``G`` so far. These stand beside
    the rows to learn from, with negative weights: the component is to be high at the data and
    low where ``G`` puts rows that it should not.

    Parameters
    ----------
    train, judge : Rows

    drawn_train, drawn_judge : Tensors of shape (n_drawn, n_features)
        Rows drawn from ``G``.

    log_G : callable
        Log-density of the mixture so far.

    rho : float
        Weight of the component to begin with.
    """

    weights_stay = False

    def __init__(
        self,
        train: Rows,
        judge: Rows,
        drawn_train: Tensor,
        drawn_judge: Tensor,
        log_G: Callable[[Tensor], Tensor],
        rho: float,
    ) -> None:
        self._rho, self._smallest = rho, min(rho, 1 - rho)
        self._log_Z = 0.0
        self._judge = judge
        self.train_rows = _with_drawn(train, drawn_train)
        self.judge_rows = _with_drawn(judge, drawn_judge)
        self._drawn = torch.arange(len(self.train_rows.x), device=train.x.device) >= len(train.x)
        self._log_G_train = log_G(self.train_rows.x)
        self._log_G_judge = log_G(self.judge_rows.x)

    def row_weights(self, log_g: Tensor, index: Tensor | slice, progress: float) -> Tensor:
        log_share = self._rho * (log_g - self._log_G_train[index]) - self._log_Z
        share = -log_share.clamp(max=math.log(WEIGHT_CLIP)).exp()
        return self.train_rows.weights[index] * torch.where(self._drawn[index], share, 1.0)

    def judge(self, log_g: Tensor) -> float:
        n_rows = len(self._judge.x)
        difference = log_g - self._log_G_judge
        at_rows, at_drawn = self._judge.mean(difference[:n_rows]), difference[n_rows:]

        def log_Z(rho: float) -> float:
            return float(torch.logsumexp(rho * at_drawn, dim=0)) - math.log(len(at_drawn))

        bounds = self._smallest / 2, 1 - self._smallest / 2
        best = minimize_scalar(
            lambda rho: log_Z(rho) - rho * at_rows, bounds=bounds, method="bounded"
        )
        self._rho, self._log_Z = float(best.x), log_Z(best.x)
        return self._judge.mean(self._log_G_judge[:n_rows]) - float(best.fun)


class GeometricBoosting(Boosting):
    """A geometric mixture that grows by rounds.

    Beside the log-densities of all rows it keeps, of each component, two sets of rows drawn from
    it: by one the weights are fitted, by the other the normaliser is estimated, which thus owes
    nothing to the choice of the weights.
    """

    def __init__(self, train: Rows, judge: Rows, settings: Settings, seed: int) -> None:
        super().__init__(train, judge, settings, seed)
        self._for_weights = _Draws(derive_seed(seed, 3))
        self._for_normalizer = _Draws(derive_seed(seed, 4))
        self._drawn: tuple[LazyDistribution, list[Tensor]] | None = None

    def new_objective(self, architecture: Architecture, component: LazyDistribution) -> Objective:
        """EM knows no rows of negative weight: what it fits has its own likelihood."""
        if fits_by_em(component):
            return MaximumLikelihood(self.train, self.judge)
        return self.mixture_objective()

    def mixture_objective(self) -> Objective:
        if not self.components:
            return MaximumLikelihood(self.train, self.judge)
        drawn, rho = self._drawn_rows(), 1 / (len(self.components) + 1)
        return GeometricGreedy(self.train, self.judge, *drawn, self._mixture().log_prob, rho)

    def rows_to_score(self) -> int:
        """Those that it draws and that others drew, and those that other networks then score."""
        n_networks = sum(not fits_by_em(component) for component in self.components)
        n_times = 8 + 2 * len(self.components) + 3 * n_networks
        return len(self.train.x) + 4 * len(self.judge.x) + n_times * _N_DRAWS

    def _drawn_rows(self) -> list[Tensor]:
        """Rows of the mixture so far, to learn from and to judge by, the same for a whole round."""
        newest = self.components[-1]
        if self._drawn is None or self._drawn[0] is not newest:
            mixture = self._mixture()
            sizes = min(len(self.train.x), _MOST_TRAINING_DRAWS), _N_DRAWS
            drawn = [
                _bounded(mixture.sample(n, derive_seed(self._seed, 5, len(self.components), i)))
                for i, n in enumerate(sizes)
            ]
            self._drawn = newest, drawn
        return self._drawn[1]

    def _gain(self, component: LazyDistribution) -> float:
        """The slope of the likelihood at weight zero, which no weight exceeds on average."""
        mixture = self._mixture()
        drawn = _bounded(mixture.sample(_N_DRAWS, derive_seed(self._seed, 6)))
        at_rows = component_log_prob(component, self.judge.x) - self._log_density(self.judge)
        at_drawn = component_log_prob(component, drawn) - mixture.log_prob(drawn)
        return self.judge.mean(at_rows) - float(at_drawn.mean())

    def _log_density(self, rows: Rows) -> Tensor:
        return self._log_probs[rows] @ self.stages[-1].weights - self.stages[-1].log_normalizer

    def _mixture(self) -> GeometricMixture:
        stage = self.stages[-1]
        log_normalizer = self.train.x.new_tensor([stage.log_normalizer])
        return GeometricMixture(self.components, stage.weights, log_normalizer)

    def _stage(self, log_probs: dict[Rows, Tensor], start: Tensor) -> Stage:
        """The product of components, with powers fitted on the judging rows."""
        components = self.components[: len(start)]
        weights = self.judge.weights / self.judge.weights.sum()
        means = weights @ log_probs[self.judge]
        powers = fit_powers(means, self._for_weights.log_probs(components))
        log_Z, error = log_normalizer(self._for_normalizer.log_probs(components), powers)
        train, judge = (
            rows.mean(log_probs[rows] @ powers) - log_Z for rows in (self.train, self.judge)
        )
        return Stage(powers, train, judge, log_Z, error)


class _Draws:
    """Rows drawn from each component, with their log-densities under all."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._components: list[LazyDistribution] = []
        self._rows: list[Tensor] = []
        self._columns: list[list[Tensor]] = []

    def log_probs(self, components: Sequence[LazyDistribution]) -> Tensor:
        """Log-densities of shape (n_components, n_draws, n_components).

        What an earlier call found for the same first components is not computed again.
        """
        pairs = zip(self._components, components, strict=False)
        n_known = sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], pairs))
        if n_known < len(components):
            self._forget_after(n_known)
        for component in components[n_known:]:
            self._append(component)
        n = len(components)
        return torch.stack([torch.stack(columns[:n], dim=1) for columns in self._columns[:n]])

    def _forget_after(self, n: int) -> None:
        for kept in (self._components, self._rows, self._columns):
            del kept[n:]
        for columns in self._columns:
            del columns[n:]

    def _append(self, component: LazyDistribution) -> None:
        seed = derive_seed(self._seed, len(self._rows))
        rows = _bounded(sample_component(component, _N_DRAWS, seed))
        for columns, earlier in zip(self._columns, self._rows, strict=True):
            columns.append(component_log_prob(component, earlier))
        self._columns.append([component_log_prob(g, rows) for g in self._components])
        self._columns[-1].append(component_log_prob(component, rows))
        self._components.append(component)
        self._rows.append(rows)


def log_normalizer(log_probs: Tensor, powers: Tensor) -> tuple[float, float]:
    """Logarithm of the integral of a product of powers, and its standard error, by sampling.

    Parameters
    ----------
    log_probs : Tensor of shape (n_components, n_draws, n_components)
        Log-densities under all components of rows drawn from each.

    powers : Tensor of shape (n_components,)

    Returns
    -------
    value, error : float
        In nats.
    """
    ratios = _log_ratio(log_probs, powers).exp()
    Z = max(float(powers @ ratios.mean(dim=1)), _SMALLEST)
    variance = float(powers.square() @ ratios.var(dim=1)) / ratios.shape[1]
    return math.log(Z), math.sqrt(variance) / Z


def fit_powers(means: Tensor, log_probs: Tensor) -> Tensor:
    """Fit the powers of a product of fixed components by maximum likelihood.

    The likelihood is concave in them, and so is its estimate from draws. Powers whose product
    integrates to less than a hundredth are drawn back towards the best single component, since
    rejection would seldom accept a row.

    Parameters
    ----------
    means : Tensor of shape (n_components,)
        Mean log-density of the judging rows under each component.

    log_probs : Tensor of shape (n_components, n_draws, n_components)
        Log-densities under all components of rows drawn from each.

    Returns
    -------
    powers : Tensor of shape (n_components,)
        Not negative; they sum to 1.
    """
    n = len(means)
    best = torch.nn.functional.one_hot(means.argmax(), n).to(means)
    if n == 1:
        return best
    even = means.new_full((n,), 1 / n)
    flat = log_probs.reshape(-1, n)
    proposal = (mixture_log_prob(flat, even.log()) + math.log(len(flat))).cpu().numpy()
    flat = flat.cpu().numpy()
    # A component that denies a row gets no power; far below the others is far enough.
    target = (means - means.max()).clamp(min=-1e3).cpu().numpy()

    def loss(powers: np.ndarray) -> tuple[float, np.ndarray]:
        exponents = flat @ powers - proposal
        largest = exponents.max()
        shares = np.exp(exponents - largest)
        total = shares.sum()
        return largest + np.log(total) - target @ powers, shares @ flat / total - target

    simplex = {"type": "eq", "fun": lambda a: a.sum() - 1, "jac": np.ones_like}
    found = minimize(
        loss, even.cpu().numpy(), jac=True, bounds=[(0, 1)] * n, constraints=simplex, method="SLSQP"
    )
    powers = torch.from_numpy(np.clip(found.x, 0, 1)).to(means)
    powers = powers / powers.sum()
    for _ in range(_MOST_HALVINGS):
        if log_normalizer(log_probs, powers)[0] >= math.log(_LEAST_ACCEPTANCE):
            return powers
        powers = (powers + best) / 2
    return best


def _log_ratio(log_probs: Tensor, powers: Tensor) -> Tensor:
    """Log of the product of powers over the additive mixture of the same weights; at most 0."""
    powers = powers.to(log_probs)
    additive = mixture_log_prob(log_probs, powers.log())
    return (log_probs @ powers - additive).clamp(max=0.0)


def _bounded(drawn: Tensor) -> Tensor:
    """Rows in float64, finite: the inverse of a flow may overflow."""
    return drawn.double().nan_to_num(0.0).clamp(-_FARTHEST, _FARTHEST)


def _with_drawn(rows: Rows, drawn: Tensor) -> Rows:
    """Rows with others beside them that weigh as much in all."""
    share = rows.weights.sum() / len(drawn)
    weights = torch.cat([rows.weights, share.expand(len(drawn))])
    return Rows(torch.cat([rows.x, drawn]), weights)
