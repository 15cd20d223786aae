"""Linear layers by what gives their log-determinant, and the family that has no networks."""

import copy
import json
from functools import partial

import bench_linear
import numpy as np
import pytest
import report
import torch
from helpers import degenerate_data_allowed, joined, named, split
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skgbnf
from skgbnf.boosting.objectives import MaximumLikelihood
from skgbnf.flows import LOG_DETS, initialise, make_flow
from skgbnf.flows.linear import ExactLinear, LULinear, SelfNormalizingLinear
from skgbnf.training.component import fit_component
from skgbnf.training.mixture import LOG_FLOOR, component_log_prob
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.rows import Rows


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def moved(name, n_features=4, size=0.2):
    """A layer of float64 whose parameters were moved away from zero."""
    layer = LOG_DETS[name](n_features).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(size * torch.randn_like(parameter))
    return layer


def pair(size=0.2):
    """An exact and a self-normalizing layer with the same map, the inverse of which is known."""
    exact, learned = moved("exact", size=size), moved("self_normalizing", size=size)
    learned.load_state_dict(exact.state_dict(), strict=False)
    set_inverse(learned, learned.matrix().detach().inverse())
    return exact, learned


def set_inverse(layer, inverse):
    with torch.no_grad():
        layer.inverse_offset.copy_(inverse - torch.eye(len(inverse)))


def loss_of(layer, x):
    """Minus the likelihood under a standard normal, but for a constant."""
    y, ladj = layer().call_and_ladj(x)
    return (y.square().sum(1) / 2 - ladj).mean()


# Gradients


def test_gradient_of_the_exact_log_determinant_is_the_inverse():
    layer = moved("exact")
    layer().log_det.backward()
    matrix = np.eye(4) + layer.offset.detach().numpy()
    np.testing.assert_allclose(layer.offset.grad, np.linalg.inv(matrix).T, rtol=1e-10)


