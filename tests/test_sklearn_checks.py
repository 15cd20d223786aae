"""scikit-learn's own checks, over configurations that take different paths through fit."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skgbnf import GradientBoostedFlowDensity

SMALL = {"max_iter": 1, "n_transforms": 1, "hidden_layer_sizes": (8,), "random_state": 0}

CONFIGURATIONS = [
    GradientBoostedFlowDensity(2, **SMALL),
    GradientBoostedFlowDensity(2, flow="maf", base="student_t", fine_tune=1, **SMALL),
    GradientBoostedFlowDensity(2, flow="affine", validation_fraction=None, **SMALL),
    GradientBoostedFlowDensity(2, flow="realnvp", objective="weighted", warm_start=True, **SMALL),
    GradientBoostedFlowDensity(2, flow=["maf", "nsf_coupling"], objective="greedy", **SMALL),
    GradientBoostedFlowDensity(1, flow="gaussian_mixture", **SMALL),
]

EXPECTED_FAILURES: dict[str, str] = {}
"""Name of a check to the reason why it must fail; strict by the configuration of pytest."""


# Some checks bring small tables of integers.
@pytest.mark.filterwarnings("ignore::skgbnf.table.dequantisation.DegenerateDataWarning")
@parametrize_with_checks(CONFIGURATIONS, expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_scikit_learn_check(estimator, check):
    check(estimator)
