"""Files: identical on return, and a ValueError that says what is wrong with any other file."""

import copy
import gc
import json
import pickle
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
import zuko
from helpers import joined, split
from sklearn.linear_model import LinearRegression

import skgbnf
from skgbnf.diagnostics import jacobian_report
from skgbnf.flows import family_names
from skgbnf.persistence import FORMAT_VERSION

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def model(quick, table2):
    return quick(flow="realnvp", n_transforms=1, hidden_layer_sizes=(4,)).fit(table2)


@pytest.fixture(scope="module")
def content(model, tmp_path_factory):
    """Bytes of a good file."""
    path = tmp_path_factory.mktemp("good") / "model"
    skgbnf.save(model, path)
    return path.read_bytes()


def loaded(content, tmp_path):
    path = tmp_path / "changed.safetensors"
    path.write_bytes(content)
    return skgbnf.load(path)


def assert_refused(content, tmp_path, message="changed.safetensors"):
    with pytest.raises(ValueError, match=message) as error:
        loaded(content, tmp_path)
    assert "changed.safetensors" in str(error.value)


@pytest.mark.parametrize("n_features", [1, 2])
@pytest.mark.parametrize("kind", family_names())
def test_default_sizes_come_back_for_few_columns(quick, table3, tmp_path, kind, n_features):
    X = table3[:30, :n_features]
    model = quick(flow=kind, n_transforms=3, hidden_layer_sizes=(64, 64), max_iter=1).fit(X)
    skgbnf.save(model, tmp_path / "model")
    assert np.array_equal(skgbnf.load(tmp_path / "model").score_samples(X), model.score_samples(X))


@pytest.mark.parametrize("base", ["normal", "student_t"])
@pytest.mark.parametrize("kind", family_names())
def test_every_family_comes_back_identical(quick, table3, tmp_path, kind, base):
    model = quick(flow=kind, base=base).fit(table3[:30])
    skgbnf.save(model, tmp_path / "model")
    again = skgbnf.load(tmp_path / "model")
    assert type(again) is type(model)
    assert np.array_equal(again.score_samples(table3), model.score_samples(table3))
    stages = zip(
        again.staged_score_samples(table3), model.staged_score_samples(table3), strict=True
    )
    assert all(np.array_equal(ours, theirs) for ours, theirs in stages)
    assert np.array_equal(again.sample(5, random_state=1), model.sample(5, random_state=1))
    X = table3.astype(np.float32)
    assert np.array_equal(again.score_samples(X), model.score_samples(X))


@pytest.mark.quick
def test_all_fitted_attributes_come_back(model, content, tmp_path):
    again = loaded(content, tmp_path)
    assert vars(again).keys() == vars(model).keys()
    for name, array in model.coordinates_.to_plain().items():
        np.testing.assert_array_equal(again.coordinates_.to_plain()[name], array)
    names = {name for name in dir(model) if name.endswith("_") and name[0] != "_"}
    assert {"estimator_weights_", "train_scores_", "n_features_in_"} <= names
    for name in names - {"estimators_", "coordinates_", "fitted_", "atoms_"}:
        ours, theirs = getattr(again, name), getattr(model, name)
        np.testing.assert_array_equal(ours, theirs)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype, name
    assert again.get_params() == model.get_params()


@pytest.mark.parametrize(
    "parameters",
    [
        {"flow": ["affine", "realnvp"]},
        {"flow": ("affine",)},
        {"hidden_layer_sizes": [4, 3]},
        {"hidden_layer_sizes": np.int64(4)},
        {"hidden_layer_sizes": np.array([4, 3])},
        {"random_state": None, "validation_fraction": None},
        {"random_state": np.int64(3), "tol": np.float64(0.01), "warm_start": np.bool_(True)},
        {"batch_size": 16, "max_iter": 1, "verbose": False},
    ],
)
def test_parameters_come_back_and_the_estimator_can_be_used_on(quick, table2, tmp_path, parameters):
    model = quick(**{"flow": "affine", "n_estimators": 1, **parameters}).fit(table2)
    skgbnf.save(model, tmp_path / "model")
    again = skgbnf.load(tmp_path / "model")
    for name, value in model.get_params().items():
        np.testing.assert_array_equal(again.get_params()[name], value)
    if model.random_state is not None:
        refitted = again.fit(table2)
        assert np.array_equal(refitted.score_samples(table2), model.score_samples(table2))


