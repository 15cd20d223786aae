"""Domains mapped onto one shared density: inverses, densities, known maps, the contract."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import skgbnf
from skgbnf import FlowAligner
from skgbnf.alignment.maps import LAYERS, MapArchitecture, in_double, match_moments
from skgbnf.alignment.shared import SharedDensity, boosted, on_cpu, standard_normal
from skgbnf.metrics import cycle_error, two_sample_auc

SMALL = {"n_estimators": 2, "n_epochs": 5, "random_state": 0}
ALL_LAYERS = ("scale", "columns", "linear", "coupling")


@parametrize_with_checks([FlowAligner(**SMALL), FlowAligner("mle", flow=("scale",), **SMALL)])
def test_scikit_learn_check(estimator, check):
    check(estimator)


def two_classes(n_samples, share, seed):
    """Rows of two far classes, the second of which has a given share."""
    rng = np.random.default_rng(seed)
    second = rng.random(n_samples) < share
    return rng.normal(size=(n_samples, 2)) * 0.5 + np.where(second[:, None], [4.0, 2.0], 0.0)


def shifted(X):
    return X * [2.0, 0.5] + [3.0, -1.0]


@pytest.fixture(scope="module")
def pair():
    """Two sites with other shares of two classes, and the aligner of them."""
    A, B = two_classes(300, 0.3, 0), two_classes(200, 0.7, 1)
    X, site = np.concatenate([A, shifted(B)]), np.repeat(["a", "b"], [300, 200])
    aligner = FlowAligner(n_estimators=3, random_state=0, flow=("scale", "linear"))
    return X, site, B, aligner.fit(X, domain=site)


def grown(layers, n_features=3, seed=0):
    """A map whose parameters are not those of the identity."""
    torch.manual_seed(seed)
    module = in_double(MapArchitecture(n_features, layers))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


@pytest.mark.quick
@pytest.mark.parametrize("layers", [*[(name,) for name in LAYERS], ALL_LAYERS])
@pytest.mark.parametrize("n_features", [1, 3])
def test_maps_are_invertible_and_their_log_determinants_are_those_of_autograd(layers, n_features):
    module = grown(layers, n_features)
    x = torch.randn(7, n_features, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y, log_det, _ = module(x)
    torch.testing.assert_close(module.inverse(y), x, rtol=0.0, atol=1e-9)
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda row: module(row[None])[0][0], x[i])
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(log_det[i], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_untrained_layers_are_the_identity_and_move_nothing(name):
    x = torch.randn(5, 3, dtype=torch.float64)
    y, log_det, move = in_double(MapArchitecture(3, (name,)))(x)
    # Splines find the identity by a division.
    torch.testing.assert_close(y, x, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(log_det, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    assert move.max() < 1e-20


def test_the_move_is_that_of_all_layers_but_scales():
    x = torch.randn(5, 3, dtype=torch.float64)
    module = grown(("scale", "linear"))
    between = module.layers[0]()(x)
    expected = (module(x)[0] - between).square().sum(-1)
    torch.testing.assert_close(module(x)[2], expected)


def test_components_of_the_shared_density_are_those_of_the_mixture():
    X = two_classes(200, 0.5, 0)
    mixture = on_cpu(boosted(X, 2, 0))
    shared = SharedDensity(mixture)
    y = torch.from_numpy(X[:20])
    expected = mixture.component_log_prob(y)
    torch.testing.assert_close(shared.component_log_prob(y), expected, rtol=1e-9, atol=1e-9)
    mean, covariance = shared.moments()
    drawn = mixture.sample(100_000, 0)
    # Four standard errors of a mean over so many draws of a spread of about two.
    torch.testing.assert_close(mean, drawn.mean(0), rtol=0.0, atol=0.03)
    torch.testing.assert_close(covariance, torch.cov(drawn.T), rtol=0.0, atol=0.08)


@pytest.mark.parametrize("name", ["scale", "linear"])
def test_matched_moments_are_those_asked_for(name):
    x = torch.from_numpy(shifted(two_classes(100, 0.5, 0)))
    covariance = torch.tensor([[2.0, 0.7], [0.7, 1.0]], dtype=torch.float64)
    mean = torch.tensor([5.0, -1.0], dtype=torch.float64)
    module = in_double(MapArchitecture(2, (name,)))
    match_moments(module.layers[0], x, mean, covariance)
    y = module(x)[0].detach()
    found = torch.cov(y.T, correction=0)
    # A ridge of 1e-6 keeps the roots defined.
    torch.testing.assert_close(y.mean(0), mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.diagonal(), covariance.diagonal(), rtol=1e-4, atol=1e-4)
    if name == "linear":
        torch.testing.assert_close(found, covariance, rtol=1e-4, atol=1e-4)
        matrix = (
            module(torch.eye(2, dtype=torch.float64))[0] - module(torch.zeros(1, 2).double())[0]
        )
        # The gradient of a convex function, as optimal maps are.
        torch.testing.assert_close(matrix, matrix.T)
        assert torch.linalg.eigvalsh(matrix).min() > 0


def test_rows_are_recovered_although_class_shares_differ(pair):
    X, site, B, aligner = pair
    found = aligner.translate(X[site == "b"], "b", "a")
    error = np.sqrt(np.mean((found - B) ** 2))
    moments = (X[site == "b"] - X[site == "b"].mean(0)) / X[site == "b"].std(0)
    moments = moments * X[site == "a"].std(0) + X[site == "a"].mean(0)
    # Matching moments is misled by the shares, by more than a unit.
    assert error < 0.2 < 1.0 < np.sqrt(np.mean((moments - B) ** 2))
    assert aligner.reference_ == "a"
    assert aligner.layers_ == [(), ("scale",)]


@pytest.mark.quick
def test_there_and_back_is_exact(pair):
    X, site, _, aligner = pair
    assert cycle_error(aligner, X[site == "b"], "b", "a") < 1e-9
    assert cycle_error(aligner, X[site == "a"], "a", "b") < 1e-9
    Z = aligner.transform(X, domain=site)
    np.testing.assert_allclose(aligner.inverse_transform(Z, domain=site), X, atol=1e-9)
    np.testing.assert_allclose(Z[site == "a"], X[site == "a"], atol=1e-9)
    np.testing.assert_array_equal(
        aligner.transform(X[:3], "b"), aligner.transform(X[:3], ["b"] * 3)
    )


def test_log_densities_are_normalised(pair):
    aligner = pair[3]
    u, v = np.meshgrid(np.linspace(-5, 25, 600), np.linspace(-5, 5, 600))
    cell = (u[0, 1] - u[0, 0]) * (v[1, 0] - v[0, 0])
    total = np.exp(aligner.score_samples(np.column_stack([u.ravel(), v.ravel()]), "b")).sum() * cell
    # The box holds all but a millionth, and sums over so fine a grid of Gaussians are exact.
    assert total == pytest.approx(1.0, abs=1e-3)


def test_log_densities_follow_the_units():
    X = two_classes(60, 0.5, 0)
    site = np.arange(60) % 2
    aligner = FlowAligner(flow=("scale",), **SMALL)
    ours = clone(aligner).fit(X, domain=site).score_samples(X, site)
    theirs = aligner.fit(8.0 * X, domain=site).score_samples(8.0 * X, site)
    # Factors of two change no rounding.
    np.testing.assert_allclose(theirs + 2 * np.log(8.0), ours, rtol=1e-12, atol=1e-9)


def test_samples_of_a_domain_are_like_its_rows(pair):
    X, site, _, aligner = pair
    for name in ("a", "b"):
        drawn = aligner.sample(300, name, random_state=0)
        assert two_sample_auc(drawn, X[site == name]) < 0.62  # 0.5 up to three standard errors
    np.testing.assert_array_equal(
        aligner.sample(5, "a", random_state=3), aligner.sample(5, "a", random_state=3)
    )


@pytest.mark.parametrize("objective", ["bound", "mle", "hybrid"])
def test_each_objective_finds_the_marginals_of_gaussians(objective):
    """Whatever a map does to a normal distribution, the images must have its moments."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(400, 2)) @ [[1.0, 0.7], [0.0, 0.6]]
    B = rng.normal(size=(400, 2)) @ [[0.5, 0.0], [0.6, 2.0]] + [4.0, 1.0]
    X, site = np.concatenate([A, B]), np.repeat([0, 1], 400)
    aligner = FlowAligner(
        objective,
        flow=("linear",),
        n_estimators=1,
        n_epochs=30,
        transport_penalty=0.0,
        random_state=0,
    )
    found = aligner.fit(X, domain=site).translate(B, 1, 0)
    # Standard errors of means and variances of 400 rows are 0.05 and 0.07.
    np.testing.assert_allclose(found.mean(0), A.mean(0), atol=0.15)
    np.testing.assert_allclose(np.cov(found.T), np.cov(A.T), atol=0.25)
    true = multivariate_normal(A.mean(0), np.cov(A.T)).logpdf(A).mean()
    assert aligner.score(A, domain=0) == pytest.approx(true, abs=0.05)


