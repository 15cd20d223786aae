"""Images on their way from what a user passes to tensors."""

from math import prod

import numpy as np
import torch

from skgbnf._random import derive_seed
from skgbnf.preparation import hold_out
from skgbnf.table.checks import check_unmasked, checked_rows
from skgbnf.table.standardisation import Standardisation
from skgbnf.vae.likelihoods import make_likelihood
from skgbnf.vae.model import Images
from skgbnf.vae.plan import likelihood_of
from skgbnf.validation import check_spread

_SPLIT_KEY = 0


def prepare(vae, X, X_val, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Validate what fit is given; return flat images to learn from and to judge by.

    Sets the attributes of the estimator that say what images are: their shape, number of pixels,
    location and scale, and the likelihood.
    """
    X, image_shape = _flat(X)
    X = checked_rows(vae, X, reset=True, ensure_min_samples=2)
    check_spread(X, getattr(vae, "feature_names_in_", range(X.shape[1])))
    vae.image_shape_ = image_shape or X.shape[1:]
    if vae.network == "conv" and len(vae.image_shape_) < 2:
        raise ValueError(
            'network="conv" needs X of shape (n_samples, height, width[, channels]), '
            f"got {X.shape}."
        )
    vae.likelihood_, vae.n_levels_ = vae.likelihood, int(vae.n_levels)
    make_likelihood(vae.likelihood_, vae.n_levels_, None).check(X)
    if X_val is not None:
        X_val = check_images(vae, X_val, "X_val")
    else:
        kept, held_out = hold_out(len(X), vae.validation_fraction, derive_seed(seed, _SPLIT_KEY))
        if len(held_out):
            X, X_val = X[kept], X[held_out]
    shares = np.full(len(X), 1 / len(X))
    standardisation = Standardisation.from_rows(X, shares)
    vae.location_, vae.scale_ = standardisation.location, standardisation.scale
    if vae.likelihood_ != "gaussian":
        spread = X - vae.location_
        vae.scale_ = np.full(X.shape[1], max(float(spread.std()), np.finfo(float).tiny))
    return X, X_val


def check_images(vae, X, input_name: str = "X") -> np.ndarray:
    """Flat images, if they are such as a fitted estimator knows."""
    X, image_shape = _flat(X)
    if image_shape and image_shape != vae.image_shape_:
        raise ValueError(
            f"{input_name} has images of shape {image_shape}, expected {vae.image_shape_}."
        )
    X = checked_rows(vae, X, reset=False, input_name=input_name)
    make_likelihood(vae.likelihood_, vae.n_levels_, None).check(X)
    return X


def to_images(vae, X: np.ndarray, dtype: torch.dtype, device: torch.device) -> Images:
    """Flat images as encoder and likelihood see them."""
    inputs = Standardisation(vae.location_, vae.scale_).transform(X)
    pair = (inputs, likelihood_of(vae).targets(X))
    return Images(*(torch.from_numpy(np.array(a)).to(device, dtype) for a in pair))


def _flat(X) -> tuple[object, tuple[int, ...]]:
    """Images with their pixels in a row, and the shape of one; () and X itself if it has none."""
    check_unmasked(X, "X")
    if isinstance(X, list | tuple):
        X = np.asarray(X)
    shape = tuple(int(n) for n in getattr(X, "shape", ()))
    if len(shape) not in (3, 4):
        return X, ()
    return np.asarray(X).reshape(len(X), prod(shape[1:])), shape[1:]
