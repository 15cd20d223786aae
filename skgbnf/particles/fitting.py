"""The fit of a density of configurations, from what the caller passes to what it leaves behind."""

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from skgbnf._device import fit_device, training_mode
from skgbnf._random import derive_seed, seed_from
from skgbnf.boosting.base import Limits
from skgbnf.boosting.rounds import run_rounds
from skgbnf.estimators.density import GradientBoostedFlowDensity
from skgbnf.particles.boosting import ParticleBoosting
from skgbnf.particles.configurations import ConfigurationSpace, centred, read_configurations
from skgbnf.particles.fitted import FittedFlow, FittedFrames
from skgbnf.particles.frames import Frame, choose_frame, choose_template, images, nearest_images
from skgbnf.particles.parameters import (
    check_parameters,
    density_parameters,
    method_of,
    number_of_rounds,
    resolve,
)
from skgbnf.table.split import split_rows
from skgbnf.training.progress import make_progress
from skgbnf.training.rows import Rows

_SPLIT_KEY, _ROUNDS_KEY = 1, 2
_MOST_VALIDATION_ROWS = 250
_ROWS_PER_BLOCK = 10_000


def fit_particles(
    estimator: Any, X: ArrayLike, X_val: ArrayLike | None
) -> KeyboardInterrupt | None:
    """Fit an estimator, and return the interrupt that ended it early, if it left finished rounds.

    Parameters
    ----------
    estimator : EquivariantFlowDensity
        Its ``fitted_`` is set.

    X, X_val : array-likes
        Configurations; the second may be None.
    """
    start = time.perf_counter()
    check_parameters(estimator)
    seed = seed_from(estimator.random_state)
    rows, shape, types, stacked = read_configurations(estimator, X)
    space = ConfigurationSpace.from_samples(rows, shape, types, stacked=stacked)
    held_out = None if X_val is None else space.checked(estimator, X_val, "X_val")
    fit = _fit_frames if method_of(estimator, types) == "frames" else _fit_flow
    return fit(estimator, space, rows, held_out, seed, start)


def _fit_frames(
    estimator: Any,
    space: ConfigurationSpace,
    X: np.ndarray,
    X_val: np.ndarray | None,
    seed: int,
    start: float,
) -> KeyboardInterrupt | None:
    """Fit a density of coordinates in a frame."""
    x = centred(X.astype(np.float64).reshape(-1, *space.shape))
    template = choose_template(x, space.types)
    frame = choose_frame(template)
    y, log_det = _coordinates(frame, x, template, space)
    if X_val is not None:
        x_val = centred(X_val.astype(np.float64).reshape(-1, *space.shape))
        X_val = _coordinates(frame, x_val, template, space)[0]
    density = GradientBoostedFlowDensity(**density_parameters(estimator, seed, start))
    interrupt = None
    try:
        density.fit(y, X_val=X_val)
    except KeyboardInterrupt as error:
        if not hasattr(density, "fitted_"):
            raise
        interrupt = error
    n_images = images(x[:1], space.types).shape[1]
    estimator.fitted_ = FittedFrames(space, frame, density, log_det - float(np.log(n_images)))
    return interrupt


def _coordinates(
    frame: Frame, x: np.ndarray, template: np.ndarray, space: ConfigurationSpace
) -> tuple[np.ndarray, float]:
    """Coordinates of the images nearest to a template, and the mean of their log-determinants."""
    blocks = [x[i : i + _ROWS_PER_BLOCK] for i in range(0, len(x), _ROWS_PER_BLOCK)]
    parts = [frame.coordinates(nearest_images(block, template, space.types)) for block in blocks]
    y, log_det = map(np.concatenate, zip(*parts, strict=True))
    return y, float(log_det.mean())


def _fit_flow(
    estimator: Any,
    space: ConfigurationSpace,
    X: np.ndarray,
    X_val: np.ndarray | None,
    seed: int,
    start: float,
) -> KeyboardInterrupt | None:
    """Fit a mixture of equivariant flows."""
    device, n_rounds = fit_device(estimator.device), number_of_rounds(estimator, "flow")
    progress = make_progress(estimator.verbose, n_rounds, estimator.max_time)
    progress.read()
    train, validation = _rows(estimator, space, X, X_val, seed, device)
    parameters = {**estimator.get_params(deep=False), "n_estimators": n_rounds}
    with training_mode(device):
        boosting = ParticleBoosting(
            train, validation, resolve(estimator, space, progress), derive_seed(seed, _ROUNDS_KEY)
        )
        limits = Limits.of(parameters, start)
        interrupt = run_rounds(boosting, limits, progress, on_round=lambda: None)
    estimator.fitted_ = FittedFlow(
        space, boosting.fitted(), boosting.history(), np.array(boosting.solver_errors)
    )
    return interrupt


def _rows(
    estimator: Any,
    space: ConfigurationSpace,
    X: np.ndarray,
    X_val: np.ndarray | None,
    seed: int,
    device: torch.device,
) -> tuple[Rows, Rows]:
    """Training samples and validation set; the same object twice if there is none."""

    def rows(values: np.ndarray) -> Rows:
        x = torch.from_numpy(space.transform(values.astype(np.float64))).to(device)
        return Rows(x, x.new_ones(len(x)))

    if X_val is not None:
        return rows(X), rows(X_val)
    fraction = estimator.validation_fraction
    kept, aside = split_rows(len(X), fraction, derive_seed(seed, _SPLIT_KEY))
    # It is scored after every epoch, and more samples would hardly make that surer.
    kept = np.concatenate([kept, aside[_MOST_VALIDATION_ROWS:]])
    train = rows(X[kept])
    return train, rows(X[aside[:_MOST_VALIDATION_ROWS]]) if len(aside) else train
