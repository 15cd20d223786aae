"""Densities of tables with categories, gaps, dates and atoms, as an estimator."""

import itertools
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.base import clone

import skgbnf
from skgbnf import GradientBoostedFlowDensity
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.table.coordinates import Coordinates


def people(n=300, seed=0):
    """A frame that a person might have."""
    rng = np.random.default_rng(seed)
    group = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    frame = pd.DataFrame(
        {
            "city": np.array(["Bonn", "Rome", "York"])[group],
            "height": rng.normal(size=n) + 2 * group,
            "spent": np.where(rng.random(n) < 0.3, 0.0, rng.lognormal(size=n).round(3)),
            "visits": rng.poisson(2 + 2 * group),
            "member": rng.random(n) < 0.2 + 0.2 * group,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, n), "D"),
        }
    )
    frame.loc[rng.random(n) < 0.1, "height"] = np.nan
    frame.loc[rng.random(n) < 0.1, "city"] = None
    return frame


def quick(**parameters):
    """Rounds of all families of mixed tables, too short to be good."""
    defaults = {
        "n_estimators": 3,
        "flow": "autoregressive",
        "init": ["location_mixture", "masked"],
        "max_iter": 2,
        "hidden_layer_sizes": 16,
        "n_folds": None,
        "random_state": 0,
    }
    return GradientBoostedFlowDensity(**{**defaults, **parameters})


def by_em(**parameters):
    """One mixture with closed forms."""
    defaults = {"flow": "location_mixture", "init": None, "n_folds": None, "random_state": 0}
    return GradientBoostedFlowDensity(1, **{**defaults, **parameters})


@pytest.fixture(scope="module")
def frame():
    return people()


@pytest.fixture(scope="module")
def model(frame):
    return quick().fit(frame)


@pytest.fixture(scope="module")
def exact(frame):
    return by_em().fit(frame)


def test_which_tables_are_mixed(frame):
    numbers = frame[["height"]].dropna()
    fit = by_em(flow="affine").fit
    assert isinstance(fit(numbers).coordinates_, Coordinates)
    assert isinstance(fit(numbers.to_numpy()).coordinates_, Coordinates)
    for table in (
        frame[["height"]],
        frame[["height"]].to_numpy(),
        frame[["member"]],
        frame[["spent"]],
        frame[["since"]],
        frame[["city"]].to_numpy(dtype=object),
    ):
        assert isinstance(by_em().fit(table).coordinates_, MixedCoordinates)
    said = by_em(columns={0: "continuous"}).fit(numbers)
    assert isinstance(said.coordinates_, MixedCoordinates)


def test_scores_are_finite_and_staged_scores_end_in_them(model, frame):
    scores = model.score_samples(frame)
    assert scores.shape == (len(frame),)
    assert np.isfinite(scores).all()
    *_, last = model.staged_score_samples(frame)
    np.testing.assert_allclose(last, scores)
    assert model.score(frame) == pytest.approx(scores.mean())


def test_probabilities_of_discrete_parts_sum_to_one(frame):
    discrete = frame[["city", "member", "visits"]]
    model = quick().fit(discrete)
    cells = itertools.product(["Bonn", "Rome", "York"], [False, True], range(200))
    every = pd.DataFrame(cells, columns=discrete.columns)
    assert np.exp(model.score_samples(every)).sum() == pytest.approx(1, abs=1e-6)


