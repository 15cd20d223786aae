"""Methods that `bench_regression.py` compares: each a density of a target given features."""

import copy
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import zuko
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict, train_test_split

from skgbnf import GradientBoostedFlowDensity, GradientBoostedFlowRegressor

GRID_SIZE = 400
LEVELS = np.linspace(0.005, 0.995, 199)
MOST_GP_ROWS = 2000


@dataclass
class Predictive:
    """What is measured of a method.

    Attributes
    ----------
    log_density : callable ``(X, y)``
        Log-densities in nats, of shape (n_samples,).

    quantiles : callable ``(X)``
        Quantiles at `LEVELS`, of shape (n_samples, n_levels).

    mean : callable ``(X)``
        Means, of shape (n_samples,); None for the mean of the quantiles.

    chosen : dict
        What the method chose.
    """

    log_density: Callable
    quantiles: Callable
    mean: Callable | None = None
    chosen: dict | None = None


def fit_boosted(X, y, seconds: float, seed: int, **parameters) -> Predictive:
    """The regressor of this package, with default parameters but for those given."""
    model = GradientBoostedFlowRegressor(max_time=seconds, random_state=seed, **parameters)
    model.fit(X, y)
    chosen = {
        "families": [c.architecture.describe() for c in model.estimators_[:: model.n_folds_]],
        "weights": (model.estimator_weights_[:: model.n_folds_] * model.n_folds_).tolist(),
    }
    quantiles = partial(model.predict_quantiles, quantiles=LEVELS)
    return Predictive(model.score_samples, quantiles, model.predict, chosen)


def fit_residual_gaussian(X, y, seconds: float, seed: int) -> Predictive:
    """Boosted trees, and one Gaussian of their residuals out of folds."""
    model, residuals = fit_mean(X, y, seed)
    scale = float(np.sqrt(np.mean(np.square(residuals))))
    return location_scale(model.predict, np.array([0.0]), scale)


def fit_residual_kernels(X, y, seconds: float, seed: int) -> Predictive:
    """Boosted trees, and a kernel density of their residuals out of folds (conformal ones)."""
    model, residuals = fit_mean(X, y, seed)
    some = np.random.default_rng(seed).permutation(residuals)[:500]
    train, held_out = some[::2], some[1::2]
    widths = np.std(some) * np.geomspace(0.02, 1.0, 20)
    scores = [logsumexp(norm.logpdf(held_out[:, None], train, w), axis=1).mean() for w in widths]
    return location_scale(model.predict, some, float(widths[int(np.argmax(scores))]))


def fit_mean(X, y, seed: int) -> tuple[Any, np.ndarray]:
    """Boosted trees on all rows, and residuals out of five folds."""
    model = HistGradientBoostingRegressor(random_state=seed)
    folds = KFold(5, shuffle=True, random_state=seed)
    return model.fit(X, y), y - cross_val_predict(model, X, y, cv=folds)


def location_scale(predict: Callable, centres: np.ndarray, scale: float) -> Predictive:
    """Gaussians of one scale around the mean and each of some residuals."""
    draws = np.sort((centres[:, None] + scale * norm.ppf(LEVELS)).ravel())
    shifts = np.quantile(draws, LEVELS)

    def log_density(X, y):
        residuals = (y - predict(X))[:, None] - centres
        return logsumexp(norm.logpdf(residuals, scale=scale), axis=1) - np.log(len(centres))

    return Predictive(log_density, lambda X: predict(X)[:, None] + shifts, predict)


def fit_quantile_boosting(X, y, seconds: float, seed: int) -> Predictive:
    """Boosted trees for each of 19 quantiles, and a density by interpolation between them."""
    shares = np.linspace(0.05, 0.95, 19)
    models = [
        HistGradientBoostingRegressor(loss="quantile", quantile=q, random_state=seed).fit(X, y)
        for q in shares
    ]
    return from_quantiles(lambda X: np.column_stack([m.predict(X) for m in models]), shares, y)


def fit_quantile_forest(X, y, seconds: float, seed: int) -> Predictive:
    """Quantiles over the trees of a forest with leaves of five rows, and the same."""
    shares = np.linspace(0.05, 0.95, 19)
    model = ExtraTreesRegressor(200, min_samples_leaf=1, random_state=seed).fit(X, y)

    def quantiles(X):
        return np.quantile([tree.predict(X) for tree in model.estimators_], shares, axis=0).T

    return from_quantiles(quantiles, shares, y)


