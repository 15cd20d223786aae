"""Component families: torch and zuko only; nothing here knows of boosting or scikit-learn."""

from skgbnf.flows.architecture import Architecture
from skgbnf.flows.bases import BASES
from skgbnf.flows.families import (
    ACTIVATIONS,
    FAMILIES,
    INVERTIBLE_FAMILIES,
    NETWORK_FAMILIES,
    SCALE_CLAMP,
    initialise,
    make_flow,
)

__all__ = [
    "ACTIVATIONS",
    "BASES",
    "FAMILIES",
    "INVERTIBLE_FAMILIES",
    "NETWORK_FAMILIES",
    "SCALE_CLAMP",
    "Architecture",
    "initialise",
    "make_flow",
]
