"""The density formula and the sampler, against explicit sums and counts."""

import math

import numpy as np
import pytest
import torch

from skgbnf.flows import family_names, make_flow
from skgbnf.training.mixture import Mixture, mixture_log_prob

WEIGHTS = [0.5, 0.3, 0.2]


def gaussian_at(mean, sd=1.0):
    """An "affine" component that is a round Gaussian in two columns."""
    flow = make_flow("affine", 2).double()
    rows = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    flow.em_step(sd * rows + torch.tensor(mean, dtype=torch.float64), torch.ones(4).double())
    return flow


@pytest.fixture
def mixture():
    """Three Gaussians so far apart that a row tells its component; two earlier stages."""
    components = [gaussian_at((0.0, 0.0)), gaussian_at((100.0, 0.0)), gaussian_at((0.0, 100.0))]
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.4, 0.0], WEIGHTS], dtype=torch.float64)
    return Mixture(components, weights)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(scale=3.0, size=(50, 2)))


def explicit_log_density(mixture, weights, x):
    """Log of the weighted sum of densities, row by row in Python floats."""
    log_densities = []
    for row in x:
        total = 0.0
        for weight, component in zip(weights, mixture.components, strict=True):
            total += weight * math.exp(component().log_prob(row.unsqueeze(0)).item())
        log_densities.append(math.log(total))
    return log_densities


@pytest.mark.quick
def test_log_prob_is_the_log_of_the_weighted_sum(mixture, rows):
    expected = explicit_log_density(mixture, WEIGHTS, rows)
    # Two ways of summing the same double-precision numbers.
    np.testing.assert_allclose(mixture.log_prob(rows), expected, rtol=1e-12)


def test_stages_are_the_mixtures_of_the_first_components(mixture, rows):
    stages = list(mixture.staged_log_prob(rows))
    expected = [
        explicit_log_density(mixture, weights, rows)
        for weights in ([1.0, 0.0, 0.0], [0.6, 0.4, 0.0], WEIGHTS)
    ]
    np.testing.assert_allclose(torch.stack(stages), expected, rtol=1e-12)
    assert torch.equal(stages[-1], mixture.log_prob(rows))


def test_weights_may_be_one_vector(mixture, rows):
    last = Mixture(mixture.components, torch.tensor(WEIGHTS, dtype=torch.float64))
    assert torch.equal(last.log_prob(rows), mixture.log_prob(rows))
    assert len(list(last.staged_log_prob(rows))) == 1


def test_log_densities_below_the_range_of_exp_stay_exact():
    log_probs = torch.tensor([[-1e4, -1e4 - 1.0], [-1e30, -5.0]], dtype=torch.float64)
    log_weights = torch.tensor([0.25, 0.75], dtype=torch.float64).log()
    expected = [-1e4 + math.log(0.25 + 0.75 * math.exp(-1.0)), -5.0 + math.log(0.75)]
    np.testing.assert_allclose(mixture_log_prob(log_probs, log_weights), expected, rtol=1e-12)


def test_a_row_that_every_component_denies_scores_finite():
    mixture = Mixture([gaussian_at((0.0, 0.0), 1e-3)] * 2, torch.tensor([0.5, 0.5]).double())
    x = torch.tensor([[1e200, 0.0], [float("inf"), 0.0]], dtype=torch.float64)
    scores = mixture.log_prob(x)
    assert torch.isfinite(scores).all()
    assert (scores < -1e20).all()


def test_gradients_are_not_kept_when_scoring(mixture, rows):
    assert not mixture.log_prob(rows).requires_grad


def origin_of(rows):
    """Number of the component of each row of the mixture above."""
    return (rows[:, 0] > 50) * 1 + (rows[:, 1] > 50) * 2


def test_components_are_drawn_by_their_weights(mixture):
    n = 20_000
    counts = origin_of(mixture.sample(n, seed=1)).bincount(minlength=3)
    for count, weight in zip(counts.tolist(), WEIGHTS, strict=True):
        # Binomial; 5 standard deviations are passed once in two million runs.
        assert abs(count - n * weight) < 5 * math.sqrt(n * weight * (1 - weight))


def test_rows_of_a_component_follow_it(mixture):
    rows = mixture.sample(20_000, seed=2)
    origin = origin_of(rows)
    for k, mean in enumerate([(0.0, 0.0), (100.0, 0.0), (0.0, 100.0)]):
        own = rows[origin == k]
        # Standard errors at 4,000 rows: 0.016 of the mean, 0.022 of the variance.
        np.testing.assert_allclose(own.mean(0), mean, atol=0.08)
        np.testing.assert_allclose(own.T.cov(), np.eye(2), atol=0.11)


def test_rows_come_in_random_order(mixture):
    origin = origin_of(mixture.sample(10_000, seed=3))
    changes = int((origin[1:] != origin[:-1]).sum())
    expected = 9_999 * (1 - sum(w * w for w in WEIGHTS))
    assert abs(changes - expected) < 5 * math.sqrt(expected)
    halves = origin[:5_000].bincount(minlength=3) - origin[5_000:].bincount(minlength=3)
    assert halves.abs().max() < 5 * math.sqrt(10_000 * 0.25)


def test_a_component_of_weight_zero_is_never_drawn(mixture):
    never = Mixture(mixture.components, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    assert set(origin_of(never.sample(1_000, seed=0)).tolist()) == {1}


def test_a_seed_determines_the_rows_and_leaves_the_global_generator_alone(mixture):
    first = mixture.sample(100, seed=4)
    state = torch.get_rng_state()
    assert torch.equal(mixture.sample(100, seed=4), first)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    assert torch.equal(mixture.sample(100, seed=4), first)
    assert not torch.equal(mixture.sample(100, seed=5), first)


@pytest.mark.parametrize("kind", family_names())
def test_samples_of_every_family_average_the_reciprocal_density_to_the_volume(kind):
    """E[1{x in box} / p(x)] over samples is the volume of the box: samples follow the density."""
    with torch.random.fork_rng():
        torch.manual_seed(6)
        component = make_flow(kind, 2, n_transforms=2, hidden_layer_sizes=(8,), n_components=2)
        component = component.double()
        with torch.no_grad():
            for parameter in component.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    mixture = Mixture([component], torch.ones(1, dtype=torch.float64))
    rows = mixture.sample(40_000, seed=7)
    centre = rows.median(dim=0).values
    inside = ((rows - centre).abs() < 0.5).all(dim=1)
    terms = torch.where(inside, (-mixture.log_prob(rows)).exp(), 0.0)
    error = float(terms.std()) / math.sqrt(len(rows))
    assert error < 0.05
    assert abs(float(terms.mean()) - 1.0) < 5 * error
