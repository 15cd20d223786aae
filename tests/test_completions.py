"""Completions of samples: by importance where it suffices, by Metropolis steps elsewhere."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from skgbnf.estimators.completions import completions, effective_share, resampled, tempered, walked
from skgbnf.estimators.part_samplers import Drawn

N_COLUMNS = 6
COVARIANCE = np.full((N_COLUMNS, N_COLUMNS), 0.8) + 0.2 * np.eye(N_COLUMNS)
PROPOSED_STD = 1.3


class IndependentSampler:
    """Of a Gaussian with correlated columns, proposals that know nothing of the given ones."""

    features = np.arange(N_COLUMNS)

    def draw(self, rows, wanted, seed):
        drawn = np.random.default_rng(seed).normal(scale=PROPOSED_STD, size=rows.shape)
        completed = np.where(wanted, drawn, rows)
        log_p = multivariate_normal(cov=COVARIANCE).logpdf(completed)
        return Drawn(completed, log_p, self.log_q(completed, wanted))

    def alone(self, draw):
        return self

    def log_q(self, rows, wanted):
        log_q = -0.5 * (rows / PROPOSED_STD) ** 2 - np.log(PROPOSED_STD * np.sqrt(2 * np.pi))
        return np.where(wanted, log_q, 0).sum(axis=1)


def conditional(given_value):
    """Mean and covariance of all columns but the first, given that."""
    gain = COVARIANCE[1:, 0] / COVARIANCE[0, 0]
    return gain * given_value, COVARIANCE[1:, 1:] - np.outer(gain, COVARIANCE[0, 1:])


def test_metropolis_steps_keep_the_density():
    rng = np.random.default_rng(0)
    mean, covariance = conditional(1.5)
    exact = rng.multivariate_normal(mean, covariance, size=6000)
    states = np.column_stack([np.full(6000, 1.5), exact])
    log_p = multivariate_normal(cov=COVARIANCE).logpdf(states)
    wanted = np.arange(N_COLUMNS)[None] > 0
    moved = walked(IndependentSampler(), states[None], log_p[None], wanted, rng)[0]
    assert (moved[:, 0] == 1.5).all()
    # Three states of each of 2,000 chains; five standard errors of 2,000 are 0.06.
    assert np.abs(moved[:, 1:].mean(axis=0) - mean).max() < 0.06
    assert np.abs(np.cov(moved[:, 1:].T) - covariance).max() < 0.08
    assert (moved[:2000, 1:] != states[:2000, 1:]).any(axis=1).mean() > 0.9


def test_steps_repair_what_importance_leaves():
    rng = np.random.default_rng(0)
    rows = np.full((300, N_COLUMNS), np.nan)
    rows[:, 0] = rng.normal(size=300)
    wanted, sampler = np.isnan(rows), IndependentSampler()
    drawn = sampler.draw(np.repeat(rows, 40, axis=0), np.repeat(wanted, 40, axis=0), 0)
    log_weights = (drawn.log_p - drawn.log_q).reshape(300, 40)
    assert (effective_share(log_weights) < 0.3).mean() > 0.9
    chosen = resampled(log_weights, 8, rng)
    flattened = np.take_along_axis(drawn.completed.reshape(300, 40, -1), chosen[..., None], axis=1)
    completed = completions(sampler, rows, wanted, 8, 40, seed=0)
    assert completed.shape == (300, 8, N_COLUMNS)
    assert (completed[:, :, 0] == rows[:, :1]).all()
    mean = 0.8 * rows[:, None, :1]  # of each hidden column given the first
    errors = [((draws[:, :, 1:].mean(axis=1) - mean[:, 0]) ** 2).mean() for draws in
              (completed, flattened)]  # fmt: skip
    assert errors[0] < 0.7 * errors[1]


def test_systematic_resampling_takes_each_as_often_as_its_weight():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(50, 2.0), size=20)
    assert (effective_share(np.log(weights)) > 0.3).all()  # else they would be flattened
    chosen = resampled(np.log(weights), 50, rng)
    counts = np.stack([np.bincount(row, minlength=50) for row in chosen])
    assert (np.abs(counts - 50 * weights) < 1).all()
    assert (np.sort(resampled(np.full((1, 4), -np.inf), 4, rng)) == np.arange(4)).all()


@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_weights_are_flattened_only_where_few_would_decide(scale):
    log_weights = np.random.default_rng(0).normal(scale=scale, size=(20, 100))
    weights = tempered(log_weights)
    shares = effective_share(log_weights)
    few = shares < 0.3
    as_they_are = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    assert np.allclose(weights[~few], as_they_are[~few])
    # Bisection ends within 2^-30 of the power; its effect grows with the scale.
    assert effective_share(np.log(weights[few])) == pytest.approx(0.3, rel=1e-4)
    for own, flattened in zip(log_weights, weights, strict=True):
        assert (np.diff(flattened[np.argsort(own)]) >= 0).all()


def test_impossible_proposals_are_not_drawn():
    log_weights = np.full((2, 100), -np.inf)
    log_weights[0, :20] = np.linspace(0.0, 1e-3, 20)
    weights = tempered(log_weights)
    assert (weights[0, 20:] == 0).all()
    assert weights[0, :20] == pytest.approx(1.0, rel=1e-3)  # flat, since 20 are all there are
    assert (weights[1] == 1).all()
