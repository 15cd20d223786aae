"""A mixture of Gaussians behind a fixed map of each column, fitted by EM."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from zuko.distributions import NormalizingFlow
from zuko.flows import Flow

from skgbnf.flows.column_splines import MarginalSpline
from skgbnf.flows.em import DelegatedEM
from skgbnf.flows.gaussian import GaussianMixture
from skgbnf.flows.interfaces import Stackable
from skgbnf.flows.tails import TailTransform


def marginal_map(n_features: int, *, tails: bool) -> list[Any]:
    """Layers that start as a map of each column onto a normal one."""
    first = [TailTransform(n_features)] if tails else []
    return [*first, MarginalSpline(n_features)]


class CopulaMixture(DelegatedEM, Stackable, Flow):
    """A mixture of Gaussians of the normal scores of columns.

    A spline for each column, perhaps behind a map of the tails, takes the marginals of the samples
    onto normal ones. It stays as it starts; EM fits the Gaussians behind it. One Gaussian gives the
    nonparanormal distribution, a Gaussian copula.

    Parameters
    ----------
    n_features : int
        Number of columns.

    n_components : int
        Number of Gaussians.

    tails : bool, default=False
        Whether the tails are mapped first.

    References
    ----------
    The Nonparanormal: Semiparametric Estimation of High Dimensional Undirected Graphs. H. Liu,
    J. Lafferty, L. Wasserman, 2009. https://www.jmlr.org/papers/v10/liu09a.html
    """

    def __init__(self, n_features: int, n_components: int, *, tails: bool = False) -> None:
        layers = marginal_map(n_features, tails=tails)
        super().__init__(layers, GaussianMixture(n_features, n_components))

    def forward(self, c: None = None) -> Distribution:
        return NormalizingFlow(self.transform(None), self.base(None))

    @property
    def core(self) -> GaussianMixture:
        return self.base

    @torch.no_grad()
    def mapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, ladj = self.transform(None).call_and_ladj(x)
        return scores, ladj
