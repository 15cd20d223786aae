"""What a fit prints: nothing, lines, or bars."""

import io
import sys

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.model_selection import GridSearchCV

from skgbnf.training import progress


@pytest.fixture
def small(quick):
    def make(**parameters):
        settings = {"flow": "realnvp", "n_transforms": 1, "hidden_layer_sizes": (4,), "tol": 0.0}
        return quick(**{**settings, "n_iter_no_change": 9, **parameters})

    return make


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_printed_at_0(small, table2, capfd):
    small(verbose=0, fine_tune=1).fit(table2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.quick
def test_a_line_for_each_round_at_1(small, table2, capfd):
    model = small(verbose=1, n_estimators=3).fit(table2)
    out, err = capfd.readouterr()
    assert err == ""
    first, plan, *lines = out.splitlines()
    assert first == "[skgbnf] reading the table"
    assert plan == "[skgbnf] 180 rows x 2 columns, 20 for validation; up to 3 rounds"
    assert len(lines) == 3
    for i, line in enumerate(lines[: model.n_estimators_]):
        assert line.startswith(f"[skgbnf] round {i + 1}/3: train {model.train_scores_[i]:.4f}")
        assert f"validation {model.validation_scores_[i]:.4f} nats" in line
    assert all("s left" in line for line in lines[:2])
    assert "left" not in lines[2]


def test_a_line_for_each_epoch_too_at_2(small, table2, capfd, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    model = small(verbose=2, n_estimators=1, max_iter=3).fit(table2)
    lines = capfd.readouterr().out.splitlines()
    # The trials of both architectures, and the training of the better one.
    epochs = [line for line in lines if "epoch" in line]
    assert [line.split("epoch ")[1].split(",")[0] for line in epochs[-3:]] == ["1/3", "2/3", "3/3"]
    assert f"{model.validation_scores_[0]:.4f} nats" in epochs[-1]


def test_fine_tuning_has_lines_of_its_own(small, table2, capfd):
    model = small(verbose=2, n_estimators=2, max_iter=2, fine_tune=2).fit(table2)
    lines = capfd.readouterr().out.splitlines()
    after = lines[next(i for i, line in enumerate(lines) if "round 2/2: train" in line) + 1 :]
    assert {line.partition(":")[0] for line in after} == {
        "[skgbnf] fine-tuning 1/2", "[skgbnf] fine-tuning 2/2",
    }  # fmt: skip
    assert f"validation {model.validation_scores_[-1]:.4f} nats" in after[-1]


def test_fine_tuning_without_time_is_not_told_of(small, table2, capfd):
    small(verbose=1, n_estimators=1, fine_tune=2, max_time=1e-6).fit(table2)
    assert "fine-tuning" not in capfd.readouterr().out


def test_bars_on_a_terminal(small, table2, capfd, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    model = small(verbose=1, n_estimators=1).fit(table2)
    assert capfd.readouterr().out == ""
    shown = terminal.getvalue()
    assert "rounds: 100%" in shown
    assert f"validation {model.validation_scores_[-1]:.4f} nats" in shown
    assert "epochs:" in shown


def test_lines_where_there_is_no_tqdm(small, table2, capfd, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    small(verbose=1, n_estimators=1).fit(table2)
    assert "[skgbnf] round 1/1" in capfd.readouterr().out
    assert terminal.getvalue() == ""


def test_bars_are_closed_when_a_fit_fails(small, table2, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    closed = []
    monkeypatch.setattr(progress.Bars, "close", lambda self: closed.append(self))

    def failing(n_features):
        raise RuntimeError("no flow")

    with pytest.raises(RuntimeError, match="no flow"):
        small(verbose=1, flow=failing).fit(table2)
    assert len(closed) == 1


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_what_is_printed_does_not_change_the_model(small, table2, verbose):
    expected = small().fit(table2).score_samples(table2)
    assert np.array_equal(small(verbose=verbose).fit(table2).score_samples(table2), expected)


@pytest.mark.slow
def test_workers_of_a_search_print_lines(small, table2, capfd):
    # Workers of an earlier test would print to where its output went.
    get_reusable_executor().shutdown(wait=True)
    search = GridSearchCV(small(verbose=1, n_estimators=1), {"max_iter": [1, 2]}, cv=2, n_jobs=2)
    search.fit(table2)
    out = capfd.readouterr().out
    assert out.count("[skgbnf] round 1/1: train") == 5
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(progress.time, "perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


PLAN = progress.Overview("300,000 rows x 20 columns", n_done=1, log_det=0.0)


def test_time_left_is_that_of_the_rounds_to_come(capfd, clock):
    lines = progress.Lines(5, seconds=20.0, every_epoch=False)
    lines.begin(PLAN)
    clock.now = 4.0
    lines.round(2, 7, -1.0, None)  # 4 s for one round, three to come
    clock.now = 12.0
    lines.round(3, 7, -1.0, None)  # 12 s for two rounds, two to come, 8 s to the limit
    plan, first, second = capfd.readouterr().out.splitlines()
    assert plan == "[skgbnf] 300,000 rows x 20 columns; up to 5 rounds, at most 20 s"
    assert first == "[skgbnf] round 2/5: train -1.0000 nats, 7 iterations, 4.0 s, " + (
        "at most about 12 s left"
    )
    assert second.endswith("8.0 s, at most about 8 s left")


def test_a_long_part_is_told_of_every_few_seconds(capfd, clock):
    lines = progress.Lines(5, seconds=float("inf"), every_epoch=False)
    lines.begin(PLAN)
    lines.part("maf")  # too soon after the line before
    for step in range(1, 101):
        clock.now = 0.1 * step
        lines.epoch(step / 20, 30, -2.0)
    told = capfd.readouterr().out.splitlines()[1:]
    assert len(told) == 5
    # 2 s for one epoch of 30; 10 s for five.
    assert told[0].endswith(
        "round 2/5: maf, epoch 1/30, -2.0000 nats, at most about 58 s left of it"
    )
    assert told[-1].endswith("maf, epoch 5/30, -2.0000 nats, at most about 50 s left of it")
    clock.now = 13.0
    lines.part("nsf")
    assert capfd.readouterr().out == "[skgbnf] round 2/5: nsf\n"


def test_no_part_takes_longer_than_the_limit(capfd, clock):
    lines = progress.Lines(5, seconds=9.0, every_epoch=False)
    lines.begin(PLAN)
    lines.part("nsf")
    for clock.now, n_iter in [(3.0, 0.25), (6.0, 0.5)]:
        lines.epoch(n_iter, 100, float("-inf"))
    first, second = capfd.readouterr().out.splitlines()[1:]
    # What came before the first step says nothing of the time of a step.
    assert first.endswith("nsf, epoch 1/100")
    assert second.endswith("nsf, epoch 1/100, at most about 3 s left of it")


def test_lines_of_a_long_fit_are_few(capfd, clock):
    lines = progress.Lines(5, seconds=float("inf"), every_epoch=False)
    lines.begin(PLAN)
    lines.part("nsf")
    for second in range(1, 3601):
        clock.now = float(second)
        lines.epoch(second / 36, 100, -2.0)
    assert 50 < len(capfd.readouterr().out.splitlines()) < 130


def test_trials_and_em_are_told_of(small, table2, capfd):
    small(verbose=2, flow=["gaussian_mixture", "maf"], n_estimators=1, max_iter=1).fit(table2)
    out = capfd.readouterr().out
    em = "trial of gaussian_mixture of"
    for part in (f"{em} 1 Gaussian\n", f"{em} 4 Gaussians", "trial of maf",
                 "round 1/1: maf", "scoring all rows"):  # fmt: skip
        assert part in out


def test_what_is_done_is_told_before_it_is_done(small, table2, capfd, monkeypatch):
    def failing(n_features):
        raise RuntimeError("no flow")

    with pytest.raises(RuntimeError, match="no flow"):
        small(verbose=2, flow=failing).fit(table2)
    assert capfd.readouterr().out.splitlines()[-1] == "[skgbnf] round 1/2: failing"


def test_bars_show_rows_and_parts(small, table2, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    small(verbose=1, n_estimators=2, max_time=1e6).fit(table2)
    shown = terminal.getvalue()
    assert "180 rows x 2 columns, 20 for validation, at most 1e+06 s" in shown
    assert "trial of realnvp, splines of columns, epochs:" in shown


def test_a_continued_fit_counts_on(small, table2, capfd, monkeypatch):
    model = small(n_estimators=1).fit(table2).set_params(n_estimators=2, warm_start=True, verbose=1)
    model.fit(table2)
    assert "[skgbnf] round 2/2: train" in capfd.readouterr().out
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    model.set_params(n_estimators=3).fit(table2)
    assert "2/3" in terminal.getvalue()
