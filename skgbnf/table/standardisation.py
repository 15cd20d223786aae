"""Standardisation: the affine map to mean 0 and standard deviation 1."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

# Squares and products of a few such numbers stay finite, and no row of a real table is near.
LARGEST = {np.dtype(np.float32): 1e14, np.dtype(np.float64): 1e100}


@dataclass(frozen=True)
class Standardisation:
    """Shift and scale of each feature, in float64.

    Attributes
    ----------
    location, scale : ndarrays of shape (n_features,)
        Mean and standard deviation, in units of the input.
    """

    location: np.ndarray
    scale: np.ndarray

    @classmethod
    def from_rows(
        cls, X: np.ndarray, weights: np.ndarray, spreads: np.ndarray | float = 1.0
    ) -> "Standardisation":
        """Weighted mean and standard deviation of each feature, without overflow.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        weights : ndarray of shape (n_samples,)
            Sample weights.

        spreads : float or ndarray of shape (n_features,), default=1.0
            Scale of constant features.
        """
        X = X.astype(np.float64, copy=False)
        share = weights / weights.sum()
        low, high = X.min(axis=0), X.max(axis=0)
        largest = np.maximum(np.maximum(high, -low), np.finfo(np.float64).tiny)
        location = share @ (X / largest) * largest
        spread = np.maximum(high - location, location - low)
        spread = np.where(spread > 0, spread, 1.0)
        scale = np.sqrt(share @ np.square((X - location) / spread)) * spread
        constant = high == low
        return cls(np.where(constant, X[0], location), np.where(constant, spreads, scale))

    @property
    def log_det(self) -> float:
        """Log-determinant of the map from X to standardised samples."""
        return -float(np.log(self.scale).sum())

    def transform(self, X: np.ndarray, dtype: DTypeLike = np.float64) -> np.ndarray:
        """Standardised samples, computed in float64 and then cast; huge values are clipped."""
        largest = LARGEST[np.dtype(dtype)]
        with np.errstate(over="ignore"):
            Z = (X.astype(np.float64, copy=False) - self.location) / self.scale
        return np.clip(Z, -largest, largest).astype(dtype)

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Samples in units of the input."""
        return Z * self.scale + self.location


def standard_deviation(values: np.ndarray) -> float:
    """Standard deviation of values, without overflow; 0 for none."""
    largest = np.abs(values).max(initial=0.0)
    return float((values / largest).std() * largest) if largest else 0.0
