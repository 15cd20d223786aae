"""The families of this package, each a record in the registry."""

from functools import partial
from itertools import pairwise

from zuko.flows import Flow
from zuko.lazy import LazyDistribution

from skgbnf.flows.architecture import Architecture
from skgbnf.flows.bases import make_base
from skgbnf.flows.conditional import ConditionalAffine, ConditionalGaussianMixture
from skgbnf.flows.copula_mixture import CopulaMixture, marginal_map
from skgbnf.flows.gaussian import AffineFlow, GaussianMixture
from skgbnf.flows.layered import Layered, fewest_of_columns, flow_of, network_of
from skgbnf.flows.layers import (
    affine,
    autoregressive,
    coupling,
    element_wise,
    graphical,
    linear,
    mixture_scores,
    normalised_linear,
    nothing,
    reversal,
    spline,
)
from skgbnf.flows.linear import LULinear
from skgbnf.flows.location import LocationMixture
from skgbnf.flows.masked import MaskedNetwork
from skgbnf.flows.registry import Family
from skgbnf.flows.student_t import StudentT
from skgbnf.flows.variables import Variable

_BOTH_PLACES = ("columns", "whitened")
# Of those that serve few samples, which have too little to teach splines of whitened columns too.
_COLUMNS_OR_NONE = ("columns", None)
_NUMBERS_OF_GAUSSIANS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96)
_NUMBERS_OF_CLASSES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)

_autoregressive_spline = Layered(partial(spline, autoregressive))
_coupling_spline = Layered(partial(spline, coupling), before_with_context=nothing)
_autoregressive_affine = Layered(partial(affine, autoregressive))
_autoregressive_mixture = Layered(
    partial(affine, autoregressive), last=partial(mixture_scores, autoregressive)
)
_graphical_affine = Layered(partial(affine, graphical), reversal, reversal)
_realnvp = Layered(partial(affine, coupling), nothing, nothing, first=linear)
# It begins with a linear layer, since the steps of a scale for each column would be stretched where
# columns are nearly dependent.
_glow = Layered(partial(affine, coupling), normalised_linear, normalised_linear, first=linear)
_linear = Layered(partial(spline, element_wise), has_network=False)


def _affine(architecture: Architecture) -> LazyDistribution:
    d, n_context = architecture.n_features, architecture.n_context
    if n_context:
        return flow_of(architecture, [ConditionalAffine(d, n_context)])
    if architecture.base == "normal" and architecture.tail == "base":
        return AffineFlow(d, make_base(architecture.base, d))
    return flow_of(architecture, [LULinear(d, permute=False)])


def _gaussian_mixture(architecture: Architecture) -> LazyDistribution:
    d, n_context = architecture.n_features, architecture.n_context
    if not n_context:
        return GaussianMixture(d, architecture.n_components)
    return Flow([ConditionalAffine(d, n_context)], _mixture_density(architecture))


def _copula_mixture(architecture: Architecture) -> LazyDistribution:
    d, n_context = architecture.n_features, architecture.n_context
    tails = architecture.tail == "transform"
    if not n_context:
        return CopulaMixture(d, architecture.n_components, tails=tails)
    layers = [*marginal_map(d, tails=tails), ConditionalAffine(d, n_context)]
    return Flow(layers, _mixture_density(architecture))


def _mixture_density(architecture: Architecture) -> LazyDistribution:
    return ConditionalGaussianMixture(
        architecture.n_features,
        architecture.n_components,
        architecture.n_context,
        **network_of(architecture),
    )


def _fewest_of_gaussian_mixture(architecture: Architecture) -> tuple[int, int]:
    n_values, n_arrays = fewest_of_columns(architecture)
    if not architecture.n_context:
        return n_values, n_arrays
    hidden = architecture.hidden_layer_sizes
    n_outputs = architecture.n_features * architecture.n_components
    n_values += sum(a * b for a, b in pairwise((architecture.n_context, *hidden, n_outputs)))
    return n_values, len(hidden)


def _student_t(architecture: Architecture) -> LazyDistribution:
    d, n_context = architecture.n_features, architecture.n_context
    return Flow([ConditionalAffine(d, n_context)], StudentT(d)) if n_context else StudentT(d)


def _masked(architecture: Architecture, *, any_order: bool) -> LazyDistribution:
    return MaskedNetwork(
        _variables(architecture),
        architecture.hidden_layer_sizes,
        architecture.activation,
        architecture.dropout,
        architecture.order,
        any_order=any_order,
    )


def _location_mixture(architecture: Architecture) -> LazyDistribution:
    return LocationMixture(_variables(architecture), architecture.n_components)


def _fewest_of_masked(architecture: Architecture) -> tuple[int, int]:
    hidden = architecture.hidden_layer_sizes
    n_values = sum(a * b for a, b in pairwise((architecture.n_features, *hidden)))
    return n_values + _n_levels(architecture), 2 * (len(hidden) + 1)


def _fewest_of_location_mixture(architecture: Architecture) -> tuple[int, int]:
    return architecture.n_components * (1 + _n_levels(architecture)), 3


def _variables(architecture: Architecture) -> tuple[Variable, ...]:
    return architecture.variables or (Variable("continuous"),) * architecture.n_features


def _n_levels(architecture: Architecture) -> int:
    return sum(variable.n_levels for variable in architecture.variables)


