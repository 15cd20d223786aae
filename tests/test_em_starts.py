"""Where EM begins: clusters that only whitened rows show, and one step where one is exact."""

import numpy as np
import pytest
import torch
from helpers import Offers, limits
from scipy import stats

from skgbnf import GradientBoostedFlowDensity
from skgbnf.boosting.additive import AdditiveBoosting
from skgbnf.boosting.objectives import Greedy, MaximumLikelihood, Weighted
from skgbnf.flows import Architecture
from skgbnf.flows.gaussian import AffineFlow, GaussianMixture
from skgbnf.flows.projections import flattest, most_skewed, whitened
from skgbnf.training.component import fit_component
from skgbnf.training.em import continue_em, em_is_exact
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.rows import Rows


def rows_of(X):
    return Rows(torch.from_numpy(X), torch.ones(len(X), dtype=torch.float64))


def shifted_clusters(seed, *, n_samples=2000, n_features=10, shares=(0.5, 0.5), n_new=5000):
    """Clusters 6 apart in the first of strongly correlated columns, standardised.

    Returns
    -------
    X, X_new : ndarrays of shape (n_samples, n_features) and (n_new, n_features)

    score : float
        Mean log-density of the new rows under the truth.
    """
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n_features, n_features))
    covariance = A @ A.T + 0.01 * np.eye(n_features)
    means = np.zeros((len(shares), n_features))
    means[:, 0] = 6.0 * np.arange(len(shares))
    clusters = [stats.multivariate_normal(mean, covariance) for mean in means]

    def draw(n):
        noise = rng.multivariate_normal(np.zeros(n_features), covariance, n)
        return noise + means[rng.choice(len(shares), n, p=shares)]

    X, X_new = draw(n_samples), draw(n_new)
    density = sum(share * c.pdf(X_new) for share, c in zip(shares, clusters, strict=True))
    scale = X.std(axis=0)
    score = np.log(density).mean() + np.log(scale).sum()
    return (X - X.mean(axis=0)) / scale, (X_new - X.mean(axis=0)) / scale, score


def mixture(**parameters):
    settings = {"flow": "gaussian_mixture", "n_folds": None, "random_state": 0, **parameters}
    return GradientBoostedFlowDensity(1, **settings)


def n_gaussians(model):
    return model.estimators_[0].architecture.n_components


# Long clusters


@pytest.mark.parametrize("seed", [0, 1, 2, 4, 5, 6])
def test_clusters_apart_in_one_of_correlated_columns_are_found(seed):
    X, X_new, truth = shifted_clusters(seed)
    model = mixture().fit(X)
    assert n_gaussians(model) == 2
    # What the parameters of two Gaussians, estimated from 1,800 rows, cost is about 0.04.
    assert model.score(X_new) > truth - 0.08


@pytest.mark.parametrize(
    "case",
    [
        {"shares": (0.85, 0.15)},
        {"shares": (0.79, 0.21)},
        {"shares": (0.4, 0.3, 0.3)},
        {"n_features": 20},
        {"n_samples": 300, "n_features": 5},
    ],
    ids=str,
)
def test_clusters_of_other_sizes_are_found(case):
    X, X_new, truth = shifted_clusters(1, **case)
    model = mixture().fit(X)
    assert n_gaussians(model) == len(case.get("shares", (1, 1)))
    n_parameters = n_gaussians(model) * X.shape[1] * (X.shape[1] + 3) / 2
    assert model.score(X_new) > truth - 1.2 * n_parameters / len(X)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_gaussian_stays_one(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2000, 10)) @ rng.normal(size=(10, 10))
    assert n_gaussians(mixture().fit(X)) == 1


def test_four_numbers_of_gaussians_are_tried_in_any_case(monkeypatch):
    sizes, original = [], Architecture.build
    monkeypatch.setattr(
        Architecture, "build", lambda self: sizes.append(self.n_components) or original(self)
    )
    mixture().fit(np.random.default_rng(0).normal(size=(300, 3)))
    assert sizes == [1, 2, 3, 4]


