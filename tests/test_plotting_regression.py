"""Displays of predictive distributions."""

import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from test_regression import regressor

from skgbnf.plotting import PITDisplay, PredictiveDisplay

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def _figures_are_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 2)), columns=["a", "b"])
    y = pd.Series(3 * X["b"] + rng.normal(size=200), name="price")
    return regressor(max_iter=10).fit(X, y), X, y


def test_a_histogram_of_uniform_values_is_flat():
    display = PITDisplay(values=(np.arange(1000) + 0.5) / 1000, n_bins=10).plot()
    heights = [patch.get_height() for patch in display.ax_.patches[:10]]
    np.testing.assert_allclose(heights, 1.0)


def test_values_are_those_of_the_distribution_function(fitted):
    model, X, y = fitted
    display = PITDisplay.from_estimator(model, X, y, n_bins=5)
    np.testing.assert_array_equal(display.values, model.cdf(X, y))


def test_a_feature_is_found_by_name_or_position(fitted):
    model, X, y = fitted
    one, other = (
        PredictiveDisplay.from_estimator(model, X, y, feature=feature, grid_resolution=10)
        for feature in ("b", 1)
    )
    np.testing.assert_array_equal(one.quantiles, other.quantiles)
    assert one.ax_.get_xlabel() == "b"
    assert one.ax_.get_ylabel() == "price"
    assert (np.diff(one.quantiles, axis=1) > 0).all()
    assert one.quantiles[-1, 2] > one.quantiles[0, 2]


def test_strips_are_conditional_densities(fitted):
    model, X, y = fitted
    display = PredictiveDisplay.from_estimator(model, X, y, feature="b", grid_resolution=30)
    point = pd.DataFrame({"a": [X["a"].median()], "b": [display.grid[7]]})
    expected = np.exp(model.score_samples(point, display.targets[[12]]))
    np.testing.assert_allclose(display.densities[12, 7], expected[0])


def test_what_cannot_be_drawn_is_refused(fitted):
    model, X, y = fitted
    with pytest.raises(ValueError, match="feature must be one of"):
        PredictiveDisplay.from_estimator(model, X, y, feature="c")
    linear = LinearRegression().fit(X, y)
    with pytest.raises(TypeError, match="predict_quantiles"):
        PredictiveDisplay.from_estimator(linear, X, y)
    with pytest.raises(TypeError, match="cdf"):
        PITDisplay.from_estimator(linear, X, y)


@pytest.mark.parametrize("kind", [PITDisplay, PredictiveDisplay])
def test_without_matplotlib_the_error_says_what_to_install(kind, fitted, monkeypatch):
    model, X, y = fitted
    X, y = X[:10], y[:10]
    drawn = kind.from_estimator(model, X, y)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (lambda: kind.from_estimator(model, X, y), drawn.plot):
        with pytest.raises(ImportError, match=rf"{kind.__name__}\..*pip install 'skgbnf\[plot\]'"):
            draw()
