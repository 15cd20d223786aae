"""The powers of a product of components, fitted to samples and to draws of the components."""

import math
from collections.abc import Sequence
from itertools import takewhile

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from zuko.lazy import LazyDistribution

from skgbnf._random import derive_seed
from skgbnf.training.mixture import component_log_prob, mixture_log_prob, sample_component
from skgbnf.training.product import log_normalizer

N_DRAWS = 10_000
"""Number of samples drawn from each component."""

_LEAST_ACCEPTANCE = 0.01
_MOST_HALVINGS = 100
_FARTHEST = 1e6


class ComponentDraws:
    """Samples drawn from each component, with their log-densities under all."""

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
        rows = finite(sample_component(component, N_DRAWS, seed))
        for columns, earlier in zip(self._columns, self._rows, strict=True):
            columns.append(component_log_prob(component, earlier))
        self._columns.append([component_log_prob(g, rows) for g in self._components])
        self._columns[-1].append(component_log_prob(component, rows))
        self._components.append(component)
        self._rows.append(rows)


def fit_powers(means: Tensor, log_probs: Tensor) -> Tensor:
    """Fit the powers of a product of fixed components by maximum likelihood.

    The likelihood is concave in them, and so is its estimate from draws. If the acceptance rate
    of rejection sampling would fall below 1 %, the powers are shrunk towards the best single
    component.

    Parameters
    ----------
    means : Tensor of shape (n_components,)
        Mean log-density of the validation set under each component.

    log_probs : Tensor of shape (n_components, n_draws, n_components)
        Log-densities under all components of samples drawn from each.

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
    log_densities = flat.cpu().numpy()
    # A component under which a sample is impossible gets no power; far below is far enough.
    target = (means - means.max()).clamp(min=-1e3).cpu().numpy()

    def loss(powers: np.ndarray) -> tuple[float, np.ndarray]:
        exponents = log_densities @ powers - proposal
        largest = exponents.max()
        shares = np.exp(exponents - largest)
        total = shares.sum()
        return largest + np.log(total) - target @ powers, shares @ log_densities / total - target

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


def finite(drawn: Tensor) -> Tensor:
    """Samples in float64, finite: the inverse of a flow may overflow."""
    return drawn.double().nan_to_num(0.0).clamp(-_FARTHEST, _FARTHEST)
