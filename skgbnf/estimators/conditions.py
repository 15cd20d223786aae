"""What features say of each sample of a conditional density, and what says it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from skgbnf.predictors import Effort, Encoder, Features, Fold, Predictions, Stack
from skgbnf.table.standardisation import Standardisation
from skgbnf.training.rows import Rows

_LARGEST = 8.0
_SHARE_OF_TIME = 0.4


@dataclass(frozen=True, eq=False)
class Condition:
    """What features say of samples.

    Attributes
    ----------
    mean, log_spread : ndarrays of shape (n_samples, n_targets)
        What targets are shifted by and divided by, in the units of training; the density is that
        of the residuals.

    context : ndarray of shape (n_samples, n_context)
        What it is conditional on.
    """

    mean: np.ndarray
    log_spread: np.ndarray
    context: np.ndarray

    def __getitem__(self, index: np.ndarray | slice) -> "Condition":
        return Condition(self.mean[index], self.log_spread[index], self.context[index])

    def __len__(self) -> int:
        return len(self.context)

    def repeated(self, n: int) -> "Condition":
        """Each sample `n` times in a row."""
        return Condition(*(np.repeat(array, n, axis=0) for array in vars(self).values()))

    def tensor(self, dtype: DTypeLike, device: torch.device) -> Tensor:
        """The context as a tensor."""
        return torch.from_numpy(self.context.astype(dtype)).to(device)

    def residuals(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals of targets in the units of training, and the log-determinant of the map."""
        U = (Z - self.mean) * np.exp(-self.log_spread)
        return U.astype(Z.dtype), -self.log_spread.sum(axis=1)

    def restored(self, U: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`residuals`."""
        return self.mean + np.exp(self.log_spread) * U

    def of_rows(self, rows: Rows) -> Rows:
        """Samples for training as their residuals, with the context."""
        U, log_det = self.residuals(rows.x.cpu().numpy())
        own, context = (torch.from_numpy(array).to(rows.x) for array in (log_det, self.context))
        total = own if rows.log_det is None else rows.log_det + own
        return replace(rows, x=torch.from_numpy(U).to(rows.x), log_det=total, context=context)


@dataclass(frozen=True, eq=False)
class Conditioner:
    """The map from features to conditions.

    Attributes
    ----------
    encoder : Encoder

    stack : Stack or None
        Models of mean and spread; None where both are left to the density.

    n_targets : int

    units : Standardisation
        Of what the context holds beside the columns of the encoder.
    """

    encoder: Encoder
    stack: Stack | None
    n_targets: int
    units: Standardisation

    def condition(self, codes: np.ndarray) -> Condition:
        """Conditions of samples that were not seen in fit, from the codes of their features."""
        features = features_of(self.encoder, codes)
        predictions = None if self.stack is None else self.stack.predict(features)
        return _condition(features, predictions, self.units, self.n_targets)

    @property
    def n_context(self) -> int:
        """Number of columns of the context."""
        n_raw = 0 if self.stack is None else 2 * self.n_targets
        return self.encoder.n_columns + len(self.units.location) + n_raw

    def to_plain(self) -> dict[str, Any]:
        """The map as JSON values and arrays."""
        return {
            "encoder": self.encoder.to_plain(),
            "stack": None if self.stack is None else self.stack.to_plain(),
            "n_targets": self.n_targets,
            "location": self.units.location,
            "scale": self.units.scale,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        encoder = Encoder.from_plain(plain["encoder"])
        stack, n_targets = None, int(plain["n_targets"])
        units = Standardisation(plain["location"], plain["scale"])
        if plain["stack"] is not None:
            stack = Stack.from_plain(plain["stack"], encoder.n_features, encoder.n_columns)
            if len(stack.targets) != n_targets:
                raise ValueError("it has models of more or fewer targets")
        n_known = 0 if stack is None else stack.n_outputs
        if units.location.shape != (n_known,) or units.scale.shape != (n_known,):
            raise ValueError("the units of its context are more or fewer than its columns")
        if not (np.isfinite(units.location).all() and (units.scale > 0).all()):
            raise ValueError("the units of its context are no positive numbers")
        return cls(encoder, stack, n_targets, units)


@dataclass(frozen=True, eq=False)
class ConditionerFit:
    """What fits a conditioner to training samples.

    Attributes
    ----------
    encoder : Encoder

    models : tuple of str
        Names of the models of mean and spread; none for a density that is left alone with the
        features.

    max_time : float or None
        Time limit of the whole fit, in seconds.

    start : float
        Reading of ``time.perf_counter()`` when the fit began.

    on_part : callable ``(what)``
        Called with a description of what is fitted next.
    """

    encoder: Encoder
    models: tuple[str, ...]
    max_time: float | None
    start: float
    on_part: Callable[[str], None]

    def n_folds(self, n_samples: int) -> int:
        """Number of folds out of which training samples are predicted, where nothing sets it."""
        n_folds = Effort.of(n_samples, self.encoder.n_features, None, self.max_time).n_folds
        return min(n_folds, n_samples)

    def fit(
        self,
        codes: np.ndarray,
        Z: np.ndarray,
        weights: np.ndarray,
        folds: Sequence[Fold],
        seed: int,
    ) -> tuple[Conditioner, Condition]:
        """Fit models of mean and spread, and predict each sample by those that have not seen it.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_features)
            Codes of the features.

        Z : ndarray of shape (n_samples, n_targets)
            Targets in the units of training.

        weights : ndarray of shape (n_samples,)

        folds : sequence of pairs of ndarrays of int

        seed : int

        Returns
        -------
        conditioner : Conditioner

        condition : Condition
            Of the training samples.
        """
        features, n_targets = features_of(self.encoder, codes), Z.shape[1]
        stack, predictions, known = None, None, np.empty((len(Z), 0))
        if self.models:
            effort = Effort.of(len(Z), codes.shape[1], len(folds), self.max_time)
            deadline = self.start + _SHARE_OF_TIME * (self.max_time or math.inf)
            stack, predictions = Stack.fit(
                self.models, features, Z, weights, folds, effort, deadline, seed, self.on_part
            )
            known = _columns(predictions)
        scale = known.std(axis=0)
        units = Standardisation(known.mean(axis=0), np.where(scale > 0, scale, 1.0))
        conditioner = Conditioner(self.encoder, stack, n_targets, units)
        return conditioner, _condition(features, predictions, units, n_targets)


def features_of(encoder: Encoder, codes: np.ndarray) -> Features:
    """Codes of features, and the same as standardised columns."""
    return Features(codes, encoder.standardised(codes))


def _columns(predictions: Predictions) -> np.ndarray:
    return np.concatenate([predictions.mean, predictions.log_spread, predictions.details], axis=1)


def _condition(
    features: Features, predictions: Predictions | None, units: Standardisation, n_targets: int
) -> Condition:
    if predictions is None:
        zeros = np.zeros((len(features), n_targets))
        return Condition(zeros, zeros, features.columns)
    known = units.transform(_columns(predictions)).clip(-_LARGEST, _LARGEST)
    mean, log_spread = predictions.mean, predictions.log_spread
    # The last are what residuals are made with, for components that undo that.
    context = np.concatenate([features.columns, known, mean, log_spread], axis=1)
    return Condition(mean, log_spread, context)