OWN_FAMILIES = (
    Family(
        "nsf",
        _autoregressive_spline.build,
        splines=_BOTH_PLACES,
        fewest=_autoregressive_spline.fewest,
        reference="Neural Spline Flows. C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, 2019. "
        "https://arxiv.org/abs/1906.04032",
    ),
    Family(
        "nsf_coupling",
        _coupling_spline.build,
        splines=_BOTH_PLACES,
        invertible=True,
        fewest=_coupling_spline.fewest,
        reference="Neural Spline Flows. C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, 2019. "
        "https://arxiv.org/abs/1906.04032",
    ),
    Family(
        "maf",
        _autoregressive_affine.build,
        # An affine layer costs about half as much as one of splines and does less; smooth networks
        # suit what has no splines behind them.
        n_transforms=4,
        activation="silu",
        splines=_COLUMNS_OR_NONE,
        fewest=_autoregressive_affine.fewest,
        reference="Masked Autoregressive Flow for Density Estimation. G. Papamakarios, "
        "T. Pavlakou, I. Murray, 2017. https://arxiv.org/abs/1705.07057",
    ),
    Family(
        "made_mixture",
        _autoregressive_mixture.build,
        activation="silu",
        splines=_COLUMNS_OR_NONE,
        fewest=_autoregressive_mixture.fewest,
        reference="Masked Autoregressive Flow for Density Estimation. G. Papamakarios, "
        "T. Pavlakou, I. Murray, 2017. https://arxiv.org/abs/1705.07057",
    ),
    Family(
        "graphical",
        _graphical_affine.build,
        activation="silu",
        # It whitens nothing.
        splines=_COLUMNS_OR_NONE,
        fewest=_graphical_affine.fewest,
        reference="Graphical Normalizing Flows. A. Wehenkel, G. Louppe, 2021. "
        "https://arxiv.org/abs/2006.02548",
    ),
    Family(
        "realnvp",
        _realnvp.build,
        splines=_BOTH_PLACES,
        invertible=True,
        fewest=_realnvp.fewest,
        reference="Density estimation using Real NVP. L. Dinh, J. Sohl-Dickstein, S. Bengio, 2017. "
        "https://arxiv.org/abs/1605.08803",
    ),
    Family(
        "glow",
        _glow.build,
        splines=_BOTH_PLACES,
        invertible=True,
        fewest=_glow.fewest,
        reference="Glow: Generative Flow with Invertible 1x1 Convolutions. D. P. Kingma, "
        "P. Dhariwal, 2018. https://arxiv.org/abs/1807.03039",
    ),
    Family(
        "linear",
        _linear.build,
        # It has splines of whitened columns in any case.
        splines=_COLUMNS_OR_NONE,
        fewest=_linear.fewest,
    ),
    Family(
        "affine",
        _affine,
        fitted_by="em",
        invertible=True,
        fewest=fewest_of_columns,
    ),
    Family(
        "gaussian_mixture",
        _gaussian_mixture,
        fitted_by="em",
        n_components=_NUMBERS_OF_GAUSSIANS,
        fewest=_fewest_of_gaussian_mixture,
        reference="Maximum Likelihood from Incomplete Data via the EM Algorithm. A. P. Dempster, "
        "N. M. Laird, D. B. Rubin, 1977. https://www.jstor.org/stable/2984875",
    ),
    Family(
        "copula_mixture",
        _copula_mixture,
        fitted_by="em",
        tails=("base", "transform"),
        n_components=_NUMBERS_OF_GAUSSIANS,
        fewest=_fewest_of_gaussian_mixture,
        reference="The Nonparanormal: Semiparametric Estimation of High Dimensional Undirected "
        "Graphs. H. Liu, J. Lafferty, L. Wasserman, 2009. "
        "https://www.jmlr.org/papers/v10/liu09a.html",
    ),
    Family(
        "student_t",
        _student_t,
        fitted_by="em",
        fewest=fewest_of_columns,
        reference="Robust Statistical Modeling Using the t Distribution. K. L. Lange, "
        "R. J. A. Little, J. M. G. Taylor, 1989. https://doi.org/10.2307/2290063",
    ),
    Family(
        "location_mixture",
        _location_mixture,
        fitted_by="em",
        n_components=_NUMBERS_OF_CLASSES,
        takes_context=False,
        takes_variables=True,
        has_marginals=True,
        fewest=_fewest_of_location_mixture,
        reference="Supervised learning from incomplete data via an EM approach. Z. Ghahramani, "
        "M. I. Jordan, 1994. https://proceedings.neurips.cc/paper/1993/hash/"
        "f2201f5191c4e92cc5af043eebfd0946-Abstract.html",
    ),
    Family(
        "autoregressive",
        partial(_masked, any_order=False),
        activation="silu",
        hidden_layer_sizes=(128, 128),
        takes_context=False,
        takes_variables=True,
        fewest=_fewest_of_masked,
        reference="MADE: Masked Autoencoder for Distribution Estimation. M. Germain, K. Gregor, "
        "I. Murray, H. Larochelle, 2015. https://arxiv.org/abs/1502.03509",
    ),
    Family(
        "masked",
        partial(_masked, any_order=True),
        activation="silu",
        hidden_layer_sizes=(128, 128),
        takes_context=False,
        takes_variables=True,
        fewest=_fewest_of_masked,
        reference="A Deep and Tractable Density Estimator. B. Uria, I. Murray, H. Larochelle, "
        "2014. https://arxiv.org/abs/1310.1757",
    ),
)
"""Their records."""
