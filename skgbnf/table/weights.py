"""Checks of sample weights, and of the range of each feature."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from skgbnf.table.checks import check_unmasked


def check_spread(X: np.ndarray, names: Sequence[Any], input_name: str = "X") -> None:
    """Raise ValueError unless the range of each feature is finite in float64.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.

    names : sequence of length n_features
        Names of the features for the message.

    input_name : str, default="X"
        Name of the table for the message.
    """
    smallest, largest = (extreme(axis=0).astype(np.float64) for extreme in (X.min, X.max))
    with np.errstate(over="ignore"):
        too_wide = np.flatnonzero(~np.isfinite(largest - smallest))
    if len(too_wide):
        j = too_wide[0]
        raise ValueError(
            f"{input_name}: column {names[j]!r} reaches from {smallest[j]:g} to {largest[j]:g}, "
            "farther than float64 can tell; divide it by a power of ten or drop the rows at fault."
        )


def check_weights(sample_weight: Any, n_samples: int, name: str = "sample_weight") -> np.ndarray:
    """Sample weights divided by the largest, in float64; ones for None.

    Raises
    ------
    ValueError
        If they are not one finite, non-negative number per sample, or all zero.
    """
    if sample_weight is None:
        return np.ones(n_samples)
    check_unmasked(sample_weight, name)
    weights = np.asarray(sample_weight)
    if weights.dtype.kind in "mM":
        raise ValueError(f"{name} must hold numbers, got dates or durations.")
    if weights.dtype.kind in "US":
        raise ValueError(f"{name} must hold numbers, got text.")
    if weights.dtype.kind == "c":
        raise ValueError(f"{name} must hold real numbers, got complex ones.")
    try:
        weights = weights.astype(np.float64)
    except (TypeError, ValueError) as e:
        raise ValueError(f"{name} must hold numbers, got {sample_weight!r}.") from e
    if weights.ndim == 0:
        weights = np.full(n_samples, float(weights))
    if weights.shape != (n_samples,):
        raise ValueError(f"{name} must have shape ({n_samples},), got {weights.shape}.")
    if not np.isfinite(weights).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity.")
    if (weights < 0).any():
        raise ValueError(f"{name} must not be negative, got {weights.min():g}.")
    if not weights.any():
        raise ValueError(f"{name} must not be zero for every row.")
    # Sums of weights near the largest number would overflow.
    return weights / weights.max()


def rounded(weights: np.ndarray) -> np.ndarray:
    """Weights rounded to seven digits.

    Weights that differ by a common factor become identical, not merely close, and so do the models
    trained with them.
    """
    return weights.astype(np.float32).astype(np.float64)


def rounded_weights(sample_weight: Any, n_samples: int, input_name: str) -> np.ndarray:
    """Weights of all samples divided by the largest, and rounded."""
    name = "sample_weight" + input_name.removeprefix("X")
    return rounded(check_weights(sample_weight, n_samples, name))
