"""The regressor beside what is known: integrals, distributions, units, and no leaks."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import kstest, multivariate_normal, norm
from test_regression import regressor

from skgbnf import GradientBoostedFlowRegressor
from skgbnf.metrics import pit


@pytest.fixture(scope="module")
def rows():
    """Two clusters of targets for each value of the only feature."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(500, 1))
    y = 50 + 20 * (X[:, 0] + np.where(rng.random(500) < 0.3, 2.0, 0.0)) + rng.normal(size=500)
    return X, y


@pytest.fixture(scope="module", params=["nsf", "gaussian_mixture", "auto"])
def fitted(request, rows):
    init = "auto" if request.param == "auto" else None
    return regressor(flow=request.param, init=init, n_estimators=3, max_iter=15).fit(*rows)


@pytest.fixture(scope="module")
def grid(rows):
    """Values of the target for each of three samples, and those samples repeated for all values."""
    X, y = rows
    values = np.linspace(y.min() - 300, y.max() + 300, 20_001)
    return X[:3], values


def densities(model, X, values):
    return np.stack(
        [np.exp(model.score_samples(np.repeat(x[None], len(values), axis=0), values)) for x in X]
    )


def test_densities_integrate_to_one(fitted, grid):
    X, values = grid
    total = trapezoid(densities(fitted, X, values), values, axis=1)
    np.testing.assert_allclose(total, 1.0, atol=0.01)


def test_the_distribution_function_is_the_integral_of_the_density(fitted, grid, rows):
    X, values = grid
    density = densities(fitted, X, values)
    for y in (40.0, 60.0, 95.0):
        below = values <= y
        expected = trapezoid(density[:, below], values[below], axis=1)
        found = fitted.cdf(X, np.full(len(X), y))
        np.testing.assert_allclose(found, expected, atol=0.005)


def test_moments_are_integrals_of_the_density(fitted, grid):
    X, values = grid
    density = densities(fitted, X, values)
    mean = trapezoid(density * values, values, axis=1)
    np.testing.assert_allclose(fitted.predict(X), mean, atol=0.5)


def test_quantiles_are_inverse_to_the_distribution_function(fitted, rows):
    X, _ = rows
    shares = np.array([0.01, 0.1, 0.5, 0.8, 0.99])
    quantiles = fitted.predict_quantiles(X[:20], shares)
    assert (np.diff(quantiles, axis=1) > 0).all()
    for share, values in zip(shares, quantiles.T, strict=True):
        np.testing.assert_allclose(fitted.cdf(X[:20], values), share, atol=1e-3)


def test_draws_follow_the_distribution_function(fitted, rows):
    X, _ = rows
    drawn = fitted.sample(X[:2], 2000, random_state=0)
    for x, values in zip(X[:2], drawn, strict=True):
        probabilities = fitted.cdf(np.repeat(x[None], 2000, axis=0), values)
        assert kstest(probabilities, "uniform").pvalue > 1e-3


def test_means_are_those_of_draws_within_four_standard_errors(fitted, rows):
    X, _ = rows
    drawn = fitted.sample(X[:20], 2000, random_state=0)
    error = drawn.std(axis=1) / np.sqrt(2000)
    assert (np.abs(drawn.mean(axis=1) - fitted.predict(X[:20])) < 4 * error).all()


def test_means_of_several_targets_are_those_of_draws():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    Y = np.column_stack([X[:, 0], X[:, 0] + X[:, 1]]) + 0.1 * rng.normal(size=(200, 2))
    model = regressor(context_model="kernel").fit(X, Y)
    np.testing.assert_allclose(model.predict(X), X @ [[1, 1], [0, 1]], atol=0.3)


def test_a_factor_shifts_log_densities_and_scales_quantiles(rows):
    X, y = rows
    options = {"context_model": "forest", "max_iter": 3, "flow": "nsf", "init": "auto"}
    one, other = (regressor(**options).fit(X, c * y) for c in (1.0, 1024.0))
    expected = one.score_samples(X, y) - np.log(1024.0)
    np.testing.assert_allclose(other.score_samples(X, 1024 * y), expected, atol=1e-5)
    quantiles = one.predict_quantiles(X[:5], [0.2, 0.9]) * 1024
    np.testing.assert_allclose(other.predict_quantiles(X[:5], [0.2, 0.9]), quantiles, rtol=1e-5)


def test_a_target_of_noise_has_its_marginal_density(rows):
    """Predictions of training samples by models that saw them would promise more."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 4)), rng.normal(size=400)
    model = GradientBoostedFlowRegressor(3, max_iter=10, random_state=0).fit(X, y)
    entropy = norm.entropy()
    assert model.validation_scores_[-1] < -entropy + 0.08
    X, y = rng.normal(size=(2000, 4)), rng.normal(size=2000)
    assert model.score_samples(X, y).mean() == pytest.approx(-entropy, abs=0.08)


def two_branches(n, seed):
    """Targets of two branches that cross, with a spread that grows, and their density."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=n)
    spread = 0.1 + 0.3 * np.abs(x)
    y = np.where(rng.random(n) < 0.5, 2 * x, -2 * x) + spread * rng.normal(size=n)
    parts = [np.log(0.5) + norm.logpdf(y, sign * 2 * x, spread) for sign in (1, -1)]
    return x[:, None], y, np.logaddexp(*parts)


@pytest.mark.slow  # 5,000 rows, two networks trained to the end
def test_two_branches_of_growing_spread():
    X, y, _ = two_branches(5000, 0)
    model = GradientBoostedFlowRegressor(4, random_state=0).fit(X, y)
    X, y, log_density = two_branches(4000, 1)
    assert (log_density - model.score_samples(X, y)).mean() < 0.03
    assert kstest(pit(model, X, y), "uniform").statistic < 0.04


def rotating(n, seed):
    """Two targets whose correlation turns with the feature, and their joint density."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=n)
    correlation = 0.9 * np.sin(3 * x)
    z = rng.normal(size=(n, 2))
    second = correlation * z[:, 0] + np.sqrt(1 - correlation**2) * z[:, 1]
    Y = np.column_stack([np.sin(3 * x), x**2]) + np.column_stack([z[:, 0], second])
    log_density = np.array(
        [
            multivariate_normal([0, 0], [[1, r], [r, 1]]).logpdf([a, b])
            for r, a, b in zip(correlation, z[:, 0], second, strict=True)
        ]
    )
    return x[:, None], Y, log_density


@pytest.mark.slow  # 5,000 rows, two networks trained to the end
def test_two_targets_whose_correlation_depends_on_the_feature():
    X, Y, _ = rotating(5000, 0)
    model = GradientBoostedFlowRegressor(4, random_state=0).fit(X, Y)
    X, Y, log_density = rotating(2000, 1)
    assert (log_density - model.score_samples(X, Y)).mean() < 0.05
