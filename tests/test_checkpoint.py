"""Fits that are interrupted go on from their file as if nothing had happened."""

import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers import joined, split

import skgbnf
from skgbnf import FlowBayesClassifier, FlowOutlierDetector

KILLED = """
import os, signal, sys
import numpy as np
import skgbnf

class Killing:
    def write(self, text):
        if "round 2/" in text:
            os.kill(os.getpid(), signal.SIGKILL)
    def flush(self):
        pass

sys.stdout = Killing()
folder = sys.argv[1]
model = skgbnf.GradientBoostedFlowDensity(
    n_estimators=4, flow="realnvp", n_transforms=1, hidden_layer_sizes=(8,), max_iter=3, tol=0.0,
    n_iter_no_change=9, n_folds=None, fine_tune=1, random_state=3, verbose=1,
    checkpoint=folder + "/rounds",
)
model.fit(np.load(folder + "/X.npy"))
"""


@pytest.fixture
def long_fit(quick):
    """Factory of estimators with four rounds."""

    def make(**parameters):
        settings = {
            "n_estimators": 4,
            "flow": "realnvp",
            "n_transforms": 1,
            "hidden_layer_sizes": (8,),
            "max_iter": 3,
            "tol": 0.0,
            "n_iter_no_change": 9,
        }
        return quick(**{**settings, **parameters})

    return make


def assert_same(ours, theirs, X):
    assert np.array_equal(ours.score_samples(X), theirs.score_samples(X))
    for name in (
        "staged_weights_",
        "staged_n_iter_",
        "gains_",
        "train_scores_",
        "validation_scores_",
    ):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


@pytest.mark.slow
def test_a_killed_fit_is_resumed_bit_for_bit(long_fit, table2, tmp_path):
    np.save(tmp_path / "X.npy", table2)
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=300)
    assert process.returncode == -signal.SIGKILL
    partial = skgbnf.load(tmp_path / "rounds")
    assert partial.n_estimators_ == 2
    model = long_fit(fine_tune=1, random_state=3)
    undisturbed = long_fit(fine_tune=1, random_state=3).fit(table2)
    resumed = model.fit(table2, resume_from=tmp_path / "rounds")
    assert_same(resumed, undisturbed, table2)


def test_each_round_is_in_the_file(long_fit, table2, tmp_path):
    model = long_fit(checkpoint=tmp_path / "rounds").fit(table2)
    # Rounds that the finished model drops are in the file, since a fit may go on from there.
    assert skgbnf.load(tmp_path / "rounds").n_estimators_ == 4 >= model.n_estimators_
    assert [path.name for path in tmp_path.iterdir()] == ["rounds"]


def test_a_finished_fit_stays_finished(quick, table2, tmp_path):
    model = quick(n_estimators=6, flow="affine", tol=0.5, checkpoint=str(tmp_path / "rounds"))
    model.fit(table2)
    n_rounds = skgbnf.load(tmp_path / "rounds").n_estimators_
    assert n_rounds < 6
    resumed = quick(n_estimators=6, flow="affine", tol=0.5)
    resumed.fit(table2, resume_from=tmp_path / "rounds")
    assert_same(resumed, model, table2)


@pytest.mark.quick
def test_more_rounds_may_be_asked_for(long_fit, table2, tmp_path):
    long_fit(n_estimators=2, checkpoint=tmp_path / "rounds").fit(table2)
    resumed = long_fit().fit(table2, resume_from=tmp_path / "rounds")
    assert_same(resumed, long_fit().fit(table2), table2)


