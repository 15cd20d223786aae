"""The descent that everything is trained by: schedule, patience, restarts, states kept."""

import math
import time

import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skgbnf.training.descent import Descent, descend
from skgbnf.training.objective import TrainingSettings


class Bowl:
    """A number that is to come near 3, and scores that a test chooses."""

    advice, n_batches = "Advice.", 5

    def __init__(self, scores=None, broken_after=math.inf):
        self.module = nn.Linear(1, 1)
        with torch.no_grad():
            self.module.weight.zero_()
            self.module.bias.zero_()
        self.scores, self.broken_after = scores, broken_after
        self.progress, self.scored = [], []

    def batches(self, generator):
        return range(self.n_batches)

    def loss(self, batch, progress, generator):
        self.progress.append(progress)
        broken = math.nan if len(self.progress) > self.broken_after else 0.0
        return (self.module.bias - 3.0).square().sum() + broken

    def score(self, module):
        self.scored.append(float(module.bias.detach()))
        return None if self.scores is None else self.scores[len(self.scored) - 1]

    @property
    def value(self):
        return float(self.module.bias.detach())


def settings(max_iter, **others):
    return TrainingSettings(max_iter, batch_size=1, learning_rate=0.1, **others)


@pytest.mark.quick
def test_progress_runs_from_zero_to_one_over_the_epochs():
    target = Bowl()
    assert descend(target, settings(4, patience=math.inf), seed=0) == 4
    assert target.progress == [i / 20 for i in range(20)]


def test_a_target_without_scores_ends_in_its_last_state():
    target = Bowl()
    descend(target, settings(40, patience=math.inf), seed=0)
    assert target.value == target.scored[-1] == pytest.approx(3.0, abs=0.3)


def test_the_state_with_the_highest_score_is_kept():
    target = Bowl(scores=[0.0, 1.0, 5.0, 2.0, math.nan, 3.0])
    descend(target, settings(5), seed=0)
    assert target.value == target.scored[2]
    assert target.value not in (target.scored[1], target.scored[-1])


def test_patience_ends_a_descent_after_its_restarts():
    target = Bowl(scores=[0.0, 1.0] + 50 * [0.5])
    # One epoch gains; then two without gain, twice: before the restart and after it.
    assert descend(target, settings(50, patience=2, n_restarts=1), seed=0) == 5
    assert target.value == target.scored[1]


def test_losses_that_are_not_finite_end_in_the_best_state_with_advice():
    target = Bowl(scores=[float(i) for i in range(50)], broken_after=10)
    with pytest.warns(ConvergenceWarning, match=r"The best state so far is restored\. Advice\."):
        descend(target, settings(40, n_restarts=0), seed=0)
    assert target.value == target.scored[-1]
    assert math.isfinite(target.value)


def test_time_that_is_over_ends_a_descent_at_once():
    target = Bowl()
    assert descend(target, settings(10**6, seconds=1e-9), seed=0) == 1
    assert target.progress == []


def noted(scores):
    return Bowl(scores=[math.sin(7 * i) for i in range(60)]) if scores else Bowl()


@pytest.mark.parametrize("scores", [True, False])
@pytest.mark.parametrize("shares", [(0.25, 0.5), (0.5, 0.5, 0.75, 0.9)])
def test_pauses_between_epochs_change_nothing(scores, shares):
    at_once, in_parts = noted(scores), noted(scores)
    chosen = settings(20, patience=3, n_restarts=2)
    n_iter = descend(at_once, chosen, seed=0)
    descent = Descent(in_parts, chosen, seed=0)
    for share in shares:
        descent.run(share)
        assert descent.finished or descent.n_iter == share * 20
    descent.run()
    assert descent.finish() == n_iter
    assert in_parts.value == at_once.value
    assert in_parts.progress == at_once.progress


def test_a_pause_within_an_epoch_scores_what_was_learned():
    target = Bowl(scores=[float(i) for i in range(50)])
    descent = Descent(target, settings(10), seed=0)
    descent.run(0.05)
    # Three steps of fifty reach the share; the average after them is scored, as the start was.
    assert (descent.n_iter, len(target.progress), len(target.scored)) == (1, 3, 2)
    assert float(descent.best().bias.detach()) == target.scored[-1] != 0.0
    descent.run()
    assert (descent.n_iter, len(target.progress)) == (10, 50)


def test_time_passes_only_while_it_runs(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    class Slow(Bowl):
        def loss(self, *args):
            now[0] += 1.0
            return super().loss(*args)

    target = Slow()
    descent = Descent(target, settings(10**6, seconds=40.0), seed=0)
    descent.run(0.5)
    now[0] += 1000.0
    assert descent.seconds == pytest.approx(20.0, abs=1.0)
    descent.run(seconds=10.0)
    assert descent.finished
    assert descent.seconds == pytest.approx(30.0, abs=2.0)


def test_a_module_without_parameters_is_finished_at_once():
    target = Bowl()
    target.module = nn.Identity()
    target.score = lambda module: 0.0
    descent = Descent(target, settings(0), seed=0)
    descent.run()
    assert descent.finished
    assert descent.finish() == 0
