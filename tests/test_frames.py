"""Data frames in, and samples as data frames of the same kind."""

import datetime
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

import skgbnf
from skgbnf import FlowBayesClassifier, FlowOutlierDetector
from skgbnf.diagnostics import gaussian_reference_score, jacobian_report
from skgbnf.table.dequantisation import DegenerateDataWarning, Dequantisation
from skgbnf.table.frames import Description, make_frame

LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}


@pytest.fixture(scope="module")
def columns():
    """Columns of five types, 200 rows."""
    rng = np.random.default_rng(0)
    return {
        "count": rng.poisson(3, size=200),
        "flag": rng.random(200) < 0.4,
        "single": rng.normal(size=200).astype(np.float32),
        "half steps": rng.integers(0, 9, size=200) / 2,
        "double": rng.normal(size=200),
    }


@pytest.fixture(scope="module")
def affine(quick):
    def make(**parameters):
        return quick(**{"flow": "affine", "n_estimators": 1, "dequantize": True, **parameters})

    return make


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("library", LIBRARIES)
def test_dates_and_durations_are_refused(affine, library, missing):
    days = list(pd.date_range("2020-01-01", periods=20))
    if missing:
        days[3] = None
    frame = LIBRARIES[library]({"day": days, "size": np.arange(20.0)})
    with pytest.raises(ValueError, match="X: column 'day' holds dates or durations"):
        affine().fit(frame)
    model = affine().fit(np.column_stack([np.arange(20.0), np.arange(20.0) ** 2]))
    for times in ("datetime64[ns]", "timedelta64[s]"):
        with pytest.raises(ValueError, match="holds? dates or durations"):
            model.score_samples(np.ones((3, 2)).astype("int64").astype(times))


def test_numbers_whose_types_sound_like_dates_are_taken(affine):
    levels = [str(k) for k in range(5)] + ["daytime"]
    codes = np.arange(40) % 5
    frame = pl.DataFrame({"level": [levels[k] for k in codes], "size": np.arange(40.0)})
    frame = frame.with_columns(pl.col("level").cast(pl.Enum(levels)))
    assert affine().fit(frame).n_features_in_ == 2


def test_dates_are_refused_among_held_out_rows_in_lists_and_by_diagnostics(affine):
    rows = np.column_stack([np.arange(20.0), np.arange(20.0) ** 2])
    frame = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=20), "size": range(20)})
    model = affine().fit(rows)
    for ask in (
        lambda: affine().fit(rows, X_val=frame),
        lambda: model.score_samples([[np.datetime64("2020-01-01")] * 2]),
        lambda: gaussian_reference_score(frame),
        lambda: jacobian_report(model, frame),
    ):
        with pytest.raises(ValueError, match="holds? dates or durations"):
            ask()


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_frame_comes_back_in_its_library_names_and_types(affine, columns, library):
    table = LIBRARIES[library](columns)
    model = affine().fit(table)
    frame = model.sample_frame(50, random_state=1)
    assert type(frame) is type(table)
    assert list(frame.columns) == list(columns)
    assert list(frame.dtypes) == list(table.dtypes)
    rows = model.sample(50, random_state=1)
    # No count that was not seen, one below zero say.
    seen = {name: (min(column), max(column)) for name, column in columns.items()}
    assert np.array_equal(frame["count"], np.round(rows[:, 0]).clip(*seen["count"]))
    assert np.array_equal(frame["flag"], rows[:, 1] > 0.5)
    assert np.array_equal(frame["single"], rows[:, 2].astype(np.float32))
    halves = np.round(2 * rows[:, 3]) / 2
    assert np.array_equal(frame["half steps"], halves.clip(*seen["half steps"]))
    assert np.array_equal(frame["double"], rows[:, 4])
    assert np.isfinite(model.score_samples(frame)).all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_names_are_kept_and_checked(affine, columns, library):
    table = LIBRARIES[library](columns)
    model = affine().fit(table)
    assert model.feature_names_in_.tolist() == list(columns)
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(table[list(columns)[::-1]])
    assert model.set_params(bounds={"count": (0, None)}).fit(table).bounds_[0, 0] == 0


