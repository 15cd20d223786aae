"""Log-densities as features: those of new rows, and out-of-fold ones of the rows of fit."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import GaussianDensity
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import skgbnf
from skgbnf import FlowTransformer, GradientBoostedFlowDensity
from skgbnf.estimators.out_of_fold import density_of_fold, scores_out_of_fold

AFFINE = GradientBoostedFlowDensity(1, flow="affine", max_iter=1, random_state=0)
FOLDS = GradientBoostedFlowDensity(2, flow="affine", n_folds=3, random_state=0)
MIXED = GradientBoostedFlowDensity(
    1, flow="location_mixture", init=None, n_folds=2, max_iter=2, random_state=0
)

BY_DESIGN = "the log-densities of fit_transform are out of fold"


def expected(transformer):
    names = ("general", "general(readonly_memmap=True)", "data_not_an_array")
    return {f"check_transformer_{name}": BY_DESIGN for name in names}


# Some checks bring small tables of integers.
@pytest.mark.filterwarnings("ignore::skgbnf.table.dequantisation.DegenerateDataWarning")
@parametrize_with_checks(
    [FlowTransformer(MIXED, n_folds=2), FlowTransformer(GaussianDensity(), n_folds=2)],
    expected_failed_checks=expected,
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def normal(n_rows, seed=0, n_columns=2):
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns))


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=80)
    frame = pd.DataFrame(
        {"kind": pd.Categorical.from_codes(kind, ["a", "b"]), "x": 5.0 * kind + rng.normal(size=80)}
    )
    frame.loc[:9, "x"] = np.nan
    return frame


@pytest.mark.quick
def test_folds_of_its_own_are_those_of_separate_fits():
    """Each row by the Gaussian of all others but those of its fold."""
    X = normal(20)
    transformer = FlowTransformer(GaussianDensity(), n_folds=20, random_state=0)
    out = transformer.fit_transform(X)[:, 0]
    without = [
        GaussianDensity().fit(np.delete(X, i, axis=0)).score_samples(X[i : i + 1])[0]
        for i in range(20)
    ]
    np.testing.assert_allclose(out, without)
    new = transformer.transform(X)[:, 0]
    np.testing.assert_allclose(new, GaussianDensity().fit(X).score_samples(X))
    assert out.mean() < new.mean()


def test_folds_of_the_density_are_used_where_there_are_some():
    X = normal(90)
    transformer = FlowTransformer(FOLDS).fit(X)
    density = transformer.estimator_
    out = transformer.fit_transform(X)[:, 0]
    scores = density.fold_score_samples(X)[density.row_folds_, np.arange(90)]
    np.testing.assert_allclose(out, scores)


def test_the_mixtures_of_folds_make_up_the_density():
    X = normal(90)
    density = clone(FOLDS).fit(X)
    each = [density_of_fold(density, k).score_samples(X) for k in range(3)]
    np.testing.assert_allclose(each, density.fold_score_samples(X))
    assert density.n_folds_ == 3
    assert density_of_fold(density, 0).n_folds_ == 1


def test_rows_that_no_component_saw_are_scored_by_all():
    X = normal(90)
    density = clone(FOLDS).fit(X, sample_weight=np.r_[0.0, np.ones(89)])
    assert density.row_folds_[0] == -1
    scores = scores_out_of_fold(density, X, lambda own, rows: own.score_samples(rows))
    assert scores[0] == pytest.approx(density.score_samples(X[:1])[0])


def test_a_column_for_each_feature(frame):
    transformer = FlowTransformer(MIXED, features=True).fit(frame)
    density = transformer.estimator_
    out = transformer.transform(frame)
    assert out.shape == (80, 3)
    np.testing.assert_array_equal(out[:, 0], density.score_samples(frame))
    np.testing.assert_array_equal(out[:, 1:], density.feature_score_samples(frame))
    np.testing.assert_array_equal(np.isnan(out[:, 2]), frame["x"].isna())
    names = ["log_density", "log_density_kind", "log_density_x"]
    assert transformer.get_feature_names_out().tolist() == names
    again = clone(transformer).set_output(transform="polars").fit_transform(frame)
    assert isinstance(again, pl.DataFrame)
    assert again.columns == names
    fold = density.row_folds_[40]
    own = density_of_fold(density, fold).feature_score_samples(frame.iloc[40:41])
    np.testing.assert_allclose(again.to_numpy()[40, 1:], own[0])


def test_a_density_of_zero_is_a_finite_number(frame):
    unseen = pd.DataFrame({"kind": ["c"], "x": [1.0]})
    transformer = FlowTransformer(MIXED).fit(frame)
    with pytest.warns(UserWarning, match="none of the rows of fit had"):
        assert transformer.transform(unseen)[0, 0] == -1e6
    narrow = FlowTransformer(KernelDensity(kernel="tophat", bandwidth=0.1)).fit(normal(50))
    assert narrow.transform([[99.0, 99.0]])[0, 0] == -1e6


def test_a_classifier_learns_from_it():
    """Rows from two circles: no line between them, but a threshold of the density."""
    X = np.concatenate([0.3 * normal(200), 3.0 * normal(200, 1)])
    y = np.repeat([0, 1], 200)
    model = make_pipeline(FlowTransformer(FOLDS), LogisticRegression()).fit(X[::2], y[::2])
    assert model.score(X[1::2], y[1::2]) > 0.85


@pytest.mark.parametrize("how", ["pickle", "file"])
def test_a_transformer_comes_back_from_a_file(frame, tmp_path, how):
    transformer = FlowTransformer(MIXED, features=True, random_state=0).fit(frame)
    if how == "pickle":
        again = pickle.loads(pickle.dumps(transformer))
    else:
        skgbnf.save(transformer, tmp_path / "model")
        again = skgbnf.load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(frame), transformer.transform(frame))
    assert again.get_feature_names_out().tolist() == transformer.get_feature_names_out().tolist()


def test_bad_parameters_are_named():
    X = normal(50)
    with pytest.raises(ValueError, match="n_folds"):
        FlowTransformer(AFFINE, n_folds=1).fit(X)
    with pytest.raises(ValueError, match="n_folds=60 is above the number of samples, 50"):
        FlowTransformer(GaussianDensity(), n_folds=60).fit_transform(X)
    with pytest.raises(TypeError, match="features"):
        FlowTransformer(AFFINE, features="yes").fit(X)
    with pytest.raises(TypeError, match="features: the estimator needs"):
        FlowTransformer(GaussianDensity(), features=True).fit(X)
    transformer = FlowTransformer(GaussianDensity())
    with pytest.raises(NotFittedError):
        transformer.transform(X)
    with pytest.raises(ValueError, match="input_features"):
        transformer.fit(X).get_feature_names_out(["a"])
