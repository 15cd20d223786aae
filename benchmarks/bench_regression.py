"""The regressor of this package beside other predictive densities, on published splits.

Tables are `DIR/regression/NAME.npz`, each with arrays `X`, `y` and `test`: the rows of each test
part, padded with -1, of the splits of Gal and Ghahramani (2016). The rest of the rows is for
training, and each method has the same seconds on one thread. Scores are means over test rows: the
log-density in nats, in the units of y, of all rows and of those without a copy among the training
rows; the root mean squared error of the mean; the continuous
ranked probability score, from quantiles; the shares of rows in central intervals of 50 and 90 %.

    python benchmarks/bench_regression.py --data DIR

Scores of Monte Carlo dropout, split by split, are read from `DIR/published/uci_regression.json`.
Fits that the file of results holds already are not run again.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import report
import torch
from cells import forget, load_results, lookup, run_guarded, store, unfinished
from regression_peers import LEVELS, METHODS
from summary import errors_in

from skgbnf import GradientBoostedFlowRegressor

TABLES = ["boston", "concrete", "energy", "power_plant", "protein_target", "wine_red"]
N_SPLITS = 20
PUBLISHED = "mc_dropout"
METRICS = ("score", "score_new", "rmse", "crps", "coverage_50", "coverage_90")
WIDTHS = [16, 19, 8, 18, 18, 17, 17, 8, 8, 9]
HEADER = [
    "table", "method", "splits", "log-density", "no copies", "RMSE", "CRPS", "50 %", "90 %",
    "seconds",
]  # fmt: skip
TIMEOUT = 1800


def main() -> None:
    torch.set_num_threads(1)
    options = parse_arguments()
    results = load_results(options.out, fresh_results(options.seconds))
    enter_published(results, options.data)
    keys = [
        (table, str(k), method)
        for k in options.splits
        for table in options.tables
        for method in options.methods
    ]
    forget(results["cells"], [key for key in keys if key[-1] in options.redo])
    todo = unfinished(results["cells"], keys)
    print(f"{len(keys) - len(todo)} of {len(keys)} cells are there.", flush=True)
    for key in todo:
        arguments = (str(options.data), *key, options.seconds)
        record = run_guarded(run_cell, arguments, TIMEOUT)
        if record is not None:
            store(options.out, results, key, record)
            print(f"{', '.join(key)}: {record}", flush=True)
    report.write(options.out, results)
    print_table(results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKGBNF_DATA"), required=False)
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--splits", nargs="+", type=int, default=list(range(N_SPLITS)))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seconds", type=float, default=20.0, help="for each fit")
    parser.add_argument("--redo", nargs="+", choices=METHODS, default=[])
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_regression.json")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or SKGBNF_DATA a folder that holds regression/NAME.npz")
    return options


def fresh_results(seconds: float) -> dict:
    return {
        "machine": report.machine(),
        "parameters": GradientBoostedFlowRegressor().get_params(),
        "setting": {"seconds": seconds},
        "cells": {},
    }


def enter_published(results: dict, folder: Path) -> None:
    """Enter published scores beside those of fits, each as a cell of its own."""
    path = Path(folder) / "published" / "uci_regression.json"
    if not path.exists():
        print(f"Without published scores: there is no {path.name}.")
        return
    for table, found in json.loads(path.read_text()).items():
        pairs = zip(found["mc_dropout_test_ll"], found["mc_dropout_test_rmse"], strict=True)
        for k, (score, rmse) in enumerate(pairs):
            splits = results["cells"].setdefault(table, {})
            splits.setdefault(str(k), {})[PUBLISHED] = {"score": score, "rmse": rmse}


def load_split(folder: str, table: str, k: int):
    """Training and test rows of one split; None if there is no such split."""
    with np.load(Path(folder) / "regression" / f"{table}.npz") as data:
        X, y, tests = data["X"].astype(float), data["y"].astype(float).ravel(), data["test"]
    if k >= len(tests):
        return None
    test = tests[k][tests[k] >= 0]
    train = np.setdiff1d(np.arange(len(y)), test)
    return X[train], y[train], X[test], y[test]


def run_cell(folder: str, table: str, split: str, method: str, seconds: float) -> dict | None:
    """Fit one method to one split of one table and score the test rows."""
    rows = load_split(folder, table, int(split))
    if rows is None:
        return None
    X, y, X_test, y_test = rows
    start, start_cpu = time.perf_counter(), time.process_time()
    fit = METHODS[method](X, y, seconds, int(split))
    record = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
        "chosen": fit.chosen,
    }
    scores = fit.log_density(X_test, y_test)
    n_bad = int((~np.isfinite(scores)).sum())
    if n_bad:
        return {"error": f"{n_bad} of {len(scores)} test rows have no finite log-density"}
    quantiles = fit.quantiles(X_test)
    mean = quantiles.mean(axis=1) if fit.mean is None else fit.mean(X_test)
    return record | {
        "score": float(scores.mean()),
        "score_new": float(scores[without_copies(X, y, X_test, y_test)].mean()),
        "median_score": float(np.median(scores)),
        "rmse": float(np.sqrt(np.mean(np.square(mean - y_test)))),
        "crps": crps_of_quantiles(y_test, quantiles),
        "coverage_50": coverage(y_test, quantiles, 0.5),
        "coverage_90": coverage(y_test, quantiles, 0.9),
    }


def without_copies(X, y, X_test, y_test) -> np.ndarray:
    """Whether no training row is a copy of each test row, at which a density has no bound."""
    known = {tuple(row) for row in np.column_stack([X, y])}
    return np.array([tuple(row) not in known for row in np.column_stack([X_test, y_test])])


def crps_of_quantiles(y: np.ndarray, quantiles: np.ndarray) -> float:
    """Twice the mean quantile loss over levels."""
    error = y[:, None] - quantiles
    return float(2 * np.maximum(LEVELS * error, (LEVELS - 1) * error).mean())


def coverage(y: np.ndarray, quantiles: np.ndarray, share: float) -> float:
    """Share of values in the central interval of a probability."""
    low, high = ((np.abs(LEVELS - (1 + sign * share) / 2)).argmin() for sign in (-1, 1))
    return float(np.mean((y >= quantiles[:, low]) & (y <= quantiles[:, high])))


def print_table(results: dict) -> None:
    """Print a line for each table and method."""
    print()
    for cells in [HEADER, *summary_rows(results)]:
        print("".join(f"{c:<{w}}" for c, w in zip(cells, WIDTHS, strict=True)))
    for error in errors_in(results):
        print(", ".join(error))


def summary_rows(results: dict) -> list[list[str]]:
    """For each table and method the columns of `HEADER`; means have their standard errors."""
    rows = []
    for table, splits in results["cells"].items():
        for method in [*METHODS, PUBLISHED]:
            found = [lookup(cells, (method,)) or {} for cells in splits.values()]
            found = [cell for cell in found if "score" in cell]
            if found:
                texts = [mean_text(found, name) for name in METRICS]
                rows.append([table, method, str(len(found)), *texts, seconds_text(found)])
    return rows


def mean_text(cells: list[dict], name: str) -> str:
    """Mean over splits; shares have no standard errors."""
    values = [cell[name] for cell in cells if name in cell]
    if not values:
        return ""
    if name.startswith("coverage"):
        return f"{100 * np.mean(values):.1f}"
    return report.mean_text(values, 3)


def seconds_text(cells: list[dict]) -> str:
    values = [cell["seconds"] for cell in cells if "seconds" in cell]
    return f"{np.mean(values):.1f}" if values else ""


if __name__ == "__main__":
    main()
