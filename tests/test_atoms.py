"""Values that many rows share amid others: kept apart, scored and drawn as what they are."""

import numpy as np
import pandas as pd
import pytest
from helpers import degenerate_data_allowed

import skgbnf
from skgbnf.table.atoms import Atoms
from skgbnf.table.bounds import Bounds
from skgbnf.table.coordinates import Coordinates
from skgbnf.table.dequantisation import Dequantisation


def coordinates_of(X, limits=None):
    with degenerate_data_allowed():
        noise = Dequantisation.from_rows(X, "auto", range(X.shape[1]))
    if limits is None:
        limits = np.tile([[-np.inf], [np.inf]], X.shape[1])
    bounds = Bounds.from_rows(
        np.asarray(limits, float), X, np.where(noise.everywhere, noise.widths, 0)
    )
    return Coordinates.from_rows(noise.apply(X, 0), np.ones(len(X)), noise, bounds, single=False)


def inflated(n=3000, share=0.6, seed=0):
    """Zeros beside lognormal amounts, and a column that depends on which it is."""
    r = np.random.default_rng(seed)
    zero = r.random(n) < share
    amount = np.where(zero, 0.0, np.exp(r.normal(3, 1, n)))
    return np.column_stack([amount, r.normal(size=n) + 2 * zero])


TABLES = {
    "zeros beside amounts": inflated(),
    "a cap": np.minimum(np.random.default_rng(1).normal(size=(1000, 2)), 0.5),
    "two atoms inside": np.where(
        np.random.default_rng(2).random((1000, 2)) < [0.2, 0.0],
        np.random.default_rng(3).choice([-0.3, 0.7], (1000, 2)),
        np.random.default_rng(4).normal(size=(1000, 2)),
    ),
    "a code beside amounts": np.where(
        np.random.default_rng(5).random((1000, 2)) < [0.02, 0.1],
        -9999.0,
        np.random.default_rng(6).gamma(2.0, size=(1000, 2)),
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_come_back_exactly_at_atoms_and_nearly_elsewhere(name):
    X = TABLES[name]
    coordinates = coordinates_of(X)
    for Z, log_det in (
        coordinates.transform(X),
        coordinates.spread(X, np.random.default_rng(0)),
        *coordinates.points(X, np.float64),
    ):
        again = coordinates.inverse_transform(Z)
        assert np.isfinite(log_det).all()
        np.testing.assert_allclose(again, X, rtol=1e-9, atol=1e-9)
        for j, atoms in enumerate(coordinates.noise.atoms):
            at = np.isin(X[:, j], atoms)
            assert np.array_equal(again[at, j], X[at, j])
    assert np.abs(Z).max() < 20


@pytest.mark.parametrize("name", TABLES)
def test_nothing_else_lies_within_an_interval(name):
    X = TABLES[name]
    coordinates = coordinates_of(X)
    for j, atoms in enumerate(coordinates.noise.atoms):
        if not len(atoms):
            continue
        free = X[~np.isin(X[:, j], atoms), j]
        y = coordinates.atoms.open(np.sort(free), j)
        assert (coordinates.atoms.close(y, j)[1] == -1).all()
        assert (np.diff(y) >= 0).all()


def test_the_intervals_of_several_atoms_follow_each_other():
    values = np.array([0.0, 1.0, 2.0])
    free = np.array([0.5, 1.5, 1.7])
    atoms = Atoms.from_columns(
        [values], [values], [free], [np.array([0.2, 0.3, 0.1])], np.ones(1), np.ones(1), False
    )
    y = np.sort(np.r_[atoms.open(free, 0), atoms.centres(0)])
    closed, at = atoms.close(y, 0)
    assert at.tolist() == [0, -1, 1, -1, -1, 2]
    np.testing.assert_allclose(closed[at < 0], free)


@pytest.mark.slow
def test_the_density_is_a_probability_at_atoms_and_a_density_between(quick):
    X = inflated()
    with degenerate_data_allowed():
        model = quick(flow="nsf", n_estimators=1, max_iter=60).fit(X[:, :1])
    width = model.dequantize_widths_[0]
    at_zero = width * np.exp(model.score_samples([[0.0]]))[0]
    edges = np.r_[-np.geomspace(1e3, 1e-9, 2000), np.geomspace(1e-9, 1e5, 20_000)]
    middles = ((edges[1:] + edges[:-1]) / 2)[:, None]
    between = np.exp(model.score_samples(middles)) @ np.diff(edges)
    # A smooth density has no flat top, so that its middle is not quite the mean of the interval.
    assert at_zero == pytest.approx(0.6, abs=0.08)
    assert between == pytest.approx(0.4, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [None, {0: (0, None)}])
@pytest.mark.parametrize("flow", ["gaussian_mixture", "nsf"])
def test_zeros_beside_amounts_come_back(quick, flow, bounds):
    X = inflated()
    frame = pd.DataFrame(X, columns=["amount", "other"])
    with degenerate_data_allowed():
        model = quick(flow=flow, n_estimators=1, max_iter=25, bounds=bounds).fit(frame)
    drawn = model.sample_frame(20_000, random_state=0)
    zero = drawn["amount"] == 0
    assert zero.mean() == pytest.approx(0.6, abs=0.03)
    assert (drawn["amount"] < 0).mean() < (0.01 if bounds is None else 1e-9)
    amounts, true = drawn["amount"][~zero], X[X[:, 0] > 0, 0]
    assert ((amounts > 0) & (amounts <= 5)).mean() == pytest.approx((true <= 5).mean(), abs=0.03)
    quantiles = [0.25, 0.5, 0.75]
    np.testing.assert_allclose(
        np.quantile(amounts, quantiles), np.quantile(true, quantiles), rtol=0.15
    )
    # What depends on the zeros goes on doing so.
    means = drawn["other"].groupby(zero).mean()
    assert means[True] == pytest.approx(2.0, abs=0.15)
    assert means[False] == pytest.approx(0.0, abs=0.15)


@pytest.mark.slow
def test_ratings_with_a_code(quick):
    r = np.random.default_rng(0)
    x = r.choice([1, 2, 3, 4, 5], p=[0.1, 0.2, 0.4, 0.2, 0.1], size=(2000, 1))
    x[r.random(2000) < 0.03] = -9999
    with degenerate_data_allowed():
        model = quick(flow="nsf", n_estimators=1, max_iter=60).fit(
            pd.DataFrame({"rating": x[:, 0]})
        )
    values = np.array([1, 2, 3, 4, 5, -9999])
    shares = (x == values).mean(axis=0)
    scores = model.score_samples(pd.DataFrame({"rating": values}))
    np.testing.assert_allclose(np.exp(scores), shares, atol=0.06)
    drawn = model.sample_frame(20_000, random_state=0)["rating"]
    assert set(drawn.unique()) <= set(values.tolist())
    np.testing.assert_allclose([(drawn == v).mean() for v in values], shares, atol=0.03)
    rows = model.sample(5000, random_state=0)
    assert (((rows > 0.4) & (rows < 5.6)) | (rows == -9999)).mean() > 0.99


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        (np.random.default_rng(0).integers(0, 3, 1000), {0, 1, 2}),
        (np.random.default_rng(0).choice([1, 2, 4, 8], 1000), {1, 2, 4, 8}),
        (np.random.default_rng(0).poisson(4, 1000), None),
        (np.random.default_rng(0).geometric(0.02, 1000), None),
    ],
)
@pytest.mark.parametrize("dequantize", ["auto", False])
def test_integers_stay_inside_their_set(quick, values, allowed, dequantize):
    frame = pd.DataFrame({"n": values, "x": np.random.default_rng(1).normal(size=1000)})
    with degenerate_data_allowed():
        model = quick(flow="affine", n_estimators=1, dequantize=dequantize).fit(frame)
    drawn = model.sample_frame(5000, random_state=0)["n"]
    assert drawn.dtype == values.dtype
    assert drawn.min() >= 0
    if allowed is not None:
        assert set(drawn.unique()) == allowed


