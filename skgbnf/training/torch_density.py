"""A fitted density as a torch module: differentiable in the units of its samples."""

import torch
from torch import Tensor, nn

from skgbnf.training.column_map import ColumnMap
from skgbnf.training.fitted import FittedCombination, FittedProduct
from skgbnf.training.mixture import mixture_log_prob, without_overflow
from skgbnf.training.product import product_log_prob


class TorchDensity(nn.Module):
    """A mixture or product of components behind a map of columns, as a module of its own.

    It shares no tensor with what it was made from. Its parameters are frozen:
    ``requires_grad_(True)`` trains the components on. Calling the module calls :meth:`log_prob`.

    Parameters
    ----------
    combination : FittedCombination
        Without a context.

    columns : ColumnMap

    dtype : torch.dtype
        In which components are computed.
    """

    weights: Tensor

    def __init__(
        self, combination: FittedCombination, columns: ColumnMap, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.columns = columns
        components = [fitted.to_module(dtype, "cpu") for fitted in combination.components]
        self.components = nn.ModuleList(components).requires_grad_(False)
        self.register_buffer("weights", torch.tensor(combination.weights, dtype=dtype))
        self.log_normalizer = (
            float(combination.log_normalizers[-1])
            if isinstance(combination, FittedProduct)
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each sample.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features)
            In the units of the table. The map of columns is computed in double precision whatever
            the type of `x`.

        Returns
        -------
        log_density : Tensor of shape (n_samples,)
            In nats, in the units of `x` and the precision of the module; -inf outside the bounds.
        """
        points = self.columns.points(x, self.weights.dtype)
        scores = [self._of_point(z) + log_weight for z, log_weight in points]
        score = scores[0] if len(scores) == 1 else torch.logsumexp(torch.stack(scores), dim=0)
        return score.masked_fill(self.columns.excludes(x), -torch.inf)

    def _of_point(self, z: Tensor) -> Tensor:
        """Log-density in the units of flows."""
        distributions = [component(None) for component in self.components]
        log_probs = [without_overflow(density.log_prob(z)) for density in distributions]
        stacked = torch.stack(log_probs, dim=-1)
        if self.log_normalizer is None:
            return mixture_log_prob(stacked, self.weights.log())
        return product_log_prob(stacked, self.weights, self.log_normalizer)


def check_precision(dtype: object) -> None:
    """Raise unless `dtype` is a precision that components can be computed in."""
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype!r}.")
