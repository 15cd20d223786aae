"""Families of components by name: what each is, and how it is built."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from zuko.lazy import LazyDistribution

from skgbnf.flows.dropout import with_own_dropout
from skgbnf.flows.options import ACTIVATIONS, SPLINES, TAILS

Build = Callable[[Any], LazyDistribution]
"""What makes an untrained component of an :class:`~skgbnf.flows.Architecture`."""


def _no_least(architecture: Any) -> tuple[int, int]:
    """Of a family that says nothing of its arrays nothing can be asked."""
    return 0, 0


@dataclass(frozen=True)
class Family:
    """A family of components: how it is built, and what a search needs to know of it.

    Parameters
    ----------
    name : str
        What the parameters `flow` and `init` of the estimators call it.

    build : callable
        Makes an untrained component, a :class:`zuko.lazy.LazyDistribution`, of an
        :class:`~skgbnf.flows.Architecture`. ``component(context)`` is a distribution with
        ``log_prob`` and ``sample``, where `context` is None unless the architecture has
        ``n_context > 0``. Draws come from torch's generator.

    fitted_by : {"gradient", "em"}, default="gradient"
        What fits it without a context. "em": `build` then returns a
        :class:`~skgbnf.flows.FittedByEM`.

    n_transforms : int, default=3
        What ``n_transforms="auto"`` stands for.

    activation : {"relu", "tanh", "elu", "silu"}, default="relu"
        What ``activation="auto"`` stands for.

    hidden_layer_sizes : tuple of int, default=(64, 64)
        What ``hidden_layer_sizes="auto"`` stands for.

    splines : tuple of {"columns", "whitened", None}, default=()
        Places of the splines of single columns that a round tries; () where it has none.

    tails : tuple of {"base", "transform"}, default=()
        Sources of the tails that a round tries; () for that which the estimator asks for.

    n_components : tuple of int, default=(1,)
        Numbers of Gaussians that a round tries, ascending.

    takes_context : bool, default=True
        Whether the density may be conditional on a context.

    takes_variables : bool, default=False
        Whether the family is one for mixed tables: `build` then makes a
        :class:`~skgbnf.flows.KnowsParts` of the architecture's ``variables``, which takes
        categories and gaps. Other families take complete samples of real numbers.

    has_marginals : bool, default=False
        Of a family for mixed tables, whether the density of a part of a sample is the marginal of
        that of the whole.

    invertible : bool, default=False
        Whether both directions of the flow are cheap and have a gradient, as the posterior of an
        autoencoder and the fit to a log-density need.

    fewest : callable, optional
        Returns, for an architecture, two numbers that the numbers of values and of arrays of its
        parameters and buffers do not fall below. A file that claims sizes which its arrays do not
        bear out is refused by them before anything is built.

    reference : str, default=""
        Title, authors, year and link of the source.

    Raises
    ------
    TypeError, ValueError
        If a field is none of these.

    Examples
    --------
    >>> from skgbnf.flows import get_family
    >>> get_family("maf").n_transforms
    4
    """

    name: str
    build: Build
    fitted_by: Literal["gradient", "em"] = "gradient"
    n_transforms: int = 3
    activation: str = "relu"
    hidden_layer_sizes: tuple[int, ...] = (64, 64)
    splines: tuple[str | None, ...] = ()
    tails: tuple[str, ...] = ()
    n_components: tuple[int, ...] = (1,)
    takes_context: bool = True
    takes_variables: bool = False
    has_marginals: bool = False
    invertible: bool = False
    fewest: Callable[[Any], tuple[int, int]] = _no_least
    reference: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string, got {self.name!r}.")
        if not (callable(self.build) and callable(self.fewest)):
            raise TypeError(f"build and fewest of family {self.name!r} must be callable.")
        if self.fitted_by not in ("gradient", "em"):
            raise ValueError(f'fitted_by must be "gradient" or "em", got {self.fitted_by!r}.')
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {tuple(ACTIVATIONS)}, got {self.activation!r}."
            )
        if not set(self.splines) <= set(SPLINES):
            raise ValueError(f"splines must be among {SPLINES}, got {self.splines!r}.")
        if not set(self.tails) <= set(TAILS):
            raise ValueError(f"tails must be among {TAILS}, got {self.tails!r}.")
        for flag in ("takes_context", "takes_variables", "has_marginals", "invertible"):
            if not isinstance(getattr(self, flag), bool):
                raise TypeError(f"{flag} must be True or False, got {getattr(self, flag)!r}.")
        if self.invertible and not self.takes_context:
            raise ValueError("a family that is invertible must take a context.")
        sizes = self.n_components
        if not isinstance(sizes, tuple) or not all(type(n) is int for n in sizes):
            raise TypeError(f"n_components must be a tuple of integers, got {sizes!r}.")
        if type(self.n_transforms) is not int or self.n_transforms < 1:
            raise ValueError(
                f"n_transforms must be an integer of at least 1, got {self.n_transforms!r}."
            )
        if not sizes or min(sizes) < 1 or sorted(set(sizes)) != list(sizes):
            raise ValueError(f"n_components must be positive and ascending, got {sizes!r}.")


_FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Make a family known by its name, to all estimators of this process.

    It can be the `flow` of an estimator, alone or in a list, or be in its `init`. Models of it are
    pickled, saved, loaded and resumed as others are; the process that reads them has to register
    the family first.

    Parameters
    ----------
    family : Family
        What its `build` returns is checked each time.

    Raises
    ------
    ValueError
        If a family whose `build` was defined elsewhere has this name, or it is empty or "auto".
        One from the same place, such as a cell of a notebook that is run again, is replaced.

    Examples
    --------
    >>> import numpy as np
    >>> from zuko.flows import BPF
    >>> from skgbnf import GradientBoostedFlowDensity
    >>> from skgbnf.flows import Family, register_family
    >>> def bernstein(architecture):
    ...     sizes = architecture.n_features, architecture.n_context
    ...     hidden = architecture.hidden_layer_sizes
    ...     return BPF(*sizes, transforms=1, degree=8, hidden_features=hidden)
    >>> register_family(Family("bernstein", bernstein))
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> model = GradientBoostedFlowDensity(
    ...     1, flow="bernstein", hidden_layer_sizes=(8,), max_iter=1, random_state=0
    ... )
    >>> model.fit(X).score_samples(X).shape
    (100,)
    """
    if family.name in ("", "auto"):
        raise ValueError(f"a family must not have the name {family.name!r}.")
    subject = f"flow: the build of {family.name!r}"
    known_family(replace(family, build=_Checked(family.build, subject)))


