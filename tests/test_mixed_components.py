"""Components for mixed tables: sums and integrals, marginals, draws, EM, stacks."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from skgbnf.flows import Variable, make_flow, stack, unstack
from skgbnf.flows.incomplete import posteriors
from skgbnf.flows.numbers import Numbers, logistic_log_prob
from skgbnf.flows.variables import power_inverse, power_log_slope, power_transform

NAN = math.nan
CODE, FLAG = Variable("categorical", n_levels=3), Variable("categorical", n_levels=2)
NUMBER = Variable("continuous", power=0.4, shift=0.1, spread=1.3)
COUNT = Variable("grid", step=0.5, lowest=0.0, power=0.8, spread=1.2)
RATING = Variable("grid", step=1.0, lowest=-1.0, highest=2.0)
FINE = Variable("grid", step=0.01, power=0.9, spread=1.1)
ANGLE = Variable("periodic")
VALUE = Variable("continuous", parent=1)
MIXED = (CODE, FLAG, VALUE, NUMBER, COUNT, ANGLE, RATING)


def made(family, variables, seed=0, **fields):
    """A component with parameters that are not those of a start."""
    torch.manual_seed(seed)
    if family != "location_mixture":
        fields.setdefault("hidden_layer_sizes", (16, 16))
    component = make_flow(family, len(variables), variables=tuple(variables), **fields).double()
    if family == "location_mixture":
        x = drawn(made("autoregressive", variables, seed + 1), 400)
        with torch.no_grad():
            component.em_seed(x, torch.ones(400).double(), 0)
            component.em_step(x, torch.ones(400).double())
        return component
    for parameter in component.parameters():
        parameter.data += 0.4 * torch.randn_like(parameter)
    return component


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def drawn(component, n):
    unknown = torch.full((n, component.n_variables), NAN, dtype=torch.float64)
    return component.complete(unknown, torch.ones_like(unknown, dtype=torch.bool))


def rows(*cells):
    return torch.tensor(cells, dtype=torch.float64)


FAMILIES = {
    "autoregressive": {"order": 3},
    "masked": {"order": 1},
    "location_mixture": {"n_components": 3},
}
families = pytest.mark.parametrize("family", FAMILIES)


@families
def test_probabilities_of_codes_sum_to_one(family):
    component = made(family, (CODE, FLAG, CODE), **FAMILIES[family])
    every = rows(*itertools.product(range(3), range(2), range(3)))
    assert component.log_density(every).exp().sum() == pytest.approx(1, abs=1e-12)
    first = rows(*((c, NAN, NAN) for c in range(3)))
    assert component.log_density(first).exp().sum() == pytest.approx(1, abs=1e-12)
    given = torch.tensor([True, False, True])
    two = component.conditional_log_density(rows((1, 0, 2), (1, 1, 2)), given)
    assert two.exp().sum() == pytest.approx(1, abs=1e-9)


@families
def test_probabilities_of_grids_sum_to_one(family):
    component = made(family, MIXED, **FAMILIES[family])
    start = drawn(component, 1)
    ratings = start.repeat(4, 1)
    ratings[:, 6] = torch.arange(-1.0, 3.0)
    counts = start.repeat(4000, 1)
    counts[:, 4] = 0.5 * torch.arange(4000)
    for x, j in ((ratings, 6), (counts, 4)):
        given = torch.ones(len(MIXED), dtype=torch.bool)
        given[j] = False
        total = component.conditional_log_density(x, given).exp().sum()
        assert total == pytest.approx(1, abs=1e-6)


def test_a_fine_open_grid_of_gaussians_sums_to_one():
    component = made("location_mixture", (FINE, NUMBER), n_components=2)
    x = rows(*((0.01 * k, NAN) for k in range(-4000, 4000)))
    assert component.log_density(x).exp().sum() == pytest.approx(1, abs=1e-4)


@families
@pytest.mark.parametrize("j", [2, 3, 5])
def test_densities_of_numbers_integrate_to_one(family, j):
    component = made(family, MIXED, **FAMILIES[family])
    start = drawn(component, 1)
    start[0, 1], start[0, 2] = 0, 0.3
    given = torch.ones(len(MIXED), dtype=torch.bool)
    given[j] = False

    if j == 5:
        u = torch.linspace(-math.pi, math.pi, 2001).double()
        slope = torch.ones_like(u)
    else:
        # Of t = asinh(u), since a power spreads the tails.
        t = torch.linspace(-10, 10, 8001).double()
        u, slope = t.sinh(), t.cosh()
    x = start.repeat(len(u), 1)
    x[:, j] = u
    density = component.conditional_log_density(x, given).exp()
    total = torch.trapezoid(density * slope, u if j == 5 else t).item()
    assert total == pytest.approx(1, abs=2e-4)


def test_the_density_follows_the_order_of_the_component():
    component = made("autoregressive", (CODE, NUMBER, FLAG, COUNT), order=5)
    x = drawn(component, 20)
    chain = torch.zeros(20).double()
    for place, j in enumerate(component.order):
        known = torch.full_like(x, NAN)
        before = component.order[:place]
        known[:, before] = x[:, before]
        with_j = known.clone()
        with_j[:, j] = x[:, j]
        chain += component.log_density(with_j) - component.log_density(known)
    torch.testing.assert_close(component.log_density(x), chain)


@families
def test_draws_have_the_probabilities_of_the_density(family):
    # The order in which the variables stand, so that the first ones have exact marginals.
    fields = {"n_components": 3} if family == "location_mixture" else {}
    component = made(family, (CODE, FLAG, VALUE), **fields)
    x = drawn(component, 20_000)
    assert x[x[:, 1] != 0, 2].isnan().all()
    assert not x[x[:, 1] == 0, 2].isnan().any()
    t = torch.linspace(0, 9, 4001).double()
    for c, f in itertools.product(range(3), range(2)):
        chosen = (x[:, 0] == c) & (x[:, 1] == f)
        expected = component.log_density(rows((c, f, NAN))).exp().item()
        assert chosen.double().mean().item() == pytest.approx(expected, abs=4.5 * 0.5 / 141)
        if f == 0:
            grid = torch.stack([torch.full_like(t, c), torch.zeros_like(t), t.sinh()], dim=1)
            above = torch.trapezoid(component.log_density(grid).exp() * t.cosh(), t).item()
            share = (x[chosen, 2] > 0).double().mean().item()
            spread = 0.5 / math.sqrt(int(chosen.sum()))
            assert share == pytest.approx(above / expected, abs=4.5 * spread)


def test_marginals_of_a_location_mixture_are_integrals():
    component = made("location_mixture", (CODE, NUMBER, COUNT), n_components=3)
    x = drawn(component, 5)
    for row in x:
        over_codes = torch.stack([rows((c, *row[1:].tolist()))[0] for c in range(3)])
        total = component.log_density(over_codes).logsumexp(0)
        part = component.log_density(rows((NAN, *row[1:].tolist())))[0]
        assert total.item() == pytest.approx(part.item(), abs=1e-10)
    given = torch.tensor([False, True, True])
    without = torch.where(given, x, NAN)
    difference = component.log_density(x) - component.log_density(without)
    torch.testing.assert_close(component.conditional_log_density(x, given), difference)


def test_em_raises_the_likelihood_of_samples_with_gaps():
    torch.manual_seed(0)
    x = drawn(made("autoregressive", (CODE, NUMBER, FINE, FLAG)), 600)
    x[torch.rand(x.shape) < 0.3] = NAN
    component = make_flow(
        "location_mixture", 4, variables=(CODE, NUMBER, FINE, FLAG), n_components=3
    ).double()
    weights = torch.ones(600).double()
    component.em_seed(x, weights, 0)
    scores = []
    for _ in range(15):
        component.em_step(x, weights)
        scores.append(component.log_density(x).mean().item())
    # Priors of two samples may take a little back.
    assert all(b > a - 1e-3 for a, b in itertools.pairwise(scores))
    assert scores[-1] > scores[0] + 0.01


def test_gaussians_with_gaps_are_those_of_scipy():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(2, 3, 3))
    covariances = factors @ factors.transpose(0, 2, 1) + np.eye(3)
    means = rng.normal(size=(2, 3))
    x = rng.normal(size=(50, 3))
    x[rng.random(x.shape) < 0.4] = NAN
    log_prob, filled = torch.zeros(50, 2).double(), torch.zeros(50, 2, 3).double()
    parts = posteriors(*(torch.from_numpy(a) for a in (x, means, covariances)))
    for part in parts:
        log_prob[part.index], filled[part.index] = part.log_prob, part.means
    for i, k in itertools.product(range(50), range(2)):
        o, u = np.flatnonzero(~np.isnan(x[i])), np.flatnonzero(np.isnan(x[i]))
        S = covariances[k]
        if not len(o):
            assert log_prob[i, k] == 0
            continue
        expected = stats.multivariate_normal(means[k][o], S[np.ix_(o, o)]).logpdf(x[i, o])
        assert log_prob[i, k].item() == pytest.approx(expected, abs=1e-10)
        gain = S[np.ix_(u, o)] @ np.linalg.inv(S[np.ix_(o, o)])
        np.testing.assert_allclose(
            filled[i, k][u].numpy(), means[k][u] + gain @ (x[i, o] - means[k][o]), atol=1e-10
        )


@families
def test_what_is_known_stays_and_what_is_not_wanted_stays_open(family):
    component = made(family, MIXED, **FAMILIES[family])
    x = drawn(component, 60)
    torch.manual_seed(3)
    hidden = torch.rand(x.shape) < 0.5
    # A value goes with its code.
    hidden[:, 2] = hidden[:, 1]
    part = torch.where(hidden, NAN, x)
    wanted = hidden.clone()
    wanted[:, 3] = False
    completed = component.complete(part, wanted)
    torch.testing.assert_close(completed[~hidden], x[~hidden], equal_nan=True, rtol=0, atol=0)
    assert completed[hidden[:, 3], 3].isnan().all()
    open_cells = completed.isnan() & wanted
    assert (completed[open_cells[:, 2], 1] != 0).all()
    assert not open_cells[:, [0, 1, 4, 5, 6]].any()


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0, 1.7, 2.0])
def test_the_power_transform_is_that_of_scipy_and_has_an_inverse(power):
    u = torch.linspace(-20, 20, 401).double().requires_grad_()
    p = torch.tensor(power, dtype=torch.float64)
    with torch.enable_grad():
        w = power_transform(u, p)
        (slope,) = torch.autograd.grad(w.sum(), u)
    np.testing.assert_allclose(w.detach(), stats.yeojohnson(u.detach().numpy(), power), atol=1e-10)
    torch.testing.assert_close(power_inverse(w, p), u)
    torch.testing.assert_close(power_log_slope(u, p), slope.log())


def test_a_cell_has_the_difference_of_two_logistic_functions():
    numbers = Numbers([Variable("grid", step=0.5, lowest=-1.0)]).double()
    u, means = rows((-1.0,), (0.5,), (30.0,)), torch.zeros(1, 1).double()
    scales = torch.full((1, 1), math.log(0.7), dtype=torch.float64)
    found = logistic_log_prob(numbers, numbers.places(u), means, scales).squeeze().exp().numpy()
    logistic = stats.logistic(scale=0.7)
    expected = [logistic.cdf(-0.75), logistic.cdf(0.75) - logistic.cdf(0.25)]
    np.testing.assert_allclose(found[:2], expected, rtol=1e-12)
    np.testing.assert_allclose(found[2], logistic.sf(29.75) - logistic.sf(30.25), rtol=1e-9)


def test_a_code_that_is_no_level_has_no_density():
    for family, fields in FAMILIES.items():
        component = made(family, (CODE, FLAG), **fields)
        assert component.log_density(rows((-1, 0))).item() == -math.inf


def test_a_stack_of_networks_scores_each_with_samples_of_its_own():
    networks = [made("autoregressive", MIXED, seed, order=2) for seed in range(3)]
    x = torch.stack([drawn(network, 7) for network in networks])
    stacked = stack(networks)
    found = stacked(None).log_prob(x)
    for network, own, scores in zip(networks, x, found, strict=True):
        torch.testing.assert_close(network.log_density(own), scores)
    for network, again in zip(networks, unstack(stacked), strict=True):
        for a, b in zip(network.parameters(), again.parameters(), strict=True):
            assert torch.equal(a, b)


def test_training_learns_parts_and_scores_are_without_draws():
    component = made("masked", MIXED, order=1)
    x = drawn(component, 30)
    plain = component.log_density(x)
    component.draws.generator = torch.Generator().manual_seed(0)
    first, second = component.log_density(x), component.log_density(x)
    component.draws.generator = None
    assert not torch.equal(first, second)
    torch.testing.assert_close(component.log_density(x), plain, rtol=0, atol=0)