def test_with_the_true_inverse_the_self_normalizing_gradient_is_the_exact_one():
    exact, learned = pair()
    x = torch.randn(20, 4, dtype=torch.float64)
    for layer in (exact, learned):
        loss_of(layer, x).backward()
    torch.testing.assert_close(learned.offset.grad, exact.offset.grad, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(learned.bias.grad, exact.bias.grad, rtol=1e-9, atol=1e-9)


def test_the_self_normalizing_gradient_is_the_learned_inverse_whatever_it_is():
    layer = moved("self_normalizing")
    inverse = torch.randn(4, 4, dtype=torch.float64)
    set_inverse(layer, inverse)
    layer().log_det.backward()
    torch.testing.assert_close(layer.offset.grad, inverse.T)
    assert layer.inverse_offset.grad is None


# Scores and samples


@pytest.mark.parametrize("mode", ["eval", "no gradient"])
def test_scores_and_inverses_owe_nothing_to_the_learned_inverse(mode):
    exact, learned = pair()
    set_inverse(learned, torch.randn(4, 4, dtype=torch.float64))
    x = torch.randn(50, 4, dtype=torch.float64)
    loss_of(learned, x).backward()  # what training leaves behind must not show
    with torch.no_grad():
        learned.offset.add_(0.1)
        exact.offset.add_(0.1)
    learned.train(mode != "eval")
    with torch.set_grad_enabled(mode == "eval"):
        ours, theirs = learned(), exact()
        torch.testing.assert_close(ours.log_det, theirs.log_det, rtol=0, atol=1e-12)
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)
        torch.testing.assert_close(ours.inv(ours(x)), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("log_det", LOG_DETS)
def test_maps_are_the_matrices_they_are_made_of(log_det):
    layer = moved(log_det)
    rng = np.random.default_rng(0)
    x, weights = torch.from_numpy(rng.normal(2.0, size=(60, 4))), torch.ones(60).double()
    before = {name: value.clone() for name, value in layer.named_parameters()}
    layer.initialise(x, weights)
    layer.load_state_dict(before, strict=False)
    transform = layer()
    matrix = torch.linalg.multi_dot((*transform.factors, layer.whitening))
    expected = (x - x.mean(dim=0)) @ matrix.T + layer.bias
    torch.testing.assert_close(transform(x), expected)
    # Few rows take another way, and so does one that is no table.
    torch.testing.assert_close(transform(x[:2]), expected[:2])
    torch.testing.assert_close(transform(x[0]), expected[0])
    torch.testing.assert_close(transform.inv(expected[0]), x[0])
    torch.testing.assert_close(transform.inv(expected.reshape(3, 20, 4)), x.reshape(3, 20, 4))


@pytest.mark.parametrize("log_det", LOG_DETS)
def test_initialise_whitens_and_undoes_what_was_learned(log_det):
    x = torch.randn(200, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64) + 5.0
    layer = moved(log_det, 3)
    layer.initialise(x, torch.ones(200, dtype=torch.float64))
    with torch.no_grad():
        z = layer()(x)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(3).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(z.T.cov(correction=0), torch.eye(3).double(), rtol=0, atol=1e-6)


def test_a_singular_matrix_gives_finite_scores():
    for log_det in ("exact", "self_normalizing"):
        flow = make_flow("linear", 3, n_transforms=1, log_det=log_det)
        layer = flow.transform.transforms[1]
        with torch.no_grad():
            layer.offset[0].copy_(-torch.eye(3)[0])  # a row of zeros
        scores = component_log_prob(flow, torch.randn(5, 3, dtype=torch.float64))
        assert torch.equal(scores, torch.full((5,), LOG_FLOOR, dtype=torch.float64))


# The value in training


def test_the_value_in_training_follows_the_exact_one():
    layer = moved("self_normalizing", 64, size=0.01)
    assert layer.period == 4
    for step in range(12):
        matrix = layer.matrix().detach()
        set_inverse(layer, matrix.inverse())
        value, exact = layer().log_det.item(), torch.linalg.slogdet(matrix).logabsdet.item()
        # Of the second order, steps of 0.002 in 4096 entries change it by a hundredth.
        assert value == pytest.approx(exact, abs=1e-12 if step % 4 == 0 else 0.05)
        with torch.no_grad():
            layer.offset += 0.002 * torch.eye(64) + 0.002 * torch.randn(64, 64)
            assert layer().log_det.item() > exact + 0.05  # it has moved


def test_the_value_is_exact_once_parameters_came_from_elsewhere():
    layer = moved("self_normalizing", 64, size=0.01)
    for _ in range(2):
        loss_of(layer, torch.randn(8, 64, dtype=torch.float64))
    layer.load_state_dict(moved("self_normalizing", 64, size=0.02).state_dict())
    exact = torch.linalg.slogdet(layer.matrix().detach()).logabsdet.item()
    assert layer().log_det.item() == pytest.approx(exact, abs=1e-12)


# The penalty


def test_penalty_is_half_the_squared_error_of_reconstruction():
    layer = moved("self_normalizing")
    x = torch.randn(30, 4, dtype=torch.float64)
    layer()(x)
    error = (layer.approximate_inverse() @ layer.matrix() - torch.eye(4)).detach().numpy()
    expected = np.mean([0.5 * np.sum((error @ row) ** 2) for row in x[:, layer.order].numpy()])
    penalty = layer.penalty()
    assert penalty.item() == pytest.approx(expected, rel=1e-10)
    penalty.backward()
    for parameter in (layer.offset, layer.inverse_offset):
        assert parameter.grad.abs().max() > 0
    assert layer.bias.grad is None


def test_a_copy_is_made_between_the_rows_and_the_penalty():
    layer = moved("self_normalizing")
    layer()(torch.randn(30, 4, dtype=torch.float64))
    again = copy.deepcopy(layer)
    assert layer.penalty().item() > 0
    assert again.penalty().item() == 0.0
    again()(torch.randn(30, 4, dtype=torch.float64))
    assert again.penalty().item() > 0


def test_penalty_is_zero_with_the_true_inverse_and_where_nothing_was_learned_from():
    _, layer = pair()
    x = torch.randn(30, 4, dtype=torch.float64)
    layer()(x)
    assert layer.penalty().item() == pytest.approx(0.0, abs=1e-20)
    assert layer.penalty().item() == 0.0  # the rows are forgotten
    with torch.no_grad():
        layer()(x)
    set_inverse(layer, torch.zeros(4, 4))
    assert layer.penalty().item() == 0.0


def rows_of(x):
    return Rows(x, torch.ones(len(x), dtype=torch.float64))


def test_training_lowers_the_penalty():
    x = torch.randn(600, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    flow = make_flow("linear", 6, n_transforms=1, splines=None, log_det="self_normalizing")
    layer = flow.transform.transforms[0]
    objective = MaximumLikelihood(rows_of(x[:500]), rows_of(x[500:]))

    def penalty():
        layer()(x.float())
        return layer.penalty().item()

    with torch.no_grad():
        layer.offset += 0.2 * torch.randn(6, 6)
    untrained = penalty()
    fit_component(flow, objective, TrainingSettings(40, 50, 6e-3), 0)
    assert layer.offset.abs().max() > 0.5
    assert penalty() < untrained / 5


# What it learns


def digits_flow(log_det, seed=0):
    """Standardised test log-likelihood of a linear layer and splines, from the identity."""
    parts = bench_linear.digits(seed)
    location, scale = parts[0].mean(axis=0), parts[0].std(axis=0)
    train, validation, test = (rows_of(torch.from_numpy((X - location) / scale)) for X in parts)
    torch.manual_seed(seed)
    kind = "self_normalizing" if log_det == "fixed" else log_det
    flow = make_flow("linear", 64, n_transforms=1, splines=None, log_det=kind)
    layer = flow.transform.transforms[0]
    if log_det == "fixed":
        bench_linear.hold_inverse(layer)
    fit_component(flow, MaximumLikelihood(train, validation), TrainingSettings(20, 64, 6e-3), seed)
    return component_log_prob(flow.double(), test.x).mean().item(), layer


@pytest.mark.slow
def test_digits_are_learned_as_well_as_with_the_exact_gradient():
    exact, _ = digits_flow("exact")
    score, layer = digits_flow("self_normalizing")
    assert score == pytest.approx(exact, abs=0.5)
    error = layer.approximate_inverse() @ layer.matrix() - torch.eye(64)
    assert error.norm() < 0.1 * 8  # of the norm of the identity
    # A gradient that is wrong, with the inverse left at the identity, loses nats.
    assert digits_flow("fixed")[0] < exact - 2


@pytest.mark.parametrize("log_det", LOG_DETS)
def test_a_linear_flow_finds_independent_variables(log_det):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 3))
    sources = rng.laplace(size=(3000, 3))
    X = sources @ mixing.T
    truth = -np.abs(sources).sum(1) - 3 * np.log(2) - np.linalg.slogdet(mixing).logabsdet
    settings = {"max_iter": 15, "n_transforms": 1, "random_state": 0}
    model = skgbnf.GradientBoostedFlowDensity(1, flow="linear", log_det=log_det, **settings)
    gaussian = skgbnf.GradientBoostedFlowDensity(1, flow="affine")
    train, test = X[:2000], X[2000:]
    gap = truth[2000:].mean() - model.fit(train).score(test)
    # A Gaussian is 0.07 behind in each of three columns; splines of 2,000 rows 0.02.
    assert gap < 0.09
    assert truth[2000:].mean() - gaussian.fit(train).score(test) > 0.18


