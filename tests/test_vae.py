"""The autoencoder: likelihoods, posterior, bounds, rounds, the estimator's contract, files."""

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import joined, split
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skgbnf import GradientBoostedFlowDensity, GradientBoostedFlowVAE, load, save
from skgbnf._random import seed_from
from skgbnf.flows import family_names, make_flow
from skgbnf.table.standardisation import Standardisation
from skgbnf.vae.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
from skgbnf.vae.model import LatentModel
from skgbnf.variational.elbo import Draws, fit_weights, gradient_bound, greedy_bound, mixture_bound

SMALL = {
    "n_estimators": 2,
    "hidden_layer_sizes": (24,),
    "flow_hidden_layer_sizes": (12,),
    "max_iter": 3,
    "random_state": 0,
}
LIKELIHOODS = {"gaussian": 1.0, "bernoulli": 1 / 16, "discretized_logistic": 1.0}


def quick(**parameters):
    return GradientBoostedFlowVAE(**{**SMALL, "n_levels": 17, **parameters})


@pytest.fixture(scope="module")
def digits():
    X = load_digits().data[:300].copy()
    X.setflags(write=False)
    return X


@pytest.fixture(scope="module")
def fitted(digits):
    """Two components that both have weight: what bounds promise holds for any weights."""
    model = quick(likelihood="discretized_logistic", max_iter=12, learning_rate_init=5e-3)
    model.fit(digits)
    assert model.n_estimators_ == 2
    posterior = replace(model.fitted_.posterior, staged_weights=np.array([[0.4, 0.6]]))
    model.fitted_ = replace(model.fitted_, posterior=posterior)
    return model


def posterior_of(model, X, Z):
    """Log-density of latent rows Z for each image, shape (len(Z), len(X)), by the formula."""
    modules, weights = (
        model.fitted_.model(torch.float64, torch.device("cpu")),
        torch.tensor(model.estimator_weights_),
    )
    with torch.no_grad():
        context = modules.encoder(model.fitted_.space.to_tensors(X, torch.float64, "cpu").inputs)
        z = torch.from_numpy(Z)[:, None].expand(-1, len(X), -1)
        return modules.posterior_log_prob(z, context, weights).numpy()


def latent_grid(half_width=6.0, n_steps=241):
    x = np.linspace(-half_width, half_width, n_steps)
    cell = (x[1] - x[0]) ** 2
    return np.stack(np.meshgrid(x, x), -1).reshape(-1, 2), math.log(cell)


# The posterior and the bounds


def test_the_posterior_integrates_to_one(fitted, digits):
    Z, log_cell = latent_grid()
    mass = np.exp(posterior_of(fitted, digits[:4], Z) + log_cell).sum(axis=0)
    np.testing.assert_allclose(mass, 1.0, atol=2e-3)


@pytest.mark.quick
def test_transform_is_the_mean_of_the_posterior(fitted, digits):
    Z, log_cell = latent_grid()
    q = np.exp(posterior_of(fitted, digits[:4], Z) + log_cell)
    # A mean of 64 antithetic draws of each component; posteriors are a few tenths wide.
    np.testing.assert_allclose(fitted.transform(digits[:4]), q.T @ Z, atol=0.05)


def test_bounds_are_in_order_and_below_the_density_on_a_grid(fitted, digits):
    X = digits[:8]
    Z, log_cell = latent_grid()
    modules = fitted.fitted_.model(torch.float64, torch.device("cpu"))
    images = fitted.fitted_.space.to_tensors(X, torch.float64, "cpu")
    with torch.no_grad():
        z = torch.from_numpy(Z)[:, None]
        log_joint = modules.log_joint(z, images.targets)
    exact = torch.logsumexp(log_joint, 0).numpy() + log_cell
    elbo, weighted = fitted.elbo(X, 6000), fitted.score_samples(X, 6000)
    assert (elbo < weighted).all()
    # The weighted bound is the logarithm of an unbiased estimate: it may exceed the truth by its
    # noise, a few hundredths of a nat with so many draws. From below it comes close, but for
    # images of which the posterior misses a part.
    assert (weighted < exact + 0.05).all()
    assert (exact - weighted).mean() < 0.15
    assert (exact - weighted).mean() < 0.25 * (exact - elbo).mean()
    assert (elbo < exact).all()


