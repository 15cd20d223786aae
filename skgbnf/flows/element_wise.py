"""Functions of single columns, the same for all samples or given by a context."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.distributions import Transform
from zuko.flows import ElementWiseTransform
from zuko.transforms import DependentTransform

from skgbnf.flows.broadcasting import per_network
from skgbnf.flows.interfaces import Differentiated, Pulled, Stackable, UnivariatePulled


class ElementWise(ElementWiseTransform, Stackable, Differentiated):
    """An element-wise layer of zuko whose parameters may have a leading axis of networks.

    Its arguments are those of :class:`zuko.flows.ElementWiseTransform`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pullback: Any = univariate_pullback(self.univariate)

    @property
    def stackable(self) -> bool:
        # The network of a context is zuko's own.
        return not hasattr(self, "hyper")

    @property
    def is_differentiated(self) -> bool:
        return self._pullback is not None and self.stackable and len(self.shapes) == 1

    def forward(self, c: Tensor | None = None) -> Transform:
        if c is not None:
            return super().forward(c)
        phi = [
            per_network(values, 1 + len(shape))
            for values, shape in zip(self.phi, self.shapes, strict=True)
        ]
        return DependentTransform(self.univariate(*phi), 1)

    def parameter_list(self) -> tuple[Tensor, ...]:
        return tuple(self.phi)

    def pullback(self, x: Tensor) -> Pulled:
        (phi,) = self.phi
        y, ladj, pull_univariate = self._pullback(x, phi.unsqueeze(-1))

        def pull(grad_y: Tensor, grad_ladj: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            grad_x, grad_phi = pull_univariate(grad_y, grad_ladj.unsqueeze(-2))
            return grad_x, (grad_phi.squeeze(-1),)

        return y, ladj.sum(-2), pull


def univariate_pullback(
    univariate: Callable[..., Transform],
) -> Callable[[Tensor, Tensor], UnivariatePulled] | None:
    """What maps values by all their parameters, and carries gradients; None if nothing does.

    Parameters
    ----------
    univariate : callable
        A class of transforms, or a partial of one.
    """
    if not isinstance(univariate, partial):
        return getattr(univariate, "pullback", None)
    pullback: Any = getattr(univariate.func, "pullback", None)
    return pullback and partial(pullback, **univariate.keywords)
