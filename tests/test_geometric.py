"""The product of components against closed forms, integrals on grids and its own samples."""

import math

import numpy as np
import pytest
import torch
from test_boosting import rows_of
from test_mixture import gaussian_at

import skgbnf
from skgbnf import GradientBoostedFlowDensity
from skgbnf.boosting.geometric import GeometricGreedy
from skgbnf.boosting.powers import ComponentDraws, fit_powers
from skgbnf.training.mixture import component_log_prob
from skgbnf.training.product import Product, log_normalizer

MEANS = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
POWERS = np.array([0.5, 0.3, 0.2])


def gaussians():
    return [gaussian_at(tuple(mean)) for mean in MEANS]


def exact_log_normalizer(powers):
    """Of a product of round Gaussians of variance 1: what completing the square leaves."""
    centre = powers @ MEANS
    return 0.5 * (centre @ centre - powers @ (MEANS**2).sum(axis=1))


def log_probs_of_draws(components, seed=0):
    return ComponentDraws(seed).log_probs(components)


def test_draws_of_components_that_stay_are_kept():
    first, second, third = gaussians()
    draws = ComponentDraws(0)
    draws.log_probs([first, second])
    both = draws.log_probs([first, third])  # one forgotten, another in its place
    assert torch.equal(both, ComponentDraws(0).log_probs([first, third]))
    assert torch.equal(draws.log_probs([first]), ComponentDraws(0).log_probs([first]))


@pytest.mark.parametrize("powers", [POWERS, np.array([0.0, 0.5, 0.5]), np.array([1.0, 0.0, 0.0])])
def test_normaliser_is_that_of_completed_squares(powers):
    value, error = log_normalizer(log_probs_of_draws(gaussians()), torch.from_numpy(powers))
    assert abs(value - exact_log_normalizer(powers)) <= 4 * error + 1e-9
    assert error < 0.01


def test_reported_error_is_the_spread_of_estimates():
    powers = torch.from_numpy(POWERS)
    found = [log_normalizer(log_probs_of_draws(gaussians(), seed), powers) for seed in range(30)]
    values, errors = np.transpose(found)
    # A standard deviation of 30 values is off by a factor of 1.6 less than once in 1,000.
    assert values.std(ddof=1) / errors.mean() == pytest.approx(1.0, abs=0.5)


def test_log_prob_is_the_log_of_the_product_over_its_integral():
    log_Z = torch.tensor([exact_log_normalizer(POWERS)])
    mixture = Product(gaussians(), torch.from_numpy(POWERS), log_Z)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 2)))
    centre = torch.from_numpy(POWERS @ MEANS)
    expected = -0.5 * (x - centre).square().sum(dim=1) - math.log(2 * math.pi)
    np.testing.assert_allclose(mixture.log_prob(x), expected, rtol=1e-6)  # ridge of "affine"


def test_samples_are_those_of_the_product():
    log_Z = torch.tensor([exact_log_normalizer(POWERS)])
    mixture = Product(gaussians(), torch.from_numpy(POWERS), log_Z)
    n = 20_000
    rows = mixture.sample(n, seed=0).numpy()
    assert rows.shape == (n, 2)
    np.testing.assert_allclose(rows.mean(axis=0), POWERS @ MEANS, atol=4 / math.sqrt(n))
    np.testing.assert_allclose(np.cov(rows.T), np.eye(2), atol=4 * math.sqrt(2 / n))
    assert torch.equal(mixture.sample(50, seed=3), mixture.sample(50, seed=3))


def test_powers_are_the_best_on_a_grid():
    components = gaussians()[:2]
    log_probs = log_probs_of_draws(components)
    x = torch.from_numpy(np.random.default_rng(1).normal([0.7, 0.0], size=(500, 2)))
    means = torch.stack([component_log_prob(g, x).mean() for g in components])
    grid = np.linspace(0, 1, 1001)
    likelihood = [
        means @ torch.tensor([1 - a, a], dtype=torch.float64) - 0.5 * ((2 * a) ** 2 - 4 * a)
        for a in grid
    ]
    powers = fit_powers(means, log_probs)
    assert float(powers.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(powers[1]) == pytest.approx(grid[np.argmax(likelihood)], abs=0.02)


def test_powers_that_would_let_few_rows_pass_are_drawn_back():
    components = [gaussian_at((-5.0, 0.0)), gaussian_at((5.0, 0.0))]
    log_probs = log_probs_of_draws(components)
    means = torch.tensor([-14.0, -14.1], dtype=torch.float64)
    powers = fit_powers(means, log_probs)
    assert log_normalizer(log_probs, powers)[0] >= math.log(0.01)
    assert float(powers[0]) > 0.5


@pytest.mark.quick
def test_row_weights_are_the_gradient_of_the_likelihood_of_the_product():
    rng = np.random.default_rng(2)
    train = rows_of(rng.normal(size=(30, 2)), rng.uniform(0.5, 2.0, size=30))
    drawn = torch.from_numpy(rng.normal(size=(40, 2)))
    rho = 0.3
    objective = GeometricGreedy(train, train, drawn, drawn, lambda x: -x.square().sum(dim=1), rho)
    log_G = -objective.train_rows.x.square().sum(dim=1)
    log_g = log_G + 0.3 * torch.from_numpy(rng.normal(size=70))
    log_g.requires_grad_()
    ratio = log_g - log_G
    log_Z = torch.logsumexp(rho * ratio[30:], dim=0) - math.log(40)
    likelihood = rho * (train.weights @ ratio[:30]) / train.weights.sum() - log_Z
    (gradient,) = torch.autograd.grad(likelihood, log_g)
    objective._rho, objective._log_Z = rho, float(log_Z.detach())
    weights = objective.row_weights(log_g.detach(), slice(None), 0.5)
    np.testing.assert_allclose(weights * rho / train.weights.sum(), gradient, rtol=1e-9)
    index = torch.tensor([3, 50, 5])
    some = objective.row_weights(log_g.detach()[index], index, 0.5)
    assert torch.equal(some, weights[index])


def test_score_is_the_best_likelihood_over_the_weight():
    rng = np.random.default_rng(3)
    train = rows_of(rng.normal(size=(300, 2)))
    drawn = torch.from_numpy(rng.normal(size=(300, 2)))
    objective = GeometricGreedy(train, train, drawn, drawn, lambda x: -x.square().sum(dim=1), 0.5)
    log_G = -objective.validation_rows.x.square().sum(dim=1)
    log_g = log_G + torch.from_numpy(rng.normal(size=600)) + 0.4 * (torch.arange(600) < 300)
    ratio = (log_g - log_G).numpy()
    values = [
        float(log_G[:300].mean())
        + r * ratio[:300].mean()
        - math.log(np.exp(r * ratio[300:]).mean())
        for r in np.linspace(0.25, 0.75, 501)
    ]
    assert objective.score(log_g) == pytest.approx(max(values), abs=1e-5)


# The estimator


def product_of(n_estimators, flow, **parameters):
    return GradientBoostedFlowDensity(
        n_estimators, flow=flow, combine="product", random_state=0, **parameters
    )


@pytest.fixture(scope="module")
def ring():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, size=3000)
    radius = 3 + 0.4 * rng.normal(size=3000)
    X = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    return X[:2000], X[2000:]


