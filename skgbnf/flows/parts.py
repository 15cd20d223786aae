"""Components that know the density of every part of a sample."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from zuko.lazy import LazyDistribution


class KnowsParts(LazyDistribution):
    """Base class of components with marginals and conditionals of all parts of a sample.

    What is not known of a sample is NaN. Densities are with respect to length in continuous
    variables and counting in others.

    Attributes
    ----------
    n_variables : int

    any_order : bool
        Whether the conditionals are those that the component was fitted for, so that they may
        propose what others, of which only the density is known, then weigh.
    """

    n_variables: int
    any_order: bool

    def forward(self, c: None = None) -> Distribution:
        return _Density(self)

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """Log-density of what is known of each sample, shape (..., n_samples)."""

    @abstractmethod
    def conditional_log_density(self, x: Tensor, given: Tensor) -> Tensor:
        """The same, given a part of what is known.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_variables)

        given : Tensor of bool of shape (n_variables,) or (n_samples, n_variables)
            What the rest is conditional on, if it is known.
        """

    @abstractmethod
    def complete(self, x: Tensor, wanted: Tensor) -> Tensor:
        """Samples with draws in place of some of what is not known, by torch's generator.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_variables)

        wanted : Tensor of bool of shape (n_samples, n_variables)
            What is to be drawn, given all that is known; a variable without a value, by the code
            of its parent, stays unknown.
        """

    def propose(self, x: Tensor, wanted: Tensor) -> Tensor:
        """The same as :meth:`complete`, by a conditional that may leave out some of what is known.

        Its log-density is :meth:`proposal_log_density`, by which draws are weighed.
        """
        return self.complete(x, wanted)

    def proposal_log_density(self, x: Tensor, wanted: Tensor) -> Tensor:
        """Log-density that :meth:`propose` draws what is wanted by, shape (n_samples,)."""
        return self.conditional_log_density(x, ~wanted)


class _Density(Distribution):
    """A component that knows parts, as zuko has distributions."""

    def __init__(self, component: Any) -> None:
        super().__init__(event_shape=torch.Size([component.n_variables]), validate_args=False)
        self._component = component

    def log_prob(self, x: Tensor) -> Tensor:
        result: Tensor = self._component.log_density(x)
        return result

    @torch.no_grad()
    def sample(self, shape: Any = ()) -> Tensor:
        like = next(t for t in self._component.parameters())
        n_variables = self._component.n_variables
        unknown = like.new_full((*shape, n_variables), torch.nan).reshape(-1, n_variables)
        drawn: Tensor = self._component.complete(unknown, unknown.isnan())
        return drawn.reshape(*shape, n_variables)
