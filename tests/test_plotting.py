"""Displays: what they compute, what they draw, and whom they accept."""

import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from helpers import GaussianDensity
from scipy.stats import binom, chi2
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import skgbnf.plotting
from skgbnf import FlowBayesClassifier, GradientBoostedFlowDensity
from skgbnf.diagnostics import JacobianReport, jacobian_report
from skgbnf.plotting import (
    BoostingPathDisplay,
    CoverageDisplay,
    DensityDisplay,
    JacobianDisplay,
    OutlierDisplay,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ESTIMATORS = {
    "boosted": GradientBoostedFlowDensity(2, flow="affine", random_state=0),
    "GaussianMixture": GaussianMixture(2, random_state=0),
    "KernelDensity": KernelDensity(bandwidth=0.5),
    "Pipeline": make_pipeline(StandardScaler(), GaussianMixture(2, random_state=0)),
}
DRAWN = {
    "DensityDisplay": (DensityDisplay, {"grid_resolution": 10}),
    "CoverageDisplay": (CoverageDisplay, {"n_samples": 100}),
    "OutlierDisplay": (OutlierDisplay, {"contamination": 0.1}),
}


@pytest.fixture(autouse=True)
def _figures_are_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def gaussian():
    """A fitted Gaussian in three columns, and 400 rows that were drawn from it."""
    model = GaussianMixture(random_state=0).fit(load_wine().data[:, :3])
    return model, model.sample(400)[0]


@pytest.fixture(scope="module")
def boosted(table2):
    return GradientBoostedFlowDensity(3, flow="affine", init=None, tol=0, random_state=0).fit(
        table2
    )


def fitted(name, X):
    return clone(ESTIMATORS[name]).fit(X)


def lies_inside(path, points):
    """Whether each point lies in a region that may be in parts and have holes."""
    inside = np.zeros(len(points), bool)
    for ring in path.to_polygons():
        inside ^= matplotlib.path.Path(ring).contains_points(points)
    return inside


# %% Every display


@pytest.mark.parametrize("n_features", [1, 2, 3])
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("display", DRAWN)
def test_any_density_is_accepted(display, name, n_features, table3):
    X = table3[:, :n_features]
    kind, parameters = DRAWN[display]
    drawn = kind.from_estimator(fitted(name, X), X, **parameters)
    assert isinstance(drawn, kind)
    assert drawn.figure_ is drawn.ax_.figure
    drawn.figure_.canvas.draw()


@pytest.mark.parametrize("display", DRAWN)
def test_data_frames_are_scored_under_their_names(display, table3):
    X = pd.DataFrame(table3[:, :2], columns=["length", "width"])
    kind, parameters = DRAWN[display]
    kind.from_estimator(fitted("Pipeline", X), X, **parameters)  # a warning would be an error


@pytest.mark.parametrize("display", DRAWN)
def test_the_axes_given_are_drawn_on(display, gaussian):
    model, X = gaussian
    figure, (ax, other) = plt.subplots(1, 2, layout="constrained")
    kind, parameters = DRAWN[display]
    drawn = kind.from_estimator(model, X, ax=ax, **parameters)
    figure.canvas.draw()
    assert drawn.ax_ is ax
    assert drawn.figure_ is figure
    assert not other.has_data()
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("display", ["DensityDisplay", "CoverageDisplay"])
def test_the_same_seed_draws_the_same(display, gaussian):
    model, X = gaussian
    kind, parameters = DRAWN[display]
    field = {"DensityDisplay": "samples", "CoverageDisplay": "coverage"}[display]
    one, same, other = (
        getattr(kind.from_estimator(model, X, random_state=seed, **parameters), field)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert model.random_state == 0


@pytest.mark.parametrize("display", DRAWN)
def test_an_estimator_without_a_density_is_refused(display, table3):
    kind, parameters = DRAWN[display]
    with pytest.raises(TypeError, match="score_samples; StandardScaler has not"):
        kind.from_estimator(StandardScaler().fit(table3[:, :2]), table3[:, :2], **parameters)


@pytest.mark.parametrize("display", DRAWN)
def test_an_estimator_that_is_not_fitted_is_refused(display, table2):
    kind, parameters = DRAWN[display]
    with pytest.raises(NotFittedError):
        kind.from_estimator(GaussianMixture(), table2, **parameters)


@pytest.mark.parametrize(
    "display",
    sorted(
        {*skgbnf.plotting.__all__}
        - {"AlignmentDisplay", "ExplanationDisplay", "PITDisplay", "PredictiveDisplay"}
    ),
)
def test_without_matplotlib_the_error_says_what_to_install(display, monkeypatch, boosted, table2):
    kind = getattr(skgbnf.plotting, display)
    drawn = kind.from_estimator(boosted, table2)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (lambda: kind.from_estimator(boosted, table2), drawn.plot):
        with pytest.raises(ImportError, match=rf"{display}\..*pip install 'skgbnf\[plot\]'"):
            draw()


@pytest.mark.slow
def test_importing_the_displays_does_not_import_matplotlib():
    code = "import skgbnf.plotting, sys; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# %% DensityDisplay


@pytest.mark.quick
@pytest.mark.parametrize("name", ["boosted", "GaussianMixture", "KernelDensity"])
def test_a_curve_has_area_one(name, table3):
    X = table3[:, [0]]
    display = DensityDisplay.from_estimator(fitted(name, X), X, grid_resolution=400)
    x, y = display.line_.get_data()
    area = np.sum((y[1:] + y[:-1]) / 2 * np.diff(x))
    assert 0.95 < area < 1.0 + 1e-6
    # The bars of the histogram have the area of all rows.
    area = sum(bar.get_width() * bar.get_height() for bar in display.ax_.patches)
    assert area == pytest.approx(1.0)


@pytest.mark.parametrize("bins", [None, 7, [-3.0, -1.0, 0.0, 4.0]])
def test_a_histogram_is_the_share_of_all_rows_over_the_width(bins, table3):
    X = table3[:, [0]]
    display = DensityDisplay.from_estimator(
        fitted("GaussianMixture", X), X, percentiles=(0.2, 0.8), hist_kw={"bins": bins}
    )
    for bar in display.ax_.patches:
        low, high = bar.get_x(), bar.get_x() + bar.get_width()
        # Not the upper edge: it belongs to the next bin, but for the last.
        share = np.mean(
            (low <= X) & ((high > X) | ((high >= X) & (bar is display.ax_.patches[-1])))
        )
        assert bar.get_height() == pytest.approx(share / (high - low), abs=1e-9)


def test_regions_hold_the_share_of_rows_that_they_say(boosted, table2):
    levels = [0.9, 0.25, 0.5]
    display = DensityDisplay.from_estimator(boosted, table2, levels=levels, grid_resolution=300)
    scores = boosted.score_samples(table2)
    assert display.levels.tolist() == [0.25, 0.5, 0.9]
    for level, threshold in zip(display.levels, display.thresholds, strict=True):
        assert np.mean(scores >= threshold) == level
    # What is drawn holds them too, but for rows closer to a contour than the grid is fine.
    paths = display.surface_.get_paths()[::-1]
    inside = np.zeros(len(table2), bool)
    for level, path in zip(display.levels, paths, strict=True):
        inside |= lies_inside(path, table2)
        assert np.mean(inside) == pytest.approx(level, abs=0.02)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["90 %", "50 %", "25 %"]


def test_the_columns_are_not_mixed_up(boosted, table2):
    display = DensityDisplay.from_estimator(boosted, table2, grid_resolution=7)
    x, y = (np.linspace(*limits, 7) for limits in display.limits)
    assert display.log_density[2, 5] == pytest.approx(boosted.score_samples([[x[2], y[5]]])[0])
    assert display.ax_.get_xlim() == pytest.approx(display.limits[0])
    assert display.ax_.get_ylim() == pytest.approx(display.limits[1])


def test_densities_of_zero_and_repeated_thresholds_are_drawn():
    rows = np.random.default_rng(0).uniform(size=(100, 2))
    flat = KernelDensity(kernel="tophat", bandwidth=3.0).fit(rows)  # the same at all rows
    display = DensityDisplay.from_estimator(flat, rows)
    assert len(np.unique(display.thresholds)) == 1
    assert len(display.ax_.get_legend().get_texts()) == 1
    narrow = KernelDensity(kernel="tophat", bandwidth=0.1).fit(rows)
    display = DensityDisplay.from_estimator(narrow, rows, levels=[0.8])
    assert np.isneginf(display.log_density).any()
    axes = [np.linspace(*limits, len(display.log_density)) for limits in display.limits]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    (path,) = display.surface_.get_paths()
    expected = display.log_density.ravel() > display.thresholds[0] + 1e-9
    assert lies_inside(path, nodes)[expected].all()


def test_a_grid_of_samples(gaussian):
    model, X = gaussian
    display = DensityDisplay.from_estimator(model, X, random_state=0)
    assert display.samples.shape == X.shape
    assert display.log_density is None
    drawn = np.vectorize(lambda ax: ax is not None)(display.axes_)
    np.testing.assert_array_equal(drawn, np.tri(3, dtype=bool))
    points = display.axes_[2, 0].collections[0].get_offsets()
    expected = np.concatenate([X, display.samples])[:, [0, 2]]
    np.testing.assert_array_equal(np.sort(points, axis=0), np.sort(expected, axis=0))
    # Rows and samples are of one density here.
    spread = X.std(axis=0) / np.sqrt(len(X))
    assert (np.abs(X.mean(axis=0) - display.samples.mean(axis=0)) < 6 * spread).all()


def test_features_choose_and_order_the_columns(table3):
    X = pd.DataFrame(table3, columns=["a", "b", "c"])
    model = fitted("GaussianMixture", X)
    display = DensityDisplay.from_estimator(model, X, features=["c", 0])
    assert display.feature_names == ["c", "a"]
    np.testing.assert_array_equal(display.X, table3[:, [2, 0]])
    assert display.axes_[1, 0].get_xlabel() == "c"
    assert display.axes_[1, 0].get_ylabel() == "a"
    assert DensityDisplay.from_estimator(model, X, features=[1]).axes_.shape == (1, 1)


def test_where_names_come_from(table2):
    frame = pd.DataFrame(table2, columns=["a", "b"])
    named, nameless = fitted("KernelDensity", frame), fitted("KernelDensity", table2)
    names = [
        DensityDisplay.from_estimator(model, X, feature_names=given, grid_resolution=2)
        for model, X, given in [
            (named, frame, None), (nameless, table2, None), (nameless, table2, ("u", "v")),
        ]
    ]  # fmt: skip
    assert [d.feature_names for d in names] == [["a", "b"], ["x0", "x1"], ["u", "v"]]
    assert names[0].ax_.get_xlabel() == "a"


def test_percentiles_and_subsample_limit_what_is_drawn():
    X = np.concatenate([np.linspace(0, 1, 999), [1e6]])[:, None]
    model = fitted("KernelDensity", X)
    display = DensityDisplay.from_estimator(model, X, percentiles=(0.1, 0.9))
    np.testing.assert_allclose(display.limits, [[0.06, 0.94]], atol=2e-3)
    assert len(DensityDisplay.from_estimator(model, X, subsample=50, random_state=0).X) == 50
    assert len(DensityDisplay.from_estimator(model, X, subsample=None).X) == 1000


def test_styles_are_passed_on(gaussian, boosted, table2):
    model, X = gaussian
    display = DensityDisplay.from_estimator(
        model, X, scatter_kw={"color": "black", "s": 3}, hist_kw={"alpha": 0.1}
    )
    (points,) = display.axes_[1, 0].collections
    assert points.get_facecolor().shape == (1, 4)
    assert points.get_sizes().tolist() == [3]
    assert {bar.get_alpha() for bar in display.axes_[0, 0].patches} == {0.1}
    display = DensityDisplay.from_estimator(boosted, table2, contour_kw={"colors": ["red"] * 3})
    assert display.surface_.get_facecolor()[0, :3].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"levels": [0.5, 1.0]}, "levels"),
        ({"levels": []}, "levels"),
        ({"percentiles": (0.9, 0.1)}, "percentiles"),
        ({"percentiles": 0.1}, "percentiles"),
        ({"feature_names": ["a"]}, "feature_names has 1 names for 2 columns"),
        ({"features": ["a"]}, "there is no column 'a'"),
        ({"features": [2]}, "there is no column 2"),
        ({"grid_resolution": 1}, "grid_resolution"),
        ({"subsample": 0}, "subsample"),
    ],
)
def test_bad_parameters_of_a_density_are_named(parameters, message, table2):
    with pytest.raises(ValueError, match=message):
        DensityDisplay.from_estimator(fitted("KernelDensity", table2), table2, **parameters)


