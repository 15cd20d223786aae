"""The interface of components that are fitted by expectation maximisation (EM)."""

from abc import abstractmethod

from torch import Tensor
from zuko.lazy import LazyDistribution


class FittedByEM(LazyDistribution):
    """Base class of components whose weighted likelihood is raised by EM, not by its gradient.

    A component inherits from it and from :class:`zuko.lazy.LazyDistribution`. It is tried from
    :attr:`n_em_starts` starts, and the best of them is continued.
    """

    @property
    @abstractmethod
    def n_em_starts(self) -> int:
        """Number of starts that are tried."""

    @property
    @abstractmethod
    def n_plain_starts(self) -> int:
        """Number of the first starts that win by any gain; those behind them need a clear one."""

    @property
    def em_step_is_exact(self) -> bool:
        """Whether one step, from any state, ends at the maximum."""
        return False

    @property
    def core(self) -> "FittedByEM":
        """What EM fits: the component, or what of it stands behind a map that is not fitted."""
        return self

    def mapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Samples as the core sees them, and the log-determinants of the map at each of them."""
        return x, x.new_zeros(x.shape[:-1])

    @abstractmethod
    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int, start: int = 0) -> None:
        """Place the component for one start; draws come from torch's generator.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features)

        weights : Tensor of shape (n_samples,)
            Not negative, not all zero.

        n_neighbours : int
            Number of samples to start from, where a start looks at a neighbourhood.

        start : int, default=0
            Number of the start.
        """

    @abstractmethod
    def em_step(self, x: Tensor, weights: Tensor) -> None:
        """One iteration of EM on weighted samples, without a gradient."""


class DelegatedEM(FittedByEM):
    """Base class of components that are fitted by fitting their :attr:`core`.

    A subclass says what that is, and what maps samples onto those of the core.
    """

    @property
    @abstractmethod
    def core(self) -> FittedByEM:
        """What EM fits."""

    @abstractmethod
    def mapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Samples as the core sees them, and the log-determinants of the map at each of them."""

    @property
    def n_em_starts(self) -> int:
        return self.core.n_em_starts

    @property
    def n_plain_starts(self) -> int:
        return self.core.n_plain_starts

    @property
    def em_step_is_exact(self) -> bool:
        return self.core.em_step_is_exact

    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int, start: int = 0) -> None:
        self.core.em_seed(self.mapped(x)[0], weights, n_neighbours, start)

    def em_step(self, x: Tensor, weights: Tensor) -> None:
        self.core.em_step(self.mapped(x)[0], weights)
