"""Affine coupling flows: one against several boosted, and the bound of their log-scales.

Boosting, as Table 1 of the paper has it: of the same flow, the first round, and all rounds, each
trained for as long; and beside these, at the cost of all rounds, one component trained for all
their epochs, and one of as many layers as all of them together.

Bounds: the test log-likelihood at the default rate, all bounds for equal epochs; and whether a deep
flow at ten times that rate diverges: whether training steps fail since loss or gradient are not
finite. Finished cells are not run again.

    python benchmarks/bench_families.py --data DIR
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import cells
import data
import numpy as np
import report
from sklearn.exceptions import ConvergenceWarning
from targets import TARGETS

from skgbnf import GradientBoostedFlowDensity

PAGE = Path(__file__).parent.parent / "docs" / "families.md"
FAMILIES = ["realnvp", "glow"]
AFFINE = ["maf", "realnvp", "glow"]
ROUNDS, LAYERS = 4, 3
BATCH_SIZE = 128
METHODS = {
    "single": {"n_estimators": 1, "epochs": ROUNDS},
    "boosted": {"n_estimators": ROUNDS, "n_iter_no_change": ROUNDS, "epochs": 1},
    "deep": {"n_estimators": 1, "n_transforms": ROUNDS * LAYERS, "epochs": 1},
}
COMPARED = ("first", "single", "deep")
CLAMPS = {"none": None, "6.9": 6.9, "3": 3.0, "2": 2.0}
DEEP, FAST, N_FAST_ROWS, N_FAST_SEEDS = 16, 10, 500, 5


def main() -> None:
    options = parse_arguments()
    known = data.names(options.data)
    sets = options.sets or known
    if unknown := set(sets) - set(known):
        raise SystemExit(f"There are no sets {sorted(unknown)}, only {known}. {data.NEED}")
    fresh = {
        "machine": report.machine(),
        "setting": {"steps": options.steps, "rows": options.rows},
        "parameters": {"methods": METHODS, "layers": LAYERS, "batch_size": BATCH_SIZE},
        "sets": {}, "cells": {},
    }  # fmt: skip
    results = cells.load_results(options.out, fresh)
    for key in cells.unfinished(results["cells"], all_keys(options, sets)):
        cell = cells.run_guarded(run_cell, (key, options), timeout=3600)
        if "set" in cell:
            results["sets"][key[1]] = cell.pop("set")
        cells.store(options.out, results, key, cell)
        print(", ".join(key), cell, flush=True)
        report.insert(PAGE, "coupling", section(results))
    report.insert(PAGE, "coupling", section(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SKGBNF_DATA"), help="default: $SKGBNF_DATA"
    )
    parser.add_argument("--sets", nargs="+", help="names of sets; default: all there are")
    parser.add_argument("--families", nargs="+", default=FAMILIES, help="to boost")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="training steps of a round")
    parser.add_argument("--rows", type=int, help="use no more than so many rows of a file")
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_families.json")
    return parser.parse_args()


def all_keys(options: argparse.Namespace, sets: list[str]) -> list[tuple[str, ...]]:
    """What is measured, set, family and seed of each cell; sets with a known density are mild."""
    seeds = [str(seed) for seed in range(options.seeds)]
    tables = [name for name in sets if name not in TARGETS and name not in data.BUNDLED]
    fast = [str(seed) for seed in range(N_FAST_SEEDS)]
    return [
        *(("boosting", n, kind, s) for s in seeds for n in sets for kind in options.families),
        *(("bounds", n, kind, s) for s in seeds for n in tables for kind in AFFINE),
        *(("fast", "heavy", kind, s) for s in fast for kind in AFFINE),
    ]


def run_cell(key: tuple[str, ...], options: argparse.Namespace) -> dict:
    what, name, kind, seed = key
    if what == "fast":
        return run_fast(kind, int(seed))
    table = data.load(name, int(seed), options.data, options.rows)
    if what == "bounds":
        return run_bounds(table, kind, int(seed), options.steps)
    return {"set": table.describe(), **run_boosting(table, kind, int(seed), options.steps)}


def fitted(table: data.Table, kind: str, seed: int, epochs: int, **parameters):
    """One fit, with the warnings of steps that failed counted."""
    model = GradientBoostedFlowDensity(
        flow=kind, init=None, batch_size=BATCH_SIZE, random_state=seed,
        **{"n_estimators": 1, "n_transforms": LAYERS, "max_iter": epochs, **parameters},
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(table.train, X_val=table.held_out)
    n_failed = sum(issubclass(w.category, ConvergenceWarning) for w in caught)
    return model, n_failed


def epochs_of(table: data.Table, steps: int) -> int:
    return max(1, round(steps / np.ceil(len(table.train) / BATCH_SIZE)))


def run_boosting(table: data.Table, kind: str, seed: int, steps: int) -> dict:
    """Scores of all methods on the test rows, and what boosting gains, row by row."""
    scores, records = {}, {}
    for method, parameters in METHODS.items():
        settings = dict(parameters)
        epochs = settings.pop("epochs") * epochs_of(table, steps)
        start = time.process_time()
        model, _ = fitted(table, kind, seed, epochs, **settings)
        seconds = time.process_time() - start
        scores[method] = model.score_samples(table.test)
        records[method] = {
            "score": float(scores[method].mean()), "seconds": seconds,
            "rounds": model.n_estimators_, "epochs": model.staged_n_iter_.tolist(),
        }  # fmt: skip
        if method == "boosted":
            scores["first"] = next(model.staged_score_samples(table.test))
            records["first"] = {"score": float(scores["first"].mean())}
    for other in COMPARED:
        gain = scores["boosted"] - scores[other]
        error = gain.std(ddof=1) / len(gain) ** 0.5
        records[f"gain over {other}"] = [float(gain.mean()), float(error)]
    return records


def run_bounds(table: data.Table, kind: str, seed: int, steps: int) -> dict:
    """The test score with each bound."""
    epochs = epochs_of(table, steps)
    return {
        name: float(fitted(table, kind, seed, epochs, scale_clamp=clamp)[0].score(table.test))
        for name, clamp in CLAMPS.items()
    }


def run_fast(kind: str, seed: int) -> dict:
    """A deep flow at ten times the rate: whether steps failed, and its test score above that of
    one Gaussian.
    """
    rng = np.random.default_rng(seed)
    table = data.Table("heavy", *(heavy_rows(N_FAST_ROWS, rng) for _ in range(3)))
    gaussian, _ = fitted(table, "affine", seed, 1)
    rate = FAST * GradientBoostedFlowDensity().learning_rate_init
    found = {}
    for name, clamp in CLAMPS.items():
        settings = {"n_transforms": DEEP, "learning_rate_init": rate, "scale_clamp": clamp}
        model, n_failed = fitted(table, kind, seed, 30, **settings)
        gain = model.score(table.test) - gaussian.score(table.test)
        found[name] = {"failed": n_failed > 0, "above_gaussian": float(gain)}
    return found


def heavy_rows(n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Three pairs of a Student t of three degrees of freedom and a wave of it, with noise."""
    X = rng.standard_t(3, size=(n_rows, 6))
    X[:, 1::2] = np.sin(2 * X[:, ::2]) + 0.3 * X[:, 1::2]
    return X


