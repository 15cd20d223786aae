"""A first look: boosted flows beside other densities, in about a minute.

Run ``make demo``. Scores are mean log-likelihoods, in nats, of test rows that no method has seen.
The last step draws a density that a Gaussian mixture cannot follow to ``demo.png``.
"""

import time

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

from skgbnf import GradientBoostedFlowDensity

PICTURE = "demo.png"
NUMBERS_OF_GAUSSIANS = (1, 2, 4, 8, 16, 32, 64, 128)
BANDWIDTHS = np.geomspace(0.1, 1.0, 12)
MAX_TIME = 10  # seconds of each fit of flows to a table
STEPS = 3
CONCLUSION = """
The higher a score, the more probability a density gives to rows that it has not seen; 1 nat more
means 2.7 times as much for a typical row.
Of the methods above, {winners}.
In the picture the Gaussian mixture covers each square with blobs that spill over its edges; the
flows draw straight edges, and colour that is nearly even, as it should be."""


def main() -> None:
    start = time.perf_counter()
    winners = []
    for step, (name, X) in enumerate(real_tables().items(), start=1):
        announce(step, f"densities of {name}", 2 * MAX_TIME)
        winners.append(f"{compare(X)} is first on {name.partition(',')[0]}")
    announce(STEPS, "a density in two dimensions, drawn", 20)
    draw(PICTURE)
    print(CONCLUSION.format(winners=" and ".join(winners)))
    print(f"\nDone in {time.perf_counter() - start:.0f} seconds. The picture is {PICTURE}.")


def announce(step: int, text: str, seconds: int) -> None:
    print(f"\nStep {step} of {STEPS}: {text}. About {seconds} seconds.", flush=True)


# %% Scores on real tables


def real_tables() -> dict[str, np.ndarray]:
    """Tables with continuous columns, small enough to wait for."""
    cells = load_breast_cancer().data[:, :10]
    digits = PCA(8, random_state=0).fit_transform(load_digits().data)
    return {"cells, 10 measurements": cells, "digits, 8 principal components": digits}


def compare(X: np.ndarray) -> str:
    """Print the score of every method, and return the name of the best one.

    All learn from one part of the rows and choose on another. Whatever a method chooses (a number
    of Gaussians, a bandwidth, when to stop), it chooses by the likelihood of the same held-out
    rows.
    """
    rest, test = train_test_split(X, test_size=0.2, random_state=0)
    train, held_out = train_test_split(rest, test_size=0.2, random_state=0)
    print(f"{len(train)} training, {len(held_out)} held-out, {len(test)} test rows")
    report("method", "test log-likelihood", "seconds")
    scores = {}
    for fit in (one_gaussian, gaussian_mixture, kernel_density, one_flow, boosted):
        start = time.perf_counter()
        label, score = fit(train, held_out)
        seconds = time.perf_counter() - start
        scores[label] = score(test)
        report(label, f"{scores[label]:.3f}", f"{seconds:.1f}")
    return max(scores, key=scores.get).partition(",")[0]


def report(label: str, score: str, seconds: str) -> None:
    print(f"  {label:<36}{score:>20}{seconds:>10}", flush=True)


def one_gaussian(train, held_out):
    return "Gaussian", scaled_scorer(GaussianMixture(1), train)


def gaussian_mixture(train, held_out):
    candidates = {k: scaled_scorer(gaussians(k), train) for k in NUMBERS_OF_GAUSSIANS}
    k = best(candidates, held_out)
    return f"GaussianMixture, k = {k}", candidates[k]


def gaussians(k: int) -> GaussianMixture:
    return GaussianMixture(k, random_state=0, reg_covar=1e-4)


def kernel_density(train, held_out):
    candidates = {h: scaled_scorer(KernelDensity(bandwidth=h), train) for h in BANDWIDTHS}
    h = best(candidates, held_out)
    return f"KernelDensity, bandwidth = {h:.2f}", candidates[h]


def one_flow(train, held_out):
    model = GradientBoostedFlowDensity(1, flow="nsf", max_time=MAX_TIME, random_state=0, verbose=1)
    return "one spline flow", model.fit(train, X_val=held_out).score


def boosted(train, held_out):
    model = GradientBoostedFlowDensity(max_time=MAX_TIME, random_state=0, verbose=1)
    model.fit(train, X_val=held_out)
    return f"boosted mixture, {model.n_estimators_} rounds", model.score


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
    """Draw rows on the dark squares of a chessboard, and two densities fitted to them."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    train, held_out, test = np.split(chessboard(8000), [2400, 3000])
    mixtures = [gaussians(k).fit(train) for k in NUMBERS_OF_GAUSSIANS]
    mixture = max(mixtures, key=lambda mixture: mixture.score(held_out))
    flows = GradientBoostedFlowDensity(2, flow="nsf", max_iter=40, random_state=0, verbose=1)
    flows.fit(train, X_val=held_out)
    report("GaussianMixture", f"{mixture.score(test):.3f}", "")
    report("boosted mixture", f"{flows.score(test):.3f}", "")
    report("the density itself", f"{-np.log(8):.3f}", "")  # even over eight squares of area 1

    plt.style.use({"font.size": 11, "axes.titlesize": 12, "axes.titlepad": 8})
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
    axes[0].scatter(*train.T, s=5, c="#3b1c5a", alpha=0.6, linewidths=0)
    axes[0].set_title(f"{len(train):,} samples")
    draw_density(axes[1], mixture, f"GaussianMixture, {mixture.n_components} components")
    draw_density(axes[2], flows, f"skgbnf, {flows.n_estimators_} rounds of spline flows")
    for ax in axes:
        ax.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), aspect="equal", xticks=[], yticks=[])
    figure.savefig(path, dpi=110, metadata={"Software": None})


def chessboard(n_samples: int) -> np.ndarray:
    """Points spread evenly over every other one of 16 squares, whose sides are 1."""
    points = np.random.default_rng(0).uniform(-2, 2, (4 * n_samples, 2))
    return points[np.floor(points).sum(axis=1) % 2 == 0][:n_samples]


def draw_density(ax, model, title: str) -> None:
    line = np.linspace(-2.3, 2.3, 300)
    grid = np.stack(np.meshgrid(line, line), axis=-1)
    log_density = model.score_samples(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    ax.contourf(line, line, np.exp(log_density), levels=30, cmap="magma")
    ax.set_title(title)


if __name__ == "__main__":
    main()
