"""The detector of outliers: its threshold, its p-values and its place in scikit-learn."""

import json
import pickle

import bench_outliers
import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import GaussianDensity, degenerate_data_allowed
from scipy.stats import binom, kstest
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KernelDensity
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skgbnf import FlowBayesClassifier, FlowOutlierDetector, GradientBoostedFlowDensity
from skgbnf.estimators import outliers

AFFINE = GradientBoostedFlowDensity(1, flow="affine", max_iter=1)
SMALL = GradientBoostedFlowDensity(
    2, flow="nsf", max_iter=1, n_transforms=1, hidden_layer_sizes=(8,)
)


# Some checks bring small tables of integers.
@pytest.mark.filterwarnings("ignore::skgbnf.table.dequantisation.DegenerateDataWarning")
@parametrize_with_checks(
    [FlowOutlierDetector(SMALL), FlowOutlierDetector(AFFINE)],
    expected_failed_checks=lambda _: {
        "check_estimators_nan_inf": "of a row with gaps the density of the rest is compared"
    },
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.quick
@parametrize_with_checks([FlowOutlierDetector(GaussianDensity(), calibration_fraction=None)])
def test_scikit_learn_check_around_a_cheap_density(estimator, check):
    check(estimator)


def normal(n_rows, seed, n_columns=2):
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns))


def pvalues_slow(detector, X):
    """The formula, row by row."""
    scores = detector.calibration_scores_
    return [
        (1 + sum(s <= own for s in scores)) / (len(scores) + 1) for own in detector.score_samples(X)
    ]


@pytest.mark.quick
def test_pvalues_are_those_of_the_formula():
    detector = FlowOutlierDetector(GaussianDensity(), random_state=0).fit(normal(100, 0))
    X = np.concatenate([normal(50, 1), [[0.0, 0.0], [9.0, 9.0]]])
    p = detector.pvalues(X)
    np.testing.assert_allclose(p, pvalues_slow(detector, X))
    assert p[-1] == 1 / 21
    assert len(detector.calibration_scores_) == 20


def test_rows_set_aside_are_not_those_the_density_saw():
    X = normal(100, 0)
    detector = FlowOutlierDetector(GaussianDensity(), random_state=3).fit(X)
    scores = detector.score_samples(X)
    aside = np.isin(scores, detector.calibration_scores_)
    assert aside.sum() == 20
    np.testing.assert_allclose(detector.estimator_.mean_, X[~aside].mean(axis=0))


