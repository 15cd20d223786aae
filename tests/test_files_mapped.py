"""Models whose arrays lie in a memory map that cannot be written to."""

import joblib
import numpy as np
import pytest

from skgbnf import (
    FlowBayesClassifier,
    FlowOutlierDetector,
    GradientBoostedFlowVAE,
    fit_to_log_prob,
)

pytestmark = pytest.mark.filterwarnings("error")


def mapped(model, tmp_path):
    joblib.dump(model, tmp_path / "model")
    return joblib.load(tmp_path / "model", mmap_mode="r")


@pytest.mark.parametrize("combine", ["sum", "product"])
def test_a_mapped_density_answers_without_warnings(quick, table2, tmp_path, combine):
    model = quick(flow="maf", combine=combine).fit(table2)
    again = mapped(model, tmp_path)
    np.testing.assert_array_equal(again.score_samples(table2), model.score_samples(table2))
    np.testing.assert_array_equal(again.sample(5, 0), model.sample(5, 0))
    staged = zip(
        again.staged_score_samples(table2), model.staged_score_samples(table2), strict=True
    )
    assert all(np.array_equal(ours, theirs) for ours, theirs in staged)


@pytest.mark.parametrize("wrapper", [FlowOutlierDetector, FlowBayesClassifier])
def test_a_mapped_wrapper_answers_without_warnings(quick, table2, tmp_path, wrapper):
    density = quick(flow="affine", n_estimators=1)
    model = wrapper(density).fit(table2, np.arange(len(table2)) % 2)
    again = mapped(model, tmp_path)
    np.testing.assert_array_equal(again.predict(table2), model.predict(table2))


def test_a_mapped_autoencoder_answers_without_warnings(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 6))
    model = GradientBoostedFlowVAE(
        n_estimators=1, max_iter=1, hidden_layer_sizes=(4,), flow_hidden_layer_sizes=(4,),
        random_state=0,
    ).fit(X)  # fmt: skip
    again = mapped(model, tmp_path)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    Z = model.transform(X)
    np.testing.assert_array_equal(again.inverse_transform(Z), model.inverse_transform(Z))
    np.testing.assert_array_equal(
        again.score_samples(X, random_state=0), model.score_samples(X, random_state=0)
    )


def test_a_mapped_matched_density_answers_without_warnings(tmp_path):
    model = fit_to_log_prob(
        lambda z: -z.square().sum(-1) / 2,
        2,
        flow="affine",
        n_estimators=1,
        max_iter=1,
        random_state=0,
    )
    again, Z = mapped(model, tmp_path), np.zeros((3, 2))
    np.testing.assert_array_equal(again.score_samples(Z), model.score_samples(Z))
    np.testing.assert_array_equal(again.sample(3, 0), model.sample(3, 0))
