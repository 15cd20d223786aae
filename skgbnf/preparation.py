"""Rows on their way from a table to boosting: weights, held-out rows, units."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils.validation import check_array, validate_data

from skgbnf._random import derive_seed
from skgbnf.table.bounds import Bounds, check_near, check_within, limits_from
from skgbnf.table.dequantisation import Dequantisation
from skgbnf.table.frames import describe_table
from skgbnf.table.gaussian import gaussian_score
from skgbnf.table.standardisation import Standardisation
from skgbnf.training import Rows
from skgbnf.validation import (
    check_base,
    check_dequantize,
    check_weights,
    fit_device,
    rounded,
    seed_from,
)

DTYPES = [np.float64, np.float32]
"""Precisions in which rows are kept; others become the first."""

_MIN_HELD_OUT = 10
_SPLIT_KEY, _NOISE_KEY, _HELD_OUT_NOISE_KEY = 0, 3, 4


@dataclass(frozen=True)
class Coordinates:
    """The map between the units of X and those in which flows are trained.

    Attributes
    ----------
    bounds : Bounds
        The map of bounded columns onto the whole line, which comes first.

    standardisation : Standardisation
    """

    bounds: Bounds
    standardisation: Standardisation

    def transform(self, X: np.ndarray, dtype=np.float64) -> tuple[np.ndarray, np.ndarray]:
        """Rows for flows, computed in float64, then cast; log-determinant of the map at each.

        It is -inf for rows outside the bounds, where there is no density.
        """
        Y, log_det = self.bounds.transform(X)
        log_det[self.bounds.excludes(X)] = -np.inf
        return self.standardisation.transform(Y, dtype), log_det + self.standardisation.log_det

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Rows in the units of X, within the bounds."""
        return self.bounds.inverse_transform(self.standardisation.inverse_transform(Z))


@dataclass(frozen=True)
class Table:
    """Rows to learn from and rows to judge by, in the units in which flows are trained.

    Attributes
    ----------
    train, judge : Rows
        The same object if there are no held-out rows.

    train_log_det, judge_log_det : float
        What turns a mean log-density of theirs to the units of X.
    """

    train: Rows
    judge: Rows
    train_log_det: float
    judge_log_det: float

    @classmethod
    def from_rows(
        cls,
        coordinates: Coordinates,
        train: tuple[np.ndarray, np.ndarray],
        held_out: tuple[np.ndarray, np.ndarray],
        device: torch.device,
    ) -> "Table":
        """Take rows and weights of each kind to flows; of held-out rows there may be none."""
        learned = _rows(coordinates, *train, device)
        judged = _rows(coordinates, *held_out, device) if len(held_out[0]) else learned
        return cls(learned[0], judged[0], learned[1], judged[1])

    @property
    def reference_score(self) -> float:
        """Mean log-density of the training rows under the best Gaussian, in the units of X."""
        rows, weights = (tensor.cpu().numpy() for tensor in (self.train.x, self.train.weights))
        return gaussian_score(rows, weights) + self.train_log_det


def _rows(coordinates: Coordinates, X, weights, device: torch.device) -> tuple[Rows, float]:
    """Rows, and the weighted mean of the log-determinants."""
    Y, log_det = coordinates.bounds.transform(X)
    standardisation = coordinates.standardisation
    Z = torch.from_numpy(standardisation.transform(Y)).to(device)
    rows = Rows(Z, torch.from_numpy(weights / weights.mean()).to(device))
    return rows, float(np.average(log_det, weights=weights)) + standardisation.log_det


def fitted_coordinates(estimator) -> Coordinates:
    """The map that the fitted attributes of a density estimator describe."""
    bounds = Bounds(estimator.bounds_, estimator.bound_margins_)
    return Coordinates(bounds, Standardisation(estimator.location_, estimator.scale_))


def prepare(estimator, X, sample_weight, X_val, sample_weight_val, proceed: bool) -> Table:
    """Validate everything that fit is given, and choose the units in which flows are trained.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity
        Gets the fitted attributes that describe the table.

    X, sample_weight, X_val, sample_weight_val
        As given to fit.

    proceed : bool
        Whether the fit adds to rounds that are there, in the units chosen for them.
    """
    device = fit_device(estimator.device)
    given = X
    X = validate_data(estimator, X, dtype=DTYPES, ensure_min_samples=2, reset=not proceed)
    check_base(estimator.base, X.shape[1])
    estimator.container_, estimator.dtypes_ = describe_table(given, X.shape[1])
    X, weights = weighted_rows(X, sample_weight, "X")
    if len(X) < 2:
        raise ValueError("sample_weight must be positive for at least two rows, got one.")
    if not proceed:
        estimator._seed = seed_from(estimator.random_state)
    names = getattr(estimator, "feature_names_in_", np.arange(X.shape[1])).tolist()
    limits = limits_from(estimator.bounds, names)
    check_within(limits, X, "X", names)
    check_near(limits, X, names)
    noise = _choose_noise(estimator, X, names)
    bounds = _choose_bounds(estimator, limits, X, proceed)
    X = noise.apply(X, derive_seed(estimator._seed, _NOISE_KEY))
    if X_val is not None:
        check_array(X_val, dtype=DTYPES, input_name="X_val")
        X_val = validate_data(estimator, X_val, dtype=DTYPES, reset=False)
        X_val, weights_val = weighted_rows(X_val, sample_weight_val, "X_val")
        check_within(limits, X_val, "X_val", names)
        X_val = noise.apply(X_val, derive_seed(estimator._seed, _HELD_OUT_NOISE_KEY))
    elif sample_weight_val is not None:
        raise ValueError("sample_weight_val was given without X_val.")
    else:
        seed = derive_seed(estimator._seed, _SPLIT_KEY)
        kept, held_out = hold_out(len(X), estimator.validation_fraction, seed)
        X_val, weights_val = X[held_out], weights[held_out]
        X, weights = X[kept], weights[kept]
    if not proceed:
        standardisation = Standardisation.from_rows(bounds.transform(X)[0], weights)
        estimator.location_, estimator.scale_ = standardisation.location, standardisation.scale
    coordinates = fitted_coordinates(estimator)
    table = Table.from_rows(coordinates, (X, weights), (X_val, weights_val), device)
    estimator.reference_score_ = table.reference_score
    return table


def _choose_noise(estimator, X: np.ndarray, names: list) -> Dequantisation:
    """Noise for columns that have no density; those without it are warned of."""
    check_dequantize(estimator.dequantize, X.shape[1])
    noise = Dequantisation.from_rows(X, estimator.dequantize, names)
    estimator.dequantize_widths_, estimator.dequantize_origins_ = noise.widths, noise.origins
    return noise


def _choose_bounds(estimator, limits: np.ndarray, X: np.ndarray, proceed: bool) -> Bounds:
    """Margins of the bounds by the rows, unless those of an earlier fit are to be kept."""
    if proceed:
        if not np.array_equal(limits, estimator.bounds_):
            raise ValueError("bounds must be those of the rounds already fitted.")
        return Bounds(estimator.bounds_, estimator.bound_margins_)
    bounds = Bounds.from_rows(limits, X, estimator.dequantize_widths_)
    estimator.bounds_, estimator.bound_margins_ = bounds.limits, bounds.margins
    return bounds


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
