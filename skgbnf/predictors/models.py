"""Models of a mean: each fitted by scikit-learn, kept as arrays."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

from skgbnf._clock import Clock
from skgbnf._random import derive_seed
from skgbnf.predictors.effort import Effort
from skgbnf.predictors.kernel import KernelModel
from skgbnf.predictors.trees import Trees
from skgbnf.table.split import fold_rows

LARGEST_SEED = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class Features:
    """Features of samples in the two forms that models need.

    Attributes
    ----------
    codes : ndarray of shape (n_samples, n_features)
        With gaps, for trees.

    columns : ndarray of shape (n_samples, n_columns)
        Standardised, for smooth models.
    """

    codes: np.ndarray
    columns: np.ndarray

    def __getitem__(self, index: np.ndarray | slice) -> "Features":
        return Features(self.codes[index], self.columns[index])

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, eq=False)
class _OfTrees:
    """A model that is kept as its trees."""

    trees: Trees

    def to_plain(self) -> dict[str, Any]:
        return self.trees.to_plain()

    @classmethod
    def from_plain(cls, plain: dict[str, Any], n_features: int, n_columns: int) -> Self:
        return cls(Trees.from_plain(plain, n_features))


class Boosting(_OfTrees):
    """A sum of trees, fitted by gradient boosting."""

    @classmethod
    def fit(
        cls, X: Features, y: np.ndarray, weights: np.ndarray, effort: Effort, seed: int
    ) -> Self:
        model = HistGradientBoostingRegressor(
            learning_rate=effort.learning_rate,
            max_iter=effort.n_iter,
            max_leaf_nodes=effort.max_leaf_nodes,
            min_samples_leaf=effort.min_samples_leaf,
            l2_regularization=1.0,
            max_features=0.5,
            early_stopping=False,
            random_state=seed,
        ).fit(X.codes, y, unless_equal(weights))
        return cls(Trees.of_boosting(model, X.codes))

    def outputs(self, X: Features) -> np.ndarray:
        return self.trees.total(X.codes)[:, None]


class Forest(_OfTrees):
    """Extremely randomised trees, each of them grown to the end."""

    @classmethod
    def fit_repeatedly(
        cls,
        X: Features,
        y: np.ndarray,
        weights: np.ndarray,
        effort: Effort,
        seconds: float,
        seed: int,
    ) -> tuple[Self, np.ndarray]:
        """Trees on folds of several partitions, and outputs of those that have not seen a sample.

        A sample is thus predicted, as new ones are, by trees that together have seen all others.
        There are fewer partitions where there is no time for all.
        """
        models, parts, clock = [], [], Clock(seconds)
        for i in range(effort.n_repeats):
            if i and not clock.has_time():
                break
            outputs, own = np.empty((len(X), effort.n_trees)), derive_seed(seed, i)
            for k, (kept, aside) in enumerate(fold_rows(len(X), effort.n_folds, own)):
                model = ExtraTreesRegressor(
                    effort.n_trees, max_features=0.7, random_state=(own + k) % LARGEST_SEED
                ).fit(X.codes[kept], y[kept], unless_equal(weights[kept]))
                rows = X.codes[aside].astype(np.float32)
                each = [tree.predict(rows) for tree in model.estimators_]
                outputs[aside] = np.column_stack(each)
                models.append(model)
            parts.append(outputs)
        return cls(Trees.of_forests(models)), np.concatenate(parts, axis=1)

    def outputs(self, X: Features) -> np.ndarray:
        return self.trees.outputs(X.codes)


@dataclass(frozen=True, eq=False)
class Smooth:
    """The mean of a Gaussian process."""

    kernel: KernelModel

    @classmethod
    def fit(
        cls, X: Features, y: np.ndarray, weights: np.ndarray, effort: Effort, seed: int
    ) -> Self:
        return cls(KernelModel.fit(X.columns, y, weights, effort.n_centres, seed))

    def outputs(self, X: Features) -> np.ndarray:
        return self.kernel.predict(X.columns)[:, None]

    def to_plain(self) -> dict[str, Any]:
        return self.kernel.to_plain()

    @classmethod
    def from_plain(cls, plain: dict[str, Any], n_features: int, n_columns: int) -> Self:
        return cls(KernelModel.from_plain(plain, n_columns))


MODELS: dict[str, Any] = {"forest": Forest, "boosting": Boosting, "kernel": Smooth}
"""Models of a mean by name, those that take little time first."""


def unless_equal(weights: np.ndarray) -> np.ndarray | None:
    """Weights for scikit-learn, whose trees take several times as long with any than without."""
    return None if (weights == weights[0]).all() else weights
