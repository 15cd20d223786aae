"""Columns that cannot leave an interval: the maps alone, and densities behind them."""

import datetime
import json
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import degenerate_data_allowed
from scipy import optimize, stats
from sklearn.base import clone

import skgbnf
from skgbnf.table.bounds import Bounds, bounds_from_plain, bounds_to_plain, limits_from

SIDES = {
    "lower": (2.0, math.inf),
    "upper": (-math.inf, 7.0),
    "both": (2.0, 7.0),
    "none": (-math.inf, math.inf),
}


def one_column(pair, margin=0.01):
    limits = np.array(pair)[:, None]
    return Bounds(limits, np.where(np.isfinite(limits), margin, 0.0))


# The maps


@pytest.mark.quick
@pytest.mark.parametrize("side", SIDES)
def test_the_inverse_undoes_the_map(side):
    bounds, x = one_column(SIDES[side]), np.linspace(2.0, 7.0, 1001)
    y, log_derivative = bounds.transform(x, 0)
    assert np.isfinite(y).all()
    assert np.isfinite(log_derivative).all()
    np.testing.assert_allclose(bounds.inverse_transform(y, 0), x, atol=1e-12)
    assert (np.diff(y) > 0).all()


@pytest.mark.parametrize("side", SIDES)
def test_the_log_derivative_is_that_of_finite_differences(side):
    bounds, step = one_column(SIDES[side]), 1e-6
    x = np.linspace(2.1, 6.9, 50)
    slope = (bounds.transform(x + step, 0)[0] - bounds.transform(x - step, 0)[0]) / (2 * step)
    np.testing.assert_allclose(bounds.transform(x, 0)[1], np.log(slope), atol=1e-7)


def test_each_column_has_a_map_of_its_own():
    limits = np.array(list(SIDES.values())).T
    bounds = Bounds(limits, np.where(np.isfinite(limits), 0.01, 0.0))
    x = np.random.default_rng(0).uniform(2, 7, size=20)
    for j, pair in enumerate(SIDES.values()):
        for ours, alone in zip(
            bounds.transform(x, j), one_column(pair).transform(x, 0), strict=True
        ):
            assert np.array_equal(ours, alone)
    assert np.array_equal(bounds.transform(x, 3)[0], x)


def test_the_ends_of_the_map_are_inside_after_it_is_undone():
    far = np.array([-1e300, -800.0, -50.0, 50.0, 800.0, 1e300])
    for lower, upper in SIDES.values():
        bounds = one_column((lower, upper))
        x = bounds.fold(bounds.inverse_transform(far, 0)[:, None])[:, 0]
        assert np.isfinite(x).all()
        assert ((lower <= x) & (upper >= x)).all()


def test_rows_outside_are_told_from_rows_on_a_bound():
    excluded = one_column((2.0, 7.0)).excludes(np.array([[1.999], [2.0], [7.0], [7.001]]))
    assert excluded.tolist() == [True, False, False, True]


def test_single_precision_is_compared_in_single_precision():
    bounds = one_column((0.1, 0.3))
    X = np.array([[0.1], [0.3]], dtype=np.float32)
    assert (X.astype(np.float64)[1] > 0.3).all()
    assert not bounds.excludes(X).any()


# The parameter

NAMES = ["age", "share", "other"]


@pytest.mark.parametrize(
    "bounds",
    [
        {"age": (0, None), "share": (0, 1)},
        {0: [0.0, math.inf], 1: np.array([0, 1])},
        {np.int64(1): (np.float32(0), 1), "age": (0, None), "other": (None, None)},
        [(0, None), (0, 1), (None, None)],
        ((0, math.inf), [0, 1], (-math.inf, None)),
        np.array([[0, math.inf], [0, 1], [-math.inf, math.inf]]),
        optimize.Bounds([0, 0, -math.inf], [math.inf, 1, math.inf]),
    ],
)
def test_all_ways_to_say_it_are_the_same(bounds):
    expected = [[0, 0, -math.inf], [math.inf, 1, math.inf]]
    assert limits_from(bounds, NAMES).tolist() == expected
    assert limits_from(bounds_from_plain(bounds_to_plain(bounds)), NAMES).tolist() == expected


