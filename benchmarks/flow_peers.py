"""Flows of other packages, trained with one careful recipe that is fitted to the time there is.

Rows are standardised or whitened, whichever does better on held-out rows in a short trial. Adam
takes minibatches with clipped gradients; its rate falls along half a cosine over the time
given. A running average of the parameters is judged on held-out rows and the best one kept. When
that stops gaining, training goes back to the best state at a quarter of the rate, three times,
then ends: small tables end before their time.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import zuko
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from torch import nn

RATE, CLIP_NORM, AVERAGING = 3e-3, 5.0, 0.998
BATCH_SIZE, MIN_BATCH_SIZE, MIN_BATCHES, MIN_STEPS_PER_SCORE = 256, 32, 16, 50
PATIENCE, DECAY, N_DECAYS = 10, 0.25, 3
TRIAL_SHARE = 0.05
ROWS_PER_SCORE = 5000
SMALLEST_EIGENVALUE = 1e-8

Curve = list[tuple[float, float]]
LogDensity = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Fit:
    """A fitted density, how it came about, and what was chosen on the way.

    Parameters
    ----------
    log_density : callable
        Rows to log-densities in nats, in the units of the rows.

    curve : list of (float, float)
        Seconds since the start and the best mean held-out log-likelihood reached by then.

    chosen : dict
        What held-out rows decided.
    """

    log_density: LogDensity
    curve: Curve
    chosen: dict


class Scaling:
    """An affine map of rows, ``(x - mean) @ matrix``, and its log-determinant."""

    def __init__(self, mean: np.ndarray, matrix: np.ndarray) -> None:
        self.mean, self.matrix = mean, matrix
        self.log_det = float(np.linalg.slogdet(matrix)[1])

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return (X - self.mean) @ self.matrix


def standardise(X: np.ndarray) -> Scaling:
    deviations = X.std(axis=0)
    return Scaling(X.mean(axis=0), np.diag(1 / np.where(deviations > 0, deviations, 1.0)))


def whiten(X: np.ndarray) -> Scaling:
    """Standardise, then undo the correlations; nearly linear relations are stretched most."""
    first = standardise(X)
    values, vectors = np.linalg.eigh(np.cov(first(X).T, bias=True).reshape(X.shape[1], -1))
    values = np.maximum(values, SMALLEST_EIGENVALUE)
    return Scaling(first.mean, first.matrix @ (vectors / np.sqrt(values)) @ vectors.T)


SCALINGS = {"standardised": standardise, "whitened": whiten}


def zuko_nsf(n_features: int) -> nn.Module:
    """Three autoregressive spline layers, the size of a component of skgbnf."""
    return zuko.flows.NSF(n_features, transforms=3, hidden_features=(64, 64))


def zuko_maf(n_features: int) -> nn.Module:
    """Five affine autoregressive layers; the columns' order is reversed between layers."""
    return zuko.flows.MAF(n_features, transforms=5, hidden_features=(64, 64))


def nflows_nsf(n_features: int) -> nn.Module:
    """Autoregressive splines with a linear layer before each, after Durkan et al. (2019).

    Neural Spline Flows. C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, 2019.
    https://arxiv.org/abs/1906.04032
    """
    from nflows import distributions, flows, transforms

    layers = []
    for _ in range(3):
        layers += [transforms.RandomPermutation(n_features)]
        layers += [transforms.LULinear(n_features, identity_init=True)]
        layers += [
            transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                n_features, hidden_features=64, num_bins=8, tails="linear", tail_bound=5.0,
                num_blocks=2, use_residual_blocks=True,
            )
        ]  # fmt: skip
    layers += [transforms.LULinear(n_features, identity_init=True)]
    base = distributions.StandardNormal([n_features])
    return flows.Flow(transforms.CompositeTransform(layers), base)


