"""Networks of a round by successive halving: what is trained, how long, what comes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import Offers, limits

from skgbnf.boosting.additive import AdditiveBoosting
from skgbnf.boosting.search import Search, _cost_of_halving
from skgbnf.flows import Architecture
from skgbnf.training.objective import TrainingSettings
from skgbnf.training.rows import Rows

N_EPOCHS = 40


def banana(n_rows, seed):
    z = np.random.default_rng(seed).normal(size=(n_rows, 2))
    x = np.column_stack([z[:, 0], 0.3 * z[:, 1] + z[:, 0] ** 2 - 1])
    return Rows(torch.from_numpy(x), torch.ones(n_rows, dtype=torch.float64))


def architectures(n):
    """Networks that differ in size, and in what they can learn in a few steps."""
    return [
        Architecture("maf", 2, n_transforms=1 + k % 2, hidden_layer_sizes=(4 * (k + 1),))
        for k in range(n)
    ]


class Notes:
    """Settings whose callbacks note what is trained, and for how many steps."""

    def __init__(self):
        self.parts, self.n_steps = [], 0
        self.settings = TrainingSettings(
            N_EPOCHS, batch_size=25, learning_rate=6e-3, on_part=self.parts.append,
            on_epoch=self.note,
        )  # fmt: skip

    def note(self, n_iter, max_iter, score):
        self.n_steps += n_iter != int(n_iter)


def boosting(offered, settings):
    train, validation = banana(200, 0), banana(100, 1)
    offers = Offers(*([architecture] for architecture in offered))
    return AdditiveBoosting(train, validation, offers, settings, 0, "tempered")


@pytest.mark.parametrize("n_networks", [2, 4, 5])
def test_half_of_the_networks_goes_on_each_time(n_networks):
    notes = Notes()
    of_all = boosting(architectures(n_networks), notes.settings)
    of_all.add_round(limits())
    trials = [part for part in notes.parts if part.startswith("trial of")]
    assert len(trials) == n_networks
    # Epochs of eight steps, and pauses at a twentieth and a tenth of forty of them.
    n_epochs = {2: 2 * 2 + 38, 4: 4 * 2 + 2 * 2 + 36, 5: 5 * 2 + 2 * 2 + 36}[n_networks]
    if of_all.n_iter[0] == N_EPOCHS:
        assert notes.n_steps == 8 * n_epochs
    assert notes.parts.index(of_all.architectures[0].describe()) == n_networks


def test_the_winner_is_what_it_would_be_alone():
    of_all = boosting(offered := architectures(4), Notes().settings)
    of_all.add_round(limits())
    winner = of_all.architectures[0]
    alone = boosting([winner], Notes().settings)
    alone.add_round(limits())
    assert winner in offered
    # Pauses add states that are scored, of which none was the best here.
    assert alone.stages[0].validation_score == of_all.stages[0].validation_score


def test_the_winner_leads_at_each_pause():
    """An oracle: all networks trained apart, paused where the search pauses."""
    notes = Notes()
    goals = boosting(architectures(4), notes.settings)
    search = Search(goals, notes.settings)
    search._seed = 3
    apart = {a: search._entered(a, notes.settings) for a in architectures(4)}
    left = list(apart)
    for share in (0.05, 0.1):
        scores = {a: search._advanced(apart[a], share, np.inf).score for a in left}
        left = sorted(left, key=scores.get, reverse=True)[: len(left) // 2]
    offered = [[a] for a in architectures(4)]
    assert (
        Search(goals, notes.settings).best(offered, np.inf, 3, needed=True).architecture == left[0]
    )


def test_networks_of_several_sizes_are_tried_until_larger_ones_bring_nothing():
    notes = Notes()
    sizes = [replace(architectures(1)[0], n_components=k) for k in range(1, 30)]
    goals = boosting([], notes.settings)
    found = Search(goals, notes.settings).best([sizes], np.inf, 0, needed=True)
    # The number of Gaussians means nothing to this family: five sizes, none better than the first.
    assert found.architecture == sizes[0]
    assert len(notes.parts) == 4 + 1


@pytest.mark.parametrize("n_networks", [1, 2, 3, 4, 5, 8, 13])
def test_the_cost_is_that_of_all_shares(n_networks):
    n_left, share, cost = n_networks, 0.05, 0.0
    done = 0.0
    while n_left > 1:
        cost += n_left * (share - done)
        done, share, n_left = share, 2 * share, n_left // 2
    assert _cost_of_halving(n_networks) == pytest.approx(cost + 1 - done)
