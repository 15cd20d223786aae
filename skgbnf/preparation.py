"""Rows on their way from a table to boosting: weights, held-out rows, units."""

from dataclasses import dataclass

import numpy as np
import torch

from skgbnf._random import derive_seed
from skgbnf.table.bounds import Bounds, check_near, check_within, limits_from
from skgbnf.table.checks import checked_rows
from skgbnf.table.coordinates import Coordinates
from skgbnf.table.dependence import warn_of_dependence
from skgbnf.table.dequantisation import Dequantisation, warn_of_blurred
from skgbnf.table.frames import Description
from skgbnf.table.gaussian import gaussian_score
from skgbnf.table.thinning import thinned
from skgbnf.training import Rows
from skgbnf.validation import (
    check_base,
    check_dequantize,
    check_spread,
    check_weights,
    fit_device,
    rounded,
)

_MIN_HELD_OUT = 10
_SPLIT_KEY, _NOISE_KEY, _HELD_OUT_NOISE_KEY, _THIN_KEY, _ATOM_KEY = 0, 3, 4, 5, 7


@dataclass(frozen=True)
class Table:
    """Rows to learn from and rows to judge by, in the units in which flows are trained.

    Attributes
    ----------
    train, judge : Rows
        The same object if there are no held-out rows.

    train_log_det, judge_log_det : float
        What turns a mean log-density of theirs to the units of X.

    reference_score : float
        Mean log-density of the training rows under the best Gaussian, in the units of X.

    coordinates : Coordinates
    """

    train: Rows
    judge: Rows
    train_log_det: float
    judge_log_det: float
    reference_score: float
    coordinates: Coordinates


def prepare(
    estimator, X, sample_weight, X_val, sample_weight_val, X_reference, seed: int, proceed: bool
) -> Table:
    """Validate everything that fit is given, and choose the units in which flows are trained.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity
        The number, names and types of the columns are noted in it.

    X, sample_weight, X_val, sample_weight_val, X_reference
        As given to fit.

    seed : int
        Governs noise and held-out rows.

    proceed : bool
        Whether the fit adds to rounds that are there, in the units chosen for them.
    """
    device = fit_device(estimator.device)
    X, weights = _described_rows(estimator, X, sample_weight, proceed)
    names = estimator.column_labels_
    limits = limits_from(estimator.bounds, names)
    check_within(limits, X, "X", names)
    check_dequantize(estimator.dequantize, X.shape[1])
    X, weights = thinned(X, weights, estimator.max_time, derive_seed(seed, _THIN_KEY))
    check_near(limits, X, names)
    warn_of_dependence(X, names)
    single = X.dtype == np.float32
    noise, bounds = _repeated_values(estimator, X, weights, X_reference, limits, proceed)
    X = noise.apply(X, derive_seed(seed, _NOISE_KEY))
    held_out = _held_out_rows(estimator, X_val, sample_weight_val, limits, seed)
    if held_out is None:
        split_seed = derive_seed(seed, _SPLIT_KEY)
        kept, aside = hold_out(len(X), estimator.validation_fraction, split_seed)
        held_out = X[aside], weights[aside]
        X, weights = X[kept], weights[kept]
    else:
        held_out = noise.apply(held_out[0], derive_seed(seed, _HELD_OUT_NOISE_KEY)), held_out[1]
    if proceed:
        coordinates = estimator.coordinates_
    else:
        coordinates = Coordinates.from_rows(X, weights, noise, bounds, single=single)
        warn_of_blurred([names[j] for j in coordinates.blurred(X)])
    rng = np.random.default_rng(derive_seed(seed, _ATOM_KEY))
    return _table(coordinates, (X, weights), held_out, device, rng)


