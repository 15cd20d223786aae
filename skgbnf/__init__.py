"""Density estimation by gradient boosting normalizing flows, as scikit-learn estimators."""

from skgbnf.density import GradientBoostedFlowDensity
from skgbnf.persistence import load, save

__version__ = "0.1.0"

__all__ = ["GradientBoostedFlowDensity", "load", "save"]
