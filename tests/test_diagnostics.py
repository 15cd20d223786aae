"""The best Gaussian against other formulas for it, Jacobians against matrices that are known."""

import numpy as np
import pytest
import torch
import zuko
from helpers import degenerate_data_allowed
from sklearn.datasets import load_digits, load_wine, make_moons
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from torch.distributions import Transform, constraints

import skgbnf
from skgbnf.diagnostics import gaussian_reference_score, jacobian_report
from skgbnf.flows import family_names, get_family, make_flow
from skgbnf.training.penalty import StretchPenalty
from skgbnf.training.rows import Rows

WINE = load_wine().data


# The best Gaussian


@pytest.mark.quick
def test_the_reference_is_the_score_of_one_gaussian():
    theirs = GaussianMixture(1, reg_covar=0.0).fit(WINE).score(WINE)
    assert gaussian_reference_score(WINE) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("q", [0, 1, 2, 5, 12])
def test_with_components_it_is_the_score_of_probabilistic_pca(q):
    """scikit-learn divides by the number of rows less one, ours is the maximum."""
    n, d = WINE.shape
    ratio = n / (n - 1)
    ours = gaussian_reference_score(WINE, n_components=q)
    # On the same rows the wider covariance loses a constant.
    theirs = PCA(n_components=q, svd_solver="full").fit(WINE).score(WINE)
    assert theirs == pytest.approx(ours - 0.5 * (d * np.log(ratio) + d / ratio - d), rel=1e-9)


def test_more_components_reach_more_and_all_but_one_reach_it_all():
    scores = [gaussian_reference_score(WINE, q) for q in range(14)]
    assert (np.diff(scores[:13]) > 0).all()
    assert scores[12] == pytest.approx(scores[13], rel=1e-12)
    assert scores[13] == pytest.approx(gaussian_reference_score(WINE), rel=1e-12)


def test_no_other_gaussian_scores_higher(table3):
    best = gaussian_reference_score(table3)
    rng = np.random.default_rng(0)
    gaussian = GaussianMixture(1, reg_covar=0.0).fit(table3)
    for _ in range(20):
        other = GaussianMixture(1)
        other.weights_, other.means_ = np.ones(1), gaussian.means_ + 0.1 * rng.normal(size=(1, 3))
        factor = gaussian.precisions_cholesky_[0] @ (np.eye(3) + 0.1 * rng.normal(size=(3, 3)))
        other.precisions_cholesky_ = np.linalg.cholesky(factor @ factor.T)[None]
        other.covariances_ = np.linalg.inv(factor @ factor.T)[None]
        assert other.score(table3) < best


def test_weights_are_repetition(table3):
    weights = np.random.default_rng(0).integers(0, 4, len(table3))
    repeated = np.repeat(table3, weights, axis=0)
    for q in (None, 1):
        ours = gaussian_reference_score(table3, q, sample_weight=weights)
        assert ours == pytest.approx(gaussian_reference_score(repeated, q), rel=1e-12)


def test_units_change_it_by_the_determinant(table3):
    factors = np.array([1e9, 1e-7, 3.0])
    moved = table3 * factors + [1e9, 0.0, -5.0]
    expected = gaussian_reference_score(table3) - np.log(factors).sum()
    assert gaussian_reference_score(moved) == pytest.approx(expected, abs=1e-6)


UNBOUNDED = {
    "constant": lambda X: np.column_stack([X, np.full(len(X), 7.3)]),
    "twice": lambda X: np.column_stack([X, X[:, 0]]),
    "sum": lambda X: np.column_stack([X, X @ [1e3, 1.0, -2.0]]),
    "few rows": lambda X: X[:3],
    "two rows": lambda X: X[:2],
}


@pytest.mark.parametrize("case", UNBOUNDED)
def test_rows_in_a_subspace_have_no_best_gaussian(table3, case):
    X = UNBOUNDED[case](table3)
    rank = np.linalg.matrix_rank(X - X.mean(axis=0))
    assert gaussian_reference_score(X) == np.inf
    assert gaussian_reference_score(X, n_components=rank) == np.inf
    assert np.isfinite(gaussian_reference_score(X, n_components=rank - 1))


def test_columns_that_depend_nearly_have_a_best_gaussian():
    z = np.random.default_rng(0).normal(size=(1000, 2))
    X = np.column_stack([z[:, 0], z[:, 0] + 1e-5 * z[:, 1]])
    assert gaussian_reference_score(X) == pytest.approx(
        gaussian_reference_score(z) - np.log(1e-5), abs=1e-4
    )


