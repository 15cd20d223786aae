"""Components whose weighted maximum likelihood has a closed form, fitted by EM."""

import torch
from torch import Tensor
from zuko.flows import Flow
from zuko.lazy import LazyDistribution
from zuko.mixtures import GMM

from skgbnf.flows.covariance import RIDGE, weighted_gaussian
from skgbnf.flows.linear import LULinear

_ROWS_PER_CHUNK = 2000
_FEWEST_ROWS = 5


class AffineFlow(Flow):
    """A full-covariance Gaussian as a flow of one linear layer.

    Parameters
    ----------
    n_features : int
        Number of columns.

    base : LazyDistribution
        What the whitened rows follow; :meth:`em_step` is exact when it is the standard normal.
    """

    n_em_starts = 24

    def __init__(self, n_features: int, base: LazyDistribution) -> None:
        super().__init__([LULinear(n_features, permute=False)], base)

    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int) -> None:
        """Settle on the neighbourhood of one row drawn in proportion to its weight."""
        distance = torch.cdist(x, x[_draw_row(weights)]).flatten()
        near = distance.topk(n_neighbours, largest=False).indices
        self.em_step(x[near], weights[near])

    def em_step(self, x: Tensor, weights: Tensor) -> None:
        """Set mean and covariance to those of the weighted rows."""
        self.transform.transforms[0].initialise(x, weights, RIDGE)


class GaussianMixture(GMM):
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

    n_em_starts = 8

    def __init__(self, n_features: int, n_components: int) -> None:
        super().__init__(n_features, components=n_components)

    @torch.no_grad()
    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int) -> None:
        """Place the Gaussians on rows spread as k-means++ does, and assign rows to the nearest."""
        centres = x[_spread_rows(x, weights, self.components)]
        nearest = torch.cdist(x, centres).argmin(dim=1)
        self._maximise(x, weights, torch.nn.functional.one_hot(nearest, self.components).to(x))

    @torch.no_grad()
    def em_step(self, x: Tensor, weights: Tensor) -> None:
        """One iteration of EM on the weighted rows."""
        mixture = self()
        log_weights = self.phi[0].log_softmax(-1)
        # In chunks, which stay in the cache.
        chunks = x.unsqueeze(-2).split(_ROWS_PER_CHUNK)
        responsibilities = [(mixture.base.log_prob(c) + log_weights).softmax(-1) for c in chunks]
        self._maximise(x, weights, torch.cat(responsibilities))

    def _maximise(self, x: Tensor, weights: Tensor, responsibilities: Tensor) -> None:
        rows, columns = torch.tril_indices(x.shape[1], x.shape[1], offset=-1)
        logits, means, log_diagonal, below = self.phi
        shares = weights.unsqueeze(-1) * responsibilities
        total = shares.sum(0)
        logits.copy_(total.clamp(min=1e-300 if x.dtype == torch.float64 else 1e-30).log())
        # A Gaussian of a few rows stays as it is: it would become a spike on them.
        enough = total.square() >= _FEWEST_ROWS * shares.square().sum(0)
        enough |= total == total.sum()
        for k in torch.nonzero(enough & (total > 0)).flatten().tolist():
            mean, factor = weighted_gaussian(x, shares[:, k], RIDGE)
            means[k] = mean
            log_diagonal[k] = (factor.diagonal() - self.epsilon).log()
            below[k] = factor[rows, columns]


def _draw_row(odds: Tensor) -> Tensor:
    """Index, shape (1,), of one row drawn in proportion to `odds`."""
    mass = odds.cumsum(0)
    target = mass[-1] * torch.rand(1, dtype=odds.dtype, device=odds.device)
    return torch.searchsorted(mass, target).clamp(max=len(odds) - 1)


def _spread_rows(x: Tensor, weights: Tensor, n_rows: int) -> Tensor:
    """Indices of `n_rows` rows, each drawn with its squared distance from those before."""
    chosen = [_draw_row(weights)]
    distance = torch.cdist(x, x[chosen[0]]).square().flatten()
    while len(chosen) < n_rows:
        odds = weights * distance
        chosen.append(_draw_row(odds if odds.sum() > 0 else weights))
        distance = distance.minimum(torch.cdist(x, x[chosen[-1]]).square().flatten())
    return torch.cat(chosen)
