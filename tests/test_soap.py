"""The optimiser of all training by gradient: Adam in bases that follow the gradients."""

import copy

import pytest
import torch
from torch import nn

from skgbnf.training.soap import Soap

pytestmark = pytest.mark.quick


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def parameter(*shape, generator, dtype=torch.float64):
    return nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype))


def train(optimiser, loss, n_steps):
    """Take so many steps at a rate that falls to zero, and return the last loss."""
    rate = optimiser.param_groups[0]["lr"]
    for i in range(n_steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - i / n_steps)
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    return float(loss().detach())


def ill_conditioned(shape, generator):
    """A function that makes the loss of a matrix: a quadratic, steep along few directions."""
    left, right = (
        torch.linalg.qr(torch.randn(n, n, generator=generator).double())[0] for n in shape
    )
    scales = [torch.logspace(0, -2, n, dtype=torch.float64) for n in shape]

    def loss_of(matrix):
        turned = left @ matrix @ right
        return (scales[0][:, None] * turned * scales[1]).square().sum()

    return loss_of


def test_an_ill_conditioned_quadratic_needs_fewer_steps_than_with_adam(generator):
    loss_of = ill_conditioned((12, 8), generator)
    start = parameter(12, 8, generator=generator)
    ends = {}
    for kind in (Soap, torch.optim.Adam):
        matrix = nn.Parameter(start.detach().clone())
        n_steps = 300 if kind is Soap else 600
        ends[kind] = train(kind([matrix], lr=0.1), lambda m=matrix: loss_of(m), n_steps)
    assert ends[Soap] < 0.1 * ends[torch.optim.Adam]


@pytest.mark.parametrize("shape", [(), (1,), (7,), (1, 1), (2, 3, 4), (200, 129)])
def test_what_has_no_bases_is_trained_by_adam(shape, generator):
    ours = parameter(*shape, generator=generator)
    adams = nn.Parameter(ours.detach().clone())
    target = torch.randn(shape, generator=generator).double()
    for value, kind in ((ours, Soap), (adams, torch.optim.Adam)):
        optimiser = kind([value], lr=0.01, betas=(0.9, 0.99))
        train(optimiser, lambda v=value: (v - target).pow(4).sum(), 25)
    torch.testing.assert_close(ours, adams, rtol=1e-12, atol=1e-12)


def test_bases_that_are_the_identity_give_adam(generator):
    ours = parameter(5, 3, generator=generator)
    adams = nn.Parameter(ours.detach().clone())
    # Bases are refreshed after the first step alone, and stay what they are by its gradient.
    for value, kind, others in ((ours, Soap, {"period": 10**6}), (adams, torch.optim.Adam, {})):
        optimiser = kind([value], lr=0.01, betas=(0.95, 0.95), **others)
        value.grad = torch.eye(5, 3).double()
        optimiser.step()
        train(optimiser, lambda v=value: (v - 3.0).pow(4).sum(), 25)
    torch.testing.assert_close(ours, adams, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stacked_networks_are_trained_as_if_each_were_alone(dtype, generator):
    shapes = [(3, 6, 4), (3, 6, 4), (3, 5), (3, 1, 4), (3, 150, 6), (3,)]
    stacked = [parameter(*shape, generator=generator, dtype=dtype) for shape in shapes]
    alone = [[nn.Parameter(p[k].detach().clone()) for p in stacked] for k in range(3)]

    def loss(values, k):
        return sum((v.cumsum(-1) if v.ndim else v).sub(k).pow(4).mean() for v in values)

    train(
        Soap(stacked, 0.01, stacked=True),
        lambda: sum(loss([p[k] for p in stacked], k) for k in range(3)),
        30,
    )
    for k, values in enumerate(alone):
        train(Soap(values, 0.01), lambda v=values, k=k: loss(v, k), 30)
        for ours, other in zip(stacked, values, strict=True):
            torch.testing.assert_close(ours[k], other)


@pytest.mark.parametrize("shape", [(4, 3), (1, 5), (5, 1), (1, 1), (300, 2), (3,)])
def test_gradients_of_zero_or_none_move_nothing(shape, generator):
    value = parameter(*shape, generator=generator)
    start = value.detach().clone()
    optimiser = Soap([value])
    for gradient in (None, torch.zeros_like(value)) * 12:
        value.grad = gradient
        optimiser.step()
    torch.testing.assert_close(value.detach(), start, rtol=0, atol=0)
    value.grad = torch.ones_like(value)
    optimiser.step()
    assert torch.isfinite(value).all()
    assert (value < start).any()


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (2, 2), (1, 1)])
def test_small_matrices_find_their_minimum(shape, generator):
    value = parameter(*shape, generator=generator)
    target = torch.randn(shape, generator=generator).double()
    assert train(Soap([value], 0.1), lambda: (value - target).square().sum(), 200) < 0.01


def test_gradients_that_reach_few_rows_leave_all_numbers_finite(generator):
    value = parameter(20, 10, generator=generator, dtype=torch.float32)
    optimiser = Soap([value], 0.1)
    assert train(optimiser, lambda: (value[:2] - 1).square().sum(), 300) < 0.05
    assert torch.isfinite(value).all()


def test_what_needs_no_gradient_stays(generator):
    layer = nn.Linear(4, 3)
    layer.weight.requires_grad_(False)
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(8, 4, generator=generator)
    train(Soap(layer.parameters(), 0.1), lambda: layer(x).square().sum(), 3)
    assert torch.equal(layer.weight, before["weight"])
    assert not torch.equal(layer.bias, before["bias"])


def test_the_same_gradients_give_the_same_steps_to_the_bit(generator):
    starts = parameter(70, 40, generator=generator, dtype=torch.float32)
    ends = []
    for _ in range(2):
        value = nn.Parameter(starts.detach().clone())
        train(Soap([value], 0.01), lambda v=value: v.cumsum(0).cos().sum(), 25)
        ends.append(value.detach())
    assert torch.equal(*ends)


def test_a_closure_computes_the_loss(generator):
    value = parameter(3, 2, generator=generator)

    def closure():
        loss = value.square().sum()
        loss.backward()
        return loss

    expected = float(value.detach().square().sum())
    assert float(Soap([value]).step(closure).detach()) == expected
