"""Outliers found by low density, beside other detectors of scikit-learn, and false alarms.

A set has rows of a kind that is rare, the outliers. Of its rows 60 % are for training and 40 % for
the test, both with the same share of outliers. Each method learns twice: from all training rows,
without being told which are outliers, and from the inliers among them. Writes JSON and
`docs/outliers.md`.

    python benchmarks/bench_outliers.py --data DIR
"""

import argparse
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import report
import torch
from cells import load_results, run_guarded, store, unfinished
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgbnf import FlowOutlierDetector, GradientBoostedFlowDensity

PAGE = Path(__file__).parent.parent / "docs" / "outliers.md"
OURS = "FlowOutlierDetector"
CONTAMINATION = 0.05
LEVELS = (0.05, 0.1, 0.2, 0.5)
RARE_SHARE = 0.1
TEST_SHARE = 0.4
N_COMPONENTS = 10
N_DRAWS = 100
CALIBRATIONS: dict[str, str | float] = {"out-of-fold": "auto", "set aside": 0.2}
"""What p-values compare with, and the parameter that says so."""

TRAININGS = {"mixed": "all rows, unlabelled", "inliers": "inliers only"}


def main() -> None:
    torch.set_num_threads(1)
    options = parse_arguments()
    fresh = {
        "machine": report.machine(),
        "parameters": GradientBoostedFlowDensity().get_params(),
        "setting": {
            "seconds": options.seconds,
            "contamination": CONTAMINATION,
            "busy": options.busy,
        },
        "sets": {},
        "cells": {},
        "draws": {},
    }
    results = load_results(options.out, fresh)
    names = [name for name in SETS if name != "mammography" or options.data]
    keys = [(name, str(seed)) for name in names for seed in range(options.seeds)]
    for key in unfinished(results["cells"], keys):
        name, seed = key
        arguments = (name, int(seed), options.data, options.seconds)
        cell = run_guarded(run_cell, arguments, timeout=600 + 10 * options.seconds)
        if "set" in cell:
            results["sets"][name] = cell.pop("set")
        store(options.out, results, key, cell)
        print(", ".join(key), cell, flush=True)
    for (name,) in unfinished(results["draws"], [(name,) for name in names]):
        timeout = 600 + 10 * N_DRAWS
        results["draws"][name] = run_guarded(false_alarms, (name, options.data), timeout)
        report.write(options.out, results)
        print(name, results["draws"][name], flush=True)
    PAGE.write_text(page(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SKGBNF_DATA"),
        help="folder of mammography.npz, with arrays X and outlier; default: $SKGBNF_DATA",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=15.0, help="that a density may train")
    parser.add_argument(
        "--busy", action="store_true", help="other programs run on the processor: the page says so"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_outliers.json")
    return parser.parse_args()


def mammography(rng: np.random.Generator, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(Path(folder) / "mammography.npz") as archive:
        return archive["X"].astype(np.float64), archive["outlier"] == 1


def one_class_rare(
    load: Callable, rare: int, n_components: int | None, rng: np.random.Generator, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one class drawn to be a tenth of all rows; the other classes are inliers."""
    X, y = load(return_X_y=True)
    inliers, outliers = np.flatnonzero(y != rare), np.flatnonzero(y == rare)
    n_outliers = round(len(inliers) * RARE_SHARE / (1 - RARE_SHARE))
    rows = np.concatenate([inliers, rng.choice(outliers, n_outliers, replace=False)])
    X, y = X[rows], y[rows]
    return (PCA(n_components).fit_transform(X) if n_components else X), y == rare


SETS: dict[str, tuple[Callable, str]] = {
    "mammography": (mammography, "calcifications"),
    "breast_cancer": (partial(one_class_rare, load_breast_cancer, 0, None), "malignant"),
    "wine": (partial(one_class_rare, load_wine, 2, None), "class 2"),
    "digits": (partial(one_class_rare, load_digits, 9, N_COMPONENTS), "the digit 9"),
}
"""How the rows of a set are made, and what its outliers are."""


def ours(seconds: float, seed: int):
    density = GradientBoostedFlowDensity(max_time=seconds)
    return FlowOutlierDetector(density, contamination=CONTAMINATION, random_state=seed)


def student_t(seconds: float, seed: int, calibration_fraction: str | float = "auto"):
    return FlowOutlierDetector(
        GradientBoostedFlowDensity(1, flow="student_t"),
        contamination=CONTAMINATION,
        calibration_fraction=calibration_fraction,
        random_state=seed,
    )


def isolation_forest(seconds: float, seed: int):
    return IsolationForest(contamination=CONTAMINATION, random_state=seed)


def local_outlier_factor(seconds: float, seed: int):
    # It goes by distances, which need columns of one scale.
    lof = LocalOutlierFactor(novelty=True, contamination=CONTAMINATION)
    return make_pipeline(StandardScaler(), lof)


def elliptic_envelope(seconds: float, seed: int):
    return EllipticEnvelope(contamination=CONTAMINATION, random_state=seed)


METHODS = {
    OURS: ours,
    f"{OURS}, Student t": student_t,
    "IsolationForest": isolation_forest,
    "LocalOutlierFactor": local_outlier_factor,
    "EllipticEnvelope": elliptic_envelope,
}


def run_cell(name: str, seed: int, folder: Path | None, seconds: float) -> dict:
    """What all methods do on one split of a set, after either training."""
    X_train, X_test, train, test = split(name, seed, folder)
    described = {"columns": X_test.shape[1], "train": [len(train), int(train.sum())],
                 "test": [len(test), int(test.sum())]}  # fmt: skip
    found: dict = {"set": described}
    for training in TRAININGS:
        rows = X_train if training == "mixed" else X_train[~train]
        for method, make in METHODS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                detector = make(seconds, seed).fit(rows)
                found[f"{training}, {method}"] = judge(detector, X_test, test, training)
    return found


def split(name: str, seed: int, folder: Path | None) -> list[np.ndarray]:
    """Training and test rows of a set, and which of each are outliers."""
    X, outlier = SETS[name][0](np.random.default_rng([seed, 11]), folder)
    return train_test_split(X, outlier, test_size=TEST_SHARE, stratify=outlier, random_state=seed)


def judge(detector, X: np.ndarray, outlier: np.ndarray, training: str) -> dict:
    """How well outliers rank first, and the share flagged of rows like those of the training."""
    like_training = X if training == "mixed" else X[~outlier]
    unusual = -detector.decision_function(X)
    found = {
        "auc": float(roc_auc_score(outlier, unusual)),
        "ap": float(average_precision_score(outlier, unusual)),
        "flagged": float(np.mean(detector.predict(like_training) == -1)),
    }
    if hasattr(detector, "pvalues"):
        found["small"] = float(np.mean(detector.pvalues(like_training) <= CONTAMINATION))
    return found


def false_alarms(name: str, folder: Path | None) -> dict:
    """Of many splits: shares of test inliers with a p-value of at most each level.

    For each calibration that differs from those before it.
    """
    found: dict = {}
    for calibration, fraction in CALIBRATIONS.items():
        shares = []
        for seed in range(N_DRAWS):
            X_train, X_test, train, test = split(name, seed, folder)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                detector = student_t(0, seed, fraction).fit(X_train[~train])
            if fraction == "auto" and detector.calibration_folds_ is None:
                break  # no folds: the other calibration
            p = detector.pvalues(X_test[~test])
            shares.append([float(np.mean(p <= level)) for level in LEVELS])
        else:
            found[calibration] = {
                "shares": np.transpose(shares).tolist(),
                "compared": len(detector.calibration_scores_),
                "test": int((~test).sum()),
            }
    return found


def values(results: dict, name: str, training: str, method: str, key: str) -> list:
    """One entry of a method's records on a set, of all seeds."""
    cells = results["cells"][name].values()
    return [cell[f"{training}, {method}"][key] for cell in cells if "error" not in cell]


def page(results: dict) -> str:
    setting, seeds = results["setting"], {s for row in results["cells"].values() for s in row}
    lines = [
        "# Outliers found",
        "",
        "What `FlowOutlierDetector` finds beside other detectors, and how often it is wrong. "
        "[The guide](guide/outliers.md) says what it does, and what no threshold on a density can.",
        "",
        "## Against other detectors",
        "",
        f"Of each set 60 % are for training, 40 % for the test; means over {len(seeds)} seeds. "
        "Methods learn twice: from all training rows, unlabelled,",
        "and from the inliers among them. They have default parameters and "
        f"`contamination={setting['contamination']:g}`; columns are scaled for LocalOutlierFactor, "
        "which goes by distances. A density trains for",
        f"{setting['seconds']:g} seconds at most"
        + (", on a processor that other programs used too" if setting["busy"] else "")
        + "; with more time it may do better. The second column",
        "has the same detector with one Student t as its density, which cannot bend towards a few "
        "outliers among the rows of fit.",
        "",
        *set_lines(results),
        "",
        "Area under the ROC curve / average precision, of test rows with outliers as positives. "
        "Average precision of chance is the share of outliers. The best of each is in bold.",
        "",
        *score_lines(results),
        "",
        "## False alarms",
        "",
        f"Share flagged at `contamination={setting['contamination']:g}`, of test rows like those "
        "of the training: all of them, or inliers; mean over seeds, lowest and highest.",
        "All take their threshold from the rows they were fitted to, where this share is flagged.",
        "",
        *flagged_lines(results),
        "",
        "A density is higher on the rows it was fitted to, so of new rows it flags more. P-values "
        "compare with out-of-fold scores or, on mammography, with rows set aside: share of the",
        f"same test rows with a conformal p-value of at most {setting['contamination']:g}.",
        "",
        *small_lines(results),
        "",
        "Share of test inliers with a conformal p-value of at most t, after training a Student t "
        f"on inliers: mean over {N_DRAWS} random splits, and standard deviation over",
        "splits. With rows set aside no more than t is guaranteed, for the mean over all splits; "
        "with out-of-fold scores the share is only near t. A lower t than 1 / (1 + rows compared",
        "with) is never reached.",
        "",
        *pvalue_lines(results),
        "",
        *report.closing_lines(results["machine"], "bench_outliers"),
    ]
    return "\n".join(lines)


def set_lines(results: dict) -> list[str]:
    lines = ["| set | outliers | columns | training rows | test rows |", "|---|---|---:|---|---|"]
    for name, described in results["sets"].items():
        rows = ("{:,}, {} of them outliers".format(*described[part]) for part in ("train", "test"))
        shown = f"| {name} | {SETS[name][1]} | {described['columns']} | " + " | ".join(rows) + " |"
        lines.append(shown)
    note = f"Digits are their first {N_COMPONENTS} principal components. But for mammography, "
    note += "rows of the rare class are drawn to be a tenth of all."
    return [*lines, "", note]


def score_lines(results: dict) -> list[str]:
    def means(name: str, training: str, key: str) -> dict[str, float]:
        return {m: float(np.mean(values(results, name, training, m, key))) for m in METHODS}

    def bold(found: dict[str, float]) -> dict[str, str]:
        return report.bold_best(found, {m: f"{mean:.3f}" for m, mean in found.items()})

    def shown(name: str, training: str, method: str) -> str:
        return " / ".join(bold(means(name, training, key))[method] for key in ("auc", "ap"))

    return method_lines(results, shown)


def flagged_lines(results: dict) -> list[str]:
    return method_lines(results, partial(share_text, results, "flagged"))


def small_lines(results: dict) -> list[str]:
    ours = [method for method in METHODS if method.startswith(OURS)]
    return method_lines(results, partial(share_text, results, "small"), ours)


def share_text(results: dict, key: str, name: str, training: str, method: str) -> str:
    shares = values(results, name, training, method, key)
    return f"{np.mean(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"


def method_lines(
    results: dict, shown: Callable[[str, str, str], str], methods: Sequence[str] = tuple(METHODS)
) -> list[str]:
    lines = [
        "| set | training | " + " | ".join(methods) + " |",
        "|---|---|" + "---|" * len(methods),
    ]
    for name in results["sets"]:
        for training, meaning in TRAININGS.items():
            row = (shown(name, training, method) for method in methods)
            lines.append(f"| {name} | {meaning} | " + " | ".join(row) + " |")
    return lines


def pvalue_lines(results: dict) -> list[str]:
    titles = " | ".join(f"t = {level:.0%}" for level in LEVELS)
    lines = [
        f"| set | compared with | rows compared with | test inliers | {titles} |",
        "|---|---|" + "---:|" * (len(LEVELS) + 2),
    ]
    for name, ways in results["draws"].items():
        for calibration, found in ways.items():
            shares = (f"{np.mean(s):.1%} ± {np.std(s, ddof=1):.1%}" for s in found["shares"])
            sizes = f"{calibration} | {found['compared']:,} | {found['test']:,}"
            lines.append(f"| {name} | {sizes} | " + " | ".join(shares) + " |")
    return lines


if __name__ == "__main__":
    main()
