"""Dropout: what it does to values, where it takes place, and what it leaves alone."""

import copy

import numpy as np
import pytest
import torch
from helpers import candidate_plan

from skgbnf import GradientBoostedFlowDensity, load, save
from skgbnf.flows import Dropout, families, make_flow
from skgbnf.training.gradient import lent


def test_a_share_of_the_values_is_dropped_and_the_mean_stays():
    x = torch.ones(1000, 100)
    dropout = Dropout(0.2)
    with lent(torch.Generator().manual_seed(0), [dropout]):
        y = dropout(x)
    assert set(y.unique().tolist()) == {0.0, 1.25}
    # Six standard errors of a mean of 100,000 draws.
    assert float((y == 0).double().mean()) == pytest.approx(0.2, abs=6 * 0.4 / 1e5**0.5)
    assert dropout(x) is x


def test_an_error_takes_the_generator_back():
    dropout = Dropout(0.5)
    with pytest.raises(ZeroDivisionError), lent(torch.Generator(), [dropout]):
        1 / 0  # noqa: B018
    assert dropout.generator is None


NETWORK_FAMILIES = [
    f.name
    for f in families()
    if f.fitted_by == "gradient" and f.takes_context and f.name != "linear"
]


@pytest.mark.parametrize("kind", NETWORK_FAMILIES)
def test_every_network_has_it_behind_each_hidden_layer(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = make_flow(kind, 3, n_transforms=2, hidden_layer_sizes=(16, 8), dropout=0.3)
        torch.manual_seed(0)
        without = make_flow(kind, 3, n_transforms=2, hidden_layer_sizes=(16, 8))
    dropouts = [module for module in flow.modules() if isinstance(module, Dropout)]
    assert len(dropouts) == 4
    without.load_state_dict(flow.state_dict())  # the same parameters by the same names
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(flow().log_prob(x), without().log_prob(x))
        y = flow().transform(x)
        torch.testing.assert_close(flow().transform.inv(y), x, rtol=0, atol=1e-4)
        with lent(torch.Generator().manual_seed(2), dropouts):
            assert not torch.equal(flow().log_prob(x), without().log_prob(x))


def test_a_fit_is_its_seeds_and_leaves_torch_alone(quick, table3):
    state = torch.get_rng_state()
    model = quick(dropout=0.5, max_iter=5).fit(table3)
    assert torch.equal(torch.get_rng_state(), state)
    scores = model.score_samples(table3)
    assert np.array_equal(model.score_samples(table3), scores)
    assert np.array_equal(quick(dropout=0.5, max_iter=5).fit(table3).score_samples(table3), scores)
    assert not np.array_equal(
        quick(dropout=0.0, max_iter=5).fit(table3).score_samples(table3), scores
    )


def test_rows_learned_by_heart_are_learned_less(table3):
    """Sixty rows, a large network: what it gains on them is not there in others."""
    settings = {"flow": "nsf", "max_iter": 100, "validation_fraction": None, "random_state": 0}
    gaps = []
    for dropout in (0.0, 0.3):
        model = GradientBoostedFlowDensity(1, dropout=dropout, **settings).fit(table3[:60])
        gaps.append(model.score(table3[:60]) - model.score(table3[60:]))
    assert gaps[1] < gaps[0] - 0.5


@pytest.mark.parametrize(
    ("dropout", "n_samples", "expected"),
    [("auto", 149, 0.1), ("auto", 150, 0.0), (0.25, 150, 0.25), (0, 10, 0.0)],
)
def test_auto_is_for_few_rows_for_each_column(quick, dropout, n_samples, expected):
    model = quick(dropout=dropout, n_estimators=1)
    family_candidates, *_ = candidate_plan(model, n_samples, 3).offered((), sparse=False)
    assert [architecture.dropout for architecture in family_candidates] == [expected]


def test_files_and_copies_keep_it(quick, table3, tmp_path):
    model = quick(dropout=np.float32(0.25)).fit(table3)
    save(model, tmp_path / "model")
    for again in (load(tmp_path / "model"), copy.deepcopy(model)):
        assert again.dropout == 0.25
        assert again.estimators_[0].architecture == model.estimators_[0].architecture
        assert np.array_equal(again.score_samples(table3), model.score_samples(table3))


@pytest.mark.parametrize(
    ("dropout", "error"),
    [(1.0, ValueError), (-0.1, ValueError), (float("nan"), ValueError), ("some", ValueError),
     (True, TypeError), (None, TypeError)],
)  # fmt: skip
def test_bad_shares_are_refused(quick, table3, dropout, error):
    with pytest.raises(error, match="dropout must"):
        quick(dropout=dropout).fit(table3)
