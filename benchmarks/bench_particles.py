"""Configurations of particles: `EquivariantFlowDensity` against a density that knows no symmetry.

Four particles in the plane with a double well between all pairs (DW4), and thirteen in space that
attract and repel each other after Lennard and Jones (LJ13). The default GradientBoostedFlowDensity
sees orthonormal coordinates of the centred configurations, as they are and with copies of them,
turned, reflected and renumbered at random. All have the same time for a fit. The truth comes from
the energy: its integral is estimated by importance sampling from the fitted density with the
largest effective sample size. Finished cells are not run again.

    python benchmarks/bench_particles.py --data DATA

DATA is a folder with ``dw4.npz`` (`train`, `test`) and ``lj13.npz`` (`val`, `test`): samples of
both energies at temperature 1, rows of coordinates.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import cells
import numpy as np
import report
from scipy.linalg import helmert
from scipy.special import logsumexp

from skgbnf import EquivariantFlowDensity, GradientBoostedFlowDensity

PAGE = Path(__file__).resolve().parent.parent / "docs" / "particles.md"
METHODS = ("equivariant", "augmented", "plain", "flow")
LABELS = {
    "equivariant": "equivariant",
    "augmented": "with moved copies",
    "plain": "as they are",
    "flow": "equivariant, by flows",
}
MOST_COPIES, MOST_ROWS = 100, 50_000
HELD_OUT = 0.1
BY_FLOWS = {("dw4", 1000)}
"""Where flows stand beside frames."""

N_DRAWS = 2000


@dataclass(frozen=True)
class System:
    """A system of particles: where its samples are, and how long a fit may take."""

    n_particles: int
    n_dims: int
    train: str
    sizes: tuple[int, ...]
    seconds: float
    n_test: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_particles, self.n_dims


SYSTEMS = {
    "dw4": System(4, 2, "train", (100, 1000, 10_000, 100_000), 90.0, 2000),
    "lj13": System(13, 3, "val", (100, 1000, 10_000), 180.0, 1000),
}


def energy(system: str, x: np.ndarray) -> np.ndarray:
    """Energy of configurations, at temperature 1."""
    first, second = np.triu_indices(x.shape[1], 1)
    r = np.linalg.norm(x[:, first] - x[:, second], axis=2)
    if system == "dw4":
        return (-4.0 * (r - 4) ** 2 + 0.9 * (r - 4) ** 4).sum(axis=1)
    held = 0.5 * np.square(x - x.mean(axis=1, keepdims=True)).sum(axis=(1, 2))
    return 2.0 * (r**-12 - 2 * r**-6).sum(axis=1) + held


def virial(system: str, x: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Derivative of the energy by the logarithm of all lengths; its mean is the dimension."""
    return (energy(system, x * (1 + step)) - energy(system, x * (1 - step))) / (2 * step)


def read(data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Training and test configurations, centred, float64."""
    system = SYSTEMS[name]
    with np.load(data / f"{name}.npz") as file:
        both = [file[part].astype(np.float64) for part in (system.train, "test")]
    train, test = (rows.reshape(-1, *system.shape) for rows in both)
    return centred(train), centred(test)


def centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=1, keepdims=True)


def moved(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Configurations turned, reflected and renumbered at random."""
    q, r = np.linalg.qr(rng.normal(size=(len(x), x.shape[2], x.shape[2])))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    order = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)
    return np.take_along_axis(x, order[:, :, None], axis=1) @ q


