"""Linear layers with three ways to a log-determinant: what each learns, and what each costs.

Digits of scikit-learn, D = 64, spread over their steps by uniform noise, scaled into (0, 1) and
mapped by a logit; log-likelihoods are of the rows after the logit. The same flow "linear" is
trained from the whitening of the rows, as this package does, and from the identity, from where its
matrices have more to learn. "fixed" is the self-normalizing layer with its inverse held at the
identity: what a wrong gradient would reach. Cost is that of one layer amid a flow, forward and
gradient of a batch, on one thread; methods take turns. Finished cells are not run again.

    python benchmarks/bench_linear.py
"""

import argparse
import statistics
import time
from pathlib import Path

import cells
import numpy as np
import report
import torch
from sklearn.datasets import load_digits

from skgbnf.boosting.objectives import MaximumLikelihood
from skgbnf.flows import LOG_DETS, initialise, make_flow
from skgbnf.flows.linear import LinearLayer, SelfNormalizingLinear
from skgbnf.training.component import fit_component
from skgbnf.training.mixture import component_log_prob
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.rows import Rows

PAGE = report.RESULTS.parent.parent / "docs" / "families.md"
STARTS = {"whitened": "whitening", "identity": "identity"}
METHODS = (*LOG_DETS, "fixed")
N_HELD_OUT, N_TEST, ALPHA = 150, 350, 1e-6
TRAINING = {"n_transforms": 3, "batch_size": 64, "learning_rate": 6e-3}
SIZES = (64, 128, 256, 512, 1024, 2048)
BATCH = 256


