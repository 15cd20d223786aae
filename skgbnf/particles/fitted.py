"""A fitted density of configurations: by a frame of their own, or by an equivariant flow."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp

from skgbnf._random import derive_seed
from skgbnf.estimators.density import GradientBoostedFlowDensity
from skgbnf.particles.alignment import MOST_NUMBERINGS, n_numberings
from skgbnf.particles.configurations import ConfigurationSpace
from skgbnf.particles.flow import ParticleArchitecture
from skgbnf.particles.frames import Frame, images, moved_at_random
from skgbnf.training.fitted import (
    FittedCombination,
    FittedMixture,
    History,
    Plain,
    combination_from_plain,
)

_CELLS_PER_BLOCK = 2_000_000
_DRAW_KEY, _MOVE_KEY = 1, 2


class FittedParticles(ABC):
    """All that `fit` found out about configurations.

    Attributes
    ----------
    space : ConfigurationSpace

    method : {"frames", "flow"}
    """

    space: ConfigurationSpace
    method: str

    @abstractmethod
    def rounds(self) -> tuple[FittedCombination, History]:
        """The fitted components, and the notes on their rounds in the units of X."""

    @abstractmethod
    def log_densities(self, X: np.ndarray, device: torch.device, *, staged: bool) -> np.ndarray:
        """Log-densities after each round, or the last one, shape (n_stages, n_samples)."""

    @abstractmethod
    def sample(self, n_samples: int, seed: int, device: torch.device) -> np.ndarray:
        """Configurations drawn from the density, centred, float64."""

    @abstractmethod
    def to_plain(self) -> Plain:
        """The fitted density as plain values and arrays."""


@dataclass(frozen=True, eq=False)
class FittedFrames(FittedParticles):
    """A density of coordinates in a frame, and its mean over numberings and reflections.

    Attributes
    ----------
    space : ConfigurationSpace

    frame : Frame

    density : GradientBoostedFlowDensity
        Of the coordinates.

    log_det : float
        What turns mean scores of coordinates into those of configurations, if each sample has
        no density but in the image that was learned.
    """

    space: ConfigurationSpace
    frame: Frame
    density: GradientBoostedFlowDensity
    log_det: float

    method = "frames"

    def rounds(self) -> tuple[FittedCombination, History]:
        fitted = self.density.fitted_
        return fitted.combination, fitted.history.shifted(self.log_det)

    def log_densities(self, X: np.ndarray, device: torch.device, *, staged: bool) -> np.ndarray:
        scores = [self._of_block(block, staged) for block in self._blocks(X)]
        return np.concatenate(scores, axis=1).astype(X.dtype)

    def _blocks(self, X: np.ndarray) -> Iterator[np.ndarray]:
        n_images = len(images(X[:1].reshape(1, *self.space.shape), self.space.types)[0])
        step = max(1, _CELLS_PER_BLOCK // (X.shape[1] * n_images))
        return (X[start : start + step] for start in range(0, len(X), step))

    def _of_block(self, X: np.ndarray, staged: bool) -> np.ndarray:
        moved = images(X.reshape(-1, *self.space.shape), self.space.types)
        y, log_det = self.frame.coordinates(moved.reshape(-1, *self.space.shape))
        if staged:
            scores = np.stack(list(self.density.staged_score_samples(y)))
        else:
            scores = np.asarray(self.density.score_samples(y))[None]
        by_image = (scores + log_det).reshape(len(scores), *moved.shape[:2])
        return logsumexp(by_image, axis=2) - math.log(moved.shape[1])

    def sample(self, n_samples: int, seed: int, device: torch.device) -> np.ndarray:
        y = self.density.sample(n_samples, random_state=derive_seed(seed, _DRAW_KEY) % 2**32)
        rng = np.random.default_rng(derive_seed(seed, _MOVE_KEY))
        x = moved_at_random(self.frame.configurations(y), self.space.types, rng)
        return self.space.in_shape(x)

    def to_plain(self) -> Plain:
        return {
            "method": self.method,
            "space": self.space.to_plain(),
            "frame": self.frame.to_plain(),
            "density": self.density.to_plain(),
            "log_det": self.log_det,
        }


@dataclass(frozen=True, eq=False)
class FittedFlow(FittedParticles):
    """A mixture of equivariant flows.

    Attributes
    ----------
    space : ConfigurationSpace

    mixture : FittedMixture
        Of flows of centred configurations in units of `space.scale`.

    history : History

    solver_errors : ndarray of shape (n_components,)
        Mean error that the solver of each component makes in log-densities, in nats.
    """

    space: ConfigurationSpace
    mixture: FittedMixture
    history: History
    solver_errors: np.ndarray

    method = "flow"

    def rounds(self) -> tuple[FittedCombination, History]:
        return self.mixture, self.history

    @torch.no_grad()
    def log_densities(self, X: np.ndarray, device: torch.device, *, staged: bool) -> np.ndarray:
        x = torch.from_numpy(self.space.transform(X)).to(device)
        mixture = self.mixture.at(x.dtype, device)
        stages = mixture.staged_log_prob(x) if staged else [mixture.log_prob(x)]
        return torch.stack(list(stages)).cpu().numpy() + X.dtype.type(self.space.log_det)

    def sample(self, n_samples: int, seed: int, device: torch.device) -> np.ndarray:
        rows = self.mixture.at(torch.float64, device).sample(n_samples, seed)
        x = self.space.scale * rows.cpu().numpy()
        return self.space.in_shape(x.reshape(-1, *self.space.shape))

    def to_plain(self) -> Plain:
        return {
            "method": self.method,
            "space": self.space.to_plain(),
            "mixture": self.mixture.to_plain(),
            "history": self.history.to_plain(),
            "solver_errors": self.solver_errors,
        }


def fitted_from_plain(plain: dict[str, Any], *, check: bool = True) -> FittedParticles:
    """Inverse of the method ``to_plain`` of a fitted density of configurations.

    Parameters
    ----------
    plain : dict

    check : bool, default=True
        Whether the arrays of components are compared with their architectures, as those of a
        file must be.

    Raises
    ------
    ValueError
        If the parts do not fit together.
    """
    space = ConfigurationSpace.from_plain(plain["space"])
    if plain["method"] == "frames":
        return _frames_from_plain(plain, space)
    mixture = combination_from_plain(
        plain["mixture"], check=check, describe=ParticleArchitecture.from_plain
    )
    if not isinstance(mixture, FittedMixture):
        raise ValueError("its components are no mixture")
    known = {(c.architecture.types, c.architecture.n_dims) for c in mixture.components}
    if known != {(space.types, space.n_dims)}:
        raise ValueError("its components are not for its configurations")
    history = History.from_plain(plain["history"], len(mixture.components))
    errors = plain["solver_errors"]
    if errors.shape != (len(mixture.components),) or not np.isfinite(errors).all():
        raise ValueError("the errors of its solvers are missing")
    return FittedFlow(space, mixture, history, errors)


def _frames_from_plain(plain: dict[str, Any], space: ConfigurationSpace) -> FittedFrames:
    frame = Frame.from_plain(plain["frame"])
    density = GradientBoostedFlowDensity.from_plain(plain["density"])
    if n_numberings(space.types) > MOST_NUMBERINGS:
        raise ValueError("its particles have too many numberings")
    if (len(frame.order), frame.n_dims) != space.shape:
        raise ValueError("its frame is not for its configurations")
    if density.n_features_in_ != frame.n_coordinates:
        raise ValueError("its density is not one of coordinates in its frame")
    return FittedFrames(space, frame, density, float(plain["log_det"]))
