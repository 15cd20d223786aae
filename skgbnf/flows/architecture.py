"""A component described by a few plain values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from zuko.lazy import LazyDistribution

from skgbnf.flows.bases import BASES, base_from_plain, base_to_plain
from skgbnf.flows.copula import CopulaBase
from skgbnf.flows.linear import LOG_DETS
from skgbnf.flows.options import ACTIVATIONS, SCALE_CLAMP, SPLINES, TAILS
from skgbnf.flows.registry import Family, get_family
from skgbnf.flows.variables import Variable, check_parents
from skgbnf.flows.views import FromResiduals

_PLACES = {"columns": ", splines of columns", "whitened": ", splines of whitened columns"}


@dataclass(frozen=True)
class Architecture:
    """What is needed to build a component anew, apart from its parameters.

    Parameters
    ----------
    family : str or callable
        Name of a registered family, or a user's callable; see :func:`skgbnf.flows.get_family`.

    n_features : int
        Number of columns.

    base : {"normal", "student_t"} or CopulaBase, default="normal"
        Base distribution of a flow.

    tail : {"base", "transform"}, default="base"
        "transform": the first layer of a flow is a :class:`~skgbnf.flows.tails.TailTransform`.

    n_transforms : int, default=3
        Number of layers that networks govern (of "linear", of splines for each column). Each has a
        linear layer before it, in "glow" [2]_ an activation normalisation too; "realnvp" [1]_
        has one linear layer, before the first, and "graphical" [3]_ reverses the columns instead.

    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the networks.

    activation : {"relu", "tanh", "elu", "silu"}, default="relu"
        Non-linearity of the networks.

    dropout : float, default=0.0
        Share of the values of each hidden layer that a training step drops; see
        :class:`~skgbnf.flows.dropout.Dropout`.

    log_det : {"lu", "exact", "self_normalizing"}, default="lu"
        What gives the linear layers their log-determinant: triangular factors, a decomposition of
        any matrix, or, in training, an inverse learned beside it. "affine" has "lu" always.

    scale_clamp : float or None, default=3.0
        Soft bound of the log-scale of each affine layer that a network governs ("maf",
        "made_mixture", "graphical", "realnvp", "glow"); None for no bound. Splines bound their
        slopes.

    splines : {"columns", "whitened", None}, default="columns"
        Where there is a spline for each column: before the first linear layer, which helps where
        marginals are skewed; behind it, in whitened coordinates, which helps where columns are
        linear functions of each other; or nowhere.

    n_components : int, default=1
        Number of Gaussians of a "gaussian_mixture".

    n_context : int, default=0
        Number of columns of the context that the density is conditional on. With a context mean
        and scale of each column are first taken off by a
        :class:`~skgbnf.flows.conditional.ConditionalAffine`, and every network sees the context;
        splines of columns, linear layers, tails and bases do not depend on it. In "realnvp",
        "glow" and "nsf_coupling" that layer stands in place of the linear ones but those of "glow"
        between its couplings; "affine" is then a Gaussian with a diagonal covariance,
        "gaussian_mixture" a mixture density network [4]_.

    n_columns : int, default=0
        If above 0, the component is one of :class:`~skgbnf.flows.views.FromResiduals` and sees that
        many columns of the context only.

    variables : tuple of Variable, default=()
        Those of a mixed table, one for each column; () if all are real numbers.

    order : int, default=0
        Number of the order in which "masked" takes the variables.

    References
    ----------
    .. [1] Density estimation using Real NVP. L. Dinh, J. Sohl-Dickstein, S. Bengio, 2017.
       https://arxiv.org/abs/1605.08803
    .. [2] Glow: Generative Flow with Invertible 1x1 Convolutions. D. P. Kingma, P. Dhariwal, 2018.
       https://arxiv.org/abs/1807.03039
    .. [3] Graphical Normalizing Flows. A. Wehenkel, G. Louppe, 2021.
       https://arxiv.org/abs/2006.02548
    .. [4] Mixture Density Networks. C. M. Bishop, 1994.
       https://publications.aston.ac.uk/id/eprint/373/
    """

    family: str | Callable[..., LazyDistribution]
    n_features: int
    base: str | CopulaBase = "normal"
    tail: str = "base"
    n_transforms: int = 3
    hidden_layer_sizes: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    dropout: float = 0.0
    log_det: str = "lu"
    scale_clamp: float | None = SCALE_CLAMP
    splines: str | None = "columns"
    n_components: int = 1
    n_context: int = 0
    n_columns: int = 0
    variables: tuple[Variable, ...] = ()
    order: int = 0

    @property
    def record(self) -> Family:
        """The record of the family; ValueError if none of this name is registered."""
        return get_family(self.family)

    def to_plain(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        variables = [variable.to_plain() for variable in self.variables]
        return {**vars(self), "base": base_to_plain(self.base), "variables": variables}

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_plain`; what was a tuple may be a list."""
        sizes = tuple(fields["hidden_layer_sizes"])
        base = base_from_plain(fields["base"])
        variables = tuple(map(Variable.from_plain, fields["variables"]))
        own = {"base": base, "hidden_layer_sizes": sizes, "variables": variables}
        return cls(**{**fields, **own})

    def build(self) -> LazyDistribution:
        """Build an untrained component; parameters come from torch's generator.

        Raises
        ------
        TypeError, ValueError
            If the family is not registered or takes no context, or if what is not of this package
            returns no density, or one over other columns.
        """
        record = self.record
        if self.n_context and not record.takes_context:
            raise ValueError(f"n_context: {record.name!r} takes no context.")
        if self.variables and not record.takes_variables:
            raise ValueError(f"variables: {record.name!r} takes real numbers alone.")
        component = record.build(self._inner())
        if self.n_columns:
            component = FromResiduals(component, self.n_features, self.n_columns)
        component.n_context = self.n_context
        return component

    def _inner(self) -> Self:
        """The architecture of what is built, apart from what it sees of the context."""
        return replace(self, n_context=self.n_columns, n_columns=0) if self.n_columns else self

    def describe(self) -> str:
        """What a reader is told of a component that is being fitted."""
        record = self.record
        view = f", given {self.n_columns} columns" if self.n_columns else ""
        if record.takes_variables:
            size = f" of {self.n_components} classes" if self.n_components > 1 else ""
            return record.name + size
        if len(record.n_components) > 1:
            gaussians = f"{self.n_components} Gaussian{'s' if self.n_components > 1 else ''}"
            return f"{record.name} of {gaussians}{view}"
        place = _PLACES.get(self.splines or "", "") if record.splines else ""
        return record.name + place + view

    def check(self, array_sizes: Sequence[int]) -> None:
        """Check what came out of a file before anything is built of it.

        Parameters
        ----------
        array_sizes : sequence of int
            Number of values in each array of parameters that came with it.

        Raises
        ------
        ValueError
            If a name is unknown, or a size is none or one that the arrays cannot have come from.
        """
        if not (isinstance(self.family, str) and self._is_known()):
            raise ValueError(f"it names an unknown component: {self}")
        sizes = (self.n_features, *self.hidden_layer_sizes)
        counts = (*sizes, self.n_transforms, self.n_components, self.n_context + 1)
        if not all(type(count) is int and count > 0 for count in counts):
            raise ValueError(f"a size of a component is no positive integer: {self}")
        if self.n_context and not self.record.takes_context:
            raise ValueError(f"a component takes no context: {self}")
        check_parents(self.variables)
        if self.variables and len(self.variables) != self.n_features:
            raise ValueError(f"the variables of a component are not its columns: {self}")
        if (self.variables and not self.record.takes_variables) or type(self.order) is not int:
            raise ValueError(f"a component is of another kind of tables: {self}")
        if type(self.n_columns) is not int or not 0 <= self.n_columns <= self.n_context:
            raise ValueError(f"a component sees more of its context than there is: {self}")
        n_values, n_arrays = self.record.fewest(self._inner())
        if n_values > sum(array_sizes) or n_arrays > len(array_sizes):
            raise ValueError("the sizes of a component do not fit its arrays")

    def _is_known(self) -> bool:
        """Whether all names are known; ValueError, with advice, if that of the family is not."""
        clamp, dropout = self.scale_clamp, self.dropout
        return (
            (isinstance(self.base, CopulaBase) or self.base in BASES)
            and self.tail in TAILS
            and self.activation in ACTIVATIONS
            and (isinstance(dropout, int | float) and 0 <= dropout < 1)
            and self.log_det in LOG_DETS
            and self.splines in SPLINES
            and (clamp is None or (isinstance(clamp, float) and 0 < clamp < math.inf))
            and self.record is not None
        )


