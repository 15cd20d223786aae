"""Matching of an unnormalised log-density, against integrals on a grid."""

import math
import pickle

import numpy as np
import pytest
import torch
from helpers import joined, split
from torch.distributions import MultivariateNormal

from skgbnf import fit_to_log_prob, load, save
from skgbnf.flows import family_names

QUICK = {"n_transforms": 2, "hidden_layer_sizes": (12,), "max_iter": 6, "random_state": 0}
GAUSSIANS = {"flow": "affine", "max_iter": 40, "learning_rate_init": 0.03, "random_state": 0}
SLOPED = MultivariateNormal(torch.tensor([1.0, -0.5]), torch.tensor([[1.0, 0.6], [0.6, 0.8]]))


def two_modes(z):
    """Two Gaussians of mass 2 and 4 that one Gaussian cannot cover, ln 6 in all."""
    far = -0.5 * (z - 2.0).square().sum(1) / 0.25 + math.log(4 / (2 * math.pi * 0.25))
    near = -0.5 * (z + 2.0).square().sum(1) / 0.25 + math.log(2 / (2 * math.pi * 0.25))
    return torch.logaddexp(far, near)


def grid(half_width=6.0, n_steps=301):
    x = np.linspace(-half_width, half_width, n_steps)
    return np.stack(np.meshgrid(x, x), -1).reshape(-1, 2), (x[1] - x[0]) ** 2


def divergence(density, log_prob, log_integral):
    """Kullback-Leibler divergence from the target, by sums over a grid."""
    Z, cell = grid()
    log_q = density.score_samples(Z)
    log_p = log_prob(torch.from_numpy(Z)).numpy() - log_integral
    return float((np.exp(log_q) * (log_q - log_p)).sum() * cell)


@pytest.fixture(scope="module")
def matched():
    return fit_to_log_prob(two_modes, 2, n_estimators=3, flow="affine", max_iter=50, random_state=0)


@pytest.mark.quick
def test_a_gaussian_is_matched_exactly():
    def log_prob(z):
        return SLOPED.log_prob(z) + 3.0

    density = fit_to_log_prob(log_prob, 2, n_estimators=1, **GAUSSIANS)
    assert density.validation_scores_[-1] == pytest.approx(3.0, abs=0.01)
    Z = density.sample(20_000, random_state=0)
    np.testing.assert_allclose(Z.mean(axis=0), SLOPED.mean, atol=0.06)
    np.testing.assert_allclose(np.cov(Z.T), SLOPED.covariance_matrix, atol=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["greedy", "gradient"])
def test_rounds_find_the_mode_that_one_gaussian_misses(objective):
    settings = {**GAUSSIANS, "objective": objective}
    single = fit_to_log_prob(two_modes, 2, n_estimators=1, **settings)
    boosted = fit_to_log_prob(two_modes, 2, n_estimators=3, **settings)
    # Alone it can have at most the larger mode: the divergence is then ln 6/4 = 0.41.
    assert divergence(single, two_modes, math.log(6)) > 0.4
    assert divergence(boosted, two_modes, math.log(6)) < 0.05


@pytest.mark.slow
def test_the_bound_is_the_integral_less_the_divergence(matched):
    gap = math.log(6) - divergence(matched, two_modes, math.log(6))
    assert matched.validation_scores_[-1] == pytest.approx(
        gap, abs=max(0.01, 4 * matched.validation_error_)
    )


def test_it_integrates_to_one_and_samples_are_where_it_is(matched):
    Z, cell = grid()
    q = np.exp(matched.score_samples(Z)) * cell
    assert q.sum() == pytest.approx(1.0, abs=1e-3)
    X = matched.sample(4000, random_state=0)
    # Three standard errors of a share of 4,000 rows.
    assert (X[:, 0] > 0).mean() == pytest.approx(q[Z[:, 0] > 0].sum(), abs=0.025)


def test_rounds_do_not_lower_the_bound(matched):
    assert (np.diff(matched.validation_scores_) > 0).all()
    assert matched.estimator_weights_.sum() == pytest.approx(1.0)
    assert len(matched.estimators_) == len(matched.validation_scores_) == matched.n_estimators_


@pytest.mark.parametrize("flow", family_names(invertible=True))
@pytest.mark.parametrize("n_features", [1, 3])
def test_families_and_numbers_of_columns(flow, n_features):
    settings = {**QUICK, "n_estimators": 2}
    density = fit_to_log_prob(lambda z: -z.abs().sum(1), n_features, flow=flow, **settings)
    assert density.n_features_in_ == n_features
    assert density.sample(7, random_state=0).shape == (7, n_features)
    assert np.isfinite(density.score_samples(np.zeros((4, n_features)))).all()