def test_pvalues_of_exchangeable_rows_are_uniform():
    """Over draws of all rows, p is uniform on 1/(n+1), ..., 1, even for a poor density."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(600):
        X = rng.exponential(size=(28, 1))
        detector = FlowOutlierDetector(GaussianDensity(), random_state=0).fit(X[:-1])
        p.append(detector.pvalues(X[-1:])[0])
    counts = np.bincount(np.rint(10 * np.array(p)).astype(int), minlength=11)[1:]
    np.testing.assert_allclose(10 * np.array(p), np.rint(10 * np.array(p)), atol=1e-12)
    low, high = binom(600, 0.1).ppf([1e-4, 1 - 1e-4])
    assert (counts >= low).all()
    assert (counts <= high).all()


def test_pvalues_of_many_new_rows_are_nearly_uniform():
    detector = FlowOutlierDetector(AFFINE, calibration_fraction=0.5, random_state=0)
    p = detector.fit(normal(2000, 0)).pvalues(normal(2000, 1))
    # Both samples have an error of their own: the distance of Kolmogorov and Smirnov has that of
    # two samples of a thousand and two thousand rows.
    assert kstest(p, "uniform").statistic < 0.08


@pytest.mark.parametrize("contamination", [0.05, 0.1, 0.29, 0.9])
@pytest.mark.parametrize("n_rows", [97, 100, 500])
def test_the_share_contamination_of_the_rows_of_fit_is_flagged(contamination, n_rows):
    X = normal(n_rows, 0)
    detector = FlowOutlierDetector(GaussianDensity(), contamination=contamination, random_state=0)
    n_flagged = np.sum(detector.fit_predict(X) == -1)
    # Those below the quantile, as of IsolationForest.
    assert n_flagged == np.ceil(np.round(contamination * (n_rows - 1), 9))
    assert detector.offset_ == np.quantile(detector.score_samples(X), contamination)


def test_of_new_rows_the_threshold_flags_more_and_pvalues_do_not():
    """Forty columns and 400 rows: the density knows its own rows too well."""
    X, new = normal(400, 0, 40), normal(5000, 1, 40)
    detector = FlowOutlierDetector(GaussianDensity(), calibration_fraction=0.5, random_state=0)
    assert np.mean(detector.fit(X).predict(X) == -1) == 0.1
    assert np.mean(detector.predict(new) == -1) > 0.15
    assert np.mean(detector.pvalues(new) <= 0.1) == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("level", [0.02, 0.1])
def test_share_of_new_rows_of_a_small_pvalue(level):
    detector = FlowOutlierDetector(GaussianDensity(), random_state=0).fit(normal(20_000, 0))
    share = np.mean(detector.pvalues(normal(20_000, 1)) <= level)
    assert share == pytest.approx(level, rel=0.2)


def test_outliers_are_found():
    X = np.concatenate([normal(500, 0), 5 + 0.1 * normal(10, 1)])
    labels = np.repeat([1, -1], [500, 10])
    predicted = FlowOutlierDetector(AFFINE, contamination=0.05, random_state=0).fit_predict(X)
    assert (predicted[labels == -1] == -1).all()
    assert np.mean(predicted[labels == 1] == -1) < 0.1


def test_default_is_the_density_of_this_package():
    detector = FlowOutlierDetector()
    assert clone(detector).estimator is None
    detector.set_params(estimator=GradientBoostedFlowDensity(1, flow="affine", max_iter=1))
    assert isinstance(detector.fit(normal(60, 0)).estimator_, GradientBoostedFlowDensity)


@pytest.mark.parametrize("density", [GaussianMixture(1), KernelDensity()])
def test_any_density_will_do(density):
    detector = FlowOutlierDetector(density, random_state=0).fit(normal(100, 0))
    np.testing.assert_array_equal(detector.predict([[0.0, 0.0], [8.0, 8.0]]), [1, -1])
    assert not hasattr(density, "n_features_in_"), "the user's density was fitted"


def test_a_density_of_zero_is_an_outlier_and_one_at_the_threshold_is_not():
    density = KernelDensity(kernel="tophat", bandwidth=2.0)
    detector = FlowOutlierDetector(density, contamination=0.2, random_state=0).fit(normal(50, 0))
    np.testing.assert_array_equal(detector.predict([[99.0, 99.0]]), [-1])
    few = FlowOutlierDetector(KernelDensity(kernel="tophat", bandwidth=1e-6), random_state=0).fit(
        normal(50, 0)
    )
    assert few.offset_ == -np.inf
    np.testing.assert_array_equal(few.predict([[99.0, 99.0]]), [1])


def test_no_number_lies_between_a_density_of_zero_and_another():
    scores = np.array([0.0, -np.inf, 2.0, -np.inf])
    assert outliers._quantile(scores, 0.4) == 0.0
    assert outliers._quantile(scores, 0.1) == -np.inf
    assert outliers._quantile(scores, 0.9) == pytest.approx(1.4)


def test_small_tables_set_aside_what_a_pvalue_of_five_per_cent_needs():
    detector = FlowOutlierDetector(GaussianDensity(), random_state=0)
    assert len(detector.fit(normal(30, 0)).calibration_scores_) == 10
    assert len(detector.fit(normal(60, 0)).calibration_scores_) == 19
    assert len(detector.fit(normal(300, 0)).calibration_scores_) == 60
    detector.set_params(calibration_fraction=0.5)
    assert len(detector.fit(normal(60, 0)).calibration_scores_) == 30
    detector.set_params(calibration_fraction=0.2)
    with pytest.raises(ValueError, match="at least 3 rows .* n_samples=2"):
        detector.fit(normal(2, 0))
    detector.set_params(calibration_fraction=None).fit(normal(2, 0))


def test_rows_have_no_weights():
    """A row of weight two cannot be set aside as two rows are."""
    with pytest.raises(TypeError, match="sample_weight"):
        FlowOutlierDetector(GaussianDensity()).fit(normal(30, 0), sample_weight=np.ones(30))


def test_bad_parameters_are_named():
    X = normal(60, 0)
    for name in ("contamination", "calibration_fraction"):
        for value in (0.0, 1.0, -0.1):
            with pytest.raises(ValueError, match=f"{name} must lie"):
                FlowOutlierDetector(GaussianDensity(), **{name: value}).fit(X)
        with pytest.raises(TypeError, match=f"{name} must be a number"):
            FlowOutlierDetector(GaussianDensity(), **{name: [0.1]}).fit(X)
    with pytest.raises(ValueError, match='calibration_fraction must be a number or "auto"'):
        FlowOutlierDetector(GaussianDensity(), calibration_fraction="all").fit(X)
    with pytest.raises(TypeError, match="estimator must have a method score_samples"):
        FlowOutlierDetector(LinearRegression()).fit(X)
    with pytest.raises(TypeError, match="'nsf'.*does not seem to be a scikit-learn estimator"):
        FlowOutlierDetector("nsf").fit(X)
    with pytest.raises(ValueError, match="calibration_fraction is None"):
        FlowOutlierDetector(GaussianDensity(), calibration_fraction=None).fit(X).pvalues(X)
    with pytest.raises(ValueError, match="calibration_fraction=0.99 leaves the density fewer"):
        FlowOutlierDetector(GaussianDensity(), calibration_fraction=0.99).fit(X)
    with pytest.raises(NotFittedError):
        FlowOutlierDetector(GaussianDensity()).pvalues(X)


def test_a_fit_that_fails_leaves_no_half_fitted_detector():
    X = normal(60, 0)
    detector = FlowOutlierDetector(GaussianDensity(), random_state=0)
    with pytest.raises(ValueError, match="NaN"):
        detector.fit(np.full((60, 2), np.nan))
    for ask in (detector.predict, detector.pvalues):
        with pytest.raises(NotFittedError):
            ask(X)
    detector.fit(X)
    with pytest.raises(ValueError, match="NaN"):
        detector.fit(np.full((60, 3), np.nan))
    assert detector.n_features_in_ == 2


def test_names_of_columns_reach_the_density():
    X = pd.DataFrame(normal(60, 0), columns=["a", "b"])
    detector = FlowOutlierDetector(GaussianDensity(), random_state=0).fit(X)
    assert detector.estimator_.feature_names_in_.tolist() == ["a", "b"]
    assert detector.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(X[["b", "a"]])


def test_random_state_governs_the_split_and_the_density():
    X = normal(100, 0)
    first, same, other = (
        FlowOutlierDetector(GaussianDensity(), random_state=seed).fit(X) for seed in (0, 0, 1)
    )
    assert first.offset_ == same.offset_ != other.offset_
    assert first.estimator_.seed_ == same.estimator_.seed_ != other.estimator_.seed_
    untouched = FlowOutlierDetector(GaussianDensity(random_state=5)).fit(X)
    assert untouched.estimator_.seed_ == 5


def test_grid_search_over_parameters_of_the_density():
    X = np.concatenate([normal(190, 0), 1 + 4 * normal(10, 1)])
    y = np.repeat([1, -1], [190, 10])
    grid = {"estimator__ridge": [1e-9, 1e9], "contamination": [0.1]}
    detector = FlowOutlierDetector(GaussianDensity(), random_state=0)
    search = GridSearchCV(detector, grid, scoring="roc_auc", cv=StratifiedKFold(2)).fit(X, y)
    assert search.best_params_["estimator__ridge"] == 1e-9
    assert search.best_score_ > 0.8


def test_a_pickle_answers_alike():
    X = normal(60, 0)
    detector = FlowOutlierDetector(AFFINE, random_state=0).fit(X)
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.pvalues(X), detector.pvalues(X))
    np.testing.assert_array_equal(again.decision_function(X), detector.decision_function(X))


def test_the_benchmark_makes_one_class_rare():
    X, outlier = bench_outliers.SETS["wine"][0](np.random.default_rng(0), None)
    assert X.shape == (144, 13)
    assert outlier.sum() == 14
    X, outlier = bench_outliers.SETS["digits"][0](np.random.default_rng(0), None)
    assert X.shape[1] == 10
    assert outlier.mean() == pytest.approx(0.1, abs=1e-3)


def test_the_benchmark_judges_by_labels():
    rows, outlier = normal(200, 0), np.repeat([False, True], [190, 10])
    rows[outlier] += 9
    detector = FlowOutlierDetector(GaussianDensity(), contamination=0.1, random_state=0)
    detector.fit(rows[~outlier])
    on_inliers = bench_outliers.judge(detector, rows, outlier, "inliers")
    on_all = bench_outliers.judge(detector, rows, outlier, "mixed")
    assert on_inliers["auc"] == on_inliers["ap"] == 1
    for key in ("flagged", "small"):
        assert 190 * on_inliers[key] + 10 == pytest.approx(200 * on_all[key])
    forest = IsolationForest(n_estimators=5, random_state=0).fit(rows)
    assert "small" not in bench_outliers.judge(forest, rows, outlier, "mixed")


def test_the_page_is_written_from_the_results():
    path = bench_outliers.report.RESULTS / "bench_outliers.json"
    assert bench_outliers.page(json.loads(path.read_text())) == bench_outliers.PAGE.read_text()


@pytest.mark.parametrize("flow", ["affine", "gaussian_mixture"])
def test_rows_that_repeat_are_judged_alike_in_every_batch_and_precision(flow):
    g = np.random.default_rng(1)
    X = g.normal(size=(6, 8))[g.integers(6, size=500)]
    density = GradientBoostedFlowDensity(1, flow=flow, random_state=0)
    detector = FlowOutlierDetector(density, contamination=0.2, random_state=0)
    with degenerate_data_allowed():
        detector.fit(X)
    one_by_one = [detector.pvalues(row[None])[0] for row in X[:30]]
    assert np.array_equal(detector.pvalues(X)[:30], one_by_one)
    assert np.array_equal(detector.pvalues(X.astype(np.float32)), detector.pvalues(X))
    assert np.array_equal(detector.predict(X.astype(np.float32)), detector.predict(X))
    assert len(np.unique(detector.pvalues(X))) <= 6


def mixed_frame(n_rows=200):
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=n_rows)
    frame = pd.DataFrame({"kind": np.array(["a", "b"])[kind], "x": 6.0 * kind})
    frame["x"] += rng.normal(size=n_rows)
    frame.loc[: n_rows // 10, "x"] = np.nan
    return frame


MIXED = GradientBoostedFlowDensity(1, flow="location_mixture", n_folds=2, random_state=0)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "list"])
@pytest.mark.parametrize("fraction", ["auto", 0.3])
def test_mixed_tables_of_every_library(library, fraction):
    """A row whose kind and number do not go together, neither of which is rare."""
    frame, odd = mixed_frame(), pd.DataFrame({"kind": ["a", "b"], "x": [6.0, 6.0]})
    if library != "pandas":
        frame, odd = (pl.from_pandas(table) for table in (frame, odd))
    if library == "pyarrow":
        frame, odd = frame.to_arrow(), odd.to_arrow()
    if library == "list":
        frame, odd = (list(map(list, table.rows())) for table in (frame, odd))
    detector = FlowOutlierDetector(MIXED, calibration_fraction=fraction, random_state=0)
    assert detector.fit(frame).predict(odd).tolist() == [-1, 1]
    p = detector.pvalues(odd)
    assert p[0] <= 0.05 < p[1]
    assert detector.pvalues(frame).shape == (200,)


@pytest.mark.parametrize("wrapper", [FlowOutlierDetector, FlowBayesClassifier])
def test_tags_follow_those_of_the_density(wrapper):
    for density, taken in ((None, True), (MIXED, True), (AFFINE, False), (KernelDensity(), False)):
        tags = get_tags(wrapper(density)).input_tags
        assert (tags.allow_nan, tags.string, tags.categorical) == (taken,) * 3
