"""The device that is meant, whatever the caller's default one is; and the ways to name it."""

import copy
import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import zuko
from helpers import named
from sklearn.base import clone

from skgbnf import (
    CopulaBase,
    FlowBayesClassifier,
    FlowOutlierDetector,
    GradientBoostedFlowVAE,
    fit_to_log_prob,
    load,
    save,
)
from skgbnf._device import check_device, computing_on, fit_device, score_device
from skgbnf.diagnostics import jacobian_report
from skgbnf.flows import family_names


@contextmanager
def default_device(name):
    """As a user whose tensors are all elsewhere; on "meta" they hold no values."""
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


def everywhere(say):
    """What a function says as it is, with another default device, and within a context of one."""
    with default_device("meta"):
        moved = say()
    with torch.device("meta"):
        within = say()
    return say(), moved, within


def assert_all_same(said):
    first, *others = said
    for other in others:
        for ours, theirs in zip(first, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def spline_flow(n_features):
    return zuko.flows.NSF(n_features, transforms=1, hidden_features=(8,))


def bernstein_flow(n_features):
    return zuko.flows.BPF(n_features, transforms=1, hidden_features=(8,))


@pytest.mark.parametrize(
    "choices",
    [
        *({"flow": family} for family in family_names()),
        {"flow": "nsf", "base": "student_t", "tail": "transform"},
        {"flow": "maf", "base": CopulaBase("gaussian", ("laplace", "normal")), "dropout": 0.2},
        {"flow": "glow", "log_det": "self_normalizing", "lipschitz_penalty": 0.1, "fine_tune": 1},
        {"flow": "affine", "combine": "product"},
        {"flow": ["affine", "maf"], "init": "auto", "bounds": (-100, None)},
        {"flow": spline_flow},
        {"flow": bernstein_flow},
    ],
    ids=named,
)
def test_a_density_is_the_same_whatever_the_default_device(quick, table2, tmp_path, choices):
    X = table2[:60]
    model = quick(**{"init": None, "max_iter": 1, **choices})

    def say():
        fitted = clone(model).fit(X)
        opened = pickle.loads(pickle.dumps(fitted))
        if not callable(choices["flow"]):
            save(fitted, tmp_path / "model")
            opened = load(tmp_path / "model")
        report = jacobian_report(opened, X[:5])
        return (
            fitted.score_samples(X),
            opened.score_samples(X),
            opened.sample(4, random_state=5),
            report.log_det,
        )

    assert_all_same(everywhere(say))


@pytest.mark.parametrize("base", ["normal", "student_t"])
def test_a_model_made_before_answers_with_another_default_device(quick, table2, base):
    model = quick(flow="maf", base=base, max_iter=1).fit(table2)
    copied = copy.deepcopy(model)
    expected = model.score_samples(table2)
    with default_device("meta"):
        np.testing.assert_array_equal(copied.score_samples(table2), expected)
        np.testing.assert_array_equal(model.score_samples(table2), expected)


def test_a_fit_goes_on_with_another_default_device(quick, table2):
    model = quick(flow="glow", warm_start=True, n_estimators=1, max_iter=1).fit(table2)
    other = copy.deepcopy(model)
    with default_device("meta"):
        other.set_params(n_estimators=2).fit(table2)
    model.set_params(n_estimators=2).fit(table2)
    np.testing.assert_array_equal(other.score_samples(table2), model.score_samples(table2))


@pytest.mark.parametrize("wrapper", [FlowOutlierDetector, FlowBayesClassifier])
def test_wrappers_are_the_same_whatever_the_default_device(quick, table2, wrapper):
    y = np.arange(len(table2)) % 2

    def model():
        return wrapper(quick(flow="realnvp", max_iter=1), random_state=0)

    def say():
        return (model().fit(table2, y).predict(table2),)

    assert_all_same(everywhere(say))


@pytest.mark.parametrize(
    "choices",
    [{"network": "mlp"}, {"network": "conv"}, {"likelihood": "gaussian", "flow": "glow"}],
    ids=named,
)
def test_an_autoencoder_is_the_same_whatever_the_default_device(tmp_path, choices):
    X = (np.random.default_rng(0).random((20, 4, 4)) < 0.5).astype(float)

    def say():
        model = GradientBoostedFlowVAE(
            2, n_estimators=2, max_iter=1, fine_tune=1, random_state=0, **choices
        ).fit(X)
        save(model, tmp_path / "model")
        opened = load(tmp_path / "model")
        drawn = opened.sample(3, random_state=5)
        return model.score_samples(X), opened.score_samples(X), opened.transform(X), drawn

    assert_all_same(everywhere(say))


@pytest.mark.parametrize("flow", ["realnvp", "glow", "affine"])
def test_matching_a_density_is_the_same_whatever_the_default_device(flow, tmp_path):
    def say():
        found = fit_to_log_prob(
            lambda z: -z.square().sum(-1) * torch.ones(len(z)),
            2, flow=flow, n_estimators=2, n_transforms=1, batch_size=8, max_iter=1, fine_tune=1,
            random_state=0,
        )  # fmt: skip
        save(found, tmp_path / "model")
        opened = load(tmp_path / "model")
        rows = opened.sample(3, random_state=5)
        return found.score_samples(rows), opened.score_samples(rows), rows

    assert_all_same(everywhere(say))


def test_nothing_is_done_where_no_other_device_is_in_the_way():
    with computing_on("cpu") as entered:
        assert entered is None
    with default_device("meta"):
        with computing_on("cpu"):
            assert torch.zeros(1).device.type == "cpu"
        assert torch.zeros(1).device.type == "meta"


DEVICES = [torch.device("cpu"), torch.device("cpu", 0), "cpu:0"]


@pytest.mark.parametrize("device", DEVICES, ids=repr)
def test_a_torch_device_is_as_good_as_its_name(quick, table2, tmp_path, device):
    model = quick(device=device, max_iter=1)
    assert model.get_params()["device"] is device
    assert clone(model).device == device
    assert "device" in repr(model)
    model.fit(table2)
    expected = quick(max_iter=1).fit(table2).score_samples(table2)
    save(model, tmp_path / "model")
    opened = load(tmp_path / "model")
    assert opened.device == str(device)
    for answering in (model, opened, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(answering.score_samples(table2), expected)
    opened.set_params(device=device).fit(table2)


def test_a_fit_is_resumed_on_a_torch_device(quick, table2, tmp_path):
    quick(checkpoint=tmp_path / "model", n_estimators=1, max_iter=1).fit(table2)
    model = quick(device=torch.device("cpu"), max_iter=1, checkpoint=tmp_path / "model")
    model.fit(table2, resume_from=tmp_path / "model")
    assert model.n_estimators_ <= 2


@pytest.mark.parametrize("device", DEVICES, ids=repr)
def test_an_autoencoder_and_a_match_take_a_torch_device(tmp_path, device):
    X = (np.random.default_rng(0).random((20, 4)) < 0.5).astype(float)
    model = GradientBoostedFlowVAE(2, n_estimators=1, max_iter=1, device=device).fit(X)
    found = fit_to_log_prob(
        lambda z: -z.square().sum(-1), 2, flow="affine", n_estimators=1, max_iter=1, device=device
    )
    for fitted, rows in ((model, X), (found, X[:, :2])):
        save(fitted, tmp_path / "model")
        opened = load(tmp_path / "model")
        assert opened.device == str(device)
        assert np.isfinite(fitted.score_samples(rows)).all()
        assert np.isfinite(opened.score_samples(rows)).all()


@pytest.mark.parametrize("device", ["cuda", "auto", "cuda:1", torch.device("cuda")])
def test_gpus_are_known_by_name_and_as_devices(device):
    check_device(device)


@pytest.mark.parametrize("device", [torch.device("meta"), "gpu", "cuda:", "cuda:x", "cpu:-1"])
def test_other_devices_are_refused(device):
    with pytest.raises(ValueError, match="device must be one of"):
        check_device(device)


@pytest.mark.parametrize("device", [0, None, np.array("cpu")])
def test_what_is_no_device_is_refused(device):
    with pytest.raises(TypeError, match="device must be one of"):
        check_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1", torch.device("cuda")], ids=repr)
def test_without_a_gpu_a_fit_on_one_is_refused_and_a_score_is_not(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="needs a GPU"):
        fit_device(device)
    assert score_device(device) == torch.device("cpu")
    assert fit_device("auto") == torch.device("cpu")


def test_a_gpu_is_taken_by_its_number_where_it_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert fit_device(torch.device("cuda", 1)) == fit_device("cuda:1") == torch.device("cuda", 1)
    assert fit_device("auto") == fit_device("cuda") == torch.device("cuda")
    assert score_device("cuda:7") == torch.device("cuda")
    assert score_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(ValueError, match="needs a GPU"):
        fit_device("cuda:7")