def test_an_atom_has_a_probability_and_the_rest_a_density(frame):
    model = quick().fit(frame[["spent"]])
    zero = np.exp(model.score_samples(pd.DataFrame({"spent": [0.0]})))[0]
    t = np.linspace(-12, 12, 40_001)
    rest = np.exp(model.score_samples(pd.DataFrame({"spent": np.sinh(t)})))
    # The point at zero is the atom.
    rest[len(t) // 2] = rest[len(t) // 2 + 1]
    assert zero + np.trapezoid(rest * np.cosh(t), t) == pytest.approx(1, abs=1e-3)
    share = (model.sample(4000, random_state=0) == 0).mean()
    assert share == pytest.approx(zero, abs=4 * 0.5 / math.sqrt(4000))


def test_units(frame):
    heights = frame[["height"]].dropna()
    model = by_em(columns={"height": "continuous"}).fit(heights)
    scaled = by_em(columns={"height": "continuous"}).fit(1000 * heights)
    difference = model.score_samples(heights) - scaled.score_samples(1000 * heights)
    np.testing.assert_allclose(difference, math.log(1000), atol=1e-8)
    days = by_em().fit(frame[["since"]])
    # Dates have a density by seconds: 700 even days.
    assert days.score(frame[["since"]]) == pytest.approx(-math.log(700 * 86400), abs=0.3)


def test_a_level_that_was_not_seen_has_no_density_and_a_warning(model, frame):
    strange = frame[:3].assign(city=["Bonn", "Oslo", "Rome"])
    with pytest.warns(UserWarning, match="city") as caught:
        scores = model.score_samples(strange)
    assert len(caught) == 1
    assert np.isfinite(scores[[0, 2]]).all()
    assert scores[1] == -np.inf
    counts = frame[:2].assign(visits=[-1, 3])
    assert model.score_samples(counts)[0] == -np.inf


def test_declared_and_reference_levels_have_a_density(frame):
    declared = frame[["city", "height"]].astype({"city": "category"})
    declared["city"] = declared["city"].cat.add_categories(["Oslo"])
    strange = pd.DataFrame({"city": ["Oslo"], "height": [0.0]})
    assert np.isfinite(by_em().fit(declared).score_samples(strange))[0]
    whole = pd.concat([frame[["city", "height"]], strange])
    model = by_em().fit(frame[["city", "height"]], X_reference=whole)
    assert np.isfinite(model.score_samples(strange))[0]


def test_a_row_of_gaps_says_nothing(model, frame):
    empty = frame.reindex([-1, -2])
    np.testing.assert_allclose(model.score_samples(empty), 0.0, atol=1e-6)


def test_rows_of_weight_zero_count_as_absent(frame):
    weights = np.r_[np.ones(200), np.zeros(100)]
    a = by_em().fit(frame, sample_weight=weights)
    b = by_em().fit(frame[:200])
    np.testing.assert_allclose(a.score_samples(frame[:200]), b.score_samples(frame[:200]))


def test_files_pickles_and_clones(model, frame, tmp_path):
    path = tmp_path / "model.safetensors"
    skgbnf.save(model, path)
    for again in (skgbnf.load(path), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(again.score_samples(frame), model.score_samples(frame))
        pd.testing.assert_frame_equal(
            again.sample_frame(5, random_state=1), model.sample_frame(5, random_state=1)
        )
    told = GradientBoostedFlowDensity(columns={"city": "categorical", 1: ("periodic", 24)})
    assert clone(told).columns == told.columns


def test_parameters_of_kinds_go_into_files(frame, tmp_path):
    model = by_em(columns={"visits": "ordinal", "height": ("periodic", 12.0)}).fit(frame)
    skgbnf.save(model, tmp_path / "m.safetensors")
    again = skgbnf.load(tmp_path / "m.safetensors")
    assert again.columns == model.columns
    assert again.columns_ == model.columns_


def test_warm_start_and_resuming(frame, tmp_path):
    whole = quick(n_estimators=4, n_iter_no_change=9, tol=0).fit(frame)
    grown = quick(n_iter_no_change=9, tol=0, warm_start=True).fit(frame)
    grown.set_params(n_estimators=4).fit(frame)
    np.testing.assert_allclose(grown.score_samples(frame), whole.score_samples(frame))
    path = tmp_path / "checkpoint.safetensors"
    quick(checkpoint=path).fit(frame)
    resumed = quick(n_estimators=4, n_iter_no_change=9, tol=0).fit(frame, resume_from=path)
    np.testing.assert_allclose(resumed.score_samples(frame), whole.score_samples(frame))


def test_folds_validate_every_row(frame):
    model = quick(n_folds=3, max_iter=1).fit(frame[:90])
    assert model.n_folds_ == 3
    scores = model.fold_score_samples(frame[:90])
    assert scores.shape == (3, 90)
    np.testing.assert_allclose(
        np.logaddexp.reduce(scores) - math.log(3), model.score_samples(frame[:90]), atol=1e-5
    )


def test_a_validation_set_of_the_users(frame):
    model = quick().fit(frame[:200], X_val=frame[200:])
    # The units are those of the training rows.
    validation = model.score(frame[200:])
    assert model.validation_scores_[-1] == pytest.approx(validation, abs=0.02)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "numpy"])
