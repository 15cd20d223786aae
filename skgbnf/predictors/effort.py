"""How large the models of a mean are, by the number of samples and the time there is."""

import math
from dataclasses import dataclass
from typing import Self

_SHARE_OF_TIME = 0.35
_MOST_REPEATS, _MOST_TREES = 10, 50
_MOST_LEAVES = 1_000_000
_FEWEST_TREES = 10
_ITER_PER_ROW = 5
_LARGEST_RATE = 0.3
_FEW, _MANY = 2000, 10_000


@dataclass(frozen=True)
class Effort:
    """Sizes of models.

    Attributes
    ----------
    n_folds : int
        Number of folds, where nothing else sets it.

    n_iter : int
        Boosting iterations.

    learning_rate : float

    max_leaf_nodes : int
        Of each boosted tree.

    min_samples_leaf : int

    n_repeats : int
        Partitions into folds that a forest is grown on, each anew.

    n_trees : int
        Trees of a forest for each fold of each partition.

    n_centres : int
        Kernels of a smooth model.
    """

    n_folds: int
    n_iter: int
    learning_rate: float
    max_leaf_nodes: int
    min_samples_leaf: int
    n_repeats: int
    n_trees: int
    n_centres: int

    @classmethod
    def of(
        cls, n_samples: int, n_features: int, n_folds: int | None, max_time: float | None
    ) -> Self:
        """What suits so many samples, and less of it where there is no time for all.

        Parameters
        ----------
        n_samples, n_features : int

        n_folds : int or None
            Number of folds that is set; None to choose it.

        max_time : float or None
            Time limit of the whole fit, in seconds.
        """
        if n_samples < _FEW:
            sizes = (5, 500, 0.05, 8, 3, 1000)
        elif n_samples < _MANY:
            sizes = (4, 250, 0.07, 64, 5, 700)
        else:
            sizes = (3, 150, 0.1, 128, 10, 400)
        own_folds, n_iter, rate, leaves, fewest, n_centres = sizes
        n_folds = n_folds or own_folds
        # Fewer iterations need larger steps.
        n_iter, rate = _scaled(n_iter, rate, min(1.0, _ITER_PER_ROW * n_samples / n_iter))
        seconds = n_folds * _seconds(n_samples, n_features, n_iter, leaves)
        share = min(1.0, _SHARE_OF_TIME * (max_time or math.inf) / seconds)
        n_iter, rate = _scaled(n_iter, rate, share)
        n_repeats, n_trees = _forest(n_samples)
        return cls(
            n_folds=n_folds,
            n_iter=n_iter,
            learning_rate=rate,
            max_leaf_nodes=leaves,
            min_samples_leaf=fewest,
            n_repeats=n_repeats,
            n_trees=n_trees,
            n_centres=n_centres,
        )


def _scaled(n_iter: int, rate: float, share: float) -> tuple[int, float]:
    """A share of the iterations, with steps that lead as far."""
    return max(int(share * n_iter), _FEWEST_TREES), min(rate / max(share, 1e-3), _LARGEST_RATE)


def _forest(n_samples: int) -> tuple[int, int]:
    """Numbers of partitions and of trees, as many as there is room for."""
    n_trees = max(int(min(_MOST_TREES, _MOST_LEAVES / n_samples)), _FEWEST_TREES)
    per_fold = max(1, round(n_trees / _MOST_REPEATS))
    return round(n_trees / per_fold), per_fold


def _seconds(n_samples: int, n_features: int, n_iter: int, leaves: int) -> float:
    """About how long models take to fit to one fold, on one thread."""
    per_tree = 5e-5 * leaves + 3e-9 * n_samples * n_features * math.log2(leaves)
    return 2 * n_iter * per_tree + 0.3