def test_maximum_likelihood_alone_makes_domains_normal():
    X = np.random.default_rng(0).exponential(size=(500, 1))
    aligner = FlowAligner("mle", flow=("scale", "columns"), n_epochs=30, random_state=0).fit(X)
    z = (aligner.transform(X) - X.mean()) / X.std()
    quantiles = np.quantile(z, [0.1, 0.5, 0.9])
    # Twice the standard error of a quantile of 500 rows, and what a spline of 8 bins misses.
    np.testing.assert_allclose(quantiles, norm.ppf([0.1, 0.5, 0.9]), atol=0.2)


def test_domains_alike_are_not_moved():
    X = np.random.default_rng(0).normal(size=(2000, 3))
    aligner = FlowAligner(n_estimators=1, n_epochs=4, flow=("scale", "linear"), random_state=0)
    aligner.fit(X, domain=np.arange(2000) % 2)
    assert aligner.layers_ == [(), ()]


def test_a_spline_is_kept_where_columns_are_warped():
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(400, 1)), np.exp(rng.normal(size=(400, 1)))
    aligner = FlowAligner(
        n_estimators=1, flow=("scale", "columns"), n_epochs=40, random_state=0, transport_penalty=0
    )
    aligner.fit(np.concatenate([A, B]), domain=np.repeat(["a", "b"], 400))
    assert aligner.layers_[1] == ("scale", "columns")
    found = aligner.translate([[np.exp(-1.0)], [1.0], [np.exp(1.0)]], "b", "a")[:, 0]
    np.testing.assert_allclose(found, [-1.0, 0.0, 1.0], atol=0.25)  # of rows and of 8 bins


