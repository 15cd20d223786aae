"""Components of equal shape as one: the same numbers, gradients and steps as one by one."""

import copy

import pytest
import torch
from torch import nn

from skgbnf.flows import (
    SPLINES,
    Architecture,
    CopulaBase,
    Dropout,
    family_names,
    initialise,
    stack,
    unstack,
)
from skgbnf.flows.stacking import OneByOne, OneByOneByEM, StackedByEM, StackedFlow
from skgbnf.training.gradient import lent

N_NETWORKS, N_SAMPLES, N_FEATURES = 3, 20, 4
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


FAMILIES = [name for name in family_names() if name != "location_mixture"]
"""Noise would make the matrices that one holds singular."""


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def samples(k, n_features=N_FEATURES):
    """Samples of network k, with other centres, scales and dependences than those of others."""
    x = (1 + k) * torch.randn(200, n_features, dtype=torch.float64) + k
    x[:, k % n_features] += x[:, 0].square() / 20
    return x


def started(family, n_features=N_FEATURES, dtype=torch.float64, **fields):
    """Components of one architecture, each started from samples of its own, then moved."""
    fields = {"n_transforms": 2, "hidden_layer_sizes": (16, 8), **fields}
    components = []
    for k in range(N_NETWORKS):
        component = Architecture(family, n_features, **fields).build().double()
        x = samples(k, n_features)
        initialise(component, x, torch.ones(len(x), dtype=x.dtype))
        with torch.no_grad():
            for parameter in component.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        components.append(component.to(dtype))
    return components


def batch(n_features=N_FEATURES, dtype=torch.float64):
    return torch.stack([samples(k, n_features)[:N_SAMPLES] for k in range(N_NETWORKS)]).to(dtype)


def assert_same_scores_and_gradients(components, x):
    stacked = stack(components)
    expected = torch.stack(
        [one(None).log_prob(own) for one, own in zip(components, x, strict=True)]
    )
    scores = stacked(None).log_prob(x)
    tolerance = TOLERANCE[x.dtype]
    scale = expected.abs().max().item()
    torch.testing.assert_close(scores, expected, rtol=tolerance, atol=tolerance * scale)
    expected.sum().backward()
    scores.sum().backward()
    for own, one in zip(unstacked_gradients(stacked), components, strict=True):
        for name, parameter in one.named_parameters():
            expected = gradient(parameter)
            size = tolerance * (1 + expected.abs().max().item())
            torch.testing.assert_close(own[name], expected, rtol=0, atol=10 * size)


def unstacked_gradients(stacked):
    """Gradients of each network by the names of its parameters."""
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.copy_(gradient(parameter))
    return [dict(one.named_parameters()) for one in unstack(stacked)]


def gradient(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


@pytest.mark.parametrize("splines", SPLINES)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_gradients_are_those_of_single_networks(family, splines):
    assert_same_scores_and_gradients(started(family, splines=splines), batch())


@pytest.mark.parametrize("family", ["nsf", "maf", "graphical", "linear"])
def test_so_they_are_in_single_precision(family):
    # Where splines of columns are steep, rounding alone makes a larger difference.
    components = started(family, dtype=torch.float32, splines=None)
    assert_same_scores_and_gradients(components, batch(dtype=torch.float32))


@pytest.mark.parametrize("n_features", [1, 2, 30])
@pytest.mark.parametrize("family", ["nsf", "maf", "graphical", "linear"])
def test_so_they_are_with_few_columns_and_with_more_columns_than_samples(family, n_features):
    assert_same_scores_and_gradients(started(family, n_features), batch(n_features))


@pytest.mark.parametrize("log_det", ["exact", "self_normalizing"])
def test_so_they_are_with_other_linear_layers(log_det):
    components = [one.eval() for one in started("maf", log_det=log_det)]
    assert_same_scores_and_gradients(components, batch())


BASES = ["student_t", CopulaBase("gaussian"), CopulaBase("gaussian", "laplace")]


@pytest.mark.parametrize("tail", ["base", "transform"])
@pytest.mark.parametrize("base", BASES)
def test_so_they_are_with_heavy_tails(base, tail):
    assert_same_scores_and_gradients(started("maf", base=base, tail=tail), batch())


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "silu"])
def test_so_they_are_with_every_non_linearity(activation):
    assert_same_scores_and_gradients(started("maf", activation=activation), batch())


@pytest.mark.parametrize(
    ("family", "fields", "kind"),
    [
        ("nsf", {}, StackedFlow),
        ("maf", {"dropout": 0.2}, StackedFlow),
        ("graphical", {}, StackedFlow),
        ("linear", {}, StackedFlow),
        ("maf", {"base": "student_t", "tail": "transform"}, StackedFlow),
        ("maf", {"log_det": "exact"}, StackedFlow),
        ("maf", {"log_det": "self_normalizing"}, OneByOne),
        ("realnvp", {}, OneByOne),
        ("gaussian_mixture", {}, StackedByEM),
        ("copula_mixture", {"tail": "transform"}, StackedByEM),
        ("student_t", {}, StackedByEM),
        ("affine", {}, OneByOneByEM),
    ],
)
def test_layers_say_whether_they_can_be_stacked(family, fields, kind):
    assert type(stack(started(family, **fields))) is kind


