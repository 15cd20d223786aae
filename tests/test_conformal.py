"""P-values by out-of-fold scores, where no sample is set aside."""

import pickle

import numpy as np
import pytest
from helpers import GaussianDensity

import skgbnf
from skgbnf import FlowOutlierDetector, GradientBoostedFlowDensity
from skgbnf.estimators.conformal import check_calibration, conformal_pvalues

AFFINE = GradientBoostedFlowDensity(1, flow="affine", init=None)


def normal(n_rows, seed, n_columns=2):
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns))


@pytest.fixture(scope="module")
def detector():
    return FlowOutlierDetector(AFFINE, random_state=0).fit(normal(83, 0))


def test_pvalues_are_those_of_the_formula_sample_by_sample(detector):
    X, new = normal(83, 0), np.concatenate([normal(30, 1), [[0.0, 0.0], [9.0, 9.0]]])
    density = detector.estimator_
    scores, own = density.fold_score_samples(new), density.fold_score_samples(X)
    folds = density.row_folds_
    expected = [
        (1 + sum(own[folds[i], i] <= column[folds[i]] for i in range(len(X)))) / (len(X) + 1)
        for column in scores.T
    ]
    np.testing.assert_allclose(detector.pvalues(new), expected)
    assert detector.pvalues(new)[-1] == 1 / 84


def test_pvalues_are_those_of_one_gaussian_for_each_fold(detector):
    """Refitted to the samples of the other folds, in the units of X and by another class."""
    X, new = normal(83, 0), normal(40, 1)
    folds = detector.estimator_.row_folds_
    n_below = np.zeros(len(new))
    for k in range(10):
        refitted = GaussianDensity().fit(X[folds != k])
        own, scores = refitted.score_samples(X[folds == k]), refitted.score_samples(new)
        n_below += (own[:, None] <= scores).sum(axis=0)
    np.testing.assert_allclose(detector.pvalues(new), (1 + n_below) / 84)


def test_no_sample_is_set_aside(detector):
    X = normal(83, 0)
    np.testing.assert_array_equal(np.sort(detector.calibration_folds_), np.sort(np.arange(83) % 10))
    assert len(detector.calibration_scores_) == 83
    assert (detector.estimator_.row_folds_ >= 0).all()
    alone = AFFINE.set_params(random_state=detector.estimator_.random_state).fit(X)
    np.testing.assert_array_equal(alone.score_samples(X), detector.score_samples(X))


@pytest.mark.parametrize(
    ("density", "n_samples", "fraction", "n_aside"),
    [
        (AFFINE, 100, "auto", None),
        (AFFINE, 100, 0.3, 30),
        (AFFINE, 9, "auto", 3),
        (AFFINE, 2500, "auto", 500),
        (GradientBoostedFlowDensity(1, flow="affine", n_folds=4), 2500, "auto", None),
        (GradientBoostedFlowDensity(1, flow="affine", n_folds=None), 100, "auto", 20),
        (GradientBoostedFlowDensity(1, flow="affine", validation_fraction=None), 100, "auto", 20),
        (GaussianDensity(), 100, "auto", 20),
    ],
)
def test_out_of_fold_scores_are_used_where_there_are_some(density, n_samples, fraction, n_aside):
    detector = FlowOutlierDetector(density, calibration_fraction=fraction, random_state=0)
    detector.fit(normal(n_samples, 0))
    assert len(detector.calibration_scores_) == (n_samples if n_aside is None else n_aside)
    assert (detector.calibration_folds_ is None) == (n_aside is not None)


def test_parameters_of_the_density_are_checked_as_by_its_own_fit():
    density = GradientBoostedFlowDensity(1, flow="affine", n_folds=81)
    with pytest.raises(ValueError, match="n_folds=81 is above the number of samples, 80"):
        FlowOutlierDetector(density).fit(normal(80, 0))
    with pytest.raises(TypeError, match="n_folds must be an integer"):
        FlowOutlierDetector(density.set_params(n_folds=[2])).fit(normal(80, 0))


def test_samples_left_out_for_want_of_time_are_not_compared_with():
    density = GradientBoostedFlowDensity(1, flow="affine", n_folds=3, max_time=1e-9)
    detector = FlowOutlierDetector(density, random_state=0).fit(normal(3000, 0))
    assert len(detector.calibration_scores_) == 1000
    assert (detector.estimator_.row_folds_ >= 0).sum() == 1000


