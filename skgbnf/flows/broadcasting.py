"""Operations of layers whose parameters may have a leading axis of networks."""

import torch
import torch.nn.functional as F
from torch import Tensor


def linear_map(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Samples under an affine map, or those of each network under the map of its own.

    Parameters
    ----------
    x : Tensor of shape (..., n_inputs) or (n_networks, n_samples, n_inputs)

    weight : Tensor of shape (n_outputs, n_inputs) or (n_networks, n_outputs, n_inputs)

    bias : Tensor of shape (n_outputs,) or (n_networks, n_outputs)
    """
    if weight.dim() == 2 and bias.dim() == 1:
        return F.linear(x, weight, bias)
    return torch.matmul(x, weight.mT) + per_network(bias, 1)


def per_network(values: Tensor, n_dims: int) -> Tensor:
    """Values of `n_dims` dimensions as they are, those of each network beside its samples."""
    return values if values.dim() == n_dims else values.unsqueeze(1)


def linear_map_of_last(weight: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    """As :func:`linear_map`, for samples along the last axis, each network with its own."""
    shift = bias.unsqueeze(-1)
    if weight.dim() == 2:
        return torch.addmm(shift, weight, x)
    return torch.baddbmm(shift, weight, x)


def permuted_last(x: Tensor, order: Tensor) -> Tensor:
    """As :func:`permuted`, for samples along the last axis."""
    if order.dim() == 1:
        return x.index_select(-2, order)
    return x.gather(-2, order.unsqueeze(-1).expand_as(x))


def permuted(x: Tensor, order: Tensor) -> Tensor:
    """The columns of samples in an order, or in one of each network."""
    if order.dim() == 1:
        return x.index_select(-1, order)
    return x.gather(-1, order.unsqueeze(1).expand(-1, x.shape[1], -1))
