"""What a fit is given, and what it works with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skgbnf.estimators.conditions import Conditioner
from skgbnf.estimators.fitted import FittedDensity, TableMap
from skgbnf.estimators.fitted_regression import FittedRegression
from skgbnf.table.checks import checked_rows, checked_values
from skgbnf.table.frames import Description
from skgbnf.training.fitted import FittedCombination, History
from skgbnf.training.rows import Rows


@dataclass(frozen=True, eq=False)
class Given:
    """What the caller of ``fit`` passes: a table, or targets with the codes of their features."""

    X: Any
    sample_weight: Any = None
    X_val: Any = None
    sample_weight_val: Any = None
    X_reference: Any = None
    codes: np.ndarray | None = None
    codes_val: np.ndarray | None = None

    def name(self, part: str = "") -> str:
        """What errors call the table, or its validation set."""
        return ("X" if self.codes is None else "y") + part

    def checked(
        self, estimator: Any, X: Any, table: Description | None, part: str = "", **checks: Any
    ) -> np.ndarray:
        """A table as an array; of features, not of targets, columns are noted in the estimator."""
        name = self.name(part)
        if self.codes is not None:
            return checked_values(X, name, estimator, **checks).astype(np.float64, copy=False)
        first = table is None
        return checked_rows(estimator, X, reset=first, table=table, input_name=name, **checks)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a fit works with.

    Attributes
    ----------
    train, validation : Rows
        One set each or one for each fold; the same object if there is no validation set.

    table : Description

    coordinates : Coordinates or MixedCoordinates

    reference_score : float
        Mean log-density of the training samples under the best Gaussian, in the units of X.

    row_folds : ndarray of int of shape (n_given_samples,), or None, default=None
        The fold in which each sample given to ``fit`` judges, -1 for those that are left out; None
        without folds.

    conditioner : Conditioner or None, default=None
        What the density is conditional on.
    """

    train: Rows
    validation: Rows
    table: Description
    coordinates: TableMap
    reference_score: float
    row_folds: np.ndarray | None = None
    conditioner: Conditioner | None = None

    @property
    def n_context(self) -> int:
        """Number of columns of the context."""
        return 0 if self.train.context is None else self.train.context.shape[-1]

    def fitted(
        self, combination: FittedCombination, history: History, seed: int
    ) -> FittedDensity | FittedRegression:
        """All that a fit found out, once there are components."""
        density = FittedDensity(
            table=self.table,
            coordinates=self.coordinates,
            combination=combination,
            history=history,
            reference_score=self.reference_score,
            seed=seed,
            row_folds=self.row_folds,
        )
        if self.conditioner is None:
            return density
        return FittedRegression(density, self.conditioner)


def rows_of(Z: np.ndarray, log_det: np.ndarray, weights: np.ndarray, device: torch.device) -> Rows:
    """Samples in the units of components, with weights whose mean is 1."""
    arrays = (Z, weights / weights.mean(), log_det)
    x, own_weights, own_log_det = (torch.from_numpy(array).to(device) for array in arrays)
    return Rows(x=x, weights=own_weights, log_det=own_log_det)


def in_folds(rows: Rows, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Rows, Rows]:
    """Training samples and validation sets of all folds.

    Samples that judge keep their weights, which need not be 1 on average in each fold.
    """
    device = rows.x.device
    pairs = [tuple(torch.from_numpy(part).to(device) for part in fold) for fold in folds]
    train = Rows.in_folds([rows.part(kept) for kept, _ in pairs])
    return train, Rows.in_folds([rows[aside] for _, aside in pairs])