# The estimator


@pytest.fixture(scope="module")
def small(quick):
    return partial(quick, flow="linear", hidden_layer_sizes=(4,), n_estimators=1)


@pytest.mark.parametrize("log_det", LOG_DETS)
@pytest.mark.parametrize("flow", ["linear", "nsf", "realnvp", "affine"])
def test_models_come_back_from_files(small, table3, tmp_path, flow, log_det):
    model = small(flow=flow, log_det=log_det, n_estimators=2).fit(table3)
    assert all(fitted.architecture.log_det == log_det for fitted in model.estimators_)
    skgbnf.save(model, tmp_path / "model")
    again = skgbnf.load(tmp_path / "model")
    assert again.log_det == log_det
    assert np.array_equal(again.score_samples(table3), model.score_samples(table3))
    assert np.array_equal(again.sample(5, random_state=0), model.sample(5, random_state=0))


def test_default_sizes_come_back(quick, table3, tmp_path):
    """The widths of networks that are not there say nothing of the size of a file."""
    model = quick(flow="linear", hidden_layer_sizes=(1000, 1000), n_estimators=1).fit(table3)
    skgbnf.save(model, tmp_path / "model")
    again = skgbnf.load(tmp_path / "model")
    assert np.array_equal(again.score_samples(table3), model.score_samples(table3))


def test_a_file_with_an_unknown_log_determinant_is_refused(small, table2, tmp_path):
    path = tmp_path / "model"
    skgbnf.save(small().fit(table2), path)
    metadata, model, arrays = split(path.read_bytes())
    model["data"]["fitted"]["combination"]["components"][0]["architecture"]["log_det"] = "cholesky"
    path.write_bytes(joined(metadata, json.loads(json.dumps(model)), arrays))
    with pytest.raises(ValueError, match="unknown component"):
        skgbnf.load(path)


