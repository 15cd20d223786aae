"""Displays of fitted densities, in scikit-learn's convention.

They take any fitted estimator with ``score_samples``, except where a display says otherwise.
Matplotlib is imported when a display is drawn.
"""

from skgbnf.plotting.alignment import AlignmentDisplay
from skgbnf.plotting.boosting_path import BoostingPathDisplay
from skgbnf.plotting.coverage import CoverageDisplay
from skgbnf.plotting.density import DensityDisplay
from skgbnf.plotting.explanations import ExplanationDisplay
from skgbnf.plotting.jacobians import JacobianDisplay
from skgbnf.plotting.outliers import OutlierDisplay
from skgbnf.plotting.pit import PITDisplay
from skgbnf.plotting.predictive import PredictiveDisplay

__all__ = [
    "AlignmentDisplay",
    "BoostingPathDisplay",
    "CoverageDisplay",
    "DensityDisplay",
    "ExplanationDisplay",
    "JacobianDisplay",
    "OutlierDisplay",
    "PITDisplay",
    "PredictiveDisplay",
]
