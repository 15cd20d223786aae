"""What is typical of draws."""

import math

import numpy as np

from skgbnf.table.column import Column


def mean_of(draws: np.ndarray, column: Column) -> np.ndarray:
    """Mean of the draws of each sample, of numbers; the most frequent draw of other columns.

    Parameters
    ----------
    draws : ndarray of shape (n_samples, n_draws)

    column : Column

    Returns
    -------
    means : ndarray of shape (n_samples,)
        Not yet on the grid of the column, but for codes.
    """
    if column.period:
        angles = draws * (2 * math.pi / column.period)
        means = np.arctan2(np.sin(angles).mean(axis=1), np.cos(angles).mean(axis=1))
        start = 0.0 if draws.min(initial=0.0) >= 0 else -column.period / 2
        return start + np.remainder(means * column.period / (2 * math.pi) - start, column.period)
    if not column.is_coded:
        return np.asarray(draws.mean(axis=1))
    if column.kind != "ordinal" or not column.holds_numbers:
        return most_frequent(draws)
    levels = np.array(column.levels, dtype=np.float64)
    means = levels[draws.astype(int)].mean(axis=1)
    return np.abs(means[:, None] - levels).argmin(axis=1).astype(np.float64)


def mode_of(draws: np.ndarray, column: Column) -> np.ndarray:
    """Most frequent draw of each sample; of continuous columns the half-sample mode.

    An atom is the mode where at least half of the draws are atoms.

    Parameters
    ----------
    draws : ndarray of shape (n_samples, n_draws)

    column : Column

    Returns
    -------
    modes : ndarray of shape (n_samples,)
    """
    if column.is_coded or column.kind == "ordinal":
        return most_frequent(draws)
    if not column.atoms:
        return half_sample_mode(draws)
    modes = np.empty(len(draws))
    for i, own in enumerate(draws):
        at = np.isin(own, column.atoms)
        free = own[None, ~at]
        modes[i] = (
            most_frequent(own[None, at])[0]
            if 2 * at.sum() >= len(own)
            else (half_sample_mode(free)[0])
        )
    return modes


def most_frequent(draws: np.ndarray) -> np.ndarray:
    """Most frequent value of each row; of several the one nearest to the median."""
    modes = np.empty(len(draws))
    for i, own in enumerate(draws):
        values, counts = np.unique(own, return_counts=True)
        most = values[counts == counts.max()]
        modes[i] = most[np.abs(most - np.median(own)).argmin()]
    return modes


def half_sample_mode(draws: np.ndarray) -> np.ndarray:
    """Mode of each row: the shortest half of its values, the shortest half of that, and so on.

    References
    ----------
    On a Fast, Robust Estimator of the Mode: Comparisons to Other Robust Estimators with
    Applications. D. R. Bickel, R. Frühwirth, 2006. https://arxiv.org/abs/math/0505419
    """
    x = np.sort(draws, axis=1)
    while x.shape[1] > 2:
        n_half = -(-x.shape[1] // 2)
        widths = x[:, n_half - 1 :] - x[:, : x.shape[1] - n_half + 1]
        start = widths.argmin(axis=1)
        x = np.take_along_axis(x, start[:, None] + np.arange(n_half), axis=1)
    return np.asarray(x.mean(axis=1))