def from_quantiles(quantiles: Callable, shares: np.ndarray, y: np.ndarray) -> Predictive:
    """A density that is constant between quantiles, with exponential tails beyond them."""
    least = 1e-3 * np.std(y)

    def knots(X):
        found = np.sort(quantiles(X), axis=1)
        return found[:, :1] + np.cumsum(
            np.c_[np.zeros(len(found)), np.maximum(np.diff(found, axis=1), least)], axis=1
        )

    def log_density(X, y):
        q = knots(X)
        widths, share = np.diff(q, axis=1), shares[1] - shares[0]
        k = (q < y[:, None]).sum(axis=1)
        inside = np.take_along_axis(widths, (k - 1).clip(0, widths.shape[1] - 1)[:, None], 1)[:, 0]
        tail = 2 * widths.mean(axis=1)
        beyond = np.where(k == 0, q[:, 0] - y, y - q[:, -1])
        within = np.log(share) - np.log(inside)
        outside = np.log(shares[0]) - np.log(tail) - beyond / tail
        return np.where((k == 0) | (k == q.shape[1]), outside, within)

    def at_levels(X):
        q = knots(X)
        tail = 2 * np.diff(q, axis=1).mean(axis=1)[:, None]
        found = np.array([np.interp(LEVELS, shares, row) for row in q])
        low, high = shares[0] > LEVELS, shares[-1] < LEVELS
        found[:, low] = q[:, :1] + tail * np.log(LEVELS[low] / shares[0])
        found[:, high] = q[:, -1:] - tail * np.log((1 - LEVELS[high]) / (1 - shares[-1]))
        return found

    return Predictive(log_density, at_levels)


def fit_mixture_density_network(X, y, seconds: float, seed: int) -> Predictive:
    """A network that gives a mixture of five Gaussians, by early stopping on a tenth."""
    return from_networks(
        [lambda n: zuko.mixtures.GMM(1, n, components=5, hidden_features=(64, 64))],
        X, y, seconds, seed,
    )  # fmt: skip


def fit_splines(X, y, seconds: float, seed: int) -> Predictive:
    """Five conditional splines of zuko, averaged, each with another tenth held out."""
    make = partial(zuko.flows.NSF, 1, transforms=1, hidden_features=(64, 64))
    return from_networks([lambda n: make(context=n)] * 5, X, y, seconds, seed)


def from_networks(makes: list[Callable], X, y, seconds: float, seed: int) -> Predictive:
    """The average of networks, trained on standardised values."""
    place, size = X.mean(axis=0), X.std(axis=0)
    size = np.where(size > 0, size, 1.0)
    centre, spread = float(y.mean()), float(y.std())

    def tensor(values):
        return torch.as_tensor(values, dtype=torch.float32)

    def standardised(X):
        return tensor((X - place) / size)

    c, x = standardised(X), tensor((y - centre) / spread)[:, None]
    flows = [
        train_network(make(X.shape[1]), c, x, seconds / len(makes), seed + k)
        for k, make in enumerate(makes)
    ]

    @torch.no_grad()
    def log_densities(X, values):
        """Of shape (n_values, n_samples)."""
        c, x = standardised(X), tensor((values - centre) / spread)[..., None]
        scores = [flow(c).log_prob(x).double().numpy() for flow in flows]
        return logsumexp(scores, axis=0) - np.log(len(flows) * spread)

    return on_grid(lambda X, values: log_densities(X, values), y)


