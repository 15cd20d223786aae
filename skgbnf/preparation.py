"""Rows on their way from a table to boosting: weights, held-out rows, units."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from skgbnf._random import derive_seed
from skgbnf.table.bounds import Bounds, check_near, check_within, limits_from
from skgbnf.table.checks import checked_rows
from skgbnf.table.dependence import warn_of_dependence
from skgbnf.table.dequantisation import Dequantisation
from skgbnf.table.frames import Description
from skgbnf.table.gaussian import gaussian_score
from skgbnf.table.standardisation import Standardisation
from skgbnf.training import Rows
from skgbnf.validation import (
    check_base,
    check_dequantize,
    check_weights,
    fit_device,
    rounded,
)

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

    reference_score : float
        Mean log-density of the training rows under the best Gaussian, in the units of X.

    coordinates : Coordinates

    widths, origins : ndarrays of shape (n_features,)
        Of the noise, as :class:`~skgbnf.table.dequantisation.Dequantisation` has them.
    """

    train: Rows
    judge: Rows
    train_log_det: float
    judge_log_det: float
    reference_score: float
    coordinates: Coordinates
    widths: np.ndarray
    origins: np.ndarray


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


def prepare(
    estimator, X, sample_weight, X_val, sample_weight_val, seed: int, proceed: bool
) -> Table:
    """Validate everything that fit is given, and choose the units in which flows are trained.

    Parameters
    ----------
    estimator : GradientBoostedFlowDensity
        The number, names and types of the columns are noted in it.

    X, sample_weight, X_val, sample_weight_val
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
    if not proceed:
        names = getattr(estimator, "feature_names_in_", np.arange(X.shape[1])).tolist()
        estimator._describe_columns(Description.of(given, names))
    names = estimator.column_labels_
    X, weights = weighted_rows(X, sample_weight, "X")
    if len(X) < 2:
        raise ValueError("sample_weight must be positive for at least two rows, got one.")
    limits = limits_from(estimator.bounds, names)
    check_within(limits, X, "X", names)
    check_near(limits, X, names)
    check_dequantize(estimator.dequantize, X.shape[1])
    noise = Dequantisation.from_rows(X, estimator.dequantize, names)
    widths, origins = noise.widths, noise.origins
    if proceed:
        widths, origins = estimator.dequantize_widths_, estimator.dequantize_origins_
        noise = _kept_noise(estimator, noise)
    bounds = _choose_bounds(estimator, limits, X, widths, proceed)
    X = noise.apply(X, derive_seed(seed, _NOISE_KEY))
    warn_of_dependence(X, names)
    if X_val is not None:
        X_val, weights_val = _given_held_out(estimator, X_val, sample_weight_val)
        check_within(limits, X_val, "X_val", names)
        X_val = noise.apply(X_val, derive_seed(seed, _HELD_OUT_NOISE_KEY))
    elif sample_weight_val is not None:
        raise ValueError("sample_weight_val was given without X_val.")
    else:
        split_seed = derive_seed(seed, _SPLIT_KEY)
        kept, held_out = hold_out(len(X), estimator.validation_fraction, split_seed)
        X_val, weights_val = X[held_out], weights[held_out]
        X, weights = X[kept], weights[kept]
    if proceed:
        coordinates = fitted_coordinates(estimator)
    else:
        standardisation = Standardisation.from_rows(bounds.transform(X)[0], weights)
        coordinates = Coordinates(bounds, standardisation)
    train, train_log_det = _rows(coordinates, X, weights, device)
    judge, judge_log_det = train, train_log_det
    if len(X_val):
        judge, judge_log_det = _rows(coordinates, X_val, weights_val, device)
    reference = gaussian_score(train.x.cpu().numpy(), train.weights.cpu().numpy()) + train_log_det
    scores = train_log_det, judge_log_det, reference
    return Table(train, judge, *scores, coordinates, widths, origins)


def _given_held_out(estimator, X_val, sample_weight_val) -> tuple[np.ndarray, np.ndarray]:
    """Held-out rows of the user's own, and their weights; errors say that these are at fault."""
    X_val = checked_rows(estimator, X_val, reset=False, input_name="X_val")
    return weighted_rows(X_val, sample_weight_val, "X_val")


def _kept_noise(estimator, noise: Dequantisation) -> Dequantisation:
    """Noise as wide as for the rounds already fitted, whatever the new rows ask for.

    A column on a grid is spread in any case, another one where its values repeat.
    """
    widths = estimator.dequantize_widths_
    chosen = isinstance(estimator.dequantize, str) or estimator.dequantize is True
    if not chosen:
        if not np.array_equal(noise.widths, widths):
            raise ValueError(
                f"dequantize must give the widths of the rounds already fitted, {widths.tolist()}."
            )
        return noise
    on_grid = np.isfinite(estimator.dequantize_origins_)
    everything = np.empty(0)
    atoms = zip(on_grid, noise.atoms, strict=True)
    return replace(
        noise,
        widths=np.where(on_grid | (noise.widths > 0), widths, 0.0),
        atoms=tuple(everything if on else values for on, values in atoms),
    )


def _choose_bounds(
    estimator, limits: np.ndarray, X: np.ndarray, widths: np.ndarray, proceed: bool
) -> Bounds:
    """Margins of the bounds by the rows, unless those of an earlier fit are to be kept."""
    if not proceed:
        return Bounds.from_rows(limits, X, widths)
    if not np.array_equal(limits, estimator.bounds_):
        raise ValueError("bounds must be those of the rounds already fitted.")
    return Bounds(estimator.bounds_, estimator.bound_margins_)


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
