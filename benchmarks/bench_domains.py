"""Rows of one domain in the units of another, where the truth is known.

For each case and method: the error of rows of B brought to A (root mean square, in standard
deviations of A), and the accuracy on them of a classifier that learned from A. For the aligner,
also whether a classifier tells them from A (AUC, 0.5 is best). Finished cells are not run again.

    python benchmarks/bench_domains.py --data DIR
"""

import argparse
import time
from pathlib import Path

import cells
import numpy as np
import report
from domain_cases import CASES, make_case
from domain_peers import ALONE, METHODS, OURS, UNTOUCHED
from sklearn.ensemble import RandomForestClassifier

from skgbnf import FlowAligner
from skgbnf.metrics import cycle_error, two_sample_auc

PAGE = Path(__file__).resolve().parent.parent / "docs" / "domains.md"
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
    keys = [(case, method) for case in options.cases for method in (*methods_of(case), TARGET)]
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
    parser.add_argument("--page", action="store_true", help="write the table into docs/domains.md")
    return parser.parse_args()


def methods_of(case: str) -> list[str]:
    """All methods, but for maximum likelihood alone, which the cases of two columns show enough."""
    return [method for method in METHODS if method != ALONE or "/" not in case]


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
        "accuracy": accuracy(case.A, case.A_labels, found, case.test_labels),
    }
    if method in (UNTOUCHED, OURS):
        record["auc"] = two_sample_auc(case.A_test, found, n_folds=2)
    return record | log_densities(translate.model, case) if method == OURS else record


def accuracy(X, y, X_test, y_test) -> float:
    return float(RandomForestClassifier(50, random_state=0).fit(X, y).score(X_test, y_test))


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
    methods = [method for method in METHODS if any(method in found[name] for name in cases)]
    rows = [
        [name, *[shown(found[name].get(method)) for method in methods],
         f"{found[name][TARGET]['accuracy']:.2f}"]
        for name in cases
    ]  # fmt: skip
    lines = [report.table(["case", *methods, TARGET], rows), "", ahead(found, cases, methods), ""]
    return "\n".join([*lines, *report.closing_lines(results["machine"], "bench_domains")])


def shown(record: dict | None) -> str:
    return "-" if record is None else f"{record['error']:.2f} / {record['accuracy']:.2f}"


def ahead(found: dict, cases: list[str], methods: list[str]) -> str:
    """In how many cases ours is ahead of all others, and of each."""
    peers = [method for method in methods if method != OURS]

    def wins(others):
        both = [c for c in cases if any(m in found[c] for m in others)]
        ours = [found[c][OURS] for c in both]
        theirs = [[found[c][m] for m in others if m in found[c]] for c in both]
        pairs = [*zip(ours, theirs, strict=True)]
        errors = [all(own["error"] < other["error"] for other in all_) for own, all_ in pairs]
        accuracies = [
            all(own["accuracy"] >= other["accuracy"] for other in all_) for own, all_ in pairs
        ]
        return sum(errors), sum(accuracies), len(both)

    error, share, _ = wins(peers)
    each = "; ".join("{}: {} and {} of {}".format(m, *wins([m])) for m in peers)
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
