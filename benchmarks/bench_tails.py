"""Heavy tails: a Gumbel copula between Student-t margins of two degrees of freedom.

Beside the mean log-density that a fit loses to the truth on test rows, the quantiles of its
samples at 0.1 % and 99.9 % of each column over those of the truth. Ten of 10,000 rows lie beyond
such a quantile, so that of the training rows is uncertain by a sixth; it is the row to compare
with. Finished cells are not run again.

    python benchmarks/bench_tails.py
"""

import argparse
import time
from pathlib import Path

import cells
import numpy as np
import report
from scipy import stats
from targets import TARGETS

from skgbnf import CopulaBase, GradientBoostedFlowDensity

PAGE = Path(__file__).resolve().parent.parent / "docs" / "families.md"
FLOW = {"n_estimators": 1, "flow": "nsf"}
METHODS = {
    'base="normal"': FLOW,
    'base="student_t"': {**FLOW, "base": "student_t"},
    "CopulaBase()": {**FLOW, "base": CopulaBase()},
    'CopulaBase("gaussian")': {**FLOW, "base": CopulaBase("gaussian")},
    'CopulaBase(marginals="laplace")': {**FLOW, "base": CopulaBase(marginals="laplace")},
    'tail="transform"': {**FLOW, "tail": "transform"},
    "default, 6 rounds": {},
    'default, 6 rounds, tail="transform"': {"tail": "transform"},
}
TRAINING_ROWS = "the training rows"
LEVELS = 0.001, 0.999
LOST, NEAR = 0.5, 0.15


def main() -> None:
    options = parse_arguments()
    setting = {name: getattr(options, name) for name in ("seeds", "rows", "samples", "max_iter")}
    parameters = {name: repr(method) for name, method in METHODS.items()}
    fresh = {
        "machine": report.machine(), "setting": setting, "parameters": parameters, "cells": {},
    }  # fmt: skip
    results = cells.load_results(options.out, fresh)
    sizes = options.rows, options.samples, options.max_iter
    names = (TRAINING_ROWS, *METHODS)
    keys = [(name, str(seed)) for seed in range(options.seeds) for name in names]
    for key in cells.unfinished(results["cells"], keys):
        record = cells.run_guarded(run_cell, (key[0], int(key[1]), *sizes), timeout=3600)
        cells.store(options.out, results, key, record)
        print(*key, record, flush=True)
    print(table(results))
    if options.page:
        report.insert(options.page, "tails", table(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=10_000, help="to fit, and as many to test")
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--max-iter", type=int, default=None, help="epochs a round, else 'auto'")
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_tails.json")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that gets the table")
    return parser.parse_args()


def run_cell(name: str, seed: int, n_rows: int, n_samples: int, max_iter: int | None) -> dict:
    """Loss on test rows in nats, and quantiles of samples over the true ones."""
    target, rng = TARGETS["gumbel"], np.random.default_rng(seed)
    X, X_test = target.sample(n_rows, rng), target.sample(n_rows, rng)
    truth = target.log_density(X_test)
    record = {"floor": -float(truth.mean())}
    if name == TRAINING_ROWS:
        return record | {"quantiles": quantiles(X)}
    model = GradientBoostedFlowDensity(
        **METHODS[name], max_iter=max_iter or "auto", random_state=seed
    )
    start = time.process_time()
    model.fit(X)
    seconds = time.process_time() - start
    loss = truth - model.score_samples(X_test)
    return record | {
        "gap": float(loss.mean()),
        "median_gap": float(np.median(loss)),
        "worst_row": float(loss.max()),
        "quantiles": quantiles(model.sample(n_samples, random_state=seed)),
        "rounds": model.n_estimators_,
        "cpu_seconds": seconds,
    }


def quantiles(X: np.ndarray) -> list[float]:
    """Outer quantiles of both columns as multiples of the true ones."""
    found = np.quantile(X, LEVELS, axis=0)
    return (found / stats.t(2).ppf(LEVELS)[:, None]).ravel().tolist()


def table(results: dict) -> str:
    """A row for each method: losses, runs that were lost, quantiles."""
    header = (
        "fit",
        "gap",
        "worst gap",
        f"gap > {LOST}",
        "quantile",
        f"within {NEAR:.0%}",
        "seconds",
    )
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for name, seeds in results["cells"].items():
        records = [record for record in seeds.values() if "error" not in record]
        columns = [
            name if name == TRAINING_ROWS else f"`{name}`" if "default" not in name else name
        ]
        if name == TRAINING_ROWS:
            columns += [""] * 3
        else:
            gaps = [record["gap"] for record in records]
            n_lost = sum(gap > LOST for gap in gaps) + len(seeds) - len(records)
            columns += [report.mean_text(gaps, 4), f"{max(gaps):.4f}", str(n_lost)]
        ratios = np.array([record["quantiles"] for record in records])
        n_near = int((np.abs(ratios - 1) <= NEAR).sum())
        columns += [f"{ratios.mean():.2f} ± {ratios.std():.2f}", f"{n_near} of {ratios.size}"]
        times = [record["cpu_seconds"] for record in records if "cpu_seconds" in record]
        columns.append(f"{np.mean(times):.0f}" if times else "")
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join([*introduction(results), *lines, "", *closing(results)])


def introduction(results: dict) -> list[str]:
    setting = results["setting"]
    floors = [record["floor"] for seeds in results["cells"].values() for record in seeds.values()
              if "floor" in record]  # fmt: skip
    return [
        f"A Gumbel copula of parameter 2.5 between Student-t margins of two degrees of freedom, "
        f"{setting['rows']:,} rows to fit and as many to test, {setting['seeds']} seeds. Gap: mean "
        "log-density of the truth on the test rows less that of the fit, in nats, ± its standard "
        f"error (the truth itself takes {np.mean(floors):.3f} nats a row here). Quantile: that of "
        f"{setting['samples']:,} samples at 0.1 % and 99.9 % of each column as a multiple of the "
        "true one, mean ± standard deviation over columns, sides and seeds.",
        "",
    ]  # fmt: skip


def closing(results: dict) -> list[str]:
    return [
        report.machine_text(results["machine"])
        + " Measured by [bench_tails.py](../benchmarks/bench_tails.py) "
        "([JSON](../benchmarks/results/bench_tails.json)).",
    ]


if __name__ == "__main__":
    main()
