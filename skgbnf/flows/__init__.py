"""Component families; nothing here knows of boosting or scikit-learn."""

from skgbnf.flows.architecture import Architecture, make_flow
from skgbnf.flows.bases import BASES, base_from_plain, base_to_plain
from skgbnf.flows.copula import CopulaBase
from skgbnf.flows.dropout import Dropout
from skgbnf.flows.em import FittedByEM
from skgbnf.flows.graphical import dependence
from skgbnf.flows.initialisation import initialise
from skgbnf.flows.interfaces import DataInitialised, Penalised
from skgbnf.flows.linear import LOG_DETS
from skgbnf.flows.masked import MaskedNetwork
from skgbnf.flows.options import ACTIVATIONS, SCALE_CLAMP, SPLINES, TAILS
from skgbnf.flows.parts import KnowsParts
from skgbnf.flows.records import OWN_FAMILIES
from skgbnf.flows.registry import (
    Family,
    families,
    family_names,
    get_family,
    known_family,
    register_family,
)
from skgbnf.flows.stacking import StackedFlow, StackedNetwork, stack, unstack
from skgbnf.flows.variables import Variable

__all__ = [
    "ACTIVATIONS",
    "BASES",
    "LOG_DETS",
    "SCALE_CLAMP",
    "SPLINES",
    "TAILS",
    "Architecture",
    "CopulaBase",
    "DataInitialised",
    "Dropout",
    "Family",
    "FittedByEM",
    "KnowsParts",
    "MaskedNetwork",
    "Penalised",
    "StackedFlow",
    "StackedNetwork",
    "Variable",
    "base_from_plain",
    "base_to_plain",
    "dependence",
    "families",
    "family_names",
    "get_family",
    "initialise",
    "make_flow",
    "register_family",
    "stack",
    "unstack",
]

for _family in OWN_FAMILIES:
    known_family(_family)
