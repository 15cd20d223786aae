"""Few deep components or many shallow ones: boosting at equal size and equal seconds.

The rounds times the layers of each component are 8 throughout, and the widths of networks stay
as they are: that is what equal size means here. Numbers of parameters are recorded; they differ
a little, since a component also has splines of the margins, or not, as held-out rows decide. The
whole fit ends by `max_time`. A single round has no objective to choose, so it is run once for
all of them. All rounds are asked for; those are kept that held-out rows gained from.

    python benchmarks/bench_budget.py --data DIR --tables magic protein --seconds 15
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import data
import numpy as np
import report
import torch
from cells import load_results, run_guarded, store, unfinished

from skgbnf import GradientBoostedFlowDensity

SHAPES = [(1, 8), (2, 4), (4, 2), (8, 1)]
PRODUCT = "geometric"
OBJECTIVES = ["weighted", "greedy", "tempered", PRODUCT]
FLOWS = ["realnvp", "nsf"]
SINGLE = "any"

Key = tuple[str, ...]


def main() -> None:
    torch.set_num_threads(1)
    options = parse_arguments()
    results = load_results(options.out, fresh_results(options))
    known = data.names(options.data)
    unknown = set(options.tables) - set(known)
    if unknown:
        raise SystemExit(f"There are no sets {sorted(unknown)}, only {known}. {data.NEED}")
    for key in unfinished(results["cells"], all_keys(options)):
        arguments = (key, options.data, options.rows, options.seconds)
        record = run_guarded(run_cell, arguments, timeout=options.timeout)
        store(options.out, results, key, record)
        print(", ".join(key), record.get("error") or f"{record['score']:.4f} nats", flush=True)
    print_budget(results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SKGBNF_DATA"), help="default: $SKGBNF_DATA"
    )
    parser.add_argument("--tables", nargs="+", default=["magic", "protein"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--flows", nargs="+", choices=FLOWS, default=FLOWS)
    parser.add_argument("--seconds", type=float, default=15.0, help="of a fit")
    parser.add_argument("--rows", type=int, help="use no more than so many rows of a file")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds for one fit")
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_budget.json")
    return parser.parse_args()


def fresh_results(options: argparse.Namespace) -> dict:
    return {
        "machine": report.machine(),
        "parameters": GradientBoostedFlowDensity().get_params(),
        "setting": {"seconds": options.seconds, "rows": options.rows},
        "cells": {},
    }


def all_keys(options: argparse.Namespace) -> list[Key]:
    """Table, seed, flow, shape and objective of each fit."""
    return [
        (table, str(seed), flow, f"{rounds}x{depth}", objective)
        for table in options.tables
        for seed in options.seeds
        for flow in options.flows
        for rounds, depth in SHAPES
        for objective in (OBJECTIVES if rounds > 1 else [SINGLE])
    ]


def run_cell(key: Key, folder: Path | None, n_rows: int | None, seconds: float) -> dict:
    name, seed, flow, shape, objective = key
    rounds, depth = map(int, shape.split("x"))
    table = data.load(name, int(seed), folder, n_rows)
    combined = {"combine": "product"} if objective == PRODUCT else {}
    if objective not in (SINGLE, PRODUCT):
        combined = {"objective": objective}
    model = GradientBoostedFlowDensity(
        rounds, flow=flow, n_transforms=depth, n_iter_no_change=rounds, random_state=int(seed),
        max_time=seconds, **combined,
    )  # fmt: skip
    start = time.perf_counter()
    model.fit(table.train, X_val=table.held_out)
    took = time.perf_counter() - start
    scores = model.score_samples(table.test)
    return {
        "score": float(scores.mean()),
        "score_error": float(scores.std(ddof=1) / np.sqrt(len(scores))),
        "seconds": took,
        "rounds": model.n_estimators_,
        "epochs": model.staged_n_iter_.tolist(),
        "parameters": sum(map(n_parameters, model.estimators_)),
    }


def n_parameters(component) -> int:
    """Numbers that a component learned; its network's masks are not among them."""
    return sum(p.numel() for p in component.architecture.build().parameters())


def print_budget(results: dict) -> None:
    """Print a line for each table, flow and shape with the mean score of each objective."""
    print(f"\n{'table':<12}{'flow':<9}{'rounds x layers':<17}{'parameters':>11}", end="")
    print("".join(f"{objective:>12}" for objective in OBJECTIVES))
    for row, (parameters, scores) in budget_rows(results).items():
        cells = "".join(f"{score:>12.4f}" for score in scores)
        print(f"{row[0]:<12}{row[1]:<9}{row[2]:<17}{parameters:>11}{cells}")


def budget_rows(results: dict) -> dict[Key, tuple[int, list[float]]]:
    """Largest number of parameters, and mean test score over seeds for each objective.

    The keys are table, flow and shape; a score is NaN where there is none.
    """
    grouped: dict[Key, dict[str, list[dict]]] = {}
    for (table, _, flow, shape, objective), cell in leaves(results["cells"], 5):
        row = grouped.setdefault((table, flow, shape), {})
        row.setdefault(objective, []).append(cell)
    return {key: summarised(row) for key, row in grouped.items()}


def leaves(grid: dict, depth: int) -> Iterator[tuple[Key, dict]]:
    """Paths of so many names through nested dicts, and what is at their ends."""
    for name, inside in grid.items():
        if depth == 1:
            yield (name,), inside
        else:
            yield from (((name, *key), cell) for key, cell in leaves(inside, depth - 1))


def summarised(row: dict[str, list[dict]]) -> tuple[int, list[float]]:
    counts = [cell.get("parameters", 0) for cells in row.values() for cell in cells]
    wanted = [row.get(objective) or row.get(SINGLE, []) for objective in OBJECTIVES]
    return max(counts), [mean_score(cells) for cells in wanted]


def mean_score(cells: list[dict]) -> float:
    return float(np.mean([cell.get("score", np.nan) for cell in cells] or [np.nan]))


if __name__ == "__main__":
    main()
