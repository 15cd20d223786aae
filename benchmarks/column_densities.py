"""Densities of single columns: frequencies of events, and mixtures of Gaussians for numbers.

Held-out values choose between Gaussian mixtures and kernels, between two scales of the numbers, and
how much a table of frequencies counts on a grid. A column of a table of independent columns has one
of these densities, and the mixture of such tables in `latent_classes.py` takes its units from them.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from mixed_tables import Column, events, has_numbers, log_cell, nearest, on_grid
from scipy.special import logsumexp, ndtr
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

N_COMPONENTS = (1, 2, 3, 5, 8, 12, 20)
BANDWIDTHS = (1.0, 0.6, 0.35, 0.2, 0.1, 0.05)
SHARES_OF_FREQUENCIES = (0.0, 0.5, 0.8, 0.95)
MOST_CENTRES = 1000
HELD_OUT = 0.125
FEWEST = 20
BROAD_SHARE, BROAD_FACTOR = 0.01, 5.0
LEAST_SCALE = 1e-3
N_QUANTILES = 1001
SMALLEST = 1e-300


@dataclass(frozen=True)
class Scale:
    """Numbers in units of their spread, squeezed beyond it if asked for."""

    location: float
    spread: float
    squeezed: bool

    @classmethod
    def of(cls, x: np.ndarray, squeezed: bool) -> "Scale":
        low, middle, high = np.quantile(x, (0.25, 0.5, 0.75))
        return cls(float(middle), float((high - low) / 1.35 or x.std() or 1.0), squeezed)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        z = (x - self.location) / self.spread
        return np.arcsinh(z) if self.squeezed else z

    def inverse(self, z: np.ndarray) -> np.ndarray:
        return self.location + self.spread * (np.sinh(z) if self.squeezed else z)

    def log_derivative(self, x: np.ndarray) -> np.ndarray:
        z = (x - self.location) / self.spread
        return -np.log(self.spread) - (0.5 * np.log1p(z**2) if self.squeezed else 0.0)


@dataclass(frozen=True)
class Smooth:
    """A mixture of Gaussians of scaled numbers, one of them broad, so that none has density 0."""

    scale: Scale
    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray

    def log_density(self, x: np.ndarray) -> np.ndarray:
        z = (self.scale(x)[:, None] - self.means) / self.deviations
        parts = np.log(self.weights / self.deviations) - 0.5 * (z**2 + np.log(2 * np.pi))
        return logsumexp(parts, axis=1) + self.scale.log_derivative(x)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return ndtr((self.scale(x)[:, None] - self.means) / self.deviations) @ self.weights

    def log_mass(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Log-probabilities of intervals."""
        a, b = ((self.scale(edge)[:, None] - self.means) / self.deviations for edge in (low, high))
        # On the side where the normal distribution function is small, so that digits are kept.
        a, b = np.where(a > 0, -b, a), np.where(a > 0, -a, b)
        mass = (ndtr(b) - ndtr(a)) @ self.weights
        far = mass < SMALLEST
        found = np.log(np.maximum(mass, SMALLEST))
        found[far] = self.log_density((low + high)[far] / 2) + np.log((high - low)[far])
        return found


def mixture(scale: Scale, weights, means, deviations) -> Smooth:
    """The mixture with a broad Gaussian beside its own."""
    centre = float(weights @ means)
    spread = float(np.sqrt(weights @ (deviations**2 + (means - centre) ** 2)))
    return Smooth(
        scale,
        np.append((1 - BROAD_SHARE) * weights, BROAD_SHARE),
        np.append(means, centre),
        np.append(np.maximum(deviations, LEAST_SCALE), BROAD_FACTOR * max(spread, LEAST_SCALE)),
    )


