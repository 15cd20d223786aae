"""Affine couplings: RealNVP and Glow, the bound of their scales, activation normalisation."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import skgbnf
from skgbnf import GradientBoostedFlowDensity
from skgbnf.flows import SPLINES, Architecture, initialise, make_flow
from skgbnf.flows.actnorm import ActNorm
from skgbnf.flows.affine import Affine
from skgbnf.flows.linear import LULinear
from skgbnf.training.fitted import FittedComponent

AFFINE = ["maf", "graphical", "realnvp", "glow"]
COUPLINGS = ["realnvp", "glow"]


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def skewed_rows(n_samples=500, n_features=3, seed=0):
    """Correlated, skewed rows and weights that their mean depends on."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, size=(n_samples, n_features)) @ rng.normal(size=(n_features, n_features))
    weights = np.where(x[:, 0] > np.median(x[:, 0]), 3.0, 0.5)
    weights[::7] = 0.0
    return torch.from_numpy(10 * x - 4), torch.from_numpy(weights)


def moments(x, weights):
    """Weighted mean and variance of each column."""
    x = x.detach().numpy()
    mean = np.average(x, axis=0, weights=weights)
    return mean, np.average((x - mean) ** 2, axis=0, weights=weights)


def layers_of(flow, kind):
    return [layer for layer in flow.transform.transforms if isinstance(layer, kind)]


# The affine map and its bound


