"""Densities of configurations of particles, against springs whose density is known."""

import pickle

import numpy as np
import pytest
import torch
from helpers import joined, split
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from skgbnf import EquivariantFlowDensity, load, save
from skgbnf.particles.alignment import aligned
from skgbnf.particles.field import PairField
from skgbnf.particles.frames import Frame, choose_frame, images

FRAMES = {"method": "frames", "n_estimators": 1, "max_time": 0.5, "random_state": 0}
FLOW = {
    "method": "flow",
    "n_estimators": 1,
    "hidden_layer_sizes": (8,),
    "n_basis": 6,
    "batch_size": 32,
    "max_iter": 1,
    "likelihood_max_iter": 0,
    "solver_tol": 0.1,
    "random_state": 0,
}
BOTH = pytest.mark.parametrize("parameters", [FRAMES, FLOW], ids=["frames", "flow"])


def springs(n_samples, n_particles=3, n_dims=2, seed=0):
    """Particles with a spring between all pairs, at temperature 1: centred normal coordinates."""
    x = np.random.default_rng(seed).normal(size=(n_samples, n_particles, n_dims))
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(n_particles)


def log_density_of_springs(x):
    """The energy is half the sum of squared distances, n / 2 times that of centred positions."""
    _, n_particles, n_dims = x.shape
    x = x - x.mean(axis=1, keepdims=True)
    n_free = (n_particles - 1) * n_dims
    energy = n_particles / 2 * np.square(x).sum(axis=(1, 2))
    return -energy - n_free / 2 * np.log(2 * np.pi / n_particles)


def orthogonal(n_dims, seed=0, *, determinant=1.0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n_dims, n_dims)))
    q[:, 0] *= determinant * np.linalg.det(q)
    return q


@pytest.fixture(scope="module")
def fitted():
    return {
        parameters["method"]: EquivariantFlowDensity(**parameters).fit(springs(200))
        for parameters in (FRAMES, FLOW)
    }


@pytest.fixture(params=["frames", "flow"])
def model(fitted, request):
    return fitted[request.param]


@pytest.mark.quick
def test_moving_turning_reflecting_and_renumbering_change_nothing(model):
    x = springs(50, seed=1)
    scores = model.score_samples(x)
    for other in (
        x + np.array([30.0, -4.0]),
        x @ orthogonal(2),
        x @ orthogonal(2, determinant=-1.0),
        x[:, [2, 0, 1]],
    ):
        np.testing.assert_allclose(model.score_samples(other), scores, rtol=0, atol=1e-5)


def test_particles_of_different_types_do_not_change_numbers():
    x = springs(200)
    x[:, 0] *= 3
    model = EquivariantFlowDensity(types=["a", "b", "b"], **FRAMES).fit(x)
    scores = model.score_samples(x)
    np.testing.assert_allclose(model.score_samples(x[:, [0, 2, 1]]), scores, rtol=0, atol=1e-5)
    assert np.abs(model.score_samples(x[:, [1, 0, 2]]) - scores).max() > 0.1


def test_a_field_renumbers_within_types_only():
    field = drawn_field((0, 1, 1), 2)
    x, t = torch.from_numpy(springs(4)), torch.full((4,), 0.3, dtype=torch.float64)
    velocity, _ = field(t, x)
    np.testing.assert_allclose(field(t, x[:, [0, 2, 1]])[0], velocity[:, [0, 2, 1]], atol=1e-12)
    assert (field(t, x[:, [1, 0, 2]])[0] - velocity[:, [1, 0, 2]]).abs().max() > 1e-3


def test_the_integral_is_one(model):
    # Weights of draws from the truth: their mean is the integral of the fitted density.
    x = springs(4000, seed=2)
    weights = np.exp(model.score_samples(x) - log_density_of_springs(x))
    error = weights.std() / np.sqrt(len(weights))
    assert abs(weights.mean() - 1) < 3 * error + 1e-3  # what the solver of a flow may add


def test_samples_follow_the_density(model):
    # And of draws from the fitted density: the integral of the truth.
    x = model.sample(4000, random_state=0)
    weights = np.exp(log_density_of_springs(x) - model.score_samples(x))
    error = weights.std() / np.sqrt(len(weights))
    assert abs(weights.mean() - 1) < 3 * error + 1e-3
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_array_equal(model.sample(4000, random_state=0), x)


