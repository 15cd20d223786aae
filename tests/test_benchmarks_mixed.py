"""The parts of the benchmark of mixed tables: kinds and rows, densities of peers, measures."""

import json
import sys

import bench_mixed
import bench_samples
import column_densities
import latent_classes
import make_report
import mixed_peers
import mixed_report
import mixed_tables
import numpy as np
import pandas as pd
import pytest
import report
from mixed_tables import MixedFit
from peers import OURS

import skgbnf

N_ROWS = 300
CHEAP = ["independent columns", "mean and mode"]


def mixed_frame(n_rows=N_ROWS, seed=0):
    """Two groups that every column depends on, and gaps."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, n_rows)
    amount = np.where(rng.random(n_rows) < 0.4, 0.0, rng.lognormal(group, 0.5))
    frame = pd.DataFrame(
        {
            "colour": np.array(["red", "green", "blue"])[
                np.where(rng.random(n_rows) < 0.8, group, 2)
            ],
            "member": rng.random(n_rows) < 0.2 + 0.6 * group,
            "count": rng.poisson(3 + 4 * group),
            "grade": rng.integers(1, 4, n_rows) + group,
            "size": np.round(rng.normal(10 * group, 1.0), 1),
            "length": rng.normal(5 * group, 1.0),
            "amount": amount,
            "same": "x",
        }
    )
    frame.loc[rng.random(n_rows) < 0.1, "colour"] = None
    frame.loc[rng.random(n_rows) < 0.2, "size"] = np.nan
    return frame


@pytest.fixture(scope="module")
def table():
    return mixed_tables.split(mixed_frame(), 0)


def test_kinds_are_those_of_the_values(table):
    kinds = dict(zip(table.whole, table.columns, strict=True))
    assert kinds["colour"].levels == ("blue", "green", "red")
    assert kinds["member"].levels == (False, True)
    assert (kinds["count"].kind, kinds["count"].step, kinds["count"].lowest) == ("ordinal", 1, 0)
    assert kinds["grade"].levels == (1, 2, 3, 4)
    assert kinds["size"].kind == kinds["length"].kind == "continuous"
    assert kinds["size"].step == pytest.approx(0.1)
    assert kinds["length"].step == 0
    assert kinds["amount"].atoms == (0,)
    assert kinds["same"].kind == "constant"


def test_rows_and_frames_hold_the_same_cells(table):
    rows = np.concatenate([table.test, table.train])
    frame = table.frame(rows)
    np.testing.assert_array_equal(mixed_tables.rows_of(frame, table.columns), rows)
    assert sorted(frame["length"]) == sorted(table.whole["length"])
    assert frame.dtypes.equals(table.whole.dtypes)
    hidden = mixed_tables.hide(table.train, 0.5, 0)
    np.testing.assert_array_equal(mixed_tables.rows_of(table.frame(hidden), table.columns), hidden)


def test_a_value_that_is_no_level_is_named(table):
    frame = table.whole.assign(colour="pink")
    with pytest.raises(ValueError, match="'pink' is no level of 'colour'"):
        mixed_tables.rows_of(frame, table.columns)


def test_repeated_values_that_lie_on_no_grid_are_blurred():
    rng = np.random.default_rng(0)
    prices = rng.choice(rng.lognormal(size=30), 500)
    frame = pd.DataFrame({"price": prices, "free": rng.normal(size=500)})
    blurred = mixed_tables.blurred(frame)
    assert blurred["price"].nunique() == 500
    assert np.abs(blurred["price"] - prices).max() <= np.median(np.diff(np.unique(prices))) / 2
    np.testing.assert_array_equal(blurred["free"], frame["free"])


def test_a_share_of_the_cells_is_hidden(table):
    hidden = mixed_tables.hide(table.train, 0.2, 0)
    there = ~np.isnan(hidden)
    np.testing.assert_array_equal(hidden[there], table.train[there])
    assert there.sum() / (~np.isnan(table.train)).sum() == pytest.approx(0.8, abs=0.03)


def integral(density, column):
    """Probability of all numbers that are no events, by a sum over a grid."""
    if column.step:
        known = density.numbers.known
        points = np.arange(-2000, 2000) * column.step + known[0]
        points = points[(points >= column.lowest - 1e-9) & (points <= column.highest)]
        found = mixed_tables.on_grid(points, known, column.step)
        cell = column.step if column.kind != "ordinal" else 1.0
        return (np.exp(density.numbers.log_density(found)) * cell).sum()
    points = np.sinh(np.linspace(-9, 9, 20_001))
    return np.exp(density.numbers.log_density(points)) @ np.gradient(points)


@pytest.mark.parametrize("name", mixed_frame(2))
def test_densities_of_columns_are_normalised(table, name):
    j = list(table.whole).index(name)
    density = column_densities.fit_column(table.train[:, j], table.columns[j], 0)
    assert density.shares.sum() == pytest.approx(1)
    if density.numbers is not None:
        assert integral(density, table.columns[j]) == pytest.approx(1, abs=2e-3)


def test_quantiles_of_a_column_lie_on_its_grid(table):
    j = list(table.whole).index("size")
    numbers = column_densities.fit_column(table.train[:, j], table.columns[j], 0).numbers
    drawn = numbers.quantile(np.random.default_rng(0).random(20_000))
    known, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(np.round(known, 1), known)
    likely = (counts > 200) & (known != known[0]) & (known != known[-1])
    expected = np.exp(numbers.log_density(known[likely])) * 0.1
    np.testing.assert_allclose(counts[likely] / len(drawn), expected, rtol=0.2)


@pytest.fixture(scope="module")
def single(table):
    return latent_classes.one_class(table.columns, table.train, 0)


@pytest.fixture(scope="module")
def double(table, single):
    cells = single.cells(table.train)
    return latent_classes.more_classes(single, cells, 2, 0, np.inf)


def column_by_column(model, rows):
    total = np.zeros(len(rows))
    for x, density in zip(rows.T, model.densities, strict=True):
        which = density.which(x)
        total += np.where(which < 0, 0.0, np.log(density.shares)[which])
        if density.numbers is not None:
            of_numbers = which == len(density.events)
            total[of_numbers] += density.numbers.log_density(x[of_numbers])
    return total


def test_one_class_is_the_table_of_independent_columns(table, single):
    expected = column_by_column(single, table.test)
    np.testing.assert_allclose(single.log_density(table.test), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["colour", "grade", "count", "size"])
def test_a_gap_is_a_sum_over_all_values(table, double, name):
    j = list(table.whole).index(name)
    column, density = table.columns[j], double.densities[j]
    values = density.events
    if density.numbers is not None:
        grid = np.arange(-300, 300) * column.step + density.numbers.known[0]
        grid = grid[grid >= column.lowest - 1e-9]
        values = mixed_tables.on_grid(grid, density.numbers.known, column.step)
    rows = np.repeat(table.test[:3], len(values), axis=0)
    rows[:, j] = np.tile(values, 3)
    cell = column.step if column.kind == "continuous" else 1.0
    sums = (np.exp(double.log_density(rows)) * cell).reshape(3, -1).sum(axis=1)
    rows = table.test[:3].copy()
    rows[:, j] = np.nan
    np.testing.assert_allclose(sums, np.exp(double.log_density(rows)), rtol=1e-3)


def test_classes_are_found_and_complete_rows_better_than_means(table, single, double):
    ahead = double.log_density(table.test) - single.log_density(table.test)
    assert ahead.mean() > 1
    means = mixed_peers.METHODS["mean and mode"](table, 1.0, 0)
    errors = {
        name: bench_mixed.completion_record(fit, table, 0)
        for name, fit in {"classes": mixed_peers.from_classes(double, 0), "means": means}.items()
    }
    assert errors["classes"]["rmse"] < 0.9 * errors["means"]["rmse"]
    assert errors["classes"]["accuracy"] > errors["means"]["accuracy"]
    assert errors["classes"]["n_hidden"] == errors["means"]["n_hidden"]


def test_held_out_rows_choose_the_number_of_classes(table, double):
    model = latent_classes.fit_latent_classes(table.columns, table.train, 2.0, 0)
    assert len(model.weights) >= 2
    difference = model.log_density(table.test) - double.log_density(table.test)
    assert difference.mean() > -0.5


def test_drawn_rows_are_hard_to_tell_from_rows_and_those_of_one_class_easy(table, single, double):
    rows = np.concatenate([table.train, table.test])
    aucs = {
        name: bench_samples.told_apart(rows, model.sample(len(rows), 0), 0, table.categorical)
        for name, model in {"one": single, "two": double}.items()
    }
    assert aucs["two"] < 0.65 < aucs["one"]
    table.frame(double.sample(50, 0))


def test_the_classifier_knows_categories():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 20, 400)
    even = np.column_stack([codes, codes % 2]).astype(float)
    odd = np.column_stack([codes, (codes + 1) % 2]).astype(float)
    assert bench_samples.told_apart(even, odd, 0, np.array([True, True])) > 0.95
    assert bench_samples.told_apart(even[:200], even[200:], 0, np.array([True, True])) < 0.65


def test_a_vine_scores_complete_rows_and_draws_possible_ones(table):
    pytest.importorskip("pyvinecopulib", reason="an optional peer")
    fit = mixed_peers.METHODS["vine"](table, 0.5, 0)
    scores = fit.log_density(table.test)
    there = ~np.isnan(table.test).any(axis=1)
    np.testing.assert_array_equal(~np.isnan(scores), there)
    independent = mixed_peers.METHODS["independent columns"](table, 1.0, 0)
    assert (scores - independent.log_density(table.test))[there].mean() > 0
    drawn = fit.sample(100)
    np.testing.assert_array_equal(mixed_tables.rows_of(table.frame(drawn), table.columns), drawn)


def test_probabilities_of_a_vine_sum_to_one():
    pytest.importorskip("pyvinecopulib", reason="an optional peer")
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, 400)
    frame = pd.DataFrame({"a": np.array(list("xyz"))[a], "b": (a + rng.integers(1, 3, 400)) * 5})
    small = mixed_tables.split(frame, 0)
    fit = mixed_peers.METHODS["vine"](small, 0.2, 0)
    levels = [mixed_tables.events(column) for column in small.columns]
    cells = np.stack(np.meshgrid(*levels), axis=-1).reshape(-1, 2)
    assert np.exp(fit.log_density(cells)).sum() == pytest.approx(1, abs=0.02)


def test_a_vine_says_if_there_are_too_few_complete_rows(table):
    rows = mixed_tables.hide(table.train, 0.5, 0)
    few = mixed_tables.MixedTable(table.whole, table.columns, rows, table.test)
    with pytest.raises(ValueError, match=r"only \d+ of 240 training rows are complete"):
        mixed_peers.METHODS["vine"](few, 0.5, 0)


def test_a_sampler_of_sdv_draws_rows(table):
    pytest.importorskip("sdv", reason="an optional peer")
    drawn = mixed_peers.METHODS["GaussianCopula"](table, 1.0, 0).sample(30)
    assert drawn.shape == (30, len(table.columns))


@pytest.mark.parametrize("method", ["IterativeImputer", "KNNImputer", "mean and mode"])
def test_imputers_keep_what_is_there_and_fill_the_rest(table, method):
    rows = mixed_tables.hide(table.test, 0.3, 1)
    filled = mixed_peers.METHODS[method](table, 1.0, 0).complete(rows)
    there = ~np.isnan(rows)
    np.testing.assert_array_equal(filled[there], rows[there])
    assert np.isfinite(filled).all()
    for x, column in zip(filled.T, table.columns, strict=True):
        if column.kind in mixed_tables.CODED:
            assert set(x) <= set(range(len(column.levels)))


def test_dummies_hold_all_that_rows_hold(table):
    dummies = mixed_peers.Dummies.of(table.columns, table.train)
    whole = np.nan_to_num(table.test)
    nothing = np.full_like(whole, np.nan)
    np.testing.assert_allclose(dummies.inverse(dummies(whole), nothing), whole, atol=1e-12)


def test_imputed_rows_have_known_values_in_the_gaps(table):
    hidden = mixed_peers.half_hidden(table, 0)
    imputed = mixed_peers.half_imputed(table, 0)
    there = ~np.isnan(hidden)
    np.testing.assert_array_equal(imputed[there], hidden[there])
    for x, known in zip(imputed.T, hidden.T, strict=True):
        assert set(x) <= set(known[~np.isnan(known)])


def test_means_over_complete_rows_and_rows_of_density_zero():
    scores, complete = np.array([-1.0, -2.0, np.nan, -5.0]), np.array([True, True, False, True])
    record = bench_mixed.density_record(scores, complete)
    assert record == {"n_complete": 3, "score_complete": pytest.approx(-8 / 3)}
    scores[1] = -np.inf
    record = bench_mixed.density_record(scores, complete)
    assert record == {
        "n_complete": 3,
        "zero_share": pytest.approx(1 / 3),
        "others": -3.0,
        "floored": pytest.approx(-11 / 3),
    }
    assert bench_mixed.density_record(scores[[0, 3]], complete[[0, 3]])["score"] == -3.0
    assert "1 of 4 test rows" in bench_mixed.density_record(scores, np.ones(4, dtype=bool))["error"]


def test_completions_that_are_right_have_no_errors(table):
    truth = MixedFit(complete=lambda rows: table.test)
    record = bench_mixed.completion_record(truth, table, 0)
    assert (record["rmse"], record["accuracy"]) == (0.0, 1.0)
    off = table.test + np.where(table.categorical, 1.0, np.nanstd(table.train, axis=0))
    record = bench_mixed.completion_record(MixedFit(complete=lambda rows: off), table, 0)
    assert (record["rmse"], record["accuracy"]) == (pytest.approx(1.0), 0.0)


def test_log_scores_are_of_hidden_cells(table, single):
    def known(rows):
        return -2.0 * (~np.isnan(rows)).sum(axis=1)

    record = bench_mixed.completion_record(MixedFit(known, lambda rows: table.test), table, 0)
    assert record["log_score"] == pytest.approx(-2.0)


class FakeDensity:
    """Independent columns behind the interface of this package."""

    def __init__(self, max_time=None, random_state=None):
        self.seed, self.estimators_ = random_state, []

    def fit(self, X, X_reference):
        self.table = mixed_tables.split(X_reference, 0)
        rows = mixed_tables.rows_of(X, self.table.columns)
        self.model = latent_classes.one_class(self.table.columns, rows, self.seed)
        return self

    def get_params(self):
        return {}

    def score_samples(self, X):
        return self.model.log_density(mixed_tables.rows_of(X, self.table.columns))

    def sample_frame(self, n_samples, random_state, missing):
        return self.table.frame(self.model.sample(n_samples, random_state))

    def sample_missing(self, X, n_samples, random_state):
        completed = self.model.complete(mixed_tables.rows_of(X, self.table.columns))
        return self.table.frame(np.repeat(completed, n_samples, axis=0))


@pytest.fixture
def faked(monkeypatch):
    monkeypatch.setattr(skgbnf, "GradientBoostedFlowDensity", FakeDensity)


@pytest.mark.usefixtures("faked")
def test_this_package_is_measured_like_any_other(table, monkeypatch):
    monkeypatch.setattr(mixed_tables, "load", lambda *arguments: table)
    cells = [
        bench_mixed.run_cell("any", "0", name, None, None, 1.0)
        for name in (OURS, "independent columns")
    ]
    for key in ("score", "score_complete", "auc", "log_score", "rmse", "accuracy"):
        assert cells[0][key] == pytest.approx(cells[1][key])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mixed").mkdir()
    mixed_frame(60).to_csv(tmp_path / "mixed" / "tiny.csv.gz", index=False)
    return tmp_path


def run(folder, *more):
    arguments = ["--data", str(folder), "--seeds", "0", "--out", str(folder / "out.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bench_mixed.py", *arguments, "--methods", *more])
        # A process of its own for each cell would take most of the test's time.
        patch.setattr(bench_mixed, "run_guarded", lambda function, args, timeout: function(*args))
        bench_mixed.main()
    return json.loads((folder / "out.json").read_text())


@pytest.mark.usefixtures("faked")
def test_the_harness_fills_its_cells_once_and_reports_them(folder, capsys):
    results = run(folder, OURS, *CHEAP)
    found = results["cells"]["tiny"]["0"]
    assert found.keys() == {OURS, *CHEAP}
    assert found["independent columns"]["ahead"] == pytest.approx(0, abs=1e-5)
    assert run(folder, OURS, *CHEAP)["cells"] == results["cells"]
    assert "3 of 3 cells are there" in capsys.readouterr().out
    text = mixed_report.mixed_section(results)
    # The fake gives the densities of independent columns, and means: as good as the best is best.
    assert f"| {OURS} | **{found[OURS]['score']:.3f}** |" in text
    assert f"| mean and mode | **{found['mean and mode']['rmse']:.3f}** |" in text


def test_a_report_without_tables_has_no_section(tmp_path, monkeypatch):
    monkeypatch.setattr(make_report, "DOCS", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    make_report.main()
    assert "categories" not in (tmp_path / "benchmarks.md").read_text()


def test_a_folder_without_tables_is_said_to_be_one(tmp_path):
    with pytest.raises(SystemExit, match="no table"):
        mixed_tables.names(tmp_path)


def test_the_share_of_a_loss_is_that_of_the_means():
    scores = {OURS: -1.0, f"{OURS}, half hidden": -2.0, f"{OURS}, half imputed": -5.0}
    cells = {name: {"score": score, "seconds": 1.0} for name, score in scores.items()}
    rows = bench_mixed.gap_rows({"cells": {"a": {"0": cells}}})
    assert rows == [["a", OURS, "-1.000", "-2.000", "-5.000", "0.25"]]


def test_the_best_method_is_counted():
    cells = {OURS: {"score": -1.0, "auc": 0.6}, "vine": {"score": -2.0, "auc": 0.5}}
    results = {"cells": {"a": {"0": {m: {**c, "seconds": 1.0} for m, c in cells.items()}}}}
    assert mixed_report.is_best(results, "a", "score")
    assert not mixed_report.is_best(results, "a", "auc")
    assert mixed_report.is_best(results, "a", "rmse") is None