def section(results: dict) -> str:
    found = results["cells"]
    parts = []
    if "boosting" in found:
        parts += ["### One affine coupling flow, several, or a deep one", *boosting(results)]
    if "bounds" in found or "fast" in found:
        parts += ["### The bound of log-scales", *bounds(found)]
    return "\n".join([*parts, "", *report.closing_lines(results["machine"], "bench_families")])


def boosting(results: dict) -> list[str]:
    cells_of = results["cells"]["boosting"]
    lines = [
        "",
        f"Mean test log-likelihood in nats. As in Table 1 of the paper, the first round, a flow of "
        f"{LAYERS} couplings, and all of up to {ROUNDS} rounds, trained for about "
        f"{results['setting']['steps']} steps each. Beside",
        f"them what their steps give otherwise: a single flow trained for {ROUNDS} times as many "
        f"steps, and a deep one of {ROUNDS * LAYERS} couplings. Gains of boosting are paired by "
        "test row, with standard",
        f"errors over the rows; {n_seeds_of(cells_of)}.",
        "",
        "| set | columns | `flow` | first | boosted | single | deep | over first | over single | "
        "over deep | rounds | seconds: single, boosted, deep |",
        "|---|---:|---|" + "---:|" * 8 + "---|",
    ]
    for name, families in cells_of.items():
        for kind, seeds in families.items():
            records = [cell for cell in seeds.values() if "error" not in cell]
            if not records:
                continue
            columns = [name, str(results["sets"][name]["columns"]), f'"{kind}"']
            columns += [
                f"{mean_of(records, m, 'score'):.3f}"
                for m in ("first", "boosted", "single", "deep")
            ]
            columns += [gain_text(records, other) for other in COMPARED]
            columns.append(f"{mean_of(records, 'boosted', 'rounds'):.1f}")
            seconds = [f"{mean_of(records, m, 'seconds'):.0f}" for m in METHODS]
            lines.append("| " + " | ".join([*columns, ", ".join(seconds)]) + " |")
    return [*lines, ""]


