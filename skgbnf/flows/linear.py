"""Linear layers with a cheap log-determinant, started from the covariance of the rows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from zuko.lazy import LazyTransform

from skgbnf.flows.covariance import weighted_gaussian

_LOG_SCALE_BOUND = 20.0
_RIDGE = 1e-10


class LULinear(LazyTransform):
    r"""Invertible linear layer ``y = L U A (P x - c) + b`` with a bounded log-scale.

    ``L`` is unit lower triangular, ``U`` upper triangular with positive diagonal, ``P`` a fixed
    permutation. ``A`` and ``c`` are the identity and zero until :meth:`initialise` sets them from
    rows; they are not learned. Learning happens in whitened coordinates, where steps of one size
    suit all directions, however nearly columns are linear functions of each other.

    Parameters
    ----------
    n_features : int
        Number of columns.

    permute : bool, default=True
        Whether ``P`` is a random permutation, drawn from torch's generator, or the identity.

    References
    ----------
    Glow: Generative Flow with Invertible 1x1 Convolutions. D. P. Kingma, P. Dhariwal, 2018.
    https://arxiv.org/abs/1807.03039
    """

    def __init__(self, n_features: int, *, permute: bool = True) -> None:
        super().__init__()
        order = torch.randperm(n_features) if permute else torch.arange(n_features)
        self.register_buffer("order", order)
        self.lower = nn.Parameter(torch.zeros(n_features, n_features))
        self.upper = nn.Parameter(torch.zeros(n_features, n_features))
        self.log_scale = nn.Parameter(torch.zeros(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("whitening", torch.eye(n_features))

    @torch.no_grad()
    def initialise(self, x: Tensor, weights: Tensor, ridge: float = _RIDGE) -> None:
        """Whiten rows: weighted mean zero and, up to a small ridge, identity covariance.

        What was learned before is undone.
        """
        mean, factor = weighted_gaussian(x, weights, ridge)
        identity = torch.eye(len(mean), dtype=x.dtype, device=x.device)
        self.centre.copy_(mean)
        self.whitening.copy_(torch.linalg.solve_triangular(factor, identity, upper=False))
        self.order.copy_(torch.arange(len(mean), device=x.device))
        for parameter in self.parameters():
            parameter.zero_()

    def forward(self, c: Tensor | None = None) -> Transform:
        identity = torch.eye(len(self.bias), dtype=self.bias.dtype, device=self.bias.device)
        log_scale = self.log_scale.clamp(-_LOG_SCALE_BOUND, _LOG_SCALE_BOUND)
        lower = torch.tril(self.lower, -1) + identity
        upper = torch.triu(self.upper, 1) + torch.diag(log_scale.exp())
        log_det = log_scale.sum() + self.whitening.diagonal().log().sum()
        return _LULinearTransform(self, (lower, upper, self.whitening), log_det)


class _LULinearTransform(Transform):
    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, layer: LULinear, factors: tuple[Tensor, ...], log_det: Tensor) -> None:
        super().__init__()
        self.layer, self.factors, self.log_det = layer, factors, log_det

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._call(x), self.log_det.expand(x.shape[:-1])

    def _call(self, x: Tensor) -> Tensor:
        matrix = torch.linalg.multi_dot(self.factors)
        return F.linear(x[..., self.layer.order] - self.layer.centre, matrix, self.layer.bias)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_det.expand(x.shape[:-1])

    def _inverse(self, y: Tensor) -> Tensor:
        lower, upper, whitening = self.factors
        solved = (y - self.layer.bias).unsqueeze(-1)
        solved = torch.linalg.solve_triangular(lower, solved, upper=False, unitriangular=True)
        solved = torch.linalg.solve_triangular(upper, solved, upper=True)
        solved = torch.linalg.solve_triangular(whitening, solved, upper=False)
        return (solved.squeeze(-1) + self.layer.centre)[..., self.layer.order.argsort()]
