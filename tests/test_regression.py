"""The regressor's contract: what goes in, what comes out, what survives copies and files."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score

import skgbnf
from skgbnf import GradientBoostedFlowRegressor
from skgbnf.metrics import crps_scorer, log_likelihood_scorer

SMALL = {
    "n_estimators": 2,
    "context_model": None,
    "max_iter": 2,
    "hidden_layer_sizes": (8,),
    "n_folds": None,
    "random_state": 0,
}


def regressor(**parameters):
    """A regressor that fits in a fraction of a second."""
    return GradientBoostedFlowRegressor(**{**SMALL, **parameters})


@pytest.fixture(scope="module")
def table():
    """Features and a target whose mean and spread depend on them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = 10 + 3 * X[:, 0] + np.exp(0.5 * X[:, 1]) * rng.normal(size=200)
    return X, y


@pytest.fixture(scope="module")
def fitted(table):
    return regressor().fit(*table)


@pytest.fixture(scope="module")
def fitted_of_two(table):
    X, y = table
    return regressor().fit(X, np.column_stack([y, X[:, 1] - y]))


@pytest.mark.quick
def test_answers_have_their_shapes(fitted, table):
    X, y = table
    assert fitted.score_samples(X, y).shape == (200,)
    assert fitted.predict(X).shape == fitted.predict_std(X).shape == (200,)
    assert fitted.predict_quantiles(X, 0.5).shape == (200,)
    assert fitted.predict_quantiles(X, [0.1, 0.5, 0.9]).shape == (200, 3)
    assert fitted.predict_interval(X).shape == (200, 2)
    assert fitted.cdf(X, y).shape == (200,)
    assert fitted.sample(X).shape == (200, 1)
    assert fitted.sample(X, 4, random_state=0).shape == (200, 4)


def test_several_targets_have_a_joint_density_and_no_quantiles(fitted_of_two, table):
    X, y = table
    Y = np.column_stack([y, X[:, 1] - y])
    assert fitted_of_two.score_samples(X, Y).shape == (200,)
    assert fitted_of_two.predict(X).shape == fitted_of_two.predict_std(X).shape == (200, 2)
    assert fitted_of_two.sample(X, 4, random_state=0).shape == (200, 4, 2)
    for method, argument in [("predict_quantiles", 0.5), ("predict_interval", 0.9), ("cdf", Y)]:
        with pytest.raises(ValueError, match="needs one target, and there are 2"):
            getattr(fitted_of_two, method)(X, argument)


def test_a_column_of_one_target_is_as_good_as_a_vector(fitted, table):
    X, y = table
    other = regressor().fit(X, y[:, None])
    np.testing.assert_array_equal(other.score_samples(X, y[:, None]), fitted.score_samples(X, y))


def test_score_is_the_coefficient_of_determination(fitted, table):
    X, y = table
    assert fitted.score(X, y) == pytest.approx(r2_score(y, fitted.predict(X)))


def test_stages_end_with_the_whole(fitted, table):
    stages = [*fitted.staged_score_samples(*table)]
    assert len(stages) == fitted.n_estimators_
    np.testing.assert_allclose(stages[-1], fitted.score_samples(*table))


def test_the_same_seed_gives_the_same_model(fitted, table):
    again = regressor().fit(*table)
    np.testing.assert_array_equal(again.score_samples(*table), fitted.score_samples(*table))
    assert (regressor(random_state=1).fit(*table).score_samples(*table)
            != fitted.score_samples(*table)).any()  # fmt: skip


def test_answers_to_a_sample_do_not_depend_on_the_others(fitted, table):
    X, y = table
    for answer in (
        lambda rows: fitted.score_samples(X[rows], y[rows]),
        lambda rows: fitted.cdf(X[rows], y[rows]),
        lambda rows: fitted.predict(X[rows]),
        lambda rows: fitted.predict_quantiles(X[rows], 0.2),
    ):
        whole, order = answer(slice(None)), np.random.default_rng(0).permutation(len(X))
        np.testing.assert_allclose(answer(order), whole[order], rtol=1e-7)
        np.testing.assert_allclose(answer([3]), whole[[3]], rtol=1e-7)


@pytest.mark.quick
@pytest.mark.parametrize("models", ["forest", "boosting", "kernel", None])
def test_files_pickles_and_copies_answer_alike(tmp_path, table, models):
    X, y = table
    model = regressor(context_model=models).fit(X, y)
    path = tmp_path / "model.safetensors"
    skgbnf.save(model, path)
    for other in (skgbnf.load(path), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.score_samples(X, y), model.score_samples(X, y))
        np.testing.assert_array_equal(other.predict(X[:5]), model.predict(X[:5]))
        assert other.get_params() == model.get_params()
        assert other.n_features_in_ == 3


