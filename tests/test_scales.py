"""Columns whose rows lie at several scales: the map alone, and densities behind it."""

import numpy as np
import pytest
from helpers import degenerate_data_allowed
from scipy import stats

import skgbnf
from skgbnf.table.scales import Scales

rng = np.random.default_rng(0)
N = 500
COLUMNS = {
    "one value far out": np.r_[rng.normal(20, 5, N), 1e9],
    "two clusters far apart": np.r_[rng.normal(size=N), 1e6 + rng.normal(size=N)],
    "two clusters of two scales": np.r_[rng.normal(size=N), 1e6 + 1e3 * rng.normal(size=N)],
    "three clusters beside each other": np.concatenate(
        [c + s * rng.normal(size=N) for c, s in ((-1e8, 1.0), (0.0, 1e-3), (5e8, 1e4))]
    ),
    "a product of Cauchys": rng.standard_cauchy(N) * rng.standard_cauchy(N),
    "a wide lognormal": np.exp(3 * rng.normal(size=N)),
    "seconds since 1970 and one of 1900": np.r_[1.7e9 + rng.normal(size=N), -2.2e9],
}


@pytest.mark.parametrize("factor", [1e-290, 1.0, 1e280])
@pytest.mark.parametrize("name", COLUMNS)
def test_the_inverse_undoes_the_map(name, factor):
    x = np.sort(COLUMNS[name] * factor)
    scales = Scales.from_columns([x])
    y, log_slope = scales.transform(x, 0)
    assert 0 in scales.knots
    assert np.isfinite(y).all()
    assert (np.diff(y) >= 0).all()
    # In units of the scale there: no more is lost than the digits of x.
    error = np.abs(scales.inverse_transform(y, 0) - x)
    digits = np.finfo(float).eps * np.abs(x)
    assert (error <= 1e-12 * np.exp(-log_slope) + 2 * digits).all()


@pytest.mark.parametrize("name", COLUMNS)
def test_the_log_slope_is_that_of_finite_differences(name):
    scales = Scales.from_columns([COLUMNS[name]])
    x = np.r_[COLUMNS[name], 10 * COLUMNS[name], 0.0]
    _, log_slope = scales.transform(x, 0)
    step = 1e-3 * np.exp(-log_slope)
    step = (x + step) - x
    slope = (scales.transform(x + step, 0)[0] - scales.transform(x, 0)[0]) / step
    # A step may cross a knot, where the slope bends, but it does not jump.
    np.testing.assert_allclose(np.log(slope), log_slope, atol=2e-3)


@pytest.mark.parametrize("name", COLUMNS)
def test_far_values_come_back_too(name):
    scales = Scales.from_columns([COLUMNS[name]])
    x = np.array([-1e200, -1e30, 1e30, 1e200])
    np.testing.assert_allclose(scales.inverse_transform(scales.transform(x, 0)[0], 0), x, rtol=1e-9)


def test_every_cluster_has_about_unit_spread():
    x = COLUMNS["three clusters beside each other"]
    y, _ = Scales.from_columns([x]).transform(x, 0)
    for cluster in (y[:N], y[N : 2 * N], y[2 * N :]):
        assert 0.3 < cluster.std() < 3.0
    assert np.ptp(y) < 200


@pytest.mark.parametrize(
    "draw",
    [
        stats.norm, stats.expon, stats.uniform, stats.t(3), stats.lognorm(1.0), stats.laplace,
    ],
)  # fmt: skip
@pytest.mark.parametrize("n", [20, 200, 5000])
def test_one_scale_needs_no_map(draw, n):
    assert not Scales.from_columns([draw.rvs(size=n, random_state=0)]).knots


def test_few_values_and_constant_columns_need_no_map():
    assert not Scales.from_columns([np.array([0.0, 1e9]), np.full(50, 3.0), np.empty(0)]).knots
    assert not Scales.from_columns([np.repeat([1.0, 2.0, 1e9], 50)]).knots