def test_samples_are_tables_like_that_of_fit(frame, library):
    make = {
        "pandas": lambda f: f,
        "polars": pl.from_pandas,
        "pyarrow": lambda f: pa.Table.from_pandas(f, preserve_index=False),
        "numpy": lambda f: f.to_numpy(dtype=object),
    }[library]
    table = make(frame)
    model = by_em().fit(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = model.score_samples(table)
    np.testing.assert_allclose(scores, by_em().fit(frame).score_samples(frame))
    drawn = model.sample_frame(50, random_state=0)
    if library == "numpy":
        assert set(drawn.iloc[:, 0]) <= {"Bonn", "Rome", "York"}
        return
    assert type(drawn) is type(table)
    if library == "pandas":
        assert drawn.dtypes.to_dict() == frame.dtypes.to_dict()
        assert set(drawn["city"]) <= {"Bonn", "Rome", "York"}
        assert (drawn["visits"] >= 0).all()
        assert (drawn["since"].dt.normalize() == drawn["since"]).all()
        assert 0 < (drawn["spent"] == 0).mean() < 1
    else:
        assert drawn.schema == table.schema


def test_samples_with_gaps_have_those_of_fit(model, frame):
    drawn = model.sample_frame(3000, random_state=0, missing=True)
    for column in frame:
        share = frame[column].isna().mean()
        assert drawn[column].isna().mean() == pytest.approx(share, abs=0.03)
    assert not model.sample_frame(100, random_state=0).isna().any().any()


def test_bounds_hold(frame):
    model = by_em(bounds={"height": (-4, 9)}).fit(frame)
    drawn = model.sample_frame(2000, random_state=0)["height"]
    assert drawn.between(-4, 9).all()
    outside = frame[:1].assign(height=9.5)
    assert model.score_samples(outside)[0] == -np.inf
    with pytest.raises(ValueError, match="height"):
        by_em(bounds={"height": (0, 1)}).fit(frame)


def test_bounds_of_levels():
    ratings = pd.DataFrame({"rating": np.tile([1, 2, 3, 4, 5], 40), "text": ["a", "b"] * 100})
    model = by_em(bounds={"rating": (1, 5)}).fit(ratings)
    assert set(model.sample_frame(100, random_state=0)["rating"]) <= {1, 2, 3, 4, 5}
    with pytest.raises(ValueError, match="'rating' holds 5"):
        by_em(bounds={"rating": (1, 4)}).fit(ratings)
    with pytest.raises(ValueError, match="'text' holds no numbers"):
        by_em(bounds={"text": (1, 4)}).fit(ratings)


def test_values_that_are_rounded_have_their_frequencies():
    rng = np.random.default_rng(0)
    prices = rng.normal(50_000, 9_000, 3000).round().astype(int)
    prices[:2400] = (prices[:2400] // 100) * 100
    frame = pd.DataFrame({"price": prices, "kind": rng.choice(["a", "b"], 3000)})
    model = by_em().fit(frame)
    assert [variable.n_open for variable in model.coordinates_.variables] == [1, 100, 1]
    drawn = model.sample_frame(4000, random_state=0)["price"]
    assert (drawn % 100 == 0).mean() == pytest.approx(0.8, abs=0.04)
    # All whole numbers together.
    every = np.arange(0, 100_000)
    scores = model.marginal("price").score_samples(every[:, None])
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-4)
    assert np.exp(scores[every % 100 == 0]).sum() == pytest.approx(0.8, abs=0.02)


def test_an_angle_has_no_seam():
    rng = np.random.default_rng(0)
    hours = np.remainder(rng.normal(0, 2, 400), 24)
    model = by_em(columns={0: ("periodic", 24)}).fit(hours[:, None])
    near = model.score_samples(np.array([[0.001], [23.999]]))
    assert near[0] == pytest.approx(near[1], abs=1e-3)
    drawn = model.sample(1000, random_state=0)
    assert ((drawn >= 0) & (drawn < 24)).all()
    t = np.linspace(0, 24, 5001)
    density = np.exp(model.score_samples(t[:, None]))
    assert np.trapezoid(density, t) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"flow": "maf"}, "city"),
        ({"flow": "maf", "columns": {"city": "categorical"}}, "maf"),
        ({"combine": "product", "n_folds": None}, "combine"),
        ({"columns": {"nobody": "ordinal"}}, "nobody"),
        ({"columns": {"city": "odd"}}, "odd"),
    ],
)
def test_what_does_not_suit_a_mixed_table_is_refused(frame, parameters, message):
    with pytest.raises(ValueError, match=message):
        quick(init=None, **{"flow": "auto", **parameters}).fit(frame)