def test_the_weighted_bound_rises_with_the_number_of_draws(fitted, digits):
    """Over several draws of the noise, which all images share."""
    means = [
        np.mean([fitted.score_samples(digits[:50], n, seed).mean() for seed in range(20)])
        for n in (2, 8, 64)
    ]
    assert means == sorted(means)


def test_the_weighted_bound_of_one_draw_each_is_the_mixture_formula(fitted, digits):
    X = digits[:4]
    modules = fitted.fitted_.model(torch.float64, torch.device("cpu"))
    images = fitted.fitted_.space.to_tensors(X, torch.float64, "cpu")
    weights = fitted.estimator_weights_
    with torch.no_grad():
        log_p, log_probs = modules.strata(images, fitted.fitted_.noise(1, seed_from(0)))
    terms = [
        w * np.exp(log_p[c, 0].numpy()) / (np.exp(log_probs[c, 0].numpy()) @ weights)
        for c, w in enumerate(weights)
    ]
    np.testing.assert_allclose(fitted.score_samples(X, 2), np.log(sum(terms)), rtol=1e-9)


def test_one_gaussian_component_has_the_bound_of_a_plain_autoencoder(digits):
    """Against the closed form of the divergence between Gaussians."""
    model = quick(n_estimators=1, flow="affine", likelihood="bernoulli").fit(digits / 16)
    modules = model.fitted_.model(torch.float64, torch.device("cpu"))
    images = model.fitted_.space.to_tensors(digits[:6] / 16, torch.float64, "cpu")
    noise = model.fitted_.noise(4000, seed_from(0))
    with torch.no_grad():
        context = modules.encoder(images.inputs)
        mean, raw = modules.components[0].transform.transforms[0].head(context).chunk(2, -1)
        scale = (7 * torch.tanh(raw / 7)).exp()
        z = mean + scale * noise
        reconstruction = modules.likelihood.log_prob(modules.decoder(z), images.targets).mean(0)
        divergence = 0.5 * (mean**2 + scale**2 - 1 - 2 * scale.log()).sum(1)
    expected = (reconstruction - divergence).numpy()
    # The estimator draws log q too: its error is a few hundredths with 4,000 draws.
    np.testing.assert_allclose(model.elbo(digits[:6] / 16, 4000), expected, atol=0.1)


# Conditional components


@pytest.mark.parametrize("kind", family_names(invertible=True))
@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_conditional_components_invert_and_know_their_log_determinant(kind, n_features):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = make_flow(kind, n_features, n_context=3, hidden_layer_sizes=(8,)).double()
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        context, noise = torch.randn(6, 3).double(), torch.randn(6, n_features).double()
    distribution = flow(context)
    z = distribution.transform.inv(noise)
    torch.testing.assert_close(distribution.transform(z), noise)
    for i in range(len(z)):
        transform = flow(context[i]).transform
        jacobian = torch.autograd.functional.jacobian(transform, z[i].detach())
        _, log_det = transform.call_and_ladj(z[i])
        torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("kind", family_names(invertible=True))
