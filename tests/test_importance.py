"""Smoothed importance sampling beside distributions whose tails and integrals are known."""

import math

import numpy as np
import pytest
from scipy.stats import genpareto, norm

from skgbnf._importance import fit_generalised_pareto
from skgbnf.diagnostics import importance_report


def normal_ratios(scale, n_draws=4000, log_mass=0.0, seed=0):
    """Log-ratios of a standard normal of some mass to draws from a normal of another scale."""
    z = np.random.default_rng(seed).normal(scale=scale, size=n_draws)
    return log_mass + norm.logpdf(z) - norm.logpdf(z, scale=scale)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.4, 0.9])
def test_shape_and_scale_of_a_pareto_distribution_are_found(shape):
    draws = np.sort(genpareto.rvs(shape, scale=3.0, size=5000, random_state=0))
    found, scale = fit_generalised_pareto(draws)
    # The standard error of the shape is about (1 + k) / sqrt(n), at most 0.03.
    assert found == pytest.approx(shape, abs=0.08)
    assert scale == pytest.approx(3.0, rel=0.1)


@pytest.mark.quick
def test_evidence_and_its_error():
    estimates = [importance_report(normal_ratios(1.5, log_mass=2.0, seed=s)) for s in range(40)]
    values = np.array([report.log_evidence for report in estimates])
    error = estimates[0].log_evidence_error
    assert abs(values.mean() - 2.0) < 4 * error / math.sqrt(40)
    # The spread of 40 estimates is known within a third (three standard errors).
    assert values.std(ddof=1) == pytest.approx(error, rel=0.34)


def test_draws_from_a_narrow_density_are_not_trusted():
    wide, narrow = (importance_report(normal_ratios(scale)) for scale in (1.5, 0.5))
    # Weights of a normal of scale s have a tail of shape 1 - s ** 2 in the limit.
    assert wide.pareto_k < 0.5 < narrow.pareto_k
    assert wide.effective_sample_size > 2000 > narrow.effective_sample_size


def test_weights_turn_means_of_draws_into_means_of_the_target():
    z = np.random.default_rng(1).normal(scale=1.5, size=20_000)
    weights = np.exp(importance_report(norm.logpdf(z) - norm.logpdf(z, scale=1.5)).log_weights)
    assert weights.sum() == pytest.approx(1.0)
    # Four standard errors of the mean square of 10,000 draws.
    assert weights @ np.square(z) == pytest.approx(1.0, abs=4 * math.sqrt(2 / 10_000))


def test_smoothing_keeps_order_and_stays_below_the_largest_weight():
    ratios = normal_ratios(0.5)
    weights = importance_report(ratios).log_weights
    order = np.argsort(ratios)
    assert (np.diff(weights[order]) >= -1e-12).all()
    raw = ratios - ratios.max()
    spread = weights.max() - weights.min()
    assert spread <= raw.max() - raw.min() + 1e-12


def test_equal_weights_and_too_few_to_tell():
    equal = importance_report(np.full(100, 3.0))
    assert (equal.pareto_k, equal.log_evidence_error) == (0.0, 0.0)
    assert equal.log_evidence == pytest.approx(3.0)
    assert equal.effective_sample_size == pytest.approx(100)
    one = importance_report(np.r_[0.0, np.full(99, -np.inf)])
    assert one.pareto_k == math.inf
    assert one.effective_sample_size == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        (np.zeros(24), "at least 25"),
        (np.zeros((30, 2)), "one dimension"),
        (np.r_[np.nan, np.zeros(30)], "NaN"),
        (np.r_[np.inf, np.zeros(30)], "below inf"),
        (np.full(30, -np.inf), "not all -inf"),
    ],
)
def test_ratios_that_are_no_weights_are_refused(ratios, message):
    with pytest.raises(ValueError, match=message):
        importance_report(ratios)
