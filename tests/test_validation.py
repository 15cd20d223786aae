"""Bad input gets one clear sentence, and nothing that was fitted is lost."""

import math

import numpy as np
import pytest
import scipy.sparse
import torch
import zuko
from helpers import degenerate_data_allowed
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import skgbnf.boosting.additive
import skgbnf.boosting.search
from skgbnf.flows.weighted import weighted_gaussian

X = np.random.default_rng(0).normal(size=(40, 2))
X.setflags(write=False)


def fitted_state(estimator):
    return {name: value for name, value in vars(estimator).items()}


def assert_unchanged(estimator, before):
    assert vars(estimator).keys() == before.keys()
    for name, value in before.items():
        assert getattr(estimator, name) is value, name


def assert_one_clear_sentence(error, *words):
    message = str(error.value)
    for word in words:
        assert word in message
    for word in ("Traceback", "tensor(", "size mismatch", "mat1"):
        assert word not in message
    # Nothing leaks from below the checks: neither a cause nor a context from torch or zuko.
    modules = [entry.frame.f_globals.get("__name__", "") for entry in error.traceback]
    assert not any(name.split(".")[0] in ("torch", "zuko") for name in modules), modules


BAD_PARAMETERS = [
    ("n_estimators", 0, ValueError),
    ("n_estimators", -3, ValueError),
    ("n_estimators", 2.5, TypeError),
    ("n_estimators", True, TypeError),
    ("n_estimators", "two", TypeError),
    ("n_estimators", None, TypeError),
    ("flow", "planar", ValueError),
    ("flow", 3, TypeError),
    ("flow", None, TypeError),
    ("flow", [], ValueError),
    ("flow", ["nsf", "planar"], ValueError),
    ("flow", ["nsf", 3], TypeError),
    ("base", "cauchy", ValueError),
    ("base", None, TypeError),
    ("combine", "geometric", ValueError),
    ("combine", 1, TypeError),
    ("objective", "temperedd", ValueError),
    ("objective", 1, TypeError),
    ("n_transforms", 0, ValueError),
    ("n_transforms", 1.0, TypeError),
    ("n_transforms", "deep", ValueError),
    ("n_transforms", None, TypeError),
    ("n_transforms", 10**30, ValueError),
    ("n_transforms", 1001, ValueError),
    ("hidden_layer_sizes", (), ValueError),
    ("hidden_layer_sizes", (16, 10**30), ValueError),
    ("hidden_layer_sizes", 10**9, ValueError),
    ("hidden_layer_sizes", (100_000, 100_000), ValueError),
    ("hidden_layer_sizes", (16, 0), ValueError),
    ("hidden_layer_sizes", (16, 2.5), TypeError),
    ("hidden_layer_sizes", "16", ValueError),
    ("hidden_layer_sizes", None, TypeError),
    ("hidden_layer_sizes", 0, ValueError),
    ("activation", "sigmoidd", ValueError),
    ("activation", torch.nn.ReLU, TypeError),
    ("lipschitz_penalty", -0.1, ValueError),
    ("lipschitz_penalty", np.nan, ValueError),
    ("lipschitz_penalty", "small", TypeError),
    ("learning_rate_init", 0.0, ValueError),
    ("learning_rate_init", -1e-3, ValueError),
    ("learning_rate_init", np.nan, ValueError),
    ("learning_rate_init", np.inf, ValueError),
    ("learning_rate_init", "fast", TypeError),
    ("batch_size", 0, ValueError),
    ("batch_size", "large", ValueError),
    ("batch_size", 12.5, TypeError),
    ("batch_size", None, TypeError),
    ("max_iter", 0, ValueError),
    ("max_iter", "long", ValueError),
    ("max_iter", 1e3, TypeError),
    ("fine_tune", -1, ValueError),
    ("fine_tune", 0.5, TypeError),
    ("max_time", 0, ValueError),
    ("max_time", math.inf, ValueError),
    ("max_time", "1h", TypeError),
    ("validation_fraction", -0.1, ValueError),
    ("validation_fraction", 1.0, ValueError),
    ("validation_fraction", np.nan, ValueError),
    ("validation_fraction", "some", TypeError),
    ("n_iter_no_change", 0, ValueError),
    ("n_iter_no_change", 1.5, TypeError),
    ("tol", -1e-9, ValueError),
    ("tol", np.nan, ValueError),
    ("tol", np.inf, ValueError),
    ("tol", None, TypeError),
    ("dequantize", "always", ValueError),
    ("dequantize", None, TypeError),
    ("dequantize", -0.1, ValueError),
    ("dequantize", math.inf, ValueError),
    ("dequantize", [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], ValueError),
    ("dequantize", [[0.1, 0.1]], ValueError),
    ("dequantize", ["wide", "narrow"], TypeError),
    ("bounds", "positive", TypeError),
    ("bounds", 3, TypeError),
    ("bounds", [0, 1, 2], ValueError),
    ("checkpoint", 3, TypeError),
    ("warm_start", "yes", TypeError),
    ("warm_start", 1, TypeError),
    ("device", "tpu", ValueError),
    ("device", torch.device("meta"), ValueError),
    ("device", 0, TypeError),
    ("random_state", "seed", ValueError),
    ("random_state", -1, ValueError),
    ("random_state", 1.5, ValueError),
    ("verbose", -1, ValueError),
    ("verbose", "loud", TypeError),
]


