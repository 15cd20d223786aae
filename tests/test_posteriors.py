"""Log-densities within bounds and of NumPy arrays, against distributions that are known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from skgbnf import fit_to_log_prob, load, save
from skgbnf.table.bounds import Bounds
from skgbnf.variational.target import Unbounded

LIMITS = np.array([[0.0, -np.inf, -1.0, -np.inf], [np.inf, 2.0, 3.0, np.inf]])
QUICK = {"n_estimators": 1, "flow": "affine", "max_iter": 30, "random_state": 0}


def log_gamma_and_beta(z):
    """Gamma of shape 3 and beta of 2 and 5, of mass 2 and 1/30: the integral is 1/15."""
    x, y = z[:, 0], z[:, 1]
    return 2 * np.log(x) - x + np.log(y) + 4 * np.log1p(-y)


def gradient(z):
    x, y = z[:, 0], z[:, 1]
    return np.column_stack([2 / x - 1, 1 / y - 4 / (1 - y)])


@pytest.fixture(scope="module")
def matched():
    return fit_to_log_prob(
        log_gamma_and_beta,
        2,
        grad_log_prob=gradient,
        bounds=[(0, None), (0, 1)],
        **{**QUICK, "fine_tune": 0},
    )


@pytest.mark.quick
def test_evidence_and_means_of_a_posterior_of_arrays_within_bounds(matched):
    assert matched.pareto_k_ < 0.7
    assert matched.effective_sample_size_ > 2000
    assert abs(matched.log_evidence_ - math.log(1 / 15)) < 4 * matched.log_evidence_error_ < 0.05
    Z = matched.sample(20_000, random_state=0)
    log_ratios = log_gamma_and_beta(Z) - matched.score_samples(Z)
    weights = np.exp(log_ratios - log_ratios.max())
    means = weights @ Z / weights.sum()
    # Five standard errors of 10,000 draws; the standard deviations are 1.7 and 0.16.
    np.testing.assert_allclose(means, [3.0, 2 / 7], atol=5 * 1.7 / 100)
    assert means[1] == pytest.approx(2 / 7, abs=5 * 0.16 / 100)


def test_it_integrates_to_one_within_the_bounds_and_is_nothing_elsewhere(matched):
    x, y = np.linspace(0, 40, 2001)[1:], np.linspace(0, 1, 201)
    middle = (y[1:] + y[:-1]) / 2
    grid = np.stack(np.meshgrid(x - 0.01, middle), -1).reshape(-1, 2)
    total = np.exp(matched.score_samples(grid)).sum() * 0.02 * 0.005
    assert total == pytest.approx(1.0, abs=0.005)
    outside = [[-1.0, 0.5], [1.0, 1.5], [0.0, 0.5], [1.0, 0.0], [1.0, 1.0]]
    assert np.isneginf(matched.score_samples(outside)).all()
    np.testing.assert_array_equal(matched.bounds_, [[0, 0], [np.inf, 1]])


def test_a_target_of_tensors_gives_the_same(matched):
    gamma, beta = (
        torch.distributions.Gamma(3.0, 1.0, validate_args=False),
        torch.distributions.Beta(2.0, 5.0, validate_args=False),
    )

    def log_prob(z):
        return gamma.log_prob(z[:, 0]) + beta.log_prob(z[:, 1])

    settings = {**QUICK, "fine_tune": 0, "bounds": [(0, None), (0, 1)]}
    same = fit_to_log_prob(log_prob, 2, **settings)
    Z = matched.sample(100, random_state=0)
    # Single precision, over 300 steps of training.
    np.testing.assert_allclose(same.score_samples(Z), matched.score_samples(Z), atol=0.05)
    assert same.log_evidence_ == pytest.approx(0.0, abs=4 * same.log_evidence_error_)


def test_draws_lie_within_the_bounds_where_rounding_would_leave_them():
    def log_prob(z):  # almost all mass is within 1e-15 of 5, and of 1
        return -0.99 * ((z[:, 0] - 5).log() + (1 - z[:, 1]).log())

    settings = {**QUICK, "max_iter": 5, "bounds": [(5, 6), (0, 1)]}
    Z = fit_to_log_prob(log_prob, 2, **settings).sample(2000, random_state=0)
    assert ((Z > [5, 0]) & (Z < [6, 1])).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_map_of_bounds_is_the_inverse_of_that_of_tables(dtype):
    u = torch.randn(50, 4, dtype=dtype, generator=torch.Generator().manual_seed(0))
    bounded = Unbounded(lambda z: z.sum(1), LIMITS).bounded
    z, log_det = bounded(u)
    maps = Bounds(LIMITS, np.zeros((2, 4)))
    expected = np.zeros(50)
    for j in range(4):
        again, own = maps.transform(z[:, j].double().numpy(), j)
        # Single precision of z near 3, magnified by the slope of the map there.
        np.testing.assert_allclose(again, u[:, j], atol=1e-4 if dtype == torch.float32 else 1e-12)
        expected -= own
    np.testing.assert_allclose(log_det, expected, atol=1e-4)
    J = torch.stack([torch.autograd.functional.jacobian(lambda r: bounded(r)[0], r) for r in u])
    np.testing.assert_allclose(log_det, J.logdet(), atol=1e-4)


def test_far_out_values_and_gradients_are_finite():
    u = torch.tensor([[-500.0] * 4, [500.0] * 4], requires_grad=True)
    z, log_det = Unbounded(lambda z: z.sum(1), LIMITS).bounded(u)
    assert z.isfinite().all()
    assert log_det.isfinite().all()
    (gradient,) = torch.autograd.grad(z.sum() + log_det.sum(), u)
    assert gradient.isfinite().all()


def test_save_and_load_with_bounds(matched, tmp_path):
    path = tmp_path / "posterior.safetensors"
    save(matched, path)
    again = load(path)
    Z = matched.sample(10, random_state=0)
    np.testing.assert_array_equal(again.score_samples(Z), matched.score_samples(Z))
    np.testing.assert_array_equal(again.bounds_, matched.bounds_)
    assert again.log_evidence_ == matched.log_evidence_
    with pytest.raises(ValueError, match=r"other \['bounds'\]"):
        fit_to_log_prob(
            log_gamma_and_beta,
            2,
            grad_log_prob=gradient,
            bounds=(0, 1),
            resume_from=path,
            **{**QUICK, "n_estimators": 2, "fine_tune": 0},
        )


def test_importance_of_a_gaussian_that_is_matched():
    density = fit_to_log_prob(lambda z: 3 - z.square().sum(1) / 2, 2, **QUICK)
    assert density.effective_sample_size_ == pytest.approx(4000, rel=0.05)
    exact = 3 + math.log(2 * math.pi)
    assert density.log_evidence_ == pytest.approx(exact, abs=0.01)
    assert density.log_evidence_ >= density.validation_scores_[-1] - 0.01


def normal(z):
    return stats.norm.logpdf(z).sum(axis=1)


BAD = [
    ({"log_prob": normal}, ValueError, "pass its gradient as grad_log_prob, or write it with"),
    ({"log_prob": lambda z: -np.square(z.detach().numpy()).sum(1)}, ValueError, "grad_log_prob"),
    ({"log_prob": normal, "grad_log_prob": 3}, TypeError, "grad_log_prob must be callable"),
    ({"log_prob": normal, "grad_log_prob": lambda z: z}, ValueError, "is not the gradient of"),
    ({"log_prob": normal, "grad_log_prob": lambda z: z[:, 0]}, ValueError, "grad_log_prob must re"),
    ({"log_prob": lambda z: z, "grad_log_prob": lambda z: z}, ValueError, "log_prob must return"),
    ({"log_prob": lambda z: z.log().sum(1), "bounds": (-1, 1)}, ValueError, "finite"),
    ({"log_prob": lambda z: z.unknown}, AttributeError, "unknown"),
    ({"log_prob": torch.sum, "bounds": {5: (0, 1)}}, ValueError, "bounds"),
    ({"log_prob": torch.sum, "bounds": (1, 0)}, ValueError, "bounds"),
    ({"log_prob": torch.sum, "bounds": 3}, TypeError, "bounds"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_functions_and_bounds_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        fit_to_log_prob(**{"n_features": 2, **QUICK, **arguments})


def test_a_gradient_may_differ_at_a_kink():
    density = fit_to_log_prob(
        lambda z: -np.abs(z - 0.5).sum(axis=1),
        2,
        grad_log_prob=lambda z: -np.sign(z - 0.5),
        **{**QUICK, "max_iter": 3},
    )
    assert density.n_features_in_ == 2
