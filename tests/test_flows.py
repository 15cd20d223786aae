"""Every family: inverse, log-determinant, gradients, one column; then what is special to each."""

import math
from functools import partial
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture
from torch.distributions import MultivariateNormal
from zuko.flows import MAF, Flow
from zuko.lazy import UnconditionalTransform
from zuko.transforms import AutoregressiveTransform, DependentTransform

from skgbnf.flows import (
    ACTIVATIONS,
    BASES,
    LOG_DETS,
    SPLINES,
    Architecture,
    CopulaBase,
    Penalised,
    families,
    family_names,
    initialise,
    make_flow,
)
from skgbnf.flows.autoregressive import IncrementalAutoregressive
from skgbnf.flows.column_splines import MarginalSpline
from skgbnf.flows.linear import LULinear
from skgbnf.flows.spline import BOUND, RationalQuadraticSpline
from skgbnf.flows.weighted import leave_one_out_shrinkage, weighted_gaussian

LAYERED_FAMILIES = [family.name for family in families() if family.splines]
FLOW_FAMILIES = (*LAYERED_FAMILIES, "affine")


def spline_flow(n_features):
    def spline(raw):
        return DependentTransform(RationalQuadraticSpline(raw), 1)

    layer = UnconditionalTransform(spline, torch.randn(n_features, 23))
    return Flow([layer], BASES["normal"](n_features))


def linear_flow(n_features, permute):
    return Flow([LULinear(n_features, permute=permute)], BASES["normal"](n_features))


def one_pair_flow(n_features):
    """Of whose columns the first two alone depend on each other."""
    x = torch.randn(500, n_features)
    x[:, 1:2] = (x[:, :1].abs() + x[:, 1:2]) / 2
    flow = make_flow("graphical", n_features, n_transforms=2, hidden_layer_sizes=(16,))
    initialise(flow, x, torch.ones(len(x)))
    return flow


FLOWS = {
    f"{kind}, {base}": partial(make_flow, kind, base=base, n_transforms=2, hidden_layer_sizes=(16,))
    for kind in FLOW_FAMILIES
    for base in BASES
}
FLOWS |= {
    f"nsf, {activation}": partial(
        make_flow, "nsf", n_transforms=1, hidden_layer_sizes=(16, 16), activation=activation
    )
    for activation in ACTIVATIONS
}
FLOWS["graphical, one pair"] = one_pair_flow
FLOWS["maf without margins"] = partial(
    make_flow, "maf", n_transforms=2, hidden_layer_sizes=(16,), splines=None
)
FLOWS["maf, tail transform"] = partial(
    make_flow, "maf", tail="transform", n_transforms=2, hidden_layer_sizes=(16,)
)
FLOWS["maf, Gaussian copula"] = partial(
    make_flow,
    "maf",
    base=CopulaBase("gaussian", df="learn"),
    n_transforms=2,
    hidden_layer_sizes=(16,),
)
FLOWS |= {
    f"{kind}, clamp {clamp}": partial(
        make_flow, kind, n_transforms=3, hidden_layer_sizes=(16,), scale_clamp=clamp
    )
    for kind in ("maf", "realnvp", "glow")
    for clamp in (None, 0.5)
}
FLOWS |= {
    f"{kind}, {log_det}": partial(
        make_flow, kind, n_transforms=2, hidden_layer_sizes=(16,), log_det=log_det
    )
    for kind in ("linear", "realnvp")
    for log_det in LOG_DETS
    if log_det != "lu"
}
FLOWS["linear layer"] = partial(linear_flow, permute=False)
FLOWS["linear layer, permuted"] = partial(linear_flow, permute=True)
FLOWS["spline layer"] = spline_flow
DENSITIES = FLOWS | {
    "gaussian mixture": partial(make_flow, "gaussian_mixture", n_components=3),
    "student t": partial(make_flow, "student_t"),
}


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def trained(name, n_features, dtype=torch.float64):
    """A flow whose parameters were moved away from where they start, near the identity."""
    flow = DENSITIES[name](n_features).to(dtype)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow


def loss_of(flow, x):
    """What training lowers: minus the likelihood, and the penalties of modules that have one."""
    loss = -flow().log_prob(x).sum()
    return loss + sum(m.penalty() for m in flow.modules() if isinstance(m, Penalised))


