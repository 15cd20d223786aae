"""Density estimators side by side, with the same rows and the same seconds for each.

Sets are the tables of a folder, tables that scikit-learn ships, and known densities; `data.py`
says how they are prepared and split, `peers.py`, `flow_peers.py` and `tree_peers.py` how each
method spends its time. Every (set, seed, method) runs in a process of its own on one thread; one
that fails is recorded with its error. Scores are log-likelihoods of test rows in nats, in the units
of the table. Where a method gives some test rows a density of zero, their share and the mean over
the other rows are recorded, and no mean over all rows.

    python benchmarks/bench_peers.py --data DIR --seconds 60 --seeds 0 1 2

What the file of results holds already is not run again. Scores of single test rows, from which
the standard errors of differences come, are kept beside it in a folder of the same name.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import data
import numpy as np
import report
import torch
from cells import forget, load_results, lookup, run_guarded, store, unfinished
from peers import BOUNDED, METHODS, OURS, absent
from summary import print_peers, zeros_text

from skgbnf import GradientBoostedFlowDensity

Key = tuple[str, str, str]


def main() -> None:
    torch.set_num_threads(1)
    options = parse_arguments()
    results = load_results(options.out, fresh_results(options))
    chosen = choose_sets(options)
    keys = [(s, str(i), m) for i in options.seeds for s in chosen for m in options.methods]
    forget(results["cells"], [key for key in keys if key[-1] in options.redo])
    todo = [key for key in unfinished(results["cells"], keys) if not missing(key)]
    print(f"{len(keys) - len(todo)} of {len(keys)} cells are there or cannot be run.", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(run, key, options): key for key in todo}
        for future in as_completed(futures):
            enter(results, futures[future], future.result(), options.out)
    add_differences(results, options.out)
    report.write(options.out, results)
    print_peers(results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SKGBNF_DATA"), help="default: $SKGBNF_DATA"
    )
    parser.add_argument("--sets", nargs="+", help="default: all; without --data, those that ship")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="that each method may train for, on one set"
    )
    parser.add_argument("--rows", type=int, help="use no more than so many rows of a file")
    parser.add_argument("--jobs", type=int, default=1, help="cells run at once; default: 1")
    parser.add_argument(
        "--redo",
        nargs="+",
        choices=METHODS,
        default=[],
        help="run these methods again on the sets and seeds chosen",
    )
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_peers.json")
    return parser.parse_args()


def fresh_results(options: argparse.Namespace) -> dict:
    return {
        "machine": report.machine(),
        "parameters": GradientBoostedFlowDensity().get_params(),
        "setting": {"seconds": options.seconds, "rows": options.rows, "jobs": options.jobs},
        "sets": {},
        "cells": {},
    }


def choose_sets(options: argparse.Namespace) -> list[str]:
    """The sets to run, or exit with a line on what is needed."""
    known = data.names(options.data)
    unknown = set(options.sets or ()) - set(known)
    if unknown:
        raise SystemExit(f"There are no sets {sorted(unknown)}, only {known}. {data.NEED}")
    if options.data is None and not options.sets:
        print(f"Without tables of your own: {', '.join(known)}. {data.NEED}")
    return options.sets or known


def missing(key: Key) -> bool:
    """Whether a method's package is not there, which is said and not recorded."""
    package = absent(key[-1])
    if package:
        print(f"{', '.join(key)}: left out, {package} is not installed")
    return package is not None


def run(key: Key, options: argparse.Namespace) -> dict:
    arguments = (*key, options.data, options.rows, options.seconds)
    return run_guarded(run_cell, arguments, timeout=300 + 5 * options.seconds)


def run_cell(
    name: str, seed: str, method: str, folder: Path | None, n_rows: int | None, seconds: float
) -> dict:
    """Fit one method to one split of one set and score the test rows."""
    table = data.load(name, int(seed), folder, n_rows)
    start = time.perf_counter()
    fit = METHODS[method](table.train, table.held_out, seconds, int(seed))
    trained = time.perf_counter()
    scores = np.asarray(fit.log_density(table.test), dtype=np.float64)
    outcome = outcome_of(method, scores)
    if "error" in outcome:
        return outcome
    record = {
        **outcome,
        "seconds": trained - start,
        "seconds_to_score": time.perf_counter() - trained,
        "set": table.describe(),
        "chosen": fit.chosen,
        "curve": thinned(fit.curve),
        "test_scores": scores.astype(np.float32),
    }
    if "score" in record and table.truth is not None:
        record["truth"] = float(table.truth.mean())
        record["gap"], record["gap_error"] = mean_and_error(table.truth - scores)
    return record


def outcome_of(method: str, scores: np.ndarray) -> dict:
    """Mean of the test scores, or what there is in its place where some are not finite.

    For a method whose density may be zero: the share of rows where it is, and the mean of the
    others, which is not to be compared with means over all rows. For any other: an error.
    """
    finite = np.isfinite(scores)
    if finite.all():
        return {"score": float(scores.mean())}
    if method in BOUNDED and finite.any() and np.isneginf(scores[~finite]).all():
        return {"zero_share": float((~finite).mean()), "others": float(scores[finite].mean())}
    return {"error": f"{(~finite).sum()} of {len(scores)} test rows have no finite log-density"}


def thinned(curve: list, n_points: int = 60) -> list:
    """No more than so many points of a curve, the first and the last among them, rounded."""
    index = np.unique(np.linspace(0, len(curve) - 1, n_points).round().astype(int))
    return [[round(curve[i][0], 2), round(curve[i][1], 4)] for i in index if curve]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean over rows and its standard error."""
    values = np.asarray(values, dtype=np.float64)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def enter(results: dict, key: Key, record: dict, out: Path) -> None:
    """Keep a cell: single scores in a file of their own, everything else in the results."""
    scores, described = record.pop("test_scores", None), record.pop("set", None)
    if scores is not None:
        path = scores_path(out, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, scores)
        results["sets"][key[0]] = described
    store(out, results, key, record)
    print(f"{', '.join(key)}: {outcome_text(record)}", flush=True)


def outcome_text(record: dict) -> str:
    if "error" in record:
        return record["error"]
    score = f"{record['score']:.4f} nats" if "score" in record else zeros_text(record)
    return f"{score}, {record['seconds']:.0f} s"


def scores_path(out: Path, key: Key) -> Path:
    return out.with_suffix("") / f"{'-'.join(key).replace(' ', '_')}.npy"


def add_differences(results: dict, out: Path) -> None:
    """Enter how far this package is ahead of each method, on the same test rows, where known."""
    for name, seeds in results["cells"].items():
        for seed, cells in seeds.items():
            ours = scores_path(out, (name, seed, OURS))
            for method in cells.keys() - {OURS}:
                theirs = scores_path(out, (name, seed, method))
                cell = lookup(results["cells"], (name, seed, method))
                if "score" in cell and "score" in cells.get(OURS, {}) and ours.exists():
                    pair = np.load(ours).astype(np.float64) - np.load(theirs)
                    cell["ahead"], cell["ahead_error"] = mean_and_error(pair)


if __name__ == "__main__":
    main()
