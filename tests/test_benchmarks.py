"""The parts of the benchmarks that figures rest on: known densities, blurring, bookkeeping."""

import importlib.util
import json
import re
import sys

import bench_budget
import bench_choices
import bench_family_costs
import bench_grid
import bench_peers
import bench_published
import bench_speed
import cells
import data
import flow_peers
import make_report
import numpy as np
import peers
import pytest
import report
import score_tables
import summary
import tree_peers
from targets import TARGETS

from skgbnf.flows import family_names

PLANE = sorted(name for name, target in TARGETS.items() if target.n_features == 2)
CHEAP = ["Gaussian", "GaussianMixture", "KernelDensity"]


def grid(name):
    """Points and areas of cells that cover a target in the plane; wide for heavy tails."""
    axis = np.sinh(np.linspace(-9, 9, 801)) if name == "gumbel" else np.linspace(-6, 6, 401)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, np.outer(np.gradient(axis), np.gradient(axis)).ravel()


@pytest.mark.parametrize("name", PLANE)
def test_targets_in_the_plane_integrate_to_one_and_their_samples_have_their_entropy(name):
    points, areas = grid(name)
    log_density = TARGETS[name].log_density(points)
    mass = np.exp(log_density) * areas
    assert mass.sum() == pytest.approx(1.0, abs=2e-3)
    scores = TARGETS[name].log_density(TARGETS[name].sample(20_000, np.random.default_rng(0)))
    error = scores.std() / np.sqrt(len(scores))
    assert scores.mean() == pytest.approx(mass @ log_density, abs=4 * error + 2e-3)


@pytest.mark.parametrize("name", PLANE)
def test_samples_of_targets_lie_where_their_density_says(name):
    points, areas = grid(name)
    mass = np.exp(TARGETS[name].log_density(points)) * areas
    inside = (points[:, 0] > 0.3) & (points[:, 1] < 1.1)
    x = TARGETS[name].sample(20_000, np.random.default_rng(1))
    share = np.mean((x[:, 0] > 0.3) & (x[:, 1] < 1.1))
    assert share == pytest.approx(mass[inside].sum(), abs=0.02)


@pytest.mark.parametrize("name", TARGETS)
def test_no_gaussian_scores_above_a_target_on_its_own_rows(name):
    """Gibbs' inequality, with a density of the same moments for the other."""
    X = TARGETS[name].sample(5000, np.random.default_rng(1))
    gaussian = peers.gaussian_mixture(flow_peers.standardise(X), X, 1, 0)
    assert TARGETS[name].log_density(X).mean() > gaussian(X).mean() + 0.1


def test_gumbel_target_has_the_entropy_found_by_integration():
    x = TARGETS["gumbel"].sample(200_000, np.random.default_rng(0))
    assert -TARGETS["gumbel"].log_density(x).mean() == pytest.approx(3.358, abs=0.02)


def test_banana_has_the_entropy_of_its_noise():
    x = TARGETS["banana20"].sample(50_000, np.random.default_rng(0))
    entropy = 10 * np.log(2 * np.pi * np.e) + 10 * np.log(0.5)
    assert -TARGETS["banana20"].log_density(x).mean() == pytest.approx(entropy, abs=0.1)


def test_mixture_is_that_of_scipy():
    from scipy.stats import multivariate_normal

    target = TARGETS["mixture10"]
    mixture = target.sample.__self__
    x = target.sample(20, np.random.default_rng(0))
    parts = zip(mixture.weights, mixture.means, mixture.factors, strict=True)
    density = sum(w * multivariate_normal(m, f @ f.T).pdf(x) for w, m, f in parts)
    np.testing.assert_allclose(target.log_density(x), np.log(density))