def test_rounds_are_not_resumed_with_another_log_determinant(small, table2, tmp_path):
    path = tmp_path / "model"
    small(checkpoint=path).fit(table2)
    with pytest.raises(ValueError, match="log_det"):
        small(n_estimators=2, log_det="exact").fit(table2, resume_from=path)


def test_a_resumed_fit_is_tuned_by_the_learned_gradient(small, table2, tmp_path):
    model = small(log_det="self_normalizing", validation_fraction=None)
    path, tuned = tmp_path / "model", clone(model).set_params(fine_tune=1).fit(table2)
    model.set_params(checkpoint=path).fit(table2)
    resumed = clone(tuned).fit(table2, resume_from=path)
    assert np.array_equal(resumed.score_samples(table2), tuned.score_samples(table2))
    assert not np.array_equal(resumed.score_samples(table2), model.score_samples(table2))


@pytest.mark.parametrize("wrong", ["LU", None, 1])
def test_an_unknown_log_determinant_is_named(small, table2, wrong):
    with pytest.raises((TypeError, ValueError), match="log_det must be one of"):
        small(log_det=wrong).fit(table2)


def test_grid_search_over_log_determinants_and_families(small, table2):
    grid = {"log_det": list(LOG_DETS), "flow": ["linear", "maf"]}
    search = GridSearchCV(small(max_iter=1, n_transforms=1), grid, cv=2).fit(table2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    "choices",
    [{"objective": "greedy"}, {"objective": "weighted"}, {"combine": "product"}],
    ids=named,
)
def test_rounds_grow_with_learned_inverses(small, table2, choices):
    model = small(log_det="self_normalizing", n_estimators=3, max_iter=5, **choices)
    model.set_params(validation_fraction=None, fine_tune=0 if "combine" in choices else 1)
    model.fit(table2)
    assert model.n_estimators_ == 3
    # Weights are fitted anew, under a prior or with an estimated normaliser.
    assert (np.diff(model.train_scores_) > -1e-3).all()


@pytest.mark.parametrize("log_det", LOG_DETS)
def test_a_huge_rate_leaves_finite_scores_and_samples(small, table3, log_det):
    model = small(log_det=log_det, learning_rate_init=10.0, max_iter=5)
    with degenerate_data_allowed():
        model.fit(table3)
    assert np.isfinite(model.score_samples(np.vstack([table3, 1e6 * table3]))).all()
    assert np.isfinite(model.sample(200, random_state=0)).all()


@pytest.mark.parametrize("log_det", LOG_DETS)
def test_one_column_and_weights(small, table2, log_det):
    X, weights = table2[:, :1], np.repeat([1.0, 0.0], 100)
    model = small(log_det=log_det, validation_fraction=None).fit(X, sample_weight=weights)
    alone = small(log_det=log_det, validation_fraction=None).fit(X[:100])
    np.testing.assert_allclose(model.score_samples(X), alone.score_samples(X), rtol=1e-6)


def test_layers_start_from_whitened_rows_in_every_kind():
    x = torch.randn(100, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64)
    flows = {}
    for name in LOG_DETS:
        torch.manual_seed(1)
        flows[name] = make_flow("linear", 3, log_det=name).double()
        initialise(flows[name], x, torch.ones(100, dtype=torch.float64))
    kinds = [type(flow.transform.transforms[1]) for flow in flows.values()]
    assert kinds == [LULinear, ExactLinear, SelfNormalizingLinear]
    scores = [component_log_prob(flow, x) for flow in flows.values()]
    # Before training all are the same flow.
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(scores[2], scores[0], rtol=1e-9, atol=1e-9)


def test_benchmark_writes_its_section():
    record = {"test": -100.0, "inverse_errors": [0.01, 0.03]}
    worse = {"test": -100.25, "inverse_errors": [0.1]}
    likelihoods = {"identity": {"exact": {"0": record}, "self_normalizing": {"0": worse}}}
    cost = {str(size): bench_linear.time_layers(size, 1) for size in (2, 3)}
    for size, own in (("2", 3.0), ("3", 1.0)):
        for name, times in cost[size].items():
            times["gradient"] = own if name == "self_normalizing" else 2.0
            times["exact_value"] = 0.0
    results = {"machine": report.machine(), "cells": {"digits": likelihoods, "cost": cost}}
    section = bench_linear.text(results)
    assert '| identity | "self_normalizing" | -100.25 | -0.25 | 0.100 |' in section
    assert '"self_normalizing" takes less time than "exact" from 3 columns on' in section
