"""A multivariate Student t: a broad component with heavy tails, fitted by EM."""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Chi2, Distribution, constraints
from zuko.lazy import LazyDistribution

from skgbnf.flows.broadcasting import per_network
from skgbnf.flows.em import FittedByEM
from skgbnf.flows.interfaces import DataInitialised, Stackable
from skgbnf.flows.weighted import RIDGE, weighted_gaussian

_DEGREES_OF_FREEDOM = 3.0
_NO_BATCH = torch.Size()

Shape = torch.Size | list[int] | tuple[int, ...]
_STEPS_OF_BASE = 10


class MultivariateStudentT(Distribution):
    """Elliptical Student t distribution.

    Parameters
    ----------
    df : float
        Degrees of freedom.

    loc : Tensor of shape (..., n_features)
        Leading axes are those of sets of samples, one distribution for each.

    factor : Tensor of shape (..., n_features, n_features)
        Lower triangular; ``factor @ factor.T`` is the scale matrix.

    batch_shape : torch.Size, default=()
        Shape of a sample without its last axis.
    """

    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self, df: float, loc: Tensor, factor: Tensor, batch_shape: torch.Size = _NO_BATCH
    ) -> None:
        super().__init__(batch_shape, loc.shape[-1:], validate_args=False)
        self.df, self.loc, self.factor = df, loc, factor

    def expand(self, batch_shape: Shape, _instance: None = None) -> "MultivariateStudentT":
        return MultivariateStudentT(self.df, self.loc, self.factor, torch.Size(batch_shape))

    def log_prob(self, x: Tensor) -> Tensor:
        d = self.loc.shape[-1]
        z = self._whitened(x)
        # Far samples are scaled first, since their squares would overflow.
        size = z.abs().amax(-1).clamp(min=1.0)
        near = (z / size.unsqueeze(-1)).square().sum(-1) / self.df
        log_bracket = 2 * size.log() + (near + size.pow(-2)).log()
        log_scale = math.lgamma((self.df + d) / 2) - math.lgamma(self.df / 2)
        log_scale -= d / 2 * math.log(self.df * math.pi)
        constant = log_scale - self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return per_network(constant, 0) - (self.df + d) / 2 * log_bracket

    def responsiveness(self, x: Tensor) -> Tensor:
        """Expected precision of each sample, by which EM weights it: small for far samples."""
        return (self.df + self.loc.shape[-1]) / (self.df + self._whitened(x).square().sum(-1))

    def sample(self, sample_shape: Shape = _NO_BATCH) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        normal = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        precision = Chi2(self.loc.new_tensor(self.df)).sample(shape[:-1]) / self.df
        return self.loc + (normal / precision.sqrt().unsqueeze(-1)) @ self.factor.T

    def _whitened(self, x: Tensor) -> Tensor:
        centred = (x - per_network(self.loc, 1)).mT
        return torch.linalg.solve_triangular(self.factor, centred, upper=False).mT


class StudentT(FittedByEM, DataInitialised, Stackable, LazyDistribution):
    """A multivariate Student t of three degrees of freedom as a component.

    In a mixture it takes the few samples that lie far from all others, which would otherwise decide
    the mean log-likelihood. Behind a conditional affine layer it is the base of a flow.

    Parameters
    ----------
    n_features : int
        Number of columns.

    References
    ----------
    Robust Statistical Modeling Using the t Distribution. K. L. Lange, R. J. A. Little,
    J. M. G. Taylor, 1989. https://doi.org/10.2307/2290063
    """

    n_em_starts = n_plain_starts = 1

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(n_features))
        self.lower = nn.Parameter(torch.zeros(n_features, n_features))
        self.log_diagonal = nn.Parameter(torch.zeros(n_features))

    def forward(self, c: Tensor | None = None) -> MultivariateStudentT:
        factor = torch.tril(self.lower, -1) + self.log_diagonal.exp().diag_embed()
        return MultivariateStudentT(_DEGREES_OF_FREEDOM, self.loc, factor, self.loc.shape[:-1])

    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int, start: int = 0) -> None:
        """Begin with the Gaussian of all samples."""
        self._set(*weighted_gaussian(x, weights, RIDGE))

    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Start as the base of a flow: a few steps of EM."""
        self.em_seed(x, weights, len(x))
        for _ in range(_STEPS_OF_BASE):
            self.em_step(x, weights)

    @torch.no_grad()
    def em_step(self, x: Tensor, weights: Tensor) -> None:
        """Mean and scale of the samples, each weighted down by its distance.

        The scale is divided by the sum of these weights, not by the number of samples, which leads
        to the same end in fewer steps.
        """
        self._set(*weighted_gaussian(x, weights * self().responsiveness(x), RIDGE))

    @torch.no_grad()
    def _set(self, loc: Tensor, factor: Tensor) -> None:
        self.loc.copy_(loc)
        self.lower.copy_(factor)
        self.log_diagonal.copy_(factor.diagonal(dim1=-2, dim2=-1).log())