def test_one_pair_may_stand_for_all_columns():
    assert limits_from((0, None), NAMES).tolist() == [[0.0] * 3, [math.inf] * 3]
    bounds = optimize.Bounds(0, math.inf)
    assert limits_from(bounds, NAMES).tolist() == [[0.0] * 3, [math.inf] * 3]
    assert limits_from(None, NAMES).tolist() == [[-math.inf] * 3, [math.inf] * 3]


def test_two_pairs_are_those_of_two_columns(quick):
    X = np.random.default_rng(0).uniform([0, 2], [1, 3], size=(300, 2))
    model = quick(flow="affine", bounds=[(0, 1), (2, 3)]).fit(X)
    assert model.bounds_.tolist() == [[0, 2], [1, 3]]
    rows = model.sample(5000, random_state=0)
    assert ((rows >= [0, 2]) & (rows <= [1, 3])).all()


def test_two_arrays_for_more_columns_are_refused_with_a_hint():
    with pytest.raises(ValueError, match=r"each of 3 columns.*list\(zip\(lower, upper\)\)"):
        limits_from(([0, 0, 0], [1, 1, 1]), NAMES)
    lower, upper = [0, 0, 0], [1, 2, 3]
    pairs = list(zip(lower, upper, strict=True))
    assert limits_from(pairs, NAMES).tolist() == [lower, upper]


@pytest.mark.parametrize(
    ("labels", "key", "expected"),
    [
        ([2019, 2020], 2020, 1),
        ([2019, 2020], 1, 1),
        ([1, 0], 1, 0),
        ([1, 0], 0, 1),
        ([1.5, 2.5], 2.5, 1),
        ([True, 0], True, 0),
        ([True, 0], 0, 1),
        ([("a", 1), ("a", 2)], ("a", 2), 1),
        ([datetime.date(2020, 1, 1), "a"], datetime.date(2020, 1, 1), 0),
        (["a", 0], 0, 1),
        ([math.nan, "b"], float("nan"), 0),
    ],
)
def test_a_key_is_a_name_where_there_is_one_otherwise_a_position(labels, key, expected):
    limits = limits_from({key: (0, 1)}, labels)
    assert np.flatnonzero(np.isfinite(limits[0])).tolist() == [expected]
    again = bounds_from_plain(json.loads(json.dumps(bounds_to_plain({key: (0, 1)}))))
    assert np.array_equal(limits_from(again, labels), limits)


def test_the_name_of_several_columns_is_none():
    with pytest.raises(ValueError, match="'a' is the name of 2 columns"):
        limits_from({"a": (0, 1)}, ["a", "b", "a"])
    assert limits_from({2: (0, 1)}, ["a", "b", "a"])[0].tolist() == [-math.inf, -math.inf, 0]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("bounds", "kind", "message"),
    [
        ("age", TypeError, "bounds must be a dictionary"),
        (3, TypeError, "bounds must be a dictionary"),
        (([0],), ValueError, "each of 2 columns"),
        ([0, 1, 2], ValueError, "bounds must hold pairs"),
        ([(0, 1), 3], TypeError, "column 'share' needs a pair"),
        ([(0, 1), None], TypeError, "column 'share' needs a pair"),
        ([(0, 1)] * 3, ValueError, "each of 2 columns"),
        (np.zeros((2, 3)), ValueError, "needs a pair.*zip"),
        ((True, False), TypeError, "bounds must be numbers"),
        ([("0", "1")] * 2, TypeError, "bounds must be numbers"),
        ({"agee": (0, 1)}, ValueError, "no column 'agee'"),
        ({2: (0, 1)}, ValueError, "no column 2"),
        ({-1: (0, 1)}, ValueError, "no column -1"),
        ({0: (0, 1), "age": (0, None)}, ValueError, "column 'age' is named twice"),
        ({True: (0, 1)}, TypeError, "got True"),
        ({"age": 0}, TypeError, "column 'age' needs a pair"),
        ({"age": (0, 1, 2)}, ValueError, "column 'age' needs a pair"),
        ({"age": (1, 1)}, ValueError, "column 'age' the lower one, 1, is not below"),
        ({"age": (None, -math.inf)}, ValueError, "bounds must be numbers"),
        ({"age": (math.nan, 1)}, ValueError, "bounds must be numbers"),
        ({"age": ("low", 1)}, TypeError, "bounds must be numbers"),
        (([0, 0, 0], [1, 1, 1]), ValueError, "needs a pair.*zip"),
    ],
)
def test_bad_bounds_are_named(quick, table2, bounds, kind, message):
    frame = pd.DataFrame(table2, columns=["age", "share"])
    with pytest.raises(kind, match=message):
        quick(flow="affine", bounds=bounds).fit(frame)