def test_prepare_drops_discrete_columns_and_blurs_grids_and_heaps():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(2000, 5))
    few = rng.integers(0, 20, 2000)
    grid = rng.integers(0, 200, 2000) * 0.5
    heap = np.where(rng.uniform(size=2000) < 0.1, 0.0, rng.uniform(1, 2, 2000))
    most = np.where(rng.uniform(size=2000) < 0.6, 0.0, normal[:, 3])
    X, dropped, blurred = data.prepare(np.column_stack([normal[:, 0], few, grid, heap, most]))
    assert (dropped, blurred) == ([1, 4], [2, 3])
    np.testing.assert_array_equal(X[:, 0], normal[:, 0])
    assert 0.2 < np.abs(X[:, 1] - grid).max() <= 0.25
    assert np.abs(X[:, 2] - heap).max() <= 0.5 * 0.01 * np.ptp(heap)
    assert len(np.unique(X[:, 1])) == len(np.unique(X[:, 2])) == 2000


def test_prepare_keeps_columns_of_small_tables_and_refuses_tables_without_any():
    X, dropped, blurred = data.prepare(data.BUNDLED["iris"]().data)
    assert X.shape == (150, 4)
    assert (dropped, blurred) == ([], [0, 1, 2, 3])
    with pytest.raises(ValueError, match="no column"):
        data.prepare(np.zeros((100, 2)))


def test_splits_are_seeded_and_cover_the_rows(tmp_path):
    X = np.random.default_rng(0).normal(size=(1000, 2))
    np.savez(tmp_path / "mine.npz", X=X)
    np.savez(tmp_path / "images.npz", X=X.reshape(10, 10, 20))
    assert data.names(tmp_path)[0] == "mine"
    assert "images" not in data.names(tmp_path)
    table = data.load("mine", 3, tmp_path)
    parts = (table.train, table.held_out, table.test)
    assert [len(part) for part in parts] == [700, 100, 200]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts), axis=0), np.sort(X, axis=0))
    np.testing.assert_array_equal(data.load("mine", 3, tmp_path).test, table.test)
    assert len(data.load("mine", 3, tmp_path, n_rows=100).train) == 70


def test_an_empty_folder_is_said_to_be_one(tmp_path):
    with pytest.raises(SystemExit, match="no file"):
        data.names(tmp_path)


@pytest.mark.parametrize("scale", flow_peers.SCALINGS.values(), ids=flow_peers.SCALINGS)
def test_scalings_keep_densities_normalised(scale):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) * [1.0, 100.0, 0.01]
    Z = scale(X)(X)
    np.testing.assert_allclose(Z.std(axis=0), 1.0)
    moved = np.linalg.slogdet(np.cov(Z.T))[1] - np.linalg.slogdet(np.cov(X.T))[1]
    assert scale(X).log_det == pytest.approx(moved / 2)


@pytest.mark.parametrize("make", [flow_peers.zuko_nsf, flow_peers.zuko_maf])
def test_flow_peers_learn_normalised_densities_in_little_time(make):
    X = TARGETS["eight_gaussians"].sample(500, np.random.default_rng(0))
    fit = flow_peers.fit_flow(make, X[:400], X[400:], 0.5, 0)
    points, areas = grid("eight_gaussians")
    assert np.exp(fit.log_density(1.5 * points)) @ (2.25 * areas) == pytest.approx(1, abs=0.03)
    scores = [score for _, score in fit.curve]
    assert scores == sorted(scores)
    assert fit.log_density(X[400:]).mean() == pytest.approx(scores[-1], abs=1e-4)


@pytest.mark.parametrize("fit", [flow_peers.fit_ensemble, flow_peers.fit_piecewise])
def test_mixtures_of_flows_score_as_their_curve_says(fit):
    X = TARGETS["eight_gaussians"].sample(300, np.random.default_rng(0))
    mixed = fit(flow_peers.zuko_maf, 2, X[:250], X[250:], 0.4, 0)
    assert mixed.log_density(X[250:]).mean() == pytest.approx(mixed.curve[-1][1], abs=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("nflows") is None, reason="an optional peer")
def test_flows_of_nflows_can_be_trained():
    X = TARGETS["eight_gaussians"].sample(300, np.random.default_rng(0))
    fit = flow_peers.fit_flow(flow_peers.nflows_nsf, X[:250], X[250:], 0.3, 0)
    assert np.isfinite(fit.log_density(X)).all()