def test_same_seed_same_density_and_the_generator_is_left_alone():
    first = fit_to_log_prob(two_modes, 2, n_estimators=2, **QUICK)
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    second = fit_to_log_prob(two_modes, 2, n_estimators=2, **QUICK)
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(first.sample(5, 0), second.sample(5, 0))


def test_pickle_and_dtype(matched):
    again = pickle.loads(pickle.dumps(matched))
    Z = matched.sample(10, random_state=0)
    np.testing.assert_array_equal(again.score_samples(Z), matched.score_samples(Z))
    assert matched.score_samples(Z.astype(np.float32)).dtype == np.float32
    assert matched.score_samples(Z).dtype == np.float64


def test_save_and_load(matched, tmp_path):
    path = tmp_path / "density.safetensors"
    save(matched, path)
    again = load(path)
    Z = matched.sample(10, random_state=0)
    np.testing.assert_array_equal(again.score_samples(Z), matched.score_samples(Z))
    np.testing.assert_array_equal(again.validation_scores_, matched.validation_scores_)
    metadata, model, arrays = split(path.read_bytes())
    arrays["mixture.staged_weights"] = arrays["mixture.staged_weights"] / 2
    path.write_bytes(joined(metadata, model, arrays))
    with pytest.raises(ValueError, match="do not sum to 1"):
        load(path)


BAD = [
    ({"n_features": 0}, ValueError, "n_features"),
    ({"log_prob": 3}, TypeError, "log_prob"),
    ({"log_prob": lambda z: z}, ValueError, "log_prob must return"),
    ({"log_prob": lambda z: z.sum(1).detach()}, ValueError, "gradient"),
    ({"log_prob": lambda z: z.sum(1).log()}, ValueError, "finite"),
    ({"flow": "maf"}, ValueError, "flow"),
    ({"objective": "weighted"}, ValueError, "objective"),
    ({"entropy_weight": -1.0}, ValueError, "entropy_weight"),
    ({"batch_size": 1}, ValueError, "batch_size"),
    ({"tol": -1.0}, ValueError, "tol"),
    ({"hidden_layer_sizes": (0,)}, ValueError, "hidden_layer_sizes"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_arguments_are_named(arguments, error, message):
    arguments = {"log_prob": two_modes, "n_features": 2, **arguments}
    with pytest.raises(error, match=message):
        fit_to_log_prob(**arguments)


def test_bad_rows(matched):
    with pytest.raises(ValueError, match="Z has 3 columns"):
        matched.score_samples(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="n_samples"):
        matched.sample(0)


@pytest.mark.slow
def test_modes_are_found_while_the_target_is_still_flat():
    def far_apart(z):
        square = (z.unsqueeze(1) - torch.tensor([[-3.0], [3.0]])).square().sum(-1)
        return torch.logsumexp(-2 * square, dim=1)

    for seed in range(3):
        settings = {**GAUSSIANS, "random_state": seed, "fine_tune": 0, "learning_rate_init": 0.005}
        density = fit_to_log_prob(far_apart, 2, n_estimators=2, **settings)
        # From the first step at its full height, each seed ends with one mode alone.
        assert 0.3 < (density.sample(1000, random_state=0)[:, 0] > 0).mean() < 0.7


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize("elsewhere", [-math.inf, math.nan])
def test_a_target_that_is_not_finite_everywhere_is_refused(elsewhere, n_estimators):
    def box(z):
        inside = (z.abs() < 1.5).all(dim=1)
        return torch.where(inside, -z.square().sum(1), elsewhere)

    settings = {**QUICK, "n_estimators": n_estimators}
    with pytest.raises(ValueError, match="log_prob is not finite"):
        fit_to_log_prob(box, 2, **settings)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_training_that_diverges_is_not_blamed_on_the_target():
    with pytest.raises(ValueError, match="diverged; lower learning_rate_init"):
        fit_to_log_prob(SLOPED.log_prob, 2, **{**QUICK, "learning_rate_init": 1e30})


def test_the_default_precision_of_the_caller_changes_nothing():
    expected = fit_to_log_prob(two_modes, 2, n_estimators=2, **QUICK).sample(5, 0)
    torch.set_default_dtype(torch.float64)
    try:
        again = fit_to_log_prob(two_modes, 2, n_estimators=2, **QUICK).sample(5, 0)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(again, expected)
