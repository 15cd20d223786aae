"""From a mixed table to samples for training: read, in the units of components, split."""

import datetime
import math
from typing import Any

import numpy as np
import torch

from skgbnf._random import derive_seed
from skgbnf.estimators.fitted import FittedDensity
from skgbnf.estimators.fitted_regression import FittedRegression
from skgbnf.estimators.given import Given, Prepared, in_folds, rows_of
from skgbnf.estimators.mixed import MixedCoordinates
from skgbnf.estimators.plan import TableOptions
from skgbnf.estimators.samples import Sample, split_samples
from skgbnf.flows import Variable, get_family
from skgbnf.table.bounds import Bounds, check_within, limits_from
from skgbnf.table.checks import check_in_memory, note_columns
from skgbnf.table.columns import TableColumns
from skgbnf.table.frames import container_of
from skgbnf.table.thinning import kept_rows
from skgbnf.table.weights import check_weights
from skgbnf.training.rows import Rows

_THIN_KEY = 5
_PSEUDO_COUNT = 0.5
_NO_NUMBERS = (
    str, bool, np.bool_, datetime.date, datetime.timedelta, np.datetime64, np.timedelta64,
)  # fmt: skip


def mixed_columns(
    estimator: Any,
    given: Given,
    options: TableOptions,
    earlier: FittedDensity | FittedRegression | None,
) -> TableColumns | None:
    """The columns of a mixed table, those of earlier rounds if there are any.

    None of a table of numbers, complete and without atoms, for whose columns no kind was requested,
    and of the targets of a regression. Families that take real numbers alone are given such, or
    refuse the table.
    """
    if given.codes is not None:
        return None
    if earlier is not None:
        coordinates = earlier.coordinates
        return coordinates.columns if isinstance(coordinates, MixedCoordinates) else None
    if options.columns is None and not (
        _takes_variables(estimator.flow) and _may_be_mixed(given.X)
    ):
        return None
    check_in_memory(given.X, given.name())
    names = list(range(np.shape(given.X)[1]))
    weights = None
    if given.sample_weight is not None:
        weights = check_weights(given.sample_weight, np.shape(given.X)[0])
    columns = TableColumns.from_table(
        given.X, names, options.columns, weights, given.X_reference, estimator=estimator
    )
    return None if columns.is_plain else columns


def prepare_mixed(
    estimator: Any,
    given: Given,
    options: TableOptions,
    columns: TableColumns,
    seed: int,
    earlier: FittedDensity | FittedRegression | None,
) -> Prepared:
    """The same as :func:`~skgbnf.estimators.preparation.prepare` of a mixed table."""
    labels = columns.table.labels
    note_columns(estimator, given.X, reset=earlier is None)
    limits = _limits_of_numbers(limits_from(options.bounds, labels), columns)
    train = _sample(estimator, given.X, given.sample_weight, columns, limits, "")
    if len(train.X) < 2:
        if given.sample_weight is not None:
            raise ValueError("sample_weight must be positive for at least two rows, got one.")
        raise ValueError("X: at least two rows are needed, got one.")
    n_given = np.shape(given.X)[0]
    train = train[kept_rows(train.X, options.max_time, derive_seed(seed, _THIN_KEY))]
    own = None
    if given.X_val is not None:
        own = _sample(estimator, given.X_val, given.sample_weight_val, columns, limits, "_val")
    elif given.sample_weight_val is not None:
        raise ValueError("sample_weight_val was given without X_val.")
    split = split_samples(train, own, options, None if earlier is None else earlier.n_folds, seed)
    if earlier is None:
        steps = np.array([column.step for column in columns.columns])
        bounds = Bounds.from_rows(limits, train.X, steps)
        coordinates = MixedCoordinates.from_rows(columns, split.train.X, bounds)
    else:
        coordinates = _continued(earlier, limits, split.train.X)
    rows = validation = _rows(coordinates, split.train, options.device)
    reference = _reference_score(rows, coordinates.variables)
    if split.validation is not None:
        validation = _rows(coordinates, split.validation, options.device)
    elif split.folds:
        rows, validation = in_folds(rows, split.folds)
    return Prepared(
        train=rows,
        validation=validation,
        table=columns.table,
        coordinates=coordinates,
        reference_score=reference,
        row_folds=split.row_folds(n_given),
    )


def _takes_variables(flow: Any) -> bool:
    """Whether one of the families asked for is one for mixed tables."""
    names = flow if isinstance(flow, list | tuple) else [flow]
    return "auto" in names or any(get_family(name).takes_variables for name in names)


