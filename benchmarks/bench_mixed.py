"""Tables of categories, numbers and gaps: densities, samples and completions of several methods.

Tables are `DIR/mixed/NAME.csv.gz`; `mixed_tables.py` says how they are read and in which units all
log-densities are, `mixed_peers.py` what the methods do. 80 % of the rows train. Measured are

* log-densities of test rows in nats, of the cells that are there: their mean, and that over
  complete rows for methods that need them; where a density is zero, the share of these rows, the
  mean of the others, and the mean with the lowest of these in place of -inf;
* whether gradient-boosted trees, cross-validated, tell test rows from as many samples: the area
  under their ROC curve, 0.5 is chance;
* completions of test rows, no more than 2,000, with 20 % of the cells hidden: log-densities of
  hidden cells given the rest, the root mean squared error of numbers in standard deviations of
  their columns, and the accuracy of categories;
* what is lost if half of the training cells are hidden, and if these are imputed before the fit.

    python benchmarks/bench_mixed.py --data DIR

What the file of results holds already is not run again. The run needs pandas; pyvinecopulib and
sdv (extra `bench`) are of single methods, which are left out without them.
"""

import argparse
import os
import time
from pathlib import Path

import mixed_tables
import numpy as np
import report
import torch
from bench_peers import mean_and_error, scores_path
from bench_samples import told_apart
from cells import forget, load_results, lookup, run_guarded, store, unfinished
from mixed_peers import METHODS, NEEDS
from mixed_tables import MixedFit, MixedTable, hide
from peers import OURS, absent
from summary import errors_in

from skgbnf import GradientBoostedFlowDensity

HIDDEN_SHARE = 0.2
MOST_COMPLETED = 2000
MOST_LEVELS = 255
"""More the classifier cannot take as categories; it gets their codes as numbers."""

TIMEOUT = 3600
MEASURES = {
    "score": 3, "ahead": 3, "score_complete": 3, "zero_share": 4, "floored": 3, "auc": 3,
    "log_score": 3, "rmse": 3, "accuracy": 3, "seconds": 0, "cpu_seconds": 0,
}  # fmt: skip
HEADER = [
    "table", "method", "seeds", "log-density", f"{OURS} ahead", "complete rows", "at -inf",
    "floored", "AUC", "log score", "RMSE", "accuracy", "seconds", "CPU",
]  # fmt: skip
GAPS_HEADER = ["table", "method", "all cells", "half hidden", "half imputed", "share of the loss"]

Key = tuple[str, str, str]


def main() -> None:
    torch.set_num_threads(1)
    options = parse_arguments()
    results = load_results(options.out, fresh_results(options))
    tables = options.tables or mixed_tables.names(options.data)
    keys = [(t, str(s), m) for s in options.seeds for t in tables for m in options.methods]
    forget(results["cells"], [key for key in keys if key[-1] in options.redo])
    todo = [key for key in unfinished(results["cells"], keys) if not missing(key)]
    print(f"{len(keys) - len(todo)} of {len(keys)} cells are there or cannot be run.", flush=True)
    for key in todo:
        arguments = (*key, options.data, options.rows, options.seconds)
        enter(results, key, run_guarded(run_cell, arguments, TIMEOUT), options.out)
    add_differences(results, options.out)
    report.write(options.out, results)
    print_tables(results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKGBNF_DATA"))
    parser.add_argument("--tables", nargs="+", help="default: all in the folder")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seconds", type=float, default=120.0, help="for each fit")
    parser.add_argument("--rows", type=int, help="use no more than so many rows of a table")
    parser.add_argument("--redo", nargs="+", choices=METHODS, default=[])
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_mixed.json")
    options = parser.parse_args()
    if options.data is None:
        parser.error(mixed_tables.NEED)
    return options


def fresh_results(options: argparse.Namespace) -> dict:
    return {
        "machine": report.machine(),
        "parameters": GradientBoostedFlowDensity().get_params(),
        "setting": {"seconds": options.seconds, "rows": options.rows},
        "tables": {},
        "cells": {},
    }


def missing(key: Key) -> bool:
    """Whether a method's package is not there, which is said and not recorded."""
    package = absent(key[-1], NEEDS)
    if package:
        print(f"{', '.join(key)}: left out, {package} is not installed")
    return package is not None


def run_cell(
    name: str, seed: str, method: str, folder: Path, n_rows: int | None, seconds: float
) -> dict:
    """Fit one method to one split of one table and measure what it can do."""
    table = mixed_tables.load(folder, name, int(seed), n_rows)
    start, start_cpu = time.perf_counter(), time.process_time()
    fit = METHODS[method](table, seconds, int(seed))
    record = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
        "table": table.describe(),
        "chosen": fit.chosen,
    }
    if fit.log_density:
        scores = fit.log_density(table.test)
        record |= density_record(scores, ~np.isnan(table.test).any(axis=1))
        record["test_scores"] = scores.astype(np.float32)
    if fit.sample:
        record |= sample_record(fit, table, int(seed))
    if fit.complete:
        record |= completion_record(fit, table, int(seed))
    return record | {"seconds_with_measures": time.perf_counter() - start}


def density_record(scores: np.ndarray, complete: np.ndarray) -> dict:
    """Means of log-densities over all rows and over complete ones.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        NaN where a method has no answer since a cell is missing, and nowhere else.

    complete : ndarray of bool of shape (n_samples,)
    """
    answered = scores[~np.isnan(scores)]
    if np.isnan(scores[complete]).any() or np.isposinf(answered).any():
        n_bad = int((np.isnan(scores) & complete).sum() + np.isposinf(scores).sum())
        return {"error": f"{n_bad} of {len(scores)} test rows have no log-density"}
    record = {"n_complete": int(complete.sum())}
    finite = answered[np.isfinite(answered)]
    if len(finite) < len(answered):
        record["zero_share"] = 1 - len(finite) / len(answered)
        record["others"] = float(finite.mean())
        record["floored"] = float(np.maximum(answered, finite.min()).mean())
    if np.isfinite(scores).all():
        record["score"] = float(scores.mean())
    if complete.any() and np.isfinite(scores[complete]).all():
        record["score_complete"] = float(scores[complete].mean())
    return record