def test_infinite_values_are_refused(frame):
    with pytest.raises(ValueError, match="height"):
        by_em().fit(frame.assign(height=np.inf))


def test_families_of_mixed_tables_take_numbers_too():
    X = np.random.default_rng(0).normal(size=(200, 2))
    model = quick(init=None, n_estimators=1).fit(X)
    assert isinstance(model.coordinates_, Coordinates)
    assert np.isfinite(model.score_samples(X)).all()


def test_a_conditional_of_one_category_sums_to_one(model, frame):
    rows = frame.dropna()[:5]
    others = [column for column in frame if column != "city"]
    total = np.zeros(5)
    for city in ["Bonn", "Rome", "York"]:
        scores, std = model.conditional_score_samples(
            rows.assign(city=city), others, return_std=True
        )
        total += np.exp(scores)
        assert (std == 0).all()
    np.testing.assert_allclose(total, 1, atol=1e-9)


def test_a_conditional_is_estimated_within_its_error(frame):
    table = frame[["city", "member", "visits"]].dropna()
    model = quick(init=None, flow=["masked"], n_estimators=1, max_iter=4).fit(table)
    rows = table[:4]
    scores, std = model.conditional_score_samples(rows, "visits", n_draws=2000, return_std=True)
    for i in range(len(rows)):
        cells = itertools.product(["Bonn", "Rome", "York"], [False, True])
        every = pd.DataFrame(cells, columns=["city", "member"])
        every["visits"] = int(rows["visits"].iloc[i])
        joint = model.score_samples(every)
        expected = model.score_samples(rows[i : i + 1])[0] - np.logaddexp.reduce(joint)
        assert scores[i] == pytest.approx(expected, abs=5 * std[i] + 1e-6)
        assert 0 < std[i] < 0.1


def test_conditionals_of_closed_forms_are_exact(exact, frame):
    rows = frame.dropna()[:10]
    scores, std = exact.conditional_score_samples(rows, ["city", "height"], return_std=True)
    given = rows.copy()
    given[["spent", "visits"]] = np.nan
    given["member"], given["since"] = None, pd.NaT
    np.testing.assert_allclose(scores, exact.score_samples(rows) - exact.score_samples(given))
    assert (std == 0).all()


def test_no_conditions_and_all_conditions(exact, frame):
    rows = frame[:10]
    np.testing.assert_allclose(
        exact.conditional_score_samples(rows, []), exact.score_samples(rows), atol=1e-6
    )
    assert (exact.conditional_score_samples(rows, list(frame)) == 0).all()


def test_feature_scores_are_conditionals(exact, frame):
    rows = frame[:10]
    scores = exact.feature_score_samples(rows)
    assert (np.isnan(scores) == rows.isna().to_numpy()).all()
    others = [column for column in frame if column != "visits"]
    np.testing.assert_allclose(scores[:, 3], exact.conditional_score_samples(rows, others))


def test_completions_keep_what_is_known(model, frame):
    drawn = model.sample_missing(frame[:20], 3, random_state=0)
    repeated = frame[:20].loc[np.repeat(np.arange(20), 3)]
    assert not drawn.isna().any().any()
    assert (drawn.index == repeated.index).all()
    known = repeated.notna()
    for name in frame:
        own = known[name].to_numpy()
        assert drawn[name][own].tolist() == repeated[name][own].tolist()
    again = model.sample_missing(frame[:20], 3, random_state=0)
    pd.testing.assert_frame_equal(drawn, again)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_column_without_a_value_is_completed_with_the_type_of_fit(library):
    cells = {"town": ["Bonn", "Rome"] * 30, "x": np.random.default_rng(0).normal(size=60)}
    model = by_em().fit(library(cells))
    for nothing in ([None, None], [math.nan, math.nan]):
        drawn = model.sample_missing(library({"town": nothing, "x": [0.0, 1.0]}), 2)
        towns = drawn["town"].to_pylist() if library is pa.table else drawn["town"].to_list()
        assert len(towns) == 4
        assert set(towns) <= {"Bonn", "Rome"}


