"""Linear layers, started from a covariance, with three ways to a log-determinant."""

import math
from abc import abstractmethod
from functools import partial, reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import Transform, constraints
from zuko.lazy import LazyTransform

from skgbnf.flows.broadcasting import (
    linear_map,
    linear_map_of_last,
    per_network,
    permuted,
    permuted_last,
)
from skgbnf.flows.interfaces import (
    DataInitialised,
    Differentiated,
    Penalised,
    Pulled,
    Stackable,
    own_parameters,
)
from skgbnf.flows.weighted import weighted_gaussian

_LOG_SCALE_BOUND = 20.0
_RIDGE = 1e-10
_STEPS_PER_COLUMN = 1 / 16


class LinearLayer(LazyTransform, DataInitialised):
    r"""Invertible linear layer ``y = M A (P x - c) + b``; a subclass says what ``M`` is.

    ``P`` is a fixed permutation. ``A`` and ``c`` are the identity and zero until
    :meth:`initialise` sets them from samples; they are not learned. Learning happens in whitened
    coordinates, where steps of one size suit all directions, however nearly columns are linear
    functions of each other. With all parameters zero, ``M`` is the identity and ``b`` zero.

    Parameters
    ----------
    n_features : int
        Number of columns.

    permute : bool, default=True
        Whether ``P`` is a random permutation, drawn from torch's generator, or the identity.

    parameters : dict of str to tuple of int
        Names and shapes of what is learned.
    """

    bias: nn.Parameter
    centre: Tensor
    whitening: Tensor

    def __init__(
        self, n_features: int, permute: bool, parameters: dict[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        order = torch.randperm(n_features) if permute else torch.arange(n_features)
        self.register_buffer("order", order)
        for name, shape in parameters.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        self.register_parameter("bias", nn.Parameter(torch.zeros(n_features)))
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("whitening", torch.eye(n_features))

    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Whiten samples: weighted mean zero and, up to a small ridge, identity covariance.

        What was learned before is undone.
        """
        self.whiten(x, weights, _RIDGE)

    @torch.no_grad()
    def whiten(self, x: Tensor, weights: Tensor, ridge: float) -> None:
        """The same with a variance that is added to each column."""
        mean, factor = weighted_gaussian(x, weights, ridge)
        identity = torch.eye(len(mean), dtype=x.dtype, device=x.device)
        self.centre.copy_(mean)
        self.whitening.copy_(torch.linalg.solve_triangular(factor, identity, upper=False))
        self.order.copy_(torch.arange(len(mean), device=x.device))
        for parameter in self.parameters():
            parameter.zero_()

    @abstractmethod
    def learned(self) -> tuple[tuple[Tensor, ...], Tensor]:
        """The factors of ``M`` from left to right, and ``log |det M|``."""

    @abstractmethod
    def solve(self, factors: tuple[Tensor, ...], y: Tensor) -> Tensor:
        """The samples ``M^-1 y``, for `y` of shape (n_samples, n_features)."""

    def multiply(self, factors: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """The samples ``M A x + b``; few samples are multiplied by one factor after the other."""
        # An exported graph holds for any number of samples.
        if torch.compiler.is_compiling() or x.shape[:-1].numel() >= self.bias.numel():
            matrix = reduce(torch.matmul, (*factors, self.whitening))
            return linear_map(x, matrix, self.bias)
        for factor in (self.whitening, *factors[:0:-1]):
            x = torch.matmul(x, factor.mT)
        return linear_map(x, factors[0], self.bias)

    def forward(self, c: Tensor | None = None) -> Transform:
        factors, log_det = self.learned()
        log_det = log_det + self.whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return _LinearTransform(self, factors, log_det)

    def _identity(self) -> Tensor:
        return torch.eye(self.bias.shape[-1], dtype=self.bias.dtype, device=self.bias.device)


class _LinearTransform(Transform):
    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, layer: LinearLayer, factors: tuple[Tensor, ...], log_det: Tensor) -> None:
        super().__init__()
        self.layer, self.factors, self.log_det = layer, factors, log_det

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._call(x), self.log_abs_det_jacobian(x, x)

    def _call(self, x: Tensor) -> Tensor:
        centred = permuted(x, self.layer.order) - per_network(self.layer.centre, 1)
        return self.layer.multiply(self.factors, centred)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return per_network(self.log_det, 0).expand(x.shape[:-1])

    def _inverse(self, y: Tensor) -> Tensor:
        layer = self.layer
        rows = layer.solve(self.factors, (y - layer.bias).reshape(-1, y.shape[-1]))
        rows = torch.linalg.solve_triangular(layer.whitening.T, rows, upper=True, left=False)
        return (rows.reshape(y.shape) + layer.centre)[..., layer.order.argsort()]


class LULinear(LinearLayer, Stackable, Differentiated):
    r"""Linear layer with ``M = L U``, whose log-determinant is a sum.

    ``L`` is unit lower triangular, ``U`` upper triangular with positive diagonal, bounded in its
    logarithm.

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
        square = (n_features, n_features)
        shapes = {"lower": square, "upper": square, "log_scale": (n_features,)}
        super().__init__(n_features, permute, shapes)

    def learned(self) -> tuple[tuple[Tensor, ...], Tensor]:
        log_scale = self.log_scale.clamp(-_LOG_SCALE_BOUND, _LOG_SCALE_BOUND)
        lower = torch.tril(self.lower, -1) + self._identity()
        upper = torch.triu(self.upper, 1) + torch.diag_embed(log_scale.exp())
        return (lower, upper), log_scale.sum(-1)

    def parameter_list(self) -> tuple[Tensor, ...]:
        return own_parameters(self)

    def pullback(self, x: Tensor) -> Pulled:
        log_scale = self.log_scale.clamp(-_LOG_SCALE_BOUND, _LOG_SCALE_BOUND)
        scale = log_scale.exp()
        lower, upper = self.lower.tril(-1), self.upper.triu(1)
        upper.diagonal(dim1=-2, dim2=-1).copy_(scale)
        matrix = (upper + lower @ upper) @ self.whitening
        centred = permuted_last(x, self.order) - self.centre.unsqueeze(-1)
        log_det = (log_scale + self.whitening.diagonal(dim1=-2, dim2=-1).log()).sum(-1)

        def pull(grad_y: Tensor, grad_ladj: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            grad_product = grad_y @ centred.mT @ self.whitening.mT
            grad_upper = grad_product + lower.mT @ grad_product
            grad_lower = (grad_product @ upper.mT).tril_(-1)
            grad_scale = grad_upper.diagonal(dim1=-2, dim2=-1) * scale
            grad_scale = grad_scale + grad_ladj.sum(-1, keepdim=True)
            grad_scale *= self.log_scale == log_scale
            grad_x = permuted_last(matrix.mT @ grad_y, self.order.argsort())
            return grad_x, (grad_lower, grad_upper.triu_(1), grad_scale, grad_y.sum(-1))

        return linear_map_of_last(matrix, centred, self.bias), log_det.unsqueeze(-1), pull

    def solve(self, factors: tuple[Tensor, ...], y: Tensor) -> Tensor:
        lower, upper = (factor.T for factor in factors)
        solve = partial(torch.linalg.solve_triangular, left=False)
        return solve(upper, solve(lower, y, upper=True, unitriangular=True), upper=False)


class _Dense(LinearLayer):
    """What layers have in common whose ``M`` is any matrix: it is that, and the solver."""

    offset: nn.Parameter

    def matrix(self) -> Tensor:
        """The matrix ``M``."""
        return self.offset + self._identity()

    def solve(self, factors: tuple[Tensor, ...], y: Tensor) -> Tensor:
        return torch.linalg.solve(factors[0].T, y, left=False)


class ExactLinear(_Dense, Stackable):
    r"""Linear layer with any matrix ``M``, whose log-determinant costs a decomposition.

    Parameters
    ----------
    n_features : int
        Number of columns.

    permute : bool, default=True
        Whether ``P`` is a random permutation, drawn from torch's generator, or the identity.
    """

    def __init__(self, n_features: int, *, permute: bool = True) -> None:
        super().__init__(n_features, permute, {"offset": (n_features, n_features)})

    def learned(self) -> tuple[tuple[Tensor, ...], Tensor]:
        matrix = self.matrix()
        return (matrix,), torch.linalg.slogdet(matrix).logabsdet


class SelfNormalizingLinear(_Dense, Penalised):
    r"""Linear layer with any matrix ``M``, the inverse of which is learned beside it.

    The gradient of ``log |det M|`` is the transpose of the inverse, which costs ``O(D^3)`` in
    every step. In its place this layer takes the transpose of a matrix ``R``, which the
    :meth:`penalty` draws towards the inverse. Scores do not depend on ``R``: where no gradient is
    asked for, the determinant is exact, and so is the inverse always.

    In training the value too is approximate, for objectives that weigh samples by it: exact every
    :attr:`period` steps, it moves in between by ``tr(R dM)``, to first order the change. The
    period grows with the number of columns, so that a step costs ``O(D^2)`` on average.

    Parameters
    ----------
    n_features : int
        Number of columns.

    permute : bool, default=True
        Whether ``P`` is a random permutation, drawn from torch's generator, or the identity.

    References
    ----------
    Self Normalizing Flows. T. A. Keller, J. W. T. Peters, P. Jaini, E. Hoogeboom, P. Forré,
    M. Welling, 2021. https://arxiv.org/abs/2011.07248
    """

    log_det: Tensor
    previous: Tensor

    def __init__(self, n_features: int, *, permute: bool = True) -> None:
        square = (n_features, n_features)
        super().__init__(n_features, permute, {"offset": square, "inverse_offset": square})
        # What the last step of training left behind; no part of the fitted layer.
        self.register_buffer("log_det", torch.zeros(()), persistent=False)
        self.register_buffer("previous", torch.eye(n_features), persistent=False)
        self.period = max(1, math.ceil(_STEPS_PER_COLUMN * n_features))
        self._n_steps = 0
        self._seen: tuple[Tensor, Tensor] | None = None
        self.register_load_state_dict_post_hook(_begin_exactly)

    def learned(self) -> tuple[tuple[Tensor, ...], Tensor]:
        matrix = self.matrix()
        if not self._in_training():
            return (matrix,), torch.linalg.slogdet(matrix).logabsdet
        inverse = self.approximate_inverse().detach()
        return (matrix,), _LogDet.apply(matrix, inverse, self._track(matrix, inverse))  # type: ignore[no-untyped-call]

    def multiply(self, factors: tuple[Tensor, ...], x: Tensor) -> Tensor:
        if not self._in_training():
            return super().multiply(factors, x)
        white = F.linear(x, self.whitening)
        y = F.linear(white, factors[0])
        self._seen = white, y
        return y + self.bias

    def approximate_inverse(self) -> Tensor:
        """The matrix ``R``."""
        return self.inverse_offset + self._identity()

    def penalty(self) -> Tensor:
        """Half the mean squared distance of ``R M z`` from ``z``, over the last batch in training.

        It draws ``R`` to the inverse, and keeps ``M`` from running ahead of it, where the gradient
        would be wrong and the matrix could become singular. At the inverse it is zero.
        """
        if self._seen is None:
            return self.bias.new_zeros(())
        (white, y), self._seen = self._seen, None
        error = F.linear(y, self.approximate_inverse()) - white
        return error.square().sum(-1).mean() / 2

    def __getstate__(self) -> dict[str, Any]:
        """A copy has seen no samples: these hang on a graph, which cannot be copied."""
        return {**self.__dict__, "_seen": None}

    def _in_training(self) -> bool:
        return self.training and torch.is_grad_enabled()

    @torch.no_grad()
    def _track(self, matrix: Tensor, inverse: Tensor) -> Tensor:
        """The value of the log-determinant in this step of training."""
        if self._n_steps % self.period == 0:
            self.log_det.copy_(torch.linalg.slogdet(matrix).logabsdet)
        else:
            self.log_det += inverse.T.flatten() @ (matrix - self.previous).flatten()
        self._n_steps += 1
        self.previous.copy_(matrix)
        return self.log_det.clone()


def _begin_exactly(layer: SelfNormalizingLinear, incompatible: object) -> None:
    """After parameters came from elsewhere, the next step takes the exact value."""
    layer._n_steps = 0


class _LogDet(torch.autograd.Function):
    """A given value of ``log |det M|``, with the gradient of an approximate inverse."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, inverse: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return grad * inverse.T, None, None


LOG_DETS = {"lu": LULinear, "exact": ExactLinear, "self_normalizing": SelfNormalizingLinear}
"""Constructors of linear layers by the name of what gives their log-determinant."""
