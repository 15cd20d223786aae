"""Columns whose values repeat: found, named and spread."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KernelDensity

from skgbnf import DegenerateDataWarning
from skgbnf.table.dequantisation import Dequantisation


def widths_of(values, dequantize="auto"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        X = np.asarray(values)[:, None]
        return float(Dequantisation.from_rows(X, dequantize, [0]).widths[0])


@pytest.mark.quick
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("step", "offset"), [(1.0, 0.0), (0.1, 5.0), (1e-6, 0.0), (2e5, -1e6)])
def test_the_step_of_a_grid_is_found(step, offset, dtype):
    k = np.random.default_rng(0).poisson(4, size=500)
    values = (offset + step * k).astype(dtype)
    assert widths_of(values) == pytest.approx(step, rel=1e-3)


def test_a_grid_with_holes_has_the_step_that_all_values_are_multiples_of():
    assert widths_of(np.repeat([0.0, 2.0, 4.0, 10.0], 10)) == 2.0


def test_continuous_and_finely_rounded_columns_are_left_alone():
    rng = np.random.default_rng(1)
    assert widths_of(rng.normal(size=1000)) == 0
    assert widths_of(rng.normal(size=1000).round(3)) == 0
    assert widths_of(rng.normal(size=1000).round(3), True) == pytest.approx(1e-3)
    assert widths_of(rng.normal(size=1000), True) == 0
    assert widths_of(rng.normal(size=3).round(0)) == 0


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_an_atom_among_values_on_no_grid_is_kept_apart(scale):
    rng = np.random.default_rng(2)
    values = np.where(rng.random(1000) < 0.3, 0.0, rng.exponential(size=1000)) * scale
    with pytest.warns(DegenerateDataWarning, match=r"columns \['rain'\].*apart.*\[0.0\]"):
        noise = Dequantisation.from_rows(values[:, None], "auto", ["rain"])
    assert noise.atoms[0].tolist() == [0.0]
    assert np.array_equal(noise.apply(values[:, None], seed=0)[:, 0], values)
    # A twentieth of the spread that quartiles tell; those of an exponential are log(3) apart.
    assert noise.widths[0] == pytest.approx(0.05 * np.log(3) / 1.349 * scale, rel=0.1)


def test_values_that_repeat_here_and_there_are_spread_where_they_are():
    rng = np.random.default_rng(2)
    values = rng.normal(size=1000)
    values[:40] = np.repeat(rng.normal(size=20), 2)
    noise = Dequantisation.from_rows(values[:, None], True, [0])
    moved = noise.apply(values[:, None], seed=0)[:, 0] != values
    assert moved[:40].all()
    assert not moved[40:].any()
    assert not Dequantisation.from_rows(values[:, None], "auto", [0]).widths.any()


def test_noise_is_uniform_centred_and_of_the_width():
    X = np.zeros((20_000, 1))
    X[0] = 100.0
    moved = Dequantisation.from_rows(X, 3.0, [0]).apply(X, seed=1) - X
    assert np.abs(moved).max() <= 1.5
    # Standard errors of mean and variance of 20,000 draws are 0.006 and 0.005.
    assert moved.mean() == pytest.approx(0.0, abs=0.03)
    assert moved.var() == pytest.approx(3.0**2 / 12, abs=0.03)
    assert (X[1:] == 0).all()


# Values far from all others


RATINGS = np.random.default_rng(7).choice(5, p=[0.1, 0.2, 0.4, 0.2, 0.1], size=2000) + 1.0


@pytest.mark.parametrize("codes", [[-9999.0], [99.0], [-9999.0, 9999.0], [-99.0, 999.0, 9999.5]])
@pytest.mark.parametrize("dequantize", ["auto", True])
def test_codes_do_not_set_the_step_of_ratings(codes, dequantize):
    values = RATINGS.copy()
    for k, code in enumerate(codes):
        values[50 * k : 50 * (k + 1)] = code
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        noise = Dequantisation.from_rows(values[:, None], dequantize, ["rating"])
    assert noise.widths[0] == 1.0
    assert noise.atoms[0].tolist() == sorted(codes)
    moved = noise.apply(values[:, None], seed=0)[:, 0] != values
    assert (moved == (np.abs(values) < 10)).all()


@pytest.mark.parametrize("far", [1e6, -1e9, 123456.0])
def test_one_value_far_out_does_not_set_the_step_of_counts(far):
    values = np.random.default_rng(0).poisson(4, size=500).astype(float)
    values[0] = far
    assert widths_of(values) == 1.0


def test_counts_that_span_orders_of_magnitude_lie_on_their_grid():
    values = np.floor(np.random.default_rng(0).pareto(0.5, size=2000))
    assert values.max() > 1e5
    assert widths_of(values) == 1.0


@pytest.mark.parametrize("far", [1e9, -1e5])
def test_one_value_far_out_does_not_set_the_width_at_zeros(far):
    rng = np.random.default_rng(2)
    values = np.where(rng.random(1000) < 0.3, 0.0, rng.exponential(size=1000))
    near = widths_of(values)
    values[np.flatnonzero(values)[0]] = far
    assert widths_of(values) == pytest.approx(near, rel=0.02)


def test_the_warning_names_the_width():
    values = np.round(RATINGS / 2, 1)[:, None]
    with pytest.warns(DegenerateDataWarning, match=r"noise of widths \[0.5\]"):
        Dequantisation.from_rows(values, "auto", ["rating"])


@pytest.mark.parametrize("size", [1e-6, 5.0, 1e9])
def test_the_scale_of_a_constant_column_is_its_size(size):
    X = np.column_stack([np.full(20, -size), np.zeros(20), size * np.arange(20.0)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        spreads = Dequantisation.from_rows(X, "auto", [0, 1, 2]).spreads
    assert spreads[0] == size
    # Of a column of zeros nothing is known but its neighbours.
    assert spreads[1] == spreads[2]


@pytest.fixture(scope="module")
def counts():
    """A column of counts and one that goes on continuously from it, as a frame."""
    rng = np.random.default_rng(3)
    k = rng.poisson(3, size=1500)
    return pd.DataFrame({"visits": k, "cost": k + rng.normal(size=1500)})


def test_counts_are_named_in_a_warning(quick, counts):
    with pytest.warns(
        DegenerateDataWarning, match=r"columns \['visits'\]: uniform noise of widths"
    ):
        model = quick(flow="affine").fit(counts)
    assert model.dequantize_widths_.tolist() == [1.0, 0.0]
    with pytest.warns(DegenerateDataWarning, match=r"columns \['visits'\]: the density may peak"):
        model = quick(flow="affine", dequantize=False).fit(counts)
    assert model.dequantize_widths_.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("dequantize", "widths"),
    [
        (True, [1.0, 0.0]),
        (0.5, [0.5, 0.5]),
        ([0.9, 0.0], [0.9, 0.0]),
        (np.array([0.0, 0.1]), [0.0, 0.1]),
    ],
)
def test_who_says_what_to_do_is_not_warned(quick, counts, dequantize, widths):
    model = quick(flow="affine", dequantize=dequantize).fit(counts)
    assert model.dequantize_widths_.tolist() == widths


def test_a_given_width_that_is_a_step_of_the_values_has_their_grid(quick, counts):
    model = quick(flow="affine", dequantize=[1.0, 0.3]).fit(counts)
    assert model.dequantize_origins_[0] == counts["visits"].min()
    assert np.isnan(model.dequantize_origins_[1])
    visits = model.sample_frame(200, random_state=0)["visits"]
    assert (visits == visits.round()).all()
    for width in (0.7, 0.5, 0.01):
        model = quick(flow="affine", dequantize=width).fit(counts)
        assert np.isnan(model.dequantize_origins_).all()


@pytest.mark.parametrize("dequantize", ["auto", True])
def test_a_warm_start_keeps_the_noise_whatever_its_rows_ask_for(quick, counts, dequantize):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        model = quick(flow="affine", n_estimators=1, dequantize=dequantize, warm_start=True)
        model.fit(counts)
        widths, origins = model.dequantize_widths_, model.dequantize_origins_
        assert widths.tolist() == [1.0, 0.0]
        # Of these the first column repeats nowhere, and the second does.
        other = counts.assign(visits=np.arange(1500), cost=counts["visits"] // 2)
        model.set_params(n_estimators=2).fit(other)
    np.testing.assert_array_equal(model.dequantize_widths_, widths)
    np.testing.assert_array_equal(model.dequantize_origins_, origins)


@pytest.mark.parametrize("changed", [False, 0.5, [0.5, 0.0]])
def test_a_warm_start_refuses_other_widths(quick, counts, changed):
    model = quick(flow="affine", n_estimators=1, dequantize=True, warm_start=True).fit(counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        with pytest.raises(ValueError, match=r"the rounds already fitted, \[1.0, 0.0\]"):
            model.set_params(n_estimators=2, dequantize=changed).fit(counts)
    model.set_params(dequantize=[1.0, 0.0]).fit(counts)
    assert model.n_estimators_ == 2


@pytest.mark.slow
def test_the_density_at_a_value_is_its_probability_over_the_step(quick, counts):
    k = counts[["visits"]].to_numpy(dtype=float)
    model = quick(max_iter=60, n_estimators=1, hidden_layer_sizes=(32,), dequantize=True).fit(k)
    values = np.arange(1, 7.0)
    shares = (k == values).mean(axis=0)
    # Held-out choice and 1,500 rows leave an error of a few hundredths of a share of 0.2.
    np.testing.assert_allclose(np.exp(model.score_samples(values[:, None])), shares, atol=0.06)


@pytest.mark.slow
def test_atoms_do_not_become_spikes(quick):
    rng = np.random.default_rng(4)
    X = np.column_stack([rng.integers(2, size=1000), rng.normal(size=1000)]).astype(float)
    with pytest.warns(DegenerateDataWarning):
        model = quick(flow="auto", n_estimators=2, max_iter=30).fit(X)
    spread = X + np.column_stack([rng.uniform(-0.5, 0.5, size=1000), np.zeros(1000)])
    reference = KernelDensity(bandwidth=0.2).fit(spread)
    # One nat is far more than methods differ by, and a spike gains several.
    assert model.score_samples(X).max() < reference.score_samples(X).max() + 1


def test_noise_is_the_same_at_every_fit(quick, counts):
    model = quick(flow="affine", dequantize=True)
    first = model.fit(counts).score_samples(counts)
    assert np.array_equal(model.fit(counts).score_samples(counts), first)