def test_directions_are_those_in_which_clusters_lie_apart():
    rng = np.random.default_rng(0)
    A, noise = rng.normal(size=(6, 6)), rng.normal(size=(3000, 6))
    for share, look in [(0.5, lambda *rows: flattest(*rows, 1)), (0.1, most_skewed)]:
        cluster = rng.random(3000) < share
        Z = noise + 4.0 * np.outer(cluster, np.eye(6)[2])
        x, weights = torch.from_numpy(Z @ A), torch.ones(3000, dtype=torch.float64)
        z = whitened(x, weights)
        torch.testing.assert_close(z.T @ z / 3000, torch.eye(6).double(), rtol=0, atol=1e-3)
        found = look(z, weights)
        apart = np.abs(np.corrcoef(found[:, 0], Z[:, 2])[0, 1])
        assert apart > 0.98


@pytest.mark.parametrize("n_features", [1, 2])
def test_there_are_directions_of_few_rows_and_columns(n_features):
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(3, n_features)))
    weights = torch.ones(3, dtype=torch.float64)
    for found in (flattest(z, weights, 3), most_skewed(z, weights)):
        assert 1 <= found.shape[1] <= n_features
        assert torch.isfinite(found).all()


# One step where one is exact


def counted(monkeypatch, family):
    """Calls of the two steps of EM."""
    calls = []
    for name in ("em_seed", "em_step"):
        original = getattr(family, name)

        def call(self, *given, original=original, name=name):
            calls.append(name)
            return original(self, *given)

        monkeypatch.setattr(family, name, call)
    return calls


@pytest.mark.parametrize("shape", [(30, 3), (400, 4)])
def test_one_gaussian_takes_one_step(monkeypatch, shape):
    X = np.random.default_rng(1).normal(size=shape) * 3.0
    calls = counted(monkeypatch, AffineFlow)
    model = GradientBoostedFlowDensity(
        1, flow="affine", validation_fraction=None, random_state=0
    ).fit(X)
    assert calls == ["em_step"]
    assert model.staged_n_iter_.tolist() == [1]
    if shape[0] == 400:  # of fewer rows correlations are shrunk
        Z = (X - X.mean(axis=0)) / X.std(axis=0)
        covariance = np.cov(Z.T, ddof=0) + 1e-6 * np.eye(shape[1])
        expected = stats.multivariate_normal(np.zeros(shape[1]), covariance).logpdf(Z)
        expected -= np.log(X.std(axis=0)).sum()
        np.testing.assert_allclose(model.score_samples(X), expected, rtol=0, atol=1e-9)


def test_a_mixture_of_one_gaussian_takes_one_step(monkeypatch):
    rows = rows_of(np.random.default_rng(1).normal(size=(100, 3)))
    calls = counted(monkeypatch, GaussianMixture)
    component = Architecture("gaussian_mixture", 3).build().double()
    objective = MaximumLikelihood(rows, rows)
    assert fit_component(component, objective, TrainingSettings(1, 100, 1e-3), seed=0) == 1
    assert continue_em(component, objective, TrainingSettings(1, 100, 1e-3)) == 0
    assert calls == ["em_step"]


def test_one_step_is_exact_where_weights_stay():
    rows = rows_of(np.random.default_rng(1).normal(size=(50, 2)))
    log_G = torch.zeros(50, dtype=torch.float64)
    fixed = [MaximumLikelihood(rows, rows), Weighted(rows, rows, log_G, log_G, 0.5)]
    moving = Greedy(rows, rows, log_G, log_G, 0.5)
    for kind, n_components, exact in [
        ("affine", 1, True),
        ("gaussian_mixture", 1, True),
        ("gaussian_mixture", 2, False),
        ("student_t", 1, False),
    ]:
        component = Architecture(kind, 2, n_components=n_components).build()
        assert [em_is_exact(component, objective) for objective in fixed] == [exact, exact]
        assert not em_is_exact(component, moving)


def test_later_rounds_take_as_many_steps_as_they_need():
    X = np.random.default_rng(3).standard_t(3, size=(300, 2))
    rows = rows_of(X)
    offers, settings = Offers([Architecture("affine", 2)]), TrainingSettings(1, 100, 1e-3)
    boosting = AdditiveBoosting(rows, rows, offers, settings, 0, "greedy")
    for _ in range(2):
        boosting.add_round(limits())
    assert boosting.n_iter[0] == 1
    assert boosting.n_iter[1] > 1