def test_a_grid_needs_an_estimator_that_can_be_sampled(table3):
    forest = IsolationForest(n_estimators=5, random_state=0).fit(table3)
    with pytest.raises(TypeError, match="sample; IsolationForest has not"):
        DensityDisplay.from_estimator(forest, table3)
    pipeline = make_pipeline(Normalizer(), GaussianMixture()).fit(table3)
    with pytest.raises(TypeError, match="a step of the Pipeline has no inverse_transform"):
        DensityDisplay.from_estimator(pipeline, table3)


def test_a_grid_needs_axes_that_can_be_divided(gaussian):
    model, X = gaussian
    with pytest.raises(ValueError, match="ax must be part of a grid"):
        DensityDisplay.from_estimator(model, X, ax=plt.figure().add_axes((0, 0, 1, 1)))


# %% CoverageDisplay


def test_a_classifier_is_covered_by_all_its_classes(gaussian):
    _, X = gaussian
    y = np.where(X[:, 0] > X[:, 0].mean(), "high", "low")
    y[:50] = "low"
    classifier = FlowBayesClassifier(GaussianDensity()).fit(X, y)
    display = CoverageDisplay.from_estimator(classifier, X, levels=[0.5, 0.9], random_state=0)
    again = CoverageDisplay.from_estimator(classifier, X, levels=[0.5, 0.9], random_state=0)
    np.testing.assert_array_equal(display.coverage, again.coverage)
    np.testing.assert_allclose(display.coverage, display.levels, atol=0.1)
    unsampled = FlowBayesClassifier(GaussianMixture()).fit(X, y)
    with pytest.raises(TypeError, match="sample; FlowBayesClassifier has not"):
        CoverageDisplay.from_estimator(unsampled, X)