@pytest.mark.parametrize("library", ["pandas", "polars", "array"])
def test_completions_keep_large_numbers_and_nanoseconds(library):
    rng = np.random.default_rng(0)
    cells = {
        "key": rng.integers(2**60, 2**61, size=60),
        "time": np.datetime64("2026-01-01T00:00:00.000000001") + rng.integers(10**9, size=60),
        "x": np.where(np.arange(60) < 20, np.nan, rng.normal(size=60)),
    }
    X = pd.DataFrame(cells)
    if library == "polars":
        X = pl.DataFrame(cells).with_columns(pl.col("x").fill_nan(None))
    if library == "array":
        X = X.astype(object).to_numpy()
    drawn = by_em().fit(X).sample_missing(X, 2, random_state=0)
    for j, name in enumerate(("key", "time")):
        every = np.repeat(X[:, j] if library == "array" else X[name].to_numpy(), 2)
        own = drawn[:, :, j].ravel() if library == "array" else drawn[name].to_numpy()
        assert own.tolist() == every.tolist()


def test_earlier_rounds_refuse_values_that_they_exclude(frame):
    model = by_em(warm_start=True).fit(frame)
    other = frame.assign(city=np.where(np.arange(len(frame)) < 5, "Atlantis", frame["city"]))
    model.set_params(n_estimators=2)
    with pytest.raises(ValueError, match="column 'city' holds values that the rounds already"):
        model.fit(other)
    assert model.n_estimators_ == 1
    assert model.fit(frame).n_estimators_ <= 2


def test_one_row_of_positive_weight_is_too_few(frame):
    weights = np.arange(len(frame)) == 3
    with pytest.raises(ValueError, match="sample_weight must be positive for at least two rows"):
        by_em().fit(frame, sample_weight=weights)


def test_parts_are_called_by_labels(exact, frame):
    rows = frame[:5]
    pair = exact.conditional_score_samples(rows, ["city", "height"])
    assert (exact.conditional_score_samples(rows, ("city", "height")) == pair).all()
    with pytest.raises(ValueError, match="given: there is no column None"):
        exact.conditional_score_samples(rows, None)
    with pytest.raises(ValueError, match="columns: column 'city' is named twice"):
        exact.marginal(["city", "city"])
    with pytest.raises(ValueError, match="columns: there is no column 'town'"):
        exact.marginal("town")


def test_completions_follow_the_conditional(exact):
    row = pd.DataFrame({"city": [None], "height": [2.0]})
    model = by_em().fit(people(600)[["city", "height"]])
    drawn = model.sample_missing(row, 3000, random_state=0)["city"]
    for city in ["Bonn", "Rome", "York"]:
        expected = np.exp(model.conditional_score_samples(row.assign(city=city), "height"))[0]
        assert (drawn == city).mean() == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(3000))


def test_completions_of_several_components_weigh_them_by_what_is_known():
    frame = people(300)[["city", "height"]].dropna()
    model = by_em(n_folds=3).fit(frame)
    row = pd.DataFrame({"city": [None], "height": [3.0]})
    drawn = model.sample_missing(row, 4000, random_state=0)["city"]
    for city in ["Bonn", "Rome", "York"]:
        expected = np.exp(model.conditional_score_samples(row.assign(city=city), "height"))[0]
        assert (drawn == city).mean() == pytest.approx(expected, abs=0.03)


def test_completions_of_arrays_have_an_axis_of_draws():
    X = np.random.default_rng(0).normal(size=(100, 3))
    X[:10, 1] = np.nan
    model = by_em().fit(X)
    drawn = model.sample_missing(X[:12], 4, random_state=0)
    assert drawn.shape == (12, 4, 3)
    assert drawn.dtype == np.float64
    np.testing.assert_array_equal(drawn[10:], np.repeat(X[10:12, None], 4, axis=1))


def test_marginals(exact, frame):
    cities = exact.marginal("city")
    assert cities.columns == ["city"]
    total = np.exp(cities.score_samples([["Bonn"], ["Rome"], ["York"]])).sum()
    assert total == pytest.approx(1, abs=1e-9)
    assert set(cities.sample(50, random_state=0).ravel()) <= {"Bonn", "Rome", "York"}
    with pytest.raises(ValueError, match="order"):
        cities.cdf([0])
    two = exact.marginal(["height", "city"])
    rows = frame.dropna()[["height", "city"]][:5]
    part = frame.loc[rows.index].copy()
    part[["spent", "visits"]] = np.nan
    part["member"], part["since"] = None, pd.NaT
    np.testing.assert_allclose(two.score_samples(rows), exact.score_samples(part))


