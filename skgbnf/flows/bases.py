"""Base distributions by name: what a flow maps the samples onto."""

import math
from typing import Any

import torch
from torch import Tensor
from zuko.distributions import DiagNormal
from zuko.lazy import LazyDistribution, UnconditionalDistribution

from skgbnf.flows.copula import CopulaBase
from skgbnf.flows.interfaces import Stackable


class StandardNormal(UnconditionalDistribution, Stackable):
    """Independent standard normal columns.

    Parameters
    ----------
    n_features : int
        Number of columns.
    """

    def __init__(self, n_features: int) -> None:
        loc, scale = torch.zeros(n_features), torch.ones(n_features)
        super().__init__(DiagNormal, loc=loc, scale=scale, buffer=True)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of each sample, as that of the distribution in fewer operations."""
        return (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi)) / -2


BASES = {"normal": StandardNormal, "student_t": CopulaBase(df="learn").build}
"""Constructors ``n_features -> zuko.lazy.LazyDistribution`` by name."""


def make_base(base: str | CopulaBase, n_features: int) -> LazyDistribution:
    """Build the base of a name or a description."""
    return BASES[base](n_features) if isinstance(base, str) else base.build(n_features)


def base_to_plain(base: Any) -> Any:
    """A base as JSON and pickles without classes of this package know it."""
    return dict(vars(base)) if isinstance(base, CopulaBase) else base


def base_from_plain(base: Any) -> Any:
    """Inverse of :func:`base_to_plain`."""
    return CopulaBase(**base) if isinstance(base, dict) else base
