"""Autoregressive mixtures of Gaussians: a column's density is that of a mixture, exactly."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, MixtureSameFamily, Normal

from skgbnf import GradientBoostedFlowDensity
from skgbnf.flows import make_flow
from skgbnf.flows.mixture_scores import MixtureScores

N_GAUSSIANS = 4


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def scores():
    """Of five columns."""
    return MixtureScores(torch.randn(5, 3 * N_GAUSSIANS, dtype=torch.float64))


def mixture_of(scores):
    gaussians = Normal(scores.means, scores.log_scales.exp())
    return MixtureSameFamily(Categorical(logits=scores.log_weights), gaussians)


def test_the_density_is_that_of_the_mixture(scores):
    x = torch.linspace(-6, 6, 50, dtype=torch.float64)[:, None].expand(-1, 5)
    y, ladj = scores.call_and_ladj(x)
    mixture = mixture_of(scores)
    torch.testing.assert_close(Normal(0.0, 1.0).log_prob(y) + ladj, mixture.log_prob(x))
    torch.testing.assert_close(Normal(0.0, 1.0).cdf(y), mixture.cdf(x))


@pytest.mark.parametrize("distance", [1.0, 30.0, 1e4])
def test_values_far_away_are_mapped_and_brought_back(scores, distance):
    x = distance * torch.tensor([-1.0, -0.5, 0.5, 1.0, 0.7], dtype=torch.float64)
    x.requires_grad_()
    y, ladj = scores.call_and_ladj(x)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(scores.inv(y), x, rtol=1e-9, atol=1e-9)
    (slope,) = torch.autograd.grad(y.sum(), x)
    largest = float(y.detach().square().max())
    # The logarithm of the slope is a small difference of large numbers.
    torch.testing.assert_close(slope.log(), ladj, rtol=1e-9, atol=1e-15 * largest)


def test_gradients_of_the_pass_of_its_own_are_those_of_autograd(scores):
    for distance in (2.0, 50.0):
        x = (distance * torch.randn(5, 7, dtype=torch.float64)).requires_grad_()
        phi = torch.randn(5, 3 * N_GAUSSIANS, 7, dtype=torch.float64, requires_grad=True)
        y, ladj = MixtureScores(phi.mT).call_and_ladj(x)
        by_y, by_ladj = torch.randn(2, 5, 7, dtype=torch.float64)
        own_y, own_ladj, pull = MixtureScores.pullback(x.detach(), phi.detach())
        expected = torch.autograd.grad((y * by_y + ladj * by_ladj).sum(), [x, phi])
        torch.testing.assert_close(own_y, y)
        torch.testing.assert_close(own_ladj, ladj)
        for own, one in zip(pull(by_y, by_ladj), expected, strict=True):
            torch.testing.assert_close(own, one, rtol=1e-6, atol=1e-8 * distance**2)


def test_training_starts_near_the_standard_normal():
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    scores = MixtureScores(torch.zeros(30, dtype=torch.float64))
    mixture = mixture_of(scores)
    assert float(mixture.mean) == pytest.approx(0.0, abs=1e-12)
    assert float(mixture.variance) == pytest.approx(1.0)
    assert (scores(x) - x).abs().max() < 0.5
    one = MixtureScores(torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(one(x), x)


def test_a_column_of_a_flow_is_a_mixture_given_those_before_it():
    """Density and samples of the second column, given a value of the first, by quadrature."""
    flow = make_flow("made_mixture", 2, n_transforms=1, hidden_layer_sizes=(8,), splines=None)
    flow = flow.double().eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        grid = torch.linspace(-12, 12, 801, dtype=torch.float64)
        points = torch.cartesian_prod(grid, grid)
        density = flow(None).log_prob(points).exp().reshape(801, 801)
        assert float(density.sum()) * 0.03**2 == pytest.approx(1.0, abs=1e-6)
        drawn = flow(None).sample((4000,))
    for j in (0, 1):
        cumulative = np.cumsum(density.sum(1 - j).numpy()) * 0.03**2
        result = stats.kstest(drawn[:, j], lambda x, c=cumulative: np.interp(x, grid, c))
        assert result.pvalue > 1e-3


def test_clusters_of_a_column_are_described_better_than_by_affine_maps():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1200, 2))
    z[:, 1] = 0.2 * z[:, 1] + np.where(rng.random(1200) < 0.5, 1, -1) * (1 + z[:, 0] ** 2)
    settings = {"init": None, "n_folds": None, "max_iter": 40, "random_state": 0}
    made, maf = (
        GradientBoostedFlowDensity(1, flow=flow, **settings).fit(z[:800]).score(z[800:])
        for flow in ("made_mixture", "maf")
    )
    assert made > maf + 0.1


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_inverse_is_exact_however_uneven_the_map(spread, dtype):
    generator = torch.Generator().manual_seed(0)
    phi = spread * torch.randn(2000, 30, generator=generator, dtype=torch.float64)
    scores = MixtureScores(phi.to(dtype))
    y = 2 * torch.randn(2000, generator=generator, dtype=torch.float64).to(dtype)
    x = scores.inv(y)
    # Steep places take an error of rounding in x to one that the slope magnifies.
    slope = scores.log_abs_det_jacobian(x, y).exp()
    tolerance = 20 * torch.finfo(dtype).eps * (1 + y.abs() + slope * x.abs())
    assert ((scores(x) - y).abs() <= tolerance).all()