def test_samples_have_no_numbering_and_no_direction():
    x = springs(300)
    x[:, 0] += [2.0, 0.0]
    drawn = EquivariantFlowDensity(**FRAMES).fit(x).sample(4000, random_state=0)
    # Means of 4,000 coordinates of order 1: five standard errors.
    assert np.abs(drawn.mean(axis=0)).max() < 5 / np.sqrt(4000)


def test_springs_are_learned(model):
    # The field starts at zero, where the flow is the truth; frames see 200 samples of it.
    x = springs(1000, seed=3)
    assert np.mean(log_density_of_springs(x) - model.score_samples(x)) < 0.3


@pytest.mark.parametrize(("n_particles", "n_dims"), [(2, 1), (2, 3), (3, 3), (4, 3), (4, 1)])
def test_frames_keep_volumes(n_particles, n_dims):
    """The density of the truth in a frame, put through the map, against numerical Jacobians."""
    frame = Frame(tuple(range(n_particles))[::-1], n_dims)
    x = springs(3, n_particles, n_dims)
    y, log_det = frame.coordinates(x)
    again = frame.configurations(y)
    np.testing.assert_allclose(frame.coordinates(again)[0], y, atol=1e-9)
    np.testing.assert_allclose(pair_distances(again), pair_distances(x), atol=1e-9)
    for k in range(len(x)):
        expected = log_volume_of_orbit(frame, y[k])
        assert log_det[k] == pytest.approx(-expected, abs=1e-4)  # by differences of 1e-5


def log_volume_of_orbit(frame, y, step=1e-5):
    """Of the map from coordinates and rotations to centred configurations, by differences."""
    n_dims = frame.n_dims
    planes = [(a, b) for a in range(n_dims) for b in range(a)]

    def configuration(z):
        x = frame.configurations(z[None, : len(y)])[0]
        for (a, b), angle in zip(planes, z[len(y) :], strict=True):
            turn = np.eye(n_dims)
            turn[a, a] = turn[b, b] = np.cos(angle)
            turn[a, b], turn[b, a] = np.sin(angle), -np.sin(angle)
            x = x @ turn
        return x.ravel()

    z = np.append(y, np.zeros(len(planes)))
    steps = step * np.eye(len(z))
    jacobian = np.stack([configuration(z + d) - configuration(z - d) for d in steps]) / (2 * step)
    # Two points in space are not moved by a turn about their axis.
    stretches = np.linalg.svd(jacobian, compute_uv=False)
    local = np.log(stretches[stretches > 1e-6]).sum()
    return (
        local
        + np.log({1: 1.0, 2: 2 * np.pi, 3: 8 * np.pi**2}[n_dims])
        - (np.log(2 * np.pi) if len(frame.order) == 2 and n_dims == 3 else 0.0)
    )


def pair_distances(x):
    return np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)


def test_a_frame_lies_between_particles_far_apart():
    template = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [2.0, 3.0]])
    assert set(choose_frame(template).order[:2]) == {0, 2}
    assert choose_frame(template).order[2] == 3


def test_images_are_all_numberings_and_reflections():
    assert images(springs(2, 4, 2), (0, 0, 0, 0)).shape == (2, 48, 4, 2)
    assert images(springs(2, 4, 2), (0, 1, 0, 1)).shape == (2, 8, 4, 2)
    assert images(springs(2, 3, 3), (0, 0, 0)).shape == (2, 6, 3, 3)


def drawn_field(types, n_dims):
    """A field with parameters that let it do something."""
    generator = torch.Generator().manual_seed(0)
    field = PairField(types, n_dims, 7, (6, 5)).double()
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return field.requires_grad_(False)


@pytest.mark.parametrize(("types", "n_dims"), [((0, 0, 0, 0), 2), ((0, 1, 0, 2, 1), 3)])
def test_the_divergence_is_the_trace_of_the_jacobian(types, n_dims):
    field = drawn_field(types, n_dims)
    x = torch.from_numpy(springs(3, len(types), n_dims))
    t = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    velocity, divergence = field(t, x, divergence=True)
    np.testing.assert_allclose(velocity.mean(1), 0, atol=1e-12)
    for k in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(
            lambda one, k=k: field(t[k], one[None])[0][0].flatten(), x[k]
        )
        trace = torch.einsum("aa", jacobian.flatten(1))
        assert float(divergence[k]) == pytest.approx(float(trace), rel=1e-9)


