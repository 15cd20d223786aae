"""Scores of predictive distributions beside slow and known ones."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from skgbnf import metrics
from skgbnf.metrics import crps, distance_to_closest_record


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
    monkeypatch.setattr(metrics, "_PAIRS_AT_ONCE", pairs_at_once)
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
