"""Rows on their way from a table to boosting: weights, held-out rows, units."""

from dataclasses import dataclass

import numpy as np
import torch

from skgbnf.bounds import Bounds
from skgbnf.standardisation import Standardisation
from skgbnf.training import Rows
from skgbnf.validation import check_weights, rounded

_MIN_HELD_OUT = 10


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

    @classmethod
    def from_rows(cls, bounds: Bounds, X: np.ndarray, weights: np.ndarray) -> "Coordinates":
        """Standardise rows once their bounds are mapped away."""
        return cls(bounds, Standardisation.from_rows(bounds.transform(X)[0], weights))

    def transform(self, X: np.ndarray, dtype=np.float64) -> tuple[np.ndarray, np.ndarray]:
        """Rows for flows, computed in float64, then cast; log-determinant of the map at each."""
        Y, log_det = self.bounds.transform(X)
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
    def has_held_out(self) -> bool:
        return self.judge is not self.train


def _rows(coordinates: Coordinates, X, weights, device: torch.device) -> tuple[Rows, float]:
    """Rows, and the weighted mean of the log-determinants."""
    Y, log_det = coordinates.bounds.transform(X)
    standardisation = coordinates.standardisation
    Z = torch.from_numpy(standardisation.transform(Y)).to(device)
    rows = Rows(Z, torch.from_numpy(weights / weights.mean()).to(device))
    return rows, float(np.average(log_det, weights=weights)) + standardisation.log_det


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
