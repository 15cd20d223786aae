"""Boosted trees as an energy on binned columns, NRGBoost, made into a density of rows.

NRGBoost: Energy-Based Generative Boosted Trees. J. Bravo, 2025.
https://arxiv.org/abs/2410.03535

Bins of a column are quantiles of its training rows. The trees give the logarithm of an
unnormalised probability of a bin, ``E``. Two things make it a log-density of a row ``x``, which is
``E(bin of x) - log Z - log(volume of the bin)``:

* the volume of the bin, in which the density is uniform. Beyond the least and the greatest
  training value of a column it is zero, so the log-density of a row there is ``-inf``;
* the normaliser ``Z``, the sum over all bins. It is estimated by annealed importance sampling from
  the starting model, a product of marginals, through the model of each round. The estimate of
  ``Z`` is unbiased. That of ``log Z`` is too low on average, by about half the square of its
  standard error, so log-densities are too high by as much; `chosen` holds that error.
"""

import contextlib
import io
import time
from collections import defaultdict

import numpy as np
from flow_peers import Fit
from scipy.special import logsumexp

N_BINS = (8, 16, 32, 64, 128, 255)
N_TREES, N_MODEL_SAMPLES = 200, 10_000
MAX_RATIO_IN_LEAF, UNIFORM_SHARE = 2.0, 0.1
TRAINING_SHARE = 0.6
N_CHAINS, MAX_BATCHES = 250, 40


class Bins:
    """Quantile bins of training rows, as NRGBoost makes them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)

    n_bins : int
        For each column; fewer where quantiles coincide.
    """

    def __init__(self, X: np.ndarray, n_bins: int) -> None:
        from nrgboost import Dataset

        frame = frame_of(X)
        types = defaultdict(list, continuous_quantized=list(frame))
        dataset = Dataset(
            frame, num_bins=n_bins, infer_fixed_point=False, discretization_types=types
        )
        self.rows, self._transform = dataset.distribution, dataset.transform
        edges = dataset.transform.transforms["num"]
        self.edges = [edges[name] for name in frame]

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Bins of rows, those of rows out of range being the outermost."""
        return self._transform(frame_of(X)).astype(np.uint8)

    def contain(self, X: np.ndarray) -> np.ndarray:
        """Whether each row is in range in every column."""
        lower, upper = np.transpose([(edges[0], edges[-1]) for edges in self.edges])
        return ((lower <= X) & (upper >= X)).all(axis=1)

    def log_volumes(self, X: np.ndarray) -> np.ndarray:
        """Logarithm of the volume of each row's bin."""
        columns = zip(self.edges, self(X).T, strict=True)
        return np.sum([np.log(np.diff(edges))[bins] for edges, bins in columns], axis=0)


def frame_of(X: np.ndarray):
    import pandas as pd

    return pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])


def fit_nrgboost(X, X_held_out, seconds: float, seed: int) -> Fit:
    """NRGBoost with the package's defaults, but 10,000 model samples, not 80,000.

    Of the time, 60 % is for training, for no more than 200 trees, the rest for the normaliser.
    Held-out rows in range choose the number of bins, by the scores of products of marginals, and
    the number of trees. What numba compiles at the first use in a process, which takes longer
    than many fits, is not counted.
    """
    compile_functions()
    start = time.perf_counter()
    bins = choose_bins(X, X_held_out)
    booster = product_of_marginals(bins)
    grow(booster, bins, start + TRAINING_SHARE * seconds, seed)
    log_normalisers, errors = estimate_log_normalisers(booster, start + seconds, seed)
    inside = X_held_out[bins.contain(X_held_out)]
    energies = np.array(list(booster.predict(bins(inside), cumulative=True)))
    scores = energies.mean(axis=1) - log_normalisers - bins.log_volumes(inside).mean()
    n_trees = int(np.argmax(scores))

    def log_density(rows: np.ndarray) -> np.ndarray:
        energy = booster.predict(bins(rows), stop=n_trees)
        values = energy - log_normalisers[n_trees] - bins.log_volumes(rows)
        return np.where(bins.contain(rows), values, -np.inf)

    chosen = {
        "n_bins": max(len(edges) - 1 for edges in bins.edges),
        "n_trees": n_trees,
        "log_normaliser_error": float(errors[n_trees]),
    }
    return Fit(log_density, [(time.perf_counter() - start, float(scores[n_trees]))], chosen)