def test_affine_map_by_its_definition():
    x, shift, raw = torch.randn(3, 50, dtype=torch.float64)
    bounded = raw / (1 + raw.abs() / 2)
    for clamp, log_scale in ((None, raw), (2.0, bounded)):
        y, ladj = Affine(shift, raw, clamp).call_and_ladj(x)
        torch.testing.assert_close(y, log_scale.exp() * x + shift)
        torch.testing.assert_close(ladj, log_scale)
        torch.testing.assert_close(Affine(shift, raw, clamp).inv(y), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("clamp", [0.1, 3.0, 20.0])
def test_the_bound_holds_and_leaves_a_gradient(clamp, dtype):
    raw = torch.tensor([-1e30, -1e4, -1.0, 0.0, 1e-3, 1e4, 1e30], dtype=dtype, requires_grad=True)
    log_scale = Affine(torch.zeros(7, dtype=dtype), raw, clamp).log_scale
    log_scale.sum().backward()
    found = log_scale.detach()
    assert (found.abs() <= clamp * (1 + 1e-6)).all()
    assert found[-1].item() == pytest.approx(clamp, rel=1e-5)
    assert found[4].item() == pytest.approx(1e-3, rel=0.02)  # near zero it changes nothing
    assert (raw.grad[1:-1] > 0).all()


@pytest.mark.parametrize("kind", AFFINE)
def test_a_flow_stretches_no_row_further_than_its_bounds(kind):
    """Linear layers start as permutations; others change the volume by their bounds at most."""
    flow = make_flow(kind, 4, n_transforms=3, scale_clamp=0.25, splines=None).double()
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "hyper" in name:
                parameter.add_(5 * torch.randn_like(parameter))
    x = 10 * torch.randn(1000, 4, dtype=torch.float64)
    n_scaled = 12 if kind == "maf" else 6
    largest = flow().transform.call_and_ladj(x)[1].abs().max().item()
    assert 0.4 * n_scaled * 0.25 < largest <= n_scaled * 0.25


# Activation normalisation


def test_actnorm_starts_with_mean_zero_and_variance_one():
    x, weights = skewed_rows()
    layer = ActNorm(3).double()
    with torch.no_grad():
        layer.log_scale.add_(3.0)  # what was there before does not matter
    layer.initialise(x, weights)
    mean, variance = moments(layer()(x), weights)
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(variance, 1, atol=1e-12)
    assert abs(np.asarray(layer()(x).detach()).mean()) > 0.1, "without weights it would differ"


def test_actnorm_leaves_the_scale_of_a_constant_column():
    x = torch.tensor([[7.0, 1.0], [7.0, 3.0]], dtype=torch.float64)
    layer = ActNorm(2).double()
    layer.initialise(x, torch.ones(2, dtype=torch.float64))
    expected = torch.tensor([[0.0, -1.0], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(layer()(x).detach(), expected)


@pytest.mark.parametrize("splines", SPLINES)
def test_every_normalisation_of_glow_starts_from_the_rows_that_reach_it(splines):
    x, weights = skewed_rows()
    x = (x - x.mean(0)) / x.std(0)
    flow = make_flow("glow", 3, n_transforms=3, splines=splines).double()
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "hyper" in name:
                parameter.mul_(4.0)
    initialise(flow, x, weights)
    n_seen = 0
    for layer in flow.transform.transforms:
        x = layer()(x)
        if isinstance(layer, ActNorm):
            mean, variance = moments(x, weights)
            np.testing.assert_allclose(mean, 0, atol=1e-9)
            np.testing.assert_allclose(variance, 1, atol=1e-9)
            n_seen += 1
    assert n_seen == 3
    changed = [layer.bias.abs().max() > 0.05 for layer in layers_of(flow, ActNorm)[1:]]
    assert all(changed), "couplings left nothing to normalise"


def test_building_and_filling_a_component_does_not_start_it_again():
    x, weights = skewed_rows()
    architecture = Architecture("glow", 3, n_transforms=2, hidden_layer_sizes=(8,))
    flow = architecture.build().double()
    initialise(flow, x, weights)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1)
    again = FittedComponent.from_module(architecture, flow).to_module(torch.float64, "cpu")
    for rows in (x, 100 * x + 1):
        torch.testing.assert_close(again().log_prob(rows), flow().log_prob(rows))


# What the two are made of


@pytest.mark.parametrize("n_transforms", [1, 4])
def test_realnvp_has_one_linear_layer_and_glow_one_more_for_each_coupling(n_transforms):
    realnvp, glow = (make_flow(kind, 3, n_transforms=n_transforms) for kind in COUPLINGS)
    assert len(layers_of(realnvp, LULinear)) == 1
    assert not layers_of(realnvp, ActNorm)
    assert len(layers_of(glow, LULinear)) == 1 + n_transforms
    assert len(layers_of(glow, ActNorm)) == n_transforms


def test_realnvp_alternates_the_columns_it_changes():
    flow = make_flow("realnvp", 4, n_transforms=2, splines=None).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(torch.randn_like(parameter))
    first, second = list(flow.transform.transforms)[1:]
    x = torch.randn(20, 4, dtype=torch.float64)
    assert [bool(moved) for moved in (first()(x) != x).any(0)] == [False, True, False, True]
    assert [bool(moved) for moved in (second()(x) != x).any(0)] == [True, False, True, False]


def curve(n_samples, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 2))
    X[:, 1] = 0.3 * X[:, 1] + np.sin(2 * X[:, 0])
    return X


@pytest.mark.parametrize("kind", COUPLINGS)
def test_a_coupling_flow_learns_a_curve(kind):
    model = GradientBoostedFlowDensity(
        1, flow=kind, n_transforms=4, hidden_layer_sizes=(32,), max_iter=10, random_state=0
    ).fit(curve(1000))
    truth = -1 - math.log(2 * math.pi) - math.log(0.3)
    # The best Gaussian, whose second column has a deviation of 0.72 given the first, is behind the
    # truth by log(0.72 / 0.3), 0.87 nats.
    assert model.score(curve(2000, seed=1)) > truth - 0.4


# As a part of the estimator


@pytest.mark.parametrize("kind", COUPLINGS)
@pytest.mark.parametrize("clamp", [None, 1, np.float32(0.5)])
def test_files_keep_the_bound(quick, table3, tmp_path, kind, clamp):
    model = quick(flow=kind, scale_clamp=clamp, n_estimators=1).fit(table3)
    skgbnf.save(model, tmp_path / "model")
    again = skgbnf.load(tmp_path / "model")
    assert again.scale_clamp == clamp
    assert again.estimators_[0].architecture == model.estimators_[0].architecture
    assert np.array_equal(again.score_samples(table3), model.score_samples(table3))
    narrow = quick(flow=kind, scale_clamp=0.01, n_estimators=1).fit(table3)
    assert not np.allclose(narrow.score_samples(table3), model.score_samples(table3))


@pytest.mark.parametrize("kind", COUPLINGS)
def test_fine_tuning_goes_on_from_where_a_round_ended(quick, kind):
    rows = {"X": curve(300), "sample_weight": np.linspace(0.2, 2.0, 300), "X_val": curve(500, 1)}
    before = quick(flow=kind, n_estimators=1).fit(**rows)
    after = quick(flow=kind, n_estimators=1, fine_tune=1).fit(**rows)
    assert after.staged_n_iter_[0] > before.staged_n_iter_[0]
    # Had it begun again, two epochs at a quarter of the rate would not get as far.
    assert after.validation_scores_[0] > before.validation_scores_[0]


@pytest.mark.parametrize("kind", COUPLINGS)
def test_a_later_file_goes_on_only_with_the_same_bound(quick, table3, tmp_path, kind):
    settings = {"flow": kind, "tol": 0.0, "n_iter_no_change": 5, "checkpoint": tmp_path / "rounds"}
    quick(**settings, n_estimators=1).fit(table3)
    whole = quick(**{**settings, "checkpoint": None}).fit(table3)
    resumed = quick(**settings).fit(table3, resume_from=tmp_path / "rounds")
    assert np.array_equal(resumed.score_samples(table3), whole.score_samples(table3))
    with pytest.raises(ValueError, match="scale_clamp"):
        quick(**settings, scale_clamp=1.0).fit(table3, resume_from=tmp_path / "rounds")


def test_a_grid_search_over_families_and_bounds(quick, table2):
    grid = {"flow": ["realnvp", "glow"], "scale_clamp": [None, 2.0]}
    search = GridSearchCV(quick(n_estimators=1, max_iter=1), grid, cv=2).fit(table2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_.keys() == grid.keys()


@pytest.mark.parametrize("kind", COUPLINGS)
def test_far_rows_have_finite_scores(quick, table3, kind):
    model = quick(flow=kind, n_estimators=1).fit(table3)
    far = table3[:20] + np.outer(np.geomspace(1, 1e6, 20), table3.std(axis=0))
    scores = model.score_samples(far)
    assert np.isfinite(scores).all()
    assert scores[-1] < scores[0] - 1e3


@pytest.mark.parametrize(
    ("clamp", "error"),
    [(0, ValueError), (-1.0, ValueError), (math.nan, ValueError), (math.inf, ValueError),
     ("3", TypeError), (True, TypeError)],
)  # fmt: skip
def test_bad_bounds_are_refused(quick, table2, clamp, error):
    with pytest.raises(error, match="scale_clamp must"):
        quick(scale_clamp=clamp).fit(table2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_keeps_a_deep_flow_from_diverging_at_ten_times_the_rate(seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_t(3, size=(240, 6))
    X[:, 1::2] = np.sin(2 * X[:, ::2]) + 0.3 * X[:, 1::2]
    rate = 10 * GradientBoostedFlowDensity().learning_rate_init
    model = GradientBoostedFlowDensity(
        1, flow="realnvp", n_transforms=16, max_iter=2, batch_size=24, learning_rate_init=rate,
        random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X)
    with pytest.warns(ConvergenceWarning, match="not finite"):
        model.set_params(scale_clamp=None).fit(X)