def test_three_domains_and_a_chosen_reference():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(loc, 1.0, size=(80, 2)) for loc in (0.0, 3.0, 9.0)])
    plate = np.repeat([7, 3, 5], 80)
    aligner = FlowAligner(reference=3, flow=("scale",), **SMALL).fit(X, domain=plate)
    assert aligner.domains_.tolist() == [3, 5, 7]
    assert aligner.reference_ == 3
    Z = aligner.transform(X, plate)
    assert all(abs(Z[plate == k].mean() - 3.0) < 0.6 for k in (3, 5, 7))
    np.testing.assert_allclose(aligner.component_weights_.sum(axis=1), 1.0)


def test_repeated_and_constant_columns_are_finite():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(3, size=90), np.full(90, 2.0), rng.normal(size=90)])
    site = np.repeat([0, 1], 45)
    X[site == 1, 1] = 5.0
    aligner = FlowAligner(**SMALL).fit(X, domain=site)
    assert np.isfinite(aligner.score_samples(X, site)).all()
    assert np.isfinite(aligner.transform(X, site)).all()


def test_an_integer_seed_gives_the_same_aligner():
    X, site = two_classes(60, 0.5, 0), np.arange(60) % 2
    first, second = (
        FlowAligner(flow=("scale",), **SMALL).fit(X + 3.0 * site[:, None], domain=site)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.transform(X, site), second.transform(X, site))


@pytest.mark.parametrize("how", ["pickle", "file"])
def test_aligners_come_back(pair, how, tmp_path):
    X, site, _, aligner = pair
    if how == "pickle":
        back = pickle.loads(pickle.dumps(aligner))
    else:
        skgbnf.save(aligner, tmp_path / "aligner")
        back = skgbnf.load(tmp_path / "aligner")
    np.testing.assert_array_equal(back.transform(X, site), aligner.transform(X, site))
    np.testing.assert_array_equal(back.score_samples(X, site), aligner.score_samples(X, site))
    assert back.get_params() == aligner.get_params()
    assert back.reference_ == "a"
    assert back.layers_ == aligner.layers_


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda plain: plain["domains"]["labels"].pop(), "domains than maps"),
        (lambda plain: plain["domains"].update(labels=["b", "a"]), "sorted"),
        (lambda plain: plain["fitted"].update(weights=np.ones((2, 1))), "weights"),
        (lambda plain: plain["fitted"].update(scale=np.zeros(2)), "units"),
        (lambda plain: plain["fitted"].update(location=np.zeros(3)), "columns"),
        (lambda plain: plain["fitted"]["maps"][1]["architecture"].update(layers=["?"]), "known"),
        (lambda plain: plain.update(feature_names=["x"]), "feature names"),
        (lambda plain: plain.update(reference=2), "reference"),
    ],
)
def test_files_whose_parts_do_not_fit_are_refused(pair, damage, message):
    plain = pair[3].to_plain()
    damage(plain)
    with pytest.raises(ValueError, match=message):
        FlowAligner.from_plain(plain)


