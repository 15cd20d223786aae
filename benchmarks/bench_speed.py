"""What one spline component costs beside a flow of zuko of the same size.

Both are autoregressive rational-quadratic splines with 8 bins; a component of this package also
has a linear layer before each of them and a spline for each column first. Times are medians of
repeats that take turns, so that what else the machine does falls on both. Sampling from an
autoregressive flow takes one pass for each column: its time is also given per column, in passes.

    python benchmarks/bench_speed.py
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import report
import torch
import zuko
from cells import warm_up
from torch import nn
from zuko.lazy import LazyDistribution

from skgbnf.flows import make_flow

SIZES = [
    {"n_features": 10, "transforms": 3, "hidden": [64, 64], "batch": 256},
    {"n_features": 30, "transforms": 5, "hidden": [128, 128], "batch": 256},
]
N_SCORED, N_SAMPLED = 5000, 1000
OURS, THEIRS = "skgbnf", "zuko"


def main() -> None:
    torch.set_num_threads(1)
    warm_up()
    options = parse_arguments()
    runs = [{**size, "milliseconds": time_size(size, options.repeats)} for size in SIZES]
    results = {
        "machine": report.machine(),
        "setting": {"repeats": options.repeats, "scored": N_SCORED, "sampled": N_SAMPLED},
        "runs": runs,
    }
    report.write(options.out, results)
    print_speed(results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_speed.json")
    return parser.parse_args()


def time_size(size: dict, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each task for both packages, as medians."""
    torch.manual_seed(0)
    n_features, hidden = size["n_features"], tuple(size["hidden"])
    flows = {
        OURS: make_flow(
            "nsf", n_features, n_transforms=size["transforms"], hidden_layer_sizes=hidden
        ),
        THEIRS: zuko.flows.NSF(n_features, transforms=size["transforms"], hidden_features=hidden),
    }
    batch = torch.randn(size["batch"], n_features)
    steps = {name: training_step(flow, batch) for name, flow in flows.items()}
    return {
        "training step": medians(steps, repeats),
        "score": medians({n: scoring(f, n_features) for n, f in flows.items()}, repeats),
        "sample": medians({n: sampling(f) for n, f in flows.items()}, max(3, repeats // 8)),
        "pass of the sampled rows": medians(
            {n: scoring(f, n_features, N_SAMPLED) for n, f in flows.items()}, repeats
        ),
    }


def training_step(flow: LazyDistribution, batch: torch.Tensor) -> Callable[[], None]:
    """One step of Adam on one batch, with clipped gradients."""
    parameters = list(flow.parameters())
    adam = torch.optim.Adam(parameters, lr=1e-4)

    def step() -> None:
        adam.zero_grad()
        (-flow().log_prob(batch).mean()).backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        adam.step()

    return step


def scoring(flow: LazyDistribution, n_features: int, n_rows: int = N_SCORED) -> Callable:
    rows = torch.randn(n_rows, n_features)
    return torch.no_grad()(lambda: flow().log_prob(rows))


def sampling(flow: LazyDistribution) -> Callable:
    return torch.no_grad()(lambda: flow().sample((N_SAMPLED,)))


def medians(tasks: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median milliseconds of each task; they take turns, and the first turn does not count."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def passes_per_column(run: dict, name: str) -> float:
    """Time of sampling over the time of one pass of as many rows for each column."""
    times = run["milliseconds"]
    one_pass = times["pass of the sampled rows"][name]
    return times["sample"][name] / (run["n_features"] * one_pass)


def describe(run: dict) -> str:
    widths = " x ".join(map(str, run["hidden"]))
    return f"{run['n_features']} columns, {run['transforms']} layers, {widths}"


def print_speed(results: dict) -> None:
    """Print the median times of both packages and their ratio."""
    print(f"{'size':<34}{'task':<26}{OURS:>10}{THEIRS:>10}{'ratio':>8}")
    for run in results["runs"]:
        for task, times in run["milliseconds"].items():
            ratio = times[OURS] / times[THEIRS]
            line = f"{times[OURS]:>7.1f} ms{times[THEIRS]:>7.1f} ms{ratio:>8.2f}"
            print(f"{describe(run):<34}{task:<26}{line}")
        ours, theirs = passes_per_column(run, OURS), passes_per_column(run, THEIRS)
        print(f"{describe(run):<34}{'sample, passes per column':<26}{ours:>10.2f}{theirs:>10.2f}")


if __name__ == "__main__":
    main()
