"""Components of equal shape as one, with a leading axis of networks."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from zuko.distributions import NormalizingFlow
from zuko.lazy import LazyDistribution

from skgbnf.flows.chain import ChainedDistribution, ChainedFlow
from skgbnf.flows.em import DelegatedEM, FittedByEM
from skgbnf.flows.interfaces import Stackable
from skgbnf.flows.masked import MaskedNetwork


def stack(components: Sequence[LazyDistribution]) -> LazyDistribution:
    """Components of equal shape as one component that evaluates each at samples of its own.

    Flows of which all layers and the base are :class:`~skgbnf.flows.interfaces.Stackable` become
    one flow whose parameters have a leading axis, under the names that one has, and so do
    components fitted by EM that are. An operation for all of them costs little more than one for a
    single small network. Others are evaluated one after the other.

    Parameters
    ----------
    components : sequence of zuko.lazy.LazyDistribution
        At least one; all of the same architecture, dtype and device. They are not changed.

    Returns
    -------
    stacked : zuko.lazy.LazyDistribution
        ``stacked(None).log_prob(x)`` maps `x` of shape (n_networks, n_samples, n_features) to
        shape (n_networks, n_samples): component k at ``x[k]``. It has no samples; see
        :func:`unstack`.

    Raises
    ------
    ValueError
        If there is no component, or if names or shapes of their parameters differ.

    Examples
    --------
    >>> import torch
    >>> from skgbnf.flows import make_flow, stack, unstack
    >>> flows = [make_flow("maf", 3, hidden_layer_sizes=(16,)) for _ in range(5)]
    >>> stacked = stack(flows)
    >>> stacked(None).log_prob(torch.zeros(5, 10, 3)).shape
    torch.Size([5, 10])
    >>> len(unstack(stacked))
    5
    """
    _check_alike(components)
    first, stacked = components[0], _stacking(components)(components)
    if hasattr(first, "n_context"):
        stacked.n_context = first.n_context
    return stacked


def _stacking(components: Sequence[LazyDistribution]) -> type[Any]:
    """The class that evaluates components of equal shape in the fewest operations."""
    if all(_is_stackable(component) for component in components):
        return StackedFlow
    if isinstance(components[0], MaskedNetwork):
        return StackedNetwork
    if isinstance(components[0], FittedByEM):
        return StackedByEM if isinstance(components[0], Stackable) else OneByOneByEM
    return OneByOne


def unstack(stacked: LazyDistribution) -> list[LazyDistribution]:
    """The components of a stack, with copies of its parameters.

    Parameters
    ----------
    stacked : zuko.lazy.LazyDistribution
        What :func:`stack` returned, perhaps trained since.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(stacked, StackedFlow | StackedNetwork | StackedByEM | OneByOne):
        raise TypeError(f"stacked must come from stack, got {type(stacked).__name__}.")
    return stacked.unstacked()


class StackedFlow(ChainedFlow):
    """Flows of equal shape, whose parameters have a leading axis.

    Buffers that are equal are shared. The distribution has ``log_prob`` and, in the direction from
    samples to the base, a ``transform``.

    Parameters
    ----------
    flows : sequence of ChainedFlow
        Flows of stackable layers, of the same architecture.
    """

    n_axes = 3

    def __init__(self, flows: Sequence[Any]) -> None:
        first = copy.deepcopy(flows[0])
        super().__init__(first.transform, first.base)
        self.train(first.training)
        self.n_flows = len(flows)
        self._shared = _join(self, flows)

    def forward(self, c: Tensor | None = None) -> NormalizingFlow:
        if c is not None:
            raise NotImplementedError("a stack of flows takes no context.")
        return _StackedDistribution(self)

    def unstacked(self) -> list[LazyDistribution]:
        """The flows, with copies of the parameters."""
        return [self._flow(k) for k in range(self.n_flows)]

    def _flow(self, k: int) -> ChainedFlow:
        one = _taken(self, self._shared, k)
        return ChainedFlow(one.transform, one.base).train(self.training)


class StackedNetwork(LazyDistribution):
    """Networks of equal shape that broadcast over a leading axis of their parameters.

    Parameters
    ----------
    networks : sequence of MaskedNetwork
    """

    def __init__(self, networks: Sequence[Any]) -> None:
        super().__init__()
        self.joined: Any = copy.deepcopy(networks[0])
        self.n_networks = len(networks)
        self._shared = _join(self.joined, networks)
        self.train(networks[0].training)

    def forward(self, c: None = None) -> Distribution:
        return self.joined(c)

    def unstacked(self) -> list[LazyDistribution]:
        """The networks, with copies of the parameters."""
        return [_taken(self.joined, self._shared, k) for k in range(self.n_networks)]