def make_flow(
    family: str | Callable[..., LazyDistribution],
    n_features: int,
    *,
    hidden_layer_sizes: Sequence[int] = (64, 64),
    **fields: Any,
) -> LazyDistribution:
    """Build an untrained component with parameters drawn from torch's generator.

    Parameters
    ----------
    family : str or callable
        Name of a family, one of :func:`skgbnf.flows.family_names`, or a callable.

    n_features : int
        Number of columns.

    hidden_layer_sizes : sequence of int, default=(64, 64)
        Widths of the networks.

    **fields
        The other fields of :class:`Architecture`.

    Returns
    -------
    component : zuko.lazy.LazyDistribution
        ``component()``, or ``component(context)``, is a distribution with ``log_prob``; all but
        "gaussian_mixture" and "student_t" without a context are a :class:`zuko.flows.Flow`.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Architecture.build`.

    Examples
    --------
    >>> import torch
    >>> from skgbnf.flows import make_flow
    >>> make_flow("nsf", 3, hidden_layer_sizes=(16,))().log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    >>> conditional = make_flow("maf", 3, n_context=2, hidden_layer_sizes=(16,))
    >>> conditional(torch.zeros(5, 2)).sample().shape
    torch.Size([5, 3])
    """
    return Architecture(
        family, n_features, hidden_layer_sizes=tuple(hidden_layer_sizes), **fields
    ).build()
