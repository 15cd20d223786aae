"""Rows of one domain in the units of another, where the truth is known.

For each case and method: the error of rows of B brought to A (root mean square, in standard
deviations of A), whether a classifier tells them from A (AUC, 0.5 is best), and the accuracy on
them of a classifier that learned from A. Finished cells are not run again.

    python benchmarks/bench_domains.py --data DIR
"""

import argparse
import time
from pathlib import Path

import cells
import numpy as np
import report
from domain_cases import CASES, make_case
from domain_peers import METHODS, OURS
from sklearn.ensemble import RandomForestClassifier

from skgbnf import FlowAligner
from skgbnf.metrics import cycle_error, two_sample_auc

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "domains.md"
TARGET = "trained on B"


def main() -> None:
    options = parse_arguments()
    fresh = {
        "machine": report.machine(),
        "setting": {"seed": options.seed},
        "parameters": {},
        "cells": {},
    }
    results = cells.load_results(options.out, fresh)
    keys = [(case, method) for case in options.cases for method in (*METHODS, TARGET)]
    for key in cells.unfinished(results["cells"], keys):
        record = run_cell(*key, options.seed, options.data)
        cells.store(options.out, results, key, record)
        print(*key, record, flush=True)
    if options.page:
        report.insert(PAGE, "domains", table(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder of magic.npz and pendigits.npz")
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_domains.json")
    parser.add_argument("--page", action="store_true", help="write the table into the guide")
    return parser.parse_args()


def run_cell(name: str, method: str, seed: int, data: str | None) -> dict:
    case = make_case(name, seed, data)
    if method == TARGET:
        return {"accuracy": accuracy(case.B, case.B_labels, case.test, case.test_labels)}
    start = time.perf_counter()
    translate = METHODS[method](case.A, case.B)
    seconds = time.perf_counter() - start
    found = translate(case.test)
    scale = case.A.std(axis=0)
    record = {
        "seconds": seconds,
        "error": float(
            np.sqrt(np.square((found - case.truth) / np.where(scale > 0, scale, 1)).mean())
        ),
        "auc": two_sample_auc(case.A_test, found, n_folds=2),
        "accuracy": accuracy(case.A, case.A_labels, found, case.test_labels),
    }
    return record | log_densities(translate.model, case) if method == OURS else record


def accuracy(X, y, X_test, y_test) -> float:
    return float(RandomForestClassifier(100, random_state=0).fit(X, y).score(X_test, y_test))


def log_densities(model: FlowAligner, case) -> dict:
    """Held-out log-density of B, beside that of a separate fit, and what became of the map."""
    alone = FlowAligner(random_state=0).fit(case.B)
    return {
        "log_density": model.score(case.test, domain="B"),
        "log_density_alone": alone.score(case.test),
        "cycle": cycle_error(model, case.test, "B", "A"),
        "layers": list(model.layers_[1]),
    }


def table(results: dict) -> str:
    """Errors and accuracies of all methods, case by case, and how often ours is ahead."""
    found = results["cells"]
    cases = [name for name in CASES if TARGET in found.get(name, {})]
    methods = [method for method in METHODS if all(method in found[name] for name in cases)]
    lines = [
        "| case | " + " | ".join(methods) + f" | {TARGET} |",
        "|---" * (len(methods) + 2) + "|",
    ]
    for name in cases:
        shown = [
            f"{found[name][m]['error']:.2f} / {found[name][m]['accuracy']:.2f}" for m in methods
        ]
        lines.append(
            f"| {name} | " + " | ".join(shown) + f" | {found[name][TARGET]['accuracy']:.2f} |"
        )
    lines += ["", ahead(found, cases, methods), ""]
    return "\n".join([*lines, *report.closing_lines(results["machine"], "bench_domains")])


def ahead(found: dict, cases: list[str], methods: list[str]) -> str:
    """In how many cases ours is ahead of all others, and of each."""
    peers = [method for method in methods if method != OURS]

    def wins(others):
        errors = [
            all(found[c][OURS]["error"] < found[c][m]["error"] for m in others) for c in cases
        ]
        accuracies = [
            all(found[c][OURS]["accuracy"] >= found[c][m]["accuracy"] for m in others)
            for c in cases
        ]
        return sum(errors), sum(accuracies)

    error, share = wins(peers)
    each = "; ".join("{}: {} and {}".format(m, *wins([m])) for m in peers)
    better = sum(
        found[c][OURS]["log_density"] >= found[c][OURS]["log_density_alone"] for c in cases
    )
    worst = max(found[c][OURS]["cycle"] for c in cases)
    return (
        f"Of {len(cases)} cases `{OURS}` has the smallest error of all in {error}, and an accuracy "
        f"that none exceeds in {share}. Against each method alone, in errors and in accuracies: "
        f"{each}. Its held-out log-density of B is at least that of a separate fit in {better} "
        f"cases, and its largest error after a translation to A and back is {worst:.0e}."
    )


if __name__ == "__main__":
    main()
