"""Images on their way from what a user passes to tensors."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Self

import numpy as np
import torch

from skgbnf._random import derive_seed
from skgbnf.table.checks import check_unmasked, checked_rows
from skgbnf.table.split import split_rows
from skgbnf.table.standardisation import Standardisation
from skgbnf.table.weights import check_spread
from skgbnf.vae.likelihoods import LIKELIHOODS, Likelihood, make_likelihood
from skgbnf.vae.model import Images

_SPLIT_KEY = 0


@dataclass(frozen=True, eq=False)
class ImageSpace:
    """What images are: their shape, and how encoder and likelihood see them.

    Attributes
    ----------
    shape : tuple of int
        Shape of one row of X.

    standardisation : Standardisation
        What the encoder sees is X behind it: by mean and standard deviation of each pixel, or by
        one scale for all where the likelihood is not "gaussian".

    likelihood_name : str

    n_levels : int
    """

    shape: tuple[int, ...]
    standardisation: Standardisation
    likelihood_name: str
    n_levels: int

    @classmethod
    def from_images(
        cls, X: np.ndarray, shape: tuple[int, ...], likelihood_name: str, n_levels: int
    ) -> Self:
        """Choose the units by flat training images."""
        units = Standardisation.from_rows(X, np.full(len(X), 1 / len(X)))
        if likelihood_name != "gaussian":
            spread = max(float((X - units.location).std()), np.finfo(float).tiny)
            units = Standardisation(units.location, np.full(X.shape[1], spread))
        return cls(shape, units, likelihood_name, n_levels)

    @property
    def n_pixels(self) -> int:
        """Number of pixels, times channels."""
        return len(self.standardisation.location)

    @cached_property
    def likelihood(self) -> Likelihood:
        """The distribution of the pixels."""
        return make_likelihood(self.likelihood_name, self.n_levels, self.standardisation)

    def to_tensors(self, X: np.ndarray, dtype: torch.dtype, device: torch.device) -> Images:
        """Flat images as encoder and likelihood see them."""
        pair = self.standardisation.transform(X), self.likelihood.targets(X)
        inputs, targets = (torch.from_numpy(np.array(a)).to(device, dtype) for a in pair)
        return Images(inputs, targets)

    def checked(self, estimator: Any, X: Any, input_name: str = "X") -> np.ndarray:
        """Flat images, if they are such as those of fit."""
        X, shape = _flat(X)
        if shape and shape != self.shape:
            raise ValueError(f"{input_name} has images of shape {shape}, expected {self.shape}.")
        X = checked_rows(estimator, X, reset=False, input_name=input_name)
        self.likelihood.check(X)
        return X

    def to_plain(self) -> dict[str, Any]:
        """The space as plain values and arrays."""
        return {
            "shape": list(self.shape),
            "location": self.standardisation.location,
            "scale": self.standardisation.scale,
            "likelihood": self.likelihood_name,
            "n_levels": self.n_levels,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; ValueError unless the parts fit together."""
        shape, location, scale = tuple(plain["shape"]), plain["location"], plain["scale"]
        if plain["likelihood"] not in LIKELIHOODS:
            raise ValueError(f"its pixels have no known likelihood: {plain['likelihood']!r}")
        if not (type(plain["n_levels"]) is int and plain["n_levels"] >= 2):
            raise ValueError("the number of its levels is no integer above 1")
        sizes = all(type(size) is int and size > 0 for size in shape)
        if not sizes or location.shape != (prod(shape),) or scale.shape != location.shape:
            raise ValueError("the shape of its images does not fit their number of pixels")
        if not (np.isfinite(location).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("its location or scale is not finite, or a scale is not positive")
        return cls(shape, Standardisation(location, scale), plain["likelihood"], plain["n_levels"])


def prepare(
    estimator: Any,
    X: Any,
    X_val: Any,
    *,
    likelihood_name: str,
    n_levels: int,
    conv: bool,
    validation_fraction: float | None,
    seed: int,
    earlier: ImageSpace | None,
) -> tuple[np.ndarray, np.ndarray | None, ImageSpace]:
    """Check what fit is given, set a validation set aside, and choose the units.

    Parameters
    ----------
    estimator : estimator
        scikit-learn notes the number and names of the columns in it.

    X, X_val : array-likes of shape (n_samples, ...)
        The second may be None.

    likelihood_name : str

    n_levels : int

    conv : bool
        Whether networks are convolutional, which need the shape of an image.

    validation_fraction : float or None

    seed : int
        Governs the validation set.

    earlier : ImageSpace or None
        Of the rounds to which the fit adds.

    Returns
    -------
    train, validation : ndarrays of shape (n_samples, n_pixels)
        Flat images; the second may be None.

    space : ImageSpace
    """
    X, shape = _flat(X)
    X = checked_rows(estimator, X, reset=earlier is None, ensure_min_samples=2)
    check_spread(X, getattr(estimator, "feature_names_in_", range(X.shape[1])))
    shape = shape or X.shape[1:]
    if conv and len(shape) < 2:
        raise ValueError(
            'network="conv" needs X of shape (n_samples, height, width[, channels]), '
            f"got {X.shape}."
        )
    validation = None
    if X_val is None:
        key = derive_seed(seed, _SPLIT_KEY)
        kept, aside = split_rows(len(X), validation_fraction, key)
        if len(aside):
            X, validation = X[kept], X[aside]
    space = earlier or ImageSpace.from_images(X, shape, likelihood_name, n_levels)
    if (space.shape, space.likelihood_name, space.n_levels) != (shape, likelihood_name, n_levels):
        raise ValueError("resume_from: the rounds in the file were fitted to other images.")
    space.likelihood.check(X)
    if validation is not None:
        space.likelihood.check(validation)
    if X_val is not None:
        validation = space.checked(estimator, X_val, "X_val")
    return X, validation, space


def _flat(X: Any) -> tuple[Any, tuple[int, ...]]:
    """Images with their pixels in a row, and the shape of one; () and X itself if it has none."""
    check_unmasked(X, "X")
    if isinstance(X, list | tuple):
        X = np.asarray(X)
    shape = tuple(int(n) for n in getattr(X, "shape", ()))
    if len(shape) not in (3, 4):
        return X, ()
    return np.asarray(X).reshape(len(X), prod(shape[1:])), shape[1:]