def gaussian_mixture(scale: Scale, x: np.ndarray, seed: int, n_components: int) -> Smooth:
    z = scale(x)[:, None]
    n_components = min(n_components, len(np.unique(z)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # held-out values judge
        model = GaussianMixture(n_components, random_state=seed).fit(z)
    return mixture(scale, model.weights_, model.means_[:, 0], np.sqrt(model.covariances_[:, 0, 0]))


def kernels(scale: Scale, x: np.ndarray, seed: int, factor: float) -> Smooth:
    """Kernels of a multiple of Scott's bandwidth at no more than 1,000 of the values."""
    z = scale(np.random.default_rng(seed).permutation(x)[:MOST_CENTRES])
    width = factor * max(float(z.std()), LEAST_SCALE) * len(z) ** -0.2
    return mixture(scale, np.full(len(z), 1 / len(z)), z, np.full(len(z), width))


MAKERS = {
    **{f"{k} Gaussians": partial(gaussian_mixture, n_components=k) for k in N_COMPONENTS},
    **{f"kernels, bandwidth x {f:g}": partial(kernels, factor=f) for f in BANDWIDTHS},
}
"""Ways to a smooth density."""


@dataclass(frozen=True)
class Numbers:
    """Numbers of one column beside its events, on a grid or not.

    Attributes
    ----------
    column : Column

    smooth : Smooth

    known, frequencies : ndarrays of shape (n_known,)
        Values on a grid and the shares of rows that they hold; empty without a grid.

    limits : tuple of float
        The lowest and the highest value.

    mean : float

    share : float
        What the frequencies count for.
    """

    column: Column
    smooth: Smooth
    known: np.ndarray
    frequencies: np.ndarray
    limits: tuple[float, float]
    mean: float
    share: float = 0.0

    @classmethod
    def of(cls, x: np.ndarray, column: Column, smooth: Smooth, share: float = 0.0) -> "Numbers":
        known, counts = np.unique(x, return_counts=True) if column.step else (np.empty(0), 0)
        limits = float(x.min()), float(x.max())
        return cls(column, smooth, known, counts / len(x), limits, float(x.mean()), share)

    def edges(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the cells of values; the outermost cells of a closed grid have none."""
        half = self.column.step / 2
        low = np.where(x <= self.column.lowest, -np.inf, x - half)
        return low, np.where(x >= self.column.highest, np.inf, x + half)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Log-densities; on a grid log-probabilities of cells, lowered by :func:`log_cell`."""
        return self.combined(self.log_smooth(x), self.frequency(x), self.share)

    def log_smooth(self, x: np.ndarray) -> np.ndarray:
        if not self.column.step:
            return self.smooth.log_density(x)
        return self.smooth.log_mass(*self.edges(x))

    def frequency(self, x: np.ndarray) -> np.ndarray:
        if not len(self.known):
            return np.zeros(len(x))
        at = nearest(self.known, x)
        return np.where(self.known[at] == x, self.frequencies[at], 0.0)

    def combined(self, log_smooth: np.ndarray, frequency: np.ndarray, share: float) -> np.ndarray:
        with np.errstate(divide="ignore"):
            parts = np.log1p(-share) + log_smooth, np.log(share * frequency)
        return np.logaddexp(*parts) - log_cell(self.column)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """Distribution function at edges of cells, or anywhere without a grid."""
        below = np.append(0.0, np.cumsum(self.frequencies))[np.searchsorted(self.known, x)]
        return (1 - self.share) * self.smooth.cdf(x) + self.share * below

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """Values at which the distribution function, cut off at the limits, is `u`."""
        shares, points = self._quantiles
        x = np.interp(shares[0] + u * (shares[-1] - shares[0]), shares, points).clip(*self.limits)
        return on_grid(x, self.known, self.column.step) if self.column.step else x

    @cached_property
    def _quantiles(self) -> tuple[np.ndarray, np.ndarray]:
        reach = np.array([[-5.0], [-1.0], [0.0], [1.0], [5.0]])
        centres = self.smooth.means + self.smooth.deviations * reach
        points = np.quantile(centres, np.linspace(0, 1, N_QUANTILES))
        half = self.column.step / 2
        cells = self.known - half, self.known + half
        x = np.unique(np.concatenate([self.smooth.scale.inverse(points), *cells, self.limits]))
        x = x[(x >= self.limits[0] - half) & (x <= self.limits[1] + half)]
        return self.cdf(x), x


def fit_numbers(x: np.ndarray, column: Column, seed: int) -> Numbers:
    """The density that held-out values like best, fitted to all values."""
    x = np.random.default_rng(seed).permutation(x)
    n_held_out = int(HELD_OUT * len(x))
    if n_held_out < FEWEST or len(np.unique(x)) < 3:
        smooth = gaussian_mixture(Scale.of(x, squeezed=False), x, seed, n_components=1)
        return Numbers.of(x, column, smooth)
    _, name, squeezed, share = max(
        outcome
        for squeezed in (False, True)
        for name in MAKERS
        for outcome in outcomes(x[n_held_out:], x[:n_held_out], column, seed, name, squeezed)
    )
    smooth = MAKERS[name](Scale.of(x, squeezed), x, seed)
    return Numbers.of(x, column, smooth, share)


def outcomes(train, held_out, column: Column, seed: int, name: str, squeezed: bool):
    """Held-out score, name, scale and share of each density with one smooth part."""
    smooth = MAKERS[name](Scale.of(train, squeezed), train, seed)
    numbers = Numbers.of(train, column, smooth)
    log_smooth, frequency = numbers.log_smooth(held_out), numbers.frequency(held_out)
    for share in SHARES_OF_FREQUENCIES if column.step else (0.0,):
        score = float(numbers.combined(log_smooth, frequency, share).mean())
        yield score, name, squeezed, share


@dataclass(frozen=True)
class ColumnDensity:
    """A whole column.

    Attributes
    ----------
    events : ndarray of shape (n_events,)
        Values that have a probability of their own.

    shares : ndarray of shape (n_events,) or (n_events + 1,)
        Their probabilities, and last that of all other numbers, if there are any.

    numbers : Numbers or None
        The density of the other numbers.

    gap_share : float
    """

    events: np.ndarray
    shares: np.ndarray
    numbers: Numbers | None
    gap_share: float

    def which(self, x: np.ndarray) -> np.ndarray:
        """Position in `shares` of each value; -1 for gaps."""
        position = np.full(len(x), -1 if self.numbers is None else len(self.events))
        if len(self.events):
            order = np.argsort(self.events)
            found = order[np.searchsorted(self.events, x, sorter=order).clip(max=len(order) - 1)]
            position = np.where(self.events[found] == x, found, position)
        return np.where(np.isnan(x), -1, position)


def fit_column(x: np.ndarray, column: Column, seed: int) -> ColumnDensity:
    """Frequencies with half a row added to each event, and the density of other numbers."""
    present = x[~np.isnan(x)]
    values = events(column)
    others = present[~np.isin(present, values)]
    numbers = has_numbers(column)
    counts = np.array([(present == value).sum() for value in values] + [len(others)] * numbers)
    shares = (counts + 0.5) / (counts + 0.5).sum()
    if numbers and not len(others):
        others = np.zeros(1)
    density = fit_numbers(others, column, seed) if numbers else None
    return ColumnDensity(values, shares, density, float(np.isnan(x).mean()))
