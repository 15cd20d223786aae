"""Boosted flows beside classical density estimators, on data that ships with scikit-learn.

Run ``make demo``. It prints the mean log-likelihood, in nats, of test rows that no method has
seen, and draws a boosted density in two dimensions to ``demo.png``.
"""

import time

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, make_swiss_roll
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

from skgbnf import GradientBoostedFlowDensity

PICTURE = "demo.png"
NUMBERS_OF_GAUSSIANS = (1, 2, 3, 4, 6, 8, 12, 16)
BANDWIDTHS = np.geomspace(0.1, 1.0, 12)
ROUNDS = 4
EPOCHS = 40


def main() -> None:
    for name, X in real_tables().items():
        compare(name, X)
    draw(PICTURE)


# %% Scores on real tables


def real_tables() -> dict[str, np.ndarray]:
    """Tables with continuous columns, small enough to wait for."""
    digits = PCA(8, random_state=0).fit_transform(load_digits().data)
    cells = load_breast_cancer().data[:, :10]
    return {"digits, 8 principal components": digits, "breast cancer, 10 mean columns": cells}


def compare(name: str, X: np.ndarray) -> None:
    """Print the score of every method. All learn from one part of the rows and choose on another.

    Whatever a method chooses (a number of Gaussians, a bandwidth, when to stop), it chooses by
    the likelihood of the same held-out rows.
    """
    rest, test = train_test_split(X, test_size=0.2, random_state=0)
    train, held_out = train_test_split(rest, test_size=0.2, random_state=0)
    print(f"\n{name}: {len(train)} training, {len(held_out)} held-out, {len(test)} test rows")
    report("method", "test log-likelihood", "seconds")
    for fit in (one_gaussian, gaussian_mixture, kernel_density, one_flow, boosted):
        start = time.perf_counter()
        scores = fit(train, held_out, test)
        seconds = f"{time.perf_counter() - start:.1f}"
        for i, (label, score) in enumerate(scores.items()):
            report(label, f"{score:.3f}", "" if i else seconds)


def report(label: str, score: str, seconds: str) -> None:
    print(f"  {label:<44}{score:>20}{seconds:>10}", flush=True)


def one_gaussian(train, held_out, test) -> dict[str, float]:
    return {"Gaussian": scaled_scorer(GaussianMixture(1), train)(test)}


def gaussian_mixture(train, held_out, test) -> dict[str, float]:
    candidates = {
        k: scaled_scorer(GaussianMixture(k, n_init=2, random_state=0), train)
        for k in NUMBERS_OF_GAUSSIANS
    }
    k = best(candidates, held_out)
    return {f"GaussianMixture, k = {k}": candidates[k](test)}


def kernel_density(train, held_out, test) -> dict[str, float]:
    candidates = {h: scaled_scorer(KernelDensity(bandwidth=h), train) for h in BANDWIDTHS}
    h = best(candidates, held_out)
    return {f"KernelDensity, bandwidth = {h:.2f}": candidates[h](test)}


def one_flow(train, held_out, test) -> dict[str, float]:
    model = GradientBoostedFlowDensity(1, flow="nsf", max_iter=EPOCHS, random_state=0)
    model.fit(train, X_val=held_out)
    return {"one flow": model.score(test)}


def boosted(train, held_out, test) -> dict[str, float]:
    """The boosted mixture after each round; rounds that did not help held-out rows are gone."""
    model = GradientBoostedFlowDensity(ROUNDS, max_iter=EPOCHS, random_state=0)
    model.fit(train, X_val=held_out)
    return {
        f"boosted mixture, round {i}": float(scores.mean())
        for i, scores in enumerate(model.staged_score_samples(test), start=1)
    }


def scaled_scorer(model, train):
    """Fit to standardised columns; return a mean log-likelihood in the units of X.

    The boosted flows standardise inside. The others are handed standardised columns, as their
    bandwidths and ridges assume, and the log-determinant of the scaling is put back.
    """
    scaler = StandardScaler().fit(train)
    model.fit(scaler.transform(train))
    log_det = -np.log(scaler.scale_).sum()
    return lambda X: float(model.score_samples(scaler.transform(X)).mean() + log_det)


def best(candidates: dict, held_out):
    """The candidate under which held-out rows are likeliest."""
    return max(candidates, key=lambda name: candidates[name](held_out))


# %% A density in two dimensions


def draw(path: str) -> None:
    """Draw rows along a spiral, the boosted density fitted to them, and rows sampled from it."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    X = make_swiss_roll(2000, noise=0.5, random_state=0)[0][:, [0, 2]]
    model = GradientBoostedFlowDensity(3, max_iter=60, random_state=0).fit(X)
    samples = model.sample(len(X), random_state=0)

    plt.style.use({"font.size": 11, "axes.titlesize": 12, "axes.titlepad": 8})
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
    limits = padded_limits(X)
    draw_rows(axes[0], X, f"{len(X)} rows")
    draw_density(axes[1], model, limits, f"boosted density, {model.n_estimators_} rounds")
    draw_rows(axes[2], samples, f"{len(samples)} samples")
    for ax in axes:
        ax.set(xlim=limits[0], ylim=limits[1], aspect="equal", xticks=[], yticks=[])
    figure.savefig(path, dpi=150)
    print(f"\nA boosted density in two dimensions is drawn in {path}.")


def padded_limits(X: np.ndarray) -> list[tuple[float, float]]:
    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.08 * (high - low)
    return list(zip(low - margin, high + margin, strict=True))


def draw_rows(ax, X: np.ndarray, title: str) -> None:
    ax.scatter(*X.T, s=5, c="#3b1c5a", alpha=0.45, linewidths=0)
    ax.set_title(title)


def draw_density(ax, model, limits, title: str) -> None:
    """Filled contours of the square root of the density, which keeps thin places visible."""
    x, y = (np.linspace(*limit, 300) for limit in limits)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    log_density = model.score_samples(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    ax.contourf(x, y, np.exp(0.5 * log_density), levels=30, cmap="magma")
    ax.set_title(title)


if __name__ == "__main__":
    main()
