"""Dropout that draws from the generator of a fit, not from torch's global one."""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Each value dropped with a probability, the others scaled up, while there is a generator.

    Without one, which is how it is made, it is the identity: whoever trains lends a generator for
    the loss of a batch, so that scores and samples have no noise and threads need not take turns.

    Parameters
    ----------
    probability : float
        From 0 to below 1.

    Attributes
    ----------
    generator : torch.Generator or None
        On the CPU.

    References
    ----------
    Dropout: A Simple Way to Prevent Neural Networks from Overfitting. N. Srivastava, G. Hinton,
    A. Krizhevsky, I. Sutskever, R. Salakhutdinov, 2014.
    https://jmlr.org/papers/v15/srivastava14a.html
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        factor = self.factor(x.shape, x)
        return x if factor is None else x * factor

    def factor(self, shape: tuple[int, ...], like: Tensor) -> Tensor | None:
        """What values of a shape are multiplied by, drawn anew; None for ones.

        Parameters
        ----------
        shape : tuple of int

        like : Tensor
            Has the dtype and the device of the values.
        """
        if self.generator is None:
            return None
        # Not in the caller's default precision, on which the draws would depend.
        draws = torch.rand(shape, generator=self.generator, dtype=torch.float32, device="cpu")
        kept = draws >= self.probability
        return kept.to(like) / (1 - self.probability)


def with_own_dropout(module: nn.Module) -> nn.Module:
    """A module, changed in place, whose layers of torch's dropout are :class:`Dropout`."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
    return module
