"""Whether samples stay where the data are, and whether a classifier tells them from the data.

On each set, methods learn from its training and held-out rows, and draw as many rows as there are
test rows, but no fewer than 10,000 for the first figure: the share of drawn rows with a column
outside three times the range of all rows of the set. The second figure is the area under the ROC
curve of gradient-boosted trees, cross-validated, that tell test rows from as many drawn rows: 0.5
is chance. Writes JSON and `docs/samples.md`.

    python benchmarks/bench_samples.py --data DIR
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import data
import numpy as np
import report
import torch
from cells import load_results, run_guarded, store, unfinished
from flow_peers import standardise
from peers import OURS, fit_gaussian_mixture
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from skgbnf import GradientBoostedFlowDensity

PAGE = Path(__file__).parent.parent / "docs" / "samples.md"
N_DRAWN = 10_000
N_FOLDS = 5
TIMES_RANGE = 3.0

Sampler = Callable[[int], np.ndarray]


def main() -> None:
    torch.set_num_threads(1)
    options = parse_arguments()
    fresh = {
        "machine": report.machine(),
        "parameters": GradientBoostedFlowDensity().get_params(),
        "setting": {"seconds": options.seconds, "seed": options.seed},
        "cells": {},
    }
    results = load_results(options.out, fresh)
    keys = [(name, method) for name in data.names(options.data) for method in SAMPLERS]
    for key in unfinished(results["cells"], keys):
        arguments = (key, options.data, options.seconds, options.seed)
        cell = run_guarded(run_cell, arguments, timeout=600 + 10 * options.seconds)
        store(options.out, results, key, cell)
        print(", ".join(key), cell, flush=True)
    PAGE.write_text(page(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SKGBNF_DATA"), help="default: $SKGBNF_DATA"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="that a fit may take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_samples.json")
    return parser.parse_args()


def ours(train, held_out, seconds: float, seed: int) -> Sampler:
    model = GradientBoostedFlowDensity(max_time=seconds, random_state=seed)
    model.fit(train, X_val=held_out)
    return lambda n: model.sample(n, random_state=seed)


def gaussian_mixture(train, held_out, seconds: float, seed: int) -> Sampler:
    """GaussianMixture of the number of components that held-out rows like best."""
    n_components = fit_gaussian_mixture(train, held_out, seconds, seed).chosen["n_components"]
    scaling = standardise(train)
    model = GaussianMixture(n_components, random_state=seed).fit(scaling(train))
    location, scale = train.mean(axis=0), train.std(axis=0)
    rng = np.random.default_rng(seed)

    def draw(n: int) -> np.ndarray:
        # In random order: they come a component after the other.
        return location + scale * rng.permutation(model.sample(n)[0])

    return draw


SAMPLERS = {OURS: ours, "GaussianMixture": gaussian_mixture}


def run_cell(key: tuple[str, str], folder: Path | None, seconds: float, seed: int) -> dict:
    name, method = key
    table = data.load(name, seed, folder)
    draw = SAMPLERS[method](table.train, table.held_out, seconds, seed)
    rows = np.concatenate([table.train, table.held_out, table.test])
    drawn = draw(max(N_DRAWN, len(table.test)))
    return {
        "outside": float(outside(drawn, rows).mean()),
        "auc": told_apart(table.test, drawn[: len(table.test)], seed),
    }


def outside(drawn: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whether drawn rows have a column outside three times the range of the rows."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    reach = TIMES_RANGE * (high - low) / 2
    return (np.abs(drawn - (low + high) / 2) > reach).any(axis=1)


def told_apart(
    rows: np.ndarray, drawn: np.ndarray, seed: int = 0, categorical: np.ndarray | None = None
) -> float:
    """Area under the ROC curve of a classifier, on rows that it did not learn from.

    `categorical` says which columns hold codes of categories.
    """
    X = np.concatenate([rows, drawn])
    y = np.repeat([0, 1], [len(rows), len(drawn)])
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    classifier = HistGradientBoostingClassifier(random_state=seed, categorical_features=categorical)
    p = cross_val_predict(classifier, X, y, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, p))


def page(results: dict) -> str:
    setting = results["setting"]
    lines = [
        "# Samples",
        "",
        "Two questions to rows drawn from a fitted density. *Outside*: the share of drawn rows, at "
        f"least {N_DRAWN:,}, with a column outside {TIMES_RANGE:g} times the",
        "range of the table. *AUC*: how well gradient-boosted trees, cross-validated, tell drawn "
        "rows from as many test rows; 0.5 is chance, and a table of",
        "few rows gives figures on both sides of it. What is closer to chance is in bold. "
        "GaussianMixture has the number of components "
        f"that held-out rows like best. {setting['seconds']:g} seconds a fit,",
        "the sets of the [comparison of likelihoods](benchmarks.md).",
        "",
        *table_lines(results["cells"]),
        "",
        *report.closing_lines(results["machine"], "bench_samples"),
    ]
    return "\n".join(lines)


def table_lines(cells: dict) -> list[str]:
    titles = [f"{what}, {method}" for what in ("outside", "AUC") for method in SAMPLERS]
    lines = ["| set | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for name, row in cells.items():
        shown = [format(row[m].get("outside", np.nan), ".2%") for m in SAMPLERS]
        values = {m: row[m]["auc"] for m in SAMPLERS if "auc" in row[m]}
        texts = {m: format(row[m].get("auc", np.nan), ".3f") for m in SAMPLERS}
        chance = {m: abs(auc - 0.5) for m, auc in values.items()}
        shown += report.bold_best(chance, texts, min).values()
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return lines


if __name__ == "__main__":
    main()