def torchflows_maf(n_features: int) -> nn.Module:
    """Five affine autoregressive layers of torchflows; the columns are reversed before each.

    Its rational-quadratic splines divide their parameters by 1,000 and hardly leave the identity
    in the time there is. Its activation normalisation starts from standard normal draws, which
    scaled rows resemble: it would start anew, from other rows, in a copy of the flow.
    """
    from torchflows.bijections.finite.autoregressive.architectures import MAF
    from torchflows.flows import Flow

    networks = {"n_hidden": 64, "n_layers": 3}
    flow = Flow(MAF((n_features,), n_layers=5, conditioner_kwargs=networks))
    with torch.no_grad():
        flow.log_prob(torch.randn(ROWS_PER_SCORE, n_features))
    return flow.eval()


MakeFlow = Callable[[int], nn.Module]


def log_prob(flow: nn.Module, z: torch.Tensor) -> torch.Tensor:
    """Log-density of rows under a flow of nflows or torchflows, or under one of zuko."""
    return flow.log_prob(z) if hasattr(flow, "log_prob") else flow().log_prob(z)


class Learner:
    """A flow in training on rows that are scaled already, with the average of its states."""

    def __init__(self, flow: nn.Module, rate: float) -> None:
        self.flow, self.average, self._rate = flow, copy.deepcopy(flow), rate
        self._parameters = list(flow.parameters())
        self.restart(flow.state_dict(), 1.0)

    def restart(self, state: dict, slower: float) -> None:
        """Go on from a state at a lower rate, with fresh moments and a fresh average."""
        self.flow.load_state_dict(state)
        self._factor, self._n_steps = slower, 0
        self._adam = torch.optim.Adam(self._parameters)

    def step(self, z: torch.Tensor, progress: float) -> None:
        """One step of Adam; skipped if the loss or its gradient is not finite."""
        for group in self._adam.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
            group["lr"] = self._rate * self._factor * cosine
        self._adam.zero_grad()
        loss = -log_prob(self.flow, z).mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
        if torch.isfinite(loss) and torch.isfinite(norm):
            self._adam.step()
            self._n_steps += 1
            share = max(1 - AVERAGING, 10 / (10 + self._n_steps))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), self._parameters, share)


def train(flow: nn.Module, Z: np.ndarray, Z_held_out: np.ndarray, seconds: float) -> Curve:
    """Train a flow in place, for no more than so many seconds, and leave it in its best state.

    Returns
    -------
    curve : list of (float, float)
        Seconds and the best mean log-likelihood of the held-out rows by then, as scaled.
    """
    start = time.perf_counter()
    z, learner = torch.tensor(Z, dtype=torch.float32), Learner(flow, RATE)
    best, state, curve = -math.inf, copy.deepcopy(flow.state_dict()), []
    n_stale = n_decays = 0
    while n_decays <= N_DECAYS:
        progress = train_some(learner, z, start, seconds)
        score = float(score_rows(learner.average, Z_held_out).mean())
        n_stale += 1
        if score > best:
            best, state, n_stale = score, copy.deepcopy(learner.average.state_dict()), 0
        curve.append((time.perf_counter() - start, best))
        if progress >= 1:
            break
        if n_stale == PATIENCE:
            n_decays, n_stale = n_decays + 1, 0
            learner.restart(state, DECAY**n_decays)
    flow.load_state_dict(state)
    return curve