@pytest.mark.skipif(importlib.util.find_spec("torchflows") is None, reason="an optional peer")
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
def test_flows_of_torchflows_learn_normalised_densities():
    X = TARGETS["eight_gaussians"].sample(500, np.random.default_rng(0))
    fit = flow_peers.fit_flow(flow_peers.torchflows_maf, X[:400], X[400:], 0.5, 0)
    points, areas = grid("eight_gaussians")
    assert np.exp(fit.log_density(1.5 * points)) @ (2.25 * areas) == pytest.approx(1, abs=0.03)
    assert fit.log_density(X[400:]).mean() == pytest.approx(fit.curve[-1][1], abs=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("pyvinecopulib") is None, reason="an optional peer")
def test_a_vine_is_normalised_and_zero_far_away():
    X = TARGETS["eight_gaussians"].sample(300, np.random.default_rng(0))
    fit = peers.fit_vine(X[:250], X[250:], 5.0, 0)
    points, areas = grid("eight_gaussians")
    assert np.exp(fit.log_density(1.5 * points)) @ (2.25 * areas) == pytest.approx(1, abs=0.05)
    assert fit.log_density(X[250:]).mean() == pytest.approx(fit.curve[-1][1])
    assert fit.log_density(np.array([[1e3, 1e3]])) == -np.inf


def add_trees_by_hand(booster, bins, *arguments):
    """What numba would compile for seconds before it did so."""
    from nrgboost.tree.eval import EvalNode, EvalTree

    for column, value, leaves in [(0, 3, [-1.0, 1.0]), (1, 5, [0.5, -2.0])]:
        node = EvalNode(-1, -2, column, value)
        booster.add(EvalTree(bins.rows.domain, [node], np.array(leaves)))


@pytest.fixture
def boosted():
    """Rows, their bins and boosted trees."""
    pytest.importorskip("nrgboost", reason="an optional peer")
    X = np.random.default_rng(0).normal(size=(200, 2))
    bins = tree_peers.Bins(X, 8)
    booster = tree_peers.product_of_marginals(bins)
    add_trees_by_hand(booster, bins)
    return X, bins, booster


def test_normalisers_of_boosted_trees_are_those_of_a_sum_over_all_bins(boosted):
    _, _, booster = boosted
    cells = np.stack(np.meshgrid(range(8), range(8)), axis=-1).reshape(-1, 2).astype(np.uint8)
    exact = [np.log(np.exp(e).sum()) for e in booster.predict(cells, cumulative=True)]
    estimates, errors = tree_peers.estimate_log_normalisers(booster, np.inf, 0)
    assert errors[0] == 0
    assert errors[-1] < 0.02
    np.testing.assert_allclose(estimates, exact, atol=4 * errors.max())


def test_bins_of_boosted_trees_have_volumes_and_an_end(boosted):
    X, bins, _ = boosted
    assert bins.contain(X).all()
    assert not bins.contain(X.max(axis=0) + 1e-6 * np.eye(2)).any()
    inside = np.bincount(bins(X)[:, 0], minlength=8)
    np.testing.assert_array_equal(inside, 25)
    widths = [np.diff(edges) for edges in bins.edges]
    row = np.array([[bins.edges[0][2] + 1e-6, bins.edges[1][5] + 1e-6]])
    assert bins.log_volumes(row) == pytest.approx(np.log(widths[0][2] * widths[1][5]))


@pytest.mark.skipif(importlib.util.find_spec("nrgboost") is None, reason="an optional peer")
def test_boosted_trees_become_a_normalised_density(monkeypatch):
    monkeypatch.setattr(tree_peers, "compile_functions", lambda: None)
    monkeypatch.setattr(tree_peers, "grow", add_trees_by_hand)
    X = TARGETS["eight_gaussians"].sample(500, np.random.default_rng(0))
    fit = tree_peers.fit_nrgboost(X[:400], X[400:], 0.2, 0)
    points, areas = grid("eight_gaussians")
    assert np.exp(fit.log_density(points)) @ areas == pytest.approx(1, abs=0.05)
    scores = fit.log_density(X[400:])
    assert scores[np.isfinite(scores)].mean() == pytest.approx(fit.curve[-1][1])


