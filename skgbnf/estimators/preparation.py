"""From a table to samples for training: checked, mapped to the units of training, split."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from skgbnf._random import derive_seed
from skgbnf.estimators.conditions import Condition, Conditioner, ConditionerFit
from skgbnf.estimators.fitted import FittedDensity
from skgbnf.estimators.fitted_regression import FittedRegression
from skgbnf.estimators.given import Given, Prepared, in_folds, rows_of
from skgbnf.estimators.mixed_preparation import mixed_columns, prepare_mixed
from skgbnf.estimators.parameters import check_base, check_dequantize
from skgbnf.estimators.plan import TableOptions
from skgbnf.estimators.samples import Sample, Split, split_samples
from skgbnf.table.bounds import Bounds, check_near, check_within, limits_from
from skgbnf.table.checks import checked_rows
from skgbnf.table.coordinates import Coordinates
from skgbnf.table.dependence import warn_of_dependence
from skgbnf.table.dequantisation import Dequantisation, warn_of_blurred
from skgbnf.table.frames import Description
from skgbnf.table.gaussian import gaussian_score
from skgbnf.table.split import fold_rows
from skgbnf.table.thinning import kept_rows
from skgbnf.table.weights import check_spread
from skgbnf.training.rows import Rows

_NOISE_KEY, _VALIDATION_NOISE_KEY, _THIN_KEY, _ATOM_KEY = 3, 4, 5, 7
_CONDITION_KEY, _CONDITION_FOLDS_KEY = 8, 9


def prepare(
    estimator: Any,
    given: Given,
    options: TableOptions,
    seed: int,
    earlier: FittedDensity | FittedRegression | None,
    conditioner: ConditionerFit | None = None,
) -> Prepared:
    """Check what fit is given, choose the units of training, and set a validation set aside.

    Parameters
    ----------
    estimator : estimator
        scikit-learn notes the number and names of the columns in it.

    given : Given

    options : TableOptions

    seed : int
        Governs noise, and the validation set or the folds.

    earlier : FittedDensity or None
        The rounds to which the fit adds; their units and their number of folds are kept.

    conditioner : ConditionerFit or None, default=None
        What fits models of the mean and the spread of targets.
    """
    columns = mixed_columns(estimator, given, options, earlier)
    if columns is not None:
        return prepare_mixed(estimator, given, options, columns, seed, earlier)
    train, table, n_given = _check(estimator, given, options, earlier)
    limits = limits_from(options.bounds, table.labels)
    check_within(limits, train.X, given.name(), table.labels)
    check_dequantize(options.dequantize, train.X.shape[1])
    train = _thin(train, options, seed)
    check_near(limits, train.X, table.labels)
    warn_of_dependence(train.X, table.labels)
    single = train.X.dtype == np.float32
    if earlier is None:
        noise, bounds = _treat(estimator, given, options, train, table, limits)
    else:
        kept = _kept(earlier)
        noise, bounds = kept.noise, kept.bounds
        _check_kept(options, noise, bounds, limits)
    train = train.with_noise(noise, derive_seed(seed, _NOISE_KEY))
    own = _own_validation(estimator, given, options, table, limits, seed)
    if own is not None:
        own = own.with_noise(noise, derive_seed(seed, _VALIDATION_NOISE_KEY))
    before = None if earlier is None else earlier.n_folds
    split = split_samples(train, own, options, before, seed)
    if earlier is None:
        X, weights = split.train.X, split.train.weights
        coordinates = Coordinates.from_rows(X, weights, noise, bounds, single=single)
        warn_of_blurred([table.labels[j] for j in coordinates.blurred(X)])
    else:
        coordinates = _kept(earlier)
    prepared = _prepared(table, coordinates, split, options.device, seed, conditioner)
    return replace(prepared, row_folds=split.row_folds(n_given))


def _check(
    estimator: Any,
    given: Given,
    options: TableOptions,
    earlier: FittedDensity | FittedRegression | None,
) -> tuple[Sample, Description, int]:
    """Training samples, the description of their table, and the number of samples given."""
    known = None if earlier is None else earlier.table
    X = given.checked(estimator, given.X, known, ensure_min_samples=2)
    check_base(options.base, X.shape[1])
    if known is None:
        names = np.arange(X.shape[1]).tolist()
        if given.codes is None:
            names = getattr(estimator, "feature_names_in_", np.array(names)).tolist()
        known = Description.of(given.X, names)
    sample = Sample.weighted(X, given.sample_weight, "", given.codes)
    if len(sample.X) < 2:
        raise ValueError("sample_weight must be positive for at least two rows, got one.")
    check_spread(sample.X, known.labels, given.name())
    return sample, known, len(X)


def _thin(sample: Sample, options: TableOptions, seed: int) -> Sample:
    return sample[kept_rows(sample.X, options.max_time, derive_seed(seed, _THIN_KEY))]


def _treat(
    estimator: Any,
    given: Given,
    options: TableOptions,
    train: Sample,
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
    steps = np.where(noise.everywhere, noise.widths, 0.0)
    return noise, Bounds.from_rows(limits, reference, steps)


def _kept(earlier: FittedDensity | FittedRegression) -> Coordinates:
    """The coordinates of the rounds already fitted, which are those of a table of numbers."""
    assert isinstance(earlier.coordinates, Coordinates)
    return earlier.coordinates


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
) -> Sample | None:
    """The user's own validation set; errors say that this is at fault."""
    if given.X_val is None:
        if given.sample_weight_val is not None:
            raise ValueError("sample_weight_val was given without X_val.")
        return None
    X_val, name = given.checked(estimator, given.X_val, table, "_val"), given.name("_val")
    sample = Sample.weighted(X_val, given.sample_weight_val, "_val", given.codes_val)
    check_spread(sample.X, table.labels, name)
    check_within(limits, sample.X, name, table.labels)
    return _thin(sample, options, seed)


