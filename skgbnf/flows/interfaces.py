"""What training asks of layers: a start from samples, penalties, a leading axis of networks."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

Pulled = tuple[Tensor, Tensor, Callable[[Tensor, Tensor], tuple[Tensor, tuple[Tensor, ...]]]]
"""Image and log-determinants of a layer, and what carries their gradients back.

The latter returns the gradients of what was mapped and of each of the layer's parameters.
"""

UnivariatePulled = tuple[Tensor, Tensor, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]]
"""The same of functions of single values: log-derivatives, and the gradient of all parameters."""


class DataInitialised(ABC):
    """Base class of layers and bases that start from weighted samples.

    It is a class that a :class:`zuko.lazy.LazyTransform`, or a
    :class:`zuko.lazy.LazyDistribution` that is the base of a flow, inherits beside its own.
    """

    @abstractmethod
    def initialise(self, x: Tensor, weights: Tensor, context: Tensor | None = None) -> None:
        """Set the parameters from samples; what was learned before is undone.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features)
            Samples as the layers before this one map them.

        weights : Tensor of shape (n_samples,)
            Not negative, not all zero.

        context : Tensor of shape (n_samples, n_context) or None, default=None
            What the density of each sample is conditional on.
        """


class Penalised(ABC):
    """Base class of modules that add a term to the training loss."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """The term, in nats, for the batch that the module saw last; a scalar."""


class Stackable:
    """Base class of layers and bases whose parameters may have a leading axis of networks.

    With parameters and buffers of shape (n_networks, ...), or buffers that networks share, such a
    layer maps samples of shape (n_networks, n_samples, n_features), each network those of its own.
    """

    @property
    def stackable(self) -> bool:
        """Whether this layer can do so; False where parts of it cannot."""
        return True


def own_parameters(module: nn.Module) -> tuple[Tensor, ...]:
    """The parameters of a module itself, in the order of their registration.

    Torch's own :meth:`~torch.nn.Module.parameters` takes as long as a small layer does.
    """
    return tuple(value for value in module._parameters.values() if value is not None)


class Differentiated(ABC):
    """Base class of layers with a backward pass of their own.

    A step of a small network costs what the number of operations costs, and autograd more than
    doubles that number. :func:`~skgbnf.flows.chain.chained` puts such layers together.
    """

    @property
    def is_differentiated(self) -> bool:
        """Whether this layer has one; False where parts of it do not."""
        return True

    @abstractmethod
    def parameter_list(self) -> tuple[Tensor, ...]:
        """The parameters in the order of their gradients."""

    @abstractmethod
    def pullback(self, x: Tensor) -> Pulled:
        """Image and log-determinants without a context, and what carries gradients back.

        Samples run along the last axis here, so that parameters broadcast over them, with or
        without a leading axis of networks.

        Parameters
        ----------
        x : Tensor of shape (..., n_features, n_samples)

        Returns
        -------
        y : Tensor of shape (..., n_features, n_samples)

        ladj : Tensor of shape (..., n_samples) or (..., 1)

        pull : callable
            From gradients of `y` and of log-determinants, of shape (..., n_samples), to that of
            `x` and those of the parameters. It must not hold `y`, lest memory be kept in a cycle.
        """