def sample_record(fit: MixedFit, table: MixedTable, seed: int) -> dict:
    """Whether a classifier tells samples from test rows, or from complete ones."""
    rows = table.test
    if not fit.takes_gaps:
        rows = rows[~np.isnan(rows).any(axis=1)]
    few = np.array([len(column.levels) <= MOST_LEVELS for column in table.columns])
    auc = told_apart(rows, fit.sample(len(rows)), seed, table.categorical & few)
    return {"auc": auc, "auc_rows": len(rows)}


def completion_record(fit: MixedFit, table: MixedTable, seed: int) -> dict:
    """Log scores, errors and accuracies of hidden cells of test rows."""
    rows = table.test[:MOST_COMPLETED]
    given = hide(rows, HIDDEN_SHARE, seed)
    hidden = np.isnan(given) & ~np.isnan(rows)
    record = {"n_hidden": int(hidden.sum())}
    if fit.log_density:
        gained = fit.log_density(rows) - fit.log_density(given)
        record["log_score"] = float(gained.sum() / hidden.sum())
    return record | errors_of_cells(rows, fit.complete(given), hidden, table)


def errors_of_cells(
    rows: np.ndarray, filled: np.ndarray, hidden: np.ndarray, table: MixedTable
) -> dict:
    """Errors of numbers in standard deviations of their columns, and accuracy of categories."""
    scale = np.nanstd(table.train, axis=0)
    numeric = hidden & ~table.categorical & (scale > 0)
    categories = hidden & [column.kind == "categorical" for column in table.columns]
    errors = ((filled - rows) / np.where(scale > 0, scale, 1.0))[numeric]
    record = {"rmse": float(np.sqrt(np.mean(errors**2)))} if numeric.any() else {}
    if categories.any():
        record["accuracy"] = float((filled == rows)[categories].mean())
    return record


def enter(results: dict, key: Key, record: dict, out: Path) -> None:
    """Keep a cell: single scores in a file of their own, everything else in the results."""
    scores, described = record.pop("test_scores", None), record.pop("table", None)
    if scores is not None:
        path = scores_path(out, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, scores)
    if described is not None:
        results["tables"][key[0]] = described
    store(out, results, key, record)
    print(f"{', '.join(key)}: {record}", flush=True)


def add_differences(results: dict, out: Path) -> None:
    """Enter how far this package is ahead of each method, on rows where both have a density."""
    for name, seeds in results["cells"].items():
        for seed, cells in seeds.items():
            ours = scores_path(out, (name, seed, OURS))
            for method, cell in cells.items():
                theirs = scores_path(out, (name, seed, method))
                if method != OURS and ours.exists() and theirs.exists() and "error" not in cell:
                    pair = np.load(ours).astype(np.float64) - np.load(theirs)
                    pair = pair[np.isfinite(pair)]
                    cell["ahead"], cell["ahead_error"] = mean_and_error(pair)


def print_tables(results: dict) -> None:
    for header, rows in [(HEADER, summary_rows(results)), (GAPS_HEADER, gap_rows(results))]:
        widths = [max(len(row[i]) for row in [header, *rows]) + 2 for i in range(len(header))]
        print()
        for row in [header, *rows]:
            print("".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)))
    for error in errors_in(results):
        print(", ".join(error))


def summary_rows(results: dict) -> list[list[str]]:
    """For each table and method the columns of `HEADER`; means have their standard errors."""
    rows = []
    for name in results["cells"]:
        for method in METHODS:
            found = cells_of(results, name, method)
            if found and "half" not in method:
                texts = [values_text(found, key, n) for key, n in MEASURES.items()]
                rows.append([name, method, str(len(found)), *texts])
    return rows


def cells_of(results: dict, name: str, method: str) -> list[dict]:
    """Cells of all seeds that did not fail."""
    cells = [lookup(seeds, (method,)) or {} for seeds in results["cells"][name].values()]
    return [cell for cell in cells if "seconds" in cell and "error" not in cell]


def values_text(cells: list[dict], key: str, n_digits: int) -> str:
    """Mean over seeds, if all of them have one; the share of rows at -inf is 0 if it is absent."""
    values = [cell.get(key, 0.0 if key == "zero_share" else None) for cell in cells]
    if any(value is None for value in values) or (key == "zero_share" and not any(values)):
        return ""
    return report.mean_text(values, n_digits)


def gap_rows(results: dict) -> list[list[str]]:
    """For each table and method the columns of `GAPS_HEADER`.

    The last one is what a fit to half of the cells loses, over what a fit to imputed rows loses.
    """
    rows = []
    for name in results["cells"]:
        for method in METHODS:
            variants = [method, f"{method}, half hidden", f"{method}, half imputed"]
            found = [cells_of(results, name, variant) for variant in variants]
            if not all(cells and all("score" in cell for cell in cells) for cells in found):
                continue
            whole, hidden, imputed = (np.mean([c["score"] for c in cells]) for cells in found)
            share = f"{(whole - hidden) / (whole - imputed):.2f}" if whole > imputed else ""
            rows.append([name, method, *(f"{s:.3f}" for s in (whole, hidden, imputed)), share])
    return rows


if __name__ == "__main__":
    main()