class Table:
    """A density of orthonormal coordinates, without symmetries or with moved copies."""

    def __init__(self, shape: tuple[int, int], seconds: float, *, augmented: bool) -> None:
        self._basis, self._shape = helmert(shape[0]), shape
        self._augmented, self._seconds = augmented, seconds

    def fit(self, x: np.ndarray) -> "Table":
        rng, n_held = np.random.default_rng(0), max(round(HELD_OUT * len(x)), 10)
        density = GradientBoostedFlowDensity(max_time=self._seconds, random_state=0)
        if self._augmented:
            copies = min(MOST_COPIES, max(MOST_ROWS // len(x), 1))
            # All copies of a configuration train, or none does.
            parts = [moved(np.repeat(part, copies, axis=0), rng) for part in np.split(x, [n_held])]
            held, train = map(self._rows, parts)
            self._density = density.fit(train, X_val=held[:: max(len(held) // 2000, 1)])
        else:
            self._density = density.fit(self._rows(x))
        return self

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        return self._density.score_samples(self._rows(x))

    def sample(self, n_samples: int, random_state: int) -> np.ndarray:
        rows = self._density.sample(n_samples, random_state)
        return np.einsum("ki,nkd->nid", self._basis, rows.reshape(n_samples, -1, self._shape[1]))

    def _rows(self, x: np.ndarray) -> np.ndarray:
        return np.einsum("ki,nid->nkd", self._basis, x).reshape(len(x), -1)


def run_cell(name: str, size: int, method: str, data: Path) -> dict:
    """One density: fitted, scored on test configurations, and reweighted to the energy."""
    system = SYSTEMS[name]
    train, test = read(data, name)
    test = test[: system.n_test]
    if method == "equivariant":
        density = EquivariantFlowDensity(max_time=system.seconds, random_state=0)
    elif method == "flow":
        density = EquivariantFlowDensity(method="flow", max_time=system.seconds, random_state=0)
    else:
        density = Table(system.shape, system.seconds, augmented=method == "augmented")
    start = time.perf_counter(), time.process_time()
    density.fit(train[:size])
    spent = time.perf_counter() - start[0], time.process_time() - start[1]
    scores = density.score_samples(test)
    rng = np.random.default_rng(1)
    some = test[:100]
    change = np.abs(density.score_samples(moved(some, rng)) - scores[:100]).max()
    record = {
        "nll": float(-scores.mean()),
        "nll_error": float(scores.std() / len(scores) ** 0.5),
        "seconds": spent[0],
        "cpu_seconds": spent[1],
        "largest_change_when_moved": float(change),
        **reweighted(name, density),
    }
    if isinstance(density, EquivariantFlowDensity):
        errors = density.solver_errors_
        record["method"] = density.method_
        record["rounds"] = density.n_estimators_
        record["solver_error"] = None if errors is None else float(errors.max())
    return record


def reweighted(name: str, density: object) -> dict:
    """Integral of the Boltzmann factor from samples of a density, and their effective number."""
    x = density.sample(N_DRAWS, random_state=0)
    log_weights = -energy(name, x) - density.score_samples(x)
    log_z = float(logsumexp(log_weights) - np.log(len(x)))
    weights = np.exp(log_weights - log_weights.max())
    share = float(weights.sum() ** 2 / (weights**2).sum() / len(x))
    return {
        "log_z": log_z,
        "log_z_error": float((weights / weights.mean()).std() / len(x) ** 0.5),
        "effective_share": share,
    }


def truth(results: dict, name: str) -> dict:
    """Score of the Boltzmann density itself, by the best estimate of its integral."""
    records = [
        record
        for methods in results["cells"].get(name, {}).values()
        for record in methods.values()
        if "log_z" in record
    ]
    best = max(records, key=lambda record: record["effective_share"])
    nll = results["energies"][name]["mean_test_energy"] + best["log_z"]
    return {"nll": nll, "error": best["log_z_error"], "effective_share": best["effective_share"]}


def energies(data: Path) -> dict:
    """Mean energies of test configurations, and the mean of the virial with its error."""
    found = {}
    for name, system in SYSTEMS.items():
        train, test = read(data, name)
        pull = virial(name, train)
        found[name] = {
            "mean_test_energy": float(energy(name, test[: system.n_test]).mean()),
            "virial": float(pull.mean()),
            "virial_error": float(pull.std() / len(pull) ** 0.5),
            "expected_virial": (system.n_particles - 1) * system.n_dims,
        }
    return found


def table(results: dict) -> str:
    """Scores of all cells beside the truth."""
    lines = []
    header = ["system", "samples", *LABELS.values(), "truth", "effective samples"]
    for name, sizes in results["cells"].items():
        true = truth(results, name)
        for size, methods in sizes.items():
            scores = [f"{methods[m]['nll']:.2f}" if m in methods else "" for m in METHODS]
            share = methods.get("equivariant", {}).get("effective_share")
            truth_text = f"{true['nll']:.2f} ± {true['error']:.2f}"
            shown = "" if share is None else f"{share:.1%}"
            lines.append([name.upper(), f"{int(size):,}", *scores, truth_text, shown])
    return report.table(header, lines)


def main() -> None:
    options = parse_arguments()
    setting = {name: vars(system) for name, system in SYSTEMS.items()}
    parameters = {"copies": [MOST_COPIES, MOST_ROWS], "held_out": HELD_OUT, "draws": N_DRAWS}
    fresh = {
        "machine": report.machine(), "setting": setting, "parameters": parameters,
        "energies": energies(options.data), "cells": {},
    }  # fmt: skip
    results = cells.load_results(options.out, fresh)
    keys = [
        (name, str(size), method)
        for method in METHODS
        for name in options.systems
        for size in SYSTEMS[name].sizes
        if method != "flow" or (name, size) in BY_FLOWS
    ]
    for key in cells.unfinished(results["cells"], keys):
        arguments = (key[0], int(key[1]), key[2], options.data)
        record = cells.run_guarded(run_cell, arguments, timeout=3600)
        cells.store(options.out, results, key, record)
        print(*key, record, flush=True)
    script = Path(__file__).stem
    text = "\n".join([table(results), "", *report.closing_lines(results["machine"], script)])
    print(text)
    report.insert(PAGE, script, text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--out", type=Path, default=report.RESULTS / "bench_particles.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
