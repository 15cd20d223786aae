"""The methods that are compared, each ``(train, held_out, seconds, seed)`` to a fitted density."""

import contextlib
import importlib.util
import math
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from bench_rounds import Stamps
from flow_peers import (
    SCALINGS,
    Fit,
    Scaling,
    fit_ensemble,
    fit_flow,
    fit_piecewise,
    nflows_nsf,
    standardise,
    torchflows_maf,
    zuko_maf,
    zuko_nsf,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from tree_peers import fit_nrgboost

from skgbnf import GradientBoostedFlowDensity

OURS = "skgbnf"
N_COMPONENTS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 30, 35, 40, 45, 50]
MIXTURE_PATIENCE = 4
BANDWIDTH_STEP, BANDWIDTH_PATIENCE, BANDWIDTH_ROWS = 0.8, 2, 2000
N_MEMBERS = 4
VINE_DEPTH = 20


def fit_boosted(X, X_held_out, seconds: float, seed: int, **parameters) -> Fit:
    """The estimator of this package with default parameters, or others.

    Its curve has a point at the end of each round.
    """
    model = GradientBoostedFlowDensity(**parameters, max_time=seconds, random_state=seed, verbose=1)
    stamps, start = Stamps(), time.perf_counter()
    with contextlib.redirect_stdout(stamps):
        model.fit(X, X_val=X_held_out)
    times = [t - start for t in stamps.times]
    curve = list(zip(times, model.validation_scores_.tolist(), strict=False))
    return Fit(model.score_samples, curve, {"n_estimators": model.n_estimators_})


def fit_gaussian(X, X_held_out, seconds: float, seed: int) -> Fit:
    """One Gaussian with a full covariance."""
    start = time.perf_counter()
    fit = gaussian_mixture(standardise(X), X, 1, seed)
    return Fit(fit, [(time.perf_counter() - start, float(fit(X_held_out).mean()))], {})


def fit_gaussian_mixture(X, X_held_out, seconds: float, seed: int) -> Fit:
    """GaussianMixture with the number of components, 1 to 50, that held-out rows like best.

    Numbers rise until four in a row bring nothing, or until the next one, by the time that the
    last took, would not end in time.
    """
    start, scaling = time.perf_counter(), standardise(X)
    search = Search(start)
    last, took = 1, 0.0
    for k in N_COMPONENTS:
        begin = time.perf_counter()
        late = begin - start + took * k / last > seconds
        if k > len(X) or late or search.n_stale == MIXTURE_PATIENCE:
            break
        log_density = gaussian_mixture(scaling, X, k, seed)
        search.offer(log_density, log_density(X_held_out), {"n_components": k})
        last, took = k, time.perf_counter() - begin
    return search.result()


