"""The benchmark of domains: its cases, the methods written here, and the table it writes."""

import bench_domains
import numpy as np
import pytest
from domain_cases import make_case
from domain_peers import METHODS, OURS, combat, quantiles, sliced_transport


@pytest.mark.parametrize(
    "name", ["moons", "gaussians", "wine/scale/same", "wine/bend/other", "digits/inverted"]
)
def test_cases_have_a_truth_for_every_row_of_the_test(name):
    case = make_case(name, 0, None)
    assert case.test.shape == case.truth.shape
    assert len(case.test) == len(case.test_labels)
    assert len(case.A) == len(case.A_labels)
    assert len(case.B) == len(case.B_labels)
    assert not np.allclose(case.test, case.truth)
    again = make_case(name, 0, None)
    np.testing.assert_array_equal(case.B, again.B)


def test_other_shares_of_classes_differ_between_domains():
    same, other = (make_case(f"wine/scale/{mix}", 0, None) for mix in ("same", "other"))

    def apart(case):
        shares = [np.bincount(y, minlength=3) / len(y) for y in (case.A_labels, case.B_labels)]
        return np.abs(shares[0] - shares[1]).sum()

    assert apart(other) > 2 * apart(same)


def test_tables_that_are_not_there_are_asked_for():
    with pytest.raises(FileNotFoundError, match="--data"):
        make_case("magic/scale/same", 0, None)


@pytest.mark.parametrize("method", [combat, quantiles, sliced_transport])
def test_shifts_and_scales_are_undone(method):
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(2, 1000, 2))
    found = method(A, 2.0 * B + 3.0)(2.0 * B + 3.0)
    # Quantiles of a thousand normal values have errors of 0.04 and, in the tails, of 0.3.
    assert np.sqrt(np.mean((found - B) ** 2)) < 0.12


def test_the_table_counts_cases_in_which_ours_is_ahead():
    def cell(error, accuracy):
        own = {"log_density": 0.0, "log_density_alone": -error, "cycle": 1e-15}
        return {"error": error, "accuracy": accuracy, **own}

    first = {method: cell(0.5, 0.8) for method in METHODS}
    second = {method: cell(0.5, 0.8) for method in METHODS}
    first[OURS], second[OURS] = cell(0.1, 0.8), cell(0.6, 0.7)
    for found in (first, second):
        found[bench_domains.TARGET] = {"accuracy": 0.9}
    found = {"moons": first, "gaussians": second, "wine/scale/same": {"untouched": cell(1, 1)}}
    text = bench_domains.ahead(found, ["moons", "gaussians"], list(METHODS))
    assert "Of 2 cases" in text
    assert "the smallest error of all in 1, and an accuracy that none exceeds in 1" in text
    assert "ComBat: 1 and 1 of 2" in text
    machine = bench_domains.report.machine()
    lines = bench_domains.table({"cells": found, "machine": machine}).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| moons", "| gaussians"]
