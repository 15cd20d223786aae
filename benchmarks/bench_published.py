"""This package beside published scores of R-BP, on the same splits of two tables.

R-BP is a predictive density that is updated row by row:

Martingale posterior distributions. E. Fong, C. Holmes, S. G. Walker, Journal of the Royal
Statistical Society, Series B, 2023. https://arxiv.org/abs/2103.15671

Tables are wine and breast cancer of scikit-learn, without columns whose absolute correlation with
an earlier one is above 0.98. Half of the rows are for training, in ten random splits. Columns are
standardised by the training half, and scores are mean log-densities of the other half in those
units, in nats. Nothing limits the time of a fit, and there are no other rows for validation: a
method that needs some takes them from the training half.

    python benchmarks/bench_published.py --data DIR

The published scores are read from `DIR/published/r_bp.json`, which holds a list of ten numbers for
each table. Fits that the file of results holds already are not run again.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import report
import torch
from cells import forget, load_results, lookup, run_guarded, store, unfinished
from data import BUNDLED
from flow_peers import Fit, standardise
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from summary import errors_in

from skgbnf import GradientBoostedFlowDensity

TABLES = ["wine", "breast_cancer"]
N_SPLITS, FIRST_SEED = 10, 100
MAX_CORRELATION = 0.98
N_COMPONENTS, COVARIANCES = list(range(1, 9)), ["full", "tied", "diag", "spherical"]
N_FOLDS = 5
TIMEOUT = 4 * 3600
PUBLISHED = "R-BP"

NEED = (
    "Without published scores. Give --data or SKGBNF_DATA a folder with a file "
    f"published/r_bp.json of the scores of {PUBLISHED}: "
    f'{{"wine": [{N_SPLITS} numbers], "breast_cancer": [{N_SPLITS} numbers]}}.'
)

Key = tuple[str, str, str]


def main() -> None:
    torch.set_num_threads(1)
    options = parse_arguments()
    results = load_results(options.out, fresh_results())
    enter_published(results, read_published(options.data))
    keys = [(t, str(k), m) for k in options.splits for t in options.tables for m in options.methods]
    forget(results["cells"], [key for key in keys if key[-1] in options.redo])
    todo = unfinished(results["cells"], keys)
    print(f"{len(keys) - len(todo)} of {len(keys)} cells are there.", flush=True)
    for key in todo:
        record = run_guarded(run_cell, key, TIMEOUT)
        store(options.out, results, key, record)
        print(f"{', '.join(key)}: {record}", flush=True)
    report.write(options.out, results)
    print_table(results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SKGBNF_DATA"), help="default: $SKGBNF_DATA"
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument(
        "--splits", nargs="+", type=int, choices=range(N_SPLITS), default=list(range(N_SPLITS))
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--redo", nargs="+", choices=METHODS, default=[],
        help="run these methods again on the tables and splits chosen",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_published.json")
    return parser.parse_args()


def fresh_results() -> dict:
    return {
        "machine": report.machine(),
        "parameters": GradientBoostedFlowDensity().get_params(),
        "setting": {"max_correlation": MAX_CORRELATION, "first_seed": FIRST_SEED},
        "cells": {},
    }


def read_published(folder: Path | None) -> dict[str, list[float]]:
    """Published scores of all splits by table; none, and a line on what is needed, without."""
    path = Path(folder) / "published" / "r_bp.json" if folder else None
    if path is None or not path.exists():
        print(NEED)
        return {}
    return json.loads(path.read_text())


def enter_published(results: dict, published: dict[str, list[float]]) -> None:
    """Enter published scores beside those of fits, each as a cell of its own."""
    for table, scores in published.items():
        for k, score in enumerate(scores):
            splits = results["cells"].setdefault(table, {})
            splits.setdefault(str(k), {})[PUBLISHED] = {"score": score}


def load_split(table: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows of one split, standardised by the training rows."""
    X = without_repeats(BUNDLED[table]().data)
    n, n_train = len(X), len(X) // 2
    train, test = train_test_split(
        np.arange(n), train_size=n_train, test_size=n - n_train, random_state=FIRST_SEED + k
    )
    scaling = standardise(X[train])
    return scaling(X[train]), scaling(X[test])


def without_repeats(X: np.ndarray) -> np.ndarray:
    """The columns whose correlations with all earlier ones are at most 0.98."""
    correlations = np.triu(np.abs(np.corrcoef(X.T)), k=1)
    return X[:, ~(correlations > MAX_CORRELATION).any(axis=0)]