def test_unknown_modules_in_a_network_are_evaluated_one_by_one():
    components = started("maf")
    for component in components:
        component.transform.transforms[-1].hyper.insert(1, nn.Softsign())
    assert type(stack(components)) is OneByOne
    assert_same_scores_and_gradients(components, batch())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_round_trip_is_exact_and_shares_nothing(family, dtype):
    components = started(family, dtype=dtype)
    back = unstack(stack([one.eval() for one in components]))
    assert len(back) == N_NETWORKS
    for one, returned in zip(components, back, strict=True):
        assert type(returned) is type(one)
        assert not returned.training
        expected, state = one.state_dict(), returned.state_dict()
        assert list(state) == list(expected)
        for name, value in expected.items():
            assert torch.equal(state[name], value), name
            assert state[name].dtype is value.dtype
            assert state[name].data_ptr() != value.data_ptr()


def test_parameters_have_the_names_of_one_and_buffers_that_are_equal_are_shared():
    components = started("maf")
    stacked = dict(stack(components).state_dict())
    for name, value in components[0].state_dict().items():
        shape = tuple(stacked[name].shape)
        assert shape in ((N_NETWORKS, *value.shape), tuple(value.shape)), name
    first, later = "transform.transforms.1", "transform.transforms.3"
    assert stacked[f"{first}.whitening"].dim() == 3
    assert stacked[f"{later}.whitening"].dim() == 2
    assert stacked[f"{later}.order"].dim() == 2
    assert stacked["transform.transforms.2.hyper.1.mask"].dim() == 2
    assert stacked["transform.transforms.2.hyper.1.weight"].dim() == 3


def train(component, batches, scale):
    """Some steps of Adam; `scale` makes the loss one of all networks."""
    optimiser = torch.optim.Adam(component.parameters(), 1e-2)
    for x in batches:
        optimiser.zero_grad()
        (-scale * component(None).log_prob(x).mean()).backward()
        optimiser.step()


@pytest.mark.parametrize("family", ["nsf", "maf", "graphical", "glow"])
def test_training_a_stack_is_training_each_alone(family):
    alone = started(family)
    stacked = stack(alone)
    batches = [batch() + 0.1 * torch.randn_like(batch()) for _ in range(5)]
    train(stacked, batches, N_NETWORKS)
    for k, (one, together) in enumerate(zip(alone, unstack(stacked), strict=True)):
        train(one, [x[k] for x in batches], 1)
        for name, value in one.state_dict().items():
            torch.testing.assert_close(
                together.state_dict()[name], value, rtol=1e-7, atol=1e-7, msg=name
            )


def test_values_are_dropped_in_each_network_by_draws_of_its_own():
    components = started("maf", dropout=0.5)
    stacked = stack([components[0]] * N_NETWORKS)
    dropouts = [module for module in stacked.modules() if isinstance(module, Dropout)]
    x = batch()[:1].expand(N_NETWORKS, -1, -1)
    with lent(torch.Generator().manual_seed(0), dropouts):
        first, second, _ = stacked(None).log_prob(x)
    assert not torch.equal(first, second)
    first, second, _ = stacked(None).log_prob(x)
    assert torch.equal(first, second)


@pytest.mark.parametrize("family", ["maf", "glow"])
def test_a_stack_can_be_copied(family):
    stacked = stack(started(family))
    x = batch()
    torch.testing.assert_close(
        copy.deepcopy(stacked)(None).log_prob(x), stacked(None).log_prob(x), rtol=0, atol=0
    )


def test_contexts_are_given_to_each_network_one_by_one():
    components = started("maf", n_context=0)
    with pytest.raises(NotImplementedError, match="no context"):
        stack(components)(torch.zeros(N_NETWORKS, N_SAMPLES, 2, dtype=torch.float64))
    fields = {"n_context": 2, "hidden_layer_sizes": (8,)}
    components = [Architecture("maf", 3, **fields).build() for _ in range(N_NETWORKS)]
    x, c = torch.randn(N_NETWORKS, 10, 3), torch.randn(N_NETWORKS, 10, 2)
    expected = [one(own).log_prob(rows) for one, own, rows in zip(components, c, x, strict=True)]
    assert torch.equal(stack(components)(c).log_prob(x), torch.stack(expected))


def test_frozen_parameters_stay_frozen():
    components = started("maf")
    for component in components:
        component.transform.requires_grad_(False)
    stacked = stack(components)
    assert not any(p.requires_grad for p in stacked.parameters())
    assert not any(p.requires_grad for p in unstack(stacked)[0].parameters())


def test_a_stack_has_no_samples():
    with pytest.raises(NotImplementedError, match="unstack"):
        stack(started("maf"))(None).sample()


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        stack([])
    with pytest.raises(ValueError, match="same names, shapes"):
        stack([*started("maf"), *started("nsf")])
    with pytest.raises(TypeError, match="must come from stack"):
        unstack(started("maf")[0])
