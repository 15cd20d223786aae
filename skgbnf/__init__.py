"""Density estimation by gradient boosting normalizing flows, as scikit-learn estimators."""

from skgbnf.estimators.classification import FlowBayesClassifier
from skgbnf.estimators.density import GradientBoostedFlowDensity
from skgbnf.estimators.imputation import FlowImputer
from skgbnf.estimators.outliers import FlowOutlierDetector
from skgbnf.estimators.regression import GradientBoostedFlowRegressor
from skgbnf.estimators.transformation import FlowTransformer
from skgbnf.flows import CopulaBase
from skgbnf.particles import EquivariantFlowDensity
from skgbnf.persistence import load, save
from skgbnf.table.dequantisation import DegenerateDataWarning
from skgbnf.vae import GradientBoostedFlowVAE
from skgbnf.variational import MatchedDensity, fit_to_log_prob

__version__ = "0.1.0"

__all__ = [
    "CopulaBase",
    "DegenerateDataWarning",
    "EquivariantFlowDensity",
    "FlowBayesClassifier",
    "FlowImputer",
    "FlowOutlierDetector",
    "FlowTransformer",
    "GradientBoostedFlowDensity",
    "GradientBoostedFlowRegressor",
    "GradientBoostedFlowVAE",
    "MatchedDensity",
    "fit_to_log_prob",
    "load",
    "save",
]