def run_cell(table: str, split: str, method: str) -> dict:
    """Fit one method to one split of one table and score the test rows."""
    train, test = load_split(table, int(split))
    start, start_cpu = time.perf_counter(), time.process_time()
    fit = METHODS[method](train, int(split))
    record = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
        "chosen": fit.chosen,
    }
    scores = fit.log_density(test)
    n_bad = int((~np.isfinite(scores)).sum())
    if n_bad:
        return {"error": f"{n_bad} of {len(scores)} test rows have no finite log-density"}
    return record | {"score": float(scores.mean())}


def fit_boosted(parameters: dict, X, seed: int) -> Fit:
    """The estimator of this package with default parameters, but for those given."""
    model = GradientBoostedFlowDensity(**parameters, random_state=seed).fit(X)
    return Fit(model.score_samples, [], {"n_estimators": model.n_estimators_})


def fit_gaussian(X, seed: int) -> Fit:
    """One Gaussian with the mean and the unbiased covariance of the training rows."""
    return Fit(multivariate_normal(X.mean(axis=0), np.cov(X.T)).logpdf, [], {})


def fit_gaussian_mixture(X, seed: int) -> Fit:
    """GaussianMixture with covariance type and number of components, 1 to 8, by 5 folds.

    BIC would take as many components as it may: on so few rows some collapse onto single ones.
    """
    search = GridSearchCV(
        GaussianMixture(random_state=seed),
        {"n_components": N_COMPONENTS, "covariance_type": COVARIANCES},
        cv=KFold(N_FOLDS, shuffle=True, random_state=seed),
    ).fit(X)
    return Fit(search.best_estimator_.score_samples, [], search.best_params_)


METHODS: dict[str, Callable[[np.ndarray, int], Fit]] = {
    "skgbnf": partial(fit_boosted, {}),
    "one split": partial(fit_boosted, {"n_folds": None}),
    "gaussian": fit_gaussian,
    "gaussian_mixture": fit_gaussian_mixture,
}
"""The methods by name; "one split" is this package with a single validation set."""


HEADER = [
    "table", "method", "splits", "score", f"ahead of {PUBLISHED}", "in splits", "seconds",
    "CPU seconds",
]  # fmt: skip
WIDTHS = [15, 18, 8, 20, 20, 12, 9, 13]


def print_table(results: dict) -> None:
    """Print a line for each table and method."""
    print()
    for cells in [HEADER, *summary_rows(results)]:
        texts = [f"{c:>{w}}" for c, w in zip(cells[2:], WIDTHS[2:], strict=True)]
        print(f"{cells[0]:<{WIDTHS[0]}}{cells[1]:<{WIDTHS[1]}}" + "".join(texts))
    for error in errors_in(results):
        print(", ".join(error))


def summary_rows(results: dict) -> list[list[str]]:
    """For each table and method the columns of `HEADER`.

    Means over splits have their standard errors. Differences to the published scores are paired:
    each is taken on one split.
    """
    rows = []
    for table in results["cells"]:
        for method in [*METHODS, PUBLISHED]:
            cells = scored(results, table, method)
            if cells:
                rows.append([table, method, *row(cells, scored(results, table, PUBLISHED))])
    return rows


def scored(results: dict, table: str, method: str) -> dict[str, dict]:
    """Cells of a method that have a score, by split."""
    found = {k: lookup(cells, (method,)) or {} for k, cells in results["cells"][table].items()}
    return {k: cell for k, cell in found.items() if "score" in cell}


def row(cells: dict[str, dict], published: dict[str, dict]) -> list[str]:
    """The figures of one method; published scores have no differences and no seconds."""
    scores = {k: cell["score"] for k, cell in cells.items()}
    texts = [str(len(scores)), report.mean_text(list(scores.values()), 3)]
    ahead = [score - published[k]["score"] for k, score in scores.items() if k in published]
    if cells == published or not ahead:
        return [*texts, "", "", *seconds_of(cells)]
    n_ahead = f"{sum(d > 0 for d in ahead)} of {len(ahead)}"
    return [*texts, report.mean_text(ahead, 3), n_ahead, *seconds_of(cells)]


def seconds_of(cells: dict[str, dict]) -> list[str]:
    """Means over the splits, empty of scores that others published."""
    names = "seconds", "cpu_seconds"
    if any(name not in cell for cell in cells.values() for name in names):
        return ["", ""]
    return [f"{np.mean([cell[name] for cell in cells.values()]):.1f}" for name in names]


if __name__ == "__main__":
    main()
