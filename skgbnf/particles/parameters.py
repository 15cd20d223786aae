"""Parameters of a density of configurations: checked, and turned into what is to be done."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from skgbnf._checks import (
    MOST_UNITS,
    Check,
    check_choice,
    check_count,
    check_fraction,
    check_hidden_layer_sizes,
    check_integer,
    check_not_negative,
    check_positive,
    check_verbose,
    or_auto,
    or_none,
)
from skgbnf._device import check_device
from skgbnf.particles.alignment import FEW_NUMBERINGS, MOST_NUMBERINGS, n_numberings
from skgbnf.particles.boosting import ParticlePlan
from skgbnf.particles.configurations import ConfigurationSpace
from skgbnf.particles.flow import ParticleArchitecture
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.progress import Progress

_ROUNDS = {"frames": 6, "flow": 2}
_SHORTEST_TIME = 1e-3
_BATCH_SIZE, _SMALLEST_BATCH, _PAIRS_PER_BATCH = 256, 32, 5000
_PATIENCE = 3
_LIKELIHOOD_RATE = 0.4
"""Learning rate of the likelihood, as a share of that of matching."""


def resolve(estimator: Any, space: ConfigurationSpace, progress: Progress) -> ParticlePlan:
    """Turn the checked parameters into what each round does.

    Parameters
    ----------
    estimator : EquivariantFlowDensity

    space : ConfigurationSpace

    progress : Progress
        Told of each part and epoch.
    """
    sizes = check_hidden_layer_sizes("hidden_layer_sizes", estimator.hidden_layer_sizes)
    rate, batch_size = float(estimator.learning_rate_init), estimator.batch_size
    if isinstance(batch_size, str):
        n_pairs = len(space.types) * (len(space.types) - 1) // 2
        batch_size = min(_BATCH_SIZE, max(_PAIRS_PER_BATCH // n_pairs, _SMALLEST_BATCH))

    def settings(max_iter: int, learning_rate: float, batch_size: int) -> TrainingSettings:
        return TrainingSettings(
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=_PATIENCE,
            n_restarts=1,
            on_epoch=progress.epoch,
            on_part=progress.part,
        )

    return ParticlePlan(
        architecture=ParticleArchitecture(
            types=space.types,
            n_dims=space.n_dims,
            n_basis=int(estimator.n_basis),
            hidden_layer_sizes=sizes,
        ),
        matching=settings(int(estimator.max_iter), rate, int(batch_size)),
        likelihood=settings(
            int(estimator.likelihood_max_iter),
            _LIKELIHOOD_RATE * rate,
            max(int(batch_size) // 2, 1),
        ),
        objective=estimator.objective,
        solver_tol=float(estimator.solver_tol),
        farthest=space.farthest,
        log_det=space.log_det,
    )


def method_of(estimator: Any, types: tuple[int, ...]) -> str:
    """The method, by the number of numberings where it is "auto".

    Raises
    ------
    ValueError
        If there are too many for the one that is asked for.
    """
    n_images = n_numberings(types)
    if estimator.method == "auto":
        return "frames" if n_images <= FEW_NUMBERINGS else "flow"
    if estimator.method == "frames" and n_images > MOST_NUMBERINGS:
        raise ValueError(
            f'method="frames" takes the mean over {n_images:,} numberings of the particles, more '
            f'than {MOST_NUMBERINGS}; use "flow", or tell particles apart by types.'
        )
    return str(estimator.method)


def number_of_rounds(estimator: Any, method: str) -> int:
    """Largest number of rounds."""
    n_estimators = estimator.n_estimators
    return _ROUNDS[method] if isinstance(n_estimators, str) else int(n_estimators)


def density_parameters(estimator: Any, seed: int, start: float) -> dict[str, Any]:
    """Parameters of the density of coordinates in a frame, of a fit that began at `start`."""
    shared = {
        name: getattr(estimator, name)
        for name in (
            "verbose", "fine_tune", "validation_fraction", "n_iter_no_change", "tol", "device"
        )
    }  # fmt: skip
    left = estimator.max_time
    if left is not None:
        left = max(left - (time.perf_counter() - start), _SHORTEST_TIME)
    rounds = number_of_rounds(estimator, "frames")
    return {**shared, "n_estimators": rounds, "max_time": left, "random_state": seed}


def check_parameters(estimator: Any) -> None:
    """Raise unless every constructor parameter is in its range."""
    for name, check in CHECKS.items():
        check(name, getattr(estimator, name))


def _check_types(name: str, value: object) -> None:
    """Raise TypeError unless the value is None or a sequence of integers or strings."""
    if value is None:
        return
    named = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(named, Sequence) or isinstance(named, str):
        raise TypeError(f"{name} must be a sequence with the type of each particle, got {value!r}.")
    if not all(isinstance(kind, int | np.integer | str) for kind in named):
        raise TypeError(f"{name} must hold integers or strings, got {value!r}.")


CHECKS: dict[str, Check] = {
    "n_particles": or_none(partial(check_integer, smallest=2, largest=MOST_UNITS)),
    "n_dims": or_none(partial(check_integer, smallest=1, largest=MOST_UNITS)),
    "types": _check_types,
    "method": partial(check_choice, allowed=("auto", "frames", "flow")),
    "n_estimators": or_auto(check_count, "an integer"),
    "max_time": or_none(check_positive),
    "hidden_layer_sizes": check_hidden_layer_sizes,
    "n_basis": partial(check_integer, smallest=2, largest=MOST_UNITS),
    "objective": partial(check_choice, allowed=("tempered", "weighted")),
    "learning_rate_init": check_positive,
    "batch_size": or_auto(check_count, "an integer"),
    "max_iter": partial(check_integer, smallest=0),
    "likelihood_max_iter": partial(check_integer, smallest=0),
    "solver_tol": check_positive,
    "fine_tune": partial(check_integer, smallest=0),
    "validation_fraction": or_none(check_fraction),
    "n_iter_no_change": check_count,
    "tol": check_not_negative,
    "device": lambda name, value: check_device(value),
    "verbose": lambda name, value: check_verbose(value),
}
"""Checks of the constructor's parameters by name; scikit-learn checks `random_state`."""