@pytest.fixture(scope="module")
def fitted(ring):
    return product_of(
        3, "realnvp", n_transforms=2, hidden_layer_sizes=(32,), max_iter=25, n_iter_no_change=3
    ).fit(ring[0])


@pytest.fixture(scope="module")
def grid(fitted):
    """Points, log-densities there and the area of a cell; the density beyond is negligible."""
    axis = np.linspace(-9, 9, 500)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return points, fitted.score_samples(points), (axis[1] - axis[0]) ** 2


@pytest.mark.slow
def test_density_integrates_to_one(fitted, grid):
    _, scores, area = grid
    assert fitted.n_estimators_ > 1, "nothing is combined"
    assert (fitted.estimator_weights_ > 0.01).sum() > 1
    assert fitted.log_normalizer_ < -1e-3
    # Tails of an affine flow may leave the grid: a thousandth.
    assert abs(math.log(np.exp(scores).sum() * area)) < 3 * fitted.log_normalizer_error_ + 1e-3


@pytest.mark.slow
def test_samples_agree_with_scores(fitted, grid):
    points, scores, area = grid
    density = np.exp(scores) * area
    density /= density.sum()
    samples = fitted.sample(10_000, random_state=0)
    found = fitted.score_samples(samples)
    assert abs(found.mean() - density @ scores) < 4 * found.std() / 100
    for inside in (lambda X: X[:, 0] > 0, lambda X: X[:, 1] > 1, lambda X: (X**2).sum(axis=1) < 9):
        p = density @ inside(points)
        # Besides the error of a count, half a cell at the border.
        assert abs(inside(samples).mean() - p) < 4 * math.sqrt(p * (1 - p) / 1e4) + 0.01


def test_rounds_gain_on_rows_not_seen(fitted, ring):
    staged = [scores.mean() for scores in fitted.staged_score_samples(ring[1])]
    assert staged[-1] > staged[0]
    assert staged[-1] == fitted.score_samples(ring[1]).mean()


def test_normaliser_is_recorded(fitted):
    assert fitted.staged_log_normalizers_.shape == (fitted.n_estimators_,)
    assert fitted.staged_log_normalizers_[0] == pytest.approx(0.0, abs=1e-9)
    assert fitted.log_normalizer_ == fitted.staged_log_normalizers_[-1]
    assert 0 < fitted.log_normalizer_error_ < 0.02


def test_file_brings_back_scores_and_normaliser(fitted, ring, tmp_path):
    skgbnf.save(fitted, tmp_path / "model.skgbnf")
    loaded = skgbnf.load(tmp_path / "model.skgbnf")
    np.testing.assert_array_equal(loaded.score_samples(ring[1]), fitted.score_samples(ring[1]))
    assert loaded.log_normalizer_ == fitted.log_normalizer_
    assert loaded.log_normalizer_error_ == fitted.log_normalizer_error_
    np.testing.assert_array_equal(loaded.sample(20, 1), fitted.sample(20, 1))


def test_warm_start_gives_what_one_fit_gives(ring):
    def model(n_estimators):
        small = {"n_transforms": 1, "hidden_layer_sizes": (8,), "max_iter": 3}
        kept = {"n_iter_no_change": 5, "tol": 0.0, "warm_start": True}
        return product_of(n_estimators, "realnvp", **small, **kept)

    X = ring[0][:500]
    once = model(2).fit(X)
    twice = model(1).fit(X).set_params(n_estimators=2).fit(X)
    assert once.n_estimators_ == 2
    np.testing.assert_array_equal(once.score_samples(X), twice.score_samples(X))


def test_mixtures_by_em_alone_are_accepted(ring):
    model = product_of(2, "affine", max_iter=2)
    assert np.isfinite(model.fit(ring[0]).score(ring[1]))


def test_fine_tuning_is_refused(ring):
    model = GradientBoostedFlowDensity(2, combine="product", fine_tune=1)
    with pytest.raises(ValueError, match="fine_tune must be 0"):
        model.fit(ring[0])
