"""Why a row is an outlier: each of its values given the others, in numbers and in a picture."""

import sys

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import GaussianDensity
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

import skgbnf
from skgbnf import FlowOutlierDetector, GradientBoostedFlowDensity
from skgbnf.plotting import ExplanationDisplay

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MIXED = GradientBoostedFlowDensity(
    1, flow="location_mixture", init=None, n_folds=None, max_iter=2, random_state=0
)
AFFINE = GradientBoostedFlowDensity(1, flow="affine", n_folds=None, random_state=0)


@pytest.fixture(autouse=True)
def _figures_are_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def frame():
    """A kind, its size and a number beside them; the first rows have a wrong value each."""
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=200)
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical.from_codes(kind, ["a", "b"]),
            "size": 8.0 * kind + rng.normal(size=200),
            "other": rng.normal(size=200),
        },
        index=[f"row{i}" for i in range(200)],
    )
    frame.iloc[0, 2] = 9.0
    frame.iloc[1, 1] += 30.0
    frame.iloc[5, 2] = np.nan
    return frame


@pytest.fixture(scope="module")
def detector(frame):
    return FlowOutlierDetector(MIXED, random_state=0).fit(frame)


@pytest.fixture(scope="module")
def plain():
    """A detector fitted to an array of correlated normal numbers, and the array."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    X = np.column_stack([x, 0.6 * x + 0.8 * rng.normal(size=2000)])
    detector = FlowOutlierDetector(AFFINE, random_state=0).fit(X)
    detector.explain(X[:1])  # what it needs for numbers is made at the first call
    return detector, X


@pytest.mark.quick
def test_explanations_are_densities_of_values_given_the_others(detector, frame):
    values = detector.explain(frame, relative=False)
    expected = -detector.estimator_.feature_score_samples(frame)
    np.testing.assert_array_equal(values, expected)
    assert isinstance(values, pd.DataFrame)
    assert values.index.equals(frame.index)
    assert values.columns.equals(frame.columns)
    np.testing.assert_array_equal(values.isna(), frame.isna())


def test_relative_ones_differ_by_a_number_for_each_feature(detector, frame):
    difference = detector.explain(frame, relative=False) - detector.explain(frame)
    np.testing.assert_allclose(difference.max() - difference.min(), 0, atol=1e-9)
    # Half of the samples of the density lie above the median.
    drawn = detector.estimator_.sample_frame(100, random_state=0)
    np.testing.assert_allclose(detector.explain(drawn).median(), 0, atol=1e-9)


def test_the_wrong_value_is_named(detector, frame):
    assert detector.explain(frame.iloc[:2]).idxmax(axis=1).tolist() == ["other", "size"]


def test_relative_ones_do_not_depend_on_units(detector, frame):
    X = frame.assign(other=1000.0 * frame["other"])
    other = FlowOutlierDetector(MIXED, random_state=0).fit(X)
    np.testing.assert_allclose(other.explain(X), detector.explain(frame), atol=0.01)
    change = other.explain(X, relative=False) - detector.explain(frame, relative=False)
    np.testing.assert_allclose(change["other"].dropna(), np.log(1000.0), atol=0.01)


def test_arrays_and_other_frames_give_arrays(detector, frame):
    values = detector.explain(pl.from_pandas(frame[:4]))
    assert type(values) is np.ndarray
    np.testing.assert_allclose(values, detector.explain(frame[:4]))


def test_of_a_gaussian_they_are_known(plain):
    """Given the other column, each is normal; draws for the integral have an error."""
    detector, X = plain
    values = detector.explain(X[:50], relative=False)
    assert values.shape == (50, 2)
    z = (X[:50] - 0.6 * X[:50, ::-1]) / 0.8
    np.testing.assert_allclose(values, 0.5 * z**2 + np.log(0.8 * np.sqrt(2 * np.pi)), atol=0.25)


def test_an_impossible_value_is_infinitely_unexpected(detector, frame):
    X = frame[:1].astype({"kind": object})
    X.loc[:, "kind"] = "c"
    with pytest.warns(UserWarning, match="none of the rows of fit had"):
        assert np.isposinf(detector.explain(X)["kind"]).all()


def test_a_loaded_detector_explains_alike(detector, frame, tmp_path):
    before = vars(detector).keys()
    skgbnf.save(detector, tmp_path / "model")
    again = skgbnf.load(tmp_path / "model")
    np.testing.assert_allclose(again.explain(frame[:9]), detector.explain(frame[:9]))
    assert vars(again).keys() == vars(detector).keys() == before


def test_who_cannot_explain_says_so(frame):
    assert not hasattr(FlowOutlierDetector(GaussianDensity()), "explain")
    with pytest.raises(NotFittedError):
        FlowOutlierDetector().explain(frame)
    with pytest.raises(TypeError, match="relative"):
        FlowOutlierDetector(AFFINE).fit(frame[["size"]]).explain(frame[["size"]], relative=2)


def planted(n_rows=3000, seed=0):
    """Columns of five types that tell of each other, and 1 % of rows with one wrong value."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(4, size=n_rows)
    plan = (kind + rng.integers(2, size=n_rows)) % 4
    size = rng.normal(size=n_rows) + 2 * kind
    active = rng.random(n_rows) < np.where(kind >= 2, 0.97, 0.03)
    days = (60 * kind + 10 * rng.normal(size=n_rows)).round()
    weight = 3 * size + 0.3 * rng.normal(size=n_rows)
    count = rng.poisson(np.exp(0.3 * size.clip(-2, 8)) + 1)
    rows, signs = rng.choice(n_rows, n_rows // 100, replace=False), rng.choice([-1, 1], n_rows)
    columns = rng.choice(["kind", "plan", "weight", "count", "day"], len(rows))
    at = {name: rows[columns == name] for name in columns}
    kind[at["kind"]] = (kind[at["kind"]] + 2) % 4
    plan[at["plan"]] = (plan[at["plan"]] + 2) % 4
    weight[at["weight"]] += signs[at["weight"]] * rng.uniform(3, 6, len(at["weight"]))
    count[at["count"]] += 40 + rng.integers(20, size=len(at["count"]))
    days[at["day"]] += signs[at["day"]] * rng.integers(90, 120, len(at["day"]))
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical.from_codes(kind, list("abcd")),
            "plan": np.array(["p0", "p1", "p2", "p3"], dtype=object)[plan],
            "size": size,
            "weight": weight,
            "count": pd.array(count, dtype="Int64"),
            "day": pd.Timestamp("2022-01-01") + pd.to_timedelta(days, "D"),
        }
    )
    gaps = rng.random(frame.shape) < 0.05
    gaps[rows] = False
    return frame.mask(gaps).assign(active=active), rows, columns


