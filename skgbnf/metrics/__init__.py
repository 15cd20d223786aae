"""Metrics of predictive distributions, of drawn samples and of aligned domains."""

from skgbnf.metrics.domains import cycle_error, sliced_wasserstein, transport_cost, two_sample_auc
from skgbnf.metrics.predictive import crps, crps_scorer, log_likelihood_scorer, pit
from skgbnf.metrics.privacy import distance_to_closest_record

__all__ = [
    "crps",
    "crps_scorer",
    "cycle_error",
    "distance_to_closest_record",
    "log_likelihood_scorer",
    "pit",
    "sliced_wasserstein",
    "transport_cost",
    "two_sample_auc",
]