@pytest.mark.parametrize(("n_particles", "n_dims"), [(3, 2), (4, 3), (4, 1), (7, 3)])
def test_alignment_finds_a_moved_copy(n_particles, n_dims):
    x = torch.from_numpy(springs(5, n_particles, n_dims))
    order = list(range(n_particles))[::-1]
    turn = torch.from_numpy(orthogonal(n_dims, determinant=-1.0))
    # Where not all numberings are tried, the right one is found from near it.
    moved = x[:, order] @ turn if n_particles < 5 else (x + 0.001)[:, order]
    found = aligned(moved - moved.mean(1, keepdim=True), x, (0,) * n_particles)
    np.testing.assert_allclose(found, x, atol=1e-8)


def test_alignment_keeps_types():
    x = torch.from_numpy(springs(20, 4, 2))
    z = torch.from_numpy(springs(20, 4, 2, seed=1))
    for types in ((0, 0, 1, 1), (0, 0, 0, 0)):
        cost = (aligned(z, x, types) - x).square().sum((1, 2))
        assert (cost <= (z - x).square().sum((1, 2)) + 1e-9).all()
    apart = aligned(z, x, (0, 1, 2, 3))
    np.testing.assert_allclose(pair_distances(apart.numpy()), pair_distances(z.numpy()), atol=1e-9)


@BOTH
def test_rows_and_configurations_are_the_same(parameters):
    x = springs(100)
    stacked = EquivariantFlowDensity(**parameters).fit(x)
    rows = EquivariantFlowDensity(3, **parameters).fit(x.reshape(100, 6))
    if parameters["method"] == "flow":  # frames have a limit of time, whatever is done in it
        np.testing.assert_array_equal(stacked.score_samples(x), rows.score_samples(x))
    assert rows.sample(2, random_state=0).shape == (2, 6)
    assert stacked.sample(2, random_state=0).shape == (2, 3, 2)
    assert stacked.n_features_in_ == 6
    assert (stacked.n_particles_, stacked.n_dims_) == (3, 2)
    np.testing.assert_array_equal(
        stacked.score_samples(x.reshape(100, 6)), stacked.score_samples(x)
    )


def test_units_shift_the_log_density_by_their_volume(model):
    x = springs(100)
    same = clone(model).fit(1000 * springs(200))
    if model.method_ == "flow":
        shift = model.score_samples(x) - same.score_samples(1000 * x)
        np.testing.assert_allclose(shift, 4 * np.log(1000), atol=1e-3)  # single precision inside
    assert same.scale_ == pytest.approx(1000 * model.scale_)


@pytest.mark.slow  # two flows with their likelihood: 8 seconds
def test_rounds_of_flows_gain_and_are_kept_in_stages():
    rng = np.random.default_rng(0)
    x = springs(300)
    near = rng.random(300) < 0.5
    x[near] *= 0.2
    model = EquivariantFlowDensity(
        **{**FLOW, "n_estimators": 2, "max_iter": 6, "likelihood_max_iter": 3}
    ).fit(x)
    stages = np.stack(list(model.staged_score_samples(x)))
    np.testing.assert_array_equal(stages[-1], model.score_samples(x))
    assert len(stages) == model.n_estimators_ == len(model.validation_scores_)
    assert model.estimator_weights_.sum() == pytest.approx(1.0)
    gaussian = EquivariantFlowDensity(**{**FLOW, "max_iter": 0}).fit(x)
    assert model.score(x) > gaussian.score(x) + 0.3
    assert (model.solver_errors_ < 0.1).all()


@pytest.mark.slow  # the likelihood of two flows: 5 seconds
def test_fine_tuning_gains_where_training_was_short():
    x = springs(200)
    x[:100] *= 0.2
    settings = {**FLOW, "n_estimators": 2, "max_iter": 2, "likelihood_max_iter": 3, "tol": 0.0}
    before = EquivariantFlowDensity(**settings).fit(x)
    after = EquivariantFlowDensity(**settings, fine_tune=1).fit(x)
    assert after.n_estimators_ == before.n_estimators_
    assert after.validation_scores_[-1] > before.validation_scores_[-1]
    assert after.n_iter_ > before.n_iter_


def test_the_solver_takes_the_steps_that_its_tolerance_needs():
    x = springs(200)
    settings = {**FLOW, "max_iter": 2, "learning_rate_init": 0.05}
    coarse = EquivariantFlowDensity(**{**settings, "solver_tol": 10.0}).fit(x)
    fine = EquivariantFlowDensity(**{**settings, "solver_tol": 1e-6}).fit(x)
    steps = [m.estimators_[0].architecture.n_steps for m in (coarse, fine)]
    assert steps[0] == 12 < steps[1]
    difference = np.abs(coarse.score_samples(x) - fine.score_samples(x)).mean()
    # The error that is told is the difference to twice as many steps.
    assert difference == pytest.approx(coarse.solver_errors_[0], rel=0.5, abs=1e-6)


