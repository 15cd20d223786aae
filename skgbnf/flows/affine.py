"""The affine map of one column, whose parameters a network may give."""

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

from skgbnf.flows.interfaces import UnivariatePulled


class Affine(Transform):
    r"""Affine map ``y = exp(s) x + shift`` with a soft bound on its log-scale.

    The bound is ``s = raw / (1 + |raw| / scale_clamp)``: the identity near zero, never as large as
    `scale_clamp`, and never without a gradient. It takes the place of
    :class:`zuko.transforms.MonotonicAffineTransform`, whose bound is ``-log(slope)``.

    Parameters
    ----------
    shift : Tensor of shape (...)

    raw_log_scale : Tensor of shape (...)
        Logarithm of the scale before the bound.

    scale_clamp : float or None, default=None
        Bound of the log-scale's size; None for no bound.

    References
    ----------
    Density estimation using Real NVP. L. Dinh, J. Sohl-Dickstein, S. Bengio, 2017.
    https://arxiv.org/abs/1605.08803

    Examples
    --------
    >>> import torch
    >>> from skgbnf.flows.affine import Affine
    >>> Affine(torch.tensor(1.0), torch.tensor(1e6), scale_clamp=2.0).log_scale
    tensor(2.0000)
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(
        self, shift: Tensor, raw_log_scale: Tensor, scale_clamp: float | None = None
    ) -> None:
        super().__init__()
        self.shift, self.log_scale = shift, raw_log_scale
        if scale_clamp is not None:
            self.log_scale = raw_log_scale / (1 + raw_log_scale.abs() / scale_clamp)

    @staticmethod
    def pullback(
        x: Tensor, parameters: Tensor, scale_clamp: float | None = None
    ) -> UnivariatePulled:
        """Value and log-scale with samples along the last axis, and what carries gradients.

        Parameters
        ----------
        x : Tensor of shape (..., n_samples)

        parameters : Tensor of shape (..., 2, n_samples)
            Shift and raw log-scale.

        scale_clamp : float or None, default=None
            Bound of the log-scale's size; None for no bound.
        """
        shift, raw = parameters.unbind(-2)
        damping = None if scale_clamp is None else (1 + raw.abs() / scale_clamp).reciprocal_()
        log_scale = raw if damping is None else raw * damping
        scale = log_scale.exp()

        def pull(grad_y: Tensor, grad_ladj: Tensor) -> tuple[Tensor, Tensor]:
            grad_x = grad_y * scale
            grad_raw = torch.addcmul(grad_ladj, grad_x, x)
            if damping is not None:
                grad_raw.mul_(damping).mul_(damping)
            return grad_x, torch.stack([grad_y, grad_raw], dim=-2)

        return torch.addcmul(shift, x, scale), log_scale, pull

    def _call(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.log_scale.exp())

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.shift) * (-self.log_scale).exp()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_scale.expand(x.shape)
