"""Cross-fitting: every sample trains, and is scored by components that did not see it."""

import pickle

import numpy as np
import pytest
import torch
from helpers import joined, split
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_wine

import skgbnf
from skgbnf import GradientBoostedFlowDensity
from skgbnf._random import derive_seed
from skgbnf.boosting.objectives import corrective_weights
from skgbnf.plotting import BoostingPathDisplay
from skgbnf.table.split import fold_rows
from skgbnf.training.mixture import component_log_prob
from skgbnf.training.rows import Rows

N_FOLDS = 3


def table(n_rows=80, n_columns=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_columns)) @ rng.normal(size=(n_columns, n_columns))
    return X + 0.5 * np.sin(2 * X[:, ::-1])


def density(n_estimators=3, **parameters):
    flow = ["maf", "gaussian_mixture"]
    defaults = {"flow": flow, "n_folds": N_FOLDS, "max_iter": 3, "random_state": 0, "tol": 0.0}
    return GradientBoostedFlowDensity(n_estimators, **{**defaults, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return density().fit(table())


def out_of_fold(model, X):
    """Log-density of each training sample under the components that did not see it, slowly."""
    fitted = model.fitted_
    folds = fold_rows(len(X), fitted.n_folds, derive_seed(fitted.seed, 0))
    Z = torch.from_numpy((X - model.location_) / model.scale_)
    weights = model.fitted_.combination.weights * fitted.n_folds
    scores = np.full(len(X), np.nan)
    for k, (_, aside) in enumerate(folds):
        log_probs = [
            component_log_prob(c.to_module(torch.float64, "cpu"), Z[aside]).numpy()
            for c in fitted.combination.components[k :: fitted.n_folds]
        ]
        mixed = np.exp(np.stack(log_probs)).T @ weights[k :: fitted.n_folds]
        scores[aside] = np.log(mixed) - np.log(model.scale_).sum()
    return scores


@pytest.mark.parametrize(("n_samples", "n_folds"), [(10, 2), (23, 5), (5, 5)])
def test_each_sample_judges_in_one_fold_and_trains_in_all_others(n_samples, n_folds):
    folds = fold_rows(n_samples, n_folds, 0)
    assert len(folds) == n_folds
    assert_array_equal(np.sort(np.concatenate([aside for _, aside in folds])), range(n_samples))
    for kept, aside in folds:
        assert_array_equal(np.sort(np.concatenate([kept, aside])), np.arange(n_samples))
    sizes = [len(aside) for _, aside in folds]
    assert max(sizes) - min(sizes) <= 1


def test_shorter_folds_are_filled_up_with_samples_that_do_not_count():
    generator = torch.Generator().manual_seed(0)
    parts = [
        Rows(torch.rand(n, 2, generator=generator), torch.rand(n, generator=generator))
        for n in (4, 5, 3)
    ]
    rows = Rows.in_folds(parts)
    assert rows.x.shape == (3, 5, 2)
    assert (rows.n_folds, len(rows), rows.n_counted) == (3, 5, 12)
    values = rows.x.sum(-1)
    flat = torch.cat([part.x.sum(-1) for part in parts])
    weights = torch.cat([part.weights for part in parts])
    assert rows.mean(values) == pytest.approx(float((weights * flat).sum() / weights.sum()))
    for part, fold in zip(parts, rows.folds(), strict=True):
        assert_array_equal(fold.x[: len(part)], part.x)
        assert fold.weights[len(part) :].sum() == 0


def test_weights_of_components_do_not_depend_on_samples_that_do_not_count():
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    rows = torch.tensor([[1.0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], dtype=torch.float64)
    start = torch.full((3,), 1 / 3, dtype=torch.float64)
    kept = log_probs[rows > 0]
    expected = corrective_weights(kept, torch.ones(len(kept), dtype=torch.float64), start)
    assert_allclose(corrective_weights(log_probs, rows, start), expected, atol=1e-9)


def test_a_round_has_one_component_for_each_fold_in_equal_shares(fitted):
    n_rounds = fitted.n_estimators_
    assert fitted.n_folds_ == N_FOLDS
    assert len(fitted.estimators_) == n_rounds * N_FOLDS
    assert fitted.staged_weights_.shape == (n_rounds, n_rounds * N_FOLDS)
    shares = fitted.staged_weights_.reshape(n_rounds, n_rounds, N_FOLDS)
    assert_allclose(shares, shares[:, :, :1] * np.ones(N_FOLDS))
    assert_allclose(fitted.estimator_weights_.sum(), 1.0)
    assert len(fitted.gains_) == len(fitted.validation_scores_) == n_rounds


def test_families_of_a_round_are_chosen_by_all_folds_together(fitted):
    for components in fitted.fitted_.rounds():
        assert len({component.architecture for component in components}) == 1


def test_validation_scores_are_those_of_samples_out_of_their_fold(fitted):
    # Networks compute in float32.
    assert fitted.validation_scores_[-1] == pytest.approx(
        out_of_fold(fitted, table()).mean(), abs=1e-4
    )


def test_the_density_is_the_mean_of_the_densities_of_the_folds(fitted):
    X = table(seed=1)
    Z = torch.from_numpy((X - fitted.location_) / fitted.scale_)
    densities = [
        np.exp(component_log_prob(c.to_module(torch.float64, "cpu"), Z).numpy())
        for c in fitted.estimators_
    ]
    expected = np.log(fitted.estimator_weights_ @ densities) - np.log(fitted.scale_).sum()
    assert_allclose(fitted.score_samples(X), expected, rtol=1e-9)
    *_, last = fitted.staged_score_samples(X)
    assert_allclose(last, expected, rtol=1e-9)


def test_out_of_fold_scores_are_those_of_components_that_did_not_see_the_sample(fitted):
    X = table()
    row_folds, scores = fitted.row_folds_, fitted.fold_score_samples(X)
    assert scores.shape == (N_FOLDS, len(X))
    for k, (_, aside) in enumerate(fold_rows(len(X), N_FOLDS, derive_seed(fitted.fitted_.seed, 0))):
        assert_array_equal(np.flatnonzero(row_folds == k), np.sort(aside))
    own = scores[row_folds, np.arange(len(X))]
    assert_allclose(own, out_of_fold(fitted, X), rtol=1e-9)
    assert own.mean() == pytest.approx(fitted.validation_scores_[-1], abs=1e-4)


def test_out_of_fold_scores_are_those_of_refits_to_the_other_folds():
    X = table()
    model = density(1, flow="affine").fit(X)
    scores = model.fold_score_samples(X)
    for k in range(N_FOLDS):
        alone = density(1, flow="affine", n_folds=None, validation_fraction=None)
        alone.fit(X[model.row_folds_ != k])
        assert_allclose(scores[k], alone.score_samples(X), rtol=1e-5)


def test_the_density_is_the_mean_of_the_mixtures_of_the_folds(fitted):
    X = table(seed=1)
    scores = fitted.fold_score_samples(X)
    expected = np.log(np.exp(scores).mean(axis=0))
    assert_allclose(fitted.score_samples(X), expected, rtol=1e-9)
    single = fitted.fold_score_samples(X.astype(np.float32))
    assert single.dtype == np.float32
    assert_allclose(single, scores, atol=1e-3)


def test_without_folds_one_mixture_scores_all_samples():
    X = table()
    for parameters in ({"n_folds": None}, {"n_folds": None, "combine": "product"}):
        model = density(2, flow="affine", **parameters).fit(X)
        assert model.row_folds_ is None
        assert_array_equal(model.fold_score_samples(X), model.score_samples(X)[None])


def test_samples_that_no_component_saw_have_no_fold():
    X = table()
    weights = np.where(np.arange(80) % 4 == 0, 0.0, 1.0)
    model = density(1, flow="affine").fit(X, sample_weight=weights)
    assert_array_equal(model.row_folds_ == -1, weights == 0)
    kept = density(1, flow="affine").fit(X[weights > 0])
    assert_array_equal(model.row_folds_[weights > 0], kept.row_folds_)
    own = model.fold_score_samples(X)[model.row_folds_, np.arange(80)][weights > 0]
    assert own.mean() == pytest.approx(model.validation_scores_[-1], abs=1e-6)


def test_rounds_added_later_are_those_of_one_fit(fitted):
    X = table()
    model = density(2).fit(X)
    model.set_params(n_estimators=3, warm_start=True).fit(X)
    assert_allclose(model.score_samples(X), fitted.score_samples(X), rtol=1e-12)
    assert_allclose(model.validation_scores_, fitted.validation_scores_, rtol=1e-12)
    assert_array_equal(model.row_folds_, fitted.row_folds_)


def test_a_checkpoint_is_continued(fitted, tmp_path):
    X, path = table(), tmp_path / "model.safetensors"
    density(2, checkpoint=path).fit(X)
    model = density().fit(X, resume_from=path)
    assert_allclose(model.score_samples(X), fitted.score_samples(X), rtol=1e-12)
    with pytest.raises(ValueError, match="fitted to other rows"):
        density().fit(X[::-1] + 1, resume_from=path)


def test_files_and_pickles_keep_the_folds(fitted, tmp_path):
    X = table(seed=2)
    skgbnf.save(fitted, tmp_path / "model.safetensors")
    for model in (skgbnf.load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(fitted))):
        assert model.n_folds_ == N_FOLDS
        assert model.n_estimators_ == fitted.n_estimators_
        assert_array_equal(model.row_folds_, fitted.row_folds_)
        assert_array_equal(model.fold_score_samples(X), fitted.fold_score_samples(X))
        assert_array_equal(model.score_samples(X), fitted.score_samples(X))
        assert_array_equal(model.sample(5, random_state=0), fitted.sample(5, random_state=0))


@pytest.mark.parametrize(
    "lie",
    [
        lambda folds: folds.astype(np.int64),
        lambda folds: folds[None],
        lambda folds: folds + 1,
        lambda folds: np.zeros_like(folds),
        lambda folds: np.where(folds == 0, -2, folds).astype(np.int32),
    ],
)
def test_folds_of_a_file_that_are_none_are_refused(fitted, tmp_path, lie):
    path = tmp_path / "model"
    skgbnf.save(fitted, path)
    metadata, model, arrays = split(path.read_bytes())
    arrays["fitted.row_folds"] = lie(arrays["fitted.row_folds"])
    path.write_bytes(joined(metadata, model, arrays))
    with pytest.raises(ValueError, match="is not a readable skgbnf model"):
        skgbnf.load(path)


def test_fine_tuning_does_not_lower_the_validation_score(fitted):
    model = density(fine_tune=1).fit(table())
    assert model.n_folds_ == N_FOLDS
    assert model.validation_scores_[-1] >= fitted.validation_scores_[-1]


@pytest.mark.parametrize("flow", ["affine", "student_t", "realnvp", "linear", "graphical"])
def test_families_that_cannot_be_stacked_are_cross_fitted_too(flow):
    model = density(2, flow=flow, max_iter=2).fit(table())
    assert len(model.estimators_) == model.n_estimators_ * N_FOLDS
    assert np.isfinite(model.score_samples(table(seed=3))).all()


@pytest.mark.parametrize("objective", ["greedy", "weighted"])
def test_every_objective_is_cross_fitted(objective):
    model = density(flow=["maf", "gaussian_mixture"], objective=objective).fit(table())
    assert model.validation_scores_[-1] >= model.validation_scores_[0]


def test_weights_of_samples_count_when_samples_judge():
    X = table(60)
    near = np.linalg.norm(X, axis=1) < np.median(np.linalg.norm(X, axis=1))
    weights = np.where(near, 10.0, 0.1)
    plain, weighted = density(flow="affine").fit(X), density(flow="affine").fit(X, None, weights)
    # The weighted density is narrower, and is judged most by the samples in the middle.
    assert weighted.validation_scores_[-1] > plain.validation_scores_[-1] + 0.5


@pytest.mark.parametrize(
    ("n_samples", "parameters", "expected"),
    [
        (100, {}, 10),
        (300, {}, 5),
        (2500, {}, 1),
        (100, {"validation_fraction": None}, 1),
        (100, {"combine": "product"}, 1),
        (6, {}, 1),
        (100, {"n_folds": None}, 1),
        (2500, {"n_folds": 2}, 2),
    ],
)
def test_auto_takes_folds_where_samples_are_few(n_samples, parameters, expected):
    model = density(**{"n_folds": "auto", "flow": "affine", "n_estimators": 1, **parameters})
    assert model.fit(table(n_samples)).n_folds_ == expected


def test_a_validation_set_of_ones_own_leaves_no_folds():
    model = density(flow="affine").fit(table(), X_val=table(seed=1))
    assert model.n_folds_ == 1
    assert model.row_folds_ is None


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_folds": 1}, ValueError, "n_folds"),
        ({"n_folds": 2.5}, TypeError, "n_folds"),
        ({"n_folds": "five"}, ValueError, "n_folds"),
        ({"n_folds": 81}, ValueError, "n_folds=81 is above the number of samples, 80"),
        ({"n_folds": 2, "combine": "product"}, ValueError, "n_folds must be None"),
    ],
)
def test_numbers_of_folds_that_are_none_are_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        density(**parameters).fit(table())