# Rows of fit


@pytest.fixture(scope="module")
def amounts():
    """A positive column, a share and one without bounds, dependent, as a frame of 400 rows."""
    rng = np.random.default_rng(5)
    z = rng.normal(size=(400, 3))
    columns = {
        "amount": np.exp(z[:, 0]),
        "share": 1 / (1 + np.exp(-z[:, 0] - z[:, 1])),
        "other": z[:, 2] + z[:, 1],
    }
    return pd.DataFrame(columns)


BY_NAME = {"amount": (0, None), "share": (0, 1)}


def test_a_row_outside_is_named(quick, amounts):
    bad = amounts.copy()
    bad.loc[7, "share"] = 1.25
    model = quick(flow="affine", bounds=BY_NAME)
    with pytest.raises(ValueError, match=r"^X: column 'share' holds 1.25.*\(0, 1\)"):
        model.fit(bad)
    with pytest.raises(ValueError, match="^X_val: column 'share' holds 1.25"):
        model.fit(amounts, X_val=bad)
    with pytest.raises(ValueError, match=r"^X: column 1 holds 1.25"):
        model.set_params(bounds={1: (0, 1)}).fit(bad.to_numpy())
    weights = np.ones(400)
    weights[7] = 0
    assert np.isfinite(model.fit(bad, sample_weight=weights).score(amounts))


@pytest.mark.parametrize(
    "bounds", [(-1e15, 1e15), (-1e15, None), (None, 1e15), (-1e308, 1e308), (0, 1e308)]
)
def test_bounds_too_far_to_be_told_from_each_other_are_refused(quick, amounts, bounds):
    X = amounts.to_numpy()[:, :2]
    model = quick(flow="affine", bounds=bounds)
    if bounds[0] == 0:  # the distances from one bound suffice
        assert np.isfinite(model.fit(X).score(X))
        return
    with pytest.raises(ValueError, match="bounds: column 0 lies so far from its bounds"):
        model.fit(X)
    free = quick(flow="affine").fit(X)
    near = model.set_params(bounds=(-1e7, None)).fit(X)
    assert near.score(X) == pytest.approx(free.score(X), abs=1e-3)


@pytest.mark.parametrize("combine", ["sum", "product"])
@pytest.mark.parametrize("flow", ["nsf", "maf", "student_t"])
def test_samples_never_lie_outside(quick, amounts, flow, combine):
    model = quick(flow=flow, combine=combine, bounds=BY_NAME, max_iter=1).fit(amounts)
    rows = model.sample(5000, random_state=0)
    assert (rows[:, 0] >= 0).all()
    assert ((rows[:, 1] >= 0) & (rows[:, 1] <= 1)).all()
    assert np.isfinite(rows).all()
    assert np.isfinite(model.score_samples(pd.DataFrame(rows, columns=amounts.columns))).all()


