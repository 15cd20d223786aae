"""The estimator with default parameters against GaussianMixture, on real tables.

Every table is a file ``NAME.npz`` with an array ``X`` of rows. For each table and seed the rows
are split at random into training, held-out and test rows. Both methods learn from the training
rows; GaussianMixture takes the number of components, the estimator the number of rounds, that
serves the held-out rows best. The time of GaussianMixture covers all the numbers it tries. Scores
are mean log-likelihoods of the test rows in nats, in the units of X.

    python benchmarks/bench_tables.py --data DIR --tables magic protein --seeds 0 1 2

Results are written after each table and seed; what the file holds already is not run again.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import report
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skgbnf import GradientBoostedFlowDensity


def main() -> None:
    options = parse_arguments()
    paths = find_tables(options.data, options.tables)
    results = load_results(options)
    for path in paths:
        for seed in options.seeds:
            if str(seed) not in results["runs"].setdefault(path.stem, {}):
                X = load_rows(path, options.rows)
                results["runs"][path.stem][str(seed)] = compare(X, seed, options.components)
                report.write(options.out, results)
            print_run(path.stem, seed, results["runs"][path.stem][str(seed)])
    print_means(results["runs"])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SKGBNF_DATA"), help="default: $SKGBNF_DATA"
    )
    parser.add_argument("--tables", nargs="+", help="names of files; default: all in the folder")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--components", nargs="+", type=int, default=list(range(1, 51)), metavar="K",
        help="numbers of components that GaussianMixture may choose from; default: 1 to 50",
    )  # fmt: skip
    parser.add_argument("--rows", type=int, help="use only so many rows, drawn at random")
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_tables.json")
    return parser.parse_args()


def find_tables(folder: Path | None, names: list[str] | None) -> list[Path]:
    """The files to run, or exit with a line on what is needed."""
    need = "Give --data or SKGBNF_DATA a folder of files NAME.npz, each with an array X of rows."
    if folder is None:
        sys.exit(need)
    paths = {path.stem: path for path in sorted(Path(folder).glob("*.npz"))}
    if not paths:
        sys.exit(f"There is no file *.npz in {folder}. {need}")
    missing = set(names or ()) - set(paths)
    if missing:
        sys.exit(f"{folder} lacks {sorted(missing)}; it has {sorted(paths)}.")
    return [paths[name] for name in names or paths]


def load_rows(path: Path, n_rows: int | None) -> np.ndarray:
    with np.load(path) as archive:
        if "X" not in archive:
            sys.exit(f"{path} has no array X.")
        X = np.asarray(archive["X"], dtype=np.float64)
    if X.ndim != 2:
        sys.exit(f"{path}: X must be rows by columns, got shape {X.shape}; choose with --tables.")
    if n_rows is None or n_rows >= len(X):
        return X
    return X[np.random.default_rng(0).choice(len(X), n_rows, replace=False)]


def load_results(options: argparse.Namespace) -> dict:
    """Results of an earlier run with the same setting, or an empty record."""
    setting = {"rows": options.rows, "components": options.components}
    fresh = {
        "machine": report.machine(),
        "parameters": GradientBoostedFlowDensity().get_params(),
        "setting": setting,
        "runs": {},
    }
    if not options.out.exists():
        return fresh
    results = json.loads(options.out.read_text())
    for name in ("parameters", "setting"):
        if results[name] != json.loads(json.dumps(fresh[name])):
            sys.exit(f"{options.out} holds results with other {name}: use another --out.")
    return results


def compare(X: np.ndarray, seed: int, components: list[int]) -> dict:
    """Scores and times of both methods on one split of the rows."""
    rest, test = train_test_split(X, test_size=0.2, random_state=seed)
    train, held_out = train_test_split(rest, test_size=0.125, random_state=seed)

    start = time.perf_counter()
    model = GradientBoostedFlowDensity(random_state=seed).fit(train, X_val=held_out)
    seconds = time.perf_counter() - start
    ours = model.score_samples(test)

    start = time.perf_counter()
    theirs, n_components = best_gaussian_mixture(train, held_out, test, components, seed)
    seconds_gaussian = time.perf_counter() - start

    difference = ours - theirs
    return {
        "shape": X.shape,
        "skgbnf": float(ours.mean()),
        "GaussianMixture": float(theirs.mean()),
        "difference": float(difference.mean()),
        "standard_error": float(difference.std(ddof=1) / np.sqrt(len(difference))),
        "rounds": [float(scores.mean()) for scores in model.staged_score_samples(test)],
        "epochs": model.n_iter_.tolist(),
        "weights": model.estimator_weights_.tolist(),
        "n_components": n_components,
        "seconds_skgbnf": seconds,
        "seconds_GaussianMixture": seconds_gaussian,
    }


def best_gaussian_mixture(
    train, held_out, test, components: list[int], seed: int
) -> tuple[np.ndarray, int]:
    """Log-densities of the test rows, in the units of X, under the best by held-out rows.

    The rows are standardised, which suits the small ridge that GaussianMixture adds to each
    covariance, and the log-determinant of the scaling is put back.
    """
    scaler = StandardScaler().fit(train)
    Z, Z_held_out = scaler.transform(train), scaler.transform(held_out)
    candidates = (GaussianMixture(k, random_state=seed).fit(Z) for k in components)
    best = max(candidates, key=lambda model: model.score(Z_held_out))
    log_density = best.score_samples(scaler.transform(test)) - np.log(scaler.scale_).sum()
    return log_density, best.n_components


def print_run(name: str, seed: int, run: dict) -> None:
    ratio = run["seconds_skgbnf"] / run["seconds_GaussianMixture"]
    print(
        f"{name}, seed {seed}: skgbnf {run['skgbnf']:.4f} ({len(run['rounds'])} rounds), "
        f"GaussianMixture {run['GaussianMixture']:.4f} ({run['n_components']} components), "
        f"difference {run['difference']:+.4f} +- {run['standard_error']:.4f} nats, "
        f"{run['seconds_skgbnf']:.0f} s and {run['seconds_GaussianMixture']:.0f} s, "
        f"ratio {ratio:.2f}",
        flush=True,
    )


def print_means(tables: dict) -> None:
    """Print means over the seeds, and the standard error of the mean difference over them."""
    print(
        f"\n{'table':<16}{'skgbnf':>12}{'GaussianMix.':>14}{'difference':>12}{'+-':>9}{'time':>8}"
    )
    for name, runs in tables.items():
        ours, theirs, difference, fast, slow = (
            np.array([run[key] for run in runs.values()])
            for key in (
                "skgbnf", "GaussianMixture", "difference",
                "seconds_skgbnf", "seconds_GaussianMixture",
            )
        )  # fmt: skip
        spread = difference.std(ddof=1) / np.sqrt(len(difference)) if len(runs) > 1 else np.nan
        print(
            f"{name:<16}{ours.mean():>12.4f}{theirs.mean():>14.4f}{difference.mean():>+12.4f}"
            f"{spread:>9.4f}{fast.sum() / slow.sum():>7.2f}x"
        )


if __name__ == "__main__":
    main()