def test_a_pickle_a_file_and_a_clone(model, tmp_path):
    x = springs(20, seed=4)
    scores = model.score_samples(x)
    save(model, tmp_path / "model.safetensors")
    for again in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model.safetensors")):
        np.testing.assert_array_equal(again.score_samples(x), scores)
        np.testing.assert_array_equal(again.sample(3, random_state=0), model.sample(3, 0))
        np.testing.assert_array_equal(again.validation_scores_, model.validation_scores_)
    with pytest.raises(NotFittedError):
        clone(model).score_samples(x)


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("frames", {"types": [0] * 12}, "too many numberings"),
        ("frames", {"types": [0, 0, 2]}, "not numbered from 0"),
        ("frames", {"n_dims": 3}, "its frame is not for its configurations"),
        ("flow", {"types": [0, 1, 1]}, "its components are not for its configurations"),
        ("flow", {"scale": -1.0}, "no positive number"),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_refused(fitted, tmp_path, method, change, message):
    path = tmp_path / "model.safetensors"
    save(fitted[method], path)
    metadata, model, arrays = split(path.read_bytes())
    model["data"]["fitted"]["space"].update(change)
    path.write_bytes(joined(metadata, model, arrays))
    with pytest.raises(ValueError, match=message):
        load(path)


@BOTH
def test_without_time_there_is_a_density(parameters):
    x = springs(2000)
    model = EquivariantFlowDensity(**{**parameters, "max_time": 1e-6}).fit(x)
    assert np.isfinite(model.score_samples(x[:10])).all()


def test_a_grid_search():
    grid = {"n_basis": [4, 6]}
    search = GridSearchCV(EquivariantFlowDensity(**FLOW), grid, cv=2).fit(springs(60))
    assert search.best_params_["n_basis"] in grid["n_basis"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_single_precision_stays_single(model):
    x = springs(20).astype(np.float32)
    scores = model.score_samples(x)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, model.score_samples(x.astype(np.float64)), atol=1e-3)


@BOTH
def test_a_validation_set_of_ones_own(parameters):
    model = EquivariantFlowDensity(**parameters).fit(springs(100), X_val=springs(50, seed=1))
    assert np.isfinite(model.validation_scores_).all()


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [
        ({"n_particles": 4, "n_dims": 2}, np.ones((5, 6)), "not the coordinates of 4 particles"),
        ({"n_particles": 4}, springs(5), "X has 3 particles in 2 dimensions, but"),
        ({}, np.ones((5, 6)), "n_particles or n_dims must be given"),
        ({"n_dims": 2}, np.ones((5, 2)), "at least two particles"),
        ({}, springs(5)[:, [0, 1, 1]], "particles 1 and 2 coincide in sample 0"),
        ({}, np.where(springs(5) > 0, np.nan, 1.0), "NaN"),
        ({"types": [0, 1]}, springs(5), "types must name 3 particles, got 2"),
        ({"method": "frames"}, springs(5, 7), "5,040 numberings"),
        ({"n_particles": 1}, springs(5), "n_particles must be at least 2"),
        ({"method": "both"}, springs(5), "method must be one of"),
        ({"types": "abc"}, springs(5), "types must be a sequence"),
    ],
)
def test_bad_input_is_named_in_one_sentence(parameters, X, message):
    model = EquivariantFlowDensity(**parameters)
    with pytest.raises((ValueError, TypeError), match=message) as error:
        model.fit(X)
    assert "\n" not in str(error.value)
    assert not hasattr(model, "fitted_")


def test_configurations_to_score_must_be_those_of_fit(model):
    with pytest.raises(ValueError, match=r"configurations of shape \(4, 2\), expected \(3, 2\)"):
        model.score_samples(springs(5, 4))
    with pytest.raises(ValueError, match="features"):
        model.score_samples(np.ones((5, 8)))


def test_coinciding_particles_have_a_finite_score(model):
    assert np.isfinite(model.score_samples(springs(5)[:, [0, 1, 1]])).all()


EXPECTED_FAILURES = {"check_estimators_dtypes": "its integers put particles in one place"}


@parametrize_with_checks(
    [EquivariantFlowDensity(n_dims=1, **FLOW)],
    expected_failed_checks=lambda _: EXPECTED_FAILURES,
)
def test_scikit_learn_check(estimator, check):
    """On a line every column is a particle, so that tables of any width are configurations."""
    check(estimator)
