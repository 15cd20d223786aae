"""Missing values filled in: what is filled, with what, and that nothing else changes."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from helpers import GaussianDensity
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import skgbnf
from skgbnf import FlowImputer, GradientBoostedFlowDensity
from skgbnf.estimators.conditionals import completed_rows
from skgbnf.estimators.typical import half_sample_mode, mean_of, mode_of, most_frequent
from skgbnf.table.column import Column
from skgbnf.table.filling import filled

DENSITY = GradientBoostedFlowDensity(
    1, flow="location_mixture", init=None, n_folds=None, max_iter=2, random_state=0
)
AFFINE = GradientBoostedFlowDensity(1, flow="affine", max_iter=1, random_state=0)


# Some checks bring small tables of integers.
@pytest.mark.filterwarnings("ignore::skgbnf.table.dequantisation.DegenerateDataWarning")
@parametrize_with_checks([FlowImputer(DENSITY), FlowImputer(DENSITY, strategy="sample")])
def test_scikit_learn_check(estimator, check):
    check(estimator)


def shop(n_rows=300, seed=0):
    """A frame of many types, complete: what is sold depends on what kind it is."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=n_rows)
    return pd.DataFrame(
        {
            "kind": pd.Categorical.from_codes(kind, ["bread", "milk", "salt"]),
            "price": 10.0 * kind + rng.normal(size=n_rows),
            "sold": pd.array(rng.poisson(3.0 + kind), dtype="Int64"),
            "new": kind == 2,
            "name": np.array(["b", "m", "s"], dtype=object)[kind],
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(30 * kind, "D"),
            "tax": np.where(kind == 0, 0.0, rng.exponential(size=n_rows)),
        }
    )


def with_gaps(frame, share=0.2, seed=1):
    """The frame with gaps at random, and where they are."""
    missing = np.random.default_rng(seed).random(frame.shape) < share
    missing[:, 3] = False  # booleans have none
    return frame.mask(missing), missing


@pytest.fixture(scope="module")
def table():
    return with_gaps(shop())


@pytest.fixture(scope="module")
def imputer(table):
    return FlowImputer(DENSITY, random_state=0).fit(table[0])


@pytest.mark.quick
@pytest.mark.parametrize("strategy", ["mean", "mode", "sample"])
def test_gaps_are_filled_and_nothing_else_changes(imputer, table, strategy):
    X, missing = table
    done = clone(imputer).set_params(strategy=strategy).fit(X).transform(X)
    assert not done.isna().to_numpy().any()
    assert done.dtypes.equals(X.dtypes)
    assert done.index.equals(X.index)
    assert ((done == X).fillna(False).to_numpy() | missing).all()


def test_what_is_filled_in_suits_the_rest_of_the_sample(imputer, table):
    """Kind, name and day of these samples determine each other; the mean price of each is known."""
    X, missing = table
    done, truth = imputer.transform(X), shop()
    for name in ("kind", "name", "day"):
        hidden = missing[:, X.columns.get_loc(name)]
        assert (done[name][hidden] == truth[name][hidden]).mean() > 0.95
    hidden = missing[:, 1]
    assert np.abs(done["price"] - truth["price"])[hidden].mean() < 1.5
    assert (done["tax"] >= -1e-9).all()


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_frames_of_other_libraries_come_back_as_they_are(table, library):
    pandas = table[0].drop(columns="name").assign(name=table[0]["name"].astype("string"))
    X = pa.Table.from_pandas(pandas, preserve_index=False)
    X = pl.from_arrow(X) if library == "polars" else X
    done = FlowImputer(DENSITY, random_state=0).fit(X).transform(X)
    assert type(done) is type(X)
    assert done.schema == X.schema
    back = done.to_pandas()
    assert not back.isna().to_numpy().any()
    given, place = X.to_pandas(), pandas.columns.get_loc("price")
    known = ~pandas["price"].isna()
    assert place == 1
    assert (back["price"][known] == given["price"][known]).all()


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_fit_to_a_frame_fills_an_array_and_one_of_another_library(imputer, table):
    X = table[0][:20]
    done = imputer.transform(X)
    array = imputer.transform(X.to_numpy(dtype=object, na_value=None))
    assert array.dtype == object
    np.testing.assert_allclose(array[:, 1].astype(float), done["price"])
    frame = imputer.transform(pl.from_pandas(X))
    assert isinstance(frame, pl.DataFrame)
    np.testing.assert_allclose(frame["price"].to_numpy(), done["price"])