def test_single_precision_finds_its_atoms(quick):
    X = inflated(share=0.3)
    X[:, 0] += np.where(X[:, 0] == 0, 0.1, 0.0)
    with degenerate_data_allowed():
        model = quick(flow="affine", n_estimators=1).fit(X)
    ours, theirs = model.score_samples(X), model.score_samples(X.astype(np.float32))
    np.testing.assert_allclose(theirs, ours, atol=1e-3)


def test_atoms_of_rows_in_single_precision_are_found_in_doubles_too(quick):
    r = np.random.default_rng(0)
    x = np.where(r.random(600) < 0.3, 0.1, r.normal(size=600)).astype(np.float32)[:, None]
    with degenerate_data_allowed():
        model = quick(flow="affine", n_estimators=1).fit(x)
    assert model.score_samples([[0.1]]) == pytest.approx(
        model.score_samples(np.float32([[0.1]])), abs=1e-4
    )


def test_what_is_an_atom_goes_by_weights(quick):
    r = np.random.default_rng(0)
    x = np.concatenate([np.zeros(10), r.normal(size=400)])[:, None]
    weights = np.where(x[:, 0] == 0, 40.0, 1.0)
    with degenerate_data_allowed():
        model = quick(flow="affine", n_estimators=1).fit(x, sample_weight=weights)
    assert model.atoms_[0].tolist() == [0.0]
    assert quick(flow="affine", n_estimators=1).fit(x).atoms_[0].tolist() == []


def test_a_user_who_knows_of_repeats_has_smaller_atoms_too(quick):
    x = inflated(share=0.03)[:, :1]
    model = quick(flow="affine", n_estimators=1, dequantize=True).fit(x)
    assert model.atoms_[0].tolist() == [0.0]


def test_files_pickles_and_warm_starts_keep_atoms(quick, tmp_path):
    X = inflated(500)
    settings = {"flow": "affine", "tol": 0.0, "n_iter_no_change": 5}
    with degenerate_data_allowed():
        model = quick(n_estimators=1, warm_start=True, **settings).fit(X)
        skgbnf.save(model, tmp_path / "model")
        again = skgbnf.load(tmp_path / "model")
        assert np.array_equal(again.score_samples(X), model.score_samples(X))
        assert np.array_equal(again.sample(50, random_state=0), model.sample(50, random_state=0))
        model.set_params(n_estimators=2).fit(X)
        whole = quick(n_estimators=2, **settings).fit(X)
    assert np.array_equal(model.score_samples(X), whole.score_samples(X))