def n_seeds_of(cells_of: dict) -> str:
    n_seeds = max(len(seeds) for families in cells_of.values() for seeds in families.values())
    return f"means over {n_seeds} seeds" if n_seeds > 1 else "one seed"


def mean_of(records: list[dict], method: str, what: str) -> float:
    return float(np.mean([record[method][what] for record in records]))


def gain_text(records: list[dict], other: str) -> str:
    """Mean gain over seeds; errors of rows add up in squares, splits being other rows each."""
    gains, errors = np.transpose([record[f"gain over {other}"] for record in records])
    return f"{gains.mean():+.3f} ± {np.sqrt(np.square(errors).sum()) / len(gains):.3f}"


def bounds(found: dict) -> list[str]:
    lines = [
        "",
        "`scale_clamp` at the default rate: test log-likelihood less that without a bound, nats, "
        "mean over tables and seeds with its standard error, of flows of "
        f"{LAYERS} layers; and at {FAST} times that",
        f"rate: seeds on which steps of a flow of {DEEP} layers failed since loss or gradient "
        f"overflowed, of all seeds, on {N_FAST_ROWS} heavy-tailed rows, and in brackets its test "
        "log-likelihood less that of",
        "one Gaussian. After failed steps training goes on from its best state at a lower rate, "
        "so that a flow that diverged is not lost.",
        "",
        "| `flow` | " + " | ".join(f"bound {name}" for name in CLAMPS) + " |",
        "|---|" + "---|" * len(CLAMPS),
    ]
    for kind in AFFINE:
        mild = good_cells(row.get(kind, {}) for row in found.get("bounds", {}).values())
        fast = good_cells([found.get("fast", {}).get("heavy", {}).get(kind, {})])
        row = [bound_text(mild, fast, name) for name in CLAMPS]
        lines.append(f'| "{kind}" | ' + " | ".join(row) + " |")
    return [*lines, ""]


def good_cells(groups) -> list[dict]:
    return [cell for group in groups for cell in group.values() if "error" not in cell]


def bound_text(mild: list[dict], fast: list[dict], name: str) -> str:
    gains = [cell[name] - cell["none"] for cell in mild]
    parts = [report.mean_text(gains, 3)] if gains and name != "none" else []
    if fast:
        n_failed = sum(cell[name]["failed"] for cell in fast)
        above = np.mean([cell[name]["above_gaussian"] for cell in fast])
        parts.append(f"{n_failed} of {len(fast)} ({above:+.2f})")
    return "; ".join(parts)


if __name__ == "__main__":
    main()