def _may_be_mixed(X: Any) -> bool:
    """Whether a table is a frame, or an array that holds other things than complete numbers."""
    if container_of(X) != "numpy":
        return True
    if hasattr(X, "dtype") and not isinstance(X.dtype, np.dtype):
        return False
    try:
        array = np.asarray(X)
    except (ValueError, TypeError, RuntimeError):
        return False
    if array.ndim != 2 or not array.size:
        return False
    if array.dtype.kind == "f":
        return bool(np.isnan(array).any())
    if array.dtype.kind == "O":
        return any(map(_is_no_number, array.ravel().tolist()))
    return array.dtype.kind in "UST"


def _is_no_number(cell: Any) -> bool:
    """Whether a cell is text, a truth value, a time or a gap."""
    if cell is None or isinstance(cell, _NO_NUMBERS):
        return True
    return type(cell).__name__ == "NAType" or (isinstance(cell, float) and math.isnan(cell))


def _sample(
    estimator: Any, X: Any, weight: Any, columns: TableColumns, limits: np.ndarray, part: str
) -> Sample:
    """Samples of positive weight, as numbers; ValueError if one lies outside the bounds."""
    if part:
        note_columns(estimator, X, reset=False)
    rows = columns.rows(X, f"X{part}", estimator)
    sample = Sample.weighted(rows, weight, part, None)
    check_within(limits, sample.X, f"X{part}", columns.table.labels)
    return sample


def _continued(
    earlier: FittedDensity | FittedRegression, limits: np.ndarray, X: np.ndarray
) -> MixedCoordinates:
    """The coordinates of earlier rounds.

    Raises
    ------
    ValueError
        If the bounds are others, or samples hold values that had density 0 in these rounds.
    """
    coordinates = earlier.coordinates
    if not isinstance(coordinates, MixedCoordinates) or not np.array_equal(
        limits, coordinates.bounds.limits
    ):
        raise ValueError("bounds must be those of the rounds already fitted.")
    new = np.flatnonzero(coordinates.impossible(X).any(axis=0))
    if len(new):
        label = coordinates.columns.table.labels[new[0]]
        raise ValueError(
            f"X: column {label!r} holds values that the rounds already fitted have not seen and "
            "give density 0: fit with warm_start=False, or at first with all rows as X_reference."
        )
    return coordinates


def _limits_of_numbers(limits: np.ndarray, columns: TableColumns) -> np.ndarray:
    """Bounds without those of columns of levels, which must lie within them.

    Raises
    ------
    ValueError
        If levels are no numbers, or one of them lies outside.
    """
    limits = limits.copy()
    for j, (column, label) in enumerate(zip(columns.columns, columns.table.labels, strict=True)):
        low, high = limits[:, j]
        if not column.is_coded or (math.isinf(low) and math.isinf(high)):
            continue
        if not column.holds_numbers:
            raise ValueError(f"bounds: column {label!r} holds no numbers.")
        outside = [level for level in column.levels if not low <= level <= high]
        if outside:
            raise ValueError(
                f"X: column {label!r} holds {outside[0]}, which is outside its bounds "
                f"({low:g}, {high:g})."
            )
        limits[:, j] = -np.inf, np.inf
    return limits


def _rows(coordinates: MixedCoordinates, sample: Sample, device: torch.device) -> Rows:
    return rows_of(*coordinates.transform(sample.X), sample.weights, device)


def _reference_score(rows: Rows, variables: tuple[Variable, ...]) -> float:
    """Mean log-density of independent columns: Gaussians of numbers, frequencies of codes."""
    total = 0.0
    for z, variable in zip(rows.x.cpu().numpy().T, variables, strict=True):
        known = ~np.isnan(z)
        share = float(known.mean())
        if not share:
            continue
        if variable.is_number:
            variance = max(float(z[known].var()), variable.step**2 / 12, 1e-12)
            score = -0.5 * math.log(2 * math.pi * math.e * variance)
            total += share * (score + (math.log(variable.step) if variable.step else 0.0))
        else:
            counts = np.bincount(z[known].astype(int).clip(min=0), minlength=variable.n_levels)
            frequencies = (counts + _PSEUDO_COUNT) / (counts + _PSEUDO_COUNT).sum()
            total += share * float(counts @ np.log(frequencies) / counts.sum())
    return total + rows.mean_log_det