@pytest.mark.parametrize("n_context", [0, 3])
def test_draws_have_the_gradient_of_the_inverse(kind, n_context):
    """Against differences: draws must move with the parameters and with the noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"n_context": n_context, "hidden_layer_sizes": (6,), "splines": None}
        flow = make_flow(kind, 3, n_transforms=2, activation="tanh", **sizes).double()
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        context = torch.randn(4, 3).double() if n_context else None
        noise = torch.randn(4, 3).double().requires_grad_()
        directions = [torch.randn_like(p) for p in (noise, *flow.parameters())]

    def total(step):
        with torch.no_grad():
            for parameter, direction in zip(flow.parameters(), directions[1:], strict=True):
                parameter.add_(step * direction)
            moved = flow(context).transform.inv(noise + step * directions[0])
            for parameter, direction in zip(flow.parameters(), directions[1:], strict=True):
                parameter.sub_(step * direction)
        return float(moved.sin().sum())

    flow(context).transform.inv(noise).sin().sum().backward()
    pairs = zip((noise, *flow.parameters()), directions, strict=True)
    slope = sum(float((p.grad * d).sum()) for p, d in pairs if p.grad is not None)
    assert slope == pytest.approx((total(1e-5) - total(-1e-5)) / 2e-5, rel=1e-4)


# The bound of a mixture


def gaussian_strata(means, weights_of_target, n_draws=20_000):
    """Draws of unit Gaussians, against a mixture of the same with other weights."""
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor(means, dtype=torch.float64)
    z = means[:, None] + torch.randn(len(means), n_draws, generator=generator).double()
    log_probs = -0.5 * (z[..., None] - means).square() - 0.5 * math.log(2 * math.pi)
    target = torch.tensor(weights_of_target, dtype=torch.float64)
    return torch.logsumexp(log_probs + target.log(), dim=-1), log_probs


def test_line_search_finds_the_weights_of_the_target():
    log_p, log_probs = gaussian_strata([-3.0, 0.0, 2.0], [0.2, 0.5, 0.3])
    start = torch.full((3,), 1 / 3, dtype=torch.float64)
    weights = fit_weights(log_p, log_probs, start)
    np.testing.assert_allclose(weights.numpy(), [0.2, 0.5, 0.3], atol=0.01)


def test_line_search_beats_every_point_of_a_grid_and_its_start():
    log_p, log_probs = gaussian_strata([-1.0, 1.0], [0.9, 0.1], n_draws=500)
    log_p[1] += 0.3
    grid = [torch.tensor([w, 1 - w], dtype=torch.float64) for w in np.linspace(0.001, 0.999, 500)]
    best = max(float(mixture_bound(log_p, log_probs, w).mean()) for w in grid)
    for start in ([0.5, 0.5], [0.99, 0.01]):
        weights = fit_weights(log_p, log_probs, torch.tensor(start, dtype=torch.float64))
        assert float(mixture_bound(log_p, log_probs, weights).mean()) > best - 1e-5


def test_line_search_drops_a_component_far_from_the_target_to_next_to_nothing():
    log_p, log_probs = gaussian_strata([0.0, 30.0], [1 - 1e-12, 1e-12])
    weights = fit_weights(log_p, log_probs, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert weights[1] < 1e-3
    assert torch.isfinite(mixture_bound(log_p, log_probs, weights)).all()


def test_greedy_bound_is_the_mixture_bound():
    log_p, log_probs = gaussian_strata([-1.0, 1.0], [0.5, 0.5])
    old, new = (Draws(log_p[k], log_probs[k, :, 1], log_probs[k, :, 0]) for k in (0, 1))
    expected = mixture_bound(log_p, log_probs, torch.tensor([0.7, 0.3]).double()).mean()
    assert float(greedy_bound(new, old, 0.3, 1.0, 0.0)) == pytest.approx(float(expected))


def test_gradient_bound_rewards_no_distance_beyond_its_floor():
    """Where the mixture is thinner than the floor, thinner still gains nothing."""
    zeros = torch.zeros(4)
    old = Draws(zeros, zeros, zeros)
    values = [
        float(gradient_bound(Draws(zeros, zeros, zeros - depth), old, 0.5, 1.0, 0.0))
        for depth in (0.0, 5.0, 10.0, 1000.0)
    ]
    assert values == [0.0, 5.0, 10.0, 10.0]


def test_gradient_bound_is_the_derivative_of_the_mixture_bound_in_the_weight():
    log_p, log_probs = gaussian_strata([-1.0, 1.0], [0.5, 0.5], n_draws=200_000)

    def mixture(rho):
        weights = torch.tensor([1 - rho, rho], dtype=torch.float64)
        return float(mixture_bound(log_p, log_probs, weights).mean())

    slope = (mixture(1e-4) - mixture(1e-8)) / 1e-4
    old, new = (Draws(log_p[k], log_probs[k, :, 1], log_probs[k, :, 0]) for k in (0, 1))
    # Without its entropy term: d/drho = E_g[log p - log G] - E_G[log p - log G] at rho = 0.
    value = float(gradient_bound(new, old, 0.5, 1e-12, 0.0))
    assert slope == pytest.approx(value - float((old.log_p - old.log_G).mean()), abs=0.02)


# Likelihoods


@pytest.mark.quick
@pytest.mark.parametrize("n_levels", [2, 17, 256])
def test_discretized_logistic_sums_to_one_and_is_a_difference_of_sigmoids(n_levels):
    likelihood = DiscretizedLogistic(n_levels)
    levels = torch.from_numpy(likelihood.targets(np.arange(n_levels, dtype=float)))[:, None]
    for mean, log_scale in [(0.4, -2.0), (0.0, 0.5), (1.2, -3.0)]:
        raw = torch.tensor([[mean], [log_scale]], dtype=torch.float64)
        mass = likelihood.log_prob(raw, levels).exp().numpy()
        assert mass.sum() == pytest.approx(1.0)
        inner = (levels[1:-1] - mean).numpy()[:, 0]
        half, scale = 0.5 / (n_levels - 1), math.exp(log_scale)
        expected = 1 / (1 + np.exp(-(inner + half) / scale)) - 1 / (
            1 + np.exp(-(inner - half) / scale)
        )
        np.testing.assert_allclose(mass[1:-1], expected, rtol=1e-6, atol=1e-12)


def test_discretized_logistic_is_finite_with_a_gradient_far_from_its_mean():
    likelihood = DiscretizedLogistic(256)
    raw = torch.tensor([[50.0, -50.0, 0.5], [-20.0, 20.0, -20.0]], requires_grad=True)
    value = likelihood.log_prob(raw, torch.tensor([[0.0, 0.5, 1.0]]))
    value.backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(raw.grad).all()


def test_gaussian_has_the_density_in_the_units_of_the_rows():
    likelihood = Gaussian(Standardisation(np.array([5.0]), np.array([2.0])))
    raw = torch.tensor([[0.5], [-0.3]], dtype=torch.float64)
    targets = torch.from_numpy(likelihood.targets(np.array([[7.0]])))
    log_scale = 4 * math.tanh(-0.3 / 4)
    deviation = 2 * math.exp(log_scale)
    expected = -0.5 * ((7 - 6) / deviation) ** 2 - math.log(deviation * math.sqrt(2 * math.pi))
    assert float(likelihood.log_prob(raw, targets)) + likelihood.log_det == pytest.approx(expected)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_of_pixels_have_the_mean_they_should(name):
    likelihood = {
        "gaussian": Gaussian(Standardisation(np.zeros(1), np.ones(1))),
        "bernoulli": Bernoulli(),
        "discretized_logistic": DiscretizedLogistic(256),
    }[name]
    raw = torch.tensor([[0.45], [-3.0]], dtype=torch.float64)[: likelihood.n_parameters]
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(20_000, 1, generator=generator, dtype=torch.float64)
    drawn = likelihood.draw(raw, uniform)
    assert float(drawn.mean()) == pytest.approx(float(likelihood.mean(raw)), abs=0.01)


# The estimator


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_shapes(likelihood, network, digits):
    X = (digits * LIKELIHOODS[likelihood]).reshape(-1, 8, 8)[:100]
    model = quick(likelihood=likelihood, network=network, n_components=3).fit(X)
    Z = model.transform(X)
    assert Z.shape == (100, 3)
    assert model.inverse_transform(Z).shape == X.shape
    assert model.reconstruct(X).shape == X.shape
    assert model.sample(5, random_state=0).shape == (5, 8, 8)
    assert model.score_samples(X, 4).shape == model.elbo(X, 4).shape == (100,)
    assert math.isfinite(model.score(X))
    assert model.n_features_in_ == 64
    flat = X.reshape(100, 64)
    np.testing.assert_array_equal(model.transform(flat), Z)


@pytest.mark.parametrize("shape", [(5, 7, 3), (4, 4, 1)])
def test_colours_and_odd_sizes(shape):
    X = np.random.default_rng(0).normal(size=(40, *shape))
    for network in ("mlp", "conv"):
        model = quick(network=network, n_estimators=1).fit(X)
        assert model.reconstruct(X).shape == X.shape
        assert model.image_shape_ == shape


@pytest.mark.parametrize("objective", ["greedy", "gradient"])
@pytest.mark.parametrize("flow", family_names(invertible=True))
def test_rounds_do_not_lower_the_bound_of_held_out_images(objective, flow, digits):
    model = quick(flow=flow, objective=objective, n_estimators=3, fine_tune=0).fit(digits)
    assert (np.diff(model.validation_scores_) > 0).all()
    tuned = quick(flow=flow, objective=objective, n_estimators=3, fine_tune=2).fit(digits)
    assert tuned.validation_scores_[-1] >= model.validation_scores_[-1]


def test_training_raises_the_bound(digits):
    start, end = (quick(max_iter=n, n_estimators=1).fit(digits).score(digits) for n in (1, 30))
    assert end > start + 1


def test_reconstructions_are_nearer_than_the_mean(fitted, digits):
    error = np.square(fitted.reconstruct(digits) - digits).mean()
    linear = PCA(1).fit(digits)
    assert error < np.square(linear.inverse_transform(linear.transform(digits)) - digits).mean()


def test_same_seed_same_model_whatever_the_global_generator(digits):
    first = quick().fit(digits)
    torch.manual_seed(5)
    np.random.seed(5)
    state = torch.random.get_rng_state()
    second = quick().fit(digits)
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(first.transform(digits), second.transform(digits))
    np.testing.assert_array_equal(first.sample(4, 1), second.sample(4, 1))
    other = quick(random_state=1).fit(digits)
    assert not np.allclose(first.transform(digits), other.transform(digits))


def test_images_of_constant_pixels():
    model = quick(likelihood="discretized_logistic").fit(np.full((30, 6), 3.0))
    assert np.isfinite(model.score_samples(np.full((2, 6), 3.0))).all()


def test_float32_stays_float32(fitted, digits):
    X = digits[:20].astype(np.float32)
    assert fitted.transform(X).dtype == fitted.elbo(X).dtype == np.float32
    np.testing.assert_allclose(fitted.elbo(X), fitted.elbo(digits[:20]), rtol=1e-4)


def test_no_held_out_images_and_given_ones(digits):
    assert quick(validation_fraction=None).fit(digits).n_estimators_ >= 1
    given = quick().fit(digits[:200], X_val=digits[200:])
    np.testing.assert_allclose(given.location_, digits[:200].mean(axis=0))


def test_samples_are_pixels_of_the_likelihood(fitted, digits):
    X = fitted.sample(50, random_state=0)
    assert set(np.unique(X)) <= set(range(17))
    assert abs(X.mean() - digits.mean()) < 1.5
    smooth = fitted.sample(50, random_state=0, noise=False)
    assert np.square(smooth - X).mean() < X.var()


def test_names_and_tables(digits):
    X = pd.DataFrame(digits / 16, columns=[f"p{i}" for i in range(64)])
    model = make_pipeline(MinMaxScaler(clip=True), quick(likelihood="bernoulli"))
    table = model.set_output(transform="pandas").fit(X).transform(X)
    names = ["gradientboostedflowvae0", "gradientboostedflowvae1"]
    assert list(model.get_feature_names_out()) == list(table.columns) == names
    assert model[-1].reconstruct(model[0].transform(X)).shape == X.shape


def test_pickle_and_clone(fitted, digits):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.elbo(digits), fitted.elbo(digits))
    assert not hasattr(clone(fitted), "estimators_")


@pytest.mark.parametrize("parameters", [{}, {"network": "conv", "flow": "nsf_coupling"}])
def test_save_and_load(parameters, digits, tmp_path):
    X = digits[:60].reshape(-1, 8, 8)
    model = quick(**parameters, likelihood="discretized_logistic", max_iter=1).fit(X)
    save(model, tmp_path / "vae.safetensors")
    again = load(tmp_path / "vae.safetensors")
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    np.testing.assert_array_equal(again.elbo(X), model.elbo(X))
    np.testing.assert_array_equal(again.sample(3, 0), model.sample(3, 0))


def test_parameters_set_after_fit_are_for_the_next_fit(fitted, digits, tmp_path):
    """Answers and files are of what was fitted."""
    model = copy.deepcopy(fitted)
    model.set_params(
        n_components=3, hidden_layer_sizes=(9,), likelihood="bernoulli", n_levels=64
    ).set_params(activation="relu", network="conv")
    save(model, tmp_path / "vae.safetensors")
    for other in (model, load(tmp_path / "vae.safetensors")):
        np.testing.assert_array_equal(other.score_samples(digits), fitted.score_samples(digits))
        np.testing.assert_array_equal(other.transform(digits), fitted.transform(digits))
        np.testing.assert_array_equal(other.sample(3, 0), fitted.sample(3, 0))


def test_what_could_not_be_loaded_is_not_saved(fitted, tmp_path):
    path = tmp_path / "vae.safetensors"
    save(fitted, path)
    with pytest.raises(ValueError, match="n_levels must be at least 2"):
        save(copy.deepcopy(fitted).set_params(n_levels=1), path)
    load(path)


def test_a_density_in_a_file_still_loads_beside_it(digits, tmp_path):
    model = GradientBoostedFlowDensity(flow="affine").fit(
        np.random.default_rng(0).normal(size=(50, 2))
    )
    save(model, tmp_path / "density.safetensors")
    assert isinstance(load(tmp_path / "density.safetensors"), GradientBoostedFlowDensity)


WEIGHTS = "fitted.posterior.staged_weights"
OFFSET = "fitted.decoder.arrays.offset"


def network(data, role):
    return data[role]["architecture"]


def component(data):
    return data["posterior"]["components"][0]["architecture"]


DAMAGES = {
    "weights": lambda data, arrays: arrays[WEIGHTS].fill(0.7),
    "scale": lambda data, arrays: arrays["fitted.space.scale"].fill(0.0),
    "shape": lambda data, arrays: data["space"].update(shape=[9, 9]),
    "likelihood": lambda data, arrays: data["space"].update(likelihood="poisson"),
    "other likelihood": lambda data, arrays: data["space"].update(likelihood="bernoulli"),
    "levels": lambda data, arrays: data["space"].update(n_levels=1),
    "swapped": lambda data, arrays: network(data, "encoder").update(role="decoder"),
    "activation": lambda data, arrays: network(data, "encoder").update(activation="exp"),
    "huge layer": lambda data, arrays: network(data, "encoder").update(hidden_layer_sizes=[10**9]),
    "other decoder": lambda data, arrays: network(data, "decoder").update(n_latent=3),
    "huge context": lambda data, arrays: component(data).update(n_context=10**9),
    "no context": lambda data, arrays: component(data).update(n_context=0),
    "other family": lambda data, arrays: component(data).update(family="maf"),
    "lost array": lambda data, arrays: arrays.pop(OFFSET),
    "not finite": lambda data, arrays: arrays[OFFSET].fill(np.nan),
    "a product": lambda data, arrays: data["posterior"].update(
        log_normalizers=data["posterior"]["staged_weights"], log_normalizer_error=0.1
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused(damage, fitted, tmp_path):
    path = tmp_path / "vae.safetensors"
    save(fitted, path)
    metadata, model, arrays = split(path.read_bytes())
    arrays = {name: array.copy() for name, array in arrays.items()}
    DAMAGES[damage](model["data"]["fitted"], arrays)
    path.write_bytes(joined(metadata, model, arrays))
    with pytest.raises(ValueError, match="is not a readable skgbnf model"):
        load(path)


BAD_PARAMETERS = [
    ({"n_components": 0}, ValueError),
    ({"n_estimators": 1.5}, TypeError),
    ({"flow": "maf"}, ValueError),
    ({"likelihood": "poisson"}, ValueError),
    ({"n_levels": 1}, ValueError),
    ({"network": "transformer"}, ValueError),
    ({"hidden_layer_sizes": ()}, ValueError),
    ({"flow_hidden_layer_sizes": "64"}, TypeError),
    ({"objective": "weighted"}, ValueError),
    ({"entropy_weight": 0}, ValueError),
    ({"max_iter": 0}, ValueError),
    ({"learning_rate_init": -1.0}, ValueError),
    ({"validation_fraction": 1.0}, ValueError),
    ({"device": "tpu"}, ValueError),
    ({"random_state": -1}, ValueError),
]


@pytest.mark.parametrize(("parameters", "error"), BAD_PARAMETERS)
def test_bad_parameters_are_named(parameters, error, digits):
    (name,) = parameters
    model = quick(**parameters)
    with pytest.raises(error, match=name):
        model.fit(digits)
    assert not hasattr(model, "n_features_in_")


def test_bad_images(digits, fitted):
    with pytest.raises(ValueError, match="between 0 and 1"):
        quick(likelihood="bernoulli").fit(digits)
    with pytest.raises(ValueError, match="integers from 0 to n_levels - 1 = 16"):
        quick(likelihood="discretized_logistic").fit(digits + 0.5)
    with pytest.raises(ValueError, match="integers from 0"):
        fitted.elbo(digits - 1)
    with pytest.raises(ValueError, match="conv"):
        quick(network="conv").fit(digits)
    with pytest.raises(ValueError, match="shape"):
        fitted.transform(digits.reshape(-1, 4, 16)[:, :, :8])
    with pytest.raises(ValueError, match="Z has 3 columns"):
        fitted.inverse_transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="n_draws"):
        fitted.elbo(digits, n_draws=0)
    with pytest.raises(NotFittedError):
        quick().sample()


def test_a_failed_fit_leaves_the_estimator_as_it_was(fitted, digits):
    model = pickle.loads(pickle.dumps(fitted))
    with pytest.raises(ValueError, match="integers"):
        model.fit(digits + 0.5)
    np.testing.assert_array_equal(model.transform(digits), fitted.transform(digits))


@parametrize_with_checks([
    quick(max_iter=1, hidden_layer_sizes=(8,)),
    quick(max_iter=1, hidden_layer_sizes=(8,), flow="nsf_coupling", validation_fraction=None),
    quick(max_iter=1, hidden_layer_sizes=(8,), flow="affine", objective="gradient"),
])  # fmt: skip
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_model_needs_no_estimator():
    """The module alone: a decoder that ignores z has the prior as its posterior."""

    class Constant(torch.nn.Module):
        def forward(self, z):
            return z.new_zeros(*z.shape[:-1], 1, 3)

    component = make_flow("affine", 2, n_context=3)
    with torch.no_grad():
        component.transform.transforms[0].head.weight.zero_()
        component.transform.transforms[0].head.bias.zero_()
    model = LatentModel(torch.nn.Identity(), Constant(), [component], Bernoulli())
    z, targets = torch.randn(5, 2), torch.zeros(5, 3)
    log_q = model.posterior_log_prob(z, targets, torch.ones(1))
    expected = model.log_joint(z, targets) - log_q
    torch.testing.assert_close(expected, torch.full((5,), -3 * math.log(2)))