def compile_functions() -> None:
    """Fit a few trees to a small table."""
    bins = Bins(np.random.default_rng(0).normal(size=(200, 2)), 8)
    grow(product_of_marginals(bins), bins, np.inf, 0, n_trees=4)


def choose_bins(X: np.ndarray, X_held_out: np.ndarray) -> Bins:
    """The bins whose product of marginals gives held-out rows in range the best score."""
    candidates = [Bins(X, n_bins) for n_bins in N_BINS]
    inside = X_held_out[candidates[0].contain(X_held_out)]

    def score(bins: Bins) -> float:
        energy = product_of_marginals(bins).predict(bins(inside))
        return float((energy - bins.log_volumes(inside)).mean())

    return max(candidates, key=score)


def product_of_marginals(bins: Bins):
    """The model that boosting starts from."""
    from nrgboost.tree.ensemble import GenerativeBoostingTreeEstimator

    return GenerativeBoostingTreeEstimator.from_distribution_marginals(bins.rows, UNIFORM_SHARE)


def grow(booster, bins: Bins, deadline: float, seed: int, n_trees: int = N_TREES) -> None:
    """Add trees until there are enough, no node can be split or the clock passes the deadline."""
    from nrgboost.tree.fit_tree import NoSplitPossibleException
    from nrgboost.tree.generative import constraints

    def add(tree) -> None:
        booster.trees.append(tree)
        if time.perf_counter() > deadline:
            raise TimeoutError

    booster.add = add  # called by `fit` for each tree; it has no limit of time
    ends = contextlib.suppress(TimeoutError, NoSplitPossibleException)
    with ends, contextlib.redirect_stderr(io.StringIO()):
        booster.fit(
            bins.rows,
            num_trees=n_trees,
            num_model_samples=N_MODEL_SAMPLES,
            constraints=[constraints.max_ratio_in_leaf(MAX_RATIO_IN_LEAF)],
            num_threads=1,
            seed=seed,
        )


def estimate_log_normalisers(booster, deadline: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates of ``log Z`` from batches of chains, as many as end before the deadline.

    Annealed Importance Sampling. R. M. Neal, 2001. https://arxiv.org/abs/physics/9803008

    Returns
    -------
    log_normalisers, errors : ndarrays of shape (n_trees + 1,)
        For the model of each round, the starting model first, with standard errors.
    """
    rng, batches, took = np.random.default_rng(seed), [], 0.0
    while not batches or (time.perf_counter() + took < deadline and len(batches) < MAX_BATCHES):
        begin = time.perf_counter()
        batches.append(anneal(booster, rng))
        took = time.perf_counter() - begin
    log_weights = np.concatenate(batches)
    means = logsumexp(log_weights, axis=0) - np.log(len(log_weights))
    errors = np.exp(log_weights - means).std(axis=0) / np.sqrt(len(log_weights))
    return means + np.log(booster.initial_model.weight), errors


def anneal(booster, rng: np.random.Generator) -> np.ndarray:
    """Logarithms of importance weights, of shape (n_chains, n_trees + 1)."""
    x = booster.initial_model.sample_points(N_CHAINS, seed=rng).astype(np.uint8)
    log_weights = [np.zeros(N_CHAINS)]
    for i, tree in enumerate(booster.trees, start=1):
        log_weights.append(log_weights[-1] + tree.evaluate(x))
        x = booster.sample_points(
            1, num_chains=N_CHAINS, stop_round=i, initial_samples=x, seed=rng, num_threads=1
        )
    return np.stack(log_weights, axis=1)
