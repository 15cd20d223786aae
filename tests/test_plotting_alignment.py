"""AlignmentDisplay: what it computes, what it draws, and what it refuses."""

import matplotlib
import numpy as np
import pytest

from skgbnf import FlowAligner
from skgbnf.metrics import two_sample_auc
from skgbnf.plotting import AlignmentDisplay

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def fitted(n_features):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(60, n_features)), rng.normal(5.0, 2.0, (60, n_features))])
    site = np.repeat(["near", "far"], 60)
    aligner = FlowAligner(n_estimators=1, n_epochs=20, flow=("scale",), random_state=0)
    return aligner.fit(X, domain=site), X, site


def test_both_sides_show_the_samples_and_what_tells_them_apart():
    aligner, X, site = fitted(2)
    display = AlignmentDisplay.from_estimator(aligner, X, site, n_lines=7)
    Z = aligner.transform(X, domain=site)
    np.testing.assert_array_equal(display.before, X)
    np.testing.assert_array_equal(display.after, Z)
    first = site == aligner.reference_
    assert display.aucs == (
        two_sample_auc(X[first], X[~first]),
        two_sample_auc(Z[first], Z[~first]),
    )
    assert f"{display.aucs[1]:.2f}" in display.axes_[1].get_title()
    assert len(display.axes_[1].lines) == 7
    assert [len(points.get_offsets()) for points in display.axes_[0].collections] == [60, 60]
    labels = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert labels == ["far", "near"]


def test_several_features_are_projected_alike_on_both_sides():
    aligner, X, site = fitted(4)
    _, ax = plt.subplots()
    display = AlignmentDisplay.from_estimator(
        aligner, X, site, ax=ax, scatter_kw={"s": 3}, line_kw={"color": "red"}
    )
    assert display.before.shape == display.after.shape == (120, 2)
    # The reference is not moved.
    reference = site == aligner.reference_
    np.testing.assert_allclose(display.before[reference], display.after[reference], atol=1e-9)
    assert display.axes_[1].lines[0].get_color() == "red"
    assert display.names[0] == "first component"


def test_few_samples_have_no_classifier():
    aligner, X, site = fitted(2)
    some = np.r_[0:5, 60:65]
    display = AlignmentDisplay.from_estimator(aligner, X[some], site[some])
    assert display.aucs is None
    assert display.axes_[0].get_title() == "as they are"


def test_one_feature_and_other_estimators_are_refused():
    aligner, X, site = fitted(1)
    with pytest.raises(ValueError, match="X has one feature"):
        AlignmentDisplay.from_estimator(aligner, X, site)
    with pytest.raises(TypeError, match="transform"):
        AlignmentDisplay.from_estimator(object(), X, site)
