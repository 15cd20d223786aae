"""Files of what holds a density: detectors and classifiers, identical on return."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from helpers import GaussianDensity, joined, split
from sklearn.base import clone
from test_files_fuzz import ODD, leaves, put

import skgbnf
from skgbnf import FlowBayesClassifier, FlowOutlierDetector, GradientBoostedFlowDensity

N_LIES = 300
DENSITY = GradientBoostedFlowDensity(
    2, flow="realnvp", n_transforms=1, hidden_layer_sizes=(4,), max_iter=1
)


@pytest.fixture(scope="module")
def rows():
    X = np.random.default_rng(0).normal(size=(120, 2))
    return pd.DataFrame(X, columns=["a", "b"])


@pytest.fixture(scope="module")
def detector(rows):
    return FlowOutlierDetector(DENSITY, contamination=0.05, random_state=0).fit(rows)


@pytest.fixture(scope="module")
def classifier(rows):
    y = np.where(rows["a"] > 0.3, "high", "low")
    return FlowBayesClassifier(DENSITY, priors=(0.25, 0.75), random_state=0).fit(rows, y)


def saved(estimator, tmp_path):
    skgbnf.save(estimator, tmp_path / "model")
    return skgbnf.load(tmp_path / "model")


def assert_same(first, second, path=""):
    """Equal type by type, through estimators, containers and arrays."""
    assert type(first) is type(second), path
    if isinstance(first, np.ndarray):
        assert first.dtype == second.dtype, path
        np.testing.assert_array_equal(first, second, err_msg=path)
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key, value in first.items():
            assert_same(value, second[key], f"{path}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), path
        for i, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{path}[{i}]")
    elif hasattr(first, "__dict__"):
        assert_same(vars(first), vars(second), path)
    else:
        assert first == second, path


def test_all_of_a_detector_comes_back(detector, rows, tmp_path):
    again = saved(detector, tmp_path)
    np.testing.assert_array_equal(again.pvalues(rows), detector.pvalues(rows))
    np.testing.assert_array_equal(again.predict(rows), detector.predict(rows))
    assert_same(again.estimator.get_params(), DENSITY.get_params())
    refitted = clone(again).fit(rows)
    np.testing.assert_array_equal(refitted.score_samples(rows), detector.score_samples(rows))
    assert_same(vars(again).keys(), vars(detector).keys())
    assert_same(again.calibration_scores_, detector.calibration_scores_)
    with pytest.raises(ValueError, match="feature names"):
        again.predict(rows[["b", "a"]])


def test_a_detector_without_rows_set_aside_and_of_the_default_density(rows, tmp_path):
    detector = FlowOutlierDetector(DENSITY, calibration_fraction=None).fit(rows.to_numpy())
    again = saved(detector.set_params(estimator=None), tmp_path)
    assert again.estimator is None
    assert again.calibration_scores_ is None
    assert not hasattr(again, "feature_names_in_")
    assert again.offset_ == detector.offset_


def test_all_of_a_classifier_comes_back(classifier, rows, tmp_path):
    again = saved(classifier, tmp_path)
    np.testing.assert_array_equal(again.predict_proba(rows), classifier.predict_proba(rows))
    for ours, theirs in zip(again.sample(9, 0), classifier.sample(9, 0), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert_same(again.priors, (0.25, 0.75))
    refitted = clone(again).fit(rows, classifier.predict(rows))
    assert refitted.classes_.tolist() == ["high", "low"]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, 7]), np.array([True, False]), np.array([1.0, 2.0], np.float32),
        np.array([3, 200], np.uint8), np.array(["a", "é"]), np.array(["a", "b"], dtype=object),
    ],
)  # fmt: skip
def test_labels_of_every_kind_come_back(rows, tmp_path, labels):
    y = labels[(rows["a"] > 0).astype(int)]
    density = clone(DENSITY).set_params(flow="affine")
    classifier = FlowBayesClassifier(density).fit(rows, y)
    again = saved(classifier, tmp_path)
    assert_same(again.classes_, classifier.classes_)
    np.testing.assert_array_equal(again.predict(rows), classifier.predict(rows))


@pytest.mark.parametrize("wrapper", [FlowOutlierDetector, FlowBayesClassifier])
def test_another_density_is_refused(rows, tmp_path, wrapper):
    model = wrapper(GaussianDensity()).fit(rows, np.arange(120) % 2)
    message = "only a GradientBoostedFlowDensity goes into a file, got GaussianDensity"
    with pytest.raises(TypeError, match=message):
        skgbnf.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_no_file_can_hold_is_refused(detector, classifier, tmp_path):
    rng = np.random.RandomState(0)
    for parameter in ("random_state", "estimator__random_state"):
        with pytest.raises(ValueError, match="random_state: a generator"):
            skgbnf.save(copy.deepcopy(detector).set_params(**{parameter: rng}), tmp_path / "model")
    odd = copy.deepcopy(classifier)
    odd.classes_ = np.array([("a", 1), None], dtype=object)
    with pytest.raises(ValueError, match="y: labels other than numbers and strings"):
        skgbnf.save(odd, tmp_path / "model")


@pytest.mark.parametrize("name", ["detector", "classifier"])
def test_lies_give_a_model_that_answers_or_a_refusal(request, rows, tmp_path, name):
    """Every value of the description and every array, replaced by something odd."""
    fitted = request.getfixturevalue(name)
    path = tmp_path / "model"
    skgbnf.save(fitted, path)
    metadata, model, arrays = split(path.read_bytes())
    rng = np.random.default_rng(0)
    # Values of the wrapper itself; those of its densities have a test of their own.
    paths = [p for p in leaves(model) if "densities" not in p[:-1] or rng.random() < 0.1]
    own = [name for name in arrays if not name.startswith("densities")]
    refused = 0
    for i in range(N_LIES):
        told, held = copy.deepcopy(model), dict(arrays)
        if i % 3:
            put(told, paths[rng.integers(len(paths))], ODD[rng.integers(len(ODD))])
        else:
            key = own[rng.integers(len(own))]
            array = held.pop(key)
            with np.errstate(invalid="ignore"):
                changes = [
                    array[..., :0], array[None], array.astype(np.int64), -array,
                    np.full_like(array, np.nan), array.ravel()[:1], array.astype(bool),
                ]  # fmt: skip
            if rng.random() < 0.9:
                held[key] = changes[rng.integers(len(changes))]
        path.write_bytes(joined(metadata, told, held))
        try:
            opened = skgbnf.load(path)
        except ValueError:
            refused += 1
            continue
        # Other names are no contradiction, and rows without them are refused.
        if list(getattr(opened, "feature_names_in_", [])) == list(rows.columns):
            assert opened.predict(rows).shape == (len(rows),)
    assert refused > N_LIES / 4


@pytest.mark.parametrize(
    "lie",
    [
        lambda m, a: m["data"].update(offset={"number": "nan"}),
        lambda m, a: a.update(calibration_scores=a["calibration_scores"][::-1]),
        lambda m, a: a.update(calibration_scores=np.empty(0)),
        lambda m, a: m["data"]["densities"].append(m["data"]["densities"][0]),
        lambda m, a: m["data"].update(densities=[]),
        lambda m, a: m["data"]["parameters"].update(contamination=2.0),
        lambda m, a: m["data"]["parameters"]["estimator"].update(tol=-1.0),
        lambda m, a: m["data"]["parameters"].update(estimator="os.system"),
    ],
)
def test_a_detector_that_contradicts_itself_is_refused(detector, tmp_path, lie):
    assert_refused(detector, tmp_path, lie)


@pytest.mark.parametrize(
    "lie",
    [
        lambda m, a: m["data"]["classes"].update(labels=["low", "high"]),
        lambda m, a: m["data"]["classes"].update(labels=["low", "low"]),
        lambda m, a: m["data"]["classes"].update(labels=["low", 1]),
        lambda m, a: m["data"]["classes"].update(labels=["high"]),
        lambda m, a: m["data"]["densities"].pop(),
        lambda m, a: m["data"]["densities"][0]["table"].update(labels=["a", "c"]),
        lambda m, a: a.update(class_prior=np.array([0.5, 0.6])),
        lambda m, a: a.update(class_prior=np.array([-0.5, 1.5])),
    ],
)
def test_a_classifier_that_contradicts_itself_is_refused(classifier, tmp_path, lie):
    assert_refused(classifier, tmp_path, lie)


def assert_refused(estimator, tmp_path, lie):
    path = tmp_path / "model"
    skgbnf.save(estimator, path)
    metadata, model, arrays = split(path.read_bytes())
    lie(model, arrays)
    path.write_bytes(joined(metadata, model, arrays))
    with pytest.raises(ValueError, match="is not a readable skgbnf model"):
        skgbnf.load(path)


def test_a_loaded_model_can_be_pickled(detector, rows, tmp_path):
    again = pickle.loads(pickle.dumps(saved(detector, tmp_path)))
    np.testing.assert_array_equal(again.pvalues(rows), detector.pvalues(rows))
