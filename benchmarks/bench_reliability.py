"""What density estimators do on tables that break them.

Each method is fitted to each table of `hard_tables.py` with several seeds, and is asked for the
log-densities of the rows it was fitted to, and of rows from 10 to 1e8 standard deviations away
along eight random rays. Then each is fitted to rows of known densities with values far away among
them, and asked for new rows of the density. Writes JSON and `docs/reliability.md`.

    python benchmarks/bench_reliability.py
"""

import argparse
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import report
from cells import load_results, run_guarded, store, unfinished
from hard_tables import N_ORDINARY, N_TEST, ORDINARY, TABLES, beyond_all_rows, rays
from peers import METHODS, OURS, absent

COMPARED = [OURS, "GaussianMixture", "KernelDensity", "zuko NSF", "nflows NSF"]
PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
N_SEEDS, N_RAYS = 3, 8
OUTCOMES = {
    "error": "the fit raises an error",
    "not finite": "a row of the table has no finite log-density",
    "not finite far": "a row far from the table has no finite log-density",
    "rises": "beyond ten standard deviations and all rows, log-densities do not fall along a ray",
    "sound": "none of these",
}
"""What may happen, the worst first; a fit counts once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="that a fit may take")
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_reliability.json")
    options = parser.parse_args()
    setting = {"seconds": options.seconds, "seeds": N_SEEDS, "rays": N_RAYS}
    fresh = {"machine": report.machine(), "parameters": {}, "setting": setting, "cells": {}}
    results = load_results(options.out, fresh)
    keys = [
        ("hard", table, method) for table in TABLES for method in COMPARED if not absent(method)
    ]
    for key in unfinished(results["cells"], keys):
        cell = run_guarded(
            run_cell, (*key[1:], options.seconds), timeout=120 + 30 * options.seconds
        )
        store(options.out, results, key, cell)
        print(f"{', '.join(key)}: {cell.get('outcomes', cell)}", flush=True)
    keys = [
        ("ordinary", table, method)
        for table in ORDINARY
        for method in COMPARED
        if not absent(method)
    ]
    for key in unfinished(results["cells"], keys):
        cell = run_guarded(
            run_ordinary, (*key[1:], options.seconds), timeout=120 + 30 * options.seconds
        )
        store(options.out, results, key, cell)
        print(f"{', '.join(key)}: {cell}", flush=True)
    report.write(options.out, results)
    PAGE.write_text(page(results))


def run_cell(table: str, method: str, seconds: float) -> dict:
    """How often each outcome came about, and the errors."""
    X = TABLES[table]()
    found, errors = Counter(), []
    for seed in range(N_SEEDS):
        try:
            found[outcome(X, method, seconds, seed)] += 1
        except Exception as error:
            found["error"] += 1
            errors.append(f"{type(error).__name__}: {error}"[:200])
    return {"outcomes": dict(found), "errors": errors}


def outcome(X: np.ndarray, method: str, seconds: float, seed: int) -> str:
    """What one fit comes to; of very few rows all are both learned from and judged by."""
    order = np.random.default_rng(seed).permutation(len(X))
    n_held_out = len(X) // 5 if len(X) > 5 else 0
    train, held_out = X[order[n_held_out:]], X[order[:n_held_out] if n_held_out else order]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fit = METHODS[method](train, held_out, seconds, seed)
        near = fit.log_density(X)
        spread = np.where(X.min(axis=0) < X.max(axis=0), X.std(axis=0), 0.0)
        rows = rays(X.mean(axis=0), spread, spread > 0, N_RAYS)
        far = fit.log_density(rows.reshape(-1, X.shape[1])).reshape(rows.shape[:2])
    if not np.isfinite(near).all():
        return "not finite"
    if not np.isfinite(far).all():
        return "not finite far"
    falls = np.diff(far[:, beyond_all_rows(X) :], axis=1) < 0
    return "sound" if falls.all() else "rises"


def run_ordinary(table: str, method: str, seconds: float) -> dict:
    """Mean log-densities of new ordinary rows, in truth and by fits."""
    truths, scores = [], []
    for seed in range(N_SEEDS):
        X, (test, truth) = ORDINARY[table].table(seed), ORDINARY[table].test(seed)
        n_held_out = len(X) // 5
        # The first row is the one that may be far away: it is to learn from.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            fit = METHODS[method](X[:-n_held_out], X[-n_held_out:], seconds, seed)
            scores.append(float(np.mean(fit.log_density(test))))
        truths.append(truth)
    return {"truths": truths, "scores": scores}


def page(results: dict) -> str:
    setting = results["setting"]
    lines = [
        "# Reliability",
        "",
        f"Tables that break density estimators, each fitted {setting['seeds']} times by each "
        f"method, {setting['seconds']:g} seconds a fit. Peers get the",
        "recipes of the [comparison of likelihoods](benchmarks.md): standardised rows, sizes and "
        "stopping by held-out rows. Every fit is then asked for",
        "log-densities of its table and of rows from 10 to 1e8 standard deviations away, along "
        f"{setting['rays']} random rays. The worst that happened counts:",
        "",
        *(f"* *{name}*: {meaning}" for name, meaning in OUTCOMES.items()),
        "",
        *outcome_lines(results["cells"]["hard"], setting["seeds"]),
        "",
        "A log-density that is minus infinity, where a density underflows, counts as not finite: "
        "means over such rows, and searches that use them, are lost.",
        "",
        "## Values far away",
        "",
        f"{N_ORDINARY} rows of a known density, some values of which are put far away. What counts "
        f"is how {N_TEST} new rows of the density",
        "score, in nats: what is lost against the truth, mean and standard error over the fits.",
        "",
        *ordinary_lines(results["cells"]["ordinary"]),
        "",
        *report.closing_lines(results["machine"], "bench_reliability"),
    ]
    return "\n".join(lines)


def outcome_lines(cells: dict, n_seeds: int) -> list[str]:
    """A table of how often each outcome came about, with the sound ones of all in the end."""
    methods = [m for m in COMPARED if any(m in row for row in cells.values())]
    total = {method: Counter() for method in methods}
    lines = ["| table | " + " | ".join(methods) + " |", "|---|" + "---|" * len(methods)]
    for table, row in cells.items():
        shown = []
        for method in methods:
            found = outcomes_of(row[method], n_seeds)
            total[method].update(found)
            shown.append(", ".join(f"{found[name]} {name}" for name in OUTCOMES if found[name]))
        lines.append(f"| {table} | " + " | ".join(shown) + " |")
    n_fits = n_seeds * len(cells)
    sound = (f"**{total[method]['sound']} of {n_fits} sound**" for method in methods)
    return [*lines, "| all | " + " | ".join(sound) + " |"]


def ordinary_lines(cells: dict) -> list[str]:
    """A table of what ordinary rows lose against the truth."""
    methods = [m for m in COMPARED if any(m in row for row in cells.values())]
    lines = ["| table | " + " | ".join(methods) + " |", "|---|" + "---|" * len(methods)]
    for table, row in cells.items():
        shown = [lost_text(row[method]) for method in methods]
        lines.append(f"| {table} | " + " | ".join(shown) + " |")
    return lines


def lost_text(cell: dict) -> str:
    """Truth less score, or that there is none."""
    if "scores" not in cell:
        return "error"
    lost = np.subtract(cell["truths"], cell["scores"])
    return report.mean_text(lost.tolist(), 2) if np.isfinite(lost).all() else "not finite"


def outcomes_of(cell: dict, n_fits: int) -> Counter:
    """Counts of a cell; a process that died or did not end counts as so many errors."""
    return Counter(cell.get("outcomes", {"error": n_fits}))


if __name__ == "__main__":
    main()