def test_a_true_model_covers_what_it_says(gaussian):
    model, _ = gaussian
    rng = np.random.RandomState(5)
    X = rng.multivariate_normal(model.means_[0], model.covariances_[0], size=2000)
    display = CoverageDisplay.from_estimator(model, X, random_state=0, n_samples=50_000)
    # Independent of the band that is drawn, and wide enough for all 99 levels at once.
    low, high = binom.interval(1 - 1e-4, len(X), display.levels)
    assert (display.coverage * len(X) >= low).all()
    assert (display.coverage * len(X) <= high).all()


def test_the_coverage_is_that_of_an_oracle(gaussian):
    """Regions of a Gaussian are ellipsoids; their mass is a chi-square probability."""
    model, X = gaussian
    X = model.means_ + 1.5 * (X - model.means_)
    display = CoverageDisplay.from_estimator(model, X, random_state=0, n_samples=200_000)
    distance = X - model.means_[0]
    distance = np.einsum("ni,ij,nj->n", distance, model.precisions_[0], distance)
    expected = [np.mean(distance <= chi2.ppf(level, df=3)) for level in display.levels]
    np.testing.assert_allclose(display.coverage, expected, atol=0.01)
    assert (display.coverage < display.levels).all()  # the rows are wider than the model


def test_the_band_holds_a_true_model_as_often_as_it_says():
    """The threshold is estimated from as few samples as there are rows, and still it holds."""
    model = GaussianMixture(random_state=0).fit(np.random.default_rng(0).normal(size=(50, 1)))
    rng, levels, inside = np.random.RandomState(0), [0.2, 0.5, 0.9], []
    for _ in range(200):
        X = rng.normal(model.means_[0], np.sqrt(model.covariances_[0, 0, 0]), size=(200, 1))
        display = CoverageDisplay.from_estimator(
            model, X, levels=levels, n_samples=200, random_state=rng, confidence=0.9, ax=plt.gca()
        )
        corners = display.band_.get_paths()[0].vertices
        band = [corners[corners[:, 0] == level, 1] for level in levels]
        inside.append(
            [b.min() <= c <= b.max() for b, c in zip(band, display.coverage, strict=True)]
        )
        plt.gca().clear()
    # Bounds of four standard errors around 0.9; discreteness only widens the band.
    assert (np.mean(inside, axis=0) > 0.81).all()
    assert (np.mean(inside, axis=0) < 0.985).all()


