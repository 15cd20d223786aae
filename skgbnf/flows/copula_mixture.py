"""A mixture of Gaussians behind a fixed map of each column, fitted by EM."""

import torch
from torch import Tensor
from torch.distributions import Distribution
from zuko.distributions import NormalizingFlow
from zuko.flows import Flow

from skgbnf.flows.column_splines import MarginalSpline
from skgbnf.flows.em import FittedByEM
from skgbnf.flows.gaussian import GaussianMixture
from skgbnf.flows.interfaces import Stackable
from skgbnf.flows.tails import TailTransform


class CopulaMixture(FittedByEM, Stackable, Flow):
    """A mixture of Gaussians of the normal scores of columns.

    A map of the tails and a spline take the marginals of the samples, skewed or with heavy tails,
    onto normal ones. They stay as they start; EM fits the Gaussians behind them. One Gaussian gives
    the nonparanormal distribution, a Gaussian copula.

    Parameters
    ----------
    n_features : int
        Number of columns.

    n_components : int
        Number of Gaussians.

    References
    ----------
    The Nonparanormal: Semiparametric Estimation of High Dimensional Undirected Graphs. H. Liu,
    J. Lafferty, L. Wasserman, 2009. https://www.jmlr.org/papers/v10/liu09a.html
    """

    def __init__(self, n_features: int, n_components: int) -> None:
        layers = [TailTransform(n_features), MarginalSpline(n_features)]
        super().__init__(layers, GaussianMixture(n_features, n_components))

    @property
    def n_em_starts(self) -> int:
        return int(self.base.n_em_starts)

    @property
    def n_plain_starts(self) -> int:
        return int(self.base.n_plain_starts)

    @property
    def em_step_is_exact(self) -> bool:
        return bool(self.base.em_step_is_exact)

    def forward(self, c: None = None) -> Distribution:
        return NormalizingFlow(self.transform(None), self.base(None))

    @property
    def core(self) -> GaussianMixture:
        return self.base

    @torch.no_grad()
    def mapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, ladj = self.transform(None).call_and_ladj(x)
        return scores, ladj

    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int, start: int = 0) -> None:
        self.base.em_seed(self.mapped(x)[0], weights, n_neighbours, start)

    def em_step(self, x: Tensor, weights: Tensor) -> None:
        self.base.em_step(self.mapped(x)[0], weights)
