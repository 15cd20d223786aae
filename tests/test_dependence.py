"""Columns that others determine exactly are found and named, others are left in peace."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_score

from skgbnf import FlowBayesClassifier, FlowOutlierDetector, GradientBoostedFlowDensity
from skgbnf.table.dependence import dependent_columns
from skgbnf.table.dequantisation import DegenerateDataWarning

N = 400


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    return {
        "shares": rng.dirichlet([1, 2, 3], size=N),
        "one hot": np.eye(4)[rng.integers(4, size=N)],
        "free": rng.normal(size=(N, 2)),
    }


@pytest.fixture(scope="module")
def affine(quick):
    return lambda **parameters: quick(flow="affine", n_estimators=1, **parameters)


def test_sums_multiples_and_levels_are_found(parts):
    shares, levels, free = parts.values()
    assert dependent_columns(shares) == [[0, 1, 2]]
    assert dependent_columns(np.hstack([levels, free, shares])) == [[0, 1, 2, 3], [6, 7, 8]]
    assert dependent_columns(np.column_stack([free, 3 * free[:, 1] + 7])) == [[1, 2]]
    assert dependent_columns(np.column_stack([free, free @ [1, -2]])) == [[0, 1, 2]]
    constant = np.column_stack([free, np.ones(N), -free[:, 0]])
    assert dependent_columns(constant) == [[0, 3]]


@pytest.mark.parametrize("units", [1.0, 1e-9, 1e6, 1e200])
def test_units_and_precision_do_not_matter(parts, units):
    shares = parts["shares"] * units
    assert dependent_columns(shares) == [[0, 1, 2]]
    if units < 1e30:
        assert dependent_columns(shares.astype(np.float32)) == [[0, 1, 2]]


def test_what_is_nearly_dependent_is_not_named(parts):
    free, noise = parts["free"], np.random.default_rng(1).normal(size=N)
    table = np.column_stack([free, free.sum(axis=1) + 1e-4 * noise])
    assert dependent_columns(table) == []
    table = np.column_stack([free, free.sum(axis=1)])
    table[5, 2] += 0.1  # one row suffices
    assert dependent_columns(table) == []
    assert dependent_columns(free) == dependent_columns(free[:, :1]) == []
    assert dependent_columns(np.random.default_rng(0).normal(size=(5, 9))) == []


def test_one_row_of_many_suffices():
    x = np.random.default_rng(0).normal(size=50_000)
    table = np.column_stack([x, 2 * x])
    assert dependent_columns(table) == [[0, 1]]
    table[49_999, 1] += 1
    assert dependent_columns(table) == []


def test_the_warning_names_the_columns(affine, parts):
    frame = pd.DataFrame(parts["shares"], columns=["rent", "food", 2020])
    with pytest.warns(DegenerateDataWarning, match=r"each other exactly.*\['rent', 'food', 2020\]"):
        affine().fit(frame)
    with pytest.warns(DegenerateDataWarning, match=r"\[0, 1, 2, 3\]"):
        affine(dequantize=False).fit(np.hstack([parts["one hot"], parts["free"]]))


# Where warnings point


def test_warnings_point_at_the_line_of_the_user(affine, parts):
    shares, labels = parts["shares"], np.arange(N) % 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DegenerateDataWarning)
        affine().fit(shares)
        FlowOutlierDetector(affine()).fit(shares)
        FlowBayesClassifier(affine()).fit(shares, labels)
        cross_val_score(affine(), shares, cv=2)
        affine().fit(np.column_stack([parts["free"], np.ones(N)]))
    assert len(caught) >= 6
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("far", [1e6, 1e9, 1e12])
def test_one_row_far_away_in_two_columns_is_no_dependence(far):
    X = np.random.default_rng(0).normal(size=(500, 3))
    X[0, :2] = far, -2 * far
    assert dependent_columns(X) == []


def test_independent_columns_of_two_clusters_far_apart_are_none():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(300, 2)), rng.normal(1e8, 1, size=(300, 2))])
    assert dependent_columns(X) == []


def test_one_hot_columns_are_named_whatever_noise_is_added():
    letters = pd.Series(np.random.default_rng(0).choice(list("xyz"), 300))
    model = GradientBoostedFlowDensity(1, flow="affine", dequantize=True)
    with pytest.warns(DegenerateDataWarning, match=r"\['x', 'y', 'z'\]"):
        model.fit(pd.get_dummies(letters))
