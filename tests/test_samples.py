"""Samples stay where the rows are, and a classifier hardly tells them from rows."""

import numpy as np
import pytest
from bench_samples import outside, told_apart
from targets import TARGETS

from skgbnf import GradientBoostedFlowDensity


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_samples_of_known_densities(name):
    rng = np.random.default_rng(0)
    rows = TARGETS[name].sample(3000, rng)
    fresh = TARGETS[name].sample(2000, rng)
    rows = rows[:2000] if rows.shape[1] == 2 else rows  # enough for two columns
    # Samples of an affine flow that has hardly begun to learn spread too far.
    model = GradientBoostedFlowDensity(3, max_iter=40, random_state=0).fit(rows)
    drawn = model.sample(10_000, random_state=1)
    assert outside(drawn, rows).mean() <= 1e-3
    # Rows of one density give 0.5 with a standard error of about 0.01.
    assert told_apart(fresh, drawn[: len(fresh)]) <= 0.55


def test_outside_is_beyond_three_times_the_range():
    rows = np.array([[0.0, 10.0], [2.0, 20.0]])
    drawn = np.array([[1.0, 15.0], [3.9, 15.0], [4.1, 15.0], [1.0, -0.1], [1.0, 0.1]])
    np.testing.assert_array_equal(outside(drawn, rows), [False, False, True, True, False])


def test_a_classifier_tells_other_rows_apart():
    rng = np.random.default_rng(0)
    rows, same, other = rng.normal(size=(3, 1000, 2))
    # The standard error of the area is about 0.013 for a thousand rows on each side.
    assert abs(told_apart(rows, same) - 0.5) < 0.05
    assert told_apart(rows, other * 2) > 0.7