def test_a_warm_start_keeps_the_folds(fitted):
    X = table()
    model = clone(fitted).set_params(n_estimators=1, flow="affine").fit(X)
    model.set_params(warm_start=True, n_estimators=2)
    with pytest.raises(ValueError, match="n_folds must be that of the rounds"):
        model.set_params(n_folds=4).fit(X)
    with pytest.raises(ValueError, match="X_val: the rounds already fitted are judged by folds"):
        model.set_params(n_folds="auto").fit(X, X_val=X)
    with pytest.raises(ValueError, match="n_folds=3 is above the number of samples, 2"):
        model.fit(X[:2])
    assert model.fit(X).n_folds_ == N_FOLDS


def test_a_warm_start_without_folds_stays_without():
    X = table()
    model = density(1, flow="affine", n_folds=None, warm_start=True).fit(X)
    model.set_params(n_estimators=2, n_folds="auto").fit(X)
    assert model.n_folds_ == 1
    # With a validation set of one's own the number of folds says nothing.
    model.set_params(n_estimators=3, n_folds=4).fit(X, X_val=table(seed=1))
    with pytest.raises(ValueError, match="n_folds must be that of the rounds already fitted, 1"):
        model.fit(X)


def test_verbose_names_the_folds(capsys):
    density(1, flow="affine", verbose=1).fit(table())
    assert "80 rows x 3 columns, 3 folds" in capsys.readouterr().out


def test_the_display_of_rounds_adds_up_the_folds(fitted):
    display = BoostingPathDisplay.from_estimator(fitted)
    n_rounds = fitted.n_estimators_
    assert display.staged_weights.shape == (n_rounds, n_rounds)
    assert_allclose(display.staged_weights.sum(axis=1), 1.0)


def test_few_samples_are_described_better_than_with_a_validation_set():
    X = load_wine().data[:, [0, 1, 6, 9, 11]]
    gains = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(X))
        train, test = X[order[:60]], X[order[60:]]
        scores = [
            density(4, n_folds=n, flow="gaussian_mixture", random_state=seed, dequantize=False)
            .fit(train)
            .score(test)
            for n in (5, None)
        ]
        gains.append(scores[0] - scores[1])
    assert np.mean(gains) > 0.05
