"""Models of a mean and a spread given features, whose predictions a density is conditional on."""

from skgbnf.predictors.effort import Effort
from skgbnf.predictors.encoding import Encoder, checked_features
from skgbnf.predictors.models import MODELS, Features
from skgbnf.predictors.stack import Fold, Predictions, Stack

__all__ = [
    "MODELS",
    "Effort",
    "Encoder",
    "Features",
    "Fold",
    "Predictions",
    "Stack",
    "checked_features",
]
