"""Parameters of an aligner: checked, and turned into what is to be done."""

from functools import partial
from typing import Any

import torch

from skgbnf._checks import (
    Check,
    check_choice,
    check_count,
    check_fraction,
    check_not_negative,
    check_positive,
    or_none,
)
from skgbnf.alignment.fitting import AlignmentSettings
from skgbnf.alignment.maps import LAYERS
from skgbnf.alignment.training import MapSettings
from skgbnf.training.objective import TrainingSettings

OBJECTIVES = ("bound", "hybrid", "mle")


def _check_flow(name: str, value: object) -> None:
    """Raise unless `value` is a sequence of names of layers."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} must be a sequence of names of layers, got {value!r}.")
    for layer in value:
        check_choice(name, layer, tuple(LAYERS))


CHECKS: dict[str, Check] = {
    "objective": partial(check_choice, allowed=OBJECTIVES),
    "flow": _check_flow,
    "n_estimators": check_count,
    "lambda_mle": check_not_negative,
    "transport_penalty": check_not_negative,
    "noise": check_not_negative,
    "n_epochs": check_count,
    "batch_size": check_count,
    "learning_rate_init": check_positive,
    "validation_fraction": or_none(check_fraction),
}
"""Checks of parameters by name; `reference` and `random_state` are checked where they are used."""


def check_alignment_parameters(estimator: Any) -> None:
    """Raise ValueError or TypeError unless every parameter is in its range."""
    for name, check in CHECKS.items():
        check(name, getattr(estimator, name))


def settings_of(estimator: Any, seed: int) -> AlignmentSettings:
    """What a fit is to do, from checked parameters."""
    training = TrainingSettings(
        max_iter=int(estimator.n_epochs),
        batch_size=int(estimator.batch_size),
        learning_rate=float(estimator.learning_rate_init),
        optimiser=partial(torch.optim.Adam, betas=(0.9, 0.99)),
    )
    maps = MapSettings(
        layers=tuple(estimator.flow),
        lambda_mle=float(estimator.lambda_mle) if estimator.objective == "hybrid" else 0.0,
        transport_penalty=float(estimator.transport_penalty),
        training=training,
    )
    return AlignmentSettings(
        objective=estimator.objective,
        n_estimators=int(estimator.n_estimators),
        noise=float(estimator.noise),
        validation_fraction=float(estimator.validation_fraction or 0.0),
        maps=maps,
        seed=seed,
    )
