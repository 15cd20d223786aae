"""Columns that others determine exactly: shares that sum to 1, one-hot columns, multiples.

Rows then lie in a plane, where a density has no bound.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import qr, solve_triangular

from skgbnf._warnings import warn
from skgbnf.table.dequantisation import DegenerateDataWarning

_MOST_ROWS, _MOST_COLUMNS = 10_000, 2_000
_MOST_PRODUCTS = 2e9
_SMALLEST_EIGENVALUE = 1e-11
_EXACT = 1e-6
"""Residual of a column of unit variance below which others determine it, in float32 too."""
_ROUNDING = 16
_SMALLEST_COEFFICIENT = 1e-5
_MOST_NAMED = 5


def warn_of_dependence(X: np.ndarray, names: Sequence) -> None:
    """Warn of columns that are linear functions of others, and say of which.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows as they are given.

    names : sequence of length n_features
        What the warning calls the columns.
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
    """Sets of columns of which one is a linear function of the others, for every row.

    Constant columns are left out, and so are tables of no more rows than columns, where any
    column is a function of the others, and very wide ones.
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
    """Rows at even steps, so few that their products cost little, more than twice the columns."""
    n = min(_MOST_ROWS, max(int(_MOST_PRODUCTS / X.shape[1] ** 2), 2 * X.shape[1] + 2))
    return X[:: max(1, len(X) // n)].astype(np.float64)


def _units(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of columns, safe from overflow."""
    largest = np.abs(X).max(axis=0)
    location = (X / largest).mean(axis=0) * largest
    return location, ((X / largest) - location / largest).std(axis=0) * largest


def _standardised(X: np.ndarray, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return X / scale - location / scale


def _candidates(Z: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Columns, those that determine each, and the coefficients of these."""
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
    """Whether the first column is that sum of the others in every row, but for rounding."""
    rounding, (_, scale) = _ROUNDING * np.finfo(X.dtype).eps, units
    X = X.astype(np.float64) / scale
    # From a row in the middle and relative to each row: in units of the standard deviation, all
    # others would be one next to a row far away, and so would those of each of two clusters.
    middle = np.abs(X - np.median(X, axis=0)).sum(axis=1).argmin()
    Z, weights = X - X[middle], np.abs(np.r_[1.0, coefficients])
    allowed = _EXACT * (np.abs(Z) @ weights) + rounding * (np.abs(X) @ weights)
    return bool((np.abs(Z[:, 0] - Z[:, 1:] @ coefficients) <= allowed).all())
