"""An unnormalised log-density matched by a boosted mixture of flows."""

from skgbnf.variational.fit import fit_to_log_prob
from skgbnf.variational.matched import MatchedDensity

__all__ = ["MatchedDensity", "fit_to_log_prob"]