def _prepared(
    table: Description,
    coordinates: Coordinates,
    split: Split,
    device: torch.device,
    seed: int,
    conditioner_fit: ConditionerFit | None,
) -> Prepared:
    """Samples in the units of training; without a validation set the same object is both."""
    rng = np.random.default_rng(derive_seed(seed, _ATOM_KEY))
    rows, conditioner = _rows(coordinates, split.train, device, rng), None
    if conditioner_fit is not None:
        conditioner, condition = _conditioned(conditioner_fit, coordinates, split, seed)
        rows = condition.of_rows(rows)
    train = validation = rows
    if split.validation is not None:
        validation = _rows(coordinates, split.validation, device, rng)
        if conditioner is not None:
            codes = split.validation.known_codes()
            validation = conditioner.condition(codes).of_rows(validation)
    elif split.folds:
        train, validation = in_folds(rows, split.folds)
    reference = gaussian_score(rows.x.cpu().numpy(), rows.weights.cpu().numpy())
    return Prepared(
        train=train,
        validation=validation,
        table=table,
        coordinates=coordinates,
        reference_score=reference + rows.mean_log_det,
        conditioner=conditioner,
    )


def _conditioned(
    conditioner: ConditionerFit, coordinates: Coordinates, split: Split, seed: int
) -> tuple[Conditioner, Condition]:
    """Models of mean and spread, and what they say of training samples that they have not seen.

    With folds a sample is predicted by the models of its own fold, which judges the components that
    have not seen it either.
    """
    train = split.train
    # Noise serves a density; a mean is told better without it.
    Z, _ = coordinates.transform(train.exact)
    folds = split.folds
    if not folds:
        n_folds = conditioner.n_folds(len(Z))
        folds = fold_rows(len(Z), n_folds, derive_seed(seed, _CONDITION_FOLDS_KEY))
    key = derive_seed(seed, _CONDITION_KEY)
    return conditioner.fit(train.known_codes(), Z, train.weights, folds, key)


def _rows(
    coordinates: Coordinates, sample: Sample, device: torch.device, rng: np.random.Generator
) -> Rows:
    return rows_of(*coordinates.spread(sample.X, rng), sample.weights, device)