def _described_rows(estimator, X, sample_weight, proceed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and their weights; the estimator notes what is to be known of the columns."""
    given = X
    X = checked_rows(estimator, X, reset=not proceed, ensure_min_samples=2)
    check_base(estimator.base, X.shape[1])
    if not proceed:
        names = getattr(estimator, "feature_names_in_", np.arange(X.shape[1])).tolist()
        estimator._describe_columns(Description.of(given, names))
    X, weights = weighted_rows(X, sample_weight, "X")
    if len(X) < 2:
        raise ValueError("sample_weight must be positive for at least two rows, got one.")
    check_spread(X, estimator.column_labels_)
    return X, weights


def _repeated_values(
    estimator,
    X: np.ndarray,
    weights: np.ndarray,
    X_reference,
    limits: np.ndarray,
    proceed: bool,
) -> tuple[Dequantisation, Bounds]:
    """What is done about repeated values, and the bounds; those of the rounds already fitted."""
    names = estimator.column_labels_
    if not proceed:
        reference = X
        if X_reference is not None:
            reference = checked_rows(estimator, X_reference, reset=False, input_name="X_reference")
            check_spread(reference, names, "X_reference")
        shares = weights if X_reference is None else None
        noise = Dequantisation.from_rows(reference, estimator.dequantize, names, shares)
        return noise, Bounds.from_rows(limits, reference, noise)
    kept = estimator.coordinates_
    if not np.array_equal(limits, kept.bounds.limits):
        raise ValueError("bounds must be those of the rounds already fitted.")
    given = estimator.dequantize
    if not (isinstance(given, str) or given is True):
        widths = np.broadcast_to(np.asarray(given, dtype=np.float64), len(names))
        if not np.array_equal(widths, kept.noise.widths):
            raise ValueError(
                "dequantize must give the widths of the rounds already fitted, "
                f"{kept.noise.widths.tolist()}."
            )
    return kept.noise, kept.bounds


def _held_out_rows(
    estimator, X_val, sample_weight_val, limits: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Held-out rows of the user's own, and their weights; errors say that these are at fault."""
    if X_val is None:
        if sample_weight_val is not None:
            raise ValueError("sample_weight_val was given without X_val.")
        return None
    names = estimator.column_labels_
    X_val = checked_rows(estimator, X_val, reset=False, input_name="X_val")
    X_val, weights = weighted_rows(X_val, sample_weight_val, "X_val")
    check_spread(X_val, names, "X_val")
    check_within(limits, X_val, "X_val", names)
    return thinned(X_val, weights, estimator.max_time, derive_seed(seed, _THIN_KEY))


def _table(
    coordinates: Coordinates,
    learned: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    device: torch.device,
    rng: np.random.Generator,
) -> Table:
    """Rows and weights in the units of training; without held-out rows the others judge."""
    train, train_log_det = _rows(coordinates, *learned, device, rng)
    judge, judge_log_det = train, train_log_det
    if len(held_out[0]):
        judge, judge_log_det = _rows(coordinates, *held_out, device, rng)
    reference = gaussian_score(train.x.cpu().numpy(), train.weights.cpu().numpy())
    return Table(
        train=train,
        judge=judge,
        train_log_det=train_log_det,
        judge_log_det=judge_log_det,
        reference_score=reference + train_log_det,
        coordinates=coordinates,
    )


def _rows(
    coordinates: Coordinates,
    X: np.ndarray,
    weights: np.ndarray,
    device: torch.device,
    rng: np.random.Generator,
) -> tuple[Rows, float]:
    """Rows, and the weighted mean of the log-determinants."""
    Z, log_det = coordinates.spread(X, rng)
    weight = torch.from_numpy(weights / weights.mean()).to(device)
    rows = Rows(torch.from_numpy(Z).to(device), weight)
    return rows, float(np.average(log_det, weights=weights))


def weighted_rows(X: np.ndarray, sample_weight, input_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of positive weight, and their weights as shares of the largest."""
    name = "sample_weight" + input_name.removeprefix("X")
    weights = rounded(check_weights(sample_weight, len(X), name))
    return X[weights > 0], weights[weights > 0]


def hold_out(n_samples: int, fraction: float | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of rows to learn from, and of rows set aside at random; none of few rows."""
    n_held_out = min(max(round((fraction or 0.0) * n_samples), _MIN_HELD_OUT), n_samples // 3)
    order = np.random.default_rng(seed).permutation(n_samples)
    return np.split(order, [n_held_out if fraction else 0])[::-1]
