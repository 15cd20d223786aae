"""Functions of single columns, the same for all samples or given by a context."""

from torch import Tensor
from torch.distributions import Transform
from zuko.flows import ElementWiseTransform
from zuko.transforms import DependentTransform

from skgbnf.flows.broadcasting import per_network
from skgbnf.flows.interfaces import Stackable


class ElementWise(ElementWiseTransform, Stackable):
    """An element-wise layer of zuko whose parameters may have a leading axis of networks.

    Its arguments are those of :class:`zuko.flows.ElementWiseTransform`.
    """

    @property
    def stackable(self) -> bool:
        # The network of a context is zuko's own.
        return not hasattr(self, "hyper")

    def forward(self, c: Tensor | None = None) -> Transform:
        if c is not None:
            return super().forward(c)
        phi = [
            per_network(values, 1 + len(shape))
            for values, shape in zip(self.phi, self.shapes, strict=True)
        ]
        return DependentTransform(self.univariate(*phi), 1)
