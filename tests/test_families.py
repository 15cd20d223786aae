"""Every family of the registry, with a context and without: what all components have in common."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import MultivariateNormal
from zuko.flows import GeneralCouplingTransform
from zuko.transforms import AutoregressiveTransform

from skgbnf.flows import (
    SPLINES,
    Architecture,
    CopulaBase,
    FittedByEM,
    Penalised,
    families,
    family_names,
    get_family,
    initialise,
    make_flow,
)
from skgbnf.flows.actnorm import ActNorm
from skgbnf.flows.autoregressive import IncrementalAutoregressive
from skgbnf.flows.column_splines import MarginalSpline
from skgbnf.flows.conditional import ConditionalAffine
from skgbnf.flows.linear import LULinear
from skgbnf.flows.tails import TailTransform

N_CONTEXT = 2
SIZES = {"n_transforms": 2, "hidden_layer_sizes": (16,), "n_components": 2}
BOTH = [
    pytest.param(family, n_context, id=f"{family}, {'a' if n_context else 'no'} context")
    for family in family_names()
    for n_context in (0, N_CONTEXT)
    if get_family(family).takes_context or not n_context
]
FLOWS = [
    case
    for case in BOTH
    if get_family(case.values[0]).takes_context
    and (get_family(case.values[0]).fitted_by == "gradient" or case.values[1])
]
CONDITIONAL = tuple(family.name for family in families() if family.takes_context)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def moved(component, dtype=torch.float64):
    """A component whose parameters lie away from where they start, near the identity."""
    component = component.to(dtype)
    with torch.no_grad():
        for parameter in component.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return component


def build(family, n_features, n_context, dtype=torch.float64, **fields):
    return moved(make_flow(family, n_features, n_context=n_context, **{**SIZES, **fields}), dtype)


def contexts(n_samples, n_context, dtype=torch.float64):
    return torch.randn(n_samples, n_context, dtype=dtype) if n_context else None


def linear_rows(n_samples, n_features, noise=0.1):
    """Samples that are linear functions of a context, and noise; and their context."""
    context = torch.randn(n_samples, N_CONTEXT, dtype=torch.float64)
    slope = torch.tensor([[1.0, -0.5, 0.7], [0.0, 0.8, 0.6]], dtype=torch.float64)
    error = noise * torch.randn(n_samples, n_features, dtype=torch.float64)
    return context @ slope[:, :n_features] + 1.0 + error, context


# Rounding grows by the steepest slope of the map, at most about a hundred here.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize(("family", "n_context"), FLOWS)
def test_inverse_brings_samples_back(family, n_context, n_features, dtype, tolerance):
    c = contexts(50, n_context, dtype)
    transform = build(family, n_features, n_context, dtype)(c).transform
    x = torch.randn(50, n_features, dtype=dtype)
    y = transform(x)
    assert y.dtype is dtype
    torch.testing.assert_close(transform.inv(y), x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize(("family", "n_context"), FLOWS)
def test_log_determinant_is_that_of_the_jacobian(family, n_context, n_features):
    component, c = build(family, n_features, n_context), contexts(4, n_context)
    x = torch.randn(4, n_features, dtype=torch.float64)
    _, ladj = component(c).transform.call_and_ladj(x)
    for i in range(len(x)):
        transform = component(None if c is None else c[i]).transform
        jacobian = torch.autograd.functional.jacobian(transform, x[i])
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(ladj[i], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("family", "n_context"), BOTH)
def test_every_parameter_gets_a_gradient(family, n_context):
    component = build(family, 3, n_context)
    x = torch.randn(300, 3, dtype=torch.float64)
    loss = -component(contexts(300, n_context)).log_prob(x).sum()
    penalties = (m.penalty() for m in component.modules() if isinstance(m, Penalised))
    sum(penalties, loss).backward()
    for name, parameter in component.named_parameters():
        if not parameter.numel():
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("place", SPLINES)
@pytest.mark.parametrize(("family", "n_context"), BOTH)
def test_one_column_integrates_to_one_in_every_context(family, n_context, place):
    component = build(family, 1, n_context, splines=place)
    grid = torch.linspace(-60, 60, 24_001, dtype=torch.float64).unsqueeze(1)
    for c in contexts(2, n_context) if n_context else [None]:
        with torch.no_grad():
            density = component(c).log_prob(grid).exp()
        # The tail of a Student t of scale 1 beyond 60 holds 1e-5; the step is 5e-3.
        assert float(torch.trapezoid(density, dx=5e-3)) == pytest.approx(1.0, abs=5e-4)


@pytest.mark.parametrize("family", CONDITIONAL)
def test_the_density_is_that_of_its_own_context(family):
    component, c = build(family, 3, N_CONTEXT), contexts(20, N_CONTEXT)
    x = torch.randn(20, 3, dtype=torch.float64)
    with torch.no_grad():
        together = component(c).log_prob(x)
        alone = [component(c[i]).log_prob(x[i : i + 1]) for i in range(20)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-9)
        other = component(c.flip(0)).log_prob(x)
    assert ((together - other).abs() > 1e-6).all()


@pytest.mark.parametrize(
    ("fields"),
    [
        {"base": CopulaBase("gaussian", df="learn"), "tail": "transform"},
        {"base": "student_t", "splines": "whitened"},
        {"splines": None, "log_det": "exact", "dropout": 0.1, "activation": "silu"},
    ],
    ids=["copula and tails", "student t, whitened", "no splines, exact"],
)
@pytest.mark.parametrize("family", CONDITIONAL)
def test_every_setting_goes_with_a_context(family, fields):
    component = make_flow(family, 3, n_context=N_CONTEXT, **SIZES, **fields).double()
    x, c = linear_rows(300, 3)
    initialise(component, x, torch.ones(300, dtype=x.dtype), c)
    drawn = component(c[:40]).sample((2,))
    assert drawn.shape == (2, 40, 3)
    assert torch.isfinite(component(c[:40]).log_prob(drawn)).all()


@pytest.mark.parametrize("n_samples", [(), (5,)])
@pytest.mark.parametrize(("family", "n_context"), BOTH)
def test_samples_have_the_shape_of_the_contexts(family, n_context, n_samples):
    distribution = build(family, 3, n_context)(contexts(7, n_context))
    batch = (7,) if n_context else ()
    assert tuple(distribution.batch_shape) == batch
    assert distribution.sample(n_samples).shape == (*n_samples, *batch, 3)


@pytest.mark.parametrize("family", CONDITIONAL)
def test_samples_follow_the_density_of_their_context(family):
    """By the probability integral transform, in one column and one context."""
    component = build(family, 1, N_CONTEXT)
    c = contexts(2, N_CONTEXT)
    grid = torch.linspace(-60, 60, 24_001, dtype=torch.float64).unsqueeze(1)
    with torch.no_grad():
        for i, drawn in enumerate(component(c).sample((400,)).squeeze(-1).T):
            cdf = torch.cumsum(component(c[i]).log_prob(grid).exp(), 0).numpy() * 5e-3
            levels = np.interp(drawn.numpy(), grid.squeeze(1).numpy(), cdf)
            assert stats.kstest(levels, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("family", ["nsf", "maf", "graphical"])
@pytest.mark.parametrize("n_context", [0, N_CONTEXT])
def test_sampling_is_that_of_repeated_passes(family, n_context):
    component = build(family, 5, n_context, hidden_layer_sizes=(9, 7))
    if family == "graphical":
        x = torch.randn(500, 5, dtype=torch.float64)
        x[:, 1] += 2 * x[:, 0]
        x[:, 4] -= x[:, 1].square()
        initialise(component, x, torch.ones(500, dtype=x.dtype), contexts(500, n_context))
        moved(component)
    c, y = contexts(30, n_context), torch.randn(30, 5, dtype=torch.float64)
    layers = [m for m in component.modules() if isinstance(m, IncrementalAutoregressive)]
    assert layers
    for layer in layers:
        expected = AutoregressiveTransform(partial(layer.meta, c), layer.passes).inv(y)
        torch.testing.assert_close(layer(c).inv(y), expected, rtol=0, atol=1e-9)


# The start


@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize(("family", "n_context"), BOTH)
def test_a_start_keeps_shapes_and_precision(family, n_context, n_features):
    for dtype in (torch.float32, torch.float64):
        component = make_flow(family, n_features, n_context=n_context, **SIZES).to(dtype)
        before = {name: (t.shape, t.dtype) for name, t in component.state_dict().items()}
        state = torch.get_rng_state()
        x = torch.randn(60, n_features, dtype=dtype)
        torch.set_rng_state(state)
        initialise(component, x, torch.rand(60, dtype=dtype), contexts(60, n_context, dtype))
        after = {name: (t.shape, t.dtype) for name, t in component.state_dict().items()}
        assert after == before
        assert all(torch.isfinite(t).all() for t in component.state_dict().values())


@pytest.mark.parametrize("family", CONDITIONAL)
def test_a_start_knows_what_is_linear_in_the_context(family):
    x, c = linear_rows(2000, 3)
    component = make_flow(family, 3, n_context=N_CONTEXT, **SIZES).double()
    initialise(component, x, torch.ones(2000, dtype=x.dtype), c)
    new, new_context = linear_rows(2000, 3)
    with torch.no_grad():
        score = float(component(new_context).log_prob(new).mean())
    truth = -3 * (np.log(0.1) + 0.5 * np.log(2 * np.pi) + 0.5)
    # Splines of columns come first, and bend what was linear; a Student t is not the truth either.
    assert score > truth - 2.5
    assert score < truth + 0.2


def test_a_first_layer_starts_from_weighted_least_squares():
    x, c = linear_rows(400, 2)
    c[:, 1] = 1.0 + 0.5 * c[:, 0]  # nearly the same column
    c[:, 1] += 0.1 * torch.randn(400, dtype=c.dtype)
    weights = torch.rand(400, dtype=x.dtype)
    layer = ConditionalAffine(2, N_CONTEXT).double()
    layer.initialise(x, weights, c)
    root = np.sqrt(weights.numpy())[:, None]
    design = np.column_stack([np.ones(400), c.numpy()])
    found = np.linalg.lstsq(root * design, root * x.numpy(), rcond=None)[0]
    z = layer(c)(x)
    deviation = np.sqrt(np.average((x.numpy() - design @ found) ** 2, axis=0, weights=weights))
    # The ridge, 1/150 of the variance, changes what near copies share, less what is left.
    np.testing.assert_allclose(
        z.detach().numpy(), (x.numpy() - design @ found) / deviation, rtol=0, atol=0.15
    )


def test_a_first_layer_starts_from_constant_columns():
    x, c = torch.zeros(20, 2, dtype=torch.float64), torch.ones(20, 3, dtype=torch.float64)
    layer = ConditionalAffine(2, 3).double()
    layer.initialise(x, torch.ones(20, dtype=x.dtype), c)
    torch.testing.assert_close(layer(c)(x), x, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="needs the context"):
        layer.initialise(x, torch.ones(20, dtype=x.dtype))


# What a context makes of each family


def layers_of(family, **fields):
    component = make_flow(family, 3, n_context=N_CONTEXT, **SIZES, **fields)
    return [type(layer) for layer in component.transform.transforms]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("affine", [ConditionalAffine]),
        ("realnvp", [ConditionalAffine, *2 * [GeneralCouplingTransform]]),
        ("nsf_coupling", [ConditionalAffine, *2 * [GeneralCouplingTransform]]),
        ("glow", [ConditionalAffine, *2 * [ActNorm, LULinear, GeneralCouplingTransform]]),
        ("maf", [ConditionalAffine, *2 * [LULinear, IncrementalAutoregressive]]),
    ],
)
def test_a_conditional_affine_layer_comes_first(family, expected):
    assert layers_of(family, splines=None) == expected


def test_splines_of_whitened_columns_stand_behind_what_whitens():
    assert layers_of("nsf", splines="whitened")[:3] == [ConditionalAffine, LULinear, MarginalSpline]
    assert layers_of("realnvp", splines="whitened")[:2] == [ConditionalAffine, MarginalSpline]
    first = layers_of("nsf", tail="transform")[:3]
    assert first == [TailTransform, MarginalSpline, ConditionalAffine]


def test_a_mixture_density_network_is_the_mixture_of_its_context():
    component, c = build("gaussian_mixture", 2, N_CONTEXT), contexts(6, N_CONTEXT)
    x = torch.randn(6, 2, dtype=torch.float64)
    z, ladj = component.transform(c).call_and_ladj(x)
    expected = []
    for i in range(len(x)):
        mixture = component.base(c[i])
        parts = MultivariateNormal(mixture.base.loc, scale_tril=mixture.base.scale_tril)
        joint = mixture.logits.log_softmax(-1) + parts.log_prob(z[i])
        expected.append(joint.logsumexp(-1) + ladj[i])
    torch.testing.assert_close(component(c).log_prob(x), torch.stack(expected))


def test_a_student_t_has_place_and_scale_by_the_context():
    component, c = build("student_t", 2, N_CONTEXT), contexts(5, N_CONTEXT)
    x = torch.randn(5, 2, dtype=torch.float64)
    base = component.base()
    for i in range(len(x)):
        map_ = component.transform(c[i])
        scale = np.diag(
            (map_.inv(torch.ones(2).double()) - map_.inv(torch.zeros(2).double())).detach()
        )
        loc = map_.inv(base.loc).detach().numpy()
        factor = scale @ base.factor.detach().numpy()
        expected = stats.multivariate_t(loc, factor @ factor.T, df=3.0).logpdf(x[i])
        found = component(c[i]).log_prob(x[i : i + 1]).item()
        assert found == pytest.approx(expected, rel=1e-9)


def test_a_graph_is_that_of_what_the_context_leaves():
    """All columns follow one number of the context: given it, they are independent."""
    c = torch.randn(1000, 1, dtype=torch.float64)
    x = c + torch.randn(1000, 3, dtype=torch.float64)
    x[:, 2] += 2 * x[:, 1]
    component = make_flow("graphical", 3, n_context=1, splines=None, **SIZES).double()
    initialise(component, x, torch.ones(1000, dtype=x.dtype), c)
    y, c = torch.randn(1, 3, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    layer = next(m for m in component.modules() if isinstance(m, IncrementalAutoregressive))
    moved(layer)
    jacobian = torch.autograd.functional.jacobian(lambda y: layer(c)(y), y)[0, :, 0]
    seen = torch.eye(3, dtype=torch.bool)
    # The columns come in reverse: the last sees, in front, the one that it depends on.
    seen[1, 0] = True
    assert torch.equal(jacobian != 0, seen)
    by_context = torch.autograd.functional.jacobian(lambda c: layer(c)(y), c)[0, :, 0]
    assert (by_context != 0).all()


@pytest.mark.parametrize("family", CONDITIONAL)
def test_with_a_context_all_are_trained_by_their_gradient(family):
    assert not isinstance(make_flow(family, 2, n_context=1), FittedByEM)
    assert isinstance(make_flow(family, 2), FittedByEM) == (get_family(family).fitted_by == "em")


@pytest.mark.parametrize("family", CONDITIONAL)
def test_training_by_the_gradient_learns_from_the_context(family):
    x, c = linear_rows(300, 2, noise=0.5)
    component = make_flow(family, 2, n_context=N_CONTEXT, **SIZES).double()
    initialise(component, x, torch.ones(300, dtype=x.dtype), c)
    optimiser = torch.optim.Adam(component.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = -component(c).log_prob(x).mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_names_in_order():
    assert [family.name for family in families()] == list(family_names())


def test_what_is_told_of_a_component():
    told = [
        Architecture("nsf", 2).describe(),
        Architecture("maf", 2, splines=None).describe(),
        Architecture("affine", 2).describe(),
        Architecture("gaussian_mixture", 2).describe(),
        Architecture("gaussian_mixture", 2, n_components=3).describe(),
        Architecture("gaussian_mixture", 2, n_components=3, n_context=1).describe(),
    ]
    assert told == [
        "nsf, splines of columns", "maf", "affine", "gaussian_mixture of 1 Gaussian",
        "gaussian_mixture of 3 Gaussians",
        "gaussian_mixture of 3 Gaussians",
    ]  # fmt: skip
