"""Samples for training and validation, in one set or in folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """Weighted samples in the units in which flows are trained, in float64.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features) or (n_folds, n_samples, n_features)

    weights : Tensor of shape (n_samples,) or (n_folds, n_samples)
        Of training samples the mean is 1. Samples of weight 0 make folds equally long.

    context : Tensor of shape (n_samples, n_context) or None, default=None
        What the density of each sample is conditional on; None for an unconditional density.

    log_det : Tensor of the shape of `weights`, or None, default=None
        What turns the log-density of each sample into the units of the table; None for zeros.
    """

    x: Tensor
    weights: Tensor
    context: Tensor | None = None
    log_det: Tensor | None = None

    @classmethod
    def in_folds(cls, folds: Sequence["Rows"]) -> Self:
        """Folds as one object; the shorter ones are filled up with samples of weight 0."""
        n_samples = max(map(len, folds))
        parts = [rows._filled_up(n_samples) for rows in folds]
        return cls(
            torch.stack([rows.x for rows in parts]),
            torch.stack([rows.weights for rows in parts]),
            _stacked([rows.context for rows in parts]),
            _stacked([rows.log_det for rows in parts]),
        )

    @property
    def n_folds(self) -> int | None:
        """Number of folds, None where the samples are one set."""
        return len(self.x) if self.x.dim() > 2 else None

    @property
    def n_counted(self) -> int:
        """Number of samples that have a weight, of all folds together."""
        return int((self.weights > 0).sum())

    def __len__(self) -> int:
        return self.x.shape[-2]

    def __getitem__(self, index: Tensor | slice) -> "Rows":
        """Some of the samples, the same of each fold, with the weights that they have."""
        context = None if self.context is None else self.context[..., index, :]
        log_det = None if self.log_det is None else self.log_det[..., index]
        return Rows(self.x[..., index, :], self.weights[..., index], context, log_det)

    def part(self, index: Tensor) -> "Rows":
        """Some of the samples, their weights scaled to mean 1."""
        rows = self[index]
        weights = rows.weights / rows.weights.mean(-1, keepdim=True)
        return Rows(rows.x, weights, rows.context, rows.log_det)

    def folds(self) -> list["Rows"]:
        """The samples of each fold; where they are one set, that alone."""
        if self.n_folds is None:
            return [self]
        return [self._fold(k) for k in range(self.n_folds)]

    def mean(self, values: Tensor) -> float:
        """Weighted mean over the samples of all folds."""
        return float((self.weights * values).sum() / self.weights.sum())

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

    def _filled_up(self, n_samples: int) -> "Rows":
        n_missing = n_samples - len(self)
        if not n_missing:
            return self
        rows = self[torch.arange(n_samples, device=self.x.device) % len(self)]
        return Rows(rows.x, F.pad(self.weights, (0, n_missing)), rows.context, rows.log_det)

    def _fold(self, k: int) -> "Rows":
        context = None if self.context is None else self.context[k]
        log_det = None if self.log_det is None else self.log_det[k]
        return Rows(self.x[k], self.weights[k], context, log_det)


def _stacked(values: Sequence[Tensor | None]) -> Tensor | None:
    """Tensors of all folds as one; None if there are none."""
    present = [value for value in values if value is not None]
    return torch.stack(present) if present else None
