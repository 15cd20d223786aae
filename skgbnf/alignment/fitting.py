"""The fit of an alignment: the shared density, a map for each domain, the shared density again."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skgbnf._device import training_mode
from skgbnf._random import derive_seed
from skgbnf.alignment.fitted import FittedAlignment
from skgbnf.alignment.maps import DomainMap, MapArchitecture
from skgbnf.alignment.shared import SharedDensity, boosted, on_cpu, shrunk_weights, standard_normal
from skgbnf.alignment.training import MapSettings, TrainedMap, train_map
from skgbnf.table.split import split_rows
from skgbnf.table.standardisation import Standardisation
from skgbnf.training.fitted import FittedComponent, FittedMixture

_NOISE_KEY, _SPLIT_KEY, _SHARED_KEY, _MAP_KEY = range(4)


@dataclass(frozen=True)
class AlignmentSettings:
    """What a fit is to do.

    Attributes
    ----------
    objective : {"bound", "hybrid", "mle"}

    n_estimators : int
        Largest number of rounds of the shared density.

    noise : float
        Standard deviation of the noise that training adds to samples, relative to that of their
        domain.

    validation_fraction : float

    maps : MapSettings

    seed : int
    """

    objective: str
    n_estimators: int
    noise: float
    validation_fraction: float
    maps: MapSettings
    seed: int


def fit_alignment(
    X: np.ndarray, domains: np.ndarray, reference: int, settings: AlignmentSettings
) -> FittedAlignment:
    """Map all domains onto one of them, or, by maximum likelihood, onto a normal distribution.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.

    domains : ndarray of int of shape (n_samples,)
        Number of the domain of each sample, from 0.

    reference : int
        The domain that the others are mapped onto.

    settings : AlignmentSettings
    """
    rows = [X[domains == k] for k in range(domains.max() + 1)]
    units = Standardisation.from_rows(rows[reference], np.ones(len(rows[reference])))
    parts = [units.transform(part) for part in rows]
    with training_mode(torch.device("cpu")):
        return _fit(parts, units, reference, settings)


def _fit(
    parts: list[np.ndarray], units: Standardisation, reference: int, settings: AlignmentSettings
) -> FittedAlignment:
    n_features, seed = parts[0].shape[1], settings.seed
    noisy = [
        _noisy(z, settings.noise, derive_seed(seed, _NOISE_KEY, k)) for k, z in enumerate(parts)
    ]
    maps = {reference: _stays(n_features)}
    shared = standard_normal(n_features)
    if settings.objective != "bound":
        maps[reference] = _map(noisy[reference], shared, settings, reference)
    if settings.objective != "mle":
        image = _mapped(maps[reference], noisy[reference])
        shared = boosted(image, settings.n_estimators, derive_seed(seed, _SHARED_KEY))
    for k, z in enumerate(noisy):
        if k != reference:
            maps[k] = _map(z, shared, settings, k)
    images = [_mapped(maps[k], z) for k, z in enumerate(parts)]
    if settings.objective != "mle":
        key = derive_seed(seed, _SHARED_KEY, 1)
        shared = boosted(np.concatenate(images), settings.n_estimators, key)
    return FittedAlignment(
        standardisation=units,
        maps=tuple(maps[k] for k in range(len(parts))),
        mixture=shared,
        weights=np.stack([_weights(shared, image) for image in images]),
    )


def _noisy(z: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Samples with noise, without which repeated values would be spikes to steer for.

    Noise of the same size, relative to the spread of each column, in all domains moves none of
    them, since it broadens both the samples and the density that they are mapped onto.
    """
    spread = z.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    drawn = np.random.default_rng(seed).normal(size=z.shape)
    noisy: np.ndarray = z + noise * spread * drawn
    return noisy


def _stays(n_features: int) -> FittedComponent:
    """The map of a domain that is not moved."""
    return FittedComponent.from_module(MapArchitecture(n_features), DomainMap([]))


def _map(
    z: np.ndarray, shared: FittedMixture, settings: AlignmentSettings, k: int
) -> FittedComponent:
    """The map of domain `k`, trained."""
    train, held_out = split_rows(
        len(z), settings.validation_fraction, derive_seed(settings.seed, _SPLIT_KEY, k)
    )
    if not len(held_out):
        held_out = train
    x, judge = (torch.from_numpy(z[part]) for part in (train, held_out))
    seed = derive_seed(settings.seed, _MAP_KEY, k)
    trained: TrainedMap = train_map(x, judge, SharedDensity(on_cpu(shared)), settings.maps, seed)
    return FittedComponent.from_module(trained.architecture, trained.module.map)


def _mapped(fitted: FittedComponent, z: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        image: Tensor = fitted.module(torch.float64, "cpu")(torch.from_numpy(z))[0]
    return image.numpy()


def _weights(shared: FittedMixture, image: np.ndarray) -> np.ndarray:
    return shrunk_weights(on_cpu(shared), torch.from_numpy(image)).numpy()
