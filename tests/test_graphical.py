"""Which columns depend on each other, and flows whose conditionals follow that."""

import numpy as np
import pytest
import torch
from helpers import candidate_plan

from skgbnf.boosting.candidates import is_sparse
from skgbnf.flows import dependence, initialise, make_flow
from skgbnf.training.rows import Rows


def bananas(n_rows, n_pairs, seed):
    """Pairs of columns, the second of which is the square of the first and noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 2 * n_pairs))
    X[:, 1::2] = 0.5 * X[:, 1::2] + X[:, ::2] ** 2
    return X


def graph_of(X, weights=None):
    weights = np.ones(len(X)) if weights is None else weights
    return dependence(torch.from_numpy(X), torch.from_numpy(weights)).numpy()


def pairs(n_pairs):
    return np.kron(np.eye(n_pairs, dtype=bool), np.ones((2, 2), dtype=bool))


def test_lines_squares_and_scales_are_dependences():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 8))
    X = z.copy()
    X[:, 1] = z[:, 0] + z[:, 1]
    X[:, 3] = z[:, 2] ** 2 + z[:, 3]
    X[:, 5] = np.exp(z[:, 4]) * z[:, 5]
    X[:, 7] = np.sign(z[:, 7]) * z[:, 6]
    np.testing.assert_array_equal(graph_of(X), pairs(4))


@pytest.mark.parametrize("seed", range(5))
def test_independent_columns_are_seen_to_be_so_however_heavy_their_tails(seed):
    X = np.random.default_rng(seed).standard_cauchy(size=(500, 10))
    # Of 45 pairs and nine correlations each, four standard errors are exceeded once in 40 tables.
    np.testing.assert_array_equal(graph_of(X), np.eye(10, dtype=bool))


def test_monotone_maps_of_columns_change_nothing():
    X = bananas(400, 3, 0)
    np.testing.assert_array_equal(graph_of(np.exp(X)), graph_of(X))


def test_rows_of_no_weight_do_not_count():
    X = bananas(400, 2, 0)
    line = np.linspace(-3, 3, 200)[:, None] * np.ones(4)
    weights = np.r_[np.ones(400), np.zeros(200)]
    np.testing.assert_array_equal(graph_of(np.vstack([X, line]), weights), graph_of(X))
    np.testing.assert_array_equal(graph_of(np.vstack([X, line])), np.ones((4, 4), dtype=bool))


@pytest.mark.parametrize("splines", ["columns", None])
@pytest.mark.parametrize("n_pairs", [0, 3])
def test_maps_follow_the_graph(n_pairs, splines):
    """The Jacobian of the map is zero between columns that do not depend on each other."""
    X = bananas(500, n_pairs, 0) if n_pairs else np.random.default_rng(0).normal(size=(500, 6))
    x = torch.from_numpy(X)
    torch.manual_seed(0)
    flow = make_flow("graphical", 6, hidden_layer_sizes=(16,), splines=splines).double()
    initialise(flow, x, torch.ones(len(x), dtype=torch.float64))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    # The columns come out reversed after an odd number of layers.
    jacobian = torch.autograd.functional.jacobian(flow().transform, x[0]).flip(0).numpy()
    expected = pairs(n_pairs) if n_pairs else np.eye(6, dtype=bool)
    np.testing.assert_array_equal(jacobian != 0, expected)


def test_the_generator_of_the_caller_is_left_alone(quick):
    state = torch.random.get_rng_state()
    quick(n_estimators=1, flow="graphical", max_iter=1).fit(bananas(300, 3, 0))
    assert torch.equal(torch.random.get_rng_state(), state)


SHORT = {"max_iter": 60, "hidden_layer_sizes": (32,)}


def test_few_dependences_are_learned_from_few_rows(quick):
    X, new = bananas(300, 6, 0), bananas(4000, 6, 1)
    graphical, maf = (quick(n_estimators=1, flow=f, **SHORT).fit(X) for f in ("graphical", "maf"))
    # Two nats apart, of which splits and starts may take some.
    assert graphical.score(new) > maf.score(new) + 1.0


def kinds_offered(estimator, earlier, sparse):
    plan = candidate_plan(estimator, 300, 12)
    offered = plan.offered(earlier, sparse=sparse)
    return {
        architecture.family for family_candidates in offered for architecture in family_candidates
    }


@pytest.mark.parametrize(("n_pairs", "sparse"), [(6, True), (2, False)])
def test_few_pairs_that_depend_on_each_other_make_a_table_sparse(n_pairs, sparse):
    X = bananas(300, n_pairs, 0)
    rows = Rows(torch.from_numpy(X), torch.ones(len(X), dtype=torch.float64))
    assert is_sparse(rows) is sparse


def test_auto_begins_with_it_where_the_table_is_sparse(quick):
    model = quick(flow="auto", n_estimators=5)
    first = ["student_t", "gaussian_mixture", "copula_mixture"]
    assert kinds_offered(model, first, sparse=True) == {"graphical"}
    others = {"made_mixture", "gaussian_mixture", "copula_mixture"}
    assert kinds_offered(model, [*first, "graphical"], sparse=True) == {"graphical", *others}
    assert kinds_offered(model, first, sparse=False) == others
    # Where a network was chosen, Gaussians are no longer tried.
    networks = {"graphical", "made_mixture"}
    assert kinds_offered(model, [*first, "graphical", "made_mixture"], sparse=True) == networks
    # A single round is no round to be won without others.
    single = quick(flow="auto", n_estimators=1)
    assert kinds_offered(single, [], sparse=True) == {"graphical", *others}


def test_a_default_fit_finds_the_graph(quick):
    X, new = bananas(300, 6, 0), bananas(4000, 6, 1)
    auto, maf = (quick(n_estimators=3, flow=f, **SHORT).fit(X) for f in ("auto", "maf"))
    assert auto.estimators_[-1].architecture.family == "graphical"
    assert auto.score(new) > maf.score(new) + 0.5


def test_of_one_column_and_of_few_rows_there_is_no_graph(quick):
    X = np.random.default_rng(0).normal(size=(300, 4))
    ones = torch.ones(300, dtype=torch.float64)
    assert is_sparse(Rows(torch.from_numpy(X), ones))
    assert not is_sparse(Rows(torch.from_numpy(X[:, :1]), ones))
    assert not is_sparse(Rows(torch.from_numpy(X[:100]), ones[:100]))
    assert np.isfinite(quick(n_estimators=1, flow="graphical").fit(X[:, :1]).score(X[:, :1]))
