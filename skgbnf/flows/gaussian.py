"""Components whose weighted maximum likelihood has a closed form, fitted by EM."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution
from zuko.distributions import Mixture
from zuko.flows import Flow
from zuko.lazy import LazyDistribution
from zuko.mixtures import GMM

from skgbnf.flows.clustering import clusters, draw_row
from skgbnf.flows.em import FittedByEM
from skgbnf.flows.interfaces import Stackable
from skgbnf.flows.linear import LULinear
from skgbnf.flows.projections import flattest, most_skewed, whitened
from skgbnf.flows.weighted import RIDGE, weighted_gaussian

_CELLS_PER_CHUNK = 100_000
_CELLS_AT_ONCE = 200_000
_FEWEST_ROWS = 5
_MOST_DIRECTIONS = 3
_MOST_OF_WHITENED_STARTS = 4


class AffineFlow(FittedByEM, Flow):
    """A full-covariance Gaussian as a flow of one linear layer.

    Parameters
    ----------
    n_features : int
        Number of columns.

    base : LazyDistribution
        The standard normal, for which :meth:`em_step` is exact.
    """

    n_em_starts = n_plain_starts = 24
    em_step_is_exact = True

    def __init__(self, n_features: int, base: LazyDistribution) -> None:
        super().__init__([LULinear(n_features, permute=False)], base)

    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int, start: int = 0) -> None:
        """Settle on the neighbourhood of one sample drawn in proportion to its weight."""
        distance = torch.cdist(x, x[draw_row(weights)]).flatten()
        near = distance.topk(n_neighbours, largest=False).indices
        self.em_step(x[near], weights[near])

    def em_step(self, x: Tensor, weights: Tensor) -> None:
        """Set mean and covariance to those of the weighted samples."""
        self.transform.transforms[0].whiten(x, weights, RIDGE)


class _Gaussians(Mixture):
    """A mixture of Gaussians that whitens samples for all of them by one matrix product.

    Means may have leading axes before that of the Gaussians, which samples then have too.
    """

    def log_prob(self, x: Tensor) -> Tensor:
        return self.joint_log_prob(x).logsumexp(-1)

    def joint_log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each sample with each Gaussian, shape (..., n_samples, n_components)."""
        n_components, n_features = self.base.loc.shape[-2:]
        factors = self.base.scale_tril
        identity = torch.eye(n_features, dtype=x.dtype, device=x.device)
        whitening = torch.linalg.solve_triangular(factors, identity, upper=False)
        centres = (whitening @ self.base.loc.unsqueeze(-1)).flatten(-3).unsqueeze(-2)
        log_det = whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.logits.log_softmax(-1) + log_det - n_features / 2 * math.log(2 * math.pi)
        whitening = whitening.flatten(-3, -2).mT
        squares = []
        # In chunks, which stay in the cache.
        for chunk in x.split(max(1, _CELLS_PER_CHUNK // centres.shape[-1]), dim=-2):
            z = (chunk @ whitening - centres).square()
            squares.append(z.unflatten(-1, (n_components, n_features)).sum(-1))
        return constant.unsqueeze(-2) - torch.cat(squares, dim=-2) / 2


class GaussianMixture(FittedByEM, Stackable, GMM):
    """A mixture of full-covariance Gaussians that is one component of the boosted mixture.

    Parameters
    ----------
    n_features : int
        Number of columns.

    n_components : int
        Number of Gaussians.

    References
    ----------
    Maximum Likelihood from Incomplete Data via the EM Algorithm. A. P. Dempster, N. M. Laird,
    D. B. Rubin, 1977. https://www.jstor.org/stable/2984875
    """

    def __init__(self, n_features: int, n_components: int) -> None:
        super().__init__(n_features, components=n_components)

    @property
    def n_plain_starts(self) -> int:
        """Number of starts by k-means; one where each of several sets of samples has its own."""
        if self.components == 1:
            return 1
        return 4 if self.phi[0].dim() == 1 else 1

    @property
    def n_em_starts(self) -> int:
        """Number of starts that differ; that of one Gaussian is always the same.

        Those behind the plain ones must beat them clearly, so that nothing is lost by luck. Of
        several sets of samples, which are small, only few Gaussians have one.
        """
        most = math.inf if self.phi[0].dim() == 1 else _MOST_OF_WHITENED_STARTS
        return self.n_plain_starts + (1 < self.components <= most)

    @property
    def em_step_is_exact(self) -> bool:
        """Whether one step, from any state, ends where all steps end."""
        return self.components == 1

    def forward(self, c: None = None) -> Distribution:
        mixture = super().forward(c)
        return _Gaussians(mixture.base, mixture.logits)

    @torch.no_grad()
    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int, start: int = 0) -> None:
        """Place the Gaussians on the clusters that k-means finds from one start.

        The last start looks for clusters in whitened samples too, where long ones lie apart.
        """
        if start < self.n_plain_starts:
            self._place(x, weights, x)
            return
        best = x.new_full(x.shape[:-2], -math.inf)
        kept = [parameter.clone() for parameter in self.phi]
        for places in self._projections(x, weights):
            self._place(x, weights, places)
            score = (weights * self().log_prob(x)).sum(-1)
            better = score > best
            best = torch.where(better, score, best)
            kept = [_where(better, p, old) for p, old in zip(self.phi, kept, strict=True)]
        for parameter, value in zip(self.phi, kept, strict=True):
            parameter.copy_(value)

    def _projections(self, x: Tensor, weights: Tensor) -> list[Tensor]:
        """Coordinates of whitened samples in which clusters may lie apart."""
        z = whitened(x, weights)
        flat = flattest(z, weights, min(self.components - 1, _MOST_DIRECTIONS))
        return [z, flat, flat[..., :1], most_skewed(z, weights)]

    def _place(self, x: Tensor, weights: Tensor, places: Tensor) -> None:
        """Fit the Gaussians to the clusters of samples whose coordinates `places` are."""
        self._maximise(x, weights, clusters(places, weights, self.components))

    @torch.no_grad()
    def em_step(self, x: Tensor, weights: Tensor) -> None:
        """One iteration of EM on the weighted samples."""
        self._maximise(x, weights, self().joint_log_prob(x).softmax(-1))

    def _maximise(self, x: Tensor, weights: Tensor, responsibilities: Tensor) -> None:
        shares = weights.unsqueeze(-1) * responsibilities
        total = shares.sum(-2)
        mass = total.sum(-1, keepdim=True)
        smallest = 1e-300 if x.dtype == torch.float64 else 1e-30
        self.phi[0].copy_(torch.where(mass > 0, total.clamp(min=smallest).log(), self.phi[0]))
        # A Gaussian of a few samples stays as it is: it would become a spike on them.
        enough = total.square() >= _FEWEST_ROWS * shares.square().sum(-2)
        enough = (enough | (total == mass)) & (total > 0)
        shares = torch.where(enough.unsqueeze(-2), shares, 1.0)
        at_once = max(1, _CELLS_AT_ONCE // x.numel())
        for first in range(0, self.components, at_once):
            some = slice(first, first + at_once)
            if enough[..., some].any():
                self._fit_some(x, shares[..., some], some, enough[..., some])

    def _fit_some(self, x: Tensor, shares: Tensor, some: slice, enough: Tensor) -> None:
        """Fit Gaussians to samples with these shares, where these are enough."""
        rows, columns = torch.tril_indices(x.shape[-1], x.shape[-1], offset=-1, device=x.device)
        mean, factor = weighted_gaussian(x.unsqueeze(-3), shares.mT, RIDGE)
        log_diagonal = (factor.diagonal(dim1=-2, dim2=-1) - self.epsilon).log()
        for parameter, new in zip(
            list(self.phi)[1:], (mean, log_diagonal, factor[..., rows, columns]), strict=True
        ):
            old = parameter[..., some, :]
            old.copy_(torch.where(enough.unsqueeze(-1), new, old))


def _where(condition: Tensor, value: Tensor, other: Tensor) -> Tensor:
    """The values, or others, for each set of samples."""
    n_missing = value.dim() - condition.dim()
    return torch.where(condition.reshape(*condition.shape, *[1] * n_missing), value, other)