# Rounding grows by the steepest slope of the map, at most about a hundred here.
@pytest.mark.quick
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("n_features", [1, 2, 5])
@pytest.mark.parametrize("name", FLOWS)
def test_inverse_brings_rows_back(name, n_features, dtype, tolerance):
    transform = trained(name, n_features, dtype)().transform
    x = torch.randn(200, n_features, dtype=dtype)
    y = transform(x)
    assert not torch.allclose(y, x, rtol=0, atol=1e-3), "the identity tests nothing"
    torch.testing.assert_close(transform.inv(y), x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n_features", [1, 4])
@pytest.mark.parametrize("name", FLOWS)
def test_log_determinant_is_that_of_the_jacobian(name, n_features):
    transform = trained(name, n_features)().transform
    for x in 2 * torch.randn(8, n_features, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(transform, x)
        expected = torch.linalg.slogdet(jacobian).logabsdet
        y, ladj = transform.call_and_ladj(x)
        torch.testing.assert_close(y, transform(x))
        torch.testing.assert_close(ladj, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.quick
@pytest.mark.parametrize("name", FLOWS)
def test_every_parameter_gets_a_gradient(name):
    flow = trained(name, 3)
    loss_of(flow, torch.randn(300, 3, dtype=torch.float64)).backward()
    for parameter_name, parameter in flow.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", DENSITIES)
def test_one_column_integrates_to_one(name):
    grid = torch.linspace(-60, 60, 120_001, dtype=torch.float64).unsqueeze(1)
    with torch.no_grad():
        density = trained(name, 1)().log_prob(grid).exp()
    # The step is 1e-3 and the densities bend no faster than over 1e-2.
    assert float(torch.trapezoid(density, dx=1e-3)) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", DENSITIES)
def test_two_columns_integrate_to_one(name):
    axis = torch.linspace(-10, 10, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = trained(name, 2)().log_prob(grid).exp()
    # Kinks of splines and networks on a grid of step 0.05 cost a few thousandths.
    assert float(density.sum() * 0.05**2) == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("name", DENSITIES)
def test_rows_far_away_have_finite_scores_and_gradients(name):
    flow = trained(name, 2, torch.float32)
    x = torch.tensor([[0.0, 0.0], [1e5, -1e5], [-1e10, 3.0], [BOUND, -BOUND]])
    log_prob = flow().log_prob(x)
    assert torch.isfinite(log_prob).all()
    loss_of(flow, x).backward()
    for parameter in flow.parameters():
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("kind", family_names())
def test_architecture_builds_what_make_flow_builds(kind):
    settings = {"n_transforms": 1, "hidden_layer_sizes": (4,), "n_components": 2}
    torch.manual_seed(5)
    built = Architecture(kind, 2, **settings).build().state_dict()
    torch.manual_seed(5)
    made = make_flow(kind, 2, **settings).state_dict()
    assert built.keys() == made.keys()
    assert all(torch.equal(built[name], made[name]) for name in made)


# The spline


def spline_by_definition(x, raw):
    """The spline of one number as the reference gives it (section 3.1), by a loop over bins."""
    n_bins = (len(raw) + 1) // 3
    least, low = 1e-3, -BOUND
    sizes = [
        2 * BOUND * (least + (1 - n_bins * least) * torch.softmax(part, dim=0))
        for part in (raw[:n_bins], raw[n_bins : 2 * n_bins])
    ]
    inner = least + torch.log1p(torch.exp(raw[2 * n_bins :] + math.log(math.expm1(1 - least))))
    slopes = [torch.ones((), dtype=raw.dtype), *inner, torch.ones((), dtype=raw.dtype)]
    left = bottom = torch.tensor(low, dtype=raw.dtype)
    for k in range(n_bins):
        width, height = sizes[0][k], sizes[1][k]
        if x < left + width or k == n_bins - 1:
            break
        left, bottom = left + width, bottom + height
    s, t = height / width, (x - left) / width
    top = height * (s * t**2 + slopes[k] * t * (1 - t))
    return bottom + top / (s + (slopes[k + 1] + slopes[k] - 2 * s) * t * (1 - t))


@pytest.mark.parametrize("hidden", [(3,), (16, 8), (40, 40, 40)])
@pytest.mark.parametrize("bounded", [True, False])
def test_incremental_inverse_is_that_of_repeated_passes(hidden, bounded):
    torch.manual_seed(1)
    layer = IncrementalAutoregressive(6, hidden_features=hidden).double()
    if bounded:
        layer.hyper.insert(0, torch.nn.Hardtanh(-0.5, 0.5))
    y = torch.randn(50, 6, dtype=torch.float64)
    expected = AutoregressiveTransform(partial(layer.meta, None), layer.passes).inv(y)
    torch.testing.assert_close(layer().inv(y), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(layer()(layer().inv(y)), y, rtol=0, atol=1e-9)


def test_spline_is_that_of_the_reference():
    raw = torch.randn(20, 23, dtype=torch.float64)
    x = (BOUND * (2 * torch.rand(20, dtype=torch.float64) - 1)).requires_grad_()
    y, ladj = RationalQuadraticSpline(raw).call_and_ladj(x)
    expected = torch.stack([spline_by_definition(*pair) for pair in zip(x, raw, strict=True)])
    (slope,) = torch.autograd.grad(expected.sum(), x)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ladj, slope.log(), rtol=1e-9, atol=1e-9)


def test_spline_gradients_are_those_of_finite_differences():
    raw = torch.randn(12, 11, dtype=torch.float64, requires_grad=True)
    x = torch.linspace(-1.2 * BOUND, 1.2 * BOUND, 12, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, raw: RationalQuadraticSpline(raw).call_and_ladj(x), (x, raw), eps=1e-7
    )


def test_spline_with_zero_parameters_is_the_identity():
    x = torch.linspace(-2 * BOUND, 2 * BOUND, 101, dtype=torch.float64)
    y, ladj = RationalQuadraticSpline(torch.zeros(23, dtype=torch.float64)).call_and_ladj(x)
    torch.testing.assert_close(y, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(ladj, torch.zeros_like(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sign", [-1, 1])
def test_spline_is_the_identity_from_the_bound_on(sign):
    spline = RationalQuadraticSpline(torch.randn(23, dtype=torch.float64))
    x = sign * torch.tensor([BOUND, math.nextafter(BOUND, 9), 1.5 * BOUND, 1e6, 1e300]).double()
    y, ladj = spline.call_and_ladj(x)
    assert torch.equal(y, x)
    assert torch.equal(ladj, torch.zeros_like(x))
    assert torch.equal(spline.inv(x), x)


@pytest.mark.parametrize("sign", [-1, 1])
def test_spline_is_continuous_and_smooth_at_the_bound(sign):
    spline = RationalQuadraticSpline(torch.randn(23, dtype=torch.float64))
    x = torch.tensor([sign * (BOUND - 1e-9)], dtype=torch.float64)
    y, ladj = spline.call_and_ladj(x)
    # Slope 1 at the bound, and a bend of at most 1e3 within a bin.
    torch.testing.assert_close(y, x, rtol=0, atol=1e-8)
    torch.testing.assert_close(ladj, torch.zeros_like(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spline_rises_and_inverts_at_its_knots_with_extreme_parameters(dtype):
    raw = 30 * torch.randn(50, 1, 23, dtype=dtype)
    spline = RationalQuadraticSpline(raw)
    x = torch.linspace(-BOUND, BOUND, 401, dtype=dtype).expand(50, 401)
    y, ladj = spline.call_and_ladj(x)
    assert torch.isfinite(ladj).all()
    assert (y.diff() >= 0).all()
    assert (y.abs() <= BOUND + 1e-5).all()
    back = spline.inv(y)
    assert (back.abs() <= BOUND + 1e-5).all()
    # Where the slope is tiny, x is not determined by y; the image of the inverse is, up to a few
    # roundings of x at the steepest slope.
    tolerance = 10 * torch.finfo(dtype).eps * BOUND * float(ladj.max().exp())
    torch.testing.assert_close(spline(back), y, rtol=0, atol=tolerance)


def test_spline_has_no_nan_gradient_at_extreme_inputs():
    huge = torch.finfo(torch.float32).max
    x = torch.tensor([0.0, BOUND, -BOUND, 1e10, -1e10, huge, -huge], requires_grad=True)
    raw = (100 * torch.randn(7, 23)).requires_grad_()
    y, ladj = RationalQuadraticSpline(raw).call_and_ladj(x)
    (y.clamp(-1e3, 1e3).sum() + ladj.sum()).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(raw.grad).all()


# Linear layers and Gaussians


def correlated_rows(n_samples=400):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(n_samples, 3)) @ rng.normal(size=(3, 3)) + [1.0, -2.0, 0.5]
    return torch.from_numpy(x), torch.from_numpy(rng.uniform(0.1, 2.0, size=n_samples))


def test_weighted_gaussian_is_numpys():
    x, weights = correlated_rows()
    mean, factor = weighted_gaussian(x, weights, 1e-6)
    np.testing.assert_allclose(mean, np.average(x, axis=0, weights=weights), rtol=1e-12)
    covariance = np.cov(x.T, aweights=weights, ddof=0) + 1e-6 * np.eye(3)  # the documented ridge
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-10)
    np.testing.assert_array_equal(factor, np.tril(factor))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weighted_gaussian_of_collinear_columns_has_a_factor(dtype):
    column = torch.linspace(-2, 2, 50, dtype=dtype).unsqueeze(1)
    x = torch.cat([column, column, -3 * column, torch.zeros_like(column)], dim=1)
    mean, factor = weighted_gaussian(x, torch.ones(50, dtype=dtype), 1e-6)
    torch.testing.assert_close(mean, torch.zeros(4, dtype=dtype), rtol=0, atol=1e-5)
    assert torch.isfinite(factor).all()
    assert (factor.diagonal() > 0).all()
    variance = float(column.square().mean())
    expected = variance * torch.tensor([1.0, 1.0, 9.0, 0.0], dtype=dtype)
    torch.testing.assert_close((factor @ factor.T).diagonal(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("residual", [1e-2, 1e-4])
def test_a_flow_begins_whitened_however_nearly_columns_depend_on_each_other(residual):
    rng = np.random.default_rng(8)
    x = torch.from_numpy(rng.normal(size=(500, 3)))
    x[:, 2] = x[:, 0] + x[:, 1] + residual * x[:, 2]
    layer = LULinear(3).double()
    layer.initialise(x, torch.ones(500, dtype=torch.float64))
    y, ladj = layer().call_and_ladj(x)
    # The ridge of three columns is 3 % of the smallest variance here.
    torch.testing.assert_close(y.T.cov(correction=0), torch.eye(3).double(), rtol=0, atol=0.04)
    torch.testing.assert_close(layer().inv(y), x)
    # What is learned starts at the identity, so that a step is as large in all directions.
    assert not any(parameter.any() for parameter in layer.parameters())
    assert ladj[0].item() == pytest.approx(-float(x.T.cov(correction=0).logdet()) / 2, abs=0.02)


def test_student_t_is_scipys():
    component = trained("student t", 3)
    distribution = component()
    x = 3 * torch.randn(50, 3, dtype=torch.float64)
    factor = distribution.factor.detach()
    oracle = stats.multivariate_t(distribution.loc.detach(), factor @ factor.T, df=3)
    np.testing.assert_allclose(distribution.log_prob(x).detach(), oracle.logpdf(x), rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_student_t_falls_as_far_as_numbers_reach(dtype):
    distances = torch.logspace(1, 30, 30, dtype=dtype).unsqueeze(1)
    scores = trained("student t", 2, dtype)().log_prob(distances * torch.ones(2, dtype=dtype))
    assert torch.isfinite(scores).all()
    assert (scores.diff() < 0).all()


def test_em_finds_the_most_likely_student_t():
    rng = np.random.default_rng(12)
    x = stats.multivariate_t([1.0, -1.0], [[2.0, 0.6], [0.6, 0.5]], df=3).rvs(4000, rng)
    x, weights = torch.from_numpy(x), torch.ones(4000, dtype=torch.float64)
    component = make_flow("student_t", 2).double()
    component.em_seed(x, weights, 10)
    scores = []
    for _ in range(40):
        component.em_step(x, weights)
        scores.append(component().log_prob(x).mean().item())
    assert (np.diff(scores) > -1e-9).all()  # no step lowers the likelihood
    assert scores[-1] - scores[-2] < 1e-8
    factor = component().factor.detach()
    # Standard errors of scales and means of 4,000 rows are about 0.03.
    np.testing.assert_allclose(factor @ factor.T, [[2.0, 0.6], [0.6, 0.5]], atol=0.15)
    np.testing.assert_allclose(component.loc.detach(), [1.0, -1.0], atol=0.1)


def test_a_gaussian_does_not_collapse_onto_one_row():
    x = torch.from_numpy(np.random.default_rng(9).normal(size=(200, 2)))
    x[0] = 50.0
    mixture = make_flow("gaussian_mixture", 2, n_components=8).double()
    torch.manual_seed(0)
    mixture.em_seed(x, torch.ones(200, dtype=x.dtype), 4)
    for _ in range(20):
        mixture.em_step(x, torch.ones(200, dtype=x.dtype))
    covariances = mixture().base.covariance_matrix.detach()
    # The ridge alone, 1e-6, is what a Gaussian of the one row apart would have.
    assert torch.linalg.eigvalsh(covariances).min() > 1e-3


def test_shrinkage_is_that_of_refits_without_each_row():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(15, 4)) @ np.diag([1.0, 10.0, 0.1, 1.0])
    x[:, 1] += 30 * x[:, 0]
    share = torch.full((15,), 1 / 15, dtype=torch.float64)
    centred, covariance = x - x.mean(axis=0), np.cov(x.T, ddof=0)
    shrinkage = leave_one_out_shrinkage(
        torch.from_numpy(centred), share, torch.tensor(covariance), 1e-6
    )

    def likelihood(shrinkage):
        scores = []
        for i in range(15):
            others = np.delete(x, i, axis=0)
            diagonal = np.diag(np.diag(covariance))
            mixed = (1 - shrinkage) * np.cov(others.T, ddof=0) + shrinkage * diagonal
            scores.append(stats.multivariate_normal(others.mean(axis=0), mixed).logpdf(x[i]))
        return np.mean(scores)

    candidates = [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0]
    assert 0 < shrinkage < 1
    # The ridge of the one and not of the other moves likelihoods by less than candidates differ.
    assert shrinkage == pytest.approx(max(candidates, key=likelihood))


@pytest.mark.parametrize("n_samples", [2, 5, 20])
def test_a_gaussian_of_few_rows_leaves_room_for_others(n_samples):
    x = torch.from_numpy(np.random.default_rng(n_samples).normal(size=(n_samples + 1000, 12)))
    mean, factor = weighted_gaussian(x[:n_samples], torch.ones(n_samples, dtype=x.dtype), 1e-6)
    fitted = stats.multivariate_normal(mean.numpy(), (factor @ factor.T).numpy())
    diagonal = stats.norm(mean.numpy(), x[:n_samples].std(axis=0, correction=0).numpy() + 1e-9)
    # Without shrinkage thousands of nats lower, since there are at most 19 directions in 12.
    independent = diagonal.logpdf(x[n_samples:].numpy()).sum(axis=1).mean()
    assert fitted.logpdf(x[n_samples:].numpy()).mean() > independent - 2


def test_linear_layer_whitens_weighted_rows():
    x, weights = correlated_rows()
    layer = LULinear(3).double()
    layer.initialise(x, weights)
    z = layer()(x).detach()
    np.testing.assert_allclose(np.average(z, axis=0, weights=weights), 0, atol=1e-12)
    # The ridge, 1e-6 beside variances near 0.1, leaves the covariance a little below one.
    np.testing.assert_allclose(np.cov(z.T, aweights=weights, ddof=0), np.eye(3), atol=1e-4)


@pytest.mark.parametrize("splines", SPLINES)
@pytest.mark.parametrize("kind", [kind for kind in LAYERED_FAMILIES if kind != "graphical"])
def test_initialise_whitens_with_the_first_linear_layer(kind, splines):
    x, weights = correlated_rows()
    flow = make_flow(kind, 3, n_transforms=1, hidden_layer_sizes=(8,), splines=splines).double()
    before = weights @ flow().log_prob(x)
    initialise(flow, x, weights)
    z = x
    for layer in flow.transform.transforms:
        z = layer()(z).detach()
        if isinstance(layer, LULinear):
            break
    np.testing.assert_allclose(np.cov(z.T, aweights=weights, ddof=0), np.eye(3), atol=1e-4)
    assert weights @ flow().log_prob(x) > before


def test_initialise_leaves_a_users_own_flow_alone():
    torch.manual_seed(1)
    flow = MAF(3, transforms=1, hidden_features=(4,))
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    initialise(flow, *correlated_rows())
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())


def test_margins_start_from_the_weighted_quantiles():
    rng = np.random.default_rng(8)
    skewed = rng.gamma(2.0, size=(4000, 1))
    x = torch.from_numpy((skewed - 2.0) / math.sqrt(2.0))
    weights = torch.from_numpy(np.where(skewed[:, 0] > 2.0, 1.0, 0.25))
    layer = MarginalSpline(1).double()
    layer.initialise(x, weights)
    z = layer()(x).detach()[:, 0].numpy()
    share = weights.numpy() / weights.sum().item()
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        # The standard error of a share of 4,000 rows is below 0.008; knots are 0.36 apart.
        assert share[z < NormalDist().inv_cdf(level)].sum() == pytest.approx(level, abs=0.02)


def test_affine_em_step_is_the_maximum_likelihood_gaussian():
    x, weights = correlated_rows()
    flow = make_flow("affine", 3).double()
    flow.em_step(x, weights)
    covariance = np.cov(x.T, aweights=weights, ddof=0) + 1e-6 * np.eye(3)
    mean = torch.from_numpy(np.average(x, axis=0, weights=weights))
    expected = MultivariateNormal(mean, torch.from_numpy(covariance)).log_prob(x)
    torch.testing.assert_close(flow().log_prob(x), expected, rtol=1e-9, atol=1e-9)


def two_clusters():
    rng = np.random.default_rng(11)
    x = np.concatenate([rng.normal(-2, 0.5, size=(150, 2)), rng.normal(1, 1.0, size=(250, 2))])
    return torch.from_numpy(x), torch.from_numpy(rng.uniform(0.1, 2.0, size=400))


def test_gaussian_mixture_em_never_lowers_the_weighted_likelihood():
    x, weights = two_clusters()
    mixture = make_flow("gaussian_mixture", 2, n_components=4).double()
    mixture.em_seed(x, weights, 10)
    scores = []
    for _ in range(15):
        scores.append((weights @ mixture().log_prob(x)).item())
        mixture.em_step(x, weights)
    # The ridge on the covariance is not part of the likelihood; it costs far less than this.
    assert np.diff(scores).min() > -1e-3
    assert scores[-1] > scores[0] + 1.0


def test_gaussian_mixture_em_step_is_scikit_learns():
    x, _ = two_clusters()
    ours = make_flow("gaussian_mixture", 2, n_components=2).double()
    weights = np.array([0.3, 0.7])
    means = np.array([[-1.0, -1.5], [0.5, 1.0]])
    theirs = SklearnGaussianMixture(
        2, weights_init=weights, means_init=means, max_iter=1, tol=1e-12, reg_covar=1e-6,
        precisions_init=np.stack([np.eye(2)] * 2),
    )  # fmt: skip
    with torch.no_grad():
        logits, loc, log_diagonal, below = ours.phi
        logits.copy_(torch.from_numpy(np.log(weights)))
        loc.copy_(torch.from_numpy(means))
        log_diagonal.zero_()
        below.zero_()
    ours.em_step(x, torch.ones(len(x), dtype=torch.float64))
    with pytest.warns(Warning, match="did not converge"):
        theirs.fit(x.numpy())
    expected = torch.from_numpy(theirs.score_samples(x.numpy()))
    # zuko adds 1e-6 to the diagonal of the factor when it starts from "log_diagonal = 0".
    torch.testing.assert_close(ours().log_prob(x), expected, rtol=1e-5, atol=1e-5)


def test_gaussian_mixture_ignores_rows_of_weight_zero():
    x, weights = two_clusters()
    weights[::2] = 0.0
    full = make_flow("gaussian_mixture", 2, n_components=2).double()
    part = make_flow("gaussian_mixture", 2, n_components=2).double()
    part.load_state_dict(full.state_dict())
    full.em_step(x, weights)
    part.em_step(x[1::2], weights[1::2])
    torch.testing.assert_close(full().log_prob(x), part().log_prob(x), rtol=1e-9, atol=1e-9)
