"""Fitted densities as torch modules, beside what the estimators answer and differences of it."""

import numpy as np
import pytest
import torch
from helpers import degenerate_data_allowed
from sklearn.datasets import load_iris

from skgbnf import GradientBoostedFlowDensity, fit_to_log_prob
from skgbnf.flows import families

SMALL = {
    "n_estimators": 2,
    "n_transforms": 2,
    "hidden_layer_sizes": (8,),
    "max_iter": 2,
    "n_folds": None,
    "init": None,
    "random_state": 0,
}
FOR_NUMBERS = [family.name for family in families() if not family.takes_variables]


def table(kind):
    """Tables whose columns have maps of every kind."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 3)) * [1.0, 1e3, 1e-4] + [0, 1e6, 0]
    if kind == "bounds":
        X = np.column_stack([rng.gamma(2, size=200), rng.beta(2, 5, 200), -rng.gamma(2, size=200)])
        X[:5, 0] = 0.0
    if kind == "scales":
        X[:100, 1] = rng.normal(scale=1e-3, size=100)
        X[:5, 2] = 1e9
    return load_iris().data if kind == "grid" else X


BOUNDS = {"bounds": [(0, None), (0, 1), (None, 0)]}


def fitted(kind, **parameters):
    own = {**SMALL, "flow": "maf", **(BOUNDS if kind == "bounds" else {}), **parameters}
    with degenerate_data_allowed():
        return GradientBoostedFlowDensity(**{"dequantize": kind == "grid", **own}).fit(table(kind))


def differences(model, X):
    """Gradients of score_samples by central differences, in units of the spread of each column."""
    steps = 1e-5 * X.std(axis=0)
    moved = np.stack([[X + row, X - row] for row in np.diag(steps)])
    scores = model.score_samples(moved.reshape(-1, X.shape[1])).reshape(len(steps), 2, len(X))
    return (scores[:, 0] - scores[:, 1]).T / 2e-5


@pytest.mark.parametrize("kind", ["plain", "bounds", "scales", "grid"])
def test_values_and_gradients_are_those_of_the_estimator(kind):
    model, X = fitted(kind), table(kind)
    # Not at the values themselves: there are bounds, knots and repeated values among them.
    X = X[5:60] + 1e-3 * X.std(axis=0) * (np.sign(X.mean(axis=0)) if kind == "bounds" else 1)
    module = model.to_torch(torch.float64)
    x = torch.tensor(X, requires_grad=True)
    log_prob = module.log_prob(x)
    np.testing.assert_allclose(log_prob.detach(), model.score_samples(X), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(log_prob.sum(), x)
    expected = differences(model, X)
    # Differences over 1e-5 of the spread; activations and splines bend within them here and there.
    close = np.isclose(gradient.numpy() * X.std(axis=0), expected, rtol=1e-3, atol=1e-3)
    assert close.mean() > 0.98
    torch.testing.assert_close(module(x), log_prob)


@pytest.mark.quick
@pytest.mark.parametrize("flow", FOR_NUMBERS)
def test_every_family(flow):
    model = fitted("plain", flow=flow)
    X = table("plain")[:20]
    x = torch.tensor(X, requires_grad=True)
    log_prob = model.to_torch(torch.float64).log_prob(x)
    np.testing.assert_allclose(log_prob.detach(), model.score_samples(X), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(log_prob.sum(), x)
    assert gradient.isfinite().all()
    assert (gradient.abs().amax(0) > 0).all()
    # The first of single precision is the sum of what is near 1e6 and 1e-4, both exact before.
    single = model.to_torch().log_prob(x)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.detach(), log_prob.detach(), atol=1e-3)


@pytest.mark.parametrize("parameters", [{"combine": "product"}, {"n_folds": 2}])
def test_products_and_folds(parameters):
    model, X = fitted("plain", **parameters), table("plain")
    log_prob = model.to_torch(torch.float64).log_prob(torch.tensor(X))
    np.testing.assert_allclose(log_prob, model.score_samples(X), rtol=1e-9, atol=1e-9)


def test_bounds_folds_and_what_lies_outside():
    model, X = fitted("bounds"), table("bounds")
    margins = model.bound_margins_
    near = np.tile(np.median(X, axis=0), (7, 1))
    near[1:4, 0] = [margins[0, 0] / 2, 0.0, -1.0]  # folded, on the bound, outside
    near[4, [0, 1]] = margins[0, :2] / 3  # folded twice
    near[5, 1] = 1 - margins[1, 1] / 2
    near[6, 2] = 0.1
    log_prob = model.to_torch(torch.float64).log_prob(torch.tensor(near))
    expected = model.score_samples(near)
    assert np.isneginf(expected).tolist() == [False] * 3 + [True, False, False, True]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-9, atol=1e-9)


def test_second_derivatives():
    model = fitted("plain", flow="affine", n_estimators=1)
    module = model.to_torch(torch.float64)
    x = torch.tensor(table("plain")[0])
    hessian = torch.autograd.functional.hessian(lambda r: module.log_prob(r[None])[0], x)
    covariance = np.cov(model.sample(100_000, random_state=0).T)
    scale = np.sqrt(np.diag(covariance))
    # Of a Gaussian it is minus the inverse covariance; four standard errors of 100,000 draws.
    product = -hessian.numpy() @ covariance * scale[:, None] / scale
    np.testing.assert_allclose(product, np.eye(3), atol=0.2)


def test_the_module_is_a_copy_and_its_parameters_can_be_trained():
    model, X = fitted("plain"), table("plain")
    before = model.score_samples(X)
    module = model.to_torch()
    assert not any(p.requires_grad for p in module.parameters())
    module.requires_grad_(True)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        (-module(torch.tensor(X)).mean()).backward()
        optimiser.step()
    assert float(module(torch.tensor(X)).detach().mean()) > before.mean()
    np.testing.assert_array_equal(model.score_samples(X), before)


def test_a_matched_density_within_bounds():
    density = fit_to_log_prob(
        lambda z: -z.square().sum(1) + z[:, 0].log(), 2, bounds={0: (0, None)},
        n_estimators=1, flow="affine", max_iter=2, random_state=0,
    )  # fmt: skip
    Z = np.vstack([density.sample(20, random_state=0), [[0.0, 1.0], [-1.0, 1.0]]])
    x = torch.tensor(Z, requires_grad=True)
    log_prob = density.to_torch(torch.float64).log_prob(x)
    np.testing.assert_allclose(log_prob.detach(), density.score_samples(Z), rtol=1e-9)
    (gradient,) = torch.autograd.grad(log_prob[:20].sum(), x)
    expected = differences(density, Z[:20]) / Z[:20].std(axis=0)
    np.testing.assert_allclose(gradient[:20], expected, rtol=1e-4, atol=1e-4)


def test_what_has_no_gradient_is_refused():
    X = table("plain")
    with pytest.raises(ValueError, match="dtype must be"):
        fitted("plain").to_torch(torch.float16)
    rng = np.random.default_rng(0)
    X = np.where(rng.random(X.shape) < [0.5, 0, 0], 0.0, X)
    model = GradientBoostedFlowDensity(**{**SMALL, "dequantize": True, "flow": "maf"}).fit(X)
    with pytest.raises(ValueError, match=r"columns \[0\] have atoms"):
        model.to_torch()
    X[0, 0] = np.nan
    mixed = GradientBoostedFlowDensity(**{**SMALL, "flow": "location_mixture"}).fit(X)
    with pytest.raises(ValueError, match="needs a fit to a table of numbers"):
        mixed.to_torch()


COUPLING = ("nsf_coupling", "realnvp", "glow")
"""torch 2.13 exports them, but cannot write what it exported to a file: zuko's coupling layers
select columns by a mask."""


def exported(model, X, folder=None):
    """The module after torch.export, and after a file in a folder if there is one."""
    rows = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(model.to_torch(), (torch.tensor(X),), dynamic_shapes=(rows,))
    if folder is not None:
        torch.export.save(program, folder / "density.pt2")
        program = torch.export.load(folder / "density.pt2")
    return program.module()


def check_export(model, X, folder=None):
    module = exported(model, X[:50], folder)
    for rows in (X[:2], X):
        log_prob = module(torch.tensor(rows))
        # Single precision, in another order of operations.
        np.testing.assert_allclose(log_prob, model.to_torch()(torch.tensor(rows)), atol=1e-4)


def test_an_exported_gaussian_scores_any_number_of_samples(tmp_path):
    check_export(fitted("plain", flow="affine", n_estimators=1), table("plain"), tmp_path)


@pytest.mark.slow  # a graph is traced operation by operation
@pytest.mark.parametrize("flow", FOR_NUMBERS)
def test_every_family_can_be_exported(flow, tmp_path):
    model = fitted("plain", flow=flow, n_estimators=1)
    check_export(model, table("plain"), None if flow in COUPLING else tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bounds", "scales", "grid"])
def test_maps_of_columns_can_be_exported(kind, tmp_path):
    X = table(kind)[5:]  # without samples on a bound, in whose margins the density is folded
    check_export(fitted(kind, flow="affine", n_estimators=1), X, tmp_path)
