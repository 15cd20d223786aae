"""The registry of families: what is refused, and what a third party's family can do."""

import pickle

import numpy as np
import pytest
import torch
import zuko
from torch import nn
from zuko.lazy import LazyDistribution, UnconditionalDistribution

import skgbnf
from skgbnf import GradientBoostedFlowDensity
from skgbnf.flows import (
    Architecture,
    Family,
    FittedByEM,
    families,
    family_names,
    get_family,
    make_flow,
    register_family,
    registry,
)

NAME = "bernstein"


def bernstein(architecture):
    return zuko.flows.BPF(
        architecture.n_features,
        architecture.n_context,
        transforms=1,
        degree=6,
        hidden_features=architecture.hidden_layer_sizes,
    )


class DiagonalGaussian(FittedByEM, LazyDistribution):
    """Independent columns: the smallest family that has an exact step of EM."""

    n_em_starts = n_plain_starts = 1
    em_step_is_exact = True

    def __init__(self, n_features):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(n_features))
        self.scale = nn.Parameter(torch.ones(n_features))

    def forward(self, c=None):
        return zuko.distributions.DiagNormal(self.loc, self.scale)

    def em_seed(self, x, weights, n_neighbours, start=0):
        self.em_step(x, weights)

    @torch.no_grad()
    def em_step(self, x, weights):
        share = weights / weights.sum()
        self.loc.copy_(share @ x)
        self.scale.copy_((share @ (x - self.loc).square()).sqrt())


def diagonal(architecture):
    return DiagonalGaussian(architecture.n_features)


@pytest.fixture
def registered(monkeypatch):
    """Two families of another package, known for the length of a test."""
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    register_family(Family(NAME, bernstein))
    register_family(Family("diagonal", diagonal, fitted_by="em", takes_context=False))


def test_the_names_are_those_of_the_package():
    assert family_names(invertible=True) == ("nsf_coupling", "realnvp", "glow", "affine")
    assert {f.name for f in families() if f.fitted_by == "em"} == {
        "affine", "gaussian_mixture", "copula_mixture", "student_t", "location_mixture",
    }  # fmt: skip


def test_a_name_is_registered_once(registered):
    register_family(Family(NAME, bernstein))  # the same again
    with pytest.raises(ValueError, match="another family has the name 'bernstein'"):
        register_family(Family(NAME, lambda architecture: bernstein(architecture)))
    with pytest.raises(ValueError, match="another family has the name 'nsf'"):
        register_family(Family("nsf", bernstein))
    assert family_names()[-2:] == (NAME, "diagonal")


def test_a_family_that_is_defined_again_in_the_same_place_replaces_the_old_one(registered):
    def define(n_transforms):
        def of_a_notebook(architecture):
            return bernstein(architecture)

        register_family(Family("of a notebook", of_a_notebook, n_transforms=n_transforms))

    define(1)
    define(2)
    assert get_family("of a notebook").n_transforms == 2


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"n_components": 5}, TypeError), ({"n_components": ("a",)}, TypeError),
        ({"n_transforms": 0}, ValueError), ({"takes_context": "no"}, TypeError),
        ({"invertible": True, "takes_context": False}, ValueError),
        ({"name": 3}, TypeError), ({"name": "auto"}, ValueError), ({"name": ""}, ValueError),
        ({"build": "maf"}, TypeError), ({"fewest": 3}, TypeError),
        ({"fitted_by": "luck"}, ValueError), ({"activation": "gelu"}, ValueError),
        ({"splines": ("rows",)}, ValueError), ({"n_components": ()}, ValueError),
        ({"n_components": (2, 1)}, ValueError), ({"n_components": (0, 1)}, ValueError),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_record_is_refused(registered, fields, error):
    with pytest.raises(error, match=next(iter(fields))):
        register_family(Family(**{"name": "new", "build": bernstein, **fields}))
    assert "new" not in family_names()


def test_an_unknown_name_is_told_what_to_do(quick, table2):
    for ask in (
        lambda: get_family("unknown"),
        lambda: make_flow("unknown", 2),
        lambda: quick(flow="unknown").fit(table2),
        lambda: quick(flow=["nsf", "unknown"]).fit(table2),
        lambda: quick(init="unknown").fit(table2),
    ):
        with pytest.raises(ValueError, match=r"unknown.*register_family"):
            ask()


# What a third party builds is checked


def wrong(returned):
    return lambda architecture: returned


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (wrong(None), TypeError, "must return a zuko.flows.Flow"),
        (wrong(zuko.flows.MAF(5)), ValueError, r"over shape \(5,\), but X has 2"),
        (wrong(zuko.flows.MAF(2, 3)), ValueError, "evaluated without a context"),
    ],
    ids=["none", "other columns", "a context"],
)
def test_a_wrong_build_is_told_what_is_wanted(registered, build, error, message):
    register_family(Family("wrong", build))
    with pytest.raises(error, match=rf"flow: the build of 'wrong'.*{message}"):
        make_flow("wrong", 2)