def test_modules_are_built_once_and_live_as_long_as_their_component(quick, table2):
    model = quick().fit(table2)
    size = len(pickle.dumps(model))
    scores = model.score_samples(table2)
    component = model.estimators_[0]
    module = component.module(torch.float64, "cpu")
    assert component.module(torch.float64, "cpu") is module
    assert component.module(torch.float32, "cpu") is not module
    assert component.to_module(torch.float64, "cpu") is not module
    assert len(pickle.dumps(model)) == size
    np.testing.assert_array_equal(copy.deepcopy(model).score_samples(table2), scores)
    kept = weakref.ref(module)
    del model, component, module
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("kind", ["maf", "nsf", "affine"])
def test_a_module_built_in_inference_mode_can_be_differentiated(quick, table2, kind):
    model = quick(flow=kind).fit(table2)
    with torch.inference_mode():
        model.score_samples(table2)
    report = jacobian_report(model, table2)
    assert np.isfinite(report.singular_values[0]).all()


def test_arrays_of_a_component_cannot_be_written_to(model):
    for component in (*model.estimators_, *pickle.loads(pickle.dumps(model)).estimators_):
        assert not any(array.flags.writeable for array in component.arrays.values())


def test_what_cannot_be_written_leaves_nothing_behind(model, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        skgbnf.save(model, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_link_stays_a_link(model, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    skgbnf.save(model, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert skgbnf.load(tmp_path / "target").n_estimators_ == model.n_estimators_


@pytest.mark.parametrize("path", [1, True, None, b"model"])
def test_what_is_no_path_is_refused(model, path):
    with pytest.raises(TypeError, match="path must be"):
        skgbnf.load(path)
    with pytest.raises(TypeError, match="path must be"):
        skgbnf.save(model, path)


def test_warm_start_goes_on_from_a_file(quick, table2, tmp_path):
    settings = {"flow": "affine", "warm_start": True, "tol": 0.0, "n_iter_no_change": 5}
    model = quick(n_estimators=1, **settings).fit(table2)
    skgbnf.save(model, tmp_path / "model")
    again = skgbnf.load(tmp_path / "model").set_params(n_estimators=2).fit(table2)
    model.set_params(n_estimators=2).fit(table2)
    assert again.n_estimators_ == 2
    assert np.array_equal(again.score_samples(table2), model.score_samples(table2))


def test_feature_names_come_back(quick, table2, tmp_path):
    frame = pd.DataFrame(table2, columns=["größe", "weight, kg"])
    model = quick(flow="affine").fit(frame)
    skgbnf.save(model, tmp_path / "model")
    again = skgbnf.load(tmp_path / "model")
    assert again.feature_names_in_.tolist() == ["größe", "weight, kg"]
    assert np.array_equal(again.score_samples(frame), model.score_samples(frame))
    with pytest.raises(ValueError, match="feature names"):
        again.score_samples(frame[frame.columns[::-1]])


def test_path_may_be_a_string_and_an_old_file_is_replaced(model, table2, tmp_path):
    path = str(tmp_path / "model")
    (tmp_path / "model").write_bytes(b"x" * 10_000_000)
    skgbnf.save(model, path)
    assert np.array_equal(skgbnf.load(path).score_samples(table2), model.score_samples(table2))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        skgbnf.load(tmp_path / "nothing")


# Estimators that no file can hold


def small_flow(n_features):
    return zuko.flows.MAF(n_features, transforms=1, hidden_features=(4,))


@pytest.mark.parametrize("flow", [small_flow, [small_flow], ["affine", small_flow]])
def test_a_callable_is_refused_with_a_reason(quick, table2, tmp_path, flow):
    model = quick(flow=flow, n_estimators=1).fit(table2)
    with pytest.raises(ValueError, match=r"flow: .*callable"):
        skgbnf.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_generator_as_random_state_is_refused_with_a_reason(quick, table2, tmp_path):
    model = quick(flow="affine", random_state=np.random.RandomState(0)).fit(table2)
    with pytest.raises(ValueError, match=r"random_state: .*generator"):
        skgbnf.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    skgbnf.save(model.set_params(random_state=None), tmp_path / "model")


@pytest.mark.parametrize("other", [LinearRegression(), "text", None])
def test_other_objects_are_refused(tmp_path, other):
    with pytest.raises(TypeError, match=f"got {type(other).__name__}"):
        skgbnf.save(other, tmp_path / "model")


# Damaged and foreign files


@pytest.mark.quick
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(content, tmp_path, share):
    assert_refused(content[: int(share * len(content))], tmp_path)


@pytest.mark.parametrize("cut", [1, 4, 7, 8, 9])
def test_a_file_cut_near_its_ends_is_refused(content, tmp_path, cut):
    assert_refused(content[:cut], tmp_path)
    assert_refused(content[:-cut], tmp_path)


def test_a_longer_file_is_refused(content, tmp_path):
    assert_refused(content + b"\0", tmp_path)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_is_refused_wherever_it_is(content, tmp_path, flip):
    n_header = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(flip)
    places = [*range(8), *rng.integers(8, n_header, 150), *rng.integers(n_header, len(content), 50)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= flip
        assert_refused(bytes(changed), tmp_path)


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\0" * 100,
        b"just some text, long enough to be taken for a header\n" * 20,
        b"PK\x03\x04" + b"\0" * 200,
        b"\x80\x04\x95" + b"\0" * 200,
        b"\xff" * 1000,
        b'{"format": "skgbnf"}',
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
    ],
    ids=["empty", "zeros", "text", "zip", "pickle", "ones", "json", "no arrays", "a list"],
)
def test_a_foreign_file_is_refused(foreign, tmp_path):
    assert_refused(foreign, tmp_path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"version": "1"}])
def test_a_foreign_safetensors_file_is_refused(tmp_path, metadata):
    arrays = {"weight": np.ones((3, 2), dtype=np.float32)}
    assert_refused(safetensors.numpy.save(arrays, metadata), tmp_path, "not written by skgbnf")


# Files written on purpose, their checksum made to fit


def test_a_file_put_together_again_loads(content, tmp_path, model, table2):
    """Otherwise the tests below would show nothing but a wrong checksum."""
    again = loaded(joined(*split(content)), tmp_path)
    assert np.array_equal(again.score_samples(table2), model.score_samples(table2))


@pytest.mark.parametrize("version", ["2", "10", "", "one"])
def test_another_format_version_is_named(content, tmp_path, version):
    metadata, model, arrays = split(content)
    changed = joined({**metadata, "version": version}, model, arrays)
    assert_refused(changed, tmp_path, f"version is '{version}'")


def components(data):
    return data["data"]["fitted"]["combination"]["components"]


def component(data):
    return components(data)[0]["architecture"]


WEIGHTS = "fitted.combination.staged_weights"
SCALE, LOCATION = "fitted.coordinates.scale_", "fitted.coordinates.location_"

LIES = {
    "another class": lambda m, a: m.update({"class": "LinearRegression"}),
    "a class of Python": lambda m, a: m.update({"class": "os.system"}),
    "a class that is a list": lambda m, a: m.update({"class": []}),
    "no data": lambda m, a: m.pop("data"),
    "data of another kind": lambda m, a: m.update({"data": [1, 2]}),
    "an unknown parameter": lambda m, a: m["data"]["parameters"].update({"depth": 3}),
    "a missing parameter": lambda m, a: m["data"]["parameters"].pop("hidden_layer_sizes"),
    "a parameter out of range": lambda m, a: m["data"]["parameters"].update({"tol": -1.0}),
    "an unknown family": lambda m, a: component(m).update({"family": "planar"}),
    "a bound that is none": lambda m, a: component(m).update({"scale_clamp": 0.0}),
    "a family that is a list": lambda m, a: component(m).update({"family": ["nsf"]}),
    "an unknown base": lambda m, a: component(m).update({"base": "cauchy"}),
    "an unknown activation": lambda m, a: component(m).update({"activation": "step"}),
    "an unknown field": lambda m, a: component(m).update({"depth": 3}),
    "another family": lambda m, a: component(m).update({"family": "nsf"}),
    "splines in no known place": lambda m, a: component(m).update({"splines": True}),
    "a negative size": lambda m, a: component(m).update({"hidden_layer_sizes": [-4]}),
    "a size that is a bool": lambda m, a: component(m).update({"n_transforms": True}),
    "a fractional size": lambda m, a: component(m).update({"n_transforms": 1.5}),
    "other layers": lambda m, a: component(m).update({"hidden_layer_sizes": [5]}),
    "other columns": lambda m, a: component(m).update({"n_features": 3}),
    "no components": lambda m, a: components(m).clear(),
    "fewer components": lambda m, a: components(m).pop(),
    "more components": lambda m, a: components(m).append(components(m)[0]),
    "another number of names": lambda m, a: m["data"]["table"].update({"labels": ["a"]}),
    "a seed that is text": lambda m, a: m["data"]["fitted"].update({"seed": "x"}),
    "no weights": lambda m, a: a.pop(WEIGHTS),
    "weights of another shape": lambda m, a: a.update({WEIGHTS: np.ones((1, 3))}),
    "weights that are NaN": lambda m, a: a.update({WEIGHTS: np.full_like(a[WEIGHTS], np.nan)}),
    "weights that are negative": lambda m, a: a.update({WEIGHTS: -a[WEIGHTS]}),
    "a scale of zero": lambda m, a: a.update({SCALE: np.zeros_like(a[SCALE])}),
    "a location that is NaN": lambda m, a: a.update({LOCATION: np.full(2, np.nan)}),
    "a reference that is text": lambda m, a: m["data"]["fitted"].update({"reference_score": "x"}),
    "no reference": lambda m, a: m["data"]["fitted"].pop("reference_score"),
    "an array that belongs to nothing": lambda m, a: a.update({"more": np.ones(1)}),
    "an array in two places": lambda m, a: components(m)[0]["arrays"].update(
        {"more": {"array": WEIGHTS}}
    ),
    "a scale of other columns": lambda m, a: a.update({SCALE: np.ones(3)}),
    "a location that is a number": lambda m, a: a.update({LOCATION: np.float64(1.0)}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_contradicts_itself_is_refused(content, tmp_path, lie):
    metadata, model, arrays = split(content)
    LIES[lie](model, arrays)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    assert_refused(joined(metadata, model, arrays), tmp_path)


SIZES = [
    ("hidden_layer_sizes", [10**9]),
    ("hidden_layer_sizes", [10**5, 10**5]),
    ("hidden_layer_sizes", [1] * 10**5),
    ("hidden_layer_sizes", [10**400]),
    ("n_transforms", 10**9),
    ("n_transforms", 60),
    ("n_features", 10**9),
    ("n_components", 10**9),
]

LOAD_EACH = """
import resource, sys, time, skgbnf
limit = 0
for line in open("/proc/self/status") if sys.platform == "linux" else []:
    if line.startswith("VmSize"):
        limit = int(line.split()[1]) * 1024 + 1_000_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    start = time.perf_counter()
    try:
        skgbnf.load(path)
    except ValueError:
        print("refused" if time.perf_counter() - start < 10 else "too slow", flush=True)
    else:
        print("loaded", flush=True)
"""


@pytest.fixture(scope="module")
def files_whose_sizes_lie(content, tmp_path_factory):
    """What became of each file, and errors, of a process that loads one after the other.

    It may take a gigabyte more than it holds after the imports.
    """
    paths = [tmp_path_factory.mktemp("sizes") / f"{i}.safetensors" for i in range(len(SIZES))]
    for path, (name, value) in zip(paths, SIZES, strict=True):
        metadata, model, arrays = split(content)
        for fitted in components(model):
            fitted["architecture"][name] = value
        path.write_bytes(joined(metadata, model, arrays))
    command = [sys.executable, "-c", LOAD_EACH, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout.split(), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("i", range(len(SIZES)), ids=[f"{n}={str(v)[:12]}" for n, v in SIZES])
def test_sizes_that_lie_are_refused_before_memory_is_taken(files_whose_sizes_lie, i):
    outcomes, errors = files_whose_sizes_lie
    assert outcomes[i : i + 1] == ["refused"], errors


@pytest.mark.parametrize("change", ["no components", "seed", "weights", "NaN"])
def test_models_that_cannot_have_been_fitted_are_refused(content, tmp_path, change):
    metadata, model, arrays = split(content)
    if change == "no components":
        components(model).clear()
        arrays = {k: v for k, v in arrays.items() if ".components." not in k}
        arrays[WEIGHTS] = np.zeros((0, 0))
    elif change == "seed":
        model["data"]["fitted"]["seed"] = float("inf")
    elif change == "weights":
        arrays[WEIGHTS] = 7 * arrays[WEIGHTS]
    else:
        name = next(k for k, v in arrays.items() if ".components." in k and v.dtype.kind == "f")
        arrays[name] = np.full_like(arrays[name], np.nan)
    path = tmp_path / "changed.safetensors"
    path.write_bytes(joined(metadata, model, arrays))
    with pytest.raises(ValueError, match="not a readable skgbnf model"):
        skgbnf.load(path)


def test_an_interrupted_save_leaves_the_file_that_was_there(quick, table2, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    model = quick().fit(table2)
    skgbnf.save(model, path)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            skgbnf.save(model, path)
    np.testing.assert_array_equal(
        skgbnf.load(path).score_samples(table2), model.score_samples(table2)
    )


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_files_of_every_format_version_open(version):
    samples = json.loads((DATA / f"v{version}.json").read_text())
    assert samples
    for name, sample in samples.items():
        model = skgbnf.load(DATA / name)
        scores = model.score_samples(sample["rows"])
        # Rounding differs from machine to machine.
        np.testing.assert_allclose(scores, sample["scores"], rtol=1e-6, atol=1e-6)
        assert np.isfinite(model.sample(10, random_state=0)).all()
