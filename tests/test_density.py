"""The contract of a density estimator that scikit-learn's own checks do not hold it to."""

import contextlib
import copy
import io
import math
import pickle
import subprocess
import sys
import time
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
import zuko
from helpers import candidate_plan, named
from scipy import stats
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

import skgbnf
from skgbnf.boosting.additive import AdditiveBoosting
from skgbnf.boosting.objectives import OBJECTIVES
from skgbnf.flows import family_names


@pytest.fixture(scope="module")
def model(quick, table2):
    """Two rounds of splines on two columns."""
    fitted = quick(n_iter_no_change=5, tol=0.0, validation_fraction=None).fit(table2)
    assert fitted.n_estimators_ == 2
    return fitted


def same_arrays(ours, theirs):
    """Whether all parameters of all components are equal bit for bit."""
    pairs = zip(ours.estimators_, theirs.estimators_, strict=True)
    return np.array_equal(ours.staged_weights_, theirs.staged_weights_) and all(
        np.array_equal(a.arrays[name], b.arrays[name]) for a, b in pairs for name in a.arrays
    )


def assert_same_model(ours, theirs, X):
    assert same_arrays(ours, theirs)
    assert np.array_equal(ours.score_samples(X), theirs.score_samples(X))


# It is a density, in the units of X


