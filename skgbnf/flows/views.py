"""Components of what stands behind residuals, given a part of the context."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import AffineTransform
from zuko.distributions import NormalizingFlow
from zuko.lazy import LazyDistribution
from zuko.transforms import ComposedTransform


class FromResiduals(LazyDistribution):
    """A component of ``z = mean + spread * u``, as a density of the residuals ``u``.

    The last columns of the context are the mean and the logarithm of the spread of each column of
    z; the component itself sees the first columns alone. So it depends on nothing that a model has
    said.

    Parameters
    ----------
    component : LazyDistribution
        Given `n_columns` columns of context.

    n_features : int

    n_columns : int
    """

    def __init__(self, component: LazyDistribution, n_features: int, n_columns: int) -> None:
        super().__init__()
        self.component: Any = component
        self._n_features, self._n_columns = n_features, n_columns

    def seen(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """What the component itself sees of residuals and their context."""
        return self._restoring(context)(u), context[..., : self._n_columns]

    def forward(self, c: Tensor | None = None) -> NormalizingFlow:
        if c is None:
            raise ValueError("residuals need a context.")
        restoring, inner = self._restoring(c), self.component(c[..., : self._n_columns])
        if not isinstance(inner, NormalizingFlow):
            return NormalizingFlow(restoring, inner)
        return NormalizingFlow(ComposedTransform(restoring, inner.transform), inner.base)

    def _restoring(self, context: Tensor) -> AffineTransform:
        n = self._n_features
        mean, log_spread = context[..., -2 * n : -n], context[..., -n:]
        return AffineTransform(mean, torch.exp(log_spread), event_dim=1)