@pytest.mark.parametrize("column", ["height", "spent", "visits"])
def test_distribution_functions_and_quantiles(exact, column):
    density = exact.marginal(column)
    drawn = exact.sample_frame(20_000, random_state=0)[column].to_numpy(dtype=float)
    for value in np.quantile(drawn, [0.1, 0.5, 0.9]):
        share = (drawn <= value).mean()
        assert density.cdf(value) == pytest.approx(share, abs=0.02)
    q = np.array([0.05, 0.5, 0.95])
    values = density.quantile(q)
    assert (density.cdf(values) >= q - 1e-9).all()
    assert (density.cdf(values - 1e-6 - 1e-6 * np.abs(values)) <= q + 1e-3).all()
    assert density.cdf(-np.inf) == 0
    assert density.cdf(np.inf) == 1


def test_distribution_functions_of_each_kind():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "group": rng.choice(["a", "b"], 300),
            "count": rng.poisson(3, 300),
            "hour": np.remainder(rng.normal(23, 3, 300), 24),
            "share": rng.beta(0.5, 0.5, 300),
            "large": rng.integers(10, 300_000, 300),
            "tenth": rng.lognormal(3, 0.6, 300).round(1),
        }
    )
    columns = {"hour": ("periodic", 24)}
    model = by_em(columns=columns, bounds={"share": (0, 1)}).fit(frame)
    drawn = model.sample_frame(20_000, random_state=0)
    for name in frame.columns[1:]:
        density = model.marginal(name)
        for value in np.quantile(drawn[name], [0.02, 0.3, 0.5, 0.7, 0.98], method="nearest"):
            share = (drawn[name] <= value).mean()
            assert density.cdf(value) == pytest.approx(share, abs=0.02), (name, value)
        assert drawn[name].min() - 0.1 <= density.quantile(0.01) <= density.quantile(0.99)
    counts = model.marginal("count")
    total = np.cumsum(np.exp(counts.score_samples(np.arange(6)[:, None])))
    np.testing.assert_allclose(counts.cdf(np.arange(6)), total, atol=1e-9)
    assert model.marginal("share").quantile([0, 1]).tolist() == pytest.approx([0, 1], abs=1e-3)


def test_an_unseen_level_neither_hinders_nor_decides(frame, exact):
    strange = frame[:3].assign(city="Oslo", height=np.nan)
    with pytest.warns(UserWarning, match="city"):
        drawn = exact.sample_missing(strange, random_state=0)
    assert drawn["height"].notna().all()
    with pytest.warns(UserWarning, match="city"):
        scores = exact.conditional_score_samples(strange, ["city"])
    without = exact.conditional_score_samples(strange.assign(city=None), [])
    np.testing.assert_allclose(scores, without, atol=1e-9)


def test_one_value_far_away_sets_no_units():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    frame = pd.DataFrame({"x": np.r_[x, 1e200], "c": rng.choice(["a", "b"], 301)})
    model = by_em(columns={"x": "continuous"}).fit(frame)
    assert model.score(frame[:300]) > -3


def test_parts_of_a_density_of_numbers_are_estimated():
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.6, 0.2], [0.6, 1.0, 0.5], [0.2, 0.5, 1.0]])
    X = rng.multivariate_normal(np.zeros(3), covariance, 2000)
    model = GradientBoostedFlowDensity(1, flow="affine", validation_fraction=None).fit(X)
    fitted = stats.multivariate_normal(X.mean(0), np.cov(X.T, bias=True))
    part = stats.multivariate_normal(X.mean(0)[[0, 2]], np.cov(X[:, [0, 2]].T, bias=True))
    rows = X[:5]
    scores, std = model.conditional_score_samples(rows, [0, 2], n_draws=500, return_std=True)
    expected = fitted.logpdf(rows) - part.logpdf(rows[:, [0, 2]])
    assert (np.abs(scores - expected) < 5 * std + 1e-3).all()
    assert (std < 0.05).all()
    gaps = rows.copy()
    gaps[:, 1] = np.nan
    np.testing.assert_allclose(model.score_samples(gaps), part.logpdf(rows[:, [0, 2]]), atol=0.05)
    drawn = model.sample_missing(gaps[:1], 2000, random_state=0)[0, :, 1]
    S, m = np.cov(X.T, bias=True), X.mean(0)
    gain = S[1, [0, 2]] @ np.linalg.inv(S[np.ix_([0, 2], [0, 2])])
    mean = m[1] + gain @ (rows[0, [0, 2]] - m[[0, 2]])
    spread = math.sqrt(S[1, 1] - gain @ S[[0, 2], 1])
    assert drawn.mean() == pytest.approx(mean, abs=5 * spread / math.sqrt(2000))
    assert drawn.std() == pytest.approx(spread, rel=0.1)
