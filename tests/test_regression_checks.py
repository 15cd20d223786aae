"""scikit-learn's own checks of the regressor."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skgbnf import GradientBoostedFlowRegressor

SMALL = {"max_iter": 1, "n_transforms": 1, "hidden_layer_sizes": (8,), "random_state": 0}

CONFIGURATIONS = [
    GradientBoostedFlowRegressor(1, context_model=None, flow="affine", **SMALL),
    GradientBoostedFlowRegressor(2, context_model="kernel", n_folds=None, **SMALL),
]

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "folds and batches are drawn at random",
    "check_methods_sample_order_invariance": "score_samples needs targets, which it does not pass",
    "check_methods_subset_invariance": "score_samples needs targets, which it does not pass",
}
"""Name of a check to the reason why it must fail; `test_regression.py` has tests in their place."""


# Some checks bring small tables of integers.
@pytest.mark.filterwarnings("ignore::skgbnf.table.dequantisation.DegenerateDataWarning")
@parametrize_with_checks(CONFIGURATIONS, expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_scikit_learn_check(estimator, check):
    check(estimator)
