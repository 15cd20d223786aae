"""How often the family that the first round of networks chooses changes with the seed.

Each table is split once; fits with ten seeds differ in the validation set or the folds, in the
starts of networks and in the order of rows. What is noted is the component that the third round
takes, the first one that networks compete for, and the test score after it.

    python benchmarks/bench_choices.py --data DIR [--seconds 10]

Fits that the file of results holds already are not run again.
"""

import argparse
import os
import time
from collections import Counter
from pathlib import Path

import data
import numpy as np
import report
import torch
from cells import load_results, run_guarded, store, unfinished

from skgbnf import GradientBoostedFlowDensity

TABLES = [*data.SOURCES, "wine", "breast_cancer"]
N_SEEDS = 10
N_ROUNDS = 3
SPLIT = 0
METHOD = "auto"
TIMEOUT = 3600
HEADER = [
    "table", "training rows", "columns", "choice", "in fits", "next", "in fits",
    "test score", "standard deviation",
]  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    options = parse_arguments()
    fresh = {
        "machine": report.machine(),
        "setting": {"seconds": options.seconds, "rounds": N_ROUNDS, "split": SPLIT},
        "sets": {},
        "cells": {},
    }
    results = load_results(options.out, fresh)
    tables = [name for name in options.tables if name in data.names(options.data)]
    keys = [(name, str(seed), METHOD) for name in tables for seed in range(options.seeds)]
    todo = unfinished(results["cells"], keys)
    print(f"{len(keys) - len(todo)} of {len(keys)} cells are there.", flush=True)
    for key in todo:
        name, seed, _ = key
        results["sets"][name] = data.load(name, SPLIT, options.data).describe()
        arguments = (name, int(seed), options.data, options.seconds)
        record = run_guarded(run_cell, arguments, TIMEOUT)
        store(options.out, results, key, record)
        print(f"{', '.join(key)}: {record}", flush=True)
    report.write(options.out, results)
    for cells in [HEADER, *choice_rows(results)]:
        print(" | ".join(cells))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SKGBNF_DATA"), help="default: $SKGBNF_DATA"
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="number of fits of each table")
    parser.add_argument("--seconds", type=float, default=10.0, help="max_time of each fit")
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_choices.json")
    return parser.parse_args()


def run_cell(name: str, seed: int, folder: Path | None, seconds: float) -> dict:
    """Fit the first rounds with one seed, and note what the last of them chose."""
    table = data.load(name, SPLIT, folder)
    train = np.concatenate([table.train, table.held_out])
    start, start_cpu = time.perf_counter(), time.process_time()
    model = GradientBoostedFlowDensity(N_ROUNDS, max_time=seconds, random_state=seed).fit(train)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
        "choice": choice_of(model),
        "score": float(model.score(table.test)),
    }


def choice_of(model: GradientBoostedFlowDensity) -> str:
    """The component of the third round, in words; "none" if no round of networks was kept."""
    if model.n_estimators_ < N_ROUNDS:
        return "none"
    return model.estimators_[-1].architecture.describe()


def choice_rows(results: dict) -> list[list[str]]:
    """For each table the columns of `HEADER`."""
    rows = []
    for name, seeds in results["cells"].items():
        cells = [cells[METHOD] for cells in seeds.values() if "score" in cells[METHOD]]
        ranks = Counter(cell["choice"] for cell in cells).most_common(2)
        (first, n_first), (second, n_second) = [*ranks, ("", 0)][:2]
        described, scores = results["sets"][name], [cell["score"] for cell in cells]
        rows.append([
            name, str(described["rows"]["train"] + described["rows"]["held_out"]),
            str(described["columns"]), first, f"{n_first} of {len(cells)}",
            second, f"{n_second} of {len(cells)}" if second else "",
            f"{np.mean(scores):.3f}", f"{np.std(scores, ddof=1) if len(scores) > 1 else 0:.3f}",
        ])  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
