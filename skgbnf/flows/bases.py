"""Base distributions: what a flow maps the rows onto."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, StudentT
from zuko.distributions import DiagNormal
from zuko.lazy import LazyDistribution, UnconditionalDistribution


class StudentTBase(LazyDistribution):
    """Independent Student-t variables whose degrees of freedom, above one, are learned.

    Parameters
    ----------
    n_features : int
        Number of columns.

    References
    ----------
    Tails of Lipschitz Triangular Flows. P. Jaini, I. Kobyzev, Y. Yu, M. Brubaker, 2020.
    https://arxiv.org/abs/1907.04481
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.raw_df = nn.Parameter(torch.full((n_features,), 9.0))

    def forward(self, c: Tensor | None = None) -> Distribution:
        df = 1.0 + nn.functional.softplus(self.raw_df)
        return Independent(StudentT(df, validate_args=False), 1, validate_args=False)


def _normal(n_features: int) -> LazyDistribution:
    return UnconditionalDistribution(
        DiagNormal, loc=torch.zeros(n_features), scale=torch.ones(n_features), buffer=True
    )


BASES = {"normal": _normal, "student_t": StudentTBase}
"""Constructors ``n_features -> zuko.lazy.LazyDistribution`` by name."""
