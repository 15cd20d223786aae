"""Density estimation by gradient boosting normalizing flows, as scikit-learn estimators."""

import importlib
from typing import TYPE_CHECKING, Any

from skgbnf.alignment import FlowAligner
from skgbnf.estimators.classification import FlowBayesClassifier
from skgbnf.estimators.density import GradientBoostedFlowDensity
from skgbnf.estimators.imputation import FlowImputer
from skgbnf.estimators.marginal import MarginalDensity
from skgbnf.estimators.outliers import FlowOutlierDetector
from skgbnf.estimators.regression import GradientBoostedFlowRegressor
from skgbnf.estimators.transformation import FlowTransformer
from skgbnf.flows import CopulaBase
from skgbnf.particles import EquivariantFlowDensity
from skgbnf.persistence import load, save
from skgbnf.table.dequantisation import DegenerateDataWarning
from skgbnf.vae import GradientBoostedFlowVAE
from skgbnf.variational import MatchedDensity, fit_to_log_prob

if TYPE_CHECKING:
    from skgbnf import diagnostics, flows, metrics, plotting

__version__ = "0.1.0"

_MODULES = ("diagnostics", "flows", "metrics", "plotting")
"""Public modules, imported when they are first asked for."""

__all__ = [
    "CopulaBase",
    "DegenerateDataWarning",
    "EquivariantFlowDensity",
    "FlowAligner",
    "FlowBayesClassifier",
    "FlowImputer",
    "FlowOutlierDetector",
    "FlowTransformer",
    "GradientBoostedFlowDensity",
    "GradientBoostedFlowRegressor",
    "GradientBoostedFlowVAE",
    "MarginalDensity",
    "MatchedDensity",
    "diagnostics",
    "fit_to_log_prob",
    "flows",
    "load",
    "metrics",
    "plotting",
    "save",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