def test_a_pipeline_that_reduces_dimensions_is_covered(table3):
    pipeline = make_pipeline(PCA(2), GaussianMixture(random_state=0)).fit(table3)
    reduced = CoverageDisplay.from_estimator(pipeline, table3, random_state=0)
    Z = pipeline[:-1].transform(table3)
    direct = CoverageDisplay.from_estimator(pipeline[-1], Z, random_state=0)
    np.testing.assert_allclose(reduced.coverage, direct.coverage)


def test_several_models_share_axes(gaussian):
    model, X = gaussian
    first = CoverageDisplay.from_estimator(model, X, n_samples=100)
    second = CoverageDisplay.from_estimator(
        model, X, n_samples=100, ax=first.ax_, ref_line=False, name="again"
    )
    texts = [text.get_text() for text in second.ax_.get_legend().get_texts()]
    assert texts == ["calibrated", "95 % band of 400 rows", "GaussianMixture", "again"]
    assert second.band_ is None
    assert first.line_.get_color() != second.line_.get_color()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"levels": [0.0, 0.5]}, "levels"),
        ({"levels": []}, "levels"),
        ({"n_samples": 0}, "n_samples"),
        ({"confidence": 1.0}, "confidence"),
    ],
)
def test_bad_parameters_of_a_coverage_are_named(parameters, message, gaussian):
    with pytest.raises(ValueError, match=message):
        CoverageDisplay.from_estimator(*gaussian, **parameters)


