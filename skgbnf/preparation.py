"""Rows on their way from a table to boosting: weights, held-out rows, units."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils.validation import check_array, validate_data

from skgbnf._random import derive_seed
from skgbnf.table.bounds import Bounds, check_near, check_within, limits_from
from skgbnf.table.coordinates import Coordinates
from skgbnf.table.dequantisation import Dequantisation, warn_of_blurred
from skgbnf.table.frames import check_no_times, describe_table
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

DTYPES = [np.float64, np.float32]
"""Precisions in which rows are kept; others become the first."""

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

    container : {"numpy", "pandas", "polars"}

    dtypes : list of str of length n_features
    """

    train: Rows
    judge: Rows
    train_log_det: float
    judge_log_det: float
    reference_score: float
    coordinates: Coordinates
    container: str
    dtypes: list[str]


def prepare(
    estimator, X, sample_weight, X_val, sample_weight_val, X_reference, seed: int, proceed: bool
) -> Table:
    """Validate everything that fit is given, and choose the units in which flows are trained.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity
        scikit-learn notes the number and the names of the columns in it.

    X, sample_weight, X_val, sample_weight_val, X_reference
        As given to fit.

    seed : int
        Governs noise and held-out rows.

    proceed : bool
        Whether the fit adds to rounds that are there, in the units chosen for them.
    """
    device = fit_device(estimator.device)
    given = X
    X = checked_rows(estimator, X, reset=not proceed, ensure_min_samples=2)
    check_base(estimator.base, X.shape[1])
    container, dtypes = describe_table(given, X.shape[1])
    X, weights = weighted_rows(X, sample_weight, "X")
    if len(X) < 2:
        raise ValueError("sample_weight must be positive for at least two rows, got one.")
    names = getattr(estimator, "feature_names_in_", np.arange(X.shape[1])).tolist()
    check_spread(X, names)
    limits = limits_from(estimator.bounds, names)
    check_within(limits, X, "X", names)
    X, weights = thinned(X, weights, estimator.max_time, derive_seed(seed, _THIN_KEY))
    check_near(limits, X, names)
    check_dequantize(estimator.dequantize, X.shape[1])
    noise, bounds = _repeated_values(estimator, X, X_reference, names, limits, proceed)
    X = noise.apply(X, derive_seed(seed, _NOISE_KEY))
    if X_val is not None:
        X_val, weights_val = _given_held_out(estimator, X_val, sample_weight_val)
        check_spread(X_val, names, "X_val")
        check_within(limits, X_val, "X_val", names)
        thin_seed = derive_seed(seed, _THIN_KEY)
        X_val, weights_val = thinned(X_val, weights_val, estimator.max_time, thin_seed)
        X_val = noise.apply(X_val, derive_seed(seed, _HELD_OUT_NOISE_KEY))
    elif sample_weight_val is not None:
        raise ValueError("sample_weight_val was given without X_val.")
    else:
        split_seed = derive_seed(seed, _SPLIT_KEY)
        kept, held_out = hold_out(len(X), estimator.validation_fraction, split_seed)
        X_val, weights_val = X[held_out], weights[held_out]
        X, weights = X[kept], weights[kept]
    if proceed:
        coordinates = estimator.coordinates_
    else:
        coordinates = Coordinates.from_rows(X, weights, noise, bounds)
        warn_of_blurred([names[j] for j in coordinates.blurred(X)])
    rng = np.random.default_rng(derive_seed(seed, _ATOM_KEY))
    train, train_log_det = _rows(coordinates, X, weights, device, rng)
    judge, judge_log_det = train, train_log_det
    if len(X_val):
        judge, judge_log_det = _rows(coordinates, X_val, weights_val, device, rng)
    reference = gaussian_score(train.x.cpu().numpy(), train.weights.cpu().numpy()) + train_log_det
    return Table(
        train=train,
        judge=judge,
        train_log_det=train_log_det,
        judge_log_det=judge_log_det,
        reference_score=reference,
        coordinates=coordinates,
        container=container,
        dtypes=dtypes,
    )


def _rows(
    coordinates: Coordinates,
    X: np.ndarray,
    weights: np.ndarray,
    device: torch.device,
    rng: np.random.Generator,
) -> tuple[Rows, float]:
    """Rows, and the weighted mean of the log-determinants."""
    Z, log_det = coordinates.transform(X, rng=rng)
    weight = torch.from_numpy(weights / weights.mean()).to(device)
    rows = Rows(torch.from_numpy(Z).to(device), weight)
    return rows, float(np.average(log_det, weights=weights))


def _repeated_values(
    estimator, X: np.ndarray, X_reference, names: list, limits: np.ndarray, proceed: bool
) -> tuple[Dequantisation, Bounds]:
    """What is done about repeated values, and the bounds; those of the rounds already fitted."""
    if not proceed:
        reference = X
        if X_reference is not None:
            reference = _given_rows(estimator, X_reference, "X_reference")
        noise = Dequantisation.from_rows(reference, estimator.dequantize, names)
        return noise, Bounds.from_rows(limits, X, noise)
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


def checked_rows(estimator, X, *, reset: bool, **checks) -> np.ndarray:
    """Rows of a table as scikit-learn checks and converts them; dates are no numbers."""
    check_no_times(X)
    # scikit-learn sums columns; a sum of rows at both ends of the floats is no number.
    with np.errstate(over="ignore", invalid="ignore"):
        return validate_data(estimator, X, dtype=DTYPES, reset=reset, **checks)


def _given_held_out(estimator, X_val, sample_weight_val) -> tuple[np.ndarray, np.ndarray]:
    """Held-out rows of the user's own, and their weights; errors say that these are at fault."""
    return weighted_rows(_given_rows(estimator, X_val, "X_val"), sample_weight_val, "X_val")


def _given_rows(estimator, X, input_name: str) -> np.ndarray:
    """Other rows than X of the same columns; errors say that these are at fault."""
    check_no_times(X)
    with np.errstate(over="ignore", invalid="ignore"):
        check_array(X, dtype=DTYPES, input_name=input_name)
    return checked_rows(estimator, X, reset=False)


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
