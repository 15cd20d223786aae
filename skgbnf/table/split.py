"""Splits of the samples: a validation set, or folds."""

import numpy as np

_FEWEST = 10


def split_rows(n_samples: int, fraction: float | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training samples and of a validation set.

    Parameters
    ----------
    n_samples : int
        Number of samples.

    fraction : float or None
        Fraction of the samples in the validation set, which has at least ten samples and at most a
        third of all; None or 0 for an empty one.

    seed : int
        Seed of the split.

    Returns
    -------
    train, validation : ndarrays of int
        Indices, in random order.
    """
    n_validation = min(max(round((fraction or 0.0) * n_samples), _FEWEST), n_samples // 3)
    order = np.random.default_rng(seed).permutation(n_samples)
    validation, train = np.split(order, [n_validation if fraction else 0])
    return train, validation


def fold_rows(n_samples: int, n_folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices of the training samples and of the validation set of each fold.

    Every sample is in one validation set, and in the training samples of all other folds.

    Parameters
    ----------
    n_samples : int
        Number of samples.

    n_folds : int
        From 2 to `n_samples`.

    seed : int
        Seed of the split.

    Returns
    -------
    folds : list of pairs of ndarrays of int
        Indices, in random order.
    """
    order = np.random.default_rng(seed).permutation(n_samples)
    parts = np.array_split(order, n_folds)
    return [(np.concatenate([*parts[:k], *parts[k + 1 :]]), part) for k, part in enumerate(parts)]
