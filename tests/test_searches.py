"""Searches on existing engines give the same results; weights go where they are asked for."""

import joblib
import numpy as np
import pytest
import sklearn
from scipy.stats import loguniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgbnf import GradientBoostedFlowDensity


@pytest.fixture
def small(quick):
    def make(**parameters):
        settings = {"flow": "realnvp", "n_transforms": 1, "hidden_layer_sizes": (4,), "max_iter": 1}
        return quick(**{**settings, "n_estimators": 1, **parameters})

    return make


@pytest.fixture(scope="module")
def cluster():
    """A client of a cluster of two workers in this process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def searches(model):
    """One of each kind."""
    grid = {"hidden_layer_sizes": [(4,), (5,)]}
    settings = {"cv": 2, "random_state": 0, "min_resources": 1, "aggressive_elimination": False}
    halving = {**settings, "factor": 2, "max_resources": 2}
    return {
        "grid": GridSearchCV(model, grid, cv=2),
        "random": RandomizedSearchCV(
            model, {"learning_rate_init": loguniform(1e-4, 1e-1)}, n_iter=2, cv=2, random_state=0
        ),
        "halving by rounds": HalvingGridSearchCV(model, grid, resource="n_estimators", **halving),
        "halving by epochs": HalvingGridSearchCV(model, grid, resource="max_iter", **halving),
    }


def outcome(search, X):
    search.fit(X)
    best = search.best_estimator_
    return (
        search.cv_results_["mean_test_score"].tolist(),
        best.score_samples(X).tolist(),
        best.sample(3, random_state=0).tolist(),
    )


KINDS = ["grid", "random", "halving by rounds", "halving by epochs"]


@pytest.mark.parametrize("kind", KINDS)
def test_searches_in_threads_are_the_serial_ones(small, table2, kind):
    serial = outcome(searches(small())[kind], table2)
    assert np.isfinite(serial[0]).all()
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert outcome(searches(small())[kind], table2) == serial


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grid", "halving by epochs"])
def test_searches_in_processes_are_the_serial_ones(small, table2, kind):
    serial = outcome(searches(small())[kind], table2)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert outcome(searches(small())[kind], table2) == serial


@pytest.mark.parametrize("kind", KINDS)
def test_searches_on_a_cluster_are_the_serial_ones(small, table2, cluster, kind):
    serial = outcome(searches(small())[kind], table2)
    with joblib.parallel_config(backend="dask"):
        assert outcome(searches(small())[kind], table2) == serial


def test_a_dask_array_is_scored_on_a_cluster(small, table2, cluster):
    da = pytest.importorskip("dask.array")
    model = small().fit(table2)
    scores = model.score_samples(da.from_array(table2, chunks=(64, 2))).compute()
    np.testing.assert_allclose(scores, model.score_samples(table2), rtol=1e-9)


@pytest.mark.parametrize("resource", ["n_estimators", "max_iter"])
def test_halving_spends_the_resource_it_is_given(small, table2, resource):
    search = HalvingGridSearchCV(
        small(n_iter_no_change=9, tol=0.0),
        {"hidden_layer_sizes": [(4,), (5,)]},
        resource=resource,
        min_resources=1,
        max_resources=2,
        factor=2,
        cv=2,
        random_state=0,
    )
    search.fit(table2)
    assert search.n_resources_ == [1, 2]
    assert search.best_estimator_.get_params()[resource] == 2


# Metadata routing


class Recording(GradientBoostedFlowDensity):
    """Keeps the weights that reach it, by call."""

    seen: dict[str, list] = {"fit": [], "score": []}  # noqa: RUF012

    def fit(self, X, y=None, sample_weight=None):
        self.seen["fit"].append(sample_weight)
        return super().fit(X, sample_weight=sample_weight)

    def score(self, X, y=None, sample_weight=None):
        self.seen["score"].append(sample_weight)
        return super().score(X, sample_weight=sample_weight)


@pytest.fixture
def routing():
    for calls in Recording.seen.values():
        calls.clear()
    with sklearn.config_context(enable_metadata_routing=True):
        yield Recording.seen


@pytest.fixture
def recording(small):
    return Recording(**small().get_params())


@pytest.mark.parametrize("where", ["itself", "pipeline"])
def test_weights_reach_fit_and_score_of_a_search(routing, recording, table2, where):
    model = recording.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    if where == "pipeline" and sklearn.__version__.startswith("1.6."):
        pytest.skip("scikit-learn 1.6 does not route what the score of a pipeline is to pass on")
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    estimator = model if where == "itself" else make_pipeline(scaler, model)
    weights = np.arange(1.0, len(table2) + 1)
    search = GridSearchCV(estimator, {}, cv=2).fit(table2, sample_weight=weights)
    half = len(table2) // 2
    parts = [weights[half:], weights[:half]]
    for given, expected in zip(routing["fit"], [*parts, weights], strict=True):
        assert np.array_equal(given, expected)
    scored = [given for given in routing["score"] if given is not None]
    assert all(np.array_equal(a, b) for a, b in zip(scored, parts[::-1], strict=True))
    # As if it had been done by hand.
    last = search.best_estimator_ if where == "itself" else search.best_estimator_[-1]
    X = table2 if where == "itself" else StandardScaler().fit_transform(table2)
    by_hand = GradientBoostedFlowDensity(**last.get_params()).fit(X, sample_weight=weights)
    assert np.array_equal(by_hand.score_samples(X), last.score_samples(X))


def test_weights_nobody_decided_on_are_refused(routing, recording, table2):
    search = GridSearchCV(recording, {}, cv=2)
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
        search.fit(table2, sample_weight=np.ones(len(table2)))


def test_weights_that_are_declined_are_not_passed_on(routing, recording, table2):
    model = recording.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
    weights = np.ones(len(table2))
    cross_validate(model, table2, cv=2, params={"sample_weight": weights})
    assert all(given is not None for given in routing["fit"])
    assert routing["score"] == [None, None]
