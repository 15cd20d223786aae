"""Component families; nothing here knows of boosting or scikit-learn."""

from skgbnf.flows.architecture import Architecture
from skgbnf.flows.bases import BASES, base_from_plain, base_to_plain
from skgbnf.flows.copula import CopulaBase
from skgbnf.flows.dropout import Dropout
from skgbnf.flows.families import (
    ACTIVATIONS,
    FAMILIES,
    INVERTIBLE_FAMILIES,
    LAYERED_FAMILIES,
    NETWORK_FAMILIES,
    SCALE_CLAMP,
    SPLINES,
    TAILS,
    initialise,
    make_flow,
)
from skgbnf.flows.graphical import dependence
from skgbnf.flows.linear import LOG_DETS

__all__ = [
    "ACTIVATIONS",
    "BASES",
    "FAMILIES",
    "INVERTIBLE_FAMILIES",
    "LAYERED_FAMILIES",
    "LOG_DETS",
    "NETWORK_FAMILIES",
    "SCALE_CLAMP",
    "SPLINES",
    "TAILS",
    "Architecture",
    "CopulaBase",
    "Dropout",
    "base_from_plain",
    "base_to_plain",
    "dependence",
    "initialise",
    "make_flow",
]