@pytest.mark.parametrize(
    ("q", "error", "message"),
    [
        (14, ValueError, "n_components must be at most the 13 columns"),
        (-1, ValueError, "n_components must be at least 0"),
        (1.5, TypeError, "n_components must be an integer"),
        (True, TypeError, "n_components must be an integer"),
    ],
)
def test_other_numbers_of_components_are_refused(q, error, message):
    with pytest.raises(error, match=message):
        gaussian_reference_score(WINE, n_components=q)


def test_bad_rows_and_weights_are_refused():
    with pytest.raises(ValueError, match="X: column . holds missing values"):
        gaussian_reference_score([[1.0, np.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(178,\)"):
        gaussian_reference_score(WINE, sample_weight=[1.0, 2.0])


def test_an_affine_flow_reaches_the_reference_on_digits(quick):
    """The claim of Liao and He (2021), here within rounding and a small ridge."""
    X = load_digits().data
    X = X + np.random.default_rng(0).random(X.shape)
    model = quick(n_estimators=1, flow="affine", validation_fraction=None).fit(X)
    assert model.score(X) == pytest.approx(gaussian_reference_score(X), abs=0.01)
    assert model.reference_score_ == pytest.approx(gaussian_reference_score(X), rel=1e-9)


def test_the_fitted_reference_is_comparable_with_the_scores_of_training(quick):
    """Behind the maps of bounds, with noise, and for the rows that are left to learn from."""
    X = np.round(np.random.default_rng(0).lognormal(size=(300, 2)) * [10.0, 100.0])
    settings = {"n_estimators": 1, "flow": "affine", "bounds": (0, None), "dequantize": True}
    for fraction in (None, 0.2):
        model = quick(validation_fraction=fraction, **settings).fit(X)
        assert model.train_scores_[0] == pytest.approx(model.reference_score_, abs=1e-4)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(X))
    model = quick(**settings, validation_fraction=None).fit(X, sample_weight=weights)
    assert model.train_scores_[0] == pytest.approx(model.reference_score_, abs=1e-4)


def test_a_constant_column_has_an_infinite_reference_that_can_be_saved(quick, table2, tmp_path):
    X = np.column_stack([table2, np.ones(len(table2))])
    with degenerate_data_allowed():
        model = quick(flow="affine").fit(X)
    assert model.reference_score_ == np.inf
    skgbnf.save(model, tmp_path / "model")
    assert skgbnf.load(tmp_path / "model").reference_score_ == np.inf


# Jacobians of the maps


def test_singular_values_of_an_affine_flow_are_those_of_the_whitening(quick, table3):
    model = quick(n_estimators=1, flow="affine", validation_fraction=None).fit(table3)
    report = jacobian_report(model, table3, n_samples=None)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(table3.T))
    expected = np.broadcast_to(1 / np.sqrt(eigenvalues), (1, 120, 3))
    np.testing.assert_allclose(report.singular_values, expected, rtol=1e-5)
    np.testing.assert_allclose(
        report.inverse_singular_values, np.sqrt(eigenvalues[::-1])[None, None].repeat(120, 1),
        rtol=1e-5,
    )  # fmt: skip
    ratio = np.sqrt(eigenvalues[-1] / eigenvalues[0])
    np.testing.assert_allclose(report.condition, ratio, rtol=1e-5)
    np.testing.assert_allclose(report.log_det, -0.5 * np.log(eigenvalues).sum(), rtol=1e-5)


@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize("flow", family_names())
def test_singular_values_agree_with_the_log_determinant(quick, table3, flow, n_features):
    X = table3[:40, :n_features]
    report = jacobian_report(quick(n_estimators=1, flow=flow).fit(X), X, n_samples=None)
    assert report.families == (flow,)
    assert report.singular_values.shape == (1, 40, n_features)
    if get_family(flow).takes_variables or flow in ("gaussian_mixture", "student_t"):
        for array in (report.singular_values, report.log_det, report.round_trip_error):
            assert np.isnan(array).all()
        return
    assert (np.diff(report.singular_values) <= 0).all()
    sums = np.log(report.singular_values).sum(axis=-1)
    np.testing.assert_allclose(sums, report.log_det, atol=1e-9)
    assert (report.round_trip_error < 1e-9).all()


def test_singular_values_agree_with_differences_of_the_map(quick, table2):
    model = quick(n_estimators=1, flow="maf").fit(table2)
    report = jacobian_report(model, table2[:10])
    transform = model.estimators_[0].to_module(torch.float64, "cpu")().transform
    z = torch.from_numpy((table2[:10] - model.location_) / model.scale_)
    columns = []
    with torch.no_grad():
        for step in 1e-6 * torch.eye(2, dtype=z.dtype):
            columns.append((transform(z + step) - transform(z - step)) / 2e-6)
    expected = np.linalg.svd(torch.stack(columns, dim=-1).numpy(), compute_uv=False)
    np.testing.assert_allclose(report.singular_values[0], expected, rtol=1e-6)


def test_units_of_columns_do_not_count(quick, table2):
    reports = [
        jacobian_report(quick(flow="realnvp").fit(X), X, random_state=0)
        for X in (table2, table2 * [1024.0, 0.125])
    ]
    np.testing.assert_array_equal(*(report.singular_values for report in reports))


@pytest.fixture(scope="module")
def boosted(quick, table3):
    """A component without a map, and one with."""
    settings = {"init": "student_t", "tol": 0.0, "validation_fraction": None}
    return quick(**settings).fit(table3)


def test_components_without_a_map_are_listed(boosted, table3):
    report = jacobian_report(boosted, table3)
    assert report.families == ("student_t", "nsf")
    np.testing.assert_array_equal(report.weights, boosted.estimator_weights_)
    assert np.isnan(report.condition[0]).all()
    assert np.isfinite(report.condition[1]).all()
    lines = str(report).splitlines()
    assert len(lines) == 4
    assert "student_t" in lines[2]
    assert lines[2].endswith("no map")
    shown = np.quantile(report.condition[1], [0.5, 0.95])
    assert f"{shown[0]:.3g}, {shown[1]:.3g}" in lines[3]


def test_rows_are_drawn_and_the_seed_says_which(boosted, table3):
    first, again, other = (
        jacobian_report(boosted, table3, n_samples=20, random_state=seed) for seed in (0, 0, 1)
    )
    everything = jacobian_report(boosted, table3, n_samples=None)
    assert first.log_det.shape == (2, 20)
    np.testing.assert_array_equal(first.log_det, again.log_det)
    assert not np.array_equal(first.log_det[1], other.log_det[1])
    assert np.isin(first.log_det[1].round(9), everything.log_det[1].round(9)).all()
    np.testing.assert_array_equal(
        jacobian_report(boosted, table3, n_samples=500).log_det, everything.log_det
    )


def test_rows_far_out_have_a_report(boosted, table3):
    report = jacobian_report(boosted, 1e6 * table3)
    assert np.isfinite(report.singular_values[1]).all()
    assert (report.singular_values[1] > 0).all()


def test_the_report_leaves_no_trace(boosted, table3):
    with torch.inference_mode():
        first = jacobian_report(boosted, table3)
    with torch.no_grad():
        second = jacobian_report(boosted, table3)
    np.testing.assert_array_equal(first.singular_values, second.singular_values)


class OneWay(Transform):
    """A map whose inverse nobody wrote."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, forth):
        super().__init__()
        self.forth = forth

    def _call(self, x):
        return self.forth(x)

    def log_abs_det_jacobian(self, x, y):
        return self.forth.log_abs_det_jacobian(x, y)


class OneWayFlow(zuko.flows.Flow):
    def forward(self, c=None):
        distribution = super().forward(c)
        distribution.transform = OneWay(distribution.transform)
        return distribution


def one_way(n_features):
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(n_features), torch.ones(n_features)
    )
    layer = zuko.flows.MaskedAutoregressiveTransform(n_features, hidden_features=(4,))
    return OneWayFlow([layer], base)


def no_map(n_features):
    return zuko.mixtures.GMM(n_features, components=2)


def test_a_users_own_components_have_what_they_can(quick, table2):
    model = quick(n_estimators=1, flow=one_way).fit(table2)
    report = jacobian_report(model, table2)
    assert report.families == ("one_way",)
    assert np.isfinite(report.singular_values).all()
    assert np.isnan(report.round_trip_error).all()
    model = quick(n_estimators=1, flow=no_map, lipschitz_penalty=0.1).fit(table2)
    assert np.isnan(jacobian_report(model, table2).log_det).all()


def test_what_cannot_be_reported_on_is_refused(quick, boosted, table2, table3):
    with pytest.raises(NotFittedError):
        jacobian_report(quick(), table2)
    with pytest.raises(
        TypeError, match="must be a GradientBoostedFlowDensity, got GaussianMixture"
    ):
        jacobian_report(GaussianMixture(2).fit(table2), table2)
    with pytest.raises(ValueError, match="2 features"):
        jacobian_report(boosted, table2)
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        jacobian_report(boosted, table3, n_samples=0)
    with pytest.raises(ValueError, match="random_state"):
        jacobian_report(boosted, table3, n_samples=5, random_state="x")
    model = quick(n_estimators=1, flow="affine", bounds={0: (-100, None)}).fit(table2)
    with pytest.raises(ValueError, match="X: a row outside the bounds"):
        jacobian_report(model, [[-200.0, 0.0]])


# The penalty


def stretch(component, x):
    rows = Rows(x, torch.ones(len(x), dtype=x.dtype))
    index, generator = torch.arange(len(x)), torch.Generator().manual_seed(0)
    return StretchPenalty(rows)(component(None).transform, x.float(), index, generator)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.5, 0.01])
def test_the_penalty_is_the_squared_logarithm_of_what_whitening_leaves(factor):
    """Whitened rows stretched by a factor, however nearly dependent columns are."""
    z = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.stack([z[:, 0], z[:, 0] + 1e-2 * z[:, 1], 5 * z[:, 2]], dim=1)
    component = make_flow("affine", 3)
    component.em_step(x, torch.ones(len(x), dtype=x.dtype))
    with torch.no_grad():
        component.transform.transforms[0].log_scale.add_(np.log(factor))
    assert float(stretch(component, x).detach()) == pytest.approx(np.log(factor) ** 2, abs=2e-3)


def test_the_penalty_has_gradients_also_far_out():
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0] *= 1e6
    for kind in ("nsf", "realnvp"):
        component = make_flow(kind, 3, hidden_layer_sizes=(8,))
        stretch(component, x).backward()
        gradients = [p.grad for p in component.transform.parameters()]
        assert all(torch.isfinite(g).all() for g in gradients if g is not None)
        assert any(g is not None and g.abs().max() > 0 for g in gradients)


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["nsf", "realnvp"])
def test_the_penalty_holds_stretch_and_condition_down(quick, flow):
    """A hundred rows, which flows overfit: validation rows do not lose by it."""
    X, X_test = (make_moons(n, noise=0.1, random_state=n)[0] for n in (100, 1000))
    stretches, conditions, scores = [], [], []
    for penalty in (0.0, 0.3):
        model = quick(
            n_estimators=1, flow=flow, lipschitz_penalty=penalty, max_iter=100, batch_size=50,
            validation_fraction=None, hidden_layer_sizes=(32,),
        ).fit(X)  # fmt: skip
        report = jacobian_report(model, X_test, random_state=0)
        stretches.append(np.quantile(report.singular_values[0, :, 0], 0.95))
        conditions.append(np.quantile(report.condition[0], 0.95))
        scores.append(model.score(X_test))
    assert stretches[1] < 0.9 * stretches[0]
    assert conditions[1] < 0.9 * conditions[0]
    assert scores[1] > scores[0] - 0.02


def test_the_penalty_changes_nothing_where_it_is_zero_or_em_fits(quick, table2):
    plain, zero = (quick(**p).fit(table2) for p in ({}, {"lipschitz_penalty": 0}))
    np.testing.assert_array_equal(plain.score_samples(table2), zero.score_samples(table2))
    plain, em = (quick(flow="affine", lipschitz_penalty=p).fit(table2) for p in (0.0, 1.0))
    np.testing.assert_array_equal(plain.score_samples(table2), em.score_samples(table2))


def test_the_penalty_is_repeatable_and_known_to_files(quick, table2, tmp_path):
    models = [quick(lipschitz_penalty=0.1).fit(table2) for _ in range(2)]
    first, second = (model.score_samples(table2) for model in models)
    np.testing.assert_array_equal(first, second)
    path = tmp_path / "model"
    skgbnf.save(models[0], path)
    assert skgbnf.load(path).lipschitz_penalty == 0.1
    with pytest.raises(ValueError, match="other \\['lipschitz_penalty'\\]"):
        quick(lipschitz_penalty=0.2).fit(table2, resume_from=path)
