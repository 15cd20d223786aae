"""A smooth function of features: the mean of a Gaussian process, from some of the samples."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

_ROWS_OF_KERNEL = 250
_MOST_SCALES = 30
_MOST_STEPS = 30
_JITTER = 1e-6
_CELLS_PER_CHUNK = 2_000_000


@dataclass(frozen=True, eq=False)
class KernelModel:
    """A sum of kernels around some of the samples.

    The parameters of the kernel, a Matérn one with a length for each feature, maximise the marginal
    likelihood of a few samples; the function then minimises the penalised squared error of all
    samples over the kernels of up to `n_centres` of them.

    Attributes
    ----------
    centres : ndarray of shape (n_centres, n_columns)
        Divided by the lengths of the kernel.

    lengths : ndarray of shape (n_columns,)

    factors : ndarray of shape (n_centres,)

    mean : float

    References
    ----------
    Using the Nyström Method to Speed Up Kernel Machines. C. Williams, M. Seeger, 2000.
    https://papers.nips.cc/paper/2000/hash/19de10adbaa1b2ee13f77f679fa1483a-Abstract.html
    """

    centres: np.ndarray
    lengths: np.ndarray
    factors: np.ndarray
    mean: float

    @classmethod
    def fit(
        cls, X: np.ndarray, y: np.ndarray, weights: np.ndarray, n_centres: int, seed: int
    ) -> Self:
        """Fit the kernel to a few samples, and the function to all of them."""
        order = np.random.default_rng(seed).permutation(len(X))
        mean = float(np.average(y, weights=weights))
        spread = float(np.sqrt(np.average(np.square(y - mean), weights=weights))) or 1.0
        some = order[:_ROWS_OF_KERNEL]
        lengths, share = _kernel(X[some], (y[some] - mean) / spread)
        centres = X[order[:n_centres]] / lengths
        among = _matern(centres, centres)
        if n_centres >= len(X):
            own = weights[order] / weights.mean()
            among[np.diag_indices_from(among)] += share / own + _JITTER
            factors = cho_solve(cho_factor(among), (y[order] - mean))
            return cls(centres, lengths, factors, mean)
        gram, moment = share * among, np.zeros(len(centres))
        size = _CELLS_PER_CHUNK // len(centres)
        scaled = weights / weights.mean()
        for i in range(0, len(X), size):
            part = _matern(X[i : i + size] / lengths, centres)
            heavy = part * scaled[i : i + size, None]
            gram += part.T @ heavy
            moment += heavy.T @ (y[i : i + size] - mean)
        gram[np.diag_indices_from(gram)] += _JITTER * np.trace(gram) / len(gram)
        return cls(centres, lengths, cho_solve(cho_factor(gram), moment), mean)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Values of the function, of shape (n_samples,)."""
        size = max(1, _CELLS_PER_CHUNK // len(self.centres))
        parts = [
            _matern(X[i : i + size] / self.lengths, self.centres) @ self.factors
            for i in range(0, len(X), size)
        ]
        return self.mean + np.concatenate(parts)

    def to_plain(self) -> dict[str, Any]:
        """The function as JSON values and arrays."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, plain: dict[str, Any], n_columns: int) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        self = cls(**{**plain, "mean": float(plain["mean"])})
        n = len(self.factors)
        shapes = (self.centres.shape, self.lengths.shape, self.factors.shape)
        if shapes != ((n, n_columns), (n_columns,), (n,)):
            raise ValueError("the parts of a kernel model have different sizes")
        arrays = (self.centres, self.lengths, self.factors)
        if not all(np.isfinite(array).all() for array in arrays) or not (self.lengths > 0).all():
            raise ValueError("a kernel model holds what is no number")
        return self


def _kernel(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Lengths of the kernel, and the noise as a share of its variance."""
    n_columns = X.shape[1]
    lengths = np.ones(n_columns if n_columns <= _MOST_SCALES else 1) * np.sqrt(n_columns)
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(lengths, (1e-1, 1e3), nu=1.5)
    kernel += WhiteKernel(0.1, (1e-5, 1e1))
    with warnings.catch_warnings():
        # A feature that tells nothing has a length without bound.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianProcessRegressor(kernel, optimizer=_minimised).fit(X, y)
    amplitude, noise = model.kernel_.k1.k1.constant_value, model.kernel_.k2.noise_level
    return np.broadcast_to(model.kernel_.k1.k2.length_scale, n_columns).copy(), noise / amplitude


def _minimised(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]],
    initial: np.ndarray,
    bounds: np.ndarray,
) -> tuple[np.ndarray, float]:
    """A few steps of an optimiser, in the form that scikit-learn asks for."""
    found = minimize(
        objective, initial, jac=True, bounds=bounds, method="L-BFGS-B",
        options={"maxiter": _MOST_STEPS},
    )  # fmt: skip
    return found.x, found.fun


def _matern(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Matérn kernel of smoothness 3/2 of scaled samples and centres."""
    squares = np.square(X).sum(1)[:, None] + np.square(centres).sum(1) - 2 * X @ centres.T
    distance = np.sqrt(3 * np.maximum(squares, 0.0))
    return (1 + distance) * np.exp(-distance)
