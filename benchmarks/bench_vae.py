"""A boosted posterior beside a Gaussian one and one deep flow, on Frey faces and digits.

All have the same encoder, decoder and likelihood, and the same number of passes of the same number
of epochs; the deep flow has as many parameters as the boosted posterior. Needs `freyfaces.npz`
with an array `X` in the folder `--data`; without it, only digits are run. Finished cells are not
run again.

    python benchmarks/bench_vae.py --data DIR
"""

import argparse
import copy
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import cells
import numpy as np
import report
from sklearn.datasets import load_digits

from skgbnf import GradientBoostedFlowVAE

PAGE = Path(__file__).resolve().parent.parent / "docs" / "vae.md"
ROUNDS = 3
TRANSFORMS = 2
SETS = {
    "faces": {"n_components": 50, "n_levels": 256, "n_train": 1565, "epochs": 100},
    "digits": {"n_components": 20, "n_levels": 17, "n_train": 1397, "epochs": 60},
}
HELD_OUT = 200
ONE = np.ones((1, 1))
"""The weights of a mixture of one component."""

METHODS = {
    "plain": {"flow": "affine", "n_estimators": 1, "fine_tune": ROUNDS},
    "deep flow": {"n_transforms": None, "n_estimators": 1, "fine_tune": ROUNDS},
    "boosted": {"n_transforms": TRANSFORMS, "n_estimators": ROUNDS, "fine_tune": 1},
}
LABELS = {
    "plain": "Gaussian posterior",
    "deep flow": "one deep flow",
    "boosted": f"boosted, up to {ROUNDS} components",
}


def main() -> None:
    options = parse_arguments()
    setting = {name: getattr(options, name) for name in ("seeds", "draws")}
    parameters = {"sets": SETS, "methods": METHODS, "held_out": HELD_OUT}
    fresh = {
        "machine": report.machine(), "setting": setting, "parameters": parameters, "cells": {},
    }  # fmt: skip
    results = cells.load_results(options.out, fresh)
    names = [name for name in SETS if name != "faces" or options.data is not None]
    keys = [(n, m, str(s)) for n in names for s in range(options.seeds) for m in METHODS]
    for key in cells.unfinished(results["cells"], keys):
        name, method, seed = key
        arguments = (options.data, name, method, int(seed), options.draws)
        record = cells.run_guarded(run_cell, arguments, timeout=3600)
        cells.store(options.out, results, key, record)
        print(*key, record, flush=True)
        report.insert(PAGE, "bench_vae", table(results))
    print(table(results))
    report.insert(PAGE, "bench_vae", table(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKGBNF_DATA"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=600)
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_vae.json")
    return parser.parse_args()


def images(data: str | None, name: str) -> np.ndarray:
    X = load_digits().data if name == "digits" else np.load(Path(data) / "freyfaces.npz")["X"]
    return X.reshape(len(X), -1).astype(np.float32)


def run_cell(data: str | None, name: str, method: str, seed: int, draws: int) -> dict:
    """Bounds of one method, in bits per dimension, on images that it has not seen."""
    X = images(data, name)
    X = X[np.random.default_rng(seed).permutation(len(X))]
    n_train = SETS[name]["n_train"]
    train, held_out, test = np.split(X, [n_train, n_train + HELD_OUT])
    model = make_model(name, method, seed)
    start = time.process_time()
    model.fit(train, X_val=held_out)
    seconds = time.process_time() - start
    bits = -1 / (math.log(2) * X.shape[1])
    heaviest = copy.copy(model)
    posterior, k = model.fitted_.posterior, int(model.estimator_weights_.argmax())
    alone = replace(posterior, components=posterior.components[k : k + 1], staged_weights=ONE)
    heaviest.fitted_ = replace(model.fitted_, posterior=alone)
    return {
        "elbo": bits * float(model.elbo(test, draws).mean()),
        "weighted": bits * float(model.score_samples(test, draws).mean()),
        "elbo_of_heaviest": bits * float(heaviest.elbo(test, draws).mean()),
        "elbo_train": bits * float(model.elbo(train[:HELD_OUT], draws).mean()),
        "weights": model.estimator_weights_.round(4).tolist(),
        "epochs": model.n_iter_,
        "parameters": n_parameters(model),
        "cpu_seconds": seconds,
    }


def make_model(name: str, method: str, seed: int) -> GradientBoostedFlowVAE:
    settings = {
        **METHODS[method], "n_components": SETS[name]["n_components"], "random_state": seed,
        "n_levels": SETS[name]["n_levels"], "max_iter": SETS[name]["epochs"],
        "likelihood": "discretized_logistic",
    }  # fmt: skip
    if method == "deep flow":
        settings["n_transforms"] = depth_of_equal_size(settings["n_components"])
    return GradientBoostedFlowVAE(**settings)


def depth_of_equal_size(n_components: int, width: int = 300, hidden: int = 64) -> int:
    """Layers that one flow may have with the parameters of all components of the boosted one."""
    head = (width + 1) * 2 * n_components
    half = n_components // 2
    layer = (half + width + 1) * hidden + (hidden + 1) * 2 * half
    return round((ROUNDS * (head + TRANSFORMS * layer) - head) / layer)


def n_parameters(model: GradientBoostedFlowVAE) -> int:
    """Trained numbers of a model, masks of coupling layers not counted."""
    parts = [model.encoder_, model.decoder_, *model.estimators_]
    arrays = [a for part in parts for n, a in part.arrays.items() if n.endswith(("weight", "bias"))]
    return sum(a.size for a in arrays) + model.decoder_.arrays["offset"].size


def table(results: dict) -> str:
    """Means over seeds with standard errors, and how far the boosted posterior is ahead."""
    lines = [
        "| set | posterior | seeds | parameters | negative ELBO | importance-weighted "
        "| boosted ahead, ELBO | boosted ahead, weighted | CPU seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, methods in results["cells"].items():
        for method in METHODS:
            records = methods.get(method, {})
            good = {seed: r for seed, r in records.items() if "error" not in r}
            if not good:
                continue
            columns = [
                name,
                LABELS[method],
                str(len(good)),
                f"{max(r['parameters'] for r in good.values()):,}",
            ]
            columns += [
                report.mean_text([r[k] for r in good.values()], 4) for k in ("elbo", "weighted")
            ]
            for k in ("elbo", "weighted"):
                boosted = methods.get("boosted", {})
                pairs = [r[k] - boosted[s][k] for s, r in good.items() if k in boosted.get(s, {})]
                columns.append(
                    "" if method == "boosted" or not pairs else report.mean_text(pairs, 4)
                )
            columns.append(f"{np.mean([r['cpu_seconds'] for r in good.values()]):.0f}")
            lines.append("| " + " | ".join(columns) + " |")
    return "\n".join([*lines, "", report.machine_text(results["machine"])])


if __name__ == "__main__":
    main()