def test_both_libraries_give_the_density_of_the_array(affine, columns):
    array = np.column_stack([column.astype(float) for column in columns.values()])
    expected = affine().fit(array).score_samples(array)
    for make in LIBRARIES.values():
        table = make(columns)
        assert np.array_equal(affine().fit(table).score_samples(table), expected)


def test_nullable_types_of_pandas_come_back(affine, columns):
    types = {"count": "Int16", "flag": "boolean", "double": "Float64"}
    table = pd.DataFrame(columns).astype(types)
    frame = affine().fit(table).sample_frame(5, random_state=0)
    assert list(frame.dtypes) == list(table.dtypes)


def test_a_table_of_booleans_alone(affine, columns):
    for make in LIBRARIES.values():
        table = make({"flag": columns["flag"], "other": columns["count"] > 2})
        frame = affine().fit(table).sample_frame(2000, random_state=0)
        assert list(frame.dtypes) == list(table.dtypes)
        assert frame["flag"].mean() == pytest.approx(columns["flag"].mean(), abs=0.1)


@pytest.mark.quick
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_an_array_gives_a_frame_of_pandas(affine, dtype):
    X = np.random.default_rng(0).integers(0, 9, size=(100, 2)).astype(dtype)
    frame = affine().fit(X).sample_frame(4, random_state=0)
    assert list(frame.columns) == ["x0", "x1"]
    assert (frame.dtypes == dtype).all()


def test_a_frame_of_pandas_without_names_has_none_afterwards(affine, columns):
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)))
    assert list(affine().fit(table).sample_frame().columns) == [0, 1]


def test_draws_are_those_of_sample(affine, columns):
    model = affine().fit(pd.DataFrame(columns))
    assert model.sample_frame().shape == (1, 5)
    first, second = (model.sample_frame(9, random_state=seed) for seed in (0, 1))
    assert first.equals(model.sample_frame(9, random_state=0))
    assert not first.equals(second)


@pytest.mark.parametrize("library", LIBRARIES)
def test_files_pickles_and_refits(affine, columns, tmp_path, library):
    table = LIBRARIES[library](columns)
    model = affine().fit(table)
    frame = model.sample_frame(9, random_state=0)
    skgbnf.save(model, tmp_path / "model")
    for again in (skgbnf.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert again.sample_frame(9, random_state=0).equals(frame)
    array = np.column_stack([column.astype(float) for column in columns.values()])
    again = clone(model).fit(array)
    assert (again.container_, again.dtypes_) == ("numpy", ["float64"] * 5)


def test_a_missing_library_is_named(affine, columns, monkeypatch):
    model = affine().fit(pl.DataFrame(columns))

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("skgbnf.table.frames.import_module", missing)
    with pytest.raises(ImportError, match=r"needs polars: pip install 'skgbnf\[polars\]'"):
        model.sample_frame()


# The pieces


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("uint8", [-3.0, 2.5, 3.5, 300.0]),
        ("int64", [-1e300, -0.4, 0.6, 1e300]),
        ("uint64", [-1.0, 0.0, 7.2, 1e300]),
    ],
)
def test_integers_stay_within_their_range(dtype, values):
    table = Description("numpy", [dtype], [0], [None])
    column = make_frame(np.array(values)[:, None], table)["x0"]
    limits = np.iinfo(dtype)
    expected = [min(max(round(value), limits.min), limits.max) for value in values]
    assert column.dtype == dtype
    # The largest of 64 bits is no float64; the one below it is 1,024 or 2,048 less.
    assert all(abs(int(a) - b) <= 2048 * (b > 2**60) for a, b in zip(column, expected, strict=True))


