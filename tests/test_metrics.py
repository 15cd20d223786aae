"""Scores of predictive distributions beside slow and known ones."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from skgbnf.metrics import (
    crps,
    cycle_error,
    distance_to_closest_record,
    privacy,
    sliced_wasserstein,
    transport_cost,
    two_sample_auc,
)


def crps_slow(y, draws):
    scores = []
    for value, own in zip(y, draws, strict=True):
        n = len(own)
        apart = sum(abs(a - b) for a in own for b in own) / (n * (n - 1))
        scores.append(np.mean(np.abs(own - value)) - apart / 2)
    return scores


def test_crps_is_the_mean_distance_less_half_the_distance_of_draws():
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=5), rng.normal(size=(5, 7))
    np.testing.assert_allclose(crps(y, draws), crps_slow(y, draws))


def test_crps_of_a_normal_distribution():
    rng = np.random.default_rng(0)
    y = np.array([-1.0, 0.0, 2.0])
    exact = y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - 1 / np.sqrt(np.pi)
    np.testing.assert_allclose(crps(y, rng.normal(size=(3, 200_000))), exact, atol=0.01)


def test_crps_needs_one_target_and_two_draws():
    with pytest.raises(ValueError, match="one target"):
        crps(np.zeros(3), np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="at least two"):
        crps(np.zeros(3), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="inconsistent"):
        crps(np.zeros(3), np.zeros((2, 2)))


PEOPLE = pd.DataFrame(
    {
        "age": [20.0, 40.0, np.nan, 60.0],
        "town": ["Bonn", "Rome", None, "Rome"],
        "since": pd.to_datetime(["2020-01-01", "2020-01-03", "2020-01-05", None]),
    }
)


def closest_slow(samples, X):
    """Gower's distance, cell by cell."""
    spans = {"age": 40.0, "since": pd.Timedelta(days=4)}

    def apart(name, a, b):
        if pd.isna(a) or pd.isna(b):
            return float(pd.isna(a) != pd.isna(b))
        return float(a != b) if name == "town" else abs(a - b) / spans[name]

    records, queries = X.to_dict("records"), samples.to_dict("records")
    return [min(np.mean([apart(n, q[n], r[n]) for n in r]) for r in records) for q in queries]


@pytest.mark.parametrize("pairs_at_once", [4, 10**6])
def test_the_closest_record_of_mixed_rows(monkeypatch, pairs_at_once):
    monkeypatch.setattr(privacy, "_PAIRS_AT_ONCE", pairs_at_once)
    samples = pd.DataFrame(
        {
            "age": [60.0, 35.0, np.nan, 100.0],
            "town": ["Rome", "Oslo", "Bonn", None],
            "since": pd.to_datetime([None, "2020-01-02", "2020-01-05", "2020-01-09"]),
        }
    )
    found = distance_to_closest_record(samples, PEOPLE)
    np.testing.assert_allclose(found, closest_slow(samples, PEOPLE))
    assert found[0] == 0.0
    arrays = samples.to_numpy(object), PEOPLE.to_numpy(object)
    np.testing.assert_allclose(distance_to_closest_record(*arrays), found)


def test_copies_are_found_among_draws():
    rng = np.random.default_rng(0)
    X, others = rng.normal(size=(300, 3)), rng.normal(size=(300, 3))
    distances = distance_to_closest_record(np.vstack([others[:10], X[:10]]), X)
    assert (distances[10:] == 0).all()
    assert (distances[:10] > 0).all()


def test_one_reference_makes_distances_to_two_tables_comparable():
    rng = np.random.default_rng(0)
    X = rng.standard_t(2, size=(400, 2))  # halves have different ranges
    draws = rng.standard_t(2, size=(2000, 2))
    halves = [distance_to_closest_record(draws, rows, X) for rows in (X[::2], X[1::2])]
    whole = distance_to_closest_record(draws, X)
    np.testing.assert_allclose(np.minimum(*halves), whole)


def test_tables_of_other_columns_are_refused():
    with pytest.raises(ValueError, match="X has 3 columns, samples 2"):
        distance_to_closest_record(PEOPLE[["age", "town"]], PEOPLE)
    with pytest.raises(ValueError, match="column 0 is of another kind"):
        distance_to_closest_record(PEOPLE[["town"]], PEOPLE[["age"]])


def sliced_slow(X, Y, directions):
    """Both quantile functions on a fine grid of probabilities, direction by direction."""
    probabilities = (np.arange(60_000) + 0.5) / 60_000
    squares = []
    for w in directions.T:
        x, y = np.sort(X @ w), np.sort(Y @ w)
        pick = [values[(probabilities * len(values)).astype(int)] for values in (x, y)]
        squares.append(np.mean((pick[0] - pick[1]) ** 2))
    return np.sqrt(np.mean(squares))


def test_sliced_wasserstein_is_that_of_quantiles_on_a_grid():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, 3)), rng.normal(size=(30, 3)) + 1.0
    directions = np.random.RandomState(5).normal(size=(3, 4))
    expected = sliced_slow(X, Y, directions / np.linalg.norm(directions, axis=0))
    found = sliced_wasserstein(X, Y, n_projections=4, random_state=5)
    assert found == pytest.approx(expected, rel=1e-9)  # the grid has all steps of both
    assert sliced_wasserstein(Y, X) == pytest.approx(sliced_wasserstein(X, Y))
    assert sliced_wasserstein(X, np.repeat(X, 2, axis=0)) == pytest.approx(0.0, abs=1e-12)


def test_sliced_wasserstein_of_a_shift():
    """The mean squared cosine of random directions is one over the dimension."""
    X = np.random.default_rng(0).normal(size=(50, 2))
    found = sliced_wasserstein(X, X + np.array([3.0, 4.0]), n_projections=20_000)
    assert found**2 == pytest.approx(25.0 / 2, rel=0.03)  # three standard errors of the mean


def test_two_sample_auc_of_sets_alike_and_of_sets_apart():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 300, 2))
    assert abs(two_sample_auc(X, Y) - 0.5) < 0.1  # four standard errors
    # A threshold between bins may put one sample on the wrong side.
    assert two_sample_auc(X, Y + 10.0) > 0.99
    assert two_sample_auc(X, Y) == two_sample_auc(X, Y)


class Doubling:
    def translate(self, X, source, target):
        return np.asarray(X) * (2.0 if target == "b" else 0.25)


def test_transport_cost_and_cycle_error():
    assert transport_cost(np.zeros((2, 2)), [[3.0, 4.0], [0.0, 0.0]]) == 12.5
    assert cycle_error(Doubling(), [[4.0], [-8.0]], "a", "b") == 4.0


def test_sets_of_other_features_are_refused():
    for metric in (sliced_wasserstein, two_sample_auc, transport_cost):
        with pytest.raises(ValueError, match="X has 2 features, but Y has 3"):
            metric(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="inconsistent"):
        transport_cost(np.zeros((4, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="n_projections"):
        sliced_wasserstein(np.zeros((4, 2)), np.zeros((4, 2)), n_projections=0)