# Densities behind the map


@pytest.mark.parametrize("far", [1e4, 1e9, -1e15])
@pytest.mark.parametrize("flow", ["gaussian_mixture", "affine", "nsf"])
def test_one_far_value_leaves_the_others_their_density(quick, far, flow):
    x = np.random.default_rng(1).normal(20, 5, (500, 1))
    x[0] = far
    model = quick(flow=flow, init=None, n_estimators=1, max_iter=20).fit(x)
    test = np.random.default_rng(2).normal(20, 5, (2000, 1))
    best = stats.norm(20, 5).logpdf(test).mean()
    # One Gaussian must cover both; the others are nearly as good as without the far value.
    assert model.score(test) > best - (0.6 if flow == "affine" else 0.12)
    assert np.isfinite(model.score_samples(x)).all()


def test_a_value_near_the_end_of_floats_leaves_them_it_too(quick):
    x = np.random.default_rng(1).normal(size=(500, 1))
    x[0] = 1e300
    model = quick(flow="gaussian_mixture", n_estimators=1).fit(x)
    assert model.score(x[1:]) > stats.norm().logpdf(x[1:]).mean() - 0.1


def test_a_far_value_in_one_of_several_columns(quick):
    r = np.random.default_rng(3)
    X = r.normal(size=(400, 3)) @ r.normal(size=(3, 3))
    clean = quick(flow="gaussian_mixture", n_estimators=1).fit(X)
    X[5, 1] = 1e7
    model = quick(flow="gaussian_mixture", n_estimators=1).fit(X)
    rest = np.delete(X, 5, axis=0)
    assert model.score(rest) > clean.score(rest) - 0.1


def test_two_clusters_far_apart_keep_their_spread(quick):
    r = np.random.default_rng(0)
    x = np.r_[r.normal(size=(300, 1)), 1e6 + r.normal(size=(300, 1))]
    model = quick(flow="gaussian_mixture", n_estimators=1).fit(x)
    assert model.score(x) == pytest.approx(-np.log(2) - 1.419, abs=0.1)
    rows = model.sample(4000, random_state=0)
    for near in (np.abs(rows) < 1e3, np.abs(rows - 1e6) < 1e3):
        assert near.mean() == pytest.approx(0.5, abs=0.06)
        assert rows[near].std() == pytest.approx(1.0, abs=0.15)


def test_files_and_pickles_keep_the_map(quick, tmp_path):
    x = COLUMNS["two clusters of two scales"][:, None]
    model = quick(flow="gaussian_mixture", n_estimators=1).fit(x)
    skgbnf.save(model, tmp_path / "model")
    again = skgbnf.load(tmp_path / "model")
    assert np.array_equal(again.score_samples(x), model.score_samples(x))
    assert np.array_equal(again.sample(9, random_state=0), model.sample(9, random_state=0))


def test_scores_of_all_units_are_the_same_but_for_the_factor(quick):
    x = COLUMNS["a product of Cauchys"][:, None]
    ours = quick(flow="affine", n_estimators=1).fit(x)
    theirs = quick(flow="affine", n_estimators=1).fit(1e-9 * x)
    expected = ours.score_samples(x) + np.log(1e9)
    np.testing.assert_allclose(theirs.score_samples(1e-9 * x), expected, rtol=1e-9)


def test_resolution_that_is_lost_all_the_same_is_warned_of(quick):
    r = np.random.default_rng(0)
    x = r.normal(size=(4000, 1))
    # Fewer rows than any scale is given for.
    x[:30, 0] = 3 + 1e-13 * r.normal(size=30)
    x[30:60, 0] = 1e3 + 1e-9 * r.normal(size=30)
    with pytest.warns(skgbnf.DegenerateDataWarning, match=r"\[0\].*distinct values"):
        quick(flow="affine", n_estimators=1).fit(x)
    with degenerate_data_allowed():
        assert np.isfinite(quick(flow="affine", n_estimators=1).fit(x).score(x))