def test_values_are_moved_to_the_nearest_of_their_grid():
    k = np.random.default_rng(0).poisson(20, size=500)
    known = np.column_stack(
        [0.25 + 0.5 * (k - 40), np.random.default_rng(1).normal(size=500), 0.1 * k]
    )
    noise = Dequantisation.from_rows(known, True, [0, 1, 2])
    rows = np.array([[0.9, 0.9, 0.93], [-7.7, -7.7, -7.7], [1e9 + 0.3, 0.0, 1e9]])
    limits = np.array([[-np.inf, -8.0, -np.inf], [np.inf, np.inf, 2.0]])
    snapped = noise.snap(rows, limits, np.zeros(3, bool))
    # A column that was never below zero stays there, and all stay within bounds.
    np.testing.assert_allclose(
        snapped, [[0.75, 0.9, 0.9], [-7.75, -7.7, 0.0], [1e9 + 0.25, 0, 2.0]]
    )


def test_types_that_cannot_be_given_back_are_float64():
    names = ["a", "b"]
    table = pd.DataFrame({"a": pd.interval_range(0, 2), "b": [1, 2]})
    expected = Description("pandas", ["float64", "int64"], names, [None])
    assert Description.of(table, [0, 1]) == expected
    table = pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Decimal(10, 2)), "b": [1, 2]})
    expected = Description("polars", ["Float64", "Int64"], names, [None])
    assert Description.of(table, [0, 1]) == expected
    expected = Description("numpy", ["float64"] * 2, [0, 1], [None])
    assert Description.of([[1, 2]], [0, 1]) == expected


@pytest.mark.parametrize(
    ("container", "dtypes"),
    [
        ("os", ["float64"]),
        ("polars", ["DataFrame"]),
        ("pandas", ["float64", "float64"]),
        ("pandas", "float64"),
        ("pandas", [3]),
    ],
)
def test_foreign_descriptions_in_a_file_are_refused(container, dtypes):
    plain = {"container": container, "dtypes": dtypes, "labels": ["a"], "level_names": [None]}
    with pytest.raises(ValueError, match="it names an unknown kind|types"):
        Description.from_plain(plain)


@pytest.mark.parametrize(
    ("labels", "level_names"),
    [
        (["a", "b"], [None]),
        (["a"], ["u", "v"]),
        ([{"tuple": ["a", 1, 2]}], ["u", "v"]),
        ([["a"]], [None]),
        ([{"set": ["a"]}], [None]),
        ([{"date": "no day"}], [None]),
        ([{"date": 3}], [None]),
    ],
)
def test_foreign_labels_in_a_file_are_refused(labels, level_names):
    plain = {
        "container": "pandas", "dtypes": ["float64"], "labels": labels, "level_names": level_names
    }  # fmt: skip
    with pytest.raises(ValueError, match="label|isoformat"):
        Description.from_plain(plain)


# Labels of columns