# %% BoostingPathDisplay


def test_a_path_shows_scores_and_weights(boosted, table2):
    display = BoostingPathDisplay.from_estimator(boosted, table2)
    expected = [
        boosted.train_scores_,
        boosted.validation_scores_,
        [scores.mean() for scores in boosted.staged_score_samples(table2)],
    ]
    assert boosted.n_estimators_ > 1
    for line, scores in zip(display.lines_, expected, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, boosted.n_estimators_ + 1))
        np.testing.assert_allclose(line.get_ydata(), scores)
    upper, lower = display.axes_
    heights = np.array([[bar.get_height() for bar in bars] for bars in lower.containers])
    n_rounds = boosted.n_estimators_
    of_rounds = boosted.staged_weights_.reshape(n_rounds, n_rounds, -1).sum(axis=2)
    np.testing.assert_allclose(heights, of_rounds.T)
    tops = [bar.get_y() + bar.get_height() for bar in lower.containers[-1]]
    np.testing.assert_allclose(tops, 1.0)
    assert upper.get_xlim() == lower.get_xlim()
    display.figure_.canvas.draw()
    ticks = [tick for tick in lower.get_xticks() if 1 <= tick <= boosted.n_estimators_]
    assert ticks == [int(tick) for tick in ticks]


def test_a_path_without_held_out_rows(table2):
    model = GradientBoostedFlowDensity(
        2, flow="affine", init=None, validation_fraction=None, random_state=0
    ).fit(table2)
    figure, (ax, _) = plt.subplots(1, 2)
    display = BoostingPathDisplay.from_estimator(model, ax=ax, line_kw={"linewidth": 3})
    assert [line.get_label() for line in display.lines_] == ["training rows"]
    assert display.lines_[0].get_linewidth() == 3
    assert display.ax_ is ax
    assert display.figure_ is figure


def test_a_path_needs_rounds(table2):
    with pytest.raises(TypeError, match="GaussianMixture has no train_scores_, validation_scores_"):
        BoostingPathDisplay.from_estimator(fitted("GaussianMixture", table2))
    with pytest.raises(NotFittedError):
        BoostingPathDisplay.from_estimator(GradientBoostedFlowDensity())


# %% JacobianDisplay


@pytest.fixture(scope="module")
def mapped(table3):
    """A component without a map, and one with."""
    settings = {"init": "student_t", "flow": "maf", "n_transforms": 1, "max_iter": 2}
    return GradientBoostedFlowDensity(
        2, tol=0, validation_fraction=None, random_state=0, **settings
    ).fit(table3)


