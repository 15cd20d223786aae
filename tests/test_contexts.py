"""Rounds of boosting on samples with a context, by every family."""

import math

import numpy as np
import pytest
import torch

from skgbnf.boosting.additive import AdditiveBoosting
from skgbnf.boosting.base import Limits
from skgbnf.boosting.candidates import CandidatePlan
from skgbnf.flows import Architecture, families, make_flow
from skgbnf.training.mixture import Mixture
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.rows import Rows


def regression(n_samples, seed):
    """Two columns that follow a curve of the context, with noise that it scales."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(-1, 1, size=(n_samples, 1))
    scale = 0.2 + 0.2 * np.abs(c)
    x = np.hstack([np.sin(2 * c), -c]) + scale * rng.normal(size=(n_samples, 2))
    weights = torch.ones(n_samples, dtype=torch.float64)
    return Rows(torch.from_numpy(x), weights, torch.from_numpy(c))


def boosted(family, n_rounds):
    """Rounds of one family."""
    train, validation = regression(400, 0), regression(200, 1)
    sizes = {"hidden_layer_sizes": (8,), "n_context": 1}
    plan = CandidatePlan(
        first=(), later=(family,), until_network=(), sparse=None,
        n_estimators=n_rounds, n_samples=len(train),
        template=Architecture(family, 2, **sizes), n_transforms=2, activation=None,
    )  # fmt: skip
    settings = TrainingSettings(max_iter=10, batch_size=100, learning_rate=3e-3)
    boosting = AdditiveBoosting(train, validation, plan, settings, 0, "tempered")
    limits = Limits(n_rounds, 9, 0.0, 1, math.inf)
    while len(boosting.components) < n_rounds:
        boosting.add_round(limits)
    return boosting


@pytest.mark.parametrize("family", [f.name for f in families() if f.takes_context])
def test_rounds_of_every_family_learn_from_the_context(family):
    boosting = boosted(family, 2)
    new = regression(1000, 2)
    mixture = Mixture(boosting.components, boosting.stages[-1].weights)
    found = new.mean(mixture.log_prob(new.x, new.context))
    alone = torch.distributions.MultivariateNormal(new.x.mean(dim=0), torch.cov(new.x.T))
    # The context explains most of the variance: half a nat a column for each halving of the scale.
    assert found > new.mean(alone.log_prob(new.x)) + 0.3
    drawn = mixture.sample(len(new), 0, new.context)
    assert drawn.shape == new.x.shape
    assert torch.corrcoef(torch.stack([drawn[:, 1], new.context[:, 0]]))[0, 1] < -0.7


def test_a_component_of_residuals_is_that_of_what_is_behind_them():
    rng = torch.Generator().manual_seed(0)
    columns, mean, log_spread = (torch.randn(20, n, generator=rng) for n in (3, 2, 2))
    u = torch.randn(20, 2, generator=rng)
    context = torch.cat([columns, torch.zeros(20, 1), mean, log_spread], dim=1)
    for family in ("nsf", "gaussian_mixture"):
        component = make_flow(family, 2, n_context=8, n_columns=3, hidden_layer_sizes=(8,))
        z = mean + log_spread.exp() * u
        inner = component.component(columns)
        expected = inner.log_prob(z) + log_spread.sum(1)
        torch.testing.assert_close(component(context).log_prob(u), expected)
        assert component(context).sample().shape == (20, 2)
