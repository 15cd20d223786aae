"""What the benchmarks rest on: densities that are densities, and how tables are prepared."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import data
from targets import TARGETS

PLANAR = ["eight_gaussians", "pinwheel", "rings", "gumbel"]


@pytest.mark.parametrize("name", PLANAR)
def test_planar_targets_hold_as_much_mass_as_they_sample(name):
    """Mass of a box that holds nearly all rows, from the density and from samples."""
    target = TARGETS[name]
    X = target.sample(20_000, np.random.default_rng(0))
    low, high = np.quantile(X, [0.01, 0.99], axis=0)
    axes = [np.linspace(a, b, 801) for a, b in zip(low, high, strict=True)]
    centres = [(axis[1:] + axis[:-1]) / 2 for axis in axes]
    grid = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    mass = np.exp(target.log_density(grid)).sum() * cell
    inside = (np.clip(X, low, high) == X).all(axis=1).mean()
    # Three standard errors of a share of 20,000 rows near 0.96 are 0.004.
    assert mass == pytest.approx(inside, abs=0.006)


@pytest.mark.parametrize("name", TARGETS)
def test_no_gaussian_scores_above_a_target_on_its_own_rows(name):
    """Gibbs' inequality, with a density of the same moments for the other."""
    target = TARGETS[name]
    X = target.sample(5000, np.random.default_rng(1))
    values, vectors = np.linalg.eigh(np.cov(X.T))
    z = (X - X.mean(axis=0)) @ vectors / np.sqrt(values)
    gaussian = -0.5 * (z**2 + np.log(2 * np.pi * values)).sum(axis=1)
    assert target.log_density(X).mean() > gaussian.mean() + 0.1


def test_discrete_columns_are_dropped_and_grids_blurred():
    rng = np.random.default_rng(2)
    X = np.column_stack([
        rng.normal(size=4000),
        rng.integers(0, 3, size=4000),
        np.round(rng.normal(size=4000), 1),
        np.where(rng.random(4000) < 0.6, 0.0, rng.normal(size=4000)),
        rng.integers(0, 1000, size=4000),
    ])  # fmt: skip
    prepared, dropped, blurred = data.prepare(X)
    assert dropped == [1, 3]
    assert blurred == [2, 4]
    np.testing.assert_array_equal(prepared[:, 0], X[:, 0])
    assert np.abs(prepared[:, 2] - X[:, 4]).max() <= 0.5
    assert (np.unique(prepared, axis=0, return_counts=True)[1] == 1).all()


def test_parts_of_a_split_share_no_row():
    X = np.arange(1000.0)[:, None]
    parts = data.split(X, np.random.default_rng(3))
    assert [len(part) for part in parts] == [700, 100, 200]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts), axis=0), X)
