"""The descent that everything is trained by: schedule, patience, restarts, states kept."""

import math

import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skgbnf.training.descent import descend
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
