"""What a small grid of parameters gains, and the time it takes.

Each candidate is fitted once to 4,000 rows of a table, with one short round; its own validation
set scores it, and the best one is fitted again with more and longer rounds. Beside it the default
parameters with as many rounds and epochs, on the same 1,000 test rows. Times are those of the
processor. Finished cells are not run again.

    python benchmarks/bench_grid.py --data DIR
"""

import argparse
import os
import time
from itertools import product
from pathlib import Path

import data
import numpy as np
import report
from cells import load_results, store, unfinished

from skgbnf import GradientBoostedFlowDensity

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "recipes.md"
TABLES = ("magic", "parkinsons")
GRID = {"flow": ["made_mixture", "nsf", "maf"], "hidden_layer_sizes": [(64, 64), (128, 128)]}
SHORT = {"n_estimators": 1, "max_iter": 10, "init": None}
LONG = {"n_estimators": 3, "max_iter": 30}
CANDIDATES = {
    f"{flow}, {sizes}": {"flow": flow, "hidden_layer_sizes": sizes}
    for flow, sizes in product(*GRID.values())
}
DEFAULT, BEST = "default", "best"
N_ROWS = 5000
SPLIT = 0
HEADER = [
    "table", "best candidate", "seconds of the grid", "its test score", "seconds of its fit",
    "test score of the default", "seconds of its fit", "difference",
]  # fmt: skip


def main() -> None:
    options = parse_arguments()
    setting = {"rows": N_ROWS, "split": SPLIT, "short": SHORT, "long": LONG}
    fresh = {"machine": report.machine(), "setting": setting, "parameters": GRID, "cells": {}}
    results = load_results(options.out, fresh)
    keys = [(name, method) for name in TABLES for method in (*CANDIDATES, BEST, DEFAULT)]
    for key in unfinished(results["cells"], keys):
        table, method = key
        parameters = {**SHORT, **CANDIDATES.get(method, {})}
        if method in (BEST, DEFAULT):
            chosen = CANDIDATES[best_candidate(results["cells"][table])] if method == BEST else {}
            parameters = {**LONG, **chosen}
        record = run_cell(table, options.data, parameters)
        store(options.out, results, key, record)
        print(*key, record, flush=True)
    report.insert(options.page, "bench_grid", page_text(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SKGBNF_DATA"), help="default: $SKGBNF_DATA"
    )
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_grid.json")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that gets the table")
    return parser.parse_args()


def run_cell(name: str, folder: Path | None, parameters: dict) -> dict:
    """Fit once, and note time, validation score and the scores of test rows."""
    table = data.load(name, SPLIT, folder, N_ROWS)
    train = np.concatenate([table.train, table.held_out])
    start = time.process_time()
    model = GradientBoostedFlowDensity(random_state=0, **parameters).fit(train)
    return {
        "cpu_seconds": time.process_time() - start,
        "validation_score": float(model.validation_scores_[-1]),
        "score": float(model.score(table.test)),
    }


def best_candidate(cells: dict) -> str:
    """The candidate whose validation set scores it best."""
    return max(CANDIDATES, key=lambda name: cells[name]["validation_score"])


def grid_rows(results: dict) -> list[list[str]]:
    """For each table the columns of `HEADER`."""
    rows = []
    for name, cells in results["cells"].items():
        best, default = cells[BEST], cells[DEFAULT]
        seconds = sum(cells[candidate]["cpu_seconds"] for candidate in CANDIDATES)
        rows.append([
            name, best_candidate(cells), f"{seconds:.0f}",
            f"{best['score']:.3f}", f"{best['cpu_seconds']:.0f}",
            f"{default['score']:.3f}", f"{default['cpu_seconds']:.0f}",
            f"{best['score'] - default['score']:+.3f}",
        ])  # fmt: skip
    return rows


def page_text(results: dict) -> str:
    """The table, and where it comes from."""
    script = "bench_grid"
    source = (
        f"{report.machine_text(results['machine'])} Measured by "
        f"[{script}.py](../../benchmarks/{script}.py) "
        f"([JSON](../../benchmarks/results/{script}.json))."
    )
    return f"{report.table(HEADER, grid_rows(results))}\n\n{source}"


if __name__ == "__main__":
    main()
