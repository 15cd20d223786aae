"""From a table to samples for training: checked, mapped to the units of training, split."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skgbnf._random import derive_seed
from skgbnf.estimators.parameters import TableOptions, check_base, check_dequantize
from skgbnf.table.bounds import Bounds, check_near, check_within, limits_from
from skgbnf.table.checks import checked_rows
from skgbnf.table.coordinates import Coordinates
from skgbnf.table.dependence import warn_of_dependence
from skgbnf.table.dequantisation import Dequantisation, warn_of_blurred
from skgbnf.table.frames import Description
from skgbnf.table.gaussian import gaussian_score
from skgbnf.table.split import split_rows
from skgbnf.table.thinning import thinned
from skgbnf.table.weights import check_spread, weighted_rows
from skgbnf.training.rows import Rows

_SPLIT_KEY, _NOISE_KEY, _VALIDATION_NOISE_KEY, _THIN_KEY, _ATOM_KEY = 0, 3, 4, 5, 7


@dataclass(frozen=True, eq=False)
class Given:
    """What the caller of ``fit`` passes."""

    X: Any
    sample_weight: Any = None
    X_val: Any = None
    sample_weight_val: Any = None
    X_reference: Any = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a fit works with.

    Attributes
    ----------
    train, validation : Rows
        The same object if there is no validation set.

    table : Description

    coordinates : Coordinates

    reference_score : float
        Mean log-density of the training samples under the best Gaussian, in the units of X.
    """

    train: Rows
    validation: Rows
    table: Description
    coordinates: Coordinates
    reference_score: float


@dataclass(frozen=True, eq=False)
class _Sample:
    """Samples in the units of X, and their weights."""

    X: np.ndarray
    weights: np.ndarray


def prepare(
    estimator: Any,
    given: Given,
    options: TableOptions,
    seed: int,
    earlier: tuple[Description, Coordinates] | None,
) -> Prepared:
    """Check what fit is given, choose the units of training, and set a validation set aside.

    Parameters
    ----------
    estimator : estimator
        scikit-learn notes the number and names of the columns in it.

    given : Given

    options : TableOptions

    seed : int
        Governs noise and the validation set.

    earlier : pair of Description and Coordinates, or None
        Of the rounds to which the fit adds; their units are kept.
    """
    train, table = _check(estimator, given, options, earlier)
    limits = limits_from(options.bounds, table.labels)
    check_within(limits, train.X, "X", table.labels)
    check_dequantize(options.dequantize, train.X.shape[1])
    train = _thin(train, options, seed)
    check_near(limits, train.X, table.labels)
    warn_of_dependence(train.X, table.labels)
    single = train.X.dtype == np.float32
    if earlier is None:
        noise, bounds = _treat(estimator, given, options, train, table, limits)
    else:
        noise, bounds = earlier[1].noise, earlier[1].bounds
        _check_kept(options, noise, bounds, limits)
    X = noise.apply(train.X, derive_seed(seed, _NOISE_KEY))
    own = _own_validation(estimator, given, options, table, limits, seed)
    train, validation = _split(_Sample(X, train.weights), own, noise, options, seed)
    if earlier is None:
        coordinates = Coordinates.from_rows(train.X, train.weights, noise, bounds, single=single)
        warn_of_blurred([table.labels[j] for j in coordinates.blurred(train.X)])
    else:
        coordinates = earlier[1]
    rng = np.random.default_rng(derive_seed(seed, _ATOM_KEY))
    return _prepared(table, coordinates, train, validation, options.device, rng)


def _check(
    estimator: Any,
    given: Given,
    options: TableOptions,
    earlier: tuple[Description, Coordinates] | None,
) -> tuple[_Sample, Description]:
    """Training samples with their weights, and the description of their table."""
    known = None if earlier is None else earlier[0]
    X = checked_rows(estimator, given.X, reset=known is None, table=known, ensure_min_samples=2)
    check_base(options.base, X.shape[1])
    if known is None:
        names = getattr(estimator, "feature_names_in_", np.arange(X.shape[1])).tolist()
        known = Description.of(given.X, names)
    sample = _Sample(*weighted_rows(X, given.sample_weight, "X"))
    if len(sample.X) < 2:
        raise ValueError("sample_weight must be positive for at least two rows, got one.")
    check_spread(sample.X, known.labels)
    return sample, known