def grid_over(X, n_points, margin=6.0):
    """Points of a grid around rows, of shape (n_points ** n_features, n_features); cell volume."""
    centre, reach = X.mean(axis=0), margin * X.std(axis=0)
    axes = [np.linspace(c - r, c + r, n_points) for c, r in zip(centre, reach, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, X.shape[1])
    return points, np.prod([axis[1] - axis[0] for axis in axes])


@pytest.mark.parametrize("scale", [1e-3, 1e4])
@pytest.mark.parametrize("kind", family_names())
def test_integrates_to_one_in_one_column(quick, table2, kind, scale):
    X = scale * table2[:100, 1:]
    points, volume = grid_over(X, 20_001, margin=10.0)
    model = quick(
        flow=kind, n_estimators=1 if kind in ("gaussian_mixture", "student_t") else 2
    ).fit(X)
    # A step of a thousandth of a standard deviation, the narrowest a Gaussian can be; splines
    # have kinks, and a little mass lies beyond ten standard deviations.
    assert np.exp(model.score_samples(points)).sum() * volume == pytest.approx(1.0, abs=3e-3)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
@pytest.mark.parametrize("angle", [0.0, 0.7])
@pytest.mark.parametrize("kind", ["nsf", "realnvp", "affine"])
def test_integrates_to_one_in_two_columns(quick, table2, kind, angle, scale):
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    X = scale * table2 @ rotation.T
    points, volume = grid_over(X, 301)
    model = quick(flow=kind).fit(X)
    # A step of 0.04 standard deviations, and kinks.
    assert np.exp(model.score_samples(points)).sum() * volume == pytest.approx(1.0, abs=1e-2)


def test_scores_follow_the_units_of_x(quick, table2):
    factor = np.array([2.0**10, 2.0**-7])  # powers of two, so that standardised rows are equal
    ours, theirs = quick().fit(table2), quick().fit(table2 * factor)
    expected = ours.score_samples(table2) - np.log(factor).sum()
    np.testing.assert_allclose(theirs.score_samples(table2 * factor), expected, rtol=1e-12)
    np.testing.assert_allclose(
        theirs.train_scores_, ours.train_scores_ - np.log(factor).sum(), rtol=1e-12
    )


def test_large_offsets_do_not_collapse(quick, table2):
    near = quick().fit(table2)
    far = quick().fit(table2 + 1.7e9)
    # At 1.7e9 double precision resolves 2e-7, a part in 1e6 of the narrower column.
    assert far.score(table2 + 1.7e9) == pytest.approx(near.score(table2), abs=0.02)


def test_scores_are_finite_for_every_finite_row(model):
    for dtype in (np.float32, np.float64):
        largest = np.finfo(dtype).max
        far = [[largest, largest], [-largest, largest], [0.0, -largest], [1e30, 0.0]]
        scores = model.score_samples(np.array(far, dtype=dtype))
        assert np.isfinite(scores).all()
        assert (scores < model.score_samples(np.array([[5.0, 0.2]], dtype=dtype))).all()


@pytest.mark.parametrize("n_samples", [2, 3, 5, 12])
def test_fits_a_handful_of_rows(quick, table3, n_samples):
    for kind in ("nsf", "affine", "gaussian_mixture"):
        model = quick(flow=kind).fit(table3[:n_samples])
        assert np.isfinite(model.score_samples(table3)).all()
        assert np.isfinite(model.sample(5, random_state=0)).all()


# Samples follow the density


def test_samples_of_one_column_follow_the_scores(quick, table2):
    X = table2[:, 1:]
    model = quick().fit(X)
    points, step = grid_over(X, 8001, margin=12.0)
    cdf = np.cumsum(np.exp(model.score_samples(points))) * step
    rows = model.sample(5_000, random_state=0)[:, 0]
    result = stats.kstest(rows, lambda x: np.interp(x, points[:, 0], cdf))
    assert result.pvalue > 1e-3


@pytest.mark.parametrize("kind", ["nsf", "realnvp", "gaussian_mixture"])
def test_samples_of_two_columns_follow_the_scores(quick, table2, kind):
    """Counts of rows in coarse cells against the density summed over fine ones."""
    model = quick(flow=kind).fit(table2)
    points, volume = grid_over(table2, 361, margin=4.5)
    mass = np.exp(model.score_samples(points)) * volume
    edges = [np.linspace(p.min(), p.max(), 10) for p in points.T]
    expected = np.histogramdd(points, edges, weights=mass)[0].ravel()
    n = 20_000
    counts = np.histogramdd(model.sample(n, random_state=1), edges)[0].ravel()
    used = n * expected > 20
    assert used.sum() > 5
    observed = np.append(counts[used], n - counts[used].sum())
    wanted = np.append(n * expected[used], n * (1 - expected[used].sum()))
    # Cells are 40 fine steps wide, so their mass is known to about a hundredth.
    error = np.sqrt(wanted + (0.02 * wanted) ** 2)
    assert (np.abs(observed - wanted) < 5 * error).all()


def test_mean_score_of_samples_is_the_negative_entropy(model, table2):
    points, volume = grid_over(table2, 401, margin=10.0)
    scores = model.score_samples(points)
    expected = np.sum(np.exp(scores) * scores) * volume
    sampled = model.score_samples(model.sample(20_000, random_state=3))
    # A standard error of about 0.01, and the grid.
    assert sampled.mean() == pytest.approx(expected, abs=0.05)


@pytest.mark.quick
def test_sample_is_governed_by_its_own_seed(model):
    rows = model.sample(50, random_state=1)
    assert rows.shape == (50, 2)
    assert rows.dtype == np.float64
    assert np.array_equal(model.sample(50, random_state=1), rows)
    assert not np.array_equal(model.sample(50, random_state=2), rows)
    assert not np.array_equal(model.sample(50), model.sample(50))
    generator = np.random.RandomState(0)
    assert not np.array_equal(model.sample(50, generator), model.sample(50, generator))
    assert model.sample().shape == (1, 2)


# Stages, subsets, order, precision


@pytest.mark.quick
def test_the_last_stage_is_the_final_score(model, table2):
    stages = list(model.staged_score_samples(table2))
    assert len(stages) == model.n_estimators_
    assert np.array_equal(stages[-1], model.score_samples(table2))
    means = [stage.mean() for stage in stages]
    np.testing.assert_allclose(means, model.train_scores_, rtol=1e-6)  # trained on these rows


def test_subsets_order_and_batches_of_rows_do_not_matter(model, table2):
    scores = model.score_samples(table2)
    order = np.random.default_rng(0).permutation(len(table2))
    one_by_one = np.concatenate([model.score_samples(row[None]) for row in table2[:30]])
    many = model.score_samples(np.tile(table2, (500, 1)))  # in several chunks
    np.testing.assert_allclose(model.score_samples(table2[order]), scores[order], atol=1e-9)
    np.testing.assert_allclose(model.score_samples(table2[5:9]), scores[5:9], atol=1e-9)
    np.testing.assert_allclose(one_by_one, scores[:30], atol=1e-9)
    np.testing.assert_allclose(many, np.tile(scores, 500), atol=1e-9)


def test_memory_layout_of_x_does_not_matter(model, table2):
    scores = model.score_samples(table2)
    assert np.array_equal(model.score_samples(np.asfortranarray(table2)), scores)
    assert np.array_equal(model.score_samples(table2.tolist()), scores)
    assert np.array_equal(model.score_samples(np.repeat(table2, 2, axis=0)[::2]), scores)


def test_precision_out_is_the_precision_in(model, table2):
    single, double = table2.astype(np.float32), table2.astype(np.float32).astype(np.float64)
    assert model.score_samples(double).dtype == np.float64
    assert model.score_samples(single).dtype == np.float32
    assert model.score_samples(np.ones((3, 2), dtype=int)).dtype == np.float64
    # Single precision resolves standardised rows to 1e-7 and scores near 1e0 to a few of these.
    np.testing.assert_allclose(model.score_samples(single), model.score_samples(double), atol=1e-3)


@pytest.mark.parametrize("kind", family_names())
def test_fits_single_precision(quick, table3, kind):
    X = table3.astype(np.float32)
    model = quick(flow=kind).fit(X)
    assert model.score_samples(X).dtype == np.float32
    assert model.score_samples(table3).dtype == np.float64
    np.testing.assert_allclose(
        model.score_samples(X), model.score_samples(X.astype(float)), atol=1e-3
    )


def test_score_is_the_weighted_mean(model, table2):
    scores = model.score_samples(table2)
    weights = np.random.default_rng(0).uniform(size=len(table2))
    assert isinstance(model.score(table2), float)
    assert model.score(table2) == pytest.approx(scores.mean(), rel=1e-12)
    expected = np.average(scores, weights=weights)
    assert model.score(table2, sample_weight=weights) == pytest.approx(expected, rel=1e-12)
    assert model.score(table2, np.ones(len(table2))) == model.score(table2)  # y is ignored


@pytest.mark.slow
def test_scoring_two_million_rows_takes_little_memory():
    """In a process of its own, whose peak says what scoring takes beyond the rows themselves."""
    script = """
import resource, sys
import numpy as np
from skgbnf import GradientBoostedFlowDensity
X = np.random.default_rng(0).normal(size=(2_000_000, 5))
model = GradientBoostedFlowDensity(
    2, flow="realnvp", n_transforms=1, hidden_layer_sizes=(8,), max_iter=1, tol=0.0,
    random_state=0,
).fit(X[:200])
model.score_samples(X[:1000])
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
scores = model.score_samples(X)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
assert scores.shape == (2_000_000,) and np.isfinite(scores).all()
print((after - before) / 1e9)
"""
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.5


# The same model again


@pytest.mark.parametrize("kind", family_names())
def test_an_integer_seed_gives_the_same_model_bit_for_bit(quick, table3, kind):
    X = table3[:40]
    model = quick(flow=kind, fine_tune=1).fit(X)
    torch.rand(3)
    assert_same_model(model, clone(model).fit(X), X)
    refitted = copy.deepcopy(model).fit(X)
    assert_same_model(model, refitted, X)
    other = refitted.set_params(random_state=1).fit(X)
    assert not np.array_equal(other.score_samples(X), model.score_samples(X))


def round_trip(how, model, tmp_path):
    if how == "pickle":
        return pickle.loads(pickle.dumps(model))
    if how == "deepcopy":
        return copy.deepcopy(model)
    path = tmp_path / "model"
    if how == "joblib":
        joblib.dump(model, path)
        return joblib.load(path)
    if how == "skops":
        skops.io.dump(model, path)
        return skops.io.load(path, trusted=["skgbnf.GradientBoostedFlowDensity"])
    skgbnf.save(model, path)
    return skgbnf.load(path)


@pytest.fixture(scope="module", params=family_names())
def model_of_each_kind(request, quick, table3):
    return quick(flow=request.param).fit(table3[:40])


@pytest.mark.parametrize("how", ["pickle", "deepcopy", "joblib", "skops", "save"])
def test_round_trips_give_identical_scores(model_of_each_kind, table3, tmp_path, how):
    model = model_of_each_kind
    again = round_trip(how, model, tmp_path)
    assert_same_model(again, model, table3)
    assert np.array_equal(again.sample(9, random_state=0), model.sample(9, random_state=0))
    assert again.get_params() == model.get_params()


def test_fitted_parameters_are_numpy_arrays(model):
    for fitted in model.estimators_:
        assert fitted.arrays
        assert all(type(array) is np.ndarray for array in fitted.arrays.values())
    assert b"torch" not in pickle.dumps([fitted.arrays for fitted in model.estimators_])


def test_fitted_attributes_fit_together(model, table2):
    n = model.n_estimators_
    assert len(model.estimators_) == len(model.staged_n_iter_) == len(model.train_scores_) == n
    assert model.estimator_weights_.shape == (n,)
    assert model.estimator_weights_.sum() == pytest.approx(1.0, abs=1e-12)
    assert (model.estimator_weights_ > 0).all()
    np.testing.assert_allclose(model.staged_weights_.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_array_equal(model.staged_weights_, np.tril(model.staged_weights_))
    assert model.n_features_in_ == 2
    np.testing.assert_allclose(model.location_, table2.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.scale_, table2.std(axis=0), rtol=1e-12)


# Weights of rows


@pytest.mark.parametrize("kind", ["nsf", "affine", "gaussian_mixture"])
def test_a_row_of_weight_zero_counts_as_absent(quick, table3, kind):
    weights = np.random.default_rng(0).uniform(0.5, 2.0, size=len(table3))
    weights[::3] = 0.0
    ours = quick(flow=kind).fit(table3, sample_weight=weights)
    kept = weights > 0
    theirs = quick(flow=kind).fit(table3[kept], sample_weight=weights[kept])
    assert_same_model(ours, theirs, table3)


@pytest.mark.parametrize("factor", [3, 0.1, 1e-8, 1e200])
@pytest.mark.parametrize("kind", ["nsf", "affine"])
def test_a_common_factor_of_the_weights_changes_nothing(quick, table3, kind, factor):
    weights = np.random.default_rng(0).uniform(0.5, 2.0, size=len(table3))
    ours = quick(flow=kind).fit(table3, sample_weight=weights)
    theirs = quick(flow=kind).fit(table3, sample_weight=factor * weights)
    assert_same_model(ours, theirs, table3)


@pytest.mark.quick
def test_equal_weights_are_no_weights(quick, table3):
    ours = quick().fit(table3)
    theirs = quick().fit(table3, sample_weight=np.full(len(table3), 0.3))
    assert_same_model(ours, theirs, table3)


def test_weights_move_the_density(quick, table2):
    weights = np.where(table2[:, 0] > 5.0, 1.0, 0.05)
    model = quick(flow="affine", n_estimators=1).fit(table2, sample_weight=weights)
    centre = model.sample(4000, random_state=0).mean(axis=0)
    expected = np.average(table2, axis=0, weights=weights)
    # A tenth of the rows is the validation set, and the standard error of the draws is 0.03.
    assert abs(centre[0] - expected[0]) < 0.5
    assert expected[0] - table2[:, 0].mean() > 1.5


# Validation set


def test_a_validation_set_of_the_users_own(quick, table2):
    X, X_val = table2[:150], table2[150:]
    weights = np.random.default_rng(0).uniform(0.5, 2.0, size=len(X_val))
    model = quick().fit(X, X_val=X_val, sample_weight_val=weights)
    np.testing.assert_allclose(model.location_, X.mean(axis=0), rtol=1e-12)
    expected = [np.average(s, weights=weights) for s in model.staged_score_samples(X_val)]
    # Weights are kept in single precision.
    np.testing.assert_allclose(model.validation_scores_, expected, rtol=1e-6)
    kept = X_val[weights > 1.0]
    zeroed = np.where(weights > 1.0, weights, 0.0)
    ours = quick().fit(X, X_val=X_val, sample_weight_val=zeroed)
    theirs = quick().fit(X, X_val=kept, sample_weight_val=weights[weights > 1.0])
    np.testing.assert_allclose(ours.estimator_weights_, theirs.estimator_weights_, rtol=1e-6)
    scaled = quick().fit(X, X_val=X_val, sample_weight_val=1e-8 * weights)
    assert_same_model(scaled, model, table2)


def test_the_validation_set_is_not_trained_on(quick, table2):
    X, X_val = table2[:150], table2[150:]
    model = quick(flow="affine", n_estimators=1).fit(X, X_val=X_val)
    other = quick(flow="affine", n_estimators=1).fit(X, X_val=X_val + 100.0)
    assert np.array_equal(model.location_, other.location_)
    assert np.array_equal(model.scale_, other.scale_)
    # One Gaussian, its state chosen among EM steps that all give the same.
    np.testing.assert_allclose(
        model.score_samples(table2), other.score_samples(table2), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("nothing", [None, 0, 0.0])
def test_without_a_validation_set_all_rounds_are_kept(quick, nothing):
    X = np.random.default_rng(0).normal(size=(100, 2))
    model = quick(flow="affine", n_estimators=3, validation_fraction=nothing).fit(X)
    assert model.validation_scores_ is None
    assert model.n_estimators_ == 3
    np.testing.assert_allclose(model.location_, X.mean(axis=0), atol=1e-12)


def test_boosting_stops_when_the_validation_score_gains_less_than_tol(quick, table2):
    X, X_val = table2[:120], table2[120:]
    settings = {"flow": "affine", "n_estimators": 4}
    patient = quick(tol=0.0, **settings).fit(X, X_val=X_val)
    stopped = quick(tol=100.0, **settings).fit(X, X_val=X_val)
    # No round of this table gains a hundred nats, so only the first is kept.
    assert stopped.n_estimators_ == 1 < patient.n_estimators_
    assert stopped.validation_scores_[0] == patient.validation_scores_[0]


def test_rounds_that_are_not_needed_do_little_harm(quick):
    truth = np.random.default_rng(9).normal(size=(20_000, 2))
    losses = []
    for seed in range(3):  # one Gaussian needs one component; more can only fit noise
        X = np.random.default_rng(seed).normal(size=(400, 2))
        model = quick(flow="affine", n_estimators=4).fit(X)
        first, *_, last = [s.mean() for s in model.staged_score_samples(truth)] * 2
        losses.append(first - last)
    assert np.mean(losses) < 0.1


def test_training_of_a_round_stops_when_the_validation_score_no_longer_gains(quick):
    X = np.random.default_rng(2).normal(size=(60, 2))
    model = quick(n_estimators=1, max_iter=400, learning_rate_init=0.02).fit(X)
    assert model.staged_n_iter_[0] < 400


# A limit of time


@pytest.mark.parametrize("flow", ["nsf", "affine", "gaussian_mixture"])
def test_a_limit_of_time_that_is_long_over_still_gives_a_model(quick, table2, flow):
    model = quick(flow=flow, max_iter=1000, fine_tune=3, max_time=1e-6).fit(table2)
    assert model.n_estimators_ == 1
    assert np.isfinite(model.score_samples(table2)).all()


def test_max_time_ends_a_fit_that_would_take_long(quick, table2):
    start = time.perf_counter()
    model = quick(max_iter=10**6, n_iter_no_change=10**6, max_time=1.0).fit(table2)
    # One step, one scoring and the fit of the weights come on top, on whatever machine.
    assert time.perf_counter() - start < 10
    assert 1 <= model.staged_n_iter_[0] < 10**6
    one_epoch = quick(max_iter=1, n_estimators=1).fit(table2)
    assert model.score(table2) > one_epoch.score(table2)


@pytest.mark.parametrize("combine", ["sum", "product"])
def test_a_fit_ends_near_its_limit_of_time(quick, monkeypatch, combine):
    # The processor's time, which other programs do not take part in.
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    X = np.random.default_rng(0).normal(size=(20_000, 10))
    quick(max_iter=1).fit(X[:100])  # what torch does once in a process
    start = time.process_time()
    skgbnf.GradientBoostedFlowDensity(max_time=1.0, combine=combine).fit(X)
    # Twice as long where a round of a product does not know what is to be done after its training.
    assert time.process_time() - start < 1.5


def test_a_trial_without_time_to_train_adds_no_round(quick, table2, monkeypatch):
    model = quick(flow="auto", n_estimators=5, max_iter=10**6)
    monkeypatch.setattr(AdditiveBoosting, "rows_to_score", lambda boosting: 10**12)
    model.set_params(max_time=1.0).fit(np.tile(table2, (20, 1)))
    kinds = [fitted.architecture.family for fitted in model.estimators_]
    assert set(kinds) <= {"student_t", "gaussian_mixture"}


def test_time_in_plenty_changes_nothing(quick, table2):
    limited = quick(max_time=1e9).fit(table2)
    np.testing.assert_array_equal(
        limited.score_samples(table2), quick().fit(table2).score_samples(table2)
    )


# More rounds


@pytest.mark.parametrize("kind", ["nsf", "realnvp", "affine"])
def test_warm_start_adds_rounds(quick, table2, kind):
    settings = {"flow": kind, "n_iter_no_change": 5, "tol": 0.0}
    model = quick(n_estimators=1, warm_start=True, **settings).fit(table2)
    first = model.estimators_[0]
    before = {name: array.copy() for name, array in first.arrays.items()}
    model.set_params(n_estimators=3).fit(table2)
    at_once = quick(n_estimators=3, **settings).fit(table2)
    assert model.n_estimators_ > 1
    assert all(np.array_equal(model.estimators_[0].arrays[n], a) for n, a in before.items())
    assert_same_model(model, at_once, table2)
    assert np.array_equal(model.train_scores_, at_once.train_scores_)
    assert np.array_equal(model.staged_n_iter_, at_once.staged_n_iter_)


def test_warm_start_without_new_rounds_changes_nothing(quick, table2):
    model = quick(warm_start=True).fit(table2)
    before = model.score_samples(table2)
    assert np.array_equal(model.fit(table2).score_samples(table2), before)


def test_warm_start_fine_tunes_when_there_are_new_rounds(quick, table2):
    settings = {"fine_tune": 1, "max_iter": 3, "n_iter_no_change": 5, "tol": 0.0}
    model = quick(n_estimators=1, warm_start=True, **settings).fit(table2)
    n_iter, before = model.staged_n_iter_.copy(), model.score_samples(table2)
    model.fit(table2)
    assert np.array_equal(model.staged_n_iter_, n_iter)
    assert np.array_equal(model.score_samples(table2), before)
    model.set_params(n_estimators=2).fit(table2)
    assert model.n_estimators_ == 2
    assert model.staged_n_iter_[0] > n_iter[0]


def test_without_warm_start_a_fit_begins_anew(quick, table2, table3):
    model = quick().fit(table3).fit(table2)
    assert_same_model(model, quick().fit(table2), table2)


# What the caller owns stays as it is


@contextlib.contextmanager
def untouched():
    """Assert that the global state of NumPy and torch is afterwards what it was before."""
    numpy_generator = check_random_state(None)  # the global one
    numpy_state, torch_state = numpy_generator.get_state(), torch.get_rng_state()
    settings = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    yield
    for now, before in zip(numpy_generator.get_state(), numpy_state, strict=True):
        assert np.array_equal(now, before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    now = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    assert now == settings


@pytest.mark.parametrize(
    ("kind", "seed"), [*((kind, 0) for kind in family_names()), ("nsf", None), ("affine", None)]
)
def test_global_state_is_untouched_by_every_call(quick, table2, tmp_path, kind, seed):
    model = quick(flow=kind, fine_tune=1, random_state=seed)
    with untouched():
        model.fit(table2)
    with untouched():
        model.score_samples(table2)
    with untouched():
        model.score(table2)
    with untouched():
        list(model.staged_score_samples(table2))
    with untouched():
        model.sample(10, random_state=seed)
    with untouched():
        skgbnf.save(model, tmp_path / "model")
        skgbnf.load(tmp_path / "model")
    with untouched(), pytest.raises(ValueError, match="inf"):
        model.fit(np.full((5, 2), np.inf))


def test_rows_and_weights_are_not_written_to(quick, table2):
    X, weights = table2.copy(), np.linspace(0.1, 1.0, len(table2))
    kept = X.copy(), weights.copy()
    quick().fit(X, sample_weight=weights).score_samples(X)
    assert np.array_equal(X, kept[0])
    assert np.array_equal(weights, kept[1])


@pytest.mark.parametrize("kind", ["nsf", "affine"])
def test_the_callers_settings_of_torch_do_not_matter(quick, table2, kind):
    expected = quick(flow=kind, dropout=0.1).fit(table2)
    scores = expected.score_samples(table2)
    torch.set_default_dtype(torch.float64)
    try:
        with untouched():
            model = quick(flow=kind, dropout=0.1).fit(table2)
        assert np.array_equal(expected.score_samples(table2), scores)
        assert expected.score_samples(table2.astype(np.float32)).dtype == np.float32
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(model.score_samples(table2), scores)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            model = quick(flow=kind, dropout=0.1).fit(table2)
        assert_same_model(model, expected, table2)


# scikit-learn around it


def search_over(quick, X, **settings):
    grid = {"n_transforms": [1, 2], "flow": ["maf", "affine"]}
    return GridSearchCV(quick(n_estimators=1, max_iter=1), grid, cv=2, **settings).fit(X)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_parallel_grid_search_is_the_serial_one(quick, table2, backend):
    serial = search_over(quick, table2, n_jobs=1)
    with joblib.parallel_config(backend), untouched():
        parallel = search_over(quick, table2, n_jobs=2)
    assert np.isfinite(serial.cv_results_["mean_test_score"]).all()
    for name in ("split0_test_score", "split1_test_score"):
        assert np.array_equal(serial.cv_results_[name], parallel.cv_results_[name])
    assert parallel.best_params_ == serial.best_params_
    assert_same_model(parallel.best_estimator_, serial.best_estimator_, table2)


def test_cross_validation_scores_are_means_over_the_test_folds(quick, table2):
    estimator = quick(flow="affine")
    expected = [
        clone(estimator).fit(table2[100:]).score(table2[:100]),
        clone(estimator).fit(table2[:100]).score(table2[100:]),
    ]
    assert np.array_equal(cross_val_score(estimator, table2, cv=2), expected)


@pytest.mark.quick
def test_in_a_pipeline(quick, table3):
    pipeline = make_pipeline(StandardScaler(), PCA(2), quick()).fit(table3)
    Z = pipeline[:-1].transform(table3)
    assert np.array_equal(pipeline.score_samples(table3), quick().fit(Z).score_samples(Z))
    assert pipeline.score(table3) == pytest.approx(pipeline.score_samples(table3).mean())


def test_feature_names_are_kept_and_checked(quick, table2):
    frame = pd.DataFrame(table2, columns=["height", "weight"])
    model = quick().fit(frame)
    assert model.feature_names_in_.tolist() == ["height", "weight"]
    assert np.array_equal(model.score_samples(frame), quick().fit(table2).score_samples(table2))
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(frame[["weight", "height"]])
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(frame.rename(columns={"weight": "mass"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.score_samples(table2)
    model.fit(table2)
    assert not hasattr(model, "feature_names_in_")


def test_constant_columns_are_named_in_a_warning(quick, table2):
    frame = pd.DataFrame({"a": table2[:, 0], "b": 3.0, "c": table2[:, 1], "d": -1e6})
    model = quick(flow="affine")
    with pytest.warns(UserWarning, match=r"\['b', 'd'\] are constant"):
        model.fit(frame)
    assert np.isfinite(model.score_samples(frame)).all()
    np.testing.assert_allclose(model.sample(50, random_state=0)[:, 1], 3.0, atol=0.1)
    with pytest.warns(UserWarning, match=r"\[1, 3\] are constant"):
        model.fit(frame.to_numpy())


def test_fits_without_warnings_and_without_output(quick, table3, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(flow="affine").fit(table3)
    assert capsys.readouterr() == ("", "")


def test_verbose_prints_a_line_for_each_round(quick, table2):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        model = quick(n_iter_no_change=5, tol=0.0, validation_fraction=None, verbose=1).fit(table2)
    lines = [line for line in output.getvalue().splitlines() if "train" in line]
    assert len(lines) == model.n_estimators_ == 2
    for line, score in zip(lines, model.train_scores_, strict=True):
        assert f"{score:.4f}" in line


# Families


def small_maf(n_features):
    return zuko.flows.MAF(n_features, transforms=1, hidden_features=(8,))


def test_a_callable_is_a_family(quick, table3):
    model = quick(flow=small_maf, max_iter=5).fit(table3)
    assert_same_model(clone(model).fit(table3), model, table3)
    assert_same_model(pickle.loads(pickle.dumps(model)), model, table3)
    untrained = quick(flow=small_maf, max_iter=1, learning_rate_init=1e-12).fit(table3)
    trained = quick(flow=small_maf, max_iter=30, learning_rate_init=0.02).fit(table3)
    assert trained.score(table3) > untrained.score(table3) + 0.2


def test_a_round_takes_the_best_family_of_a_list(quick):
    rng = np.random.default_rng(5)
    clusters = rng.normal(size=(300, 2)) + 20 * rng.integers(2, size=(300, 2))
    for order in (["affine", "gaussian_mixture"], ("gaussian_mixture", "affine")):
        model = quick(n_estimators=1, flow=order).fit(clusters)
        assert model.estimators_[0].architecture.family == "gaussian_mixture"
        assert model.estimators_[0].architecture.n_components >= 4


@pytest.mark.parametrize(
    ("init", "flow", "n_estimators", "first"),
    [
        ("auto", "auto", 4, ["student_t", "gaussian_mixture", "copula_mixture"]),
        ("auto", "auto", 3, ["student_t", "gaussian_mixture"]),
        ("auto", "auto", 2, ["gaussian_mixture"]),
        ("auto", "maf", 2, ["maf"]),
        ("gaussian_mixture", "maf", 2, ["gaussian_mixture", "maf"]),
        (["affine", "student_t"], "maf", 3, ["affine", "student_t", "maf"]),
        (None, "nsf", 2, ["nsf"]),
    ],
)
def test_init_is_what_the_first_rounds_fit(quick, table2, init, flow, n_estimators, first):
    # Without validation rows no round is dropped.
    parameters = {"init": init, "flow": flow, "n_estimators": n_estimators}
    model = quick(validation_fraction=None, max_iter=1, **parameters).fit(table2[:30])
    assert [fitted.architecture.family for fitted in model.estimators_][: len(first)] == first
    assert model.n_estimators_ == n_estimators


def test_a_far_row_does_not_decide_the_mean(quick):
    rng = np.random.default_rng(11)
    X, X_val, X_test = rng.normal(size=(3, 300, 3))
    X[:3] *= 10
    with_tail = quick(init="student_t", n_estimators=2).fit(X, X_val=X_val)
    alone = quick(n_estimators=1).fit(X, X_val=X_val)
    far = np.full((1, 3), 200.0)
    # A tenth of a validation row of weight, and three degrees of freedom: about -7 - 6 log 200.
    assert with_tail.score(far) > -60
    assert alone.score(far) < -500
    assert with_tail.score(X_test) > alone.score(X_test) - 0.02


def test_init_is_left_out_where_there_is_one_round(quick, table2):
    alone = quick(n_estimators=1, init="gaussian_mixture").fit(table2)
    assert alone.estimators_[0].architecture.family == "nsf"


def test_flows_add_to_a_gaussian_mixture_and_never_take_from_it(quick):
    truth = stats.norm(loc=[-9.0, -3.0, 3.0, 9.0])
    rng = np.random.default_rng(6)
    rows = truth.rvs(size=(2400, 4), random_state=rng)[:, [0]] * [1.0, -2.0, 3.0]
    X = np.where(rng.random((2400, 1)) < 0.5, rows, -rows) + rng.normal(size=(2400, 3))
    model = quick(flow="auto", n_estimators=3).fit(X[:1200], X_val=X[1200:1800])
    mixture = quick(flow="gaussian_mixture", n_estimators=1).fit(X[:1200], X_val=X[1200:1800])
    # A round adds what 600 validation rows gain from, within their noise on 600 others.
    assert model.score(X[1800:]) > mixture.score(X[1800:]) - 0.02
    # The prior on weights, worth one row, keeps a little for what is of no use.
    assert model.validation_scores_[-1] >= mixture.validation_scores_[0] - 1 / 600


def test_a_list_may_hold_networks_and_callables(quick, table3):
    model = quick(flow=["realnvp", small_maf, "affine"]).fit(table3)
    kinds = {fitted.architecture.family for fitted in model.estimators_}
    assert kinds <= {"realnvp", small_maf, "affine"}
    assert np.isfinite(model.score_samples(table3)).all()


@pytest.mark.parametrize("base", ["normal", "student_t"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "silu"])
def test_settings_of_the_networks_reach_the_components(quick, table2, base, activation):
    model = quick(
        n_estimators=1, flow="maf", base=base, activation=activation, n_transforms=3,
        hidden_layer_sizes=[5, 7], max_iter=1,
    ).fit(table2)  # fmt: skip
    architecture = model.estimators_[0].architecture
    assert (architecture.base, architecture.activation) == (base, activation)
    assert (architecture.n_transforms, architecture.hidden_layer_sizes) == (3, (5, 7))
    assert math.isfinite(model.score(table2))


@pytest.mark.parametrize(
    ("flow", "layers", "activation"),
    [("maf", 4, "silu"), ("graphical", 3, "silu"), ("nsf", 3, "relu"), ("glow", 3, "relu")],
)
def test_layers_and_activation_suit_the_family_where_they_are_auto(
    quick, table2, flow, layers, activation
):
    model = quick(flow=flow, n_transforms="auto", n_estimators=1, max_iter=1).fit(table2)
    architecture = model.estimators_[0].architecture
    assert (architecture.n_transforms, architecture.activation) == (layers, activation)


@pytest.mark.parametrize(
    ("n_samples", "offered"),
    [(1999, {"made_mixture", "gaussian_mixture", "copula_mixture"}), (2000, {"made_mixture"})],
)
def test_auto_offers_gaussians_too_where_rows_are_few(quick, n_samples, offered):
    model = quick(flow="auto", n_estimators=3)
    plan = candidate_plan(model, n_samples, 2)
    of_a_network = plan.offered(["student_t", "gaussian_mixture"], sparse=False)
    architectures = [
        architecture for family_candidates in of_a_network for architecture in family_candidates
    ]
    assert {architecture.family for architecture in architectures} == offered
    assert plan.share(2) == 1.0


def test_each_place_of_splines_that_a_family_knows_is_tried(quick):
    for flow, places in [("made_mixture", {"columns", None}), ("nsf", {"columns", "whitened"})]:
        offered = candidate_plan(quick(flow=flow), 500, 3).offered([], sparse=False)
        assert {a.splines for candidates in offered for a in candidates} == places


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [*({"objective": name} for name in OBJECTIVES), {"combine": "product"}],
    ids=named,
)
def test_every_objective_fits(quick, table2, choices):
    """Several weak components beat one: the rows are three clusters."""
    X = np.concatenate([table2 + np.array(shift) for shift in ([0, 0], [20, 0], [0, 2])])
    weak = {"flow": "realnvp", "n_transforms": 1, "max_iter": 20}
    model = quick(**choices, n_iter_no_change=5, **weak).fit(X)
    assert model.n_estimators_ > 1
    assert (np.diff(model.validation_scores_) > 0).all()  # the best number of rounds is kept


@pytest.mark.quick
def test_learning_raises_the_score(quick, table2):
    short = quick(n_estimators=1, max_iter=1).fit(table2)
    long = quick(n_estimators=1, max_iter=30).fit(table2)
    assert long.score(table2) > short.score(table2) + 0.05