def test_scores_are_finite_inside_and_minus_infinity_outside(quick, amounts):
    model = quick(bounds=BY_NAME, init="student_t", flow="nsf").fit(amounts)
    for dtype in (np.float32, np.float64):
        far = np.finfo(dtype).max
        inside = np.array([[0, 0, 0], [far, 1, far], [1, 0.5, -far], [1e-30, 1e-30, 0]], dtype)
        outside = np.array([[-1e-30, 0.5, 0], [1, 1.0001, 0], [1, -far, 0], [-far, 0, far]], dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            assert np.isfinite(model.score_samples(inside)).all()
            assert np.isneginf(model.score_samples(outside)).all()
            # No reward without bound for rows that happen to lie on a bound.
            assert (model.score_samples(inside) < 30).all()


def test_the_score_is_that_of_rows_that_count(quick, amounts):
    model = quick(bounds=BY_NAME, flow="affine").fit(amounts)
    rows = amounts.iloc[:3].copy()
    rows.iloc[0, 0] = -1.0
    assert model.score(rows) == -np.inf
    assert model.score(rows, sample_weight=[0, 1, 3]) == pytest.approx(
        np.average(model.score_samples(rows)[1:], weights=[1, 3])
    )


# Densities behind the maps


ORACLES = {
    "exponential": (stats.expon(scale=30.0), (0, None)),
    "beta": (stats.beta(2.0, 5.0), (0, 1)),
    "negative": (stats.weibull_max(1.5, loc=4.0), (None, 4.0)),
}


@pytest.mark.parametrize("name", ORACLES)
def test_known_densities_are_recovered_and_integrate_to_one(quick, name):
    truth, pair = ORACLES[name]
    X = truth.rvs(size=(1500, 1), random_state=0)
    model = quick(bounds={0: pair}, n_estimators=1, max_iter=10, dequantize=False)
    model.fit(X)
    test = truth.rvs(size=(4000, 1), random_state=1)
    # 1,500 rows and a short training leave a few hundredths of a nat.
    assert model.score(test) == pytest.approx(truth.logpdf(test).mean(), abs=0.04)
    low, high = truth.support()
    low, high = max(low, truth.ppf(1e-9) - 5), min(high, truth.ppf(1 - 1e-9) + 200)
    edges = low + (high - low) * np.linspace(0, 1, 40_001)
    middles = (edges[1:] + edges[:-1])[:, None] / 2
    mass = np.exp(model.score_samples(middles)) @ np.diff(edges)
    # The steps of the integral are not endlessly small.
    assert mass == pytest.approx(1.0, abs=3e-3)


def test_without_bounds_mass_lies_where_no_row_can_be(quick):
    X = stats.expon().rvs(size=(2000, 1), random_state=0)
    model = quick(flow="affine", n_estimators=1).fit(X)
    assert (model.sample(5000, random_state=0) < 0).mean() > 0.01


@pytest.mark.parametrize("combine", ["sum", "product"])
def test_integrates_to_one_in_two_columns(quick, amounts, combine):
    model = quick(combine=combine, bounds={0: (0, None), 1: (0, 1)})
    model.fit(amounts[["amount", "share"]].to_numpy())
    # Even steps in the mapped columns, with the areas that they have in the units of X.
    a, b = np.linspace(-8, 8, 201), np.linspace(-14, 14, 201)
    area = np.diff(np.exp(a))[:, None] * np.diff(1 / (1 + np.exp(-b)))
    middles = np.meshgrid((a[1:] + a[:-1]) / 2, (b[1:] + b[:-1]) / 2, indexing="ij")
    points = np.column_stack([np.exp(middles[0].ravel()), 1 / (1 + np.exp(-middles[1].ravel()))])
    assert np.exp(model.score_samples(points)) @ area.ravel() == pytest.approx(1.0, abs=2e-2)


def test_training_and_validation_scores_are_means_over_their_rows(quick, amounts):
    model = quick(bounds=BY_NAME, n_iter_no_change=5, tol=0.0)
    weights = np.random.default_rng(0).uniform(0.1, 2, size=300)
    model.fit(amounts[:300], sample_weight=weights, X_val=amounts[300:])
    stages = list(model.staged_score_samples(amounts))
    np.testing.assert_array_equal(stages[-1], model.score_samples(amounts))
    train = [np.average(stage[:300], weights=weights) for stage in stages]
    np.testing.assert_allclose(train, model.train_scores_, rtol=1e-6)
    validation = [stage[300:].mean() for stage in stages]
    np.testing.assert_allclose(validation, model.validation_scores_, rtol=1e-6)


def test_scores_follow_the_units_of_x(quick, amounts):
    X, factor = amounts.to_numpy(), np.array([2.0**10, 2.0**-3, 2.0])
    ours = quick(bounds=[(0, None), (0, 1), (None, None)]).fit(X)
    theirs = quick(bounds=[(0, None), (0, 2.0**-3), (None, None)]).fit(X * factor)
    expected = ours.score_samples(X) - np.log(factor).sum()
    np.testing.assert_allclose(theirs.score_samples(X * factor), expected, rtol=1e-9, atol=1e-9)


# Values on a bound


@pytest.fixture(scope="module")
def visits():
    """Counts with many zeros, and shares with many zeros and ones, 1,500 rows."""
    rng = np.random.default_rng(6)
    visits = rng.poisson(0.7, size=1500).astype(float)
    share = np.clip(rng.normal(0.5, 0.5, size=1500), 0, 1)
    return np.column_stack([visits, share])


@pytest.mark.slow
def test_counts_that_pile_up_on_a_bound(quick, visits):
    k = visits[:, :1]
    model = quick(bounds=(0, None), dequantize=True, n_estimators=1, max_iter=40).fit(k)
    assert model.bound_margins_.tolist() == [[0.5], [0.0]]
    values = np.arange(3.0)
    shares = (k == values).mean(axis=0)
    # At a value, the density is its probability over the step, on the bound too; splines round
    # the steps off.
    found = np.exp(model.score_samples(values[:, None]))
    np.testing.assert_allclose(found, shares, atol=0.1)
    rows = model.sample(20_000, random_state=0)
    assert (rows >= 0).all()
    drawn = (np.round(rows) == values).mean(axis=0)
    np.testing.assert_allclose(drawn, shares, atol=0.05)


@pytest.mark.slow
def test_noise_beyond_a_bound_counts_in_the_scores_of_fit(quick, visits, tmp_path):
    k, path = visits[:1000, :1], tmp_path / "visits.safetensors"
    model = quick(bounds=(0, None), dequantize=True, max_iter=40, checkpoint=path)
    model.fit(k, X_val=visits[1000:, :1])
    # Of rows with noise and without it, the scores are nearly those of the same steps.
    assert model.train_scores_[-1] == pytest.approx(model.score(k), abs=0.1)
    validation = model.score(visits[1000:, :1])
    assert model.validation_scores_[-1] == pytest.approx(validation, abs=0.1)
    with pytest.raises(ValueError, match="fitted to other rows"):
        model.fit(k + 1, X_val=visits[1000:, :1], resume_from=path)


def test_shares_that_pile_up_on_both_bounds(quick, visits):
    share = visits[:, 1:]
    with degenerate_data_allowed():
        model = quick(bounds=(0, 1), n_estimators=1, max_iter=20).fit(share)
    assert model.atoms_[0].tolist() == [0.0, 1.0]
    rows = model.sample(20_000, random_state=0)
    assert ((rows >= 0) & (rows <= 1)).all()
    for value in (0.0, 1.0):
        expected = (share == value).mean()
        assert (rows == value).mean() == pytest.approx(expected, abs=0.05)
        probability = model.dequantize_widths_[0] * np.exp(model.score_samples([[value]]))[0]
        assert probability == pytest.approx(expected, abs=0.07)
    assert np.isfinite(model.score_samples(share)).all()


MASSES = {
    "exponential, some at zero": (stats.expon(), (0, None), 0.0, 0.04),
    "shares, some at one": (stats.beta(2.0, 2.0), (0, 1), 1.0, 0.03),
    "negative, some at the bound": (stats.weibull_max(1.5, loc=4.0), (None, 4.0), 4.0, 0.03),
    "exponential, none at zero": (stats.expon(), (0, None), 0.0, 0.0),
}


@pytest.mark.parametrize("combine", ["sum", "product"])
@pytest.mark.parametrize("name", MASSES)
def test_the_density_within_bounds_integrates_to_one_and_agrees_with_samples(quick, name, combine):
    truth, pair, bound, share = MASSES[name]
    rng = np.random.default_rng(3)
    x = truth.rvs(size=(1000, 1), random_state=rng)
    x[rng.random(1000) < share] = bound
    model = quick(bounds={0: pair}, combine=combine, flow="nsf", max_iter=3).fit(x)
    low, high = pair[0] if pair[0] is not None else -60.0, pair[1] if pair[1] is not None else 60.0
    # Most of the nodes lie near the bounds, where the density rises within a margin.
    half = np.concatenate([[0.0], np.geomspace(1e-9, (high - low) / 2, 5_000)])
    edges = np.unique(np.concatenate([low + half, high - half]))
    middles = ((edges[1:] + edges[:-1]) / 2)[:, None]
    masses = np.exp(model.score_samples(middles)) * np.diff(edges)
    # The steps of the integral are not endlessly small.
    assert masses.sum() == pytest.approx(1.0, abs=5e-3)
    rows = model.sample(20_000, random_state=0)
    for distance in (1e-3, 1e-2, 0.3):
        near = np.abs(middles[:, 0] - bound) < distance
        drawn = (np.abs(rows - bound) < distance).mean()
        assert drawn == pytest.approx(masses[near].sum(), abs=0.012)
        # Half of a peak on the bound would lie beyond it.
        assert drawn == pytest.approx((np.abs(x - bound) < distance).mean(), abs=0.03)


def test_a_row_in_the_reach_of_a_margin_has_its_mirror_image_too(quick):
    x = stats.expon().rvs(size=(500, 2), random_state=0)
    model = quick(flow="affine", n_estimators=1, bounds=(0, None), dequantize=False).fit(x)
    margin = model.bound_margins_[0]
    near = np.stack([[0.3, 2.0] * margin, [0.5 * margin[0], 0.2 * margin[1]], [0.0, margin[1]]])
    scores, units = np.exp(model.score_samples(near)), model.coordinates_.standardisation
    # By hand: the density of the map alone at the row and at its images.
    images = [near * [a, b] for a in (1, -1) for b in (1, -1)]
    by_hand = np.zeros(3)
    (component,) = model.estimators_
    module = component.module(torch.float64, "cpu")
    for image in images:
        inside = (np.abs(image) < margin) | (image > 0)
        y = np.log(np.where(inside, image, 1.0) + margin)
        z = (y - units.location) / units.scale
        log_p = module().log_prob(torch.from_numpy(z)).detach().numpy() - y.sum(axis=1)
        log_p -= np.log(units.scale).sum()
        by_hand += np.where(inside.all(axis=1), np.exp(log_p), 0.0)
    np.testing.assert_allclose(scores, by_hand, rtol=1e-9)


def test_two_arrays_that_may_be_pairs_are_refused():
    for bounds in (([0, 2], [1, 3]), np.array([[0, 2], [1, 3]]), ((0, 2), (1, 3))):
        with pytest.raises(ValueError, match="may be pairs of two columns or lower and upper"):
            limits_from(bounds, ["a", "b"])
    assert limits_from([(0, 2), (1, 3)], ["a", "b"]).tolist() == [[0, 1], [2, 3]]
    assert limits_from(((0, 1), (None, 0.5)), ["a", "b"]).tolist() == [[0, -math.inf], [1, 0.5]]


def test_a_few_rows_on_a_bound_need_no_noise(quick, amounts):
    X = amounts.to_numpy().copy()
    X[:5, 0], X[5:8, 1] = 0.0, 1.0
    model = quick(bounds=[(0, None), (0, 1), (None, None)], dequantize=False).fit(X)
    scores = model.score_samples(X)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() < 30
    smallest = X[:, 0][X[:, 0] > 0].min()
    margin = model.bound_margins_[0, 0]
    assert 0.05 * smallest < margin <= 0.1 * smallest
    # A power of two, which does not tell the value of the row.
    assert np.frexp(margin)[0] == 0.5


def test_a_constant_column_on_its_bound(quick):
    X = np.column_stack([np.zeros(50), np.random.default_rng(0).normal(size=50)])
    with degenerate_data_allowed():
        model = quick(flow="affine", bounds={0: (0, None)}).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert (model.sample(100, random_state=0)[:, 0] >= 0).all()


# Round trips


@pytest.mark.parametrize("bounds", [BY_NAME, {0: (0, None), 1: (0, 1)}, [(0, None), (0, 1),
                                    (None, math.inf)]])  # fmt: skip
def test_files_pickles_and_copies(quick, amounts, tmp_path, bounds):
    model = quick(flow="affine", bounds=bounds).fit(amounts)
    skgbnf.save(model, tmp_path / "model")
    loaded = skgbnf.load(tmp_path / "model")
    for again in (loaded, pickle.loads(pickle.dumps(model))):
        assert np.array_equal(again.score_samples(amounts), model.score_samples(amounts))
        assert np.array_equal(again.sample(9, random_state=1), model.sample(9, random_state=1))
        refitted = clone(again).fit(amounts)
        assert np.array_equal(refitted.score_samples(amounts), model.score_samples(amounts))
    if isinstance(bounds, dict):
        assert loaded.bounds == bounds


def test_a_fit_goes_on_from_its_checkpoint(quick, amounts, tmp_path):
    settings = {"flow": "affine", "bounds": BY_NAME, "tol": 0.0, "n_iter_no_change": 5}
    whole = quick(n_estimators=3, **settings).fit(amounts)
    quick(n_estimators=1, checkpoint=tmp_path / "rounds", **settings).fit(amounts)
    resumed = quick(n_estimators=3, **settings).fit(amounts, resume_from=tmp_path / "rounds")
    assert np.array_equal(resumed.score_samples(amounts), whole.score_samples(amounts))
    others = {**settings, "bounds": {"amount": (-1, None)}}
    with pytest.raises(ValueError, match=r"other \['bounds'\]"):
        quick(n_estimators=3, **others).fit(amounts, resume_from=tmp_path / "rounds")


def test_a_warm_start_keeps_its_bounds(quick, amounts):
    settings = {"flow": "affine", "bounds": BY_NAME, "tol": 0.0, "n_iter_no_change": 5}
    model = quick(n_estimators=1, warm_start=True, **settings).fit(amounts)
    model.set_params(n_estimators=2).fit(amounts)
    whole = quick(n_estimators=2, **settings).fit(amounts)
    assert np.array_equal(model.score_samples(amounts), whole.score_samples(amounts))
    with pytest.raises(ValueError, match="bounds must be those"):
        model.set_params(n_estimators=3, bounds=None).fit(amounts)


def test_margins_of_a_file_are_checked(quick, amounts, tmp_path):
    model = quick(flow="affine", bounds=BY_NAME).fit(amounts)
    model.bound_margins_[0, 0] = 0.0
    skgbnf.save(model, tmp_path / "model")
    with pytest.raises(ValueError, match="margins"):
        skgbnf.load(tmp_path / "model")