def test_an_absent_peer_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    assert bench_peers.missing(("iris", "0", "nflows NSF"))
    assert "nflows is not installed" in capsys.readouterr().out
    assert not bench_peers.missing(("iris", "0", "Gaussian"))


def test_rows_of_density_zero_are_counted_where_a_method_may_have_them():
    scores = np.array([-1.0, -np.inf, -3.0, -np.inf])
    record = bench_peers.outcome_of("vine", scores)
    assert record == {"zero_share": 0.5, "others": -2.0}
    assert "2 of 4 test rows" in bench_peers.outcome_of("zuko NSF", scores)["error"]
    assert "error" in bench_peers.outcome_of("vine", np.array([-1.0, np.nan]))
    assert bench_peers.outcome_of("vine", scores[::2]) == {"score": -2.0}


def test_a_method_with_rows_of_density_zero_has_no_mean_but_a_line(capsys):
    some, all_finite = {"zero_share": 0.25, "others": -2.0, "seconds": 1.0}, {"score": -3.0}
    results = {"cells": {"a": {"0": {"vine": some}, "1": {"vine": all_finite}}}}
    assert summary.over_seeds(results, "a", "vine", "score") is None
    assert summary.over_seeds(results, "a", "vine", "seconds").value == 1.0
    text = "25.00 % of test rows at -inf, -2.0000 nats on the others"
    assert bench_peers.outcome_text(some) == f"{text}, 1 s"
    assert text in make_report.zeros_section(results)
    summary.print_peers(results)
    printed = capsys.readouterr().out
    assert f"a, 0, vine, {text}" in printed
    assert "a, 1, vine, 0.00 % of test rows at -inf, -3.0000 nats" in printed


def fail(message):
    raise ArithmeticError(message)


def test_a_cell_that_fails_in_its_process_is_recorded():
    assert cells.run_guarded(fail, ("oh",), 300) == {"error": "ArithmeticError: oh"}


@pytest.fixture(scope="module")
def quick_results(tmp_path_factory):
    """What a run of the cheap methods and of this package on iris leaves behind."""
    out = tmp_path_factory.mktemp("bench") / "peers.json"
    run_peers(out, [*CHEAP, peers.OURS])
    return out