def train_network(flow, c, x, seconds: float, seed: int):
    """Adam with early stopping on a tenth of the rows."""
    torch.manual_seed(seed)
    for layer in flow.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    train, held_out = train_test_split(np.arange(len(x)), test_size=0.1, random_state=seed)
    optimiser = torch.optim.AdamW(flow.parameters(), lr=3e-3, weight_decay=1e-3)
    best, kept, stale, start = -np.inf, copy.deepcopy(flow.state_dict()), 0, time.perf_counter()
    size, rng = min(256, max(32, len(train) // 16)), np.random.default_rng(seed)
    while stale < 20 and time.perf_counter() - start < seconds:
        for batch in torch.from_numpy(rng.permutation(train)).split(size):
            loss = -flow(c[batch]).log_prob(x[batch]).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
            optimiser.step()
        with torch.no_grad():
            score = float(flow(c[held_out]).log_prob(x[held_out]).mean())
        stale += 1
        if score > best:
            best, kept, stale = score, copy.deepcopy(flow.state_dict()), 0
    flow.load_state_dict(kept)
    return flow.eval()


def on_grid(log_densities: Callable, y: np.ndarray) -> Predictive:
    """Quantiles and means by a grid of values, from log-densities of shape (n_values, n)."""
    reach = 0.3 * np.ptp(y)
    grid = np.linspace(y.min() - reach, y.max() + reach, GRID_SIZE)

    def masses(X):
        values = np.broadcast_to(grid[:, None], (len(grid), len(X)))
        density = np.exp(log_densities(X, values)).T
        return density / density.sum(axis=1, keepdims=True)

    def quantiles(X):
        return np.array([np.interp(LEVELS, np.cumsum(row), grid) for row in masses(X)])

    return Predictive(
        lambda X, y: log_densities(X, y[None])[0], quantiles, lambda X: masses(X) @ grid
    )


def fit_gaussian_process(X, y, seconds: float, seed: int) -> Predictive:
    """A Gaussian process with a length for each feature, on at most 2,000 rows."""
    place, size = X.mean(axis=0), X.std(axis=0)
    size = np.where(size > 0, size, 1.0)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(X))[:MOST_GP_ROWS]
    kernel = ConstantKernel() * Matern(np.ones(X.shape[1]), (1e-1, 1e3), nu=1.5)
    kernel += WhiteKernel(0.1, (1e-5, 1e1))
    some = rows[:300]  # for the parameters of the kernel, which take most of the time
    model = GaussianProcessRegressor(kernel, normalize_y=True).fit(
        (X[some] - place) / size, y[some]
    )
    model = GaussianProcessRegressor(model.kernel_, optimizer=None, normalize_y=True)
    model.fit((X[rows] - place) / size, y[rows])

    def moments(X):
        mean, std = model.predict((X - place) / size, return_std=True)
        return mean[:, None], std[:, None]

    return gaussian(moments)


def fit_ngboost(X, y, seconds: float, seed: int) -> Predictive:
    """NGBoost with a normal distribution, as its authors ran it."""
    from ngboost import NGBRegressor

    model = NGBRegressor(n_estimators=2000, random_state=seed, verbose=False)
    train, held_out = train_test_split(np.arange(len(y)), test_size=0.1, random_state=seed)
    model.fit(X[train], y[train], X[held_out], y[held_out], early_stopping_rounds=50)

    def moments(X):
        found = model.pred_dist(X)
        return found.loc[:, None], found.scale[:, None]

    return gaussian(moments)


def gaussian(moments: Callable) -> Predictive:
    """Normal distributions by their means and standard deviations."""
    return Predictive(
        lambda X, y: norm.logpdf(y[:, None], *moments(X))[:, 0],
        lambda X: norm.ppf(LEVELS, *moments(X)),
        lambda X: moments(X)[0][:, 0],
    )


def fit_joint(X, y, seconds: float, seed: int) -> Predictive:
    """The joint density of features and target, normalised over a grid of the target."""
    model = GradientBoostedFlowDensity(max_time=seconds, random_state=seed, dequantize=False)
    model.fit(np.column_stack([X, y]))
    reach = 0.3 * np.ptp(y)
    grid = np.linspace(y.min() - reach, y.max() + reach, 100)

    def joint(X, values):
        tiled = np.broadcast_to(X, (len(values), *X.shape)).reshape(-1, X.shape[1])
        rows = np.column_stack([tiled, values.reshape(-1)])
        return model.score_samples(rows).reshape(values.shape)

    def log_densities(X, values):
        on = joint(X, np.broadcast_to(grid[:, None], (len(grid), len(X))))
        return joint(X, values) - logsumexp(on, axis=0) - np.log(grid[1] - grid[0])

    return on_grid(log_densities, y)


METHODS: dict[str, Callable[..., Predictive]] = {
    "skgbnf": fit_boosted,
    "residual_gaussian": fit_residual_gaussian,
    "residual_kernels": fit_residual_kernels,
    "quantile_boosting": fit_quantile_boosting,
    "quantile_forest": fit_quantile_forest,
    "mdn": fit_mixture_density_network,
    "splines": fit_splines,
    "gaussian_process": fit_gaussian_process,
    "joint": fit_joint,
    "ngboost": fit_ngboost,
}
"""The methods by name."""

if importlib.util.find_spec("ngboost") is None:
    del METHODS["ngboost"]