@pytest.mark.parametrize(
    ("dtype", "gaps_in_fit"),
    [
        (np.float32, True),
        (np.float64, True),
        pytest.param(np.float32, False, marks=pytest.mark.slow),
    ],
)
def test_arrays_of_numbers_become_arrays_of_numbers(dtype, gaps_in_fit):
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    X = np.column_stack([x, 2 * x + 0.1 * rng.normal(size=200)]).astype(dtype)
    holes = X.copy()
    holes[::4, 1] = np.nan
    done = FlowImputer(DENSITY, random_state=0).fit(holes if gaps_in_fit else X).transform(holes)
    assert done.dtype == dtype
    known = ~np.isnan(holes)
    assert (done[known] == holes[known]).all()
    assert np.abs(done - X)[~known].mean() < 0.2


def test_complete_rows_of_whole_numbers_become_floats():
    X = np.random.default_rng(0).poisson(9.0, size=(100, 2))
    done = FlowImputer(clone(AFFINE).set_params(dequantize=True)).fit(X).transform(X)
    assert done.dtype == np.float64
    assert (done == X).all()


def test_means_are_those_of_the_conditional_distribution():
    """Of two normal columns it is known, as is the spread of single draws around it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    X = np.column_stack([x, 0.6 * x + 0.8 * rng.normal(size=2000)])
    X[::2, 1] = np.nan
    new = np.column_stack([np.linspace(-2, 2, 200), np.full(200, np.nan)])
    imputer = FlowImputer(DENSITY, n_draws=200, random_state=0).fit(X)
    means = imputer.transform(new)[:, 1]
    np.testing.assert_allclose(means, 0.6 * new[:, 0], atol=0.3)
    drawn = imputer.set_params(strategy="sample").transform(new)[:, 1]
    assert np.std(drawn - 0.6 * new[:, 0]) == pytest.approx(0.8, abs=0.15)
    modes = imputer.set_params(strategy="mode").transform(new)[:, 1]
    assert np.mean(np.abs(modes - 0.6 * new[:, 0])) < 0.4


def test_draws_are_governed_by_the_seed(table):
    X = table[0][:60]
    first, same, other = (
        FlowImputer(DENSITY, strategy="sample", random_state=seed).fit(X) for seed in (0, 0, 1)
    )
    assert first.transform(X).equals(first.transform(X))
    assert first.transform(X).equals(same.transform(X))
    assert not first.transform(X).equals(other.transform(X))


def test_an_unknown_level_stays_and_says_nothing(imputer):
    X = shop(3).astype({"kind": object})
    X.loc[:, "kind"] = "sand"
    X.loc[:, "price"] = np.nan
    with pytest.warns(UserWarning, match="none of the rows of fit had"):
        done = imputer.transform(X)
    assert (done["kind"] == "sand").all()
    assert np.isfinite(done["price"]).all()


def test_output_is_what_scikit_learn_is_told(imputer, table):
    X = table[0][["price", "tax"]][:100]
    imputer = FlowImputer(DENSITY, n_draws=10, random_state=0).fit(X)
    assert imputer.get_feature_names_out().tolist() == ["price", "tax"]
    array = X.to_numpy()[:60]
    polars = clone(imputer).set_output(transform="polars").fit(array).transform(array)
    assert isinstance(polars, pl.DataFrame)
    assert polars.columns == ["x0", "x1"]


def test_an_imputer_is_a_step_of_a_pipeline(table):
    X = table[0][["price", "tax"]][:60]
    imputer = FlowImputer(DENSITY, n_draws=10, random_state=0)
    model = make_pipeline(imputer.set_output(transform="pandas"), Ridge())
    assert model.fit(X, np.arange(len(X))).feature_names_in_.tolist() == ["price", "tax"]


@pytest.mark.parametrize("how", ["pickle", "file"])
def test_an_imputer_comes_back_from_a_file(imputer, table, tmp_path, how):
    if how == "pickle":
        again = pickle.loads(pickle.dumps(imputer))
    else:
        skgbnf.save(imputer, tmp_path / "model")
        again = skgbnf.load(tmp_path / "model")
    assert again.transform(table[0]).equals(imputer.transform(table[0]))
    assert clone(again).get_params()["n_draws"] == 50


def test_bad_parameters_are_named(table):
    X = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(ValueError, match="strategy must be"):
        FlowImputer(DENSITY, strategy="median").fit(X)
    with pytest.raises(ValueError, match="n_draws"):
        FlowImputer(DENSITY, n_draws=1).fit(X)
    with pytest.raises(TypeError, match="estimator must be a GradientBoostedFlowDensity"):
        FlowImputer(GaussianDensity()).fit(X)
    with pytest.raises(NotFittedError):
        FlowImputer(DENSITY).transform(X)


# %% What is typical of draws


def half_sample_mode_slow(values):
    values = sorted(values)
    while len(values) > 2:
        half = -(-len(values) // 2)
        starts = range(len(values) - half + 1)
        start = min(starts, key=lambda i: values[i + half - 1] - values[i])
        values = values[start : start + half]
    return np.mean(values)


@pytest.mark.parametrize("n_draws", [1, 2, 3, 10, 101])
def test_half_sample_mode(n_draws):
    draws = np.random.default_rng(0).exponential(size=(20, n_draws))
    expected = [half_sample_mode_slow(row.tolist()) for row in draws]
    np.testing.assert_allclose(half_sample_mode(draws), expected)


def test_the_most_frequent_draw_is_the_one_in_the_middle_of_several():
    draws = np.array([[1.0, 1, 2, 9], [3.0, 5, 7, 7], [1.0, 4, 6, 10]])
    assert most_frequent(draws).tolist() == [1, 7, 4]


def test_typical_values_of_each_kind():
    rng = np.random.default_rng(0)
    levels = Column("ordinal", levels=(1, 2, 5), step=1.0)
    codes = np.array([[0.0, 0, 2, 2], [2.0, 2, 2, 1]])
    assert mean_of(codes, levels).tolist() == [1, 2]  # means 3 and 4.25, the nearest levels
    assert mean_of(codes, Column("categorical", levels=(1, 2, 5))).tolist() == [0, 2]
    hours = np.array([[23.0, 1.0, 0.5, 23.5]])
    around = mean_of(hours, Column("periodic", period=24.0))[0]
    assert min(around, 24 - around) < 1e-9
    assert mean_of(np.array([[-170.0, 170.0, 176.0, -176.0]]), Column("periodic", period=360.0))
    amounts = Column("mixed", atoms=(0.0,))
    zeros = np.concatenate([np.zeros(60), rng.normal(5, 1, 40)])[None]
    assert mode_of(zeros, amounts)[0] == 0
    assert mode_of(zeros[:, 30:], amounts)[0] == pytest.approx(5, abs=1.5)
    assert mode_of(np.array([[3.0, 3.0, 8.0]]), Column("ordinal", step=1.0))[0] == 3


def test_draws_of_a_complete_sample_are_the_sample(imputer):
    rows = np.array([[0.0, 1.0, 2.0, 0.0, 0.0, 1706659200.0, 0.0]])
    drawn = completed_rows(imputer.estimator_, rows, 5, 0)
    np.testing.assert_allclose(drawn, np.repeat(rows[:, None], 5, axis=1), atol=1e-6)


def test_filling_keeps_names_that_repeat():
    X = pd.DataFrame([[1.0, np.nan], [2.0, 3.0]], columns=["a", "a"], index=[7, 7])
    done = filled(X, pd.DataFrame([[1.0, 5.0]]), X.isna().to_numpy())
    assert done.to_numpy().tolist() == [[1.0, 5.0], [2.0, 3.0]]
    assert X.isna().to_numpy().any()