LABELS = {
    "years": [2019, 2020],
    "positions turned": [1, 0],
    "strings and numbers": ["a", 2020],
    "numbers with a fraction": [0.5, 1.5],
    "booleans": [True, False],
    "days": [*pd.date_range("2020-01-01", periods=2)],
    "dates": [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)],
    "tuples": pd.MultiIndex.from_tuples([("a", 1), ("b", 1)], names=["kind", None]),
    "the same twice": ["a", "a"],
    "nothing": [None, "b"],
    "not a number": [float("nan"), 3.0],
}


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(60, 2))


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_come_back(affine, rows, kind, tmp_path):
    table = pd.DataFrame(rows, columns=LABELS[kind])
    model = affine().fit(table)
    skgbnf.save(model, tmp_path / "model")
    for again in (model, skgbnf.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        frame = again.sample_frame(3, random_state=0)
        assert frame.columns.equals(table.columns)
        assert frame.columns.names == table.columns.names
        assert np.array_equal(again.score_samples(table), model.score_samples(rows))


@pytest.mark.parametrize("kind", sorted(LABELS.keys() - {"the same twice"}))
def test_other_labels_than_in_fit_are_refused(affine, rows, kind):
    table = pd.DataFrame(rows, columns=LABELS[kind])
    turned = table.iloc[:, ::-1]
    model = affine().fit(table)
    for ask in (
        lambda: model.score_samples(turned),
        lambda: model.set_params(warm_start=True).fit(turned),
        lambda: jacobian_report(model, turned),
    ):
        with pytest.raises(ValueError, match="X: column 0 is named .* in fit"):
            ask()
    with pytest.raises(ValueError, match="X_val: column 0 is named .* in fit"):
        affine().fit(table, X_val=turned)
    detector = FlowOutlierDetector(affine()).fit(table)
    classifier = FlowBayesClassifier(affine()).fit(table, np.arange(60) % 2)
    assert np.isfinite(detector.score_samples(table)).all()
    for wrapper in (detector, classifier):
        with pytest.raises(ValueError, match="X: column 0 is named"):
            wrapper.predict(turned)


def test_arrays_and_frames_without_names_go_together(affine, rows):
    model = affine().fit(rows)
    expected = model.score_samples(rows)
    assert np.array_equal(model.score_samples(pd.DataFrame(rows, columns=[2019, 2020])), expected)
    model = affine().fit(pd.DataFrame(rows))
    assert np.array_equal(model.score_samples(rows), expected)
    with pytest.raises(ValueError, match="X: column 0 is named 1, but 0 in fit"):
        model.score_samples(pd.DataFrame(rows)[[1, 0]])


def test_warnings_and_errors_call_columns_by_their_labels(affine, rows):
    table = pd.DataFrame(rows, columns=[2019, 2020]).assign(**{"text": 1.0})
    table.columns = [2019, 2020, ("a", 1)]
    with pytest.warns(DegenerateDataWarning, match=r"Columns \[\('a', 1\)\] are constant"):
        affine().fit(table)
    with pytest.raises(ValueError, match="column 2020 holds .*outside its bounds"):
        affine(bounds={2020: (0, None)}).fit(table[[2019, 2020]])
    table[2020] = np.nan
    with pytest.raises(ValueError, match="X: column 2020 holds missing values"):
        affine().fit(table)


def test_a_label_that_no_file_holds_is_refused_by_name(affine, rows, tmp_path):
    table = pd.DataFrame(rows, columns=pd.period_range("2020", periods=2, freq="D"))
    model = affine().fit(table)
    assert model.sample_frame().columns.equals(table.columns)
    with pytest.raises(ValueError, match=r"column name Period\('2020-01-01', 'D'\) cannot"):
        skgbnf.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


# pyarrow


@pytest.fixture(scope="module")
def pa():
    return pytest.importorskip("pyarrow")


def test_a_table_of_pyarrow_fits_all_and_comes_back(affine, columns, pa, tmp_path):
    table = pa.table(columns)
    model = affine().fit(table)
    frame = model.sample_frame(20, random_state=0)
    assert frame.schema.equals(table.schema)
    rows = model.sample(20, random_state=0)
    assert np.array_equal(frame["single"].to_numpy(), rows[:, 2].astype(np.float32))
    skgbnf.save(model, tmp_path / "model")
    assert skgbnf.load(tmp_path / "model").sample_frame(20, random_state=0).equals(frame)
    expected = affine().fit(pd.DataFrame(columns)).score_samples(pd.DataFrame(columns))
    assert np.array_equal(model.score_samples(table), expected)
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(table.select(table.schema.names[::-1]))


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_detectors_and_classifiers_take_frames(affine, rows, library):
    module, y = pytest.importorskip(library), np.arange(60) % 2
    make = module.table if library == "pyarrow" else module.DataFrame
    table = make({"a": rows[:, 0], "b": rows[:, 1]})
    for wrapper in (FlowOutlierDetector(affine(), random_state=0), FlowBayesClassifier(affine())):
        fitted = wrapper.fit(table, y)
        assert fitted.feature_names_in_.tolist() == ["a", "b"]
        scores = fitted.score_samples(table)
        assert np.array_equal(scores, clone(wrapper).fit(rows, y).score_samples(rows))
