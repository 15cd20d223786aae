"""Heavy tails: margins and copulas of bases against scipy, tail indices, the tail transform."""

import copy
import json
import pickle
from functools import partial

import numpy as np
import pytest
import skops.io
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from targets import TARGETS

import skgbnf
from skgbnf import CopulaBase
from skgbnf.flows import Architecture, initialise, make_flow
from skgbnf.flows.marginals import LaplaceMarginal, StudentTMarginal
from skgbnf.flows.tails import EDGE, LARGEST_DF, TailTransform, fit_tails

BASES = {
    "independent t": CopulaBase(df=(1.5, 4.0, 30.0)),
    "t learned": CopulaBase(df="learn"),
    "Laplace": CopulaBase(marginals="laplace"),
    "Gaussian copula, t": CopulaBase("gaussian", df=(1.5, 4.0, 30.0)),
    "Gaussian copula, Laplace": CopulaBase("gaussian", "laplace"),
    "Gaussian copula, mixed": CopulaBase("gaussian", ("normal", "student_t", "laplace"), 2.5),
}


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def built(name, n_features=3):
    """A base away from where it starts."""
    base = BASES[name].build(n_features).double()
    with torch.no_grad():
        base.scale.copy_(torch.tensor([0.5, 1.0, 2.0]))
        for parameter in base.parameters():
            parameter.add_(torch.randn_like(parameter))
    return base


def scipy_margins(name, base):
    """Frozen distributions of scipy, one for each column."""
    names = BASES[name].marginals
    names = (names,) * 3 if isinstance(names, str) else names
    margins = []
    for kind, df, scale in zip(names, base.df.detach().numpy(), base.scale.numpy(), strict=True):
        laws = {"normal": stats.norm, "laplace": stats.laplace, "student_t": partial(stats.t, df)}
        margins.append(laws[kind](scale=scale))
    return margins


def normal_scores(margins, x):
    columns = zip(margins, x.T, strict=True)
    return np.stack(
        [np.where(v < 0, stats.norm.ppf(m.cdf(v)), stats.norm.isf(m.sf(v))) for m, v in columns], 1
    )


def correlation(base):
    factor = base._factor().detach()
    return (factor @ factor.T).numpy()


# Bases


@pytest.mark.parametrize("name", BASES)
def test_log_density_of_a_base_is_that_of_scipy(name):
    base = built(name)
    x = 4 * torch.randn(200, 3, dtype=torch.float64)
    margins = scipy_margins(name, base)
    expected = sum(margin.logpdf(x[:, i]) for i, margin in enumerate(margins))
    if "copula" in name:
        scores = normal_scores(margins, x.numpy())
        joint = stats.multivariate_normal(cov=correlation(base)).logpdf(scores)
        expected = expected + joint - stats.norm.logpdf(scores).sum(axis=1)
        assert np.abs(correlation(base) - np.eye(3)).max() > 0.2, "independence tests nothing"
    np.testing.assert_allclose(base().log_prob(x).detach(), expected, rtol=1e-8)


@pytest.mark.parametrize("name", BASES)
def test_samples_of_a_base_follow_its_density(name):
    base = built(name)
    x = base().sample((4000,)).numpy()
    margins = scipy_margins(name, base)
    for i, margin in enumerate(margins):
        assert stats.kstest(x[:, i], margin.cdf).pvalue > 1e-3
    scores = normal_scores(margins, x)
    expected = correlation(base) if "copula" in name else np.eye(3)
    # The standard error of a correlation of 4,000 rows is at most 0.016.
    np.testing.assert_allclose(np.corrcoef(scores.T), expected, atol=0.06)