def test_jacobians_of_each_component_that_has_a_map_are_drawn(mapped, table3):
    report = jacobian_report(mapped, table3, n_samples=None)
    display = JacobianDisplay.from_report(report, line_kw={"linewidth": 3})
    (line,), (band,) = display.lines_, display.bands_
    assert line.get_label() == "2: maf"
    assert line.get_linewidth() == 3
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(line.get_ydata(), np.median(report.singular_values[1], axis=0))
    low, high = np.quantile(report.singular_values[1], [0.05, 0.95], axis=0)
    edges = band.get_paths()[0].vertices
    assert {*low, *high} <= {*edges[:, 1]}
    assert display.ax_.get_yscale() == "log"
    assert display.ax_.get_legend().get_title().get_text() == "component"
    display.figure_.canvas.draw()


def test_jacobians_of_an_estimator_are_those_of_its_report(mapped, table3):
    _, (ax, other) = plt.subplots(1, 2)
    display = JacobianDisplay.from_estimator(mapped, table3, n_samples=20, random_state=1, ax=ax)
    report = jacobian_report(mapped, table3, n_samples=20, random_state=1)
    np.testing.assert_array_equal(display.singular_values, report.singular_values)
    assert display.families == report.families
    assert display.ax_ is ax
    assert not other.has_data()


def test_jacobians_of_components_without_maps_have_no_legend():
    nothing = np.full((1, 5), np.nan)
    values = np.full((1, 5, 2), np.nan)
    report = JacobianReport(("student_t",), np.ones(1), values, nothing, nothing)
    display = JacobianDisplay.from_report(report)
    assert display.lines_ == []
    assert display.ax_.get_legend() is None


def test_jacobians_need_a_boosted_density(table2):
    with pytest.raises(TypeError, match="must be a GradientBoostedFlowDensity"):
        JacobianDisplay.from_estimator(fitted("GaussianMixture", table2), table2)
    with pytest.raises(NotFittedError):
        JacobianDisplay.from_estimator(GradientBoostedFlowDensity(), table2)


# %% OutlierDisplay


def test_histograms_hold_all_rows_and_the_threshold_its_share(gaussian):
    model, X = gaussian
    far = X + 1e3  # far below the range that is drawn
    display = OutlierDisplay.from_estimator(model, X, far, contamination=0.1, labels=("a", "b"))
    assert np.mean(display.scores < display.threshold) == pytest.approx(0.1, abs=1 / len(X))
    assert set(display.line_.get_xdata()) == {display.threshold}
    totals = [sum(bar.get_height() for bar in bars) for bars in display.ax_.containers]
    np.testing.assert_allclose(totals, 1.0)
    assert display.ax_.containers[1][0].get_height() == pytest.approx(1.0)
    assert "first bin: all below" in display.ax_.get_xlabel()
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert sorted(labels) == ["a", "b", "threshold"]


def test_the_threshold_of_a_detector_is_its_offset(table2, gaussian):
    forest = IsolationForest(n_estimators=10, contamination=0.2, random_state=0).fit(table2)
    display = OutlierDisplay.from_estimator(forest, table2)
    assert display.threshold == forest.offset_
    rejected = display.scores < display.threshold
    np.testing.assert_array_equal(rejected, forest.predict(table2) == -1)
    assert OutlierDisplay.from_estimator(*gaussian).line_ is None
    piped = make_pipeline(StandardScaler(), IsolationForest(n_estimators=10)).fit(table2)
    assert OutlierDisplay.from_estimator(piped, table2).threshold == piped[-1].offset_


@pytest.mark.parametrize("bandwidth", [0.1, 2.0])  # with the latter all scores are equal
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_rows_of_no_density_are_counted_in_the_first_bin(share, bandwidth):
    model = KernelDensity(bandwidth=bandwidth, kernel="tophat")
    model.fit(np.linspace(0, 1, 200)[:, None])
    X = np.linspace(0, 1, 200)[:, None]
    X[: round(share * 200)] = 99.0
    for contamination in (None, 0.01, 0.2):
        display = OutlierDisplay.from_estimator(model, X, contamination=contamination)
        heights = [bar.get_height() for bar in display.ax_.containers[0]]
        assert sum(heights) == pytest.approx(1.0)
        assert heights[0] == pytest.approx(share)
        if contamination is not None:
            assert np.mean(display.scores < display.threshold) <= contamination


def test_a_contamination_out_of_range_is_named(gaussian):
    with pytest.raises(ValueError, match="contamination"):
        OutlierDisplay.from_estimator(*gaussian, contamination=1.0)
