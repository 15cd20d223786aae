"""Displays of fitted densities, in scikit-learn's convention.

They take any fitted estimator with ``score_samples``. Matplotlib is imported when one is drawn.
"""

from skgbnf.plotting.boosting_path import BoostingPathDisplay
from skgbnf.plotting.coverage import CoverageDisplay
from skgbnf.plotting.density import DensityDisplay
from skgbnf.plotting.outliers import OutlierDisplay

__all__ = ["BoostingPathDisplay", "CoverageDisplay", "DensityDisplay", "OutlierDisplay"]
