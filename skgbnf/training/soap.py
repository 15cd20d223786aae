"""Adam in the eigenbases of the second moments of gradients."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_LONGEST_SIDE = 128


class Soap(torch.optim.Optimizer):
    r"""Adam, with the gradient of each matrix written in slowly changing bases.

    Let ``G`` be the gradient of a matrix. The running means of ``G G'`` and ``G' G`` have the
    eigenvectors ``P`` and ``Q``. Moments are those of ``P' G Q``, as Adam [2]_ would have them of
    ``G``, and the step ``N`` that follows from them is taken as ``P N Q'``. In these bases the
    entries of the gradient are nearly uncorrelated, so that a step size for each of them, which is
    all that Adam has, does nearly what the full matrix of second moments would give.

    The bases begin as the identity and are refreshed every few steps by orthogonal iteration. Mean
    squares then move to the new basis, for entries that are uncorrelated in the old one; in the
    paper they stay, which costs where many eigenvalues are alike. A side longer than 128 keeps the
    identity, as do vectors, which are thus trained by Adam. No state is saved.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Only those that require a gradient now are trained. One without a gradient in some step
        counts as having one of zeros.

    lr : float, default=1e-3

    betas : tuple of float, default=(0.95, 0.95)
        What each step keeps of the running mean of gradients, and of that of their squares.

    basis_beta : float, default=0.95
        The same for the running means of ``G G'`` and ``G' G``.

    eps : float, default=1e-8
        Added to the root of the mean square of each entry.

    period : int, default=10
        Steps from one refresh of the bases to the next.

    stacked : bool, default=False
        Whether the first axis of each parameter counts networks that are trained side by side:
        (K, m, n) is then K matrices, and (K, n) K vectors.

    References
    ----------
    .. [1] SOAP: Improving and Stabilizing Shampoo using Adam. N. Vyas, D. Morwani, R. Zhao, M.
       Kwun, I. Shapira, D. Brandfonbrener, L. Janson, S. Kakade, 2024.
       https://arxiv.org/abs/2409.11321
    .. [2] Adam: A Method for Stochastic Optimization. D. P. Kingma, J. Ba, 2015.
       https://arxiv.org/abs/1412.6980
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        basis_beta: float = 0.95,
        eps: float = 1e-8,
        period: int = 10,
        *,
        stacked: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "basis_beta": basis_beta, "eps": eps}
        super().__init__(params, {**defaults, "period": period, "stacked": stacked})
        self._batches = [_batches(group) for group in self.param_groups]
        self._n_steps = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; `closure`, if there is one, first computes the loss and gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._n_steps += 1
        for group, batches in zip(self.param_groups, self._batches, strict=True):
            for batch in batches:
                batch.step(self._n_steps, group)
        return loss


def _batches(group: dict[str, Any]) -> list["_Batch"]:
    """The parameters of a group, those of one shape and type together."""
    alike = defaultdict(list)
    for parameter in group["params"]:
        if parameter.requires_grad:
            alike[parameter.shape, parameter.dtype, parameter.device].append(parameter)
    n_axes = 3 if group["stacked"] else 2
    return [_Batch(parameters, len(shape) == n_axes) for (shape, *_), parameters in alike.items()]


class _Batch:
    """Parameters of one shape, whose gradients and moments are one tensor each."""

    def __init__(self, parameters: list[Tensor], are_matrices: bool) -> None:
        self._parameters = parameters
        self._mean = torch.stack([torch.zeros_like(parameter) for parameter in parameters])
        self._square = self._mean.clone()
        self._bases = _bases(self._mean) if are_matrices else []

    def step(self, n_steps: int, group: dict[str, Any]) -> None:
        gradient = self._gradient()
        direction = self._direction(self._rotated(gradient), n_steps, group)
        steps = self._rotated_back(direction).unbind()
        torch._foreach_add_(self._parameters, steps, alpha=-group["lr"])
        for basis in self._bases:
            basis.observe(gradient, 1 - group["basis_beta"])
        if (n_steps - 1) % group["period"] == 0:
            self._refresh()

    def _gradient(self) -> Tensor:
        pairs = ((parameter.grad, parameter) for parameter in self._parameters)
        return torch.stack([torch.zeros_like(p) if grad is None else grad for grad, p in pairs])

    def _direction(self, gradient: Tensor, n_steps: int, group: dict[str, Any]) -> Tensor:
        """The direction of Adam, from moments corrected for their start at zero."""
        beta, beta_square = group["betas"]
        self._mean.lerp_(gradient, 1 - beta)
        self._square.lerp_(gradient.square(), 1 - beta_square)
        root = self._square.sqrt() / math.sqrt(1 - beta_square**n_steps)
        return self._mean / (root + group["eps"]) / (1 - beta**n_steps)

    def _rotated(self, tensor: Tensor) -> Tensor:
        for basis in self._bases:
            tensor = basis.rotated(tensor)
        return tensor

    def _rotated_back(self, tensor: Tensor) -> Tensor:
        for basis in self._bases:
            tensor = basis.rotated_back(tensor)
        return tensor

    def _refresh(self) -> None:
        for basis in self._bases:
            self._mean, self._square = basis.refresh(self._mean, self._square)


def _bases(matrices: Tensor) -> list["_Basis"]:
    """A basis for each side of the matrices in a batch whose length suits."""
    sides = {"left": matrices.shape[-2], "right": matrices.shape[-1]}
    return [
        _Basis(matrices, length, left=side == "left")
        for side, length in sides.items()
        if 1 < length <= _LONGEST_SIDE
    ]


class _Basis:
    """An orthonormal basis for one side of each matrix in a batch, the left or the right one."""

    def __init__(self, matrices: Tensor, length: int, *, left: bool) -> None:
        self._left = left
        self._moment = matrices.new_zeros(*matrices.shape[:-2], length, length)
        self._vectors = self._moment.clone()
        self._vectors.diagonal(dim1=-2, dim2=-1).fill_(1.0)

    def rotated(self, tensor: Tensor) -> Tensor:
        return self._times(self._vectors, tensor)

    def rotated_back(self, tensor: Tensor) -> Tensor:
        return self._times(self._vectors.mT, tensor)

    def observe(self, gradient: Tensor, share: float) -> None:
        """Move the second moment towards that of a gradient."""
        sides = gradient if self._left else gradient.mT
        self._moment.lerp_(sides @ sides.mT, share)

    def refresh(self, mean: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        """Take a step of orthogonal iteration towards the eigenvectors of the second moment.

        Returns a mean and a mean square as they are in the new basis; that of the squares supposes
        that entries are uncorrelated in the old one.
        """
        vectors = torch.linalg.qr(self._moment @ self._vectors).Q
        turn = self._vectors.mT @ vectors
        self._vectors = vectors
        return self._times(turn, mean), self._times(turn.square(), square)

    def _times(self, matrix: Tensor, tensor: Tensor) -> Tensor:
        return matrix.mT @ tensor if self._left else tensor @ matrix
