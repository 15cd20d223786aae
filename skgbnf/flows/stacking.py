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
from skgbnf.flows.interfaces import Stackable


def stack(components: Sequence[LazyDistribution]) -> LazyDistribution:
    """Components of equal shape as one component that evaluates each at samples of its own.

    Flows of which all layers and the base are :class:`~skgbnf.flows.interfaces.Stackable` become
    one flow whose parameters have a leading axis, under the names that one has. An operation for
    all of them costs little more than one for a single small network. Others are evaluated one
    after the other.

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
    if all(_is_stackable(component) for component in components):
        return StackedFlow(components)
    return OneByOne(components)


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
    if not isinstance(stacked, StackedFlow | OneByOne):
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
        states = [_tensors(flow) for flow in flows]
        self._shared = frozenset(name for name in states[0] if _is_shared(name, states))
        self._replace(lambda name, _: torch.stack([state[name].detach() for state in states]))

    def forward(self, c: Tensor | None = None) -> NormalizingFlow:
        if c is not None:
            raise NotImplementedError("a stack of flows takes no context.")
        return _StackedDistribution(self)

    def unstacked(self) -> list[LazyDistribution]:
        """The flows, with copies of the parameters."""
        return [self._flow(k) for k in range(self.n_flows)]

    def _flow(self, k: int) -> ChainedFlow:
        one = copy.deepcopy(self)
        one._replace(lambda _, stacked: stacked.detach()[k].clone())
        return ChainedFlow(one.transform, one.base).train(self.training)

    def _replace(self, new: Callable[[str, Tensor], Tensor]) -> None:
        """Put what `new` makes of name and value in the place of all that is not shared."""
        for name, value in _tensors(self).items():
            if name not in self._shared:
                _put(self, name, new(name, value))


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