def one_hot(frame):
    """The frame as one would encode it by hand for other detectors."""
    days = (frame["day"] - frame["day"].min()).dt.days
    numbers = frame.assign(day=days, count=frame["count"].astype(float))
    X = pd.get_dummies(numbers, columns=["kind", "plan"]).astype(float)
    return X.fillna(X.median())


@pytest.mark.slow
def test_planted_values_are_found_and_named():
    """Without a line of preprocessing; dates are in seconds, so that only relative ones compare."""
    frame, rows, columns = planted()
    density = GradientBoostedFlowDensity(max_time=15, random_state=0)
    detector = FlowOutlierDetector(density).fit(frame)
    wrong = np.isin(np.arange(len(frame)), rows)
    auc = roc_auc_score(wrong, -detector.score_samples(frame))
    X = one_hot(frame)
    forest = IsolationForest(random_state=0).fit(X)
    assert auc > max(0.99, roc_auc_score(wrong, -forest.score_samples(X)))
    named = detector.explain(frame.iloc[rows]).idxmax(axis=1)
    assert (named == columns).mean() >= 0.9
    absolute = detector.explain(frame.iloc[rows], relative=False).idxmax(axis=1)
    assert (absolute == columns).mean() < 0.5


# %% ExplanationDisplay


@pytest.mark.quick
def test_the_display_shows_the_rows_of_lowest_density(detector, frame):
    display = ExplanationDisplay.from_estimator(detector, frame, n_rows=2)
    assert sorted(display.rows) == ["row0", "row1"]
    assert display.feature_names == ["kind", "size", "other"]
    np.testing.assert_array_equal(display.values, detector.explain(frame.loc[display.rows]))
    widths = [bar.get_width() for bar in display.bars_[0]]
    np.testing.assert_allclose(widths, display.values[0])
    assert [panel.get_title() for panel in display.axes_] == [f"row {r}" for r in display.rows]
    display.figure_.canvas.draw()


def test_the_longest_bar_has_a_colour_of_its_own(detector, frame):
    display = ExplanationDisplay.from_estimator(detector, frame, n_rows=2)
    for values, bars in zip(display.values, display.bars_, strict=True):
        colours = [bar.get_facecolor() for bar in bars]
        assert colours.count(colours[values.argmax()]) == 1


def test_few_features_of_many_are_drawn_in_their_order():
    values = np.array([[1.0, np.nan, 5.0, np.inf], [0.0, np.nan, 9.0, -1.0]])
    names = ["a", "b", "c", "d"]
    display = ExplanationDisplay(values=values, rows=[3, 4], feature_names=names)
    display.plot(max_features=2)
    ticks = [label.get_text() for label in display.axes_[0].get_yticklabels()]
    assert ticks == ["c", "d"]
    (sign,) = display.axes_[0].texts
    assert sign.get_text().strip() == "∞"
    assert all(np.isfinite(bar.get_width()) for bars in display.bars_ for bar in bars)
    assert not display.axes_[1].texts


def test_the_display_of_arrays_and_on_given_axes(plain):
    detector, X = plain
    figure, (ax, other) = plt.subplots(1, 2, layout="constrained")
    display = ExplanationDisplay.from_estimator(detector, X, n_rows=1, ax=ax)
    assert display.rows == [int(detector.score_samples(X).argmin())]
    assert display.feature_names == ["x0", "x1"]
    assert display.figure_ is figure
    assert not other.has_data()


def test_the_display_refuses_what_does_not_explain(detector, frame, monkeypatch):
    with pytest.raises(TypeError, match="explain; GaussianDensity has not"):
        ExplanationDisplay.from_estimator(GaussianDensity(), frame)
    drawn = ExplanationDisplay.from_estimator(detector, frame, n_rows=1)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (lambda: ExplanationDisplay.from_estimator(detector, frame), drawn.plot):
        with pytest.raises(
            ImportError, match=r"ExplanationDisplay\..*pip install 'skgbnf\[plot\]'"
        ):
            draw()
