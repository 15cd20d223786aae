"""What training asks of layers: a start from samples, and penalties."""

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