def _thin(sample: _Sample, options: TableOptions, seed: int) -> _Sample:
    key = derive_seed(seed, _THIN_KEY)
    return _Sample(*thinned(sample.X, sample.weights, options.max_time, key))


def _treat(
    estimator: Any,
    given: Given,
    options: TableOptions,
    train: _Sample,
    table: Description,
    limits: np.ndarray,
) -> tuple[Dequantisation, Bounds]:
    """What is done about repeated values, and the margins of the bounds."""
    reference: np.ndarray = train.X
    shares: np.ndarray | None = train.weights
    if given.X_reference is not None:
        name, shares = "X_reference", None
        reference = checked_rows(
            estimator, given.X_reference, reset=False, table=table, input_name=name
        )
        check_spread(reference, table.labels, name)
    noise = Dequantisation.from_rows(reference, options.dequantize, table.labels, shares)
    return noise, Bounds.from_rows(limits, reference, noise)


def _check_kept(
    options: TableOptions, noise: Dequantisation, bounds: Bounds, limits: np.ndarray
) -> None:
    """Raise ValueError if the parameters ask for other units than those of earlier rounds."""
    if not np.array_equal(limits, bounds.limits):
        raise ValueError("bounds must be those of the rounds already fitted.")
    asked = options.dequantize
    if isinstance(asked, str) or asked is True:
        return
    widths = np.broadcast_to(np.asarray(asked, dtype=np.float64), limits.shape[1])
    if not np.array_equal(widths, noise.widths):
        raise ValueError(
            "dequantize must give the widths of the rounds already fitted, "
            f"{noise.widths.tolist()}."
        )


def _own_validation(
    estimator: Any,
    given: Given,
    options: TableOptions,
    table: Description,
    limits: np.ndarray,
    seed: int,
) -> _Sample | None:
    """The user's own validation set; errors say that this is at fault."""
    if given.X_val is None:
        if given.sample_weight_val is not None:
            raise ValueError("sample_weight_val was given without X_val.")
        return None
    X_val = checked_rows(estimator, given.X_val, reset=False, table=table, input_name="X_val")
    sample = _Sample(*weighted_rows(X_val, given.sample_weight_val, "X_val"))
    check_spread(sample.X, table.labels, "X_val")
    check_within(limits, sample.X, "X_val", table.labels)
    return _thin(sample, options, seed)


def _split(
    sample: _Sample, own: _Sample | None, noise: Dequantisation, options: TableOptions, seed: int
) -> tuple[_Sample, _Sample]:
    """Training samples and validation set, both with noise; the second may be empty."""
    if own is not None:
        X_val = noise.apply(own.X, derive_seed(seed, _VALIDATION_NOISE_KEY))
        return sample, _Sample(X_val, own.weights)
    key = derive_seed(seed, _SPLIT_KEY)
    kept, aside = split_rows(len(sample.X), options.validation_fraction, key)
    return (
        _Sample(sample.X[kept], sample.weights[kept]),
        _Sample(sample.X[aside], sample.weights[aside]),
    )


def _prepared(
    table: Description,
    coordinates: Coordinates,
    train: _Sample,
    validation: _Sample,
    device: torch.device,
    rng: np.random.Generator,
) -> Prepared:
    """Samples in the units of training; without a validation set the same object is both."""
    train_rows = _rows(coordinates, train, device, rng)
    validation_rows = train_rows
    if len(validation.X):
        validation_rows = _rows(coordinates, validation, device, rng)
    reference = gaussian_score(train_rows.x.cpu().numpy(), train_rows.weights.cpu().numpy())
    return Prepared(
        train=train_rows,
        validation=validation_rows,
        table=table,
        coordinates=coordinates,
        reference_score=reference + train_rows.mean_log_det,
    )


def _rows(
    coordinates: Coordinates, sample: _Sample, device: torch.device, rng: np.random.Generator
) -> Rows:
    Z, log_det = coordinates.spread(sample.X, rng)
    weights = sample.weights / sample.weights.mean()
    arrays = (Z, weights, log_det)
    x, own_weights, own_log_det = (torch.from_numpy(array).to(device) for array in arrays)
    return Rows(x=x, weights=own_weights, log_det=own_log_det)
