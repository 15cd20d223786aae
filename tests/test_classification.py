"""Bayes' rule with a density for each class, beside Bayes' rule written out."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import GaussianDensity, degenerate_data_allowed
from scipy.stats import multivariate_normal
from sklearn import config_context
from sklearn.base import clone
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.utils.estimator_checks import parametrize_with_checks

from skgbnf import FlowBayesClassifier, GradientBoostedFlowDensity, GradientBoostedFlowVAE

AFFINE = GradientBoostedFlowDensity(1, flow="affine", max_iter=1)
MEANS = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
COVARIANCES = np.array([[[1.0, 0.5], [0.5, 1.0]], [[0.3, 0.0], [0.0, 2.0]], np.eye(2)])
PRIORS = np.array([0.5, 0.3, 0.2])
NAMES = np.array(["blue", "green", "red"])


def expected_failures(classifier):
    """Name of a check to the reason why it must fail; strict by the configuration of pytest."""
    if isinstance(classifier.estimator, GaussianDensity):
        return {}
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "flows are trained by minibatches, in which a row of weight two is not two rows, and "
            "a class of one row is refused"
        ),
        "check_estimators_nan_inf": "of a row with gaps the density of the rest is compared",
    }


# Some checks bring small tables of integers.
@pytest.mark.filterwarnings("ignore::skgbnf.table.dequantisation.DegenerateDataWarning")
@parametrize_with_checks(
    [FlowBayesClassifier(AFFINE), FlowBayesClassifier(GaussianDensity(ridge=1e-3))],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def three_gaussians(n_rows, seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=n_rows, p=PRIORS)
    factors = np.linalg.cholesky(COVARIANCES)
    X = MEANS[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(n_rows, 2)))
    return X, NAMES[labels]


def bayes_rule(X):
    """Probabilities of the classes under the truth."""
    joint = np.column_stack(
        [
            prior * multivariate_normal(mean, covariance).pdf(X)
            for prior, mean, covariance in zip(PRIORS, MEANS, COVARIANCES, strict=True)
        ]
    )
    return joint / joint.sum(axis=1, keepdims=True)


def test_with_gaussians_it_is_quadratic_discriminant_analysis():
    X, y = three_gaussians(300, 0)
    classifier = FlowBayesClassifier(GaussianDensity()).fit(X, y)
    peer = QuadraticDiscriminantAnalysis().fit(X, y)
    # It divides by one row less than there are.
    np.testing.assert_allclose(classifier.predict_proba(X), peer.predict_proba(X), atol=0.01)


def test_probabilities_are_near_those_of_the_truth():
    X, y = three_gaussians(3000, 0)
    density = GradientBoostedFlowDensity(1, flow="affine", max_iter=10)
    classifier = FlowBayesClassifier(density, random_state=0).fit(X, y)
    new, _ = three_gaussians(1000, 1)
    assert np.abs(classifier.predict_proba(new) - bayes_rule(new)).mean() < 0.03
    np.testing.assert_array_equal(
        classifier.predict(new), NAMES[classifier.predict_proba(new).argmax(axis=1)]
    )


@pytest.mark.quick
def test_score_samples_is_the_density_of_all_classes():
    X, y = three_gaussians(300, 0)
    classifier = FlowBayesClassifier(GaussianDensity()).fit(X, y)
    density = sum(
        share * np.exp(density.score_samples(X))
        for share, density in zip(classifier.class_prior_, classifier.estimators_, strict=True)
    )
    np.testing.assert_allclose(classifier.score_samples(X), np.log(density))


def test_priors_are_shares_unless_given():
    X, y = three_gaussians(300, 0)
    weights = np.random.default_rng(0).uniform(size=300)
    classifier = FlowBayesClassifier(GaussianDensity()).fit(X, y, sample_weight=weights)
    shares = [weights[y == name].sum() / weights.sum() for name in NAMES]
    np.testing.assert_allclose(classifier.class_prior_, shares)
    shifted = FlowBayesClassifier(GaussianDensity(), priors=[0.0, 0.5, 0.5])
    shifted.fit(X, y, sample_weight=weights)
    expected = classifier.predict_proba(X) / shares * [0.0, 0.5, 0.5]
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shifted.predict_proba(X), expected)
    assert "blue" not in shifted.predict(X)


def test_far_rows_have_probabilities_too():
    X, y = three_gaussians(300, 0)
    proba = FlowBayesClassifier(GaussianDensity()).fit(X, y).predict_proba([[1e3, -1e3]])
    np.testing.assert_allclose(proba.sum(), 1.0)


def test_a_row_that_no_class_can_have_gets_the_priors():
    X, y = three_gaussians(300, 0)
    density = KernelDensity(kernel="tophat", bandwidth=1.0)
    classifier = FlowBayesClassifier(density, priors=[0.2, 0.7, 0.1]).fit(X, y)
    np.testing.assert_allclose(classifier.predict_proba([[99.0, 99.0]]), [[0.2, 0.7, 0.1]])
    assert classifier.predict([[99.0, 99.0]]) == ["green"]
    assert classifier.score_samples([[99.0, 99.0]]) == -np.inf


def test_rows_are_drawn_from_the_class_of_each_label():
    X, y = three_gaussians(3000, 0)
    classifier = FlowBayesClassifier(GaussianDensity()).fit(X, y)
    labels = np.tile(NAMES, 2000)
    drawn, again = classifier.sample(random_state=0, y=labels)
    np.testing.assert_array_equal(again, labels)
    for name, mean in zip(NAMES, MEANS, strict=True):
        np.testing.assert_allclose(drawn[labels == name].mean(axis=0), mean, atol=0.2)
    np.testing.assert_array_equal(drawn, classifier.sample(random_state=0, y=labels)[0])
    assert (drawn != classifier.sample(random_state=1, y=labels)[0]).all()


def test_labels_are_drawn_by_the_prior_probabilities():
    X, y = three_gaussians(3000, 0)
    priors = np.array([0.2, 0.7, 0.1])
    classifier = FlowBayesClassifier(GaussianDensity(), priors=priors).fit(X, y)
    drawn, labels = classifier.sample(5000, random_state=0)
    shares = (labels[:, None] == classifier.classes_).mean(axis=0)
    # Five standard errors of the share 0.5, the most uncertain.
    np.testing.assert_allclose(shares, priors, atol=5 * 0.5 / 5000**0.5)
    assert classifier.score(drawn, labels) == pytest.approx(classifier.score(X, y), abs=0.1)
    assert classifier.sample()[0].shape == (1, 2)


def test_samples_of_flows_are_of_their_class():
    X, y = three_gaussians(300, 0)
    classifier = FlowBayesClassifier(AFFINE, random_state=0).fit(X + 50 * (y == "red")[:, None], y)
    drawn, _ = classifier.sample(random_state=0, y=["red", "blue", "red"])
    np.testing.assert_array_equal(drawn[:, 0] > 25, [True, False, True])


def test_labels_that_cannot_be_drawn():
    X, y = three_gaussians(300, 0)
    classifier = FlowBayesClassifier(GaussianDensity())
    with pytest.raises(NotFittedError):
        classifier.sample()
    with pytest.raises(ValueError, match=r"not seen: \['pink'\]"):
        classifier.fit(X, y).sample(y=["red", "pink"])
    with pytest.raises(ValueError, match=r"not seen: \[None\]"):
        classifier.sample(y=["red", None])
    with pytest.raises(ValueError, match="at least one label"):
        classifier.sample(y=[])
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        classifier.sample(0)
    for density in (_ScoresOnly(), GaussianMixture()):  # the latter's takes no seed
        assert not hasattr(FlowBayesClassifier(density), "sample")
    for density in (None, KernelDensity()):
        assert hasattr(FlowBayesClassifier(density), "sample")


class _ScoresOnly:
    def score_samples(self, X):
        raise NotImplementedError


def test_a_fit_that_fails_leaves_no_half_fitted_classes():
    X, y = three_gaussians(30, 0)
    bad = np.where(np.arange(30) < 29, "red", "blue")
    classifier = FlowBayesClassifier(AFFINE, random_state=0)
    with pytest.raises(ValueError, match="class blue"):
        classifier.fit(X, bad)
    with pytest.raises(NotFittedError):
        classifier.predict(X)
    expected = classifier.fit(X, y).predict_proba(X)
    with pytest.raises(ValueError, match="class blue"):
        classifier.fit(X, bad)
    np.testing.assert_array_equal(classifier.predict_proba(X), expected)
    with pytest.raises(ValueError, match="class blue"):
        classifier.fit(np.column_stack([X, X[:, 0]]), bad)
    assert classifier.n_features_in_ == 2


def test_a_density_already_fitted_can_be_held():
    X, y = three_gaussians(30, 0)
    frozen = FrozenEstimator(clone(AFFINE).fit(X))
    classifier = FlowBayesClassifier(frozen).fit(X, y)
    np.testing.assert_allclose(
        classifier.predict_proba(X), np.tile(classifier.class_prior_, (30, 1))
    )


class _Recording(GaussianDensity):
    def fit(self, X, sample_weight=None):  # no y
        self.weights_ = sample_weight
        return super().fit(X)


def test_weights_reach_the_densities_as_they_were_given():
    X, y = three_gaussians(30, 0)
    weights = np.linspace(10.0, 20.0, 30)
    classifier = FlowBayesClassifier(_Recording()).fit(X, y, weights)
    for name, density in zip(classifier.classes_, classifier.estimators_, strict=True):
        np.testing.assert_array_equal(density.weights_, weights[y == name])
    FlowBayesClassifier(_Recording()).fit(X, y)


def test_labels_may_be_dates_of_another_unit():
    X, y = three_gaussians(30, 0)
    days = np.datetime64("2020-01-01") + np.searchsorted(NAMES, y)
    classifier = FlowBayesClassifier(GaussianDensity()).fit(X, days)
    _, drawn = classifier.sample(y=days[:4].astype("datetime64[s]"))
    np.testing.assert_array_equal(drawn, days[:4])


def test_images_are_drawn_as_images():
    X = np.random.default_rng(0).random((40, 4, 4))
    y = np.repeat([0, 1], 20)
    density = GradientBoostedFlowVAE(2, n_estimators=1, max_iter=1, likelihood="gaussian")
    classifier = FlowBayesClassifier(density, random_state=0).fit(X, y)
    drawn, labels = classifier.sample(5, random_state=0)
    assert drawn.shape == (5, *density.fit(X[:20]).sample(1).shape[1:])
    assert labels.shape == (5,)


def test_weights_near_the_largest_number():
    X, y = three_gaussians(60, 0)
    plain = FlowBayesClassifier(AFFINE, random_state=0).fit(X, y, np.ones(60))
    heavy = FlowBayesClassifier(AFFINE, random_state=0).fit(X, y, np.full(60, 1e307))
    np.testing.assert_array_equal(heavy.class_prior_, plain.class_prior_)


def test_a_class_of_one_row_is_named():
    X, y = three_gaussians(30, 0)
    y[0] = "pink"
    with pytest.raises(ValueError, match=r"class pink, of 1 rows.*minimum of 2"):
        FlowBayesClassifier(AFFINE).fit(X, y)
    weights = np.r_[0.0, np.ones(29)]
    classifier = FlowBayesClassifier(AFFINE).fit(X, y, sample_weight=weights)
    assert classifier.classes_.tolist() == NAMES.tolist()


def test_one_class_is_always_predicted():
    X, _ = three_gaussians(30, 0)
    classifier = FlowBayesClassifier(GaussianDensity()).fit(X, np.repeat("only", 30))
    assert (classifier.predict(X) == "only").all()
    np.testing.assert_array_equal(classifier.predict_proba(X), np.ones((30, 1)))


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ([0.5, 0.5], "each of 3 classes"),
        ([0.5, 0.6, -0.1], "must not be negative"),
        ([0.5, 0.6, 0.1], "must sum to 1"),
        ([0.5, 0.5, np.nan], "priors contains NaN"),
    ],
)
def test_bad_priors_are_named(priors, message):
    X, y = three_gaussians(100, 0)
    with pytest.raises(ValueError, match=message):
        FlowBayesClassifier(GaussianDensity(), priors=priors).fit(X, y)


def test_a_density_that_takes_no_weights_works_without():
    X, y = three_gaussians(300, 0)
    classifier = FlowBayesClassifier(GaussianMixture()).fit(X, y)
    assert classifier.score(X, y) > 0.7
    with pytest.raises(ValueError, match=r"sample_weight: GaussianMixture.fit takes no weights"):
        classifier.fit(X, y, sample_weight=np.ones(300))


def test_classes_get_seeds_of_their_own():
    X, y = three_gaussians(100, 0)

    def seeds_of(random_state):
        classifier = FlowBayesClassifier(GaussianDensity(), random_state=random_state).fit(X, y)
        return [density.seed_ for density in classifier.estimators_]

    seeds, same, other = (seeds_of(random_state) for random_state in (0, 0, 1))
    assert seeds == same
    assert len({*seeds, *other}) == 6
    untouched = FlowBayesClassifier(GaussianDensity(random_state=5)).fit(X, y)
    assert [density.seed_ for density in untouched.estimators_] == [5, 5, 5]


def test_names_of_columns_reach_the_densities():
    X, y = three_gaussians(100, 0)
    frame = pd.DataFrame(X, columns=["a", "b"])
    classifier = FlowBayesClassifier(GaussianDensity()).fit(frame, y)
    assert classifier.estimators_[2].feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(frame[["b", "a"]])


def test_grid_search_over_parameters_of_the_density():
    X, y = three_gaussians(300, 0)
    grid = {"estimator__ridge": [1e-9, 1e9]}
    search = GridSearchCV(FlowBayesClassifier(GaussianDensity()), grid, cv=2).fit(X, y)
    assert search.best_params_ == {"estimator__ridge": 1e-9}


def test_weights_are_routed_through_a_grid_search():
    X, y = three_gaussians(100, 0)
    weights = np.random.default_rng(0).uniform(size=100)
    with config_context(enable_metadata_routing=True):
        classifier = FlowBayesClassifier(GaussianDensity()).set_fit_request(sample_weight=True)
        classifier.set_score_request(sample_weight=True)
        search = GridSearchCV(classifier, {"priors": [None]}, cv=2)
        search.fit(X, y, sample_weight=weights)
    direct = FlowBayesClassifier(GaussianDensity()).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(search.best_estimator_.class_prior_, direct.class_prior_)


def test_a_pickle_answers_alike():
    X, y = three_gaussians(100, 0)
    classifier = FlowBayesClassifier(AFFINE, random_state=0).fit(X, y)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


UNITS = {"affine": 0.02, "gaussian_mixture": 0.05}


@pytest.mark.parametrize("dequantize", ["auto", True])
@pytest.mark.parametrize("flow", UNITS)
def test_classes_are_compared_in_the_same_units(flow, dequantize):
    rng, n = np.random.default_rng(0), 2000
    y = np.repeat([0, 1], n)
    X = np.column_stack([np.where(y == 0, 0, rng.integers(0, 2, 2 * n)), rng.normal(size=2 * n)])
    density = GradientBoostedFlowDensity(1, flow=flow, dequantize=dequantize, random_state=0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        classifier = FlowBayesClassifier(density).fit(X, y)
    assert len(told) == (dequantize == "auto")
    at_zero, at_one = classifier.predict_proba([[0, 0.0], [1, 0.0]])[:, 0]
    assert at_zero == pytest.approx(2 / 3, abs=UNITS[flow])
    # One Gaussian in place of a step leaves some of it in the next.
    assert at_one < 0.1


def test_atoms_are_compared_by_their_probabilities():
    rng, n = np.random.default_rng(0), 2000
    y = np.repeat([0, 1], n)
    zero = rng.random(2 * n) < np.where(y == 0, 0.5, 0.1)
    x = np.where(zero, 0.0, rng.lognormal(size=2 * n))[:, None]
    density = GradientBoostedFlowDensity(1, flow="affine", random_state=0)
    with degenerate_data_allowed():
        classifier = FlowBayesClassifier(density).fit(x, y)
    # One Gaussian is no lognormal, but it puts the right mass into the interval, nearly.
    assert classifier.predict_proba([[0.0]])[0, 0] == pytest.approx(5 / 6, abs=0.1)


@pytest.mark.parametrize("dequantize", ["auto", True, False])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e9])
def test_a_column_constant_in_one_class_only_tells_them_apart(unit, dequantize):
    rng, n = np.random.default_rng(0), 500
    y = np.repeat([0, 1], n)
    x = np.where(y == 0, 5.0, 5 + rng.normal(size=2 * n)) * unit
    X = np.column_stack([x, rng.normal(size=2 * n)])
    density = GradientBoostedFlowDensity(1, flow="affine", dequantize=dequantize, random_state=0)
    with degenerate_data_allowed():
        classifier = FlowBayesClassifier(density).fit(X, y)
    assert classifier.score(X, y) > 0.99


def test_margins_of_bounds_are_those_of_the_whole_table():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 300)
    x = rng.exponential(size=(600, 1))
    density = GradientBoostedFlowDensity(1, flow="affine", bounds=(0, None), random_state=0)
    a, b = FlowBayesClassifier(density).fit(x, y).estimators_
    assert a.bound_margins_[0] == b.bound_margins_[0]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_mixed_tables(library):
    """Two classes that differ by a number, a category that one of them lacks, and gaps."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    frame = pd.DataFrame({"x": 3.0 * y + rng.normal(size=200)})
    frame["kind"] = pd.Categorical(np.where((y == 1) & (rng.random(200) < 0.5), "c", "a"))
    frame.loc[:20, "x"] = np.nan
    X = pl.from_pandas(frame) if library == "polars" else frame
    density = GradientBoostedFlowDensity(1, flow="location_mixture", n_folds=None)
    classifier = FlowBayesClassifier(density, random_state=0).fit(X, y)
    assert classifier.score(X, y) > 0.9
    proba = classifier.predict_proba(X[:20])[:, 1]  # by the category alone
    has_c = frame["kind"][:20] == "c"
    assert (proba[has_c] > 0.9).all()
    assert (proba[~has_c] < 0.5).all()
    rows, labels = classifier.sample(20, random_state=0)
    assert set(rows[labels == 1, 1]) <= {"a", "c"}
