"""What training asks of layers: a start from samples, penalties, a leading axis of networks."""

from abc import ABC, abstractmethod

from torch import Tensor


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