def test_a_file_keeps_names_and_categories(tmp_path):
    frame, y = mixed_frame()
    model = regressor(context_model="boosting").fit(frame, y)
    skgbnf.save(model, tmp_path / "model.safetensors")
    other = skgbnf.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(other.score_samples(frame, y), model.score_samples(frame, y))
    assert other.feature_names_in_.tolist() == [*frame.columns]


def test_clones_are_not_fitted(fitted, table):
    other = clone(fitted)
    assert other.get_params() == fitted.get_params()
    for call in (other.predict, other.sample, other.predict_std):
        with pytest.raises(NotFittedError):
            call(table[0])
    with pytest.raises(NotFittedError):
        other.score_samples(*table)


def mixed_frame(n=150):
    rng = np.random.default_rng(1)
    kind = rng.choice(["a", "b", "c"], n)
    frame = pd.DataFrame(
        {
            "number": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "category": pd.Categorical(kind),
            "text": np.where(rng.random(n) < 0.1, None, rng.choice(["x", "y"], n)),
            "flag": rng.random(n) < 0.5,
            "nullable": pd.array(np.where(kind == "a", 1, 2), dtype="Int64"),
        }
    )
    y = 5.0 * (kind == "b") + 0.3 * rng.normal(size=n) + frame["flag"]
    return frame, y.to_numpy()


@pytest.mark.parametrize("models", [["forest", "kernel"], None])
def test_frames_may_hold_gaps_categories_text_and_flags(models):
    frame, y = mixed_frame()
    model = regressor(context_model=models, max_iter=20).fit(frame, y)
    assert model.feature_names_in_.tolist() == [*frame.columns]
    assert model.score(frame, y) > 0.8
    unknown = frame.assign(category="not seen", text=None)
    assert np.isfinite(model.score_samples(unknown, y)).all()
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])


def test_frames_of_other_libraries():
    frame, y = mixed_frame()
    frame = frame.drop(columns="nullable").astype({"category": str})
    cells = {name: [None if v != v else v for v in frame[name].tolist()] for name in frame}
    other = pl.DataFrame(cells)
    one, two = (regressor().fit(X, y) for X in (frame, other))
    np.testing.assert_allclose(one.score_samples(frame, y), two.score_samples(other, y))


def test_what_is_no_table_is_refused(table, fitted):
    X, y = table
    times = pd.DataFrame({"day": pd.date_range("2020", periods=200)})
    with pytest.raises(ValueError, match="'day' holds dates or durations"):
        regressor().fit(times, y)
    with pytest.raises(ValueError, match=r"y.*NaN"):
        regressor().fit(X, np.r_[np.nan, y[1:]])
    with pytest.raises(ValueError, match="inf"):
        regressor().fit(np.where(X > 2, np.inf, X), y)
    with pytest.raises(ValueError, match="inconsistent"):
        regressor().fit(X, y[:-1])
    with pytest.raises(ValueError, match="1 columns"):
        fitted.score_samples(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="must be given together"):
        regressor().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="between 0 and 1"):
        fitted.predict_quantiles(X, [0.5, 1.0])


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("context_model", "trees"), ("context_model", []), ("flow", "none"), ("max_time", 0)],
)
def test_parameters_out_of_range_are_refused(table, parameter, value):
    with pytest.raises(ValueError, match=parameter):
        regressor(**{parameter: value}).fit(*table)


def test_a_fit_that_fails_changes_nothing(table):
    X, y = table
    model = regressor().fit(X, y)
    before = model.score_samples(X, y)
    with pytest.raises(ValueError, match="positive for at least two rows"):
        model.fit(X, y, sample_weight=np.eye(len(y))[0])
    np.testing.assert_array_equal(model.score_samples(X, y), before)


def test_a_validation_set_of_the_users_own(table):
    X, y = table
    model = regressor(n_folds="auto").fit(X[:150], y[:150], X_val=X[150:], y_val=y[150:])
    assert model.n_folds_ == 1
    expected = model.score_samples(X[150:], y[150:]).mean()
    assert model.validation_scores_[-1] == pytest.approx(expected, abs=1e-5)


def test_folds_share_the_weight_of_a_round(table):
    model = regressor(n_folds=3).fit(*table)
    assert model.n_folds_ == 3
    assert len(model.estimators_) == 3 * model.n_estimators_