class StackedByEM(DelegatedEM):
    """Components fitted by EM, each to samples of its own, in steps that all take at once.

    Parameters
    ----------
    components : sequence of FittedByEM
        Stackable ones, of the same architecture.
    """

    def __init__(self, components: Sequence[Any]) -> None:
        super().__init__()
        self.n_components = len(components)
        self.joined: Any = copy.deepcopy(components[0])
        self._shared = _join(self.joined, components)

    def forward(self, c: Tensor | None = None) -> Distribution:
        return self.joined(c)

    @property
    def core(self) -> FittedByEM:
        return self.joined.core

    def mapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.joined.mapped(x)

    def unstacked(self) -> list[LazyDistribution]:
        """The components, with copies of the parameters."""
        return [_taken(self.joined, self._shared, k) for k in range(self.n_components)]


class OneByOne(LazyDistribution):
    """Components that are evaluated one after the other.

    Parameters
    ----------
    components : sequence of zuko.lazy.LazyDistribution
    """

    def __init__(self, components: Sequence[LazyDistribution]) -> None:
        super().__init__()
        self.components = nn.ModuleList(copy.deepcopy(component) for component in components)
        self.train(components[0].training)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Their densities; a context has the shape (n_networks, n_samples, n_context)."""
        given = [None] * len(self.components) if c is None else c
        return _OneByOneDistribution(
            [component(own) for component, own in zip(self.components, given, strict=True)]
        )

    def unstacked(self) -> list[LazyDistribution]:
        """The components, copied."""
        return [copy.deepcopy(component) for component in self.components]


class OneByOneByEM(OneByOne, FittedByEM):
    """Components fitted by EM, each to samples of its own, one after the other.

    Parameters
    ----------
    components : sequence of FittedByEM
    """

    @property
    def _first(self) -> Any:
        return self.components[0]

    @property
    def n_em_starts(self) -> int:
        return int(self._first.n_em_starts)

    @property
    def n_plain_starts(self) -> int:
        return int(self._first.n_plain_starts)

    @property
    def em_step_is_exact(self) -> bool:
        return bool(self._first.em_step_is_exact)

    def em_seed(self, x: Tensor, weights: Tensor, n_neighbours: int, start: int = 0) -> None:
        component: Any
        for component, own, own_weights in zip(self.components, x, weights, strict=True):
            component.em_seed(own, own_weights, n_neighbours, start)

    def em_step(self, x: Tensor, weights: Tensor) -> None:
        component: Any
        for component, own, own_weights in zip(self.components, x, weights, strict=True):
            if own_weights.sum() > 0:
                component.em_step(own, own_weights)


class _StackedDistribution(ChainedDistribution):
    has_rsample = False

    def rsample(self, shape: Any = ()) -> Tensor:
        raise NotImplementedError("a stack has no samples; unstack it.")


class _OneByOneDistribution(Distribution):
    def __init__(self, distributions: list[Any]) -> None:
        first = distributions[0]
        batch_shape = torch.Size((len(distributions), *first.batch_shape))
        super().__init__(batch_shape, first.event_shape)
        self._distributions = distributions

    def log_prob(self, x: Tensor) -> Tensor:
        pairs = zip(self._distributions, x, strict=True)
        return torch.stack([distribution.log_prob(own) for distribution, own in pairs])


def _check_alike(components: Sequence[LazyDistribution]) -> None:
    if not components:
        raise ValueError("components must not be empty.")
    shapes = [
        {name: (tensor.shape, tensor.dtype) for name, tensor in _tensors(component).items()}
        for component in components
    ]
    if any(own != shapes[0] for own in shapes):
        raise ValueError("components must have parameters of the same names, shapes and dtypes.")


def _is_stackable(component: LazyDistribution) -> bool:
    """Whether a component is a flow of this package, all parts of which broadcast over networks."""
    if type(component) is not ChainedFlow:
        return False
    parts = *component.transform.transforms, component.base
    return all(isinstance(part, Stackable) and part.stackable for part in parts)


def _join(module: nn.Module, components: Sequence[nn.Module]) -> frozenset[str]:
    """Give a module the parameters of all components; return the names of what they share."""
    states = [_tensors(component) for component in components]
    shared = frozenset(name for name in states[0] if _is_shared(name, states))

    def joined(name: str, _: Tensor) -> Tensor:
        return torch.stack([state[name].detach() for state in states])

    _replace(module, shared, joined)
    return shared


def _taken(module: nn.Module, shared: frozenset[str], k: int) -> Any:
    """A copy of a module with the parameters of component `k`."""
    one = copy.deepcopy(module)
    _replace(one, shared, lambda _, stacked: stacked.detach()[k].clone())
    return one


def _replace(
    module: nn.Module, shared: frozenset[str], new: Callable[[str, Tensor], Tensor]
) -> None:
    """Put what `new` makes of name and value in the place of all that is not shared."""
    for name, value in _tensors(module).items():
        if name not in shared:
            _put(module, name, new(name, value))


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _is_shared(name: str, states: list[dict[str, Tensor]]) -> bool:
    first, *others = (state[name] for state in states)
    return not isinstance(first, nn.Parameter) and all(torch.equal(first, o) for o in others)


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    """Set a parameter or a buffer by its dotted name."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, leaf)
    if isinstance(old, nn.Parameter):
        value = nn.Parameter(value, requires_grad=old.requires_grad)
    setattr(owner, leaf, value)