def test_new_samples_have_small_pvalues_as_rarely_as_is_proved():
    """New samples of many tables, of a density that does not fit them: the bound, and the level."""
    n_rows, n_folds = 39, 3
    levels = np.array([4, 8, 16]) / (n_rows + 1)  # which p-values can have
    density = GradientBoostedFlowDensity(1, flow="affine", n_folds=n_folds)
    shares = []
    for seed in range(80):
        X = np.random.default_rng(seed).exponential(size=(n_rows + 50, 1))
        detector = FlowOutlierDetector(density, random_state=0).fit(X[:n_rows])
        shares.append(np.mean(detector.pvalues(X[n_rows:])[:, None] <= levels, axis=0))
    mean, error = np.mean(shares, axis=0), np.std(shares, axis=0) / np.sqrt(len(shares))
    bound = 2 * levels + 2 * (1 - levels) * (n_folds - 1) / (n_rows + n_folds)
    assert (mean <= bound).all()
    assert (np.abs(mean - levels) <= 4 * error).all()


def test_the_share_of_small_pvalues_depends_less_on_the_table_than_with_samples_set_aside():
    new = normal(2000, 99, 4)
    shares = {"auto": [], 0.2: []}
    for seed in range(30):
        X = normal(100, seed, 4)
        for fraction, found in shares.items():
            detector = FlowOutlierDetector(AFFINE, calibration_fraction=fraction, random_state=seed)
            found.append(np.mean(detector.fit(X).pvalues(new) <= 0.1))
    assert np.mean(shares["auto"]) == pytest.approx(0.1, abs=0.02)
    assert np.std(shares["auto"]) < 0.8 * np.std(shares[0.2])


def test_scores_that_float32_cannot_tell_apart_are_equal():
    scores = np.array([[1.0, 1.0 - 1e-7, 0.99], [5.0, 5.0, 5.0]])
    p = conformal_pvalues(scores, np.array([1.0, 2.0, 5.0]), np.array([0, 0, 1]))
    np.testing.assert_allclose(p, [3 / 4, 3 / 4, 2 / 4])


def test_a_density_of_zero_has_the_smallest_pvalue():
    scores = np.array([[-np.inf, 0.0]])
    p = conformal_pvalues(scores, np.array([-1.0, 1.0]), np.zeros(2, dtype=int))
    np.testing.assert_allclose(p, [1 / 3, 2 / 3])


def test_files_and_pickles_keep_the_scores_of_each_fold(detector, tmp_path):
    new = normal(20, 1)
    skgbnf.save(detector, tmp_path / "model")
    for again in (skgbnf.load(tmp_path / "model"), pickle.loads(pickle.dumps(detector))):
        np.testing.assert_array_equal(again.pvalues(new), detector.pvalues(new))
        np.testing.assert_array_equal(again.calibration_folds_, detector.calibration_folds_)
        np.testing.assert_array_equal(again.estimator_.row_folds_, detector.estimator_.row_folds_)


@pytest.mark.parametrize(
    ("scores", "folds", "message"),
    [
        (None, np.array([0, 1], np.int32), "and no scores"),
        (np.array([[0.0]]), None, "no numbers"),
        (np.array([1, 2]), None, "no numbers"),
        (np.array([2.0, 1.0]), None, "do not ascend"),
        (np.array([np.nan, 1.0]), None, "do not ascend"),
        (np.array([2.0, 1.0, 0.0]), np.array([0, 1, 1], np.int32), "do not ascend"),
        (np.array([0.0, 1.0]), np.array([1, 0], np.int32), "do not ascend"),
        (np.array([0.0, np.nan]), np.array([0, 1], np.int32), "do not ascend"),
        (np.array([0.0, 1.0]), np.array([0, 2], np.int32), "other folds"),
        (np.array([0.0, 1.0]), np.array([0, 0], np.int32), "other folds"),
        (np.array([0.0, 1.0]), np.array([0], np.int32), "have no folds"),
        (np.array([0.0, 1.0]), np.array([0.0, 1.0]), "have no folds"),
    ],
)
def test_scores_of_a_file_that_contradict_themselves_are_refused(scores, folds, message):
    with pytest.raises(ValueError, match=message):
        check_calibration(scores, folds, 2)


def test_scores_of_a_file_that_ascend_in_each_fold_are_accepted():
    check_calibration(None, None, 2)
    check_calibration(np.array([-np.inf, 0.0, 0.0]), None, 2)
    check_calibration(np.array([1.0, 2.0, 0.0]), np.array([0, 0, 1], np.int32), 2)


def test_a_dask_array_is_compared_fold_by_fold(detector):
    da = pytest.importorskip("dask.array")
    new = normal(20, 1)
    p = detector.pvalues(da.from_array(new, chunks=(7, 2)))
    np.testing.assert_array_equal(p, detector.pvalues(new))