def test_weights_of_zero_count_as_absent(table):
    X, y = table
    kept = np.arange(200) >= 30
    options = {"context_model": "forest"}
    weighted = regressor(**options).fit(X, np.where(kept, y, 1e3), sample_weight=kept)
    without = regressor(**options).fit(X[kept], y[kept])
    np.testing.assert_allclose(weighted.score_samples(X, y), without.score_samples(X, y))


@pytest.mark.slow  # two fits with enough rounds to be compared
def test_weights_act_as_repetition():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(600, 1))
    y = np.where(rng.random(600) < 0.5, 3 + X[:, 0], -3 - X[:, 0]) + 0.3 * rng.normal(size=600)
    weights = np.where(y > 0, 3.0, 1.0)
    rows = np.repeat(np.arange(600), weights.astype(int))
    options = {"flow": "gaussian_mixture", "max_iter": 60, "context_model": None}
    weighted = regressor(**options).fit(X, y, sample_weight=weights)
    repeated = regressor(**options).fit(X[rows], y[rows])
    share = [1 - model.cdf(X[:50], np.zeros(50)).mean() for model in (weighted, repeated)]
    assert share == pytest.approx([0.75, 0.75], abs=0.05)


def test_more_rounds_after_a_warm_start_are_those_of_one_fit(table):
    whole = regressor(n_estimators=3, flow="affine").fit(*table)
    parts = regressor(n_estimators=1, flow="affine", warm_start=True).fit(*table)
    parts.set_params(n_estimators=3).fit(*table)
    np.testing.assert_allclose(parts.score_samples(*table), whole.score_samples(*table), rtol=1e-5)


def test_a_fit_goes_on_from_its_checkpoint(tmp_path, table):
    path = tmp_path / "checkpoint.safetensors"
    options = {"flow": "affine", "context_model": "forest"}
    regressor(n_estimators=1, checkpoint=path, **options).fit(*table)
    resumed = regressor(**options).fit(*table, resume_from=path)
    whole = regressor(**options).fit(*table)
    np.testing.assert_allclose(
        resumed.score_samples(*table), whole.score_samples(*table), rtol=1e-5
    )
    with pytest.raises(ValueError, match="other rows"):
        regressor(**options).fit(table[0], table[1] + table[0][:, 0], resume_from=path)


def test_targets_stay_within_their_bounds(table):
    X, y = table
    y = np.exp(y / 10)
    model = regressor(bounds=(0, None)).fit(X, y)
    assert (model.sample(X, 20, random_state=0) > 0).all()
    assert (model.predict_quantiles(X, 0.001) > 0).all()
    assert np.isneginf(model.score_samples(X[:1], [-1.0])[0])


def test_counts_have_probabilities():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(400, 1))
    y = rng.poisson(3 * X[:, 0])
    model = regressor(dequantize=True, max_iter=20).fit(X, y)
    total = sum(np.exp(model.score_samples(X[:5], np.full(5, k))) for k in range(-3, 20))
    np.testing.assert_allclose(total, 1.0, atol=0.02)


def test_searches_use_the_scorers(table):
    X, y = table
    scores = cross_val_score(regressor(), X, y, cv=2, scoring=log_likelihood_scorer)
    assert np.isfinite(scores).all()
    choices = {"max_iter": [1, 15]}
    search = GridSearchCV(regressor(), choices, scoring=crps_scorer, cv=2).fit(X, y)
    assert search.best_params_["max_iter"] == 15


def test_a_time_limit_is_kept(table):
    import time

    X, y = np.tile(table[0], (10, 1)), np.tile(table[1], 10)
    start = time.perf_counter()
    regressor(n_estimators=50, max_iter=10_000, max_time=1.0, context_model="auto").fit(X, y)
    assert time.perf_counter() - start < 4.0


def test_progress_is_reported(table, capsys):
    regressor(verbose=2, context_model=["forest", "kernel"]).fit(*table)
    text = capsys.readouterr().out
    assert "forest of the mean" in text
    assert "round 1/2" in text


@pytest.mark.filterwarnings("ignore::skgbnf.table.dequantisation.DegenerateDataWarning")
@pytest.mark.parametrize("n_rows", [2, 5, 12])
def test_few_rows_and_constant_targets_have_finite_densities(n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 2))
    for y in (X[:, 0], np.ones(n_rows)):
        model = regressor(context_model="auto").fit(X, y)
        assert np.isfinite(model.score_samples(X, y)).all()
        assert np.isfinite(model.predict(X)).all()
