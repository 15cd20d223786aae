"""One flow against a boosted mixture on the four energy functions of Rezende and Mohamed (2015).

The Kullback-Leibler divergence from the normalised target is a sum over a grid. The functions are
not integrable by themselves: a steep wall at 4 in both coordinates bounds them. The deep flow has
the layers of all components, and as many training steps as all rounds together. Finished cells are
not run again.

    python benchmarks/bench_variational.py
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import cells
import matplotlib as mpl
import numpy as np
import report
import torch

from skgbnf import fit_to_log_prob
from skgbnf.variational.matching import STEPS_PER_EPOCH

DOCS = Path(__file__).resolve().parent.parent / "docs"
ROUNDS = 4
COMMON = {"n_transforms": 2, "hidden_layer_sizes": (32,)}
METHODS = {
    "small": {"n_estimators": 1, "fine_tune": 0, "steps": 1},
    "deep": {"n_estimators": 1, "fine_tune": 0, "n_transforms": 2 * ROUNDS, "steps": ROUNDS + 1},
    "boosted": {"n_estimators": ROUNDS, "fine_tune": 1, "tol": 0.0, "steps": 1},
}
LABELS = {
    "small": "one component",
    "deep": f"one flow of {ROUNDS} times the layers",
    "boosted": f"boosted, up to {ROUNDS} components",
}
WALL, GRID, BOX = 4.0, 400, 4.6


def _waves(z):
    first = torch.sin(0.5 * math.pi * z[:, 0])
    second = 3 * torch.exp(-0.5 * ((z[:, 0] - 1) / 0.6) ** 2)
    third = 3 * torch.sigmoid((z[:, 0] - 1) / 0.3)
    return first, second, third


def _square(value, width):
    return -0.5 * (value / width) ** 2


def u1(z):
    """Two modes on a ring."""
    sides = torch.logaddexp(_square(z[:, 0] - 2, 0.6), _square(z[:, 0] + 2, 0.6))
    return -_square(z.norm(dim=1) - 2, 0.4) - sides


def u2(z):
    """A wave."""
    return -_square(z[:, 1] - _waves(z)[0], 0.4)


def u3(z):
    """A wave that splits and joins."""
    first, second, _ = _waves(z)
    return -torch.logaddexp(_square(z[:, 1] - first, 0.35), _square(z[:, 1] - first + second, 0.35))


def u4(z):
    """A wave that splits."""
    first, _, third = _waves(z)
    return -torch.logaddexp(_square(z[:, 1] - first, 0.4), _square(z[:, 1] - first + third, 0.35))


ENERGIES = {"u1": u1, "u2": u2, "u3": u3, "u4": u4}


def log_target(name: str):
    """Minus the energy, with a wall around a box."""
    energy = ENERGIES[name]

    def log_prob(z):
        return -energy(z) - 50 * (z.abs() - WALL).clamp(min=0).square().sum(1)

    return log_prob


def grid() -> tuple[np.ndarray, float]:
    """Points, shape (GRID * GRID, 2), and the area of a cell."""
    x = np.linspace(-BOX, BOX, GRID)
    return np.stack(np.meshgrid(x, x), -1).reshape(-1, 2), (x[1] - x[0]) ** 2


def main() -> None:
    options = parse_arguments()
    setting = {"seeds": options.seeds, "steps": options.steps}
    parameters = {"methods": METHODS, "common": COMMON, "grid": [GRID, BOX], "wall": WALL}
    fresh = {
        "machine": report.machine(), "setting": setting, "parameters": parameters, "cells": {},
    }  # fmt: skip
    results = cells.load_results(options.out, fresh)
    keys = [(n, m, str(s)) for s in range(options.seeds) for n in ENERGIES for m in METHODS]
    for key in cells.unfinished(results["cells"], keys):
        arguments = (key[0], key[1], int(key[2]), options.steps, options.pictures)
        record = cells.run_guarded(run_cell, arguments, timeout=3600)
        cells.store(options.out, results, key, record)
        print(*key, record, flush=True)
        report.insert(DOCS / "vae.md", "bench_variational", table(results))
    print(table(results))
    report.insert(DOCS / "vae.md", "bench_variational", table(results))
    if all((options.pictures / f"{n}-{m}.npy").exists() for n in ENERGIES for m in METHODS):
        draw(options.pictures, DOCS / "variational.png")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_variational.json")
    parser.add_argument(
        "--pictures", type=Path, default=Path(tempfile.gettempdir()) / "bench_variational",
        help="folder for the densities of the first seed, which the picture is drawn from",
    )  # fmt: skip
    return parser.parse_args()


def run_cell(name: str, method: str, seed: int, steps: int, pictures: Path) -> dict:
    """The divergence of one density from one target, in nats."""
    settings = {**COMMON, **METHODS[method]}
    settings["max_iter"] = math.ceil(steps * settings.pop("steps") / STEPS_PER_EPOCH)
    start = time.process_time()
    density = fit_to_log_prob(log_target(name), 2, random_state=seed, **settings)
    seconds = time.process_time() - start
    Z, cell = grid()
    log_q = density.score_samples(Z)
    log_p = log_target(name)(torch.from_numpy(Z)).numpy()
    log_integral = float(np.logaddexp.reduce(log_p) + math.log(cell))
    q = np.exp(log_q) * cell
    if seed == 0:
        pictures.mkdir(parents=True, exist_ok=True)
        np.save(pictures / f"{name}-{method}.npy", np.exp(log_q))
    return {
        "divergence": float(q @ (log_q - log_p + log_integral)),
        "mass_on_grid": float(q.sum()),
        "bound": float(density.validation_scores_[-1]),
        "log_integral": log_integral,
        "weights": density.estimator_weights_.round(4).tolist(),
        "cpu_seconds": seconds,
    }


def table(results: dict) -> str:
    """Means over seeds with standard errors."""
    lines = ["| target | " + " | ".join(LABELS.values()) + " |", "|---|" + "---|" * len(LABELS)]
    for name, methods in results["cells"].items():
        found = {
            method: [r["divergence"] for r in methods.get(method, {}).values() if "error" not in r]
            for method in METHODS
        }
        texts = {m: report.mean_text(values, 3) if values else "" for m, values in found.items()}
        means = {m: float(np.mean(values)) for m, values in found.items() if values}
        columns = [name, *report.bold_best(means, texts, min).values()]
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join([*lines, "", report.machine_text(results["machine"])])


def draw(pictures: Path, path: Path) -> None:
    """Targets above the densities fitted to them."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    Z, _ = grid()
    rows = {"target": None, **LABELS}
    figure, axes = plt.subplots(len(rows), len(ENERGIES), figsize=(9, 9.4), layout="constrained")
    for column, name in enumerate(ENERGIES):
        target = log_target(name)(torch.from_numpy(Z)).exp().numpy()
        for row, method in enumerate(rows):
            values = target if row == 0 else np.load(pictures / f"{name}-{method}.npy")
            ax = axes[row, column]
            ax.imshow(
                values.reshape(GRID, GRID), origin="lower", extent=(-BOX, BOX, -BOX, BOX),
                cmap="magma",
            )  # fmt: skip
            ax.set(xticks=[], yticks=[])
            if row == 0:
                ax.set_title(name)
            if column == 0:
                ax.set_ylabel("target" if row == 0 else LABELS[method], fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