def test_a_family_says_whether_it_takes_a_context(registered):
    with pytest.raises(ValueError, match="'diagonal' takes no context"):
        make_flow("diagonal", 2, n_context=1)
    c = torch.zeros(4, 3)
    assert make_flow(NAME, 2, n_context=3)(c).sample().shape == (4, 2)


def test_a_callable_gets_the_sizes():
    sizes = []

    def small(*given):
        sizes.append(given)
        return zuko.flows.MAF(*given, transforms=1, hidden_features=(4,))

    assert make_flow(small, 2)().sample().shape == (2,)
    assert make_flow(small, 2, n_context=3)(torch.zeros(4, 3)).sample().shape == (4, 2)
    assert sizes == [(2,), (2, 3)]
    assert get_family(small).name == Architecture(small, 2).describe() == "small"


def test_any_callable_may_be_named_as_it_is():
    def auto(n_features):
        zeros, ones = torch.zeros(n_features), torch.ones(n_features)
        return UnconditionalDistribution(zuko.distributions.DiagNormal, zeros, ones)

    assert make_flow(auto, 2)().event_shape == (2,)


# What a third party's family can do


@pytest.mark.parametrize(
    "choices",
    [
        {"flow": NAME},
        {"flow": [NAME, "affine"], "n_estimators": 3},
        {"flow": "affine", "init": NAME},
        {"flow": NAME, "init": "diagonal", "fine_tune": 1},
        {"flow": "diagonal", "n_estimators": 1},
        {"flow": ["affine", "diagonal"], "combine": "product"},
    ],
    ids=str,
)
def test_a_registered_family_is_one_like_the_others(
    registered, quick, table2, tmp_path, monkeypatch, choices
):
    model = quick(hidden_layer_sizes=(4,), **choices).fit(table2)
    scores = model.score_samples(table2)
    assert np.isfinite(scores).all()
    assert model.sample(3).shape == (3, 2)
    skgbnf.save(model, tmp_path / "model")
    pickled = pickle.dumps(model)
    for read in (lambda: skgbnf.load(tmp_path / "model"), lambda: pickle.loads(pickled)):
        assert np.array_equal(read().score_samples(table2), scores)
    own = {name: family for name, family in registry._FAMILIES.items() if name in OWN}
    monkeypatch.setattr(registry, "_FAMILIES", own)
    with pytest.raises(ValueError, match="register_family"):
        skgbnf.load(tmp_path / "model")
    if any(fitted.architecture.family not in OWN for fitted in model.estimators_):
        with pytest.raises(ValueError, match="register_family"):
            pickle.loads(pickled).score_samples(table2)


OWN = family_names()


def test_a_diagonal_gaussian_by_em_is_that_of_the_table(registered, table2):
    model = GradientBoostedFlowDensity(
        1, flow="diagonal", validation_fraction=None, random_state=0
    ).fit(table2)
    z = (table2 - table2.mean(axis=0)) / table2.std(axis=0)
    expected = -0.5 * (z**2 + np.log(2 * np.pi)).sum(axis=1) - np.log(table2.std(axis=0)).sum()
    np.testing.assert_allclose(model.score_samples(table2), expected, rtol=0, atol=1e-9)


def test_rounds_of_a_registered_family_are_resumed(registered, quick, table2, tmp_path):
    settings = {"flow": NAME, "hidden_layer_sizes": (4,), "tol": 0.0, "n_iter_no_change": 9}
    path = tmp_path / "rounds"
    quick(n_estimators=1, checkpoint=path, **settings).fit(table2)
    resumed = quick(n_estimators=2, **settings).fit(table2, resume_from=path)
    whole = quick(n_estimators=2, **settings).fit(table2)
    assert np.array_equal(resumed.score_samples(table2), whole.score_samples(table2))


def test_a_file_that_claims_too_much_of_a_registered_family_is_refused(registered):
    def fewest(architecture):
        return architecture.n_features * architecture.hidden_layer_sizes[0], 2

    register_family(Family("sized", bernstein, fewest=fewest))
    architecture = Architecture("sized", 2, hidden_layer_sizes=(5,))
    architecture.check([8, 8])
    with pytest.raises(ValueError, match="do not fit its arrays"):
        architecture.check([4, 4])
    with pytest.raises(ValueError, match="do not fit its arrays"):
        architecture.check([80])
    with pytest.raises(ValueError, match="takes no context"):
        Architecture("diagonal", 2, n_context=1).check([80])