def test_frames_in_and_out(pair):
    X, site, _, aligner = pair
    frame = pd.DataFrame(X, columns=["u", "v"])
    named = FlowAligner(flow=("scale",), **SMALL).set_output(transform="pandas")
    Z = named.fit_transform(frame, domain=site)
    assert list(Z.columns) == ["u", "v"]
    assert named.feature_names_in_.tolist() == ["u", "v"]
    assert named.get_feature_names_out().tolist() == ["u", "v"]
    with pytest.raises(ValueError, match="feature names"):
        named.transform(frame[["v", "u"]], domain=site)
    series = pd.Series(site)
    np.testing.assert_array_equal(aligner.transform(X, series), aligner.transform(X, site))


def test_domains_are_routed_through_pipelines_and_searches(pair):
    X, site, _, _ = pair
    with sklearn.config_context(enable_metadata_routing=True):
        aligner = FlowAligner(flow=("scale",), **SMALL)
        for method in ("fit", "transform", "score"):
            getattr(aligner, f"set_{method}_request")(domain=True)
        pipeline = Pipeline([("scale", StandardScaler()), ("align", aligner)])
        Z = pipeline.fit(X, domain=site).transform(X, domain=site)
        assert Z.shape == X.shape
        assert pipeline[-1].domains_.tolist() == ["a", "b"]
        search = GridSearchCV(aligner, {"n_estimators": [1, 2]}, cv=2)
        order = np.random.default_rng(0).permutation(len(X))[:100]
        search.fit(X[order], domain=site[order])
    assert search.best_params_["n_estimators"] == 2


def test_one_domain_needs_no_label():
    X = np.random.default_rng(0).normal(size=(50, 2))
    aligner = FlowAligner(**SMALL).fit(X)
    np.testing.assert_allclose(aligner.transform(X), X, atol=1e-12)
    assert aligner.sample(3, random_state=0).shape == (3, 2)


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (["a"] * 4, "one label for each of 5 samples"),
        (["a"] * 4 + ["b"], "'b' has one sample"),
        (["a", "a", "b", "b", None], "missing"),
        ([0.0, 0.0, 1.0, 1.0, math.nan], "missing"),
        (np.array(["a", "a", 1, 1, 1], dtype=object), "one type"),
    ],
)
def test_labels_that_do_not_fit_are_refused(domain, message):
    X = np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(ValueError, match=message):
        FlowAligner(**SMALL).fit(X, domain=domain)


def test_labels_that_fit_did_not_see_are_refused(pair):
    X, site, _, aligner = pair
    with pytest.raises(ValueError, match="'c' was not seen in fit, only 'a', 'b'"):
        aligner.transform(X, "c")
    with pytest.raises(ValueError, match="name that of the samples"):
        aligner.transform(X)
    with pytest.raises(ValueError, match="one label for each"):
        aligner.translate(X, site[:3], "a")
    with pytest.raises(ValueError, match="reference: 'c' is not among"):
        FlowAligner(reference="c", **SMALL).fit(X, domain=site)
    with pytest.raises(ValueError, match="NaN"):
        aligner.transform(np.full((1, 2), np.nan), "a")
    with pytest.raises(NotFittedError):
        FlowAligner().translate(X, "a", "b")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"objective": "gan"}, ValueError, "objective must be one of"),
        ({"flow": "scale"}, TypeError, "flow must be a sequence"),
        ({"flow": ("scale", "nsf")}, ValueError, "flow must be one of"),
        ({"n_estimators": 0}, ValueError, "n_estimators"),
        ({"noise": -1.0}, ValueError, "noise"),
        ({"lambda_mle": math.nan}, ValueError, "lambda_mle"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction"),
        ({"n_epochs": 0}, ValueError, "n_epochs"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, error, message):
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(error, match=message):
        FlowAligner(**{**SMALL, **parameters}).fit(X)


def test_a_failed_fit_leaves_the_aligner_as_it_was(pair):
    X, site, _, aligner = pair
    before = aligner.transform(X, site)
    with pytest.raises(ValueError, match="one label"):
        aligner.fit(X, domain=site[:3])
    np.testing.assert_array_equal(aligner.transform(X, site), before)


def test_the_standard_normal_is_that_of_scipy():
    y = np.random.default_rng(0).normal(size=(4, 2))
    found = on_cpu(standard_normal(2)).log_prob(torch.from_numpy(y))
    np.testing.assert_allclose(found.numpy(), norm.logpdf(y).sum(axis=1))
