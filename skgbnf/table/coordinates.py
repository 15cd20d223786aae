"""The map between the units of X and those in which flows are trained."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from skgbnf.table.atoms import Atoms
from skgbnf.table.bounds import Bounds
from skgbnf.table.dequantisation import Dequantisation
from skgbnf.table.frames import Description, integer_columns, make_frame
from skgbnf.table.scales import Scales
from skgbnf.table.standardisation import Standardisation

_N_POINTS = 16
MOST_MIRRORS = 3
_MOST_VALUES = 20_000
_MANY_MERGED = 10


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Feature by feature: noise, then the maps of bounds, scales, atoms and standardisation.

    Attributes
    ----------
    noise : Dequantisation
        Treatment of repeated values.

    bounds : Bounds
        Map of bounded features onto the real line, the first one.

    scales : Scales
        Map of features whose samples lie at several scales.

    atoms : Atoms
        Intervals for atoms.

    standardisation : Standardisation
        Affine map of all features, the last one.
    """

    noise: Dequantisation
    bounds: Bounds
    scales: Scales
    atoms: Atoms
    standardisation: Standardisation

    variables = ()
    """Of a mixed table, which this is not."""

    @property
    def n_features(self) -> int:
        """Number of columns of the table."""
        return len(self.standardisation.location)

    @property
    def n_variables(self) -> int:
        """Number of columns that flows see, the same."""
        return self.n_features

    def excludes(self, X: np.ndarray) -> np.ndarray:
        """Whether each sample lies where the density is zero whatever the components."""
        return self.bounds.excludes(X)

    @classmethod
    def from_rows(
        cls,
        X: np.ndarray,
        weights: np.ndarray,
        noise: Dequantisation,
        bounds: Bounds,
        *,
        single: bool,
    ) -> "Coordinates":
        """Fit the maps behind noise and bounds to training samples with noise.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Training samples, with noise.

        weights : ndarray of shape (n_samples,)
            Sample weights.

        noise : Dequantisation
            The noise that was added.

        bounds : Bounds
            The bounds, with margins.

        single : bool
            Whether the samples were in single precision.
        """
        spreads = np.where(bounds.bounded, 1.0, noise.spreads)
        shares, free, images = [], [], []
        for j, values in enumerate(noise.atoms):
            x = X[:, j].astype(np.float64, copy=False)
            at = x[:, None] == values if len(values) else np.zeros((len(x), 0), bool)
            shares.append(weights @ at / weights.sum())
            free.append(bounds.transform(x[~at.any(axis=1)], j)[0])
            images.append(bounds.transform(values, j)[0])
        scales = Scales.from_columns(free)
        for j in scales.knots:
            free[j], images[j] = (scales.transform(part[j], j)[0] for part in (free, images))
        atoms = Atoms.from_columns(noise.atoms, images, free, shares, noise.widths, spreads, single)
        standardisation = Standardisation(np.zeros(X.shape[1]), np.ones(X.shape[1]))
        affine = cls(noise, bounds, scales, atoms, standardisation)
        Y, _ = affine._mapped(X, np.random.default_rng(0).random(X.shape) - 0.5, 0.5)
        standardisation = Standardisation.from_rows(Y, weights, spreads)
        return cls(noise, bounds, scales, atoms, standardisation)

    def transform(
        self, X: np.ndarray, dtype: DTypeLike = np.float64
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples in the units of flows, atoms at the centre of their intervals.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples in units of X.

        dtype : dtype, default=float64
            Of Z, which is computed in float64 and then cast.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            Samples in the units of flows.

        log_det : ndarray of shape (n_samples,)
            Log-determinant of the map: to be added to log-densities of Z.
        """
        return self._standardised(X, np.zeros((1, X.shape[1])), 1.0, dtype)

    def spread(self, X: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Training samples for flows: :meth:`transform` with samples at atoms spread out.

        They are spread over the middle half of each interval, so that a smooth density puts little
        of their mass outside it.
        """
        return self._standardised(X, rng.random(X.shape) - 0.5, 0.5, np.float64)

    def points(self, X: np.ndarray, dtype: DTypeLike) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Points to score, in the form of :meth:`transform`; their densities are summed.

        A value on a grid, or an atom, has the mass of its step or interval as probability: the mean
        density at evenly spread points. A sample near a bound has a mirror image in the margin too.
        Most samples have one point, the sample itself.
        """
        on_grid, shifts = np.isfinite(self.noise.origins), self.shifts()
        movable = self._movable(X) if on_grid.any() else None
        for image, log_weight in self._images(X):
            for shift in shifts:
                moved = image
                if movable is not None:
                    steps = np.where(on_grid, self.noise.widths * shift, 0.0)
                    moved = (image + movable * steps).astype(X.dtype)
                Z, log_det = self._standardised(moved, shift[None], 1.0, dtype)
                yield Z, log_det + log_weight - np.log(len(shifts))

    def shifts(self) -> np.ndarray:
        """Shifts of the points of a sample from it, in steps, of shape (n_points, n_features).

        They are from -1/2 to 1/2 in features on a grid or with atoms, and 0 in others.
        """
        on_grid = np.isfinite(self.noise.origins)
        discrete = on_grid | np.array([len(values) > 0 for values in self.noise.atoms])
        if not discrete.any():
            return np.zeros((1, self.n_features))
        shifts = np.zeros((_N_POINTS, self.n_features))
        shifts[:, discrete] = _even_points(_N_POINTS, int(discrete.sum()))
        return shifts

    def _images(self, X: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray | float]]:
        """The samples, and mirror images of those near bounds, with log-weights."""
        yield X, 0.0
        near = {
            (side, j): self.bounds.mirrors(X[:, j], side, j)
            for side, j in np.argwhere(self.bounds.margins > 0).tolist()
            if not self.noise.everywhere[j]
        }
        near = {key: rows for key, rows in near.items() if rows.any()}
        for n in range(1, min(len(near), MOST_MIRRORS) + 1):
            for mirrors in combinations(list(near)[:MOST_MIRRORS], n):
                image = X.copy()
                for side, j in mirrors:
                    image[:, j] = 2 * self.bounds.limits[side, j] - X[:, j]
                everywhere = np.all([near[key] for key in mirrors], axis=0)
                yield image, np.where(everywhere, 0.0, -np.inf)

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Samples in units of X, within the bounds: values in a margin are folded inwards."""
        X = self.standardisation.inverse_transform(Z)
        for j in self._special:
            y, at = self.atoms.close(X[:, j], j)
            X[:, j] = self.bounds.inverse_transform(self.scales.inverse_transform(y, j), j)
            X[at >= 0, j] = self.atoms.values[j][at[at >= 0]]
        return self.bounds.fold(X) if self.bounds.bounded.any() else X

    def values(self, X: np.ndarray) -> np.ndarray:
        """Samples in units of X, as an array."""
        return X

    def frame(self, X: np.ndarray, table: Description) -> Any:
        """Samples in units of X, as a frame like the table described."""
        rows = self.noise.snap(X, self.bounds.limits, integer_columns(table.dtypes))
        return make_frame(rows, table)

    def blurred(self, X: np.ndarray) -> list[int]:
        """Features in which ten or more distinct values coincide in single precision."""
        X = X[:: -(-len(X) // _MOST_VALUES)]
        Z, _ = self.transform(X, np.float32)
        z = np.sort(np.ascontiguousarray(Z.T), axis=1)
        equal = z[:, _MANY_MERGED - 1 :] == z[:, : 1 - _MANY_MERGED]
        return [j for j in np.flatnonzero(equal.any(axis=1)).tolist() if _merges(X[:, j], Z[:, j])]

    @property
    def _special(self) -> list[int]:
        """Features with a map before standardisation."""
        atoms = {j for j, values in enumerate(self.atoms.values) if len(values)}
        return sorted({*np.flatnonzero(self.bounds.bounded).tolist(), *self.scales.knots, *atoms})

    def _movable(self, X: np.ndarray) -> np.ndarray:
        """Whether values are not atoms, of the shape of X."""
        return np.stack([self.atoms.find(X[:, j], j) < 0 for j in range(X.shape[1])], axis=1)

    def _standardised(
        self, X: np.ndarray, shifts: np.ndarray, share: float, dtype: DTypeLike
    ) -> tuple[np.ndarray, np.ndarray]:
        Y, log_det = self._mapped(X, shifts, share)
        return self.standardisation.transform(Y, dtype), log_det + self.standardisation.log_det

    def _mapped(
        self, X: np.ndarray, shifts: np.ndarray, share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples before standardisation, and the log-determinants so far.

        Samples at atoms are placed in a central share of their interval, at shifts from -1/2 to
        1/2 of that share from its centre; shifts have shape (n_samples or 1, n_features).
        """
        log_det = np.zeros(len(X))
        special = self._special
        if not special:
            return X, log_det
        Y = X.astype(np.float64)
        for j in special:
            at = self.atoms.find(X[:, j], j)
            free, k = at < 0, at[at >= 0]
            bounded, first = self.bounds.transform(Y[free, j], j)
            scaled, second = self.scales.transform(bounded, j)
            Y[free, j] = self.atoms.open(scaled, j)
            log_det[free] += first + second
            if not self.noise.everywhere[j]:
                log_det[free] += math.log(2) * self.bounds.holds(X[free, j], j)
            lengths, shift = share * self.atoms.lengths[j][k], shifts[:, j]
            Y[~free, j] = self.atoms.centres(j)[k] + lengths * (
                shift[~free] if len(shift) > 1 else shift
            )
            log_det[~free] += np.log(lengths) - np.log(self.atoms.widths[j] if len(k) else 1.0)
        return Y, log_det

    def to_plain(self) -> dict[str, np.ndarray]:
        """The coordinates as named arrays, for :meth:`from_plain`."""
        noise, atoms, scales = self.noise, self.atoms, self.scales
        parts = zip(atoms.values, atoms.places, atoms.lengths, strict=True)
        each = [noise.origins, noise.everywhere, noise.repeats, noise.floors, noise.spreads]
        return {
            "location_": self.standardisation.location,
            "scale_": self.standardisation.scale,
            "bounds_": self.bounds.limits,
            "bound_margins_": self.bounds.margins,
            "dequantize_widths_": noise.widths,
            "single": np.array([float(atoms.single)]),
            "columns": np.array(each, dtype=np.float64),
            "levels": _stacked(enumerate([level[None] for level in noise.levels]), 1),
            "atoms": _stacked(enumerate(map(np.stack, parts)), 3),
            "scales": _stacked(scales.knots.items(), 2),
        }  # fmt: skip

    @classmethod
    def from_plain(cls, arrays: dict[str, np.ndarray]) -> "Coordinates":
        """Inverse of :meth:`to_plain`.

        Raises
        ------
        ValueError
            If the arrays do not fit together.
        """
        n_features = len(arrays["location_"])
        _check(arrays, n_features)
        levels = _unstacked(arrays["levels"], n_features)
        values, places, lengths = zip(*_unstacked(arrays["atoms"], n_features), strict=True)
        knots = dict(enumerate(_unstacked(arrays["scales"], n_features)))
        widths = arrays["dequantize_widths_"]
        origins, everywhere, repeats, floors, spreads = arrays["columns"]
        noise = Dequantisation(
            widths=widths,
            origins=origins,
            everywhere=everywhere > 0,
            repeats=repeats > 0,
            atoms=values,
            levels=tuple(level for (level,) in levels),
            floors=floors,
            spreads=spreads,
        )
        self = cls(
            noise=noise,
            bounds=Bounds(arrays["bounds_"], arrays["bound_margins_"]),
            scales=Scales({j: part for j, part in knots.items() if part.size}),
            atoms=Atoms(values, places, lengths, widths, bool(arrays["single"][0])),
            standardisation=Standardisation(arrays["location_"], arrays["scale_"]),
        )
        self._check_order()
        return self

    def _check_order(self) -> None:
        """Raise ValueError unless the maps increase."""
        for j, values in enumerate(self.atoms.values):
            lengths, places = self.atoms.lengths[j], self.atoms.places[j]
            rising = (np.diff(values) > 0).all() and (np.diff(places) >= 0).all()
            if not (rising and (lengths > 0).all()) or (
                len(values) and not self.noise.widths[j] > 0
            ):
                raise ValueError("its atoms are out of order, or have no width")
        for places, scales in self.scales.knots.values():
            if len(places) < 2 or not ((np.diff(places) > 0).all() and (scales > 0).all()):
                raise ValueError("the scales of a column are out of order or not positive")


def _even_points(n_points: int, n_dimensions: int) -> np.ndarray:
    """Points spread evenly over the unit cube around zero (quasi-random numbers).

    They are equidistant along the first axis, and multiples of powers of a generalised golden
    ratio, modulo 1, along the others.

    References
    ----------
    The Unreasonable Effectiveness of Quasirandom Sequences. M. Roberts, 2018.
    https://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences/
    """
    ratio = 2.0
    for _ in range(50):
        ratio = (1 + ratio) ** (1 / n_dimensions)
    places = (np.arange(n_points) + 0.5)[:, None]
    steps = np.r_[1 / n_points, ratio ** -np.arange(1.0, n_dimensions)]
    return places * steps % 1.0 - 0.5


def _merges(x: np.ndarray, z: np.ndarray) -> bool:
    """Whether many distinct values have the same image."""
    x, first = np.unique(x, return_index=True)
    _, counts = np.unique(z[first], return_counts=True)
    return bool(counts.max() >= _MANY_MERGED)


def _stacked(parts: Iterable[tuple[int, np.ndarray]], n_rows: int) -> np.ndarray:
    """Arrays of several features side by side, the index of the feature in the first row."""
    stacked = [np.vstack([np.full(part.shape[1], float(j)), part]) for j, part in parts]
    return np.hstack([np.empty((n_rows + 1, 0)), *stacked])


def _unstacked(stacked: np.ndarray, n_features: int) -> list[np.ndarray]:
    """Inverse of :func:`_stacked`: an array for each feature."""
    return [stacked[1:, stacked[0] == j] for j in range(n_features)]


def _check(arrays: dict[str, np.ndarray], d: int) -> None:
    """Raise ValueError unless the arrays have the right shapes and finite values."""
    shapes = {
        "location_": (d,), "scale_": (d,), "bounds_": (2, d), "bound_margins_": (2, d),
        "dequantize_widths_": (d,), "columns": (5, d), "single": (1,),
    }  # fmt: skip
    n_rows = {"levels": 2, "atoms": 4, "scales": 3}
    shapes.update({name: (n, arrays[name].size // n) for name, n in n_rows.items()})
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, expected {shape}")
    finite = ("location_", "scale_", "bound_margins_", "dequantize_widths_", *n_rows)
    if not all(np.isfinite(arrays[name]).all() for name in finite):
        raise ValueError("its location or scale, or another number of its map, is not finite")
    if not ((arrays["scale_"] > 0).all() and (arrays["columns"][4] > 0).all()):
        raise ValueError("a scale is not positive")
    bounds = arrays["bounds_"]
    margins = arrays["bound_margins_"][np.isfinite(bounds)]
    if not ((bounds[0] < bounds[1]).all() and (margins > 0).all()):
        raise ValueError("its bounds or their margins are none")