def run_peers(out, methods, *more):
    arguments = ["--sets", "iris", "--seeds", "0", "--seconds", "1", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bench_peers.py", *arguments, "--methods", *methods, *more])
        patch.delenv("SKGBNF_DATA", raising=False)
        # A process of its own for each cell would take most of the test's time.
        patch.setattr(bench_peers, "run_guarded", lambda function, args, timeout: function(*args))
        bench_peers.main()


def test_the_harness_fills_its_cells(quick_results):
    results = json.loads(quick_results.read_text())
    found = results["cells"]["iris"]["0"]
    assert found.keys() == {*CHEAP, peers.OURS}
    assert not summary.errors_in(results)
    for method in CHEAP:
        difference = found[peers.OURS]["score"] - found[method]["score"]
        assert found[method]["ahead"] == pytest.approx(difference, abs=1e-5)
        assert found[method]["ahead_error"] > 0
        assert found[method]["curve"]


def test_finished_cells_are_not_run_again(quick_results, capsys):
    before = json.loads(quick_results.read_text())["cells"]
    run_peers(quick_results, CHEAP)
    assert "3 of 3 cells are there" in capsys.readouterr().out
    assert json.loads(quick_results.read_text())["cells"] == before
    with pytest.raises(SystemExit, match="other setting"):
        run_peers(quick_results, CHEAP, "--rows", "20")


def test_the_report_is_written_from_the_results(quick_results, tmp_path, monkeypatch):
    monkeypatch.setattr(make_report, "DOCS", tmp_path)
    monkeypatch.setattr(make_report, "README", tmp_path / "README.md")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    (tmp_path / "README.md").write_text("a<!-- results:begin --><!-- results:end -->b")
    results = json.loads(quick_results.read_text())
    report.write(tmp_path / "bench_peers.json", results)
    make_report.main()
    text = (tmp_path / "benchmarks.md").read_text()
    ours = results["cells"]["iris"]["0"][peers.OURS]["score"]
    assert re.search(rf"\| {peers.OURS} \| (\*\*)?{ours:.3f}(\*\*)? \|", text)
    assert (tmp_path / "benchmarks.png").stat().st_size > 1000


def test_the_best_score_is_bold_and_a_failure_is_named():
    cells = {"a": {"score": 1.0004}, "b": {"score": 1.0}, "c": {"score": -6e8}, "d": {"error": "e"}}
    results = {"cells": {"iris": {"0": cells}}}
    scores = score_tables.bold_scores(results, "iris", list(cells))
    assert scores == {"a": "**1.000**", "b": "**1.000**", "c": "diverged", "d": "-"}


def test_the_smallest_distance_is_bold_where_smaller_is_better():
    texts = {"a": "0.10 ± 0.01", "b": "0.20 ± 0.01", "c": "-"}
    expected = {"a": "**0.10 ± 0.01**", "b": "0.20 ± 0.01", "c": "-"}
    assert report.bold_best({"a": 0.1, "b": 0.2}, texts, min) == expected
    assert report.bold_best({}, {"c": "-"}) == {"c": "-"}


def test_the_best_published_score_of_each_table_is_bold():
    rows = [["s", "a", "2", "1.5 ± 0.1"], ["s", "b", "2", "0.5"], ["t", "a", "2", "-3.0"]]
    scores = [row[3] for row in make_report.best_in_bold(rows)]
    assert scores == ["**1.5 ± 0.1**", "0.5", "**-3.0**"]


def test_means_over_seeds_carry_both_errors():
    cell = [{"score": 1.0, "score_error": 0.3}, {"score": 2.0, "score_error": 0.4}]
    results = {"cells": {"a": {"0": {"m": cell[0]}, "1": {"m": cell[1]}, "2": {"m": {}}}}}
    mean = summary.over_seeds(results, "a", "m", "score")
    assert (mean.value, mean.rows, mean.seeds, mean.n) == pytest.approx((1.5, 0.25, 0.5, 2))
    assert mean.error == mean.seeds
    assert summary.over_seeds(results, "a", "m", "gap") is None


def test_a_round_alone_has_no_objective_in_the_table_of_budgets():
    one, many = {"score": 1.0, "parameters": 3}, {"score": 2.0, "parameters": 4}
    cells = {"nsf": {"1x8": {"any": one}, "8x1": {"greedy": many, "weighted": {"error": "oh"}}}}
    rows = bench_budget.budget_rows({"cells": {"a": {"0": cells}}})
    assert rows["a", "nsf", "1x8"] == (3, [1.0] * len(bench_budget.OBJECTIVES))
    parameters, scores = rows["a", "nsf", "8x1"]
    assert parameters == 4
    expected = [2.0 if name == "greedy" else np.nan for name in bench_budget.OBJECTIVES]
    np.testing.assert_array_equal(scores, expected)


def test_times_of_components_are_taken():
    size = {"n_features": 3, "transforms": 1, "hidden": [8], "batch": 16}
    run = {**size, "milliseconds": bench_speed.time_size(size, 1)}
    assert all(t > 0 for times in run["milliseconds"].values() for t in times.values())
    assert bench_speed.passes_per_column(run, bench_speed.OURS) > 0


def test_costs_of_every_family_are_shown_beside_scoring_by_one(tmp_path):
    times = bench_family_costs.time_families(2, 20, 1)
    assert all(set(of_task) == set(family_names()) for of_task in times.values())
    times["score"]["nsf_coupling"], times["sample"]["maf"] = 10.0, 25.0
    setting = {"rows": 20, "repeats": 1, "gaussians": 8}
    run = {"n_features": 2, "milliseconds": times}
    text = bench_family_costs.section(
        {"machine": report.machine(), "setting": setting, "runs": [run]}
    )
    (line,) = [line for line in text.splitlines() if line.startswith('| "maf"')]
    assert line.split(" | ")[-1] == "2.50 |"
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- costs:begin -->\nold\n<!-- costs:end -->\nafter\n")
    for _ in range(2):
        report.insert(page, "costs", text)
    written = page.read_text()
    assert written.startswith("before\n<!-- costs:begin -->\n\nTime")
    assert written.endswith("<!-- costs:end -->\nafter\n")
    assert "old" not in written


@pytest.mark.parametrize(("table", "score"), [("wine", -16.0865), ("breast_cancer", -17.8495)])
def test_a_gaussian_scores_on_the_published_splits_as_it_should(table, score):
    cells = [bench_published.run_cell(table, str(k), "gaussian") for k in range(10)]
    assert np.mean([cell["score"] for cell in cells]) == pytest.approx(score, abs=1e-4)


def run_published(out, *arguments):
    arguments = ["--tables", "wine", "--methods", "gaussian", "--out", str(out), *arguments]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bench_published.py", *arguments])
        patch.delenv("SKGBNF_DATA", raising=False)
        patch.setattr(
            bench_published, "run_guarded", lambda function, args, timeout: function(*args)
        )
        bench_published.main()


def test_fits_are_compared_with_published_scores_split_by_split(tmp_path, capsys):
    published = tmp_path / "published" / "r_bp.json"
    published.parent.mkdir()
    published.write_text(json.dumps({"wine": [-17.0, -10.0, *[0.0] * 8]}))
    out = tmp_path / "out.json"
    run_published(out, "--data", str(tmp_path), "--splits", "0", "1")
    cells = json.loads(out.read_text())["cells"]["wine"]
    scores = [cells[k]["gaussian"]["score"] for k in "01"]
    difference = report.mean_text([scores[0] + 17.0, scores[1] + 10.0], 3)
    printed = capsys.readouterr().out
    assert difference in printed
    assert "1 of 2" in printed
    assert cells["0"]["gaussian"].keys() == {"seconds", "cpu_seconds", "chosen", "score"}


def test_published_scores_may_be_absent_and_fits_are_not_repeated(tmp_path, capsys):
    out = tmp_path / "out.json"
    run_published(out, "--splits", "3")
    assert "published/r_bp.json" in capsys.readouterr().out
    before = json.loads(out.read_text())["cells"]
    run_published(out, "--splits", "3")
    assert "1 of 1 cells are there" in capsys.readouterr().out
    assert json.loads(out.read_text())["cells"] == before
    run_published(out, "--splits", "3", "--redo", "gaussian")
    assert "0 of 1 cells are there" in capsys.readouterr().out


def test_choices_of_families_are_counted():
    cells = {
        str(seed): {bench_choices.METHOD: {"choice": choice, "score": score}}
        for seed, (choice, score) in enumerate([("nsf", 1.0), ("maf", 2.0), ("nsf", 3.0)])
    }
    sets = {"a": {"rows": {"train": 70, "held_out": 10, "test": 20}, "columns": 2}}
    results = {
        "machine": report.machine(), "setting": {"seconds": 1.0, "rounds": 3}, "sets": sets,
        "cells": {"a": cells},
    }  # fmt: skip
    row = ["a", "80", "2", "nsf", "2 of 3", "maf", "1 of 3", "2.000", "1.000"]
    assert bench_choices.choice_rows(results) == [row]
    assert " | ".join(row) in make_report.choices_section(results)


def test_the_choice_is_the_component_of_the_third_round():
    cell = bench_choices.run_cell("wine", 0, None, 1.0)
    assert cell.keys() == {"seconds", "cpu_seconds", "choice", "score"}
    assert any(cell["choice"].startswith(name) for name in ("made", "g", "copula", "none"))


def test_the_best_of_a_grid_is_chosen_without_the_test_rows():
    fit = {"cpu_seconds": 2.0, "validation_score": -1.0, "score": 0.0}
    table = {name: fit for name in bench_grid.CANDIDATES}
    names = list(table)
    table[names[0]] = {**fit, "score": 9.0}
    table[names[2]] = {**fit, "validation_score": -0.5, "score": -3.0}
    assert bench_grid.best_candidate(table) == names[2]
    table |= {bench_grid.BEST: {**fit, "score": 0.25}, bench_grid.DEFAULT: fit}
    (row,) = bench_grid.grid_rows({"cells": {"a": table}})
    assert row == ["a", names[2], "12", "0.250", "2", "0.000", "2", "+0.250"]