def known_family(family: Family) -> Family:
    """Put a record into the registry as it is, and return it.

    Raises
    ------
    ValueError
        If a family whose `build` was defined elsewhere has this name.
    """
    known = _FAMILIES.setdefault(family.name, family)
    if known != family:
        if _origin(known) != _origin(family):
            raise ValueError(f"another family has the name {family.name!r}.")
        _FAMILIES[family.name] = family
    return family


def _origin(family: Family) -> tuple[str, str]:
    """Where the code of a family comes from: what is defined there again replaces it."""
    build = family.build.build if isinstance(family.build, _Checked) else family.build
    kind = type(build)
    names = (getattr(build, "__module__", kind.__module__), getattr(build, "__qualname__", ""))
    return names if names[1] else (kind.__module__, repr(build))


def get_family(family: str | Callable[..., LazyDistribution]) -> Family:
    """The record of a name, or one of a user's callable.

    Parameters
    ----------
    family : str or callable
        A callable gets the number of columns, behind it that of the context's columns if there is
        a context, and returns a component.

    Raises
    ------
    ValueError
        If no family has this name.

    Examples
    --------
    >>> from skgbnf.flows import get_family
    >>> get_family("gaussian_mixture").fitted_by
    'em'
    """
    if isinstance(family, str):
        if family not in _FAMILIES:
            raise ValueError(
                f"{family!r} is none of the families {family_names()}. A family of another package "
                "has to be registered in every process, with skgbnf.flows.register_family."
            )
        return _FAMILIES[family]
    name = getattr(family, "__name__", "a callable")
    return Family(name, _Checked(_BySizes(family), "flow: a callable"))


def families() -> tuple[Family, ...]:
    """All records, in the order of their registration."""
    return tuple(_FAMILIES.values())


def family_names(*, invertible: bool = False) -> tuple[str, ...]:
    """Names of all families, or of those that are invertible, in the order of their registration.

    Examples
    --------
    >>> from skgbnf.flows import family_names
    >>> "maf" in family_names(), "maf" in family_names(invertible=True)
    (True, False)
    """
    return tuple(family.name for family in families() if family.invertible or not invertible)


@dataclass(frozen=True)
class _BySizes:
    """A user's callable of sizes, as one of an architecture."""

    call: Callable[..., LazyDistribution]

    def __call__(self, architecture: Any) -> LazyDistribution:
        n_context = architecture.n_context
        return self.call(architecture.n_features, *([n_context] if n_context else []))


@dataclass(frozen=True)
class _Checked:
    """What builds a component and checks that it is a zuko density over the right columns."""

    build: Build
    subject: str

    def __call__(self, architecture: Any) -> LazyDistribution:
        flow = self.build(architecture)
        if not isinstance(flow, LazyDistribution):
            raise TypeError(
                f"{self.subject} must return a zuko.flows.Flow or another "
                f"zuko.lazy.LazyDistribution, got {type(flow).__name__}."
            )
        flow = with_own_dropout(flow).float()
        # On the meta device only the shapes of parameters are asked for.
        if not any(parameter.is_meta for parameter in flow.parameters()):
            self._check_density(flow, architecture)
        return flow

    def _check_density(self, flow: LazyDistribution, architecture: Any) -> None:
        n_features, n_context = architecture.n_features, architecture.n_context
        context = torch.zeros(1, n_context) if n_context else None
        try:
            distribution = flow(context)
            distribution.log_prob(torch.zeros(1, *distribution.event_shape))
        except (RuntimeError, TypeError, AttributeError, ValueError) as e:
            which = "with" if n_context else "without"
            raise ValueError(
                f"{self.subject} must return a density that can be evaluated {which} a context "
                f"({e})."
            ) from e
        event_shape = tuple(distribution.event_shape)
        if event_shape != (n_features,):
            raise ValueError(
                f"{self.subject} returned a density over shape {event_shape}, "
                f"but X has {n_features} features."
            )
