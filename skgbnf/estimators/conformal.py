"""Conformal p-values of low scores, by a calibration set or by out-of-fold scores."""

from typing import Any

import numpy as np

from skgbnf.estimators.out_of_fold import scores_out_of_fold

_FEWEST_ASIDE = 19
"""With this many samples in the calibration set, the smallest p-value is 5 %."""

_TIE = 1e-5
"""Largest difference, relative to their size, between float32 scores of repeated samples."""


def split_aside(n_rows: int, share: float | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the samples for the density, and of those of the calibration set.

    Parameters
    ----------
    n_rows : int

    share : float or None
        Fraction of the samples in the calibration set; None or 0 for an empty one.

    seed : int

    Raises
    ------
    ValueError
        If there are too few samples for both.
    """
    order = np.random.default_rng(seed).permutation(n_rows)
    if not share:
        return np.arange(n_rows), order[:0]
    n_aside = max(round(share * n_rows), min(_FEWEST_ASIDE, n_rows // 3))
    if n_aside == 0:
        raise ValueError(
            "FlowOutlierDetector needs at least 3 rows to set one of them aside, got "
            f"n_samples={n_rows}; calibration_fraction=None sets none aside."
        )
    if n_rows - n_aside < 2:
        raise ValueError(
            f"calibration_fraction={share} leaves the density fewer than two of {n_rows} rows."
        )
    return order[n_aside:], order[:n_aside]


def calibration_by_folds(density: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores of training samples by components that did not see them, and the fold of each.

    Parameters
    ----------
    density : GradientBoostedFlowDensity
        Fitted to X with folds.

    X : array or data frame of shape (n_samples, n_features)

    Returns
    -------
    scores : ndarray of shape (n_scored_samples,)
        Ascending in each fold. Samples that the fit left out have none.

    folds : ndarray of int of shape (n_scored_samples,)
        Ascending.
    """
    used = np.flatnonzero(density.row_folds_ >= 0)
    folds = density.row_folds_[used]
    scores = scores_out_of_fold(density, X, lambda scorer, rows: scorer.score_samples(rows))[used]
    order = np.lexsort((scores, folds))
    return scores[order], folds[order]


def conformal_pvalues(
    scores: np.ndarray, calibration_scores: np.ndarray, calibration_folds: np.ndarray
) -> np.ndarray:
    """One plus the number of calibration scores that are not higher, over one plus their number.

    Scores that float32 cannot tell apart count as equal.

    Parameters
    ----------
    scores : ndarray of shape (n_folds, n_samples)
        Of new samples, by the density of each fold.

    calibration_scores : ndarray of shape (n_calibration_samples,)
        Each compared with the scores by the density of its own fold; ascending in each fold.

    calibration_folds : ndarray of int of shape (n_calibration_samples,)
        Ascending.

    Returns
    -------
    p : ndarray of shape (n_samples,)
    """
    ties = scores + _tolerance(scores)
    edges = np.searchsorted(calibration_folds, np.arange(1, len(scores)))
    parts = np.split(calibration_scores, edges)
    pairs = zip(parts, ties, strict=True)
    n_below = sum(np.searchsorted(part, own, side="right") for part, own in pairs)
    return (1 + n_below) / (1 + len(calibration_scores))


def check_calibration(scores: Any, folds: Any, n_folds: int) -> None:
    """Raise ValueError unless a file has ascending scores, each of one of so many folds.

    Parameters
    ----------
    scores : ndarray or None

    folds : ndarray of int, or None
        None for one set.

    n_folds : int
        Of the density.
    """
    if scores is None:
        if folds is not None:
            raise ValueError("it has folds of calibration scores, and no scores")
        return
    if scores.dtype != np.float64 or scores.ndim != 1 or not len(scores):
        raise ValueError("its calibration scores are no numbers")
    order = np.argsort(scores, kind="stable")
    if folds is not None:
        if folds.dtype != np.int32 or folds.shape != scores.shape:
            raise ValueError("its calibration scores have no folds")
        if not np.array_equal(np.unique(folds), np.arange(n_folds)):
            raise ValueError("its calibration scores are of other folds than those of its density")
        order = np.lexsort((scores, folds))
    if np.isnan(scores).any() or not np.array_equal(order, np.arange(len(scores))):
        raise ValueError("its calibration scores do not ascend")


def _tolerance(scores: np.ndarray) -> np.ndarray:
    """Largest difference between scores that float32 cannot tell apart."""
    finite = np.where(np.isfinite(scores), scores, 0.0)
    return _TIE * np.maximum(1.0, np.abs(finite))
