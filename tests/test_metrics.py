"""Scores of predictive distributions beside slow and known ones."""

import numpy as np
import pytest
from scipy.stats import norm

from skgbnf.metrics import crps


def crps_slow(y, draws):
    scores = []
    for value, own in zip(y, draws, strict=True):
        n = len(own)
        apart = sum(abs(a - b) for a in own for b in own) / (n * (n - 1))
        scores.append(np.mean(np.abs(own - value)) - apart / 2)
    return scores


def test_crps_is_the_mean_distance_less_half_the_distance_of_draws():
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=5), rng.normal(size=(5, 7))
    np.testing.assert_allclose(crps(y, draws), crps_slow(y, draws))


def test_crps_of_a_normal_distribution():
    rng = np.random.default_rng(0)
    y = np.array([-1.0, 0.0, 2.0])
    exact = y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - 1 / np.sqrt(np.pi)
    np.testing.assert_allclose(crps(y, rng.normal(size=(3, 200_000))), exact, atol=0.01)


def test_crps_needs_one_target_and_two_draws():
    with pytest.raises(ValueError, match="one target"):
        crps(np.zeros(3), np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="at least two"):
        crps(np.zeros(3), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="inconsistent"):
        crps(np.zeros(3), np.zeros((2, 2)))