def train_some(learner: Learner, z: torch.Tensor, start: float, seconds: float) -> float:
    """Steps until the next score is due: an epoch or more; return the share of time gone by."""
    size = min(BATCH_SIZE, max(MIN_BATCH_SIZE, len(z) // MIN_BATCHES))
    n_epochs = math.ceil(MIN_STEPS_PER_SCORE * size / len(z))
    progress = 0.0
    for index in torch.cat([torch.randperm(len(z)) for _ in range(n_epochs)]).split(size):
        progress = (time.perf_counter() - start) / max(seconds, 1e-3)
        if progress >= 1:
            break
        learner.step(z[index], progress)
    return progress


@torch.no_grad()
def score_rows(flow: nn.Module, Z: np.ndarray) -> np.ndarray:
    """Log-densities of scaled rows; -inf where a flow gives none."""
    parts = torch.tensor(Z, dtype=torch.float32).split(ROWS_PER_SCORE)
    scores = torch.cat([log_prob(flow, part) for part in parts]).double().numpy()
    return np.where(np.isfinite(scores), scores, -np.inf)


def fit_flow(make: MakeFlow, X, X_held_out, seconds: float, seed: int) -> Fit:
    """One flow, on rows scaled in the way that a trial of a twentieth of the time prefers."""
    start = time.perf_counter()
    torch.manual_seed(seed)
    trials = {
        name: fit_scaled(make, scale(X), X, X_held_out, TRIAL_SHARE * seconds)
        for name, scale in SCALINGS.items()
    }
    name = max(trials, key=lambda name: trials[name].curve[-1][1])
    offset = time.perf_counter() - start
    fit = fit_scaled(make, SCALINGS[name](X), X, X_held_out, seconds - offset)
    trial = trials[name]
    if trial.curve[-1][1] >= fit.curve[-1][1]:
        fit = trial
    curve = [*trial.curve, *((offset + t, max(s, trial.curve[-1][1])) for t, s in fit.curve)]
    return Fit(fit.log_density, curve, {"scaling": name})


def fit_scaled(make: MakeFlow, scaling: Scaling, X, X_held_out, seconds: float) -> Fit:
    """One flow trained on rows that are scaled as told."""
    flow = make(X.shape[1])
    curve = train(flow, scaling(X), scaling(X_held_out), seconds)

    def log_density(rows: np.ndarray) -> np.ndarray:
        return score_rows(flow, scaling(rows)) + scaling.log_det

    return Fit(log_density, [(t, score + scaling.log_det) for t, score in curve], {})


def fit_ensemble(make: MakeFlow, n_members: int, X, X_held_out, seconds, seed) -> Fit:
    """The average density of flows that are trained one by one, each from its own start."""
    start, members, curve = time.perf_counter(), [], []
    for i in range(n_members):
        left = seconds - (time.perf_counter() - start)
        fit = fit_flow(make, X, X_held_out, left / (n_members - i), 1000 * seed + i)
        members.append(fit.log_density)
        score = mixture(members, np.full(i + 1, 1 / (i + 1)))(X_held_out).mean()
        curve.append((time.perf_counter() - start, float(score)))
    return Fit(mixture(members, np.full(n_members, 1 / n_members)), curve, {})


def fit_piecewise(make: MakeFlow, n_clusters: int, X, X_held_out, seconds, seed) -> Fit:
    """A flow for each cluster of k-means, mixed in the shares of the clusters.

    A flow is kept where the held-out rows of its own cluster like it best; a cluster without
    any takes all of them.
    """
    start, scaling = time.perf_counter(), standardise(X)
    clusters = KMeans(n_clusters, n_init=10, random_state=seed).fit(scaling(X))
    labels, labels_held_out = clusters.labels_, clusters.predict(scaling(X_held_out))
    members = []
    for k in range(n_clusters):
        own = X_held_out[labels_held_out == k] if (labels_held_out == k).any() else X_held_out
        left = seconds - (time.perf_counter() - start)
        fit = fit_flow(make, X[labels == k], own, left / (n_clusters - k), 1000 * seed + k)
        members.append(fit.log_density)
    log_density = mixture(members, np.bincount(labels, minlength=n_clusters) / len(X))
    score = float(log_density(X_held_out).mean())
    return Fit(log_density, [(time.perf_counter() - start, score)], {})


def mixture(members: list[LogDensity], weights: np.ndarray) -> LogDensity:
    """Log-density of a weighted sum of densities."""
    members = list(members)

    def log_density(rows: np.ndarray) -> np.ndarray:
        parts = np.stack([member(rows) for member in members], axis=1)
        return logsumexp(parts + np.log(weights), axis=1)

    return log_density
