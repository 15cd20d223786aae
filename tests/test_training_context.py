"""Densities given a context: trained, boosted, sampled and kept, against known conditionals."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import Offers, limits
from scipy import stats
from threadpoolctl import threadpool_limits

from skgbnf._random import own_generator
from skgbnf.boosting.additive import AdditiveBoosting
from skgbnf.boosting.geometric import GeometricBoosting
from skgbnf.boosting.objectives import MaximumLikelihood
from skgbnf.flows import Architecture, initialise
from skgbnf.training.component import fit_component
from skgbnf.training.fitted import FittedComponent, FittedMixture, combination_from_plain
from skgbnf.training.mixture import Mixture, component_log_prob, sample_component
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.rows import Rows

SLOPES = np.array([[0.8, -0.4, 0.0], [0.3, 0.5, -0.6]])
OFFSETS = np.array([0.5, -0.2])
SPREADS = np.array([0.4, 0.7])


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """As fit does: several threads on small tensors are slow where the machine is busy."""
    with threadpool_limits(limits=1, user_api="openmp"):
        yield


def mean_given(context):
    return context @ SLOPES.T + OFFSETS


def linear_gaussian(n_samples, seed):
    """Samples y | x of a linear Gaussian with independent noise, all with weights of their own."""
    rng = np.random.default_rng(seed)
    context = rng.normal(size=(n_samples, 3))
    y = mean_given(context) + SPREADS * rng.normal(size=(n_samples, 2))
    arrays = y, rng.uniform(0.5, 1.5, size=n_samples), context, rng.normal(size=n_samples)
    x, weights, context, log_det = map(torch.from_numpy, arrays)
    return Rows(x, weights / weights.mean(), context, log_det)


def true_log_prob(rows):
    mean = mean_given(rows.context.numpy())
    return torch.from_numpy(stats.norm(mean, SPREADS).logpdf(rows.x.numpy()).sum(axis=1))


def architecture_of(family, **fields):
    small = {"n_transforms": 1, "hidden_layer_sizes": (16,), "n_context": 3}
    return Architecture(family, 2, **{**small, **fields})


def built(architecture, seed=0):
    with own_generator(seed):
        return architecture.build()


# One component


@pytest.mark.parametrize("family", ["affine", "maf", "nsf", "gaussian_mixture"])
def test_a_component_learns_what_the_context_says(family):
    train, validation, new = (linear_gaussian(n, seed=n) for n in (2000, 500, 4000))
    component = built(architecture_of(family, n_components=2))
    initialise(component, train.x.float(), train.weights.float(), train.context.float())
    objective = MaximumLikelihood(train, validation)
    fit_component(component, objective, TrainingSettings(20, 100, 6e-3), seed=0)
    log_g, truth = component_log_prob(component, new.x, new.context), true_log_prob(new)
    # A hundred parameters and 2,000 samples cost about 0.025 nats; the scores are paired.
    assert new.mean(log_g) == pytest.approx(new.mean(truth), abs=0.05)
    # In the context of another sample the means are off by more than their spreads.
    assert new.mean(component_log_prob(component, new.x, new.context.flip(0))) < -5


# Rounds


def two_lines(n_samples, seed):
    """Samples about one of two lines, a quarter about the second: too many for one Gaussian."""
    rows = linear_gaussian(n_samples, seed)
    second = torch.arange(n_samples) % 4 == 1
    return replace(rows, x=torch.where(second.unsqueeze(1), 8 - rows.x, rows.x))


@pytest.fixture(scope="module")
def two_rounds():
    rows = two_lines(600, 1), two_lines(300, 2)
    settings = TrainingSettings(20, 50, 4e-2)
    boosted = AdditiveBoosting(*rows, Offers([architecture_of("affine")]), settings, 0, "greedy")
    while len(boosted.components) < 2:
        assert boosted.add_round(limits())
    return boosted


@pytest.fixture
def boosting(two_rounds):
    """Two rounds with a validation set, to be changed by one test alone."""
    return copy.deepcopy(two_rounds)


def assert_scores_are_those_of_the_mixtures(boosting):
    history = boosting.history()
    for n_rounds, stage in enumerate(boosting.stages, start=1):
        density = Mixture(boosting.components[:n_rounds], stage.weights)
        for rows, scores in [
            (boosting.train, history.train_scores),
            (boosting.validation, history.validation_scores),
        ]:
            expected = rows.mean(density.log_prob(rows.x, rows.context) + rows.log_det)
            assert scores[n_rounds - 1] == pytest.approx(expected, rel=1e-9)


def test_scores_of_rounds_are_the_mean_log_densities_given_the_context(boosting):
    assert_scores_are_those_of_the_mixtures(boosting)
    first, second = boosting.history().validation_scores
    assert second > first + 0.2
    assert 0 < boosting.gains[1] < math.inf


def test_thinned_samples_keep_their_context(boosting):
    before = boosting.train, boosting.validation
    boosting.thin(200)
    for rows, all_rows in zip((boosting.train, boosting.validation), before, strict=True):
        assert len(rows) == 200
        index = (rows.x[:, None] == all_rows.x).all(dim=2).int().argmax(dim=1)
        assert torch.equal(rows.x, all_rows.x[index])
        assert torch.equal(rows.context, all_rows.context[index])
        assert torch.equal(rows.log_det, all_rows.log_det[index])
    assert_scores_are_those_of_the_mixtures(boosting)


def test_a_part_of_the_samples_keeps_their_context():
    rows, index = linear_gaussian(50, 0), torch.tensor([7, 3, 40])
    part = rows.part(index)
    for name in ("x", "context", "log_det"):
        assert torch.equal(getattr(part, name), getattr(rows, name)[index])
    expected = rows.weights[index] / rows.weights[index].mean()
    assert torch.equal(part.weights, expected)
    assert torch.equal(rows[:2].context, rows.context[:2])


def test_fine_tuning_knows_the_context(boosting):
    before = boosting.stages[-1].validation_score
    boosting.fine_tune()
    # Weights are fitted anew under a prior worth one of 300 samples.
    assert boosting.stages[-1].validation_score > before - 1 / 300
    assert_scores_are_those_of_the_mixtures(boosting)


def test_samples_with_a_context_are_not_joined_by_some_without():
    with pytest.raises(ValueError, match="need a context"):
        linear_gaussian(5, 0).joined(torch.zeros(3, 2))


def test_a_product_refuses_a_context():
    rows, settings = linear_gaussian(20, 0), TrainingSettings(1, 10, 1e-3)
    with pytest.raises(ValueError, match="no context"):
        GeometricBoosting(rows, rows, Offers([architecture_of("affine")]), settings, 0)


# Mixtures


def gaussian_given(slope, offset, spread):
    """A component whose mean is a line of a context of one column, in double precision."""
    component = built(Architecture("affine", 1, n_context=1)).double()
    (layer,) = [m for m in component.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        # Of a log-scale this small the soft bound takes less than 0.02.
        layer.weight.copy_(torch.tensor([[slope], [0.0]]))
        layer.bias.copy_(torch.tensor([offset, math.log(spread)]))
    return component


@pytest.fixture(scope="module")
def lines():
    components = [gaussian_given(2.0, -1.0, 0.5), gaussian_given(-1.0, 1.0, 1.0)]
    return Mixture(components, torch.tensor([0.3, 0.7], dtype=torch.float64))


@pytest.mark.parametrize("context", [-2.0, 0.0, 1.5])
def test_draws_are_those_given_their_row_of_the_context(lines, context):
    n = 20_000
    # Between draws given another value, so that rows of the context must not be mixed up.
    given = torch.tensor([[context], [10.0]], dtype=torch.float64).repeat(n, 1)
    drawn = lines.sample(2 * n, 0, given)
    assert drawn.shape == (2 * n, 1)
    assert torch.equal(lines.sample(2 * n, 0, given), drawn)
    grid = torch.linspace(-15, 15, 6001, dtype=torch.float64).unsqueeze(1)
    density = lines.log_prob(grid, torch.full_like(grid, context)).exp().numpy() * 0.005
    assert density.sum() == pytest.approx(1.0, abs=1e-6)
    x, z = grid.numpy()[:, 0], drawn[::2, 0].numpy()
    for moment in (1, 2, 3):
        expected, error = density @ x**moment, math.sqrt(density @ x ** (2 * moment) / n)
        assert abs((z**moment).mean() - expected) < 4 * error
    means = np.array([2 * context - 1, 1 - context])
    assert density @ x == pytest.approx(means @ [0.3, 0.7], abs=1e-6)


def test_scores_in_chunks_are_those_of_one_call(monkeypatch):
    rows = linear_gaussian(200, 3)
    for family in ("maf", "gaussian_mixture"):
        component = built(architecture_of(family)).double()
        with torch.no_grad():
            expected = component(rows.context).log_prob(rows.x)
        drawn = sample_component(component, 200, 5, rows.context)
        with monkeypatch.context() as patch:
            patch.setattr("skgbnf.training.mixture._CELLS_PER_CHUNK", 1)  # chunks of 64 samples
            scores = component_log_prob(component, rows.x, rows.context)
            in_chunks = sample_component(component, 200, 5, rows.context)
        # Products of matrices of other sizes are rounded otherwise.
        torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(in_chunks, drawn, rtol=1e-10, atol=1e-10)


# As arrays


def fitted_mixture(families=("affine", "maf"), **fields):
    architectures = [architecture_of(family, **fields) for family in families]
    pairs = [(a, built(a, seed)) for seed, a in enumerate(architectures)]
    components = tuple(FittedComponent.from_module(*pair) for pair in pairs)
    return FittedMixture(components, np.array([[1.0, 0.0], [0.4, 0.6]]))


def test_a_mixture_with_a_context_comes_back_from_plain_values():
    rows, fitted = linear_gaussian(30, 4), fitted_mixture()
    again = combination_from_plain(fitted.to_plain(), check=True)
    assert isinstance(again, FittedMixture)
    assert (again.n_features, again.n_context) == (2, 3)
    ours, theirs = (f.at(torch.float64, torch.device("cpu")) for f in (again, fitted))
    given = rows.x, rows.context
    for one, other in zip(
        ours.staged_log_prob(*given), theirs.staged_log_prob(*given), strict=True
    ):
        assert torch.equal(one, other)
    assert torch.equal(ours.sample(30, 1, rows.context), theirs.sample(30, 1, rows.context))


def test_rounds_are_kept_as_a_mixture_given_the_context(boosting):
    fitted, rows = boosting.fitted(), boosting.validation
    assert fitted.n_context == 3
    density = fitted.at(torch.float64, torch.device("cpu"))
    *_, last = boosting.history().validation_scores
    score = rows.mean(density.log_prob(rows.x, rows.context) + rows.log_det)
    # Components are trained and scored in single precision.
    assert score == pytest.approx(last, abs=1e-5)


def test_a_context_of_another_size_is_refused():
    plain = fitted_mixture().to_plain()
    plain["components"][0]["architecture"]["n_context"] = 2
    with pytest.raises(ValueError, match="shape"):
        combination_from_plain(plain, check=True)
    with pytest.raises(ValueError, match="different numbers"):
        combination_from_plain(plain, check=False)
