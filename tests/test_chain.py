"""Backward passes of layers' own: those of autograd, once and twice, alone and in a flow."""

import gc

import pytest
import torch
from torch import nn
from zuko.distributions import NormalizingFlow
from zuko.flows import Flow

from skgbnf.flows import ACTIVATIONS, Dropout, initialise, make_flow
from skgbnf.flows.autoregressive import IncrementalAutoregressive
from skgbnf.flows.chain import ChainedFlow, chained
from skgbnf.flows.column_splines import MarginalSpline
from skgbnf.flows.interfaces import Differentiated
from skgbnf.flows.layers import (
    Reversal,
    affine,
    autoregressive,
    bounded,
    mixture_scores,
    spline,
)
from skgbnf.flows.linear import LULinear
from skgbnf.training.gradient import lent

N_SAMPLES, N_FEATURES = 7, 3


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def network_of(activation):
    return {"hidden_features": (5, 4), "activation": ACTIVATIONS[activation]}


def masked(make, activation="silu", scale_clamp=3.0):
    layer = make(autoregressive, N_FEATURES, 0, scale_clamp=scale_clamp, **network_of(activation))
    return bounded(layer)


LAYERS = {
    "linear": lambda: LULinear(N_FEATURES),
    "splines of columns": lambda: MarginalSpline(N_FEATURES, n_bins=4),
    "reversal": lambda: Reversal(N_FEATURES),
    "affine": lambda: masked(affine),
    "affine without bound": lambda: masked(affine, scale_clamp=None),
    "splines": lambda: masked(spline),
    "mixtures": lambda: masked(mixture_scores),
    **{f"affine by {name}": lambda name=name: masked(affine, name) for name in ACTIVATIONS},
}


def moved(module):
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def samples(n_samples=N_SAMPLES, n_features=N_FEATURES):
    return 3 * torch.randn(n_samples, n_features, dtype=torch.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_maps_as_its_transform_does(name):
    layer, x = moved(LAYERS[name]()), samples()
    assert isinstance(layer, Differentiated)
    assert layer.is_differentiated
    image, ladj = layer(None).call_and_ladj(x)
    y, own, _ = layer.pullback(x.mT)
    torch.testing.assert_close(y.mT, image, rtol=0, atol=1e-12)
    torch.testing.assert_close(own.expand(len(x)), ladj, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_finite_differences(name):
    layer, x = moved(LAYERS[name]()), samples().requires_grad_()
    values = layer.parameter_list()
    assert [value.shape for value in values] == [p.shape for p in layer.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: chained([layer], x), (x, *values), eps=1e-7)


@pytest.mark.parametrize("name", ["linear", "affine", "affine by tanh", "reversal"])
def test_gradients_can_be_differentiated_again(name):
    layer, x = moved(LAYERS[name]()), samples(3).requires_grad_()
    values = layer.parameter_list()
    assert torch.autograd.gradgradcheck(lambda x, *_: chained([layer], x), (x, *values))


def test_values_are_dropped_where_gradients_are_too():
    layer, x = moved(masked(affine)), samples().requires_grad_()
    dropout = Dropout(0.5)
    layer.hyper[2] = nn.Sequential(layer.hyper[2], dropout)

    def image(x, *_):
        with lent(torch.Generator().manual_seed(0), [dropout]):
            return chained([layer], x)

    assert not torch.equal(image(x)[0], chained([layer], x)[0])
    assert torch.autograd.gradcheck(image, (x, *layer.parameter_list()), eps=1e-7)


def flow_of(family, **fields):
    flow = make_flow(family, N_FEATURES, hidden_layer_sizes=(8, 8), **fields).double()
    x = samples(200)
    initialise(flow, x, torch.ones(len(x), dtype=x.dtype))
    return moved(flow)


def gradients(log_prob, flow, x):
    return torch.autograd.grad(log_prob.sum(), [x, *flow.parameters()])


@pytest.mark.parametrize("base", ["normal", "student_t"])
@pytest.mark.parametrize("family", ["maf", "nsf", "graphical", "linear"])
def test_a_flow_is_what_its_transforms_and_its_base_are(family, base):
    flow, x = flow_of(family, base=base), samples(20).requires_grad_()
    assert flow.has_chain_for(x)
    expected = NormalizingFlow(flow.transform(None), flow.base(None)).log_prob(x)
    log_prob = flow(None).log_prob(x)
    torch.testing.assert_close(log_prob, expected, rtol=1e-10, atol=1e-10)
    pairs = zip(gradients(log_prob, flow, x), gradients(expected, flow, x), strict=True)
    for own, other in pairs:
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-9)


def test_batches_of_other_shapes_are_evaluated_as_ever():
    flow, x = flow_of("maf"), samples(20)
    expected = flow(None).log_prob(x)
    for few in (x[:2], x[0], x.reshape(4, 5, N_FEATURES)):
        assert not flow.has_chain_for(few)
    torch.testing.assert_close(flow(None).log_prob(x[:2]), expected[:2], rtol=0, atol=1e-10)
    torch.testing.assert_close(flow(None).log_prob(x[0]), expected[0], rtol=0, atol=1e-10)
    many = flow(None).log_prob(x.reshape(4, 5, N_FEATURES))
    torch.testing.assert_close(many, expected.reshape(4, 5), rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ["realnvp", "glow"])
def test_layers_without_a_backward_pass_are_evaluated_as_ever(family):
    flow = flow_of(family)
    assert isinstance(flow, ChainedFlow)
    assert not flow.has_chain_for(samples())


def test_a_layer_with_unknown_modules_has_no_backward_pass():
    layer = IncrementalAutoregressive(N_FEATURES, hidden_features=(4,))
    assert not layer.is_differentiated  # zuko's own affine map
    layer = masked(affine)
    layer.hyper.insert(1, nn.Softsign())
    assert not layer.is_differentiated


def test_the_distribution_is_that_of_a_flow():
    flow = flow_of("maf")
    distribution = flow(None)
    assert distribution.batch_shape == ()
    assert distribution.event_shape == (N_FEATURES,)
    assert distribution.expand((4,)).sample().shape == (4, N_FEATURES)
    state = torch.get_rng_state()
    sample = distribution.sample((5,))
    torch.set_rng_state(state)
    assert torch.equal(sample, Flow(flow.transform, flow.base)(None).sample((5,)))


@pytest.mark.parametrize("family", ["maf", "nsf"])
def test_nothing_is_kept_in_memory(family):
    """Without a cycle that waits for Python's collector."""
    flow, x = flow_of(family), samples(20)
    gc.collect()
    gc.disable()
    try:
        before = sum(type(thing) is torch.Tensor for thing in gc.get_objects())
        flow(None).log_prob(x).sum().backward()
        flow.zero_grad()
        assert sum(type(thing) is torch.Tensor for thing in gc.get_objects()) == before
    finally:
        gc.enable()