def main() -> None:
    options = parse_arguments()
    setting = {name: getattr(options, name) for name in ("seeds", "epochs", "repeats", "sizes")}
    parameters = {**TRAINING, "held_out": N_HELD_OUT, "test": N_TEST, "alpha": ALPHA}
    fresh = {
        "machine": report.machine(), "setting": setting, "parameters": parameters, "cells": {},
    }  # fmt: skip
    results = cells.load_results(options.out, fresh)
    keys = [
        ("digits", start, method, str(seed))
        for seed in range(options.seeds) for start in STARTS for method in METHODS
    ]  # fmt: skip
    keys += [("cost", str(n_features)) for n_features in options.sizes]
    for key in cells.unfinished(results["cells"], keys):
        if key[0] == "digits":
            function, arguments = fit_digits, (*key[1:3], int(key[3]), options.epochs)
        else:
            function, arguments = time_layers, (int(key[1]), options.repeats)
        record = cells.run_guarded(function, arguments, timeout=3600)
        cells.store(options.out, results, key, record)
        print(*key, record, flush=True)
    print(text(results))
    report.insert(options.page, "linear", text(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_linear.json")
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


def digits(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to train on, to hold out and to test by, after the logit."""
    rng = np.random.default_rng(seed)
    X = load_digits().data
    share = ALPHA + (1 - 2 * ALPHA) * (X + rng.uniform(size=X.shape)) / 17
    X = rng.permutation(np.log(share) - np.log1p(-share))
    return tuple(np.split(X, [len(X) - N_HELD_OUT - N_TEST, len(X) - N_TEST]))


def fit_digits(start: str, method: str, seed: int, epochs: int) -> dict:
    """Log-likelihoods of one flow, in nats a row, and how wrong its learned inverses are."""
    parts = digits(seed)
    location, scale = parts[0].mean(axis=0), parts[0].std(axis=0)
    train, held_out, test = (
        Rows(torch.from_numpy((X - location) / scale), torch.ones(len(X), dtype=torch.float64))
        for X in parts
    )
    torch.manual_seed(seed)
    log_det = "self_normalizing" if method == "fixed" else method
    flow = make_flow("linear", 64, n_transforms=TRAINING["n_transforms"], log_det=log_det).double()
    if start == "whitened":
        initialise(flow, train.x, train.weights)
    learned = [layer for layer in flow.modules() if isinstance(layer, SelfNormalizingLinear)]
    if method == "fixed":
        for layer in learned:
            hold_inverse(layer)
    settings = TrainingSettings(epochs, TRAINING["batch_size"], TRAINING["learning_rate"])
    began = time.process_time()
    n_iter = fit_component(flow.float(), MaximumLikelihood(train, held_out), settings, seed)
    seconds = time.process_time() - began
    flow.double()
    scores = [rows.mean(component_log_prob(flow, rows.x)) for rows in (train, held_out, test)]
    names = ("train", "held_out", "test")
    return {
        **dict(zip(names, (np.array(scores) - np.log(scale).sum()).tolist(), strict=True)),
        "inverse_errors": [inverse_error(layer) for layer in learned],
        "n_iter": n_iter,
        "cpu_seconds": seconds,
    }


def hold_inverse(layer: SelfNormalizingLinear) -> None:
    """Leave the inverse of a new layer at the identity, and the matrix free of it."""
    layer.inverse_offset.requires_grad_(False)
    layer.penalty = lambda: torch.zeros(())


@torch.no_grad()
def inverse_error(layer: SelfNormalizingLinear) -> float:
    """Norm of R M - I over that of I."""
    matrix = layer.matrix()
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    return float((layer.approximate_inverse() @ matrix - identity).norm() / identity.norm())


def time_layers(n_features: int, repeats: int) -> dict:
    """Median milliseconds of a step of one layer of each kind, and of the step of Adam after it.

    The exact value that a self-normalizing layer takes every so many steps is timed by itself.
    """
    torch.manual_seed(0)
    x = torch.randn(BATCH, n_features)
    layers = {name: make(n_features) for name, make in LOG_DETS.items()}
    adams = {
        n: torch.optim.Adam(layer.parameters(), 1e-4, fused=True) for n, layer in layers.items()
    }
    times: dict[str, dict[str, list[float]]] = {
        name: {"gradient": [], "adam": []} for name in layers
    }
    decomposition = []
    for _ in range(repeats + 1):
        for name, layer in layers.items():
            adams[name].zero_grad()
            times[name]["gradient"].append(milliseconds(gradient_step, layer, x))
            times[name]["adam"].append(milliseconds(adams[name].step))
        matrix = layers["exact"].matrix().detach()
        decomposition.append(milliseconds(torch.linalg.slogdet, matrix))
    # The first turn warms up, and has the exact value in each layer.
    medians = {
        name: {part: statistics.median(values[1:]) for part, values in parts.items()}
        for name, parts in times.items()
    }
    exact_value = statistics.median(decomposition[1:]) / layers["self_normalizing"].period
    medians["self_normalizing"]["exact_value"] = exact_value
    return medians


def milliseconds(task, *arguments) -> float:
    start = time.perf_counter()
    task(*arguments)
    return 1e3 * (time.perf_counter() - start)


def gradient_step(layer: LinearLayer, x: torch.Tensor) -> None:
    """Forward and gradient under a standard normal, as of a layer behind others that learn."""
    y, log_det = layer().call_and_ladj(x.detach().requires_grad_())
    loss = y.square().sum(1).mean() / 2 - log_det.mean()
    if isinstance(layer, SelfNormalizingLinear):
        loss = loss + layer.penalty()
    loss.backward()


def text(results: dict) -> str:
    """Both tables, with a line on each."""
    lines = []
    if "digits" in results["cells"]:
        lines += [*likelihood_table(results["cells"]["digits"]), ""]
    if "cost" in results["cells"]:
        lines += [*cost_table(results["cells"]["cost"]), ""]
    source = (
        "Measured by [bench_linear.py](../benchmarks/bench_linear.py), which writes this section "
        "([JSON](../benchmarks/results/bench_linear.json))."
    )
    return "\n".join([*lines, report.machine_text(results["machine"]), "", source])


def likelihood_table(digits: dict) -> list[str]:
    """Test log-likelihoods, differences from "exact" on the same rows, errors of the inverse."""
    n_seeds = max(len(records) for start in digits.values() for records in start.values())
    lines = [
        f"Digits, 64 columns after a logit: mean test log-likelihood of a row in nats, {n_seeds} "
        'splits, ± its standard error, and the difference from "exact" on the same splits.',
        "",
        '| start | `log_det` | test | less "exact" | norm of R M - I over that of I |',
        "|---|---|---|---|---|",
    ]
    for start, methods in digits.items():
        exact = methods.get("exact", {})
        for method, records in methods.items():
            good = {seed: r for seed, r in records.items() if "error" not in r}
            pairs = [(r["test"], exact[s]["test"]) for s, r in good.items() if s in exact]
            errors = [error for r in good.values() for error in r["inverse_errors"]]
            cells_ = [
                STARTS[start], f'"{method}"' if method in LOG_DETS else "R held at the identity",
                report.mean_text([r["test"] for r in good.values()], 2),
                report.mean_text([a - b for a, b in pairs], 2) if method != "exact" else "",
                f"{np.mean(errors):.3f}" if errors and method != "fixed" else "",
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells_) + " |")
    return lines


def cost_table(cost: dict) -> list[str]:
    """Milliseconds of a step by the number of columns, and where the order changes."""
    sizes = sorted(cost, key=int)
    lines = [
        f"One layer amid a flow, {BATCH} rows, one thread: median milliseconds of forward "
        "and gradient; in brackets with the step of Adam.",
        "",
        "| columns | " + " | ".join(f'"{name}"' for name in LOG_DETS) + " |",
        "|---|" + "---|" * len(LOG_DETS),
    ]
    for size in sizes:
        columns = [
            f"{gradient(r):.2f} ({gradient(r) + r['adam']:.2f})" for r in cost[size].values()
        ]
        lines.append(f"| {size} | " + " | ".join(columns) + " |")
    return [*lines, "", *(crossover(cost, sizes, other) for other in ("exact", "lu"))]


def gradient(times: dict) -> float:
    return times["gradient"] + times.get("exact_value", 0.0)


def crossover(cost: dict, sizes: list[str], other: str) -> str:
    """From where on the self-normalizing layer takes less time than another."""
    ratios = [gradient(cost[s]["self_normalizing"]) / gradient(cost[s][other]) for s in sizes]
    first = len(ratios)
    while first and ratios[first - 1] < 1:
        first -= 1
    where = f"from {sizes[first]} columns on" if first < len(sizes) else "at none of these sizes"
    return (
        f"\"self_normalizing\" takes less time than \"{other}\" {where}; "
        f"its time over that of \"{other}\" is {', '.join(f'{r:.2f}' for r in ratios)}."
    )  # fmt: skip


if __name__ == "__main__":
    main()