def gaussian_mixture(scaling: Scaling, X, n_components: int, seed: int) -> Callable:
    """A mixture of full-covariance Gaussians, fitted to scaled rows, which suits its ridge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # held-out rows judge what came out
        model = GaussianMixture(n_components, random_state=seed).fit(scaling(X))
    return lambda rows: model.score_samples(scaling(rows)) + scaling.log_det


def fit_kernel(X, X_held_out, seconds: float, seed: int) -> Fit:
    """KernelDensity with the bandwidth that held-out rows like best, no more than 2,000 of them.

    From Scott's bandwidth down by factors of 0.8 until two in a row bring nothing, on
    standardised rows in one half of the time and on whitened ones in the other.
    """
    start = time.perf_counter()
    search, judges = Search(start), X_held_out[:BANDWIDTH_ROWS]
    scott = len(X) ** (-1 / (X.shape[1] + 4))
    for i, (name, scale) in enumerate(SCALINGS.items()):
        scaling, local, bandwidth = scale(X), Search(start), scott
        while local.n_stale < BANDWIDTH_PATIENCE:
            log_density = kernel(scaling, X, bandwidth)
            offer = (log_density, log_density(judges), {"scaling": name, "bandwidth": bandwidth})
            local.offer(*offer)
            search.offer(*offer)
            bandwidth *= BANDWIDTH_STEP
            if time.perf_counter() - start > (i + 1) / len(SCALINGS) * seconds:
                break
    return search.result()


def kernel(scaling: Scaling, X, bandwidth: float) -> Callable:
    """A Gaussian kernel density estimate on scaled rows, its sums exact to one in a million."""
    model = KernelDensity(bandwidth=bandwidth, rtol=1e-6).fit(scaling(X))
    return lambda rows: model.score_samples(scaling(rows)) + scaling.log_det


def fit_vine(X, X_held_out, seconds: float, seed: int) -> Fit:
    """VineDensity of pyvinecopulib: kernel estimates of single columns, joined by a vine copula.

    Held-out rows choose how its pair copulas are fitted, among :func:`vine_controls`; the next is
    tried if, by the time that the last took, it would end in time. Far from the training rows the
    kernel estimates are exactly zero: log-densities are -inf there, and of held-out rows only the
    others count.
    """
    from pyvinecopulib.sklearn import VineDensity

    start, took = time.perf_counter(), 0.0
    search = Search(start)
    for name, controls in vine_controls().items():
        begin = time.perf_counter()
        if begin - start + took > seconds:
            break
        model = VineDensity(controls=controls, random_state=seed, n_jobs=1).fit(X)
        scores = model.score_samples(X_held_out)
        search.offer(model.score_samples, scores[np.isfinite(scores)], {"pair_copulas": name})
        took = time.perf_counter() - begin
    return search.result()


def vine_controls() -> dict:
    """Ways to fit pair copulas: kernels with bandwidths times 1, 2 or 4, and Kendall's tau.

    The last takes one of the parametric families by BIC. Maximum likelihood takes some thirty
    times as long and cannot be stopped, so it is not among them.
    """
    from pyvinecopulib import FitControlsVinecop, families

    controls = {
        f"{method} kernel, bandwidth x {factor}": FitControlsVinecop(
            family_set=families.nonparametric, nonparametric_method=method,
            nonparametric_mult=factor, trunc_lvl=VINE_DEPTH,
        )
        for method in ("constant", "quadratic")
        for factor in (1, 2, 4)
    }  # fmt: skip
    controls["parametric"] = FitControlsVinecop(
        family_set=families.itau, parametric_method="itau", selection_criterion="bic",
        trunc_lvl=VINE_DEPTH,
    )  # fmt: skip
    return controls


class Search:
    """The best of several densities by held-out rows, and the time at which each was there."""

    def __init__(self, start: float) -> None:
        self._start, self._best, self.n_stale = start, -math.inf, 0
        self._fit, self._curve = None, []

    def offer(self, log_density: Callable, held_out: np.ndarray, chosen: dict) -> None:
        """Take the density if the mean of its held-out log-densities is above all before."""
        score = float(held_out.mean())
        self.n_stale += 1
        if score > self._best:
            self._best, self._fit, self.n_stale = score, (log_density, chosen), 0
        self._curve.append((time.perf_counter() - self._start, self._best))

    def result(self) -> Fit:
        log_density, chosen = self._fit
        return Fit(log_density, self._curve, chosen)


METHODS = {
    OURS: fit_boosted,
    "skgbnf, 1 round": partial(fit_boosted, n_estimators=1),
    "Gaussian": fit_gaussian,
    "GaussianMixture": fit_gaussian_mixture,
    "KernelDensity": fit_kernel,
    "zuko MAF": partial(fit_flow, zuko_maf),
    "zuko NSF": partial(fit_flow, zuko_nsf),
    "nflows NSF": partial(fit_flow, nflows_nsf),
    "torchflows MAF": partial(fit_flow, torchflows_maf),
    "vine": fit_vine,
    "NRGBoost": fit_nrgboost,
    "zuko NSF, 4 averaged": partial(fit_ensemble, zuko_nsf, N_MEMBERS),
    "zuko NSF, 4 clusters": partial(fit_piecewise, zuko_nsf, N_MEMBERS),
}
"""The methods by name, this package first: the others are compared with it."""

NEEDS = {
    "nflows NSF": "nflows",
    "torchflows MAF": "torchflows",
    "vine": "pyvinecopulib",
    "NRGBoost": "nrgboost",
}
"""Packages of methods that are left out where these are not installed."""

BOUNDED = {"vine", "NRGBoost"}
"""Methods whose density is zero far from the training rows, where log-densities are -inf."""


def absent(method: str, needs: dict[str, str] = NEEDS) -> str | None:
    """The package that a method needs and that is not installed, if there is one."""
    package = needs.get(method)
    return package if package and importlib.util.find_spec(package) is None else None
