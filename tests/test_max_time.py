"""A limit of time is kept by every stage, on a part of the rows where need be."""

import time

import numpy as np
import pytest
import torch
from helpers import candidate_plan, limits

from skgbnf import GradientBoostedFlowDensity, load
from skgbnf.boosting.additive import AdditiveBoosting
from skgbnf.table.thinning import kept_rows
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.rows import Rows


@pytest.fixture
def processor_time(quick, monkeypatch):
    """The processor's time, which other programs do not take part in, is what passes."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    quick(max_iter=1).fit(np.random.default_rng(0).normal(size=(100, 3)))  # once in a process


def correlated(n_samples, n_features):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_samples, n_features)) @ rng.normal(size=(n_features, n_features))


LARGE = {
    "many columns": ((20_000, 50), {}),
    "many rows and columns": ((100_000, 100), {}),
    "a network alone": ((20_000, 50), {"flow": "nsf", "n_estimators": 1}),
    "tails": ((20_000, 20), {"flow": "maf", "tail": "transform", "validation_fraction": None}),
    "settling": ((20_000, 20), {"flow": "affine", "fine_tune": 5}),
    "networks retrained": ((20_000, 20), {"flow": "maf", "n_estimators": 2, "fine_tune": 5}),
    "large mixtures": ((50_000, 20), {"flow": "gaussian_mixture"}),
}


@pytest.mark.parametrize("case", LARGE)
def test_every_stage_keeps_the_limit(processor_time, case):
    shape, parameters = LARGE[case]
    X = correlated(*shape)
    start = time.process_time()
    model = GradientBoostedFlowDensity(max_time=1.0, random_state=0, **parameters).fit(X)
    # Twice as long and more where a stage does not look at the clock.
    assert time.process_time() - start < 1.5
    assert np.isfinite(model.score(X[:100]))


def test_a_validation_set_of_the_users_own_keeps_the_limit(processor_time):
    X = correlated(40_000, 50)
    start = time.process_time()
    GradientBoostedFlowDensity(max_time=1.0, flow="maf").fit(X[:10_000], X_val=X[10_000:])
    assert time.process_time() - start < 1.6


def test_all_rows_stay_where_there_is_time():
    X = np.ones((5000, 4))
    for max_time in (None, 1.0, 0.02):
        assert kept_rows(X, max_time, 0) == slice(None)
    for max_time, n_rows in [(0.01, 2500), (1e-9, 1000)]:
        assert len(np.unique(kept_rows(X, max_time, 0))) == n_rows


def test_the_same_seed_keeps_the_same_rows():
    X = np.random.default_rng(0).normal(size=(5000, 4))
    np.testing.assert_array_equal(kept_rows(X, 1e-9, 0), kept_rows(X, 1e-9, 0))


def test_a_column_that_seldom_varies_is_not_thinned_to_a_constant():
    X = np.random.default_rng(0).normal(size=(100_000, 3))
    X[:, 1:] = 0.0
    X[70_000, 1] = 1.0
    some = X[kept_rows(X, 1e-9, 0)]
    assert some[:, 1].tolist().count(1.0) == 1
    assert not some[:, 2].any()


@pytest.mark.parametrize("has_validation", [True, False])
def test_rounds_go_on_with_a_part_of_the_rows(quick, table2, has_validation):
    x = torch.from_numpy(np.tile(table2, (3, 1)))
    train = Rows(x[:500], torch.ones(500, dtype=torch.float64))
    validation = Rows(x[500:], torch.ones(100, dtype=torch.float64)) if has_validation else train
    settings = TrainingSettings(1, 100, 1e-3)
    plan = candidate_plan(quick(init="affine", flow="student_t"), 500, 2)
    boosting = AdditiveBoosting(train, validation, plan, settings, 0, "greedy")
    boosting.add_round(limits())
    before = boosting.stages[0].validation_score
    boosting.thin(500)
    assert boosting.train is train
    boosting.thin(200)
    assert len(boosting.train.x) == 200
    assert (boosting.validation is boosting.train) != has_validation
    assert (boosting.stages[0].validation_score == before) == has_validation
    boosting.add_round(limits())
    assert boosting.stages[1].validation_score >= boosting.stages[0].validation_score - 1e-6


def test_a_fit_that_had_no_time_for_all_rows_can_be_resumed(quick, table2, tmp_path):
    X = np.tile(table2, (30, 1)) + np.random.default_rng(0).normal(size=(6000, 2))
    parameters = {"max_time": 1e-3, "checkpoint": str(tmp_path / "model"), "flow": "maf"}
    model = quick(n_estimators=1, **parameters).fit(X)
    again = quick(n_estimators=2, **parameters).fit(X, resume_from=tmp_path / "model")
    assert again.n_estimators_ >= 1
    assert load(tmp_path / "model").n_estimators_ >= model.n_estimators_