def test_a_correlation_matrix_has_a_unit_diagonal_whatever_its_parameters():
    base = CopulaBase("gaussian").build(5).double()
    with torch.no_grad():
        base.lower.copy_(1e3 * torch.randn(5, 5))
    matrix = correlation(base)
    np.testing.assert_allclose(np.diag(matrix), 1.0, rtol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > 0


@pytest.mark.parametrize("df", [0.6, 1.0, 2.0, 3.3, 10.0, 100.0, 1000.0])
def test_normal_scores_of_a_student_t_are_scipys(df):
    margin = StudentTMarginal(torch.tensor([df], dtype=torch.float64))
    z = torch.linspace(-7, 7, 201, dtype=torch.float64).unsqueeze(1)
    x = margin.from_scores(z)
    torch.testing.assert_close(margin.scores(x), z, rtol=1e-10, atol=1e-10)
    lower = z[:, 0].numpy() < -0.1
    expected = stats.t(df).ppf(stats.norm.cdf(z[lower, 0]))
    np.testing.assert_allclose(x[lower, 0], expected, rtol=1e-6)
    torch.testing.assert_close(x, -x.flip(0), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_far_out_are_finite_and_rise(dtype):
    df = torch.tensor([0.6, 2.0, 100.0], dtype=dtype)
    x = torch.logspace(0, 30, 61, dtype=dtype).unsqueeze(1).expand(-1, 3).clone().requires_grad_()
    for margin in (StudentTMarginal(df), LaplaceMarginal()):
        scores = margin.scores(x)
        scores.sum().backward()
        assert torch.isfinite(scores).all()
        assert torch.isfinite(x.grad).all()
        assert (scores[:, :2].diff(dim=0) > 0).all()


def test_scores_have_the_gradients_of_finite_differences():
    x = torch.tensor([[-40.0], [-1.0], [0.3], [3.5]], dtype=torch.float64, requires_grad=True)
    df = torch.tensor([1.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, df: StudentTMarginal(df).scores(x), (x, df))
    assert torch.autograd.gradcheck(LaplaceMarginal().scores, (x,))


# Tail indices


def weighted(x, weights=None):
    x = torch.from_numpy(np.asarray(x, dtype=np.float64))
    weights = np.ones(len(x)) if weights is None else weights
    return x, torch.from_numpy(np.asarray(weights, dtype=np.float64))


@pytest.mark.parametrize(
    ("distribution", "expected", "tolerance"),
    [(stats.t(1), 1.0, 0.15), (stats.t(2), 2.0, 0.15), (stats.t(5), 5.0, 0.3)],
)
def test_tail_indices_of_known_samples(distribution, expected, tolerance):
    x = distribution.rvs((10_000, 4), random_state=np.random.default_rng(0))
    # Standardised, the first has a spread that a few rows decide.
    df = fit_tails(*weighted(x / x.std(axis=0))).df.numpy()
    np.testing.assert_allclose(df, expected, rtol=tolerance)
    assert df.mean() == pytest.approx(expected, rel=tolerance / 2)


def test_light_tails_and_sides_are_told_apart():
    rng = np.random.default_rng(1)
    x = np.stack([rng.normal(size=10_000), rng.pareto(3.0, 10_000), rng.uniform(size=10_000)], 1)
    lower, upper = fit_tails(*weighted(x)).df.numpy()
    assert lower.min() > 20
    assert min(upper[0], upper[2]) > 20
    assert upper[1] == pytest.approx(3.0, rel=0.3)


def test_a_row_of_weight_two_is_that_row_twice():
    rng = np.random.default_rng(2)
    x, weights = rng.standard_t(2, (500, 2)), rng.integers(1, 3, 500)
    ours = fit_tails(*weighted(x, weights))
    theirs = fit_tails(*weighted(np.repeat(x, weights, axis=0)))
    np.testing.assert_array_equal(ours.edges, theirs.edges)
    np.testing.assert_allclose(ours.df, theirs.df, rtol=1e-4)
    np.testing.assert_allclose(ours.rates, theirs.rates, rtol=1e-4)
    uneven = fit_tails(*weighted(x, np.where(x[:, 0] > 1, 3.0, 1.0)))
    assert (uneven.df / theirs.df - 1).abs().max() > 0.08, "these weights test nothing"


@pytest.mark.parametrize("column", [np.zeros(50), np.repeat([0.0, 1.0], 25), np.arange(2.0)])
def test_columns_without_tails_have_a_finite_map(column):
    x, weights = weighted(column[:, None])
    layer = TailTransform(1).double()
    layer.initialise(x, weights)
    z, ladj = layer().call_and_ladj(x)
    assert torch.isfinite(z).all()
    assert torch.isfinite(ladj).all()


def test_a_constant_column_keeps_its_scale():
    x, weights = weighted(np.full((50, 1), 3.0))
    layer = TailTransform(1).double()
    layer.initialise(x, weights)
    z, ladj = layer().call_and_ladj(x)
    assert z.abs().max() < 1e-6
    assert ladj.abs().max() < 0.5  # and not the 15 nats of an interval of a millionth


# The tail transform


def fitted_transform(dtype=torch.float64):
    rng = np.random.default_rng(3)
    x = np.stack([rng.standard_t(2, 3000), rng.lognormal(size=3000), rng.normal(size=3000)], 1)
    layer = TailTransform(3).double()
    layer.initialise(*weighted(x))
    return layer.to(dtype)(), torch.from_numpy(x).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_tail_transform_brings_rows_back(dtype, tolerance):
    transform, x = fitted_transform(dtype)
    far = torch.logspace(0, 4, 50, dtype=dtype).unsqueeze(1) * x.new_tensor([1.0, -1.0, 1.0])
    x = torch.cat([x, far, -far])
    torch.testing.assert_close(transform.inv(transform(x)), x, rtol=tolerance, atol=tolerance)


def test_tail_transform_makes_tails_normal():
    transform, x = fitted_transform()
    for column in transform(x).T.numpy():
        beyond = column[column > EDGE]
        # Beyond the edge lie the fitted rows themselves.
        law = stats.truncnorm(EDGE, np.inf)
        assert stats.kstest(beyond, law.cdf).statistic < 1.6 / len(beyond) ** 0.5


def test_log_determinant_of_the_tail_transform_is_that_of_autodiff():
    transform, x = fitted_transform()
    edges = transform.edges
    for row in [*x[:20], edges[0] - 1e-6, edges[1] + 1e-6, 1e6 * x[0]]:
        jacobian = torch.autograd.functional.jacobian(transform, row)
        expected = torch.linalg.slogdet(jacobian).logabsdet
        ladj = transform.log_abs_det_jacobian(row, transform(row))
        torch.testing.assert_close(ladj, expected, rtol=1e-9, atol=1e-9)


def test_tail_transform_rises_with_a_slope_that_does_not_jump():
    transform, _ = fitted_transform()
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64).unsqueeze(1).expand(-1, 3)
    assert (transform(grid).diff(dim=0) > 0).all()
    step = 1e-9
    for edge in transform.edges:
        before, after = (
            transform.log_abs_det_jacobian(row, transform(row))
            for row in (edge - step, edge + step)
        )
        torch.testing.assert_close(before, after, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tail_transform_of_far_rows_is_finite_and_rises(dtype):
    transform, x = fitted_transform(dtype)
    rows = torch.logspace(1, 14, 40, dtype=dtype).unsqueeze(1) * x.new_tensor([1.0, 1.0, -1.0])
    z, ladj = transform.call_and_ladj(rows)
    assert torch.isfinite(ladj).all()
    assert (z.abs().diff(dim=0) > 0).all()
    assert z.abs().max() < 100


def test_an_untrained_tail_transform_is_nearly_the_identity():
    transform = TailTransform(2).double()()
    x = torch.linspace(-3, 3, 61, dtype=torch.float64).unsqueeze(1).expand(-1, 2)
    torch.testing.assert_close(transform(x), x, rtol=0, atol=0.1)
    assert LARGEST_DF > 50


def test_a_base_sees_rows_behind_the_tail_transform():
    rows = weighted(np.random.default_rng(4).standard_t(2, (3000, 2)))
    plain = make_flow("maf", 2, base=CopulaBase(), hidden_layer_sizes=(4,)).double()
    tailed = make_flow("maf", 2, base=CopulaBase(), tail="transform", hidden_layer_sizes=(4,))
    tailed = tailed.double()
    for flow in (plain, tailed):
        initialise(flow, *rows)
    np.testing.assert_allclose(plain.base.df, 2.0, rtol=0.2)
    assert tailed.base.df.min() > 10


# The estimator


SMALL = {"n_transforms": 1, "hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}
"""Settings of fits that take a fraction of a second."""

CHOICES = [
    {"base": CopulaBase()},
    {"base": CopulaBase("gaussian", df="learn")},
    {"base": CopulaBase("gaussian", ("student_t", "laplace"), (2.0, 5.0)), "tail": "transform"},
    {"tail": "transform"},
]


def heavy_rows(n_rows=300):
    rng = np.random.default_rng(5)
    x = rng.standard_t(2, (n_rows, 2))
    x[:, 1] += x[:, 0]
    return x


@pytest.mark.parametrize("kind", ["nsf", "realnvp", "affine", "gaussian_mixture"])
@pytest.mark.parametrize("choice", CHOICES)
def test_files_pickles_and_copies_score_alike(choice, kind, tmp_path):
    X = heavy_rows()
    model = skgbnf.GradientBoostedFlowDensity(1, flow=kind, **SMALL, **choice).fit(X)
    skgbnf.save(model, tmp_path / "model")
    dumped = skops.io.dumps(model)
    trusted = skops.io.get_untrusted_types(data=dumped)
    assert not any("Copula" in name for name in trusted)
    others = [
        skgbnf.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        skops.io.loads(dumped, trusted=trusted),
    ]
    for other in others:
        assert other.get_params() == model.get_params()
        assert other.estimators_[0].architecture == model.estimators_[0].architecture
        np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))
    assert clone(model).get_params() == model.get_params()
    rows = np.vstack([X, 1e6 * X, [[1e100, -1e100]]])
    assert np.isfinite(model.score_samples(rows)).all()
    assert np.isfinite(model.sample(1000, random_state=0)).all()


@pytest.mark.parametrize("choice", [{"base": CopulaBase("gaussian")}, {"tail": "transform"}])
def test_a_fit_goes_on_from_a_file_with_the_same_base_only(choice, tmp_path):
    X, path = heavy_rows(100), tmp_path / "rounds"
    settings = {**SMALL, "flow": "maf", "n_iter_no_change": 9, "checkpoint": path}
    skgbnf.GradientBoostedFlowDensity(1, **settings, **choice).fit(X)
    longer = skgbnf.GradientBoostedFlowDensity(2, **settings, **choice)
    resumed = clone(longer).fit(X, resume_from=path).score_samples(X)
    np.testing.assert_array_equal(resumed, longer.fit(X).score_samples(X))
    with pytest.raises(ValueError, match=f"other .*{next(iter(choice))}"):
        skgbnf.GradientBoostedFlowDensity(2, **settings).fit(X, resume_from=path)


@pytest.mark.slow
def test_a_search_goes_over_bases_and_tails():
    bases = ["normal", "student_t", CopulaBase("gaussian", df=3.0)]
    grid = [
        {"base": bases, "tail": ["base", "transform"], "flow": ["affine"]},
        {"base": bases[-1:], "flow": ["realnvp"]},
    ]
    model = skgbnf.GradientBoostedFlowDensity(1, **SMALL)
    search = GridSearchCV(model, grid, cv=2).fit(heavy_rows(100), sample_weight=np.ones(100))
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) == len(scores)


@pytest.mark.parametrize("choice", [*CHOICES[:2], {"tail": "transform"}])
@pytest.mark.parametrize("kind", ["nsf", "realnvp", "affine"])
def test_one_column_integrates_to_one(kind, choice):
    X = heavy_rows()[:, :1]
    model = skgbnf.GradientBoostedFlowDensity(1, flow=kind, **SMALL, **choice).fit(X)
    grid = np.sinh(np.linspace(-20, 20, 40_001))
    mass = np.exp(model.score_samples(grid[:, None])) * np.gradient(grid)
    assert mass.sum() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_an_affine_flow_with_other_tails_is_trained_by_gradients():
    X = heavy_rows(1000)
    settings = {**SMALL, "flow": "affine", "max_iter": 30}
    gaussian = skgbnf.GradientBoostedFlowDensity(1, **settings).fit(X)
    t = skgbnf.GradientBoostedFlowDensity(1, base="student_t", **settings).fit(X)
    tail = skgbnf.GradientBoostedFlowDensity(1, tail="transform", **settings).fit(X)
    test = heavy_rows(3000)[1000:]
    assert min(t.score(test), tail.score(test)) > gaussian.score(test) + 0.5


@pytest.mark.parametrize("setting", [{"tail": "transform"}, {"base": CopulaBase()}])
def test_rows_of_weight_zero_have_no_say(setting):
    X = heavy_rows()
    model = skgbnf.GradientBoostedFlowDensity(
        1, flow="maf", validation_fraction=None, **SMALL, **setting
    )
    weights = np.ones(400)
    weights[300:] = 0.0
    other = clone(model).fit(np.vstack([X, np.full((100, 2), 1e6)]), sample_weight=weights)
    np.testing.assert_allclose(other.score_samples(X), model.fit(X).score_samples(X), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"copula": "clayton"}, ValueError, "base: copula must be one of"),
        ({"copula": None}, TypeError, "base: copula must be one of"),
        ({"marginals": "cauchy"}, ValueError, "base: marginals must be one of"),
        ({"marginals": ("normal", "cauchy")}, ValueError, "base: marginals must be one of"),
        ({"marginals": 3}, TypeError, "base: marginals must be a name or a sequence"),
        ({"df": "hill"}, ValueError, "base: df must be one of"),
        ({"df": 0.1}, ValueError, r"base: df must lie in \[0.6, 1000\]"),
        ({"df": 1e9}, ValueError, "base: df must lie in"),
        ({"df": np.ones((2, 2))}, TypeError, "base: df must be"),
        ({"df": (2.0, np.nan)}, ValueError, "base: df must lie in"),
        ({"df": True}, TypeError, "base: df must be"),
        ({"df": (2.0, "auto")}, TypeError, "base: df must be"),
    ],
)
def test_bad_bases_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        CopulaBase(**arguments)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"base": CopulaBase(df=(2.0, 3.0, 4.0))}, ValueError, "df holds 3 entries for 2 columns"),
        ({"base": CopulaBase(marginals=["normal"])}, ValueError, "marginals holds 1 entr"),
        ({"base": "cauchy"}, ValueError, "base must be one of"),
        ({"base": 2.0}, TypeError, "base must be one of .* or a CopulaBase"),
        ({"tail": "heavy"}, ValueError, "tail must be one of"),
    ],
)
def test_bad_parameters_are_refused(parameters, error, message):
    model = skgbnf.GradientBoostedFlowDensity(1, flow="maf", **SMALL, **parameters)
    with pytest.raises(error, match=message):
        model.fit(heavy_rows(50))


