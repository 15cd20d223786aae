"""Small tables and small estimators that the tests share."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from skgbnf import GradientBoostedFlowDensity

# Examples that do not change from run to run, few enough for every day; `make fuzz` looks further.
settings.register_profile(
    "daily",
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "fuzz", settings.get_profile("daily"), max_examples=600, derandomize=False
)
settings.load_profile("daily")

QUICK_DOCTEST = ".FlowOutlierDetector"
"""End of the name of a doctest of `make quick`: examples have no decorator to carry a marker."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.name.endswith(QUICK_DOCTEST):
            item.add_marker("quick")


SMALL = {
    "n_estimators": 2,
    "max_iter": 2,
    "n_transforms": 2,
    "hidden_layer_sizes": (16,),
    "random_state": 0,
    "n_folds": None,
}


@pytest.fixture(scope="session")
def quick():
    """Factory of estimators that fit in a fraction of a second; keywords override its choices.

    They have one validation set: `test_folds.py` is about folds.
    """

    def make(**parameters):
        return GradientBoostedFlowDensity(**{**SMALL, "flow": "nsf", **parameters})

    return make


@pytest.fixture(scope="session")
def table2():
    """Rows of a curved and skewed density in two columns of different units, shape (200, 2)."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=(200, 2))
    X = np.column_stack([5.0 + 3.0 * z[:, 0], 0.2 * z[:, 0] ** 2 + 0.1 * z[:, 1]])
    X.setflags(write=False)
    return X


@pytest.fixture(scope="session")
def table3():
    """Correlated rows with one heavy-tailed column, shape (120, 3)."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(120, 3))
    X = np.column_stack([z[:, 0], z[:, 0] + 0.5 * z[:, 1], rng.standard_t(4, size=120)])
    X.setflags(write=False)
    return X
