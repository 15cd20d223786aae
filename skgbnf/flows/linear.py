"""Linear layers with a cheap log-determinant, started from the covariance of the rows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from zuko.lazy import LazyTransform

from skgbnf.flows.covariance import weighted_gaussian

_LOG_SCALE_BOUND = 20.0


class LULinear(LazyTransform):
    r"""Invertible linear layer ``y = L U P x + b`` with a bounded log-scale.

    ``L`` is unit lower triangular, ``U`` upper triangular with positive diagonal, ``P`` a fixed
    permutation. The log-determinant is the sum of the logarithms on the diagonal of ``U``.

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

    @torch.no_grad()
    def initialise(self, x: Tensor, weights: Tensor) -> None:
        """Whiten rows: weighted mean zero and, up to a small ridge, identity covariance."""
        mean, factor = weighted_gaussian(x, weights)
        whitening = torch.linalg.solve_triangular(
            factor, torch.eye(len(mean), dtype=x.dtype, device=x.device), upper=False
        )
        scale = whitening.diagonal()
        self.upper.zero_()
        self.log_scale.copy_(scale.log())
        self.lower.copy_(torch.tril(whitening / scale, -1))
        self.bias.copy_(-whitening @ mean)
        self.order.copy_(torch.arange(len(mean), device=x.device))

    def forward(self, c: Tensor | None = None) -> Transform:
        identity = torch.eye(len(self.bias), dtype=self.bias.dtype, device=self.bias.device)
        log_scale = self.log_scale.clamp(-_LOG_SCALE_BOUND, _LOG_SCALE_BOUND)
        lower = torch.tril(self.lower, -1) + identity
        upper = torch.triu(self.upper, 1) + torch.diag(log_scale.exp())
        return _LULinearTransform(lower, upper, log_scale.sum(), self.bias, self.order)


class _LULinearTransform(Transform):
    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(
        self, lower: Tensor, upper: Tensor, log_det: Tensor, bias: Tensor, order: Tensor
    ) -> None:
        super().__init__()
        self.lower, self.upper, self.log_det = lower, upper, log_det
        self.bias, self.order = bias, order

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._call(x), self.log_det.expand(x.shape[:-1])

    def _call(self, x: Tensor) -> Tensor:
        return F.linear(x[..., self.order], self.lower @ self.upper, self.bias)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_det.expand(x.shape[:-1])

    def _inverse(self, y: Tensor) -> Tensor:
        centred = (y - self.bias).unsqueeze(-1)
        solved = torch.linalg.solve_triangular(self.lower, centred, upper=False, unitriangular=True)
        permuted = torch.linalg.solve_triangular(self.upper, solved, upper=True)
        return permuted.squeeze(-1)[..., self.order.argsort()]
