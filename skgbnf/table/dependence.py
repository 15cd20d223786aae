"""Linearly dependent features: fractions that sum to 1, one-hot columns, multiples.

Samples then lie in a plane, near which a density has no upper bound.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import qr, solve_triangular

from skgbnf._warnings import warn
from skgbnf.table.dequantisation import DegenerateDataWarning

_MOST_ROWS, _MOST_COLUMNS = 10_000, 2_000
_MOST_PRODUCTS = 2e9
_SMALLEST_EIGENVALUE = 1e-11
_EXACT = 1e-6
"""Residual below which others determine a feature of unit variance, in float32 too."""
_ROUNDING = 16
_SMALLEST_COEFFICIENT = 1e-5
_MOST_NAMED = 5


def warn_of_dependence(X: np.ndarray, names: Sequence[Any]) -> None:
    """Warn of features that are linear functions of others, and name these.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, without noise.

    names : sequence of length n_features
        Names for the warning.
    """
    relations = dependent_columns(X)
    if not relations:
        return
    named = [[names[j] for j in relation] for relation in relations[:_MOST_NAMED]]
    rest = len(relations) - len(named)
    more = f" and {rest} more" if rest else ""
    warn(
        f"Columns determine each other exactly, as a sum or a multiple does: "
        f"{', '.join(map(str, named))}{more}. Unless noise spreads them, the density is that of a "
        "narrow sheet. Drop a column of each.",
        DegenerateDataWarning,
    )


def dependent_columns(X: np.ndarray) -> list[list[int]]:
    """Sets of features of which one is a linear function of the others, in every sample.

    Constant features are left out. Tables with at most as many samples as features, where any
    feature is a function of the others, and very wide tables are not examined.
    """
    if not 2 <= X.shape[1] <= _MOST_COLUMNS or len(X) <= X.shape[1]:
        return []
    some = _part(X)
    varies = np.flatnonzero(some.max(axis=0) > some.min(axis=0))
    if len(varies) < 2 or len(some) <= len(varies):
        return []
    location, scale = _units(some[:, varies])
    Z = _standardised(some[:, varies], location, scale)
    if np.linalg.eigvalsh(Z.T @ Z / len(Z))[0] > _SMALLEST_EIGENVALUE * len(varies):
        return []
    relations = []
    for k, others, coefficients in _candidates(Z):
        columns = varies[[k, *others]]
        units = location[[k, *others]], scale[[k, *others]]
        if _holds_everywhere(X[:, columns], units, coefficients):
            relations.append(sorted(columns.tolist()))
    return sorted(relations)


def _part(X: np.ndarray) -> np.ndarray:
    """Evenly spaced samples: few enough to be fast, more than twice as many as features."""
    n = min(_MOST_ROWS, max(int(_MOST_PRODUCTS / X.shape[1] ** 2), 2 * X.shape[1] + 2))
    return X[:: max(1, len(X) // n)].astype(np.float64)


def _units(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, without overflow."""
    largest = np.abs(X).max(axis=0)
    location = (X / largest).mean(axis=0) * largest
    return location, ((X / largest) - location / largest).std(axis=0) * largest


def _standardised(X: np.ndarray, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return X / scale - location / scale


def _candidates(Z: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Features, the others that determine each, and the coefficients of these."""
    R, order = qr(Z, mode="r", pivoting=True)
    diagonal = np.abs(np.diag(R))
    rank = int((diagonal > _EXACT * np.sqrt(len(Z))).sum())
    coefficients = solve_triangular(R[:rank, :rank], R[:rank, rank:])
    found = []
    for k, column in zip(order[rank:], coefficients.T, strict=True):
        used = np.abs(column) > _SMALLEST_COEFFICIENT * np.abs(column).max(initial=0)
        found.append((int(k), order[:rank][used], column[used]))
    return found


def _holds_everywhere(
    X: np.ndarray, units: tuple[np.ndarray, np.ndarray], coefficients: np.ndarray
) -> bool:
    """Whether the first feature is that sum of the others in every sample, up to rounding."""
    rounding, (_, scale) = _ROUNDING * np.finfo(X.dtype).eps, units
    X = X.astype(np.float64) / scale
    # From a row in the middle and relative to each row: in units of the standard deviation, all
    # others would be one next to a row far away, and so would those of each of two clusters.
    middle = np.abs(X - np.median(X, axis=0)).sum(axis=1).argmin()
    Z, weights = X - X[middle], np.abs(np.r_[1.0, coefficients])
    allowed = _EXACT * (np.abs(Z) @ weights) + rounding * (np.abs(X) @ weights)
    return bool((np.abs(Z[:, 0] - Z[:, 1:] @ coefficients) <= allowed).all())