def test_other_parameters_rows_and_files_are_refused(long_fit, table2, table3, tmp_path):
    path = tmp_path / "rounds"
    model = long_fit(checkpoint=path).fit(table2)
    before = model.score_samples(table2)
    with pytest.raises(ValueError, match=r"resume_from.*\['max_iter'\]"):
        long_fit(max_iter=4).fit(table2, resume_from=path)
    with pytest.raises(ValueError, match=r"resume_from.*other rows"):
        model.fit(2 * table2, resume_from=path)
    with pytest.raises(ValueError, match="features"):
        model.fit(table3, resume_from=path)
    (tmp_path / "text").write_text("no model")
    with pytest.raises(ValueError, match="not a readable skgbnf model"):
        model.fit(table2, resume_from=tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        model.fit(table2, resume_from=tmp_path / "nothing")
    assert np.array_equal(model.score_samples(table2), before)


def test_what_no_file_can_hold_is_refused_before_the_fit(long_fit, table2, tmp_path):
    generator = np.random.RandomState(0)
    model = long_fit(random_state=generator, checkpoint=tmp_path / "rounds")
    with pytest.raises(ValueError, match="random_state"):
        model.fit(table2)
    assert not list(tmp_path.iterdir())


def test_names_of_an_earlier_fit_are_gone_where_the_file_has_none(quick, table2, tmp_path):
    quick(n_estimators=1, checkpoint=tmp_path / "rounds").fit(table2)
    model = quick(n_estimators=1).fit(pd.DataFrame(table2, columns=["a", "b"]))
    model.set_params(n_estimators=2).fit(table2, resume_from=tmp_path / "rounds")
    assert not hasattr(model, "feature_names_in_")
    assert model.column_labels_ == [0, 1]


def test_attributes_cannot_be_written_to(quick, table2):
    model = quick().fit(table2)
    for name in ("estimator_weights_", "staged_weights_", "train_scores_", "staged_n_iter_"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(model, name)[:] = 0
        with pytest.raises(AttributeError):
            setattr(model, name, 0)


def assert_names_no_path(path, estimator, name="checkpoint"):
    assert b"secret" not in path.read_bytes()
    assert estimator.get_params()[name] is None


def with_a_path(path, parameters_of):
    """The file, changed by hand so that the density in it names a path."""
    metadata, model, arrays = split(path.read_bytes())
    parameters_of(model["data"])["checkpoint"] = str(path.parent / "victim")
    path.write_bytes(joined(metadata, model, arrays))


def test_a_loaded_density_has_no_checkpoint(quick, table2, tmp_path):
    path, secret = tmp_path / "model", tmp_path / "secret"
    skgbnf.save(quick(checkpoint=secret).fit(table2), path)
    assert_names_no_path(path, skgbnf.load(path))
    with_a_path(path, lambda data: data["parameters"])
    assert skgbnf.load(path).fit(table2).checkpoint is None
    assert not (tmp_path / "victim").exists()


def test_a_checkpoint_names_no_path_and_is_gone_on_with(quick, table2, tmp_path):
    path = tmp_path / "secret"
    model = quick(n_estimators=1, checkpoint=path).fit(table2)
    assert_names_no_path(path, skgbnf.load(path))
    model.set_params(n_estimators=2).fit(table2, resume_from=path)
    assert model.checkpoint == path


@pytest.mark.parametrize("wrapper", [FlowOutlierDetector, FlowBayesClassifier])
def test_a_loaded_wrapper_has_no_checkpoint(quick, table2, tmp_path, wrapper):
    path, y = tmp_path / "model", np.arange(len(table2)) % 2
    density = quick(n_estimators=1, flow="affine", checkpoint=tmp_path / "secret")
    skgbnf.save(wrapper(density).fit(table2, y), path)
    assert_names_no_path(path, skgbnf.load(path), "estimator__checkpoint")
    for parameters_of in (
        lambda data: data["parameters"]["estimator"],
        lambda data: data["densities"][0]["parameters"],
    ):
        with_a_path(path, parameters_of)
    again = skgbnf.load(path)
    fitted = getattr(again, "estimators_", None) or [again.estimator_]
    assert {density.checkpoint for density in (again.estimator, *fitted)} == {None}
    again.fit(table2, y)
    assert not (tmp_path / "victim").exists()


def test_a_loaded_autoencoder_has_no_checkpoint(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 6))
    path, small = tmp_path / "model", {"max_iter": 1, "hidden_layer_sizes": (4,)}
    vae = skgbnf.GradientBoostedFlowVAE(checkpoint=tmp_path / "secret", n_estimators=1, **small)
    skgbnf.save(vae.fit(X), path)
    assert_names_no_path(path, skgbnf.load(path))
    with_a_path(path, lambda data: data["parameters"])
    assert skgbnf.load(path).fit(X).checkpoint is None
    assert not (tmp_path / "victim").exists()
