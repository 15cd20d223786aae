"""Pairs of domains with a known truth: what each row of one would be in the other."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_wine, make_moons
from sklearn.preprocessing import StandardScaler

TABLES = "wine", "magic", "pendigits"
EFFECTS = "scale", "warp", "bend"
MIXES = "same", "other"
DIGITS = "inverted", "thickened", "shifted"
CASES = [
    "moons",
    "gaussians",
    *[f"{name}/{effect}/{mix}" for name in TABLES for effect in EFFECTS for mix in MIXES],
    *[f"digits/{change}" for change in DIGITS],
]  # fmt: skip

_N_ROWS = 500
_N_CLUSTERS = 5


@dataclass(frozen=True)
class Case:
    """Rows of a domain A and of a domain B, and the truth of those of B.

    Attributes
    ----------
    A, A_labels : ndarrays
        Rows of A, and their classes.

    B, B_labels : ndarrays
        Rows of B that methods learn from.

    test, truth, test_labels : ndarrays
        Further rows of B, what they are in the units of A, and their classes.

    A_test : ndarray
        Further rows of A.
    """

    A: np.ndarray
    A_labels: np.ndarray
    B: np.ndarray
    B_labels: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    test_labels: np.ndarray
    A_test: np.ndarray


def make_case(name: str, seed: int, data: str | None) -> Case:
    """One of `CASES`; tables other than wine are read from the folder `data`."""
    rng = np.random.default_rng(seed)
    kind, *rest = name.split("/")
    if kind in ("moons", "gaussians"):
        rows, labels = _moons(rng) if kind == "moons" else _gaussians(rng)
        return _split(rows, labels, _in_the_plane(kind), np.ones((2, 2)), rng)
    if kind == "digits":
        return _digits(rest[0], rng)
    rows, labels = _table(kind, data, rng)
    kept = np.ones((2, labels.max() + 1))
    if rest[1] == "other":
        shares = rng.dirichlet(np.full(labels.max() + 1, 0.7), size=2)
        kept = np.maximum(shares / shares.max(axis=1, keepdims=True), 0.1)
    return _split(rows, labels, _effect(rest[0], rows.shape[1], rng), kept, rng)


def _split(rows, labels, effect: Callable, kept: np.ndarray, rng) -> Case:
    """Rows shared out at random; of each class, a domain keeps a share of its own."""
    side = rng.integers(2, size=len(rows))
    stays = rng.random(len(rows)) < kept[side, labels]
    A, B = (np.flatnonzero(stays & (side == k)) for k in (0, 1))
    A_test, A = _parted(A)
    test, B = _parted(B)
    return Case(
        rows[A], labels[A], effect(rows[B]), labels[B],
        effect(rows[test]), rows[test], labels[test], rows[A_test],
    )  # fmt: skip


def _parted(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A third for tests, and the rest, of which there are at most so many."""
    n_test = len(index) // 3
    return index[:n_test], index[n_test : n_test + _N_ROWS]


def _digits(change: str, rng) -> Case:
    """Images, without the pixels that are almost always black."""
    digits = load_digits()
    seen = digits.data.std(axis=0) > 1.0
    case = _split(digits.data, digits.target, _DIGIT_CHANGES[change], np.ones((2, 10)), rng)
    images = {name: getattr(case, name)[:, seen] for name in ("A", "B", "test", "truth", "A_test")}
    return replace(case, **images)


def _table(name: str, data: str | None, rng) -> tuple[np.ndarray, np.ndarray]:
    """A standardised table and classes; of tables without any, five clusters of its rows."""
    if name == "wine":
        wine = load_wine()
        order = rng.permutation(len(wine.target))
        return StandardScaler().fit_transform(wine.data)[order], wine.target[order]
    if data is None:
        raise FileNotFoundError(f"{name}: name the folder that holds {name}.npz with --data")
    X = np.load(Path(os.path.expanduser(data)) / f"{name}.npz")["X"].astype(np.float64)
    X = StandardScaler().fit_transform(X[rng.permutation(len(X))[: 8 * _N_ROWS]])
    return X, KMeans(_N_CLUSTERS, n_init=3, random_state=0).fit_predict(X)


def _effect(name: str, d: int, rng) -> Callable:
    """What a batch does to rows: shift and scale, and curves of columns or of directions."""
    shift, scale = rng.uniform(-1, 1, d), np.exp(rng.uniform(-0.6, 0.6, d))
    if name == "scale":
        return lambda X: shift + scale * X
    if name == "warp":
        skew = rng.uniform(-0.6, 0.6, d)
        return lambda X: shift + scale * np.sinh(np.arcsinh(X) * np.exp(skew / 2) + skew)
    into, back = rng.normal(size=(2, d, d)) / np.sqrt(d)
    offset = rng.normal(size=d)
    return lambda X: shift + scale * (X + 0.5 * np.tanh(X @ into + offset) @ back)


def _moons(rng) -> tuple[np.ndarray, np.ndarray]:
    return make_moons(3 * _N_ROWS, noise=0.1, random_state=int(rng.integers(2**31)))


def _gaussians(rng) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(2, size=3 * _N_ROWS)
    return rng.normal(size=(len(labels), 2)) * [0.5, 1.0] + np.array([[0, 0], [3, 1]])[
        labels
    ], labels


def _in_the_plane(name: str) -> Callable:
    """Moons are rotated and scaled; Gaussians moved by the gradient of a convex function."""
    if name == "moons":
        angle = np.deg2rad(40)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return lambda X: X @ turn.T * [1.5, 0.7] + [1.0, -2.0]
    return lambda X: X @ np.array([[1.2, 0.3], [0.3, 0.8]]) + [2.0, -1.0]


def _of_images(change: Callable) -> Callable:
    return lambda X: change(X.reshape(-1, 8, 8)).reshape(len(X), -1)


_DIGIT_CHANGES = {
    "inverted": _of_images(lambda images: 16.0 - images),
    "thickened": _of_images(lambda images: ndimage.grey_dilation(images, size=(1, 2, 2))),
    "shifted": _of_images(lambda images: np.roll(images, 1, axis=2)),
}