@pytest.mark.quick
@pytest.mark.parametrize(("name", "value", "kind"), BAD_PARAMETERS)
def test_a_parameter_out_of_range_is_named_with_its_value(quick, name, value, kind):
    model = quick(**{name: value})
    before = fitted_state(model)
    with pytest.raises((TypeError, ValueError)) as error:
        model.fit(X)
    assert error.type is kind
    shown = [v for v in np.ravel(value) if v != "nsf"] if name == "flow" and value else [value]
    if isinstance(value, tuple) and value:
        shown = [value[-1]]
    words = [name] if name in ("flow", "hidden_layer_sizes") and not value else [name, *shown]
    assert_one_clear_sentence(error, *(str(word) for word in words))
    assert_unchanged(model, before)


@pytest.mark.parametrize("name", ["n_estimators", "n_transforms", "max_iter", "n_iter_no_change"])
def test_numpys_integers_are_integers(quick, name):
    assert np.isfinite(quick(flow="affine", **{name: np.int64(2)}).fit(X).score(X))


def test_a_single_width_stands_for_one_layer(quick):
    ours = quick(hidden_layer_sizes=np.int32(8)).fit(X)
    assert np.array_equal(
        ours.score_samples(X), quick(hidden_layer_sizes=(8,)).fit(X).score_samples(X)
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_named(quick):
    with pytest.raises(ValueError, match="device='cuda'") as error:
        quick(device="cuda").fit(X)
    assert_one_clear_sentence(error)
    assert quick(device="auto").fit(X).score(X) == quick().fit(X).score(X)


def with_entry(value, dtype=float):
    bad = X.astype(dtype)
    bad[3, 1] = value
    return bad


BAD_ROWS = {
    "NaN": (with_entry(np.nan), ValueError, "NaN"),
    "infinity": (with_entry(np.inf), ValueError, "infinite values"),
    "infinity in single precision": (
        with_entry(-np.inf, np.float32),
        ValueError,
        "infinite values",
    ),
    "complex": (X + 1j, ValueError, "[Cc]omplex"),
    "text": (np.array([["a", "b"], ["c", "d"]]), ValueError, "hold text"),
    "None among numbers": (with_entry(None, object), ValueError, "NaN|None"),
    "sparse": (scipy.sparse.csr_matrix(X), TypeError, "[Ss]parse"),
    "three dimensions": (X.reshape(20, 2, 2), ValueError, "dim 3"),
    "one dimension": (X[:, 0], ValueError, "2D array"),
    "a number": (3.0, ValueError, "2D array"),
    "nothing": (None, ValueError, "2D array|None"),
    "no rows": (X[:0], ValueError, "0 sample"),
    "one row": (X[:1], ValueError, "sample.* 2"),
    "no columns": (X[:, :0], ValueError, "0 feature"),
    "ragged rows": ([[1.0, 2.0], [3.0]], ValueError, "different numbers of cells"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_are_refused_by_fit(quick, case):
    rows, kind, message = BAD_ROWS[case]
    model = quick()
    before = fitted_state(model)
    with pytest.raises(kind, match=message) as error:
        model.fit(rows)
    assert_one_clear_sentence(error)
    assert_unchanged(model, before)


@pytest.fixture(scope="module")
def model(quick):
    return quick(flow="affine").fit(X)


SCORED = [case for case in BAD_ROWS if case != "one row"]


@pytest.mark.parametrize("method", ["score_samples", "score", "staged_score_samples"])
@pytest.mark.parametrize("case", SCORED)
def test_bad_rows_are_refused_by_scoring(model, case, method):
    rows, kind, message = BAD_ROWS[case]
    if case == "NaN" and method != "staged_score_samples":
        # Of a sample with gaps the rest is scored.
        assert np.isfinite(getattr(model, method)(rows)).all()
        return
    if case == "text":
        rows = np.array([["a", "b"]])
    with pytest.raises(kind, match=message) as error:
        result = getattr(model, method)(rows)
        list(result)
    assert_one_clear_sentence(error)


@pytest.mark.parametrize("method", ["score_samples", "score", "staged_score_samples"])
@pytest.mark.parametrize("n_features", [1, 3])
def test_a_wrong_number_of_columns_is_named(model, method, n_features):
    message = f"X has {n_features} features, but .* is expecting 2 features"
    with pytest.raises(ValueError, match=message):
        list(getattr(model, method)(np.ones((4, n_features))))


@pytest.mark.parametrize("case", ["NaN", "sparse", "three dimensions", "no rows", "complex"])
def test_a_bad_validation_set_is_refused(quick, case):
    rows, kind, message = BAD_ROWS[case]
    with pytest.raises(kind, match=message) as error:
        quick().fit(X, X_val=rows)
    assert_one_clear_sentence(error)


def test_a_validation_set_must_have_the_columns_of_x(quick):
    with pytest.raises(ValueError, match="^X_val has 3 features, but .* is expecting 2"):
        quick().fit(X, X_val=np.ones((5, 3)))


def test_weights_of_a_validation_set_need_a_validation_set(quick):
    with pytest.raises(ValueError, match="sample_weight_val .*X_val"):
        quick().fit(X, sample_weight_val=np.ones(5))


def weights_with(value):
    weights = np.ones(len(X))
    weights[3] = value
    return weights


BAD_WEIGHTS = {
    "negative": (weights_with(-0.5), "negative.*-0.5"),
    "NaN": (weights_with(np.nan), "NaN"),
    "infinite": (weights_with(np.inf), "infinit"),
    "all zero": (np.zeros(len(X)), "zero"),
    "too few": (np.ones(len(X) - 1), r"\(40,\).*\(39,\)"),
    "too many": (np.ones(len(X) + 1), r"\(40,\).*\(41,\)"),
    "two columns": (np.ones((len(X), 2)), r"\(40,\).*\(40, 2\)"),
    "text": (["heavy"] * len(X), "numbers"),
    "complex": (weights_with(1.0) * (1 + 1j), "numbers|complex"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights_are_refused(quick, model, case):
    weights, message = BAD_WEIGHTS[case]
    calls = {
        "sample_weight": lambda: quick().fit(X, sample_weight=weights),
        "sample_weight_val": lambda: quick().fit(X, X_val=X, sample_weight_val=weights),
        "sample_weight ": lambda: model.score(X, sample_weight=weights),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert_one_clear_sentence(error, name.strip())


def test_one_row_of_positive_weight_is_too_few(quick):
    weights = np.zeros(len(X))
    weights[0] = 1.0
    with pytest.raises(ValueError, match="sample_weight .*two rows"):
        quick().fit(X, sample_weight=weights)


@pytest.mark.parametrize(
    ("n_samples", "kind"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("x", TypeError)]
)
def test_a_bad_number_of_samples_is_named(model, n_samples, kind):
    with pytest.raises(kind, match="n_samples") as error:
        model.sample(n_samples)
    assert_one_clear_sentence(error, str(n_samples))


def test_a_bad_seed_of_sample_is_named(model):
    with pytest.raises(ValueError, match="random_state") as error:
        model.sample(2, random_state="seed")
    assert_one_clear_sentence(error, "'seed'")


@pytest.mark.parametrize("method", ["score_samples", "score", "staged_score_samples", "sample"])
def test_unfitted_use_says_so(quick, method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        list(getattr(quick(), method)(*([] if method == "sample" else [X])))


def test_saving_an_unfitted_estimator_says_so(quick, tmp_path):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        skgbnf.save(quick(), tmp_path / "model")
    assert not (tmp_path / "model").exists()


# Callables


def returns_a_module(n_features):
    return torch.nn.Linear(n_features, n_features)


def returns_nothing(n_features):
    return None


def returns_other_columns(n_features):
    return zuko.flows.MAF(n_features + 1, transforms=1, hidden_features=(4,))


def returns_a_conditional_flow(n_features):
    return zuko.flows.MAF(n_features, context=1, transforms=1, hidden_features=(4,))


@pytest.mark.parametrize(
    ("flow", "kind", "message"),
    [
        (returns_a_module, TypeError, "flow: .*LazyDistribution, got Linear"),
        (returns_nothing, TypeError, "flow: .*LazyDistribution, got NoneType"),
        (returns_other_columns, ValueError, r"flow: .*\(3,\), but X has 2 features"),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_a_wrong_callable_is_told_what_is_wanted(quick, flow, kind, message, several):
    model = quick(flow=["affine", flow] if several else flow)
    before = fitted_state(model)
    with pytest.raises(kind, match=message):
        model.fit(X)
    assert_unchanged(model, before)


def test_a_conditional_flow_is_refused_by_name(quick):
    with pytest.raises((TypeError, ValueError), match="flow: "):
        quick(flow=returns_a_conditional_flow).fit(X)


def fails_on_its_own(n_features):
    raise ZeroDivisionError("the user's own mistake")


def test_an_error_of_the_users_own_callable_is_shown_to_them(quick):
    model = quick(flow=fails_on_its_own)
    before = fitted_state(model)
    with pytest.raises(ZeroDivisionError, match="own mistake"):
        model.fit(X)
    assert_unchanged(model, before)


# Failures and interrupts


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"X": X[:, :1] * np.nan},
        {"X": X[:1]},
        {"sample_weight": -np.ones(len(X))},
        {"X_val": np.ones((4, 5))},
        {"learning_rate_init": -1.0},
        {"flow": returns_nothing, "n_estimators": 5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_failed_refit_leaves_the_estimator_as_it_was(quick, change, warm_start):
    model = quick(warm_start=warm_start, validation_fraction=None, n_iter_no_change=5).fit(X)
    scores = model.score_samples(X)
    arguments = {
        "X": X,
        **{k: v for k, v in change.items() if k in ("X", "sample_weight", "X_val")},
    }
    model.set_params(**{k: v for k, v in change.items() if k not in arguments})
    before = fitted_state(model)
    with pytest.raises((TypeError, ValueError)):
        model.fit(**arguments)
    assert_unchanged(model, before)
    assert np.array_equal(model.score_samples(X), scores)


def test_warm_start_refuses_fewer_rounds_and_other_columns(quick):
    model = quick(flow="affine", warm_start=True, validation_fraction=None).fit(X)
    assert model.n_estimators_ == 2
    before = fitted_state(model)
    with pytest.raises(ValueError, match="X has 1 features, but .* expecting 2"):
        model.fit(X[:, :1])
    assert_unchanged(model, before)
    with pytest.raises(ValueError, match="n_estimators=1 .* 2 rounds"):
        model.set_params(n_estimators=1).fit(X)


class Interrupting:
    """Stands in for the training of a component and is interrupted at its last call."""

    def __init__(self, n_calls):
        self.original, self.remaining = skgbnf.boosting.search.fit_component, n_calls

    def __call__(self, *args, **kwargs):
        self.remaining -= 1
        if self.remaining == 0:
            raise KeyboardInterrupt
        return self.original(*args, **kwargs)


def fit_until(n_calls, model, rows, monkeypatch):
    """Fit a model, interrupted as it begins to train the component of this number."""
    with monkeypatch.context() as patch:
        patch.setattr(skgbnf.boosting.search, "fit_component", Interrupting(n_calls))
        with pytest.raises(KeyboardInterrupt):
            model.fit(rows)


def test_an_interrupt_in_the_first_round_leaves_the_estimator_as_it_was(quick, monkeypatch):
    fresh, model = quick(flow="affine"), quick(flow="affine").fit(X)
    scores = model.score_samples(X)
    for estimator in (fresh, model):
        before = fitted_state(estimator)
        fit_until(1, estimator, X + 1.0, monkeypatch)
        assert_unchanged(estimator, before)
    assert np.array_equal(model.score_samples(X), scores)
    assert np.array_equal(fresh.fit(X).score_samples(X), scores)


@pytest.mark.slow
@pytest.mark.parametrize("fine_tune", [0, 1])
@pytest.mark.parametrize("n_calls", [2, 3, 4, 5])
def test_an_interrupt_later_keeps_the_finished_rounds(quick, monkeypatch, n_calls, fine_tune):
    settings = {"flow": "affine", "n_estimators": 3, "validation_fraction": None}
    settings |= {"n_iter_no_change": 5, "tol": 0.0, "fine_tune": fine_tune}
    if n_calls > 3 and not fine_tune:
        pytest.skip("three rounds train three components")
    model = quick(**settings)
    with monkeypatch.context() as patch:
        interrupting = Interrupting(n_calls)
        patch.setattr(skgbnf.boosting.search, "fit_component", interrupting)
        patch.setattr(skgbnf.boosting.additive, "fit_component", interrupting)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    n_rounds = min(n_calls - 1, 3)
    assert model.n_estimators_ == len(model.estimators_) == n_rounds
    assert model.estimator_weights_.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(
        [s.mean() for s in model.staged_score_samples(X)][-1], model.train_scores_[-1], rtol=1e-9
    )
    assert model.sample(3, random_state=0).shape == (3, 2)
    if n_calls <= 3:
        short = quick(**{**settings, "n_estimators": n_rounds, "fine_tune": 0}).fit(X)
        assert np.array_equal(model.score_samples(X), short.score_samples(X))
    whole = quick(**settings).fit(X)
    assert np.array_equal(model.fit(X).score_samples(X), whole.score_samples(X))


def test_an_interrupt_from_within_a_step_leaves_torch_as_it_was(quick):
    state, n_threads = torch.get_rng_state(), torch.get_num_threads()

    def interrupting(n_features):
        raise KeyboardInterrupt

    model = quick(flow=interrupting)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == n_threads
    assert np.isfinite(model.set_params(flow="affine").fit(X).score(X))


def test_an_interrupted_warm_start_goes_on_where_it_stopped(quick, monkeypatch):
    settings = {"flow": "affine", "n_estimators": 3, "validation_fraction": None}
    settings |= {"n_iter_no_change": 5, "tol": 0.0}
    model = quick(warm_start=True, **settings)
    fit_until(3, model, X, monkeypatch)
    assert model.n_estimators_ == 2
    at_once = quick(**settings).fit(X)
    assert np.array_equal(model.fit(X).score_samples(X), at_once.score_samples(X))


def test_an_interrupt_keeps_no_round_that_brought_nothing(quick, table2, monkeypatch):
    settings = {"flow": "affine", "n_estimators": 4, "tol": 5.0, "n_iter_no_change": 9}
    # Validation rows gain less than five nats by a second Gaussian, whatever its bound.
    monkeypatch.setattr(
        skgbnf.boosting.additive.AdditiveBoosting,
        "_gain",
        lambda boosting, component: math.inf,
    )
    model = quick(warm_start=True, **settings)
    fit_until(4, model, table2, monkeypatch)
    assert model.n_estimators_ == 1
    at_once = quick(**settings).fit(table2)
    assert np.array_equal(model.fit(table2).score_samples(table2), at_once.score_samples(table2))


def test_rounds_that_a_warm_start_began_with_stay(quick):
    settings = {"flow": "affine", "n_iter_no_change": 9, "warm_start": True}
    model = quick(n_estimators=3, tol=0.0, **settings).fit(X)
    n_rounds, first = model.n_estimators_, model.estimators_[0]
    assert n_rounds > 1
    model.set_params(n_estimators=n_rounds + 1, tol=100.0).fit(X)
    assert model.n_estimators_ == n_rounds
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(model.estimators_[0].arrays[name], array)


def test_a_checkpoint_that_cannot_be_written_is_refused_before_training(quick, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "none" / "rounds")
    wrong = tmp_path, tmp_path / "none" / "rounds", tmp_path / "link", "", f"{tmp_path}/new/"
    for path in wrong:
        with pytest.raises(ValueError, match="checkpoint: cannot write"):
            quick(checkpoint=path).fit(X)
    with pytest.raises(TypeError, match="checkpoint must be a path"):
        quick(checkpoint=b"rounds").fit(X)


def test_a_file_to_resume_from_is_a_path(quick):
    with pytest.raises(TypeError, match="resume_from must be a path"):
        quick().fit(X, resume_from=True)


def test_scores_weighted_near_the_largest_number(quick):
    model = quick(flow="affine").fit(X)
    weights = np.full(len(X), 1e307)
    assert model.score(X, sample_weight=weights) == pytest.approx(model.score(X))


def test_a_learning_rate_that_diverges_warns_and_stays_finite(quick):
    model = quick(flow="maf", learning_rate_init=1e30, max_iter=5, batch_size=4)
    with pytest.warns(ConvergenceWarning, match="learning_rate_init"):
        model.fit(X)
    assert np.isfinite(model.score_samples(X)).all()


def test_the_validation_set_is_named_where_it_is_at_fault(quick, table2):
    X_val = np.array(table2)
    X_val[3, 0] = np.nan
    with pytest.raises(ValueError, match="X_val: column 0 holds missing values .NaN.; "):
        quick().fit(table2, X_val=X_val)


def test_weights_of_text_are_refused(quick, table2):
    with pytest.raises(ValueError, match="sample_weight must hold numbers"):
        quick().fit(table2, sample_weight=["1"] * len(table2))


def test_validation_rows_of_weight_zero_count_as_absent(quick, table2):
    validation, weights = np.vstack([table2[:40], table2[:80]]), np.repeat([1.0, 0.0], [40, 80])
    weighted = quick().fit(table2[40:], X_val=validation, sample_weight_val=weights)
    alone = quick().fit(table2[40:], X_val=table2[:40])
    np.testing.assert_array_equal(weighted.score_samples(table2), alone.score_samples(table2))


def test_a_callable_with_nothing_to_learn_is_a_family(quick, table2):
    def standard_normal(n_features):
        zeros, ones = torch.zeros(n_features), torch.ones(n_features)
        return zuko.lazy.UnconditionalDistribution(
            zuko.distributions.DiagNormal, zeros, ones, buffer=True
        )

    model = quick(flow=standard_normal, n_estimators=1).fit(table2)
    z = (table2 - model.location_) / model.scale_
    expected = -0.5 * (z**2 + np.log(2 * np.pi)).sum(axis=1) - np.log(model.scale_).sum()
    np.testing.assert_allclose(model.score_samples(table2), expected, rtol=1e-6)


def test_an_interrupt_while_results_are_kept_leaves_the_earlier_fit(quick, table2, monkeypatch):
    model = quick().fit(table2)
    before = model.score_samples(table2)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("skgbnf.training.fitted.FittedComponent.from_module", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(100 * table2 + 1000)
    np.testing.assert_array_equal(model.score_samples(table2), before)


# Sizes and values without bounds


@pytest.mark.parametrize("size", [10**30, 10**400], ids=["1e30", "1e400"])
@pytest.mark.parametrize("name", ["n_estimators", "batch_size", "max_iter", "fine_tune"])
def test_what_is_only_a_limit_may_be_as_large_as_one_likes(quick, name, size):
    parameters = {"n_estimators": 2, "max_time": 0.05, "flow": "maf", "verbose": 1, name: size}
    model = quick(**parameters).fit(X)
    assert np.isfinite(model.score_samples(X)).all()


def test_the_time_left_is_shared_by_any_number_of_passes(quick):
    # One Gaussian leaves nearly all of the time to the passes.
    model = quick(n_estimators=1, flow="affine", fine_tune=10**400, max_time=0.3).fit(X)
    assert np.isfinite(model.score_samples(X)).all()


FAR = np.where(np.random.default_rng(0).random((60, 2)) < 0.5, -1.7e308, 1.7e308)


@pytest.mark.parametrize("flow", ["affine", "gaussian_mixture", "student_t", "maf"])
def test_rows_farther_apart_than_floats_reach_are_refused(quick, flow):
    for max_time in (None, 1.0):
        with pytest.raises(ValueError, match=r"^X: column 0 reaches from -1.7e\+308 to 1.7e\+308"):
            quick(flow=flow, max_time=max_time).fit(FAR)


def test_the_column_that_is_too_wide_is_named(quick):
    pd = pytest.importorskip("pandas")
    rows = np.random.default_rng(1).normal(size=(60, 2))
    frame = pd.DataFrame({"age": rows[:, 0], "income": FAR[:, 1]})
    fine = frame.assign(income=rows[:, 1])
    with pytest.raises(ValueError, match="^X: column 'income' reaches"):
        quick(flow="affine").fit(frame)
    with pytest.raises(ValueError, match="^X_val: column 'income' reaches"):
        quick(flow="affine").fit(fine, X_val=frame)
    # A row of weight 0 counts as absent.
    weights = (FAR[:, 1] > 0).astype(float)
    frame["income"] = np.where(weights, rows[:, 1], FAR[:, 1])
    quick(flow="affine").fit(frame, sample_weight=weights)


@pytest.mark.parametrize("scale", [1e300, 1e307, 1e-300, 1e-310])
@pytest.mark.parametrize("flow", ["affine", "gaussian_mixture", "maf"])
def test_values_near_both_ends_of_floats_are_fitted(quick, flow, scale):
    rows = np.random.default_rng(0).normal(size=(100, 2))
    expected = quick(flow=flow).fit(rows).score(rows) - 2 * np.log(scale)
    model = quick(flow=flow).fit(rows * scale)
    assert model.score(rows * scale) == pytest.approx(expected, abs=0.05)
    assert np.isfinite(model.sample(100, random_state=0)).all()


def test_values_that_jump_far_out_in_a_continued_fit_end(quick):
    model = quick(flow="affine", n_estimators=1).fit(X)
    far = np.where(np.random.default_rng(0).random(X.shape) < 0.5, -1e307, 1e307)
    with degenerate_data_allowed():
        model.set_params(warm_start=True, n_estimators=2).fit(far)
    assert np.isfinite(model.score_samples(X)).all()


def test_no_ridge_is_added_for_ever():
    x = torch.randn(20, 3, dtype=torch.float64)
    x[0, 0] = float("nan")
    with pytest.raises(ValueError, match="covariance of the rows is not finite"):
        weighted_gaussian(x, torch.ones(20, dtype=torch.float64), 1e-6)
