"""Samples for training and validation."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """Weighted samples in the units in which flows are trained, in float64.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)
        Mean 1.

    context : Tensor of shape (n_samples, n_context) or None, default=None
        What the density of each sample is conditional on; None for an unconditional density.

    log_det : Tensor of shape (n_samples,) or None, default=None
        What turns the log-density of each sample into the units of the table; None for zeros.
    """

    x: Tensor
    weights: Tensor
    context: Tensor | None = None
    log_det: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor | slice) -> "Rows":
        """Some of the samples, with the weights that they have."""
        context, log_det = (
            None if values is None else values[index] for values in (self.context, self.log_det)
        )
        return Rows(self.x[index], self.weights[index], context, log_det)

    def part(self, index: Tensor) -> "Rows":
        """Some of the samples, their weights scaled to mean 1."""
        rows = self[index]
        return Rows(rows.x, rows.weights / rows.weights.mean(), rows.context, rows.log_det)

    def mean(self, values: Tensor) -> float:
        """Weighted mean over the samples."""
        return float(self.weights @ values / self.weights.sum())

    @property
    def mean_log_det(self) -> float:
        """What turns a mean log-density of the samples into the units of the table."""
        return 0.0 if self.log_det is None else self.mean(self.log_det)

    def joined(self, x: Tensor) -> "Rows":
        """These samples with others after them that weigh as much in all.

        Samples with a context cannot be joined by some without one.
        """
        if self.context is not None:
            raise ValueError("samples of a conditional density need a context of their own")
        share = self.weights.sum() / len(x)
        weights = torch.cat([self.weights, share.expand(len(x))])
        return Rows(torch.cat([self.x, x]), weights)
