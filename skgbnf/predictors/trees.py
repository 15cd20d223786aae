"""Ensembles of regression trees of scikit-learn as arrays, which files can hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

_CELLS_PER_CHUNK = 2_000_000
_ROWS_TO_COMPARE = 50
_COLUMNS = ("feature", "left", "right", "threshold", "value", "missing_left")


@dataclass(frozen=True, eq=False)
class Trees:
    """Binary regression trees, nodes of all of them one after the other.

    Attributes
    ----------
    feature, left, right : ndarrays of int32 of shape (n_nodes,)
        Feature that a node asks for, and the nodes below it; a leaf is its own left and right.

    threshold, value : ndarrays of float64, or of float32 if `single`, of shape (n_nodes,)
        The left node takes values up to the threshold; a leaf has the value.

    missing_left : ndarray of bool of shape (n_nodes,)
        Whether NaN goes to the left.

    roots : ndarray of int32 of shape (n_trees,)

    offset : float
        What the sum of boosted trees begins with.

    single : bool
        Whether features are compared in single precision.
    """

    feature: np.ndarray
    left: np.ndarray
    right: np.ndarray
    threshold: np.ndarray
    value: np.ndarray
    missing_left: np.ndarray
    roots: np.ndarray
    offset: float
    single: bool

    @classmethod
    def of_boosting(cls, model: Any, X: np.ndarray) -> Self:
        """Those of a fitted HistGradientBoostingRegressor of numeric features.

        scikit-learn has no public access to its trees. What is read here is compared, on a few
        training samples, with what the model predicts.
        """
        nodes = [trees[0].nodes for trees in model._predictors]
        parts = [
            (
                n["feature_idx"], n["left"], n["right"], n["num_threshold"], n["value"],
                n["missing_go_to_left"] > 0, n["is_leaf"] > 0,
            )
            for n in nodes
        ]  # fmt: skip
        self = cls._joined(parts, float(np.ravel(model._baseline_prediction)[0]), single=False)
        rows = X[:_ROWS_TO_COMPARE]
        raw = self.total(rows)
        expected = model.predict(rows)
        expected = np.log(expected) if model.loss == "gamma" else expected
        if not np.allclose(raw, expected, rtol=1e-6, atol=1e-8):
            raise RuntimeError("trees of this version of scikit-learn are not as expected.")
        return self

    @classmethod
    def of_forests(cls, models: Sequence[Any]) -> Self:
        """Those of fitted forests for one target, all together."""
        trees = [tree.tree_ for model in models for tree in model.estimators_]
        parts = [
            (
                t.feature, t.children_left, t.children_right, _rounded_down(t.threshold),
                t.value[:, 0, 0].astype(np.float32),
                t.missing_go_to_left > 0, t.children_left < 0,
            )
            for t in trees
        ]  # fmt: skip
        return cls._joined(parts, 0.0, single=True)

    @classmethod
    def _joined(cls, trees: Sequence[tuple[np.ndarray, ...]], offset: float, single: bool) -> Self:
        starts = np.cumsum([0, *(len(parts[0]) for parts in trees)])
        columns: list[list[np.ndarray]] = [[] for _ in range(6)]
        real = np.float32 if single else np.float64
        for start, (feature, left, right, threshold, value, missing, leaf) in zip(
            starts, trees, strict=False
        ):
            own = start + np.arange(len(feature))
            nodes = (
                np.where(leaf, 0, feature),
                np.where(leaf, own, start + left.astype(np.int64)),
                np.where(leaf, own, start + right.astype(np.int64)),
                np.where(leaf, 0.0, threshold),
                value,
                missing,
            )
            for column, part in zip(columns, nodes, strict=True):
                column.append(part)
        types = (np.int32, np.int32, np.int32, real, real, bool)
        arrays = [np.concatenate(c).astype(t) for c, t in zip(columns, types, strict=True)]
        named: dict[str, Any] = dict(zip(_COLUMNS, arrays, strict=True))
        return cls(**named, roots=starts[:-1].astype(np.int32), offset=offset, single=single)

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """Value of each tree for each sample, of shape (n_samples, n_trees)."""
        X = X.astype(np.float32) if self.single else X
        size = max(1, _CELLS_PER_CHUNK // len(self.roots))
        parts = [self._of_chunk(X[i : i + size]) for i in range(0, len(X), size)]
        return np.concatenate(parts)

    def total(self, X: np.ndarray) -> np.ndarray:
        """Sum of all trees and the offset, of shape (n_samples,)."""
        return self.offset + self.outputs(X).sum(axis=1)

    def _of_chunk(self, X: np.ndarray) -> np.ndarray:
        at = np.repeat(self.roots[None], len(X), axis=0).ravel()
        rows = np.repeat(np.arange(len(X)), len(self.roots))
        places = np.arange(len(at))
        inner = self.left[at] != at
        while inner.any():
            places, rows = places[inner], rows[inner]
            node = at[places]
            x = X[rows, self.feature[node]]
            goes_left = np.where(np.isnan(x), self.missing_left[node], x <= self.threshold[node])
            node = np.where(goes_left, self.left[node], self.right[node])
            at[places] = node
            inner = self.left[node] != node
        return self.value[at].reshape(len(X), -1)

    def to_plain(self) -> dict[str, Any]:
        """The trees as JSON values and arrays."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, plain: dict[str, Any], n_features: int) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless each path ends at a leaf."""
        self = cls(**{**plain, "offset": float(plain["offset"]), "single": bool(plain["single"])})
        own = np.arange(len(self.value))
        nodes = (self.feature, self.left, self.right, self.threshold, self.missing_left)
        if self.value.ndim != 1 or any(array.shape != self.value.shape for array in nodes):
            raise ValueError("its trees have more or fewer nodes than values")
        inner = self.left != own
        # Nodes below a node come after it, so that no path is endless.
        below = (
            (self.left > own) & (self.right > own) & (np.maximum(self.left, self.right) < len(own))
        )
        known = (self.feature >= 0) & (self.feature < n_features)
        if not (below[inner].all() and known.all()):
            raise ValueError("a node of its trees leads nowhere")
        if not ((self.roots >= 0).all() and (self.roots < len(own)).all() and len(self.roots)):
            raise ValueError("its trees have no roots")
        if not (np.isfinite(self.value).all() and np.isfinite(self.offset)):
            raise ValueError("a value of its trees is not finite")
        return self


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest numbers of single precision up to thresholds: as many of them are below."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
