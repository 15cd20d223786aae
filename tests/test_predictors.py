"""Models of mean and spread: trees as arrays, kernels, encodings, and predictions out of folds."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

from skgbnf.predictors import Effort, Encoder, Features, Stack
from skgbnf.predictors.kernel import KernelModel
from skgbnf.predictors.trees import Trees
from skgbnf.table.split import fold_rows


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=300)
    return X, y


def with_gaps(X):
    return np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "gamma"])
def test_boosted_trees_as_arrays(rows, gaps, loss):
    X, y = with_gaps(rows[0]) if gaps else rows[0], np.exp(rows[1])
    model = HistGradientBoostingRegressor(loss=loss, max_iter=30).fit(X, y)
    total = Trees.of_boosting(model, X).total(X)
    expected = model.predict(X)
    np.testing.assert_allclose(np.exp(total) if loss == "gamma" else total, expected)


@pytest.mark.parametrize("gaps", [False, True])
def test_forests_as_arrays(rows, gaps):
    X, y = with_gaps(rows[0]) if gaps else rows[0], rows[1]
    models = [ExtraTreesRegressor(5, random_state=k).fit(X, y) for k in range(2)]
    outputs = Trees.of_forests(models).outputs(X)
    assert outputs.shape == (300, 10)
    for k, model in enumerate(models):
        mean = outputs[:, 5 * k : 5 * k + 5].mean(axis=1)
        np.testing.assert_allclose(mean, model.predict(X), rtol=1e-5, atol=1e-6)


def test_files_of_trees_that_lead_nowhere_are_refused(rows):
    plain = Trees.of_forests([ExtraTreesRegressor(2).fit(*rows)]).to_plain()
    Trees.from_plain(plain, 3)
    left = plain["left"].copy()
    left[0] = -1
    right = plain["right"].copy()
    right[np.flatnonzero(right != np.arange(len(right)))[0]] = len(right)
    for change in ({"left": left}, {"right": right}, {"value": plain["value"][:-1]}):
        with pytest.raises(ValueError, match="trees"):
            Trees.from_plain({**plain, **change}, 3)
    with pytest.raises(ValueError, match="trees"):
        Trees.from_plain(plain, 1)


def test_a_smooth_function_is_found_from_a_part_of_the_kernels(rows):
    X, y = rows
    for n_centres in (100, 1000):
        model = KernelModel.fit(X, y, np.ones(300), n_centres, 0)
        assert np.sqrt(np.mean(np.square(model.predict(X) - np.sin(2 * X[:, 0])))) < 0.1


def test_samples_are_predicted_by_models_that_have_not_seen_them(rows):
    """Of noise nothing can be told; a model that has seen a sample knows its value."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(200, 2)), rng.normal(size=200)
    features, effort = Features(X, X), Effort.of(200, 2, 4, None)
    stack, told = Stack.fit(
        ("forest",), features, y[:, None], np.ones(200), fold_rows(200, 4, 0), effort,
        math.inf, 0, lambda what: None,
    )  # fmt: skip
    assert abs(np.corrcoef(told.mean[:, 0], y)[0, 1]) < 0.2
    assert np.corrcoef(stack.predict(features).mean[:, 0], y)[0, 1] > 0.5
    assert told.details.shape == stack.predict(features).details.shape


def test_a_stack_is_as_good_as_its_best_model(rows):
    X, y = rows
    features, effort = Features(X, X), Effort.of(300, 3, 4, None)
    parts = [
        Stack.fit(
            names, features, y[:, None], np.ones(300), fold_rows(300, 4, 0), effort, math.inf, 0,
            lambda what: None,
        )[1].mean[:, 0]
        for names in (("kernel",), ("forest",), ("forest", "kernel"))
    ]  # fmt: skip
    errors = [np.mean(np.square(mean - y)) for mean in parts]
    assert errors[2] <= min(errors[:2]) * 1.05


def test_categories_and_gaps_are_encoded():
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": pd.Categorical(["x", "y", "x"])})
    encoder = Encoder.from_table(frame, ["a", "b"])
    codes = encoder.codes(frame)
    np.testing.assert_array_equal(codes, [[1, 0], [np.nan, 1], [3, 0]])
    columns = encoder.standardised(codes)
    np.testing.assert_allclose(columns, [[-1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]])
    other = Encoder.from_plain(encoder.to_plain())
    np.testing.assert_array_equal(other.standardised(other.codes(frame)), columns)


def test_there_is_less_effort_where_there_is_less_time():
    full, short = (Effort.of(5000, 10, None, seconds) for seconds in (None, 1.0))
    assert short.n_iter < full.n_iter
    assert short.learning_rate > full.learning_rate
