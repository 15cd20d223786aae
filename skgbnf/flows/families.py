"""The families of components by name, and one factory for all of them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from zuko.flows import Flow
from zuko.lazy import LazyDistribution

from skgbnf.flows.bases import make_base
from skgbnf.flows.column_splines import MarginalSpline
from skgbnf.flows.copula import CopulaBase
from skgbnf.flows.dropout import Dropout
from skgbnf.flows.gaussian import AffineFlow, GaussianMixture
from skgbnf.flows.layers import LAYERS, conditional_layers, family_layers
from skgbnf.flows.linear import LinearLayer
from skgbnf.flows.spline import BOUND
from skgbnf.flows.student_t import StudentT
from skgbnf.flows.tails import EDGE, TailTransform

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "silu": nn.SiLU}
"""Non-linearities of the hidden layers by name."""

SPLINES = ("columns", "whitened", None)
"""Places of the splines of single columns."""

TAILS = ("base", "transform")
"""What may give a flow its tails."""

SCALE_CLAMP = 3.0
"""Default soft bound of the log-scales that networks give."""


def make_flow(
    kind: str,
    n_features: int,
    *,
    base: str | CopulaBase = "normal",
    tail: str = "base",
    n_transforms: int = 3,
    hidden_layer_sizes: Sequence[int] = (64, 64),
    activation: str = "relu",
    dropout: float = 0.0,
    log_det: str = "lu",
    scale_clamp: float | None = SCALE_CLAMP,
    splines: str | None = "columns",
    n_components: int = 1,
    n_context: int = 0,
) -> LazyDistribution:
    """Build an untrained component with parameters drawn from torch's generator.

    Parameters
    ----------
    kind : {"nsf", "nsf_coupling", "maf", "graphical", "realnvp", "glow", "linear", "affine", \
            "gaussian_mixture", "student_t"}
        Family of the component.

    n_features : int
        Number of columns.

    base : {"normal", "student_t"} or CopulaBase, default="normal"
        Base distribution of a flow.

    tail : {"base", "transform"}, default="base"
        "transform": the first layer of a flow is a :class:`TailTransform`. Not with a context.

    n_transforms : int, default=3
        Number of conditional transformations (of "linear", splines for each column). Each has a
        linear layer before it, in "glow" [2]_ an activation normalisation too; "realnvp" [1]_
        has one linear layer, before the first, and "graphical" [3]_ reverses the columns instead.

    hidden_layer_sizes : sequence of int, default=(64, 64)
        Widths of the conditioning networks.

    activation : {"relu", "tanh", "elu", "silu"}, default="relu"
        Non-linearity of the conditioning networks.

    dropout : float, default=0.0
        Share of the values of each hidden layer that a training step drops; see
        :class:`~skgbnf.flows.dropout.Dropout`.

    log_det : {"lu", "exact", "self_normalizing"}, default="lu"
        What gives the linear layers their log-determinant: triangular factors, a decomposition of
        any matrix, or, in training, an inverse learned beside it. "affine" has "lu" always.

    scale_clamp : float or None, default=3.0
        Soft bound of the log-scale of each affine conditional layer ("maf", "graphical",
        "realnvp", "glow"); None for no bound. Splines bound their slopes by themselves.

    splines : {"columns", "whitened", None}, default="columns"
        Where there is a spline for each column: before the first linear layer, which helps where
        margins are skewed; behind it, in whitened coordinates, which helps where columns are
        linear functions of each other; or nowhere.

    n_components : int, default=1
        Number of Gaussians of a "gaussian_mixture".

    n_context : int, default=0
        Number of columns of the context that the density is conditional on. With a context the
        families are those of `INVERTIBLE_FAMILIES`, "affine" is a diagonal Gaussian, the others
        follow one, without margins and, except for "glow", without linear layers.

    Returns
    -------
    component : zuko.lazy.LazyDistribution
        ``component()``, or ``component(context)``, is a distribution with ``log_prob``; all kinds
        but "gaussian_mixture" and "student_t" are a :class:`zuko.flows.Flow`.

    References
    ----------
    .. [1] Density estimation using Real NVP. L. Dinh, J. Sohl-Dickstein, S. Bengio, 2017.
       https://arxiv.org/abs/1605.08803
    .. [2] Glow: Generative Flow with Invertible 1x1 Convolutions. D. P. Kingma, P. Dhariwal, 2018.
       https://arxiv.org/abs/1807.03039
    .. [3] Graphical Normalizing Flows. A. Wehenkel, G. Louppe, 2021.
       https://arxiv.org/abs/2006.02548

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
    network = {
        "hidden_features": tuple(hidden_layer_sizes),
        "activation": _dropping(ACTIVATIONS[activation], dropout),
        "scale_clamp": scale_clamp,
    }
    if n_context:
        network["context"] = n_context
        layers = conditional_layers(kind, n_features, n_transforms, network)
        return Flow(layers, make_base(base, n_features))
    if kind == "affine" and base == "normal" and tail == "base":
        return AffineFlow(n_features, make_base(base, n_features))
    layers = family_layers(kind, n_features, n_transforms, log_det, network)
    if splines is not None and kind in LAYERS:
        # What quantiles in the tails say is noise, where a tail has been fitted.
        reach = EDGE if tail == "transform" else BOUND
        layers.insert(0 if splines == "columns" else 1, MarginalSpline(n_features, reach=reach))
    if tail == "transform":
        layers.insert(0, TailTransform(n_features))
    return Flow(layers, make_base(base, n_features))


def _dropping(activation: type[nn.Module], dropout: float) -> Callable[[], nn.Module]:
    """What makes a non-linearity, with dropout behind it if there is to be any."""
    if not dropout:
        return activation
    return lambda: nn.Sequential(activation(), Dropout(dropout))


INVERTIBLE_FAMILIES = ("realnvp", "glow", "nsf_coupling", "affine")
"""Names of the families that are cheap, and have a gradient, in both directions."""

LAYERED_FAMILIES = tuple(LAYERS)
"""Names of the families that alternate linear layers with others, and may begin with margins."""

NETWORK_FAMILIES = tuple(name for name in LAYERED_FAMILIES if name != "linear")
"""Names of the layered families whose layers are governed by networks."""

FAMILIES = (*LAYERED_FAMILIES, "affine", "gaussian_mixture", "student_t")
"""Names that :func:`make_flow` knows."""


@torch.no_grad()
def initialise(component: LazyDistribution, x: Tensor, weights: Tensor) -> None:
    """Start what can be started from weighted rows, each layer from what those before it give.

    That is the tail transform, the splines of columns, the first linear layer, which whitens,
    activation normalisations, and the base. A later linear layer stays as it is: whitened rows
    need no second whitening.

    Parameters
    ----------
    component : zuko.lazy.LazyDistribution
        Changed in place; a user's own is left alone.

    x : Tensor of shape (n_samples, n_features)

    weights : Tensor of shape (n_samples,)
    """
    layers = list(getattr(getattr(component, "transform", None), "transforms", ()))
    linear = [layer for layer in layers if isinstance(layer, LinearLayer)]
    waiting = [a for a in layers if hasattr(a, "initialise") and a not in linear[1:]]
    z = tailed = x
    for layer in layers:
        if not waiting:
            break
        if layer is waiting[0]:
            waiting.pop(0).initialise(z, weights)
        z = layer()(z)
        if isinstance(layer, TailTransform):
            tailed = z
    base = getattr(component, "base", None)
    if hasattr(base, "initialise"):
        base.initialise(tailed, z, weights)
