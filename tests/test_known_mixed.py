"""Known mixed densities are found: whole rows, single columns, each column given the rest."""

import numpy as np
import pytest

from skgbnf import GradientBoostedFlowDensity

known_mixed = pytest.importorskip("known_mixed")


@pytest.mark.slow  # a fit to 5,000 rows each, as long as a user's
@pytest.mark.parametrize("name", known_mixed.KNOWN)
def test_a_known_density_is_found(name):
    known = known_mixed.KNOWN[name]
    rng = np.random.default_rng(0)
    train, test = known.draw(5000, rng), known.draw(1000, rng)
    if known.hidden:
        train = train.mask(rng.random(train.shape) < known.hidden)
    model = GradientBoostedFlowDensity(
        3, columns=known.columns, max_iter=8, n_folds=None, random_state=0
    ).fit(train)

    def divergence(rows, scores):
        return float(np.mean(known.log_density(rows) - scores))

    # Standard errors of these means are below 0.02, of the last ones below 0.03.
    assert divergence(test, model.score_samples(test)) < 0.05
    some = test[:100]
    for column in test.columns[:3]:
        alone = test.assign(**dict.fromkeys(test.columns.difference([column])))
        assert divergence(alone, model.score_samples(alone)) < 0.05
        rest = [other for other in test.columns if other != column]
        given = known.log_density(some.assign(**{column: None}))
        scores = model.conditional_score_samples(some, rest)
        assert divergence(some, scores) - given.mean() < 0.05
