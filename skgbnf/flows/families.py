"""The families of components by name, and one factory for all of them."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from zuko.flows import ElementWiseTransform, Flow, GeneralCouplingTransform
from zuko.lazy import LazyDistribution, LazyTransform
from zuko.transforms import MonotonicAffineTransform

from skgbnf.flows.autoregressive import IncrementalAutoregressive
from skgbnf.flows.bases import BASES
from skgbnf.flows.conditional import ConditionalAffine
from skgbnf.flows.gaussian import AffineFlow, GaussianMixture
from skgbnf.flows.linear import LOG_DETS, LinearLayer
from skgbnf.flows.marginal import MarginalSpline
from skgbnf.flows.spline import RationalQuadraticSpline
from skgbnf.flows.student_t import StudentT

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "silu": nn.SiLU}
"""Non-linearities of the hidden layers by name."""

MARGINS = ("columns", "whitened", None)
"""Places of the splines of single columns."""

_N_BINS = 8
_INPUT_BOUND = 10.0
_SMALL_START = 0.1

_AFFINE = {"univariate": MonotonicAffineTransform, "shapes": [(), ()]}
_SPLINE = {
    "univariate": RationalQuadraticSpline,
    "shapes": [(3 * _N_BINS - 1,)],
}

Layer = Callable[..., LazyTransform]


def make_flow(
    kind: str,
    n_features: int,
    *,
    base: str = "normal",
    n_transforms: int = 3,
    hidden_layer_sizes: Sequence[int] = (64, 64),
    activation: str = "relu",
    log_det: str = "lu",
    margins: str | None = "columns",
    n_components: int = 1,
    n_context: int = 0,
) -> LazyDistribution:
    """Build an untrained component with parameters drawn from torch's generator.

    Parameters
    ----------
    kind : {"nsf", "nsf_coupling", "maf", "realnvp", "linear", "affine", "gaussian_mixture", \
            "student_t"}
        Family of the component.

    n_features : int
        Number of columns.

    base : {"normal", "student_t"}, default="normal"
        Base distribution of a flow.

    n_transforms : int, default=3
        Number of conditional transformations (of "linear", splines for each column), each with a
        linear layer before it.

    hidden_layer_sizes : sequence of int, default=(64, 64)
        Widths of the conditioning networks.

    activation : {"relu", "tanh", "elu", "silu"}, default="relu"
        Non-linearity of the conditioning networks.

    log_det : {"lu", "exact", "self_normalizing"}, default="lu"
        What gives the linear layers their log-determinant: triangular factors, a decomposition of
        any matrix, or, in training, an inverse learned beside it. "affine" has "lu" always.

    margins : {"columns", "whitened", None}, default="columns"
        Where there is a spline for each column: before the first linear layer, which helps where
        margins are skewed; behind it, in whitened coordinates, which helps where columns are
        linear functions of each other; or nowhere.

    n_components : int, default=1
        Number of Gaussians of a "gaussian_mixture".

    n_context : int, default=0
        Number of columns of the context that the density is conditional on. With a context the
        families are those of `INVERTIBLE_FAMILIES`, "affine" is a diagonal Gaussian, the others
        follow one, without linear layers and margins.

    Returns
    -------
    component : zuko.lazy.LazyDistribution
        ``component()``, or ``component(context)``, is a distribution with ``log_prob``; all kinds
        but "gaussian_mixture" and "student_t" are a :class:`zuko.flows.Flow`.

    Examples
    --------
    >>> import torch
    >>> from skgbnf.flows import make_flow
    >>> flow = make_flow("nsf", 3, hidden_layer_sizes=(16,))
    >>> flow().log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """
    if n_context and kind not in INVERTIBLE_FAMILIES:
        raise ValueError(f"n_context: {kind!r} takes no context, only {INVERTIBLE_FAMILIES} do.")
    if kind == "gaussian_mixture":
        return GaussianMixture(n_features, n_components)
    if kind == "student_t":
        return StudentT(n_features)
    make_base = BASES[base]
    network = {"hidden_features": tuple(hidden_layer_sizes), "activation": ACTIVATIONS[activation]}
    if n_context:
        layers = [ConditionalAffine(n_features, n_context)]
        for i in range(n_transforms if kind != "affine" else 0):
            layer = _LAYERS[kind](n_features, i, context=n_context, **network)
            layers.append(_bounded(layer))
        return Flow(layers, make_base(n_features))
    if kind == "affine":
        return AffineFlow(n_features, make_base(n_features))
    layers = []
    for i in range(n_transforms):
        layers.append(LOG_DETS[log_det](n_features))
        layers.append(_bounded(_LAYERS[kind](n_features, i, **network)))
    if margins is not None:
        layers.insert(0 if margins == "columns" else 1, MarginalSpline(n_features))
    return Flow(layers, make_base(n_features))


def _autoregressive(n_features: int, i: int, **kwargs) -> LazyTransform:
    return IncrementalAutoregressive(n_features, **kwargs)


def _coupling(n_features: int, i: int, **kwargs) -> LazyTransform:
    mask = torch.arange(n_features) % 2 == i % 2
    return GeneralCouplingTransform(n_features, mask=mask, **kwargs)


def _element_wise(n_features: int, i: int, **network) -> LazyTransform:
    return ElementWiseTransform(n_features, **_SPLINE)


_LAYERS: dict[str, Layer] = {
    "nsf": partial(_autoregressive, **_SPLINE),
    "nsf_coupling": partial(_coupling, **_SPLINE),
    "maf": partial(_autoregressive, **_AFFINE),
    "realnvp": partial(_coupling, **_AFFINE),
    "linear": _element_wise,
}

INVERTIBLE_FAMILIES = ("realnvp", "nsf_coupling", "affine")
"""Names of the families that are cheap, and have a gradient, in both directions."""

LAYERED_FAMILIES = tuple(_LAYERS)
"""Names of the families that alternate linear layers with others, and may begin with margins."""

NETWORK_FAMILIES = tuple(name for name in LAYERED_FAMILIES if name != "linear")
"""Names of the layered families whose layers are governed by networks."""

FAMILIES = (*LAYERED_FAMILIES, "affine", "gaussian_mixture", "student_t")
"""Names that :func:`make_flow` knows."""


def _bounded(layer: LazyTransform) -> LazyTransform:
    """Start a conditional layer near the identity and bound what its network sees.

    The bound leaves the density normalised, since any function of the conditioning columns is
    allowed, and keeps rows far from the data from driving the network to infinity.
    """
    with torch.no_grad():
        if hasattr(layer, "hyper"):
            layer.hyper[-1].weight.mul_(_SMALL_START)
            layer.hyper[-1].bias.mul_(_SMALL_START)
            layer.hyper.insert(0, nn.Hardtanh(-_INPUT_BOUND, _INPUT_BOUND))
        else:  # without a network: of one column zuko makes such a layer too
            for parameter in layer.phi:
                parameter.mul_(_SMALL_START)
    return layer


@torch.no_grad()
def initialise(component: LazyDistribution, x: Tensor, weights: Tensor) -> None:
    """Start the splines of columns and the first linear layer, which whitens, from weighted rows.

    Parameters
    ----------
    component : zuko.lazy.LazyDistribution
        Changed in place; left alone if it is a user's own.

    x : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)
    """
    for layer in getattr(getattr(component, "transform", None), "transforms", ()):
        if not isinstance(layer, MarginalSpline | LinearLayer):
            return
        layer.initialise(x, weights)
        x = layer()(x)