def test_a_base_of_other_columns_is_refused_before_the_first_round():
    model = skgbnf.GradientBoostedFlowDensity(
        2, flow="maf", init="student_t", base=CopulaBase(df=(2.0, 3.0, 4.0)), **SMALL
    )
    rounds = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="base: df holds"):
        patch.setattr(
            skgbnf.boosting.likelihood.LikelihoodBoosting,
            "add_round",
            lambda *_: rounds.append(1),
        )
        model.fit(heavy_rows(50))
    assert not rounds


def test_a_base_is_a_plain_value():
    base = CopulaBase("gaussian", np.array(["normal", "student_t"]), np.array([2, 3]))
    assert eval(repr(base)) == base == CopulaBase("gaussian", ("normal", "student_t"), (2.0, 3.0))
    assert all(type(name) is str for name in base.marginals)
    assert CopulaBase(df=np.array(2)) == CopulaBase(df=2.0)
    assert hash(base) == hash(copy.copy(base))
    architecture = Architecture("maf", 2, base=base)
    assert Architecture.from_plain(json.loads(json.dumps(architecture.to_plain()))) == architecture


@pytest.mark.slow
def test_a_heavy_tailed_target_is_met_to_its_outer_quantiles():
    target, rng = TARGETS["gumbel"], np.random.default_rng(0)
    X, X_test = target.sample(5000, rng), target.sample(5000, rng)
    model = skgbnf.GradientBoostedFlowDensity(
        1, flow="nsf", tail="transform", n_transforms=2, hidden_layer_sizes=(32,), max_iter=12,
        random_state=0,
    ).fit(X)  # fmt: skip
    assert np.mean(target.log_density(X_test) - model.score_samples(X_test)) < 0.05
    levels = 0.001, 0.999
    found = np.quantile(model.sample(100_000, random_state=0), levels, axis=0)
    # Five training rows lie beyond such a quantile: theirs have an error of a fifth.
    np.testing.assert_allclose(found, np.tile(stats.t(2).ppf(levels), (2, 1)).T, rtol=0.3)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_edges_are_near_quantiles_but_no_values_of_rows(scale):
    x = scale * torch.randn(501, 3, generator=torch.Generator().manual_seed(0)).double() + 0.1
    lower, upper = fit_tails(x, torch.ones(501).double()).edges
    expected = x.quantile(0.15, dim=0), x.quantile(0.85, dim=0)
    step = (expected[1] - expected[0]) / 128
    assert ((expected[0] - lower).abs() < 2 * step).all()
    assert ((upper - expected[1]).abs() < 2 * step).all()
    for edges in (lower, upper):
        assert not (x == edges).any()
