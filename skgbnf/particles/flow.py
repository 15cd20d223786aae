"""A continuous flow of particles, as a component of a mixture.

A configuration is a row of all coordinates, particle by particle, with its centre at the origin.
Its density is one on the subspace of such rows, of dimension (n_particles - 1) * n_dims.

References
----------
Neural Ordinary Differential Equations. R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud,
2018. https://arxiv.org/abs/1806.07366
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, constraints
from torchdiffeq import odeint
from zuko.flows import Flow
from zuko.lazy import LazyDistribution, LazyTransform

from skgbnf.particles.configurations import check_types
from skgbnf.particles.field import PairField

FEWEST_STEPS, MOST_STEPS = 12, 192
"""Steps of the solver: those that it begins with, and the most that it may take."""


def centred(x: Tensor) -> Tensor:
    """Configurations, shape (..., n_particles, n_dims), with their centre at the origin."""
    return x - x.mean(-2, keepdim=True)


class CentredNormal(Distribution):
    """Independent standard normal coordinates, given that their centre is the origin.

    Parameters
    ----------
    like : Tensor
        Whose precision and device draws have.

    n_particles, n_dims : int
    """

    def __init__(self, like: Tensor, n_particles: int, n_dims: int) -> None:
        super().__init__(event_shape=torch.Size([n_particles * n_dims]), validate_args=False)
        self._like, self._shape = like, (n_particles, n_dims)

    def log_prob(self, value: Tensor) -> Tensor:
        n_free = (self._shape[0] - 1) * self._shape[1]
        return (value.square().sum(-1) + n_free * math.log(2 * math.pi)) / -2

    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = torch.randn(*sample_shape, *self._shape)
        return centred(drawn.to(self._like)).flatten(-2)


class FlowTransform(Transform):
    """From configurations at time 1 to noise at time 0, along the field.

    Parameters
    ----------
    field : PairField

    times : Tensor of shape (n_steps + 1,)
        From 0 to 1, between which the solver takes its steps, by a Runge-Kutta method of order 4.
        They are the same for all samples, so that the density of one does not depend on others.
    """

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, field: PairField, times: Tensor) -> None:
        super().__init__()
        self._field, self._times = field, times

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Noise, and the logarithm of the determinant of the Jacobian of the map to it."""

        def velocity(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
            return self._field(t, state[0], divergence=True)

        start = self._configurations(x), x.new_zeros(len(x))
        z, log_det = self._solve(velocity, start, self._times.flip(0))
        return z.flatten(-2), log_det

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        return self._moved(x, self._times.flip(0))

    def _inverse(self, y: Tensor) -> Tensor:
        return self._moved(y, self._times)

    def _moved(self, x: Tensor, times: Tensor) -> Tensor:
        (moved,) = self._solve(
            lambda t, state: self._field(t, state[0])[:1], (self._configurations(x),), times
        )
        return moved.flatten(-2)

    @staticmethod
    def _solve(velocity: Any, state: tuple[Tensor, ...], times: Tensor) -> Any:
        """The state at the last of the times."""
        options = {"grid_constructor": lambda velocity, state, ends: times}
        solved = odeint(velocity, state, times[[0, -1]], method="rk4", options=options)
        return tuple(path[-1] for path in solved)

    def _configurations(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self._field.n_particles, self._field.n_dims))


class LazyFlow(LazyTransform):
    """The field of a flow, and the number of steps of equal length it is followed in.

    Attributes
    ----------
    times : Tensor or None
        Between which there are steps in their place, while they are set.
    """

    def __init__(self, field: PairField, n_steps: int) -> None:
        super().__init__()
        self.field, self.n_steps = field, n_steps
        self.times: Tensor | None = None

    def forward(self, c: Any = None) -> Transform:
        times = self.times
        if times is None:
            like = self.field.centres
            times = torch.linspace(0.0, 1.0, self.n_steps + 1, dtype=like.dtype, device=like.device)
        return FlowTransform(self.field, times)


class LazyCentredNormal(LazyDistribution):
    """The noise that configurations flow from."""

    def __init__(self, n_particles: int, n_dims: int) -> None:
        super().__init__()
        self._shape = n_particles, n_dims
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, c: Any = None) -> Distribution:
        return CentredNormal(self.like, *self._shape)


@dataclass(frozen=True)
class ParticleArchitecture:
    """What is needed to build a flow of particles anew, apart from its parameters.

    Parameters
    ----------
    types : tuple of int
        Type of each particle, numbered from 0 in the order in which they first appear.

    n_dims : int

    n_basis : int
        Functions of the distance of a pair.

    hidden_layer_sizes : tuple of int

    n_steps : int, default=12
        Steps of the solver.
    """

    types: tuple[int, ...]
    n_dims: int
    n_basis: int
    hidden_layer_sizes: tuple[int, ...]
    n_steps: int = FEWEST_STEPS

    family = "equivariant"
    n_context = 0

    @property
    def n_features(self) -> int:
        """Number of coordinates of a configuration."""
        return len(self.types) * self.n_dims

    def build(self) -> Flow:
        """Build an untrained flow, the identity; parameters come from torch's generator."""
        field = PairField(self.types, self.n_dims, self.n_basis, self.hidden_layer_sizes)
        base = LazyCentredNormal(len(self.types), self.n_dims)
        flow = Flow([LazyFlow(field, self.n_steps)], base)
        flow.n_context = 0
        return flow

    def check(self, array_sizes: Sequence[int]) -> None:
        """Raise ValueError unless arrays of these sizes can be the flow's."""
        sizes = (self.n_dims, self.n_basis - 1, self.n_steps, *self.hidden_layer_sizes)
        if not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError(f"a size of a flow is no positive integer: {self}")
        if not self.hidden_layer_sizes or self.n_steps > MOST_STEPS:
            raise ValueError(f"a flow has no layers, or too many steps: {self}")
        check_types(self.types)
        if self.n_basis * len(set(self.types)) * self.hidden_layer_sizes[0] > sum(array_sizes):
            raise ValueError("the sizes of a flow do not fit its arrays")

    def to_plain(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; what was a tuple may be a list."""
        types, sizes = tuple(fields["types"]), tuple(fields["hidden_layer_sizes"])
        return cls(**{**fields, "types": types, "hidden_layer_sizes": sizes})


def field_of(component: Flow) -> LazyFlow:
    """The part of a component that holds its field."""
    return component.transform.transforms[0]
