"""Tables of every type of columns come back from their numbers, also through files."""

import copy
import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from skgbnf.table.columns import TableColumns
from skgbnf.table.types import TypeContent, type_name

N = 24
TIMES = pd.date_range("2020-01-31 12:34:56.789", periods=N, freq="37h")
LETTERS = list("bca") * (N // 3)
LEVELS = ["c", "d", "b", "a"]
NUMBERS = np.random.default_rng(0).normal(size=N)
FLAGS = [True, False] * (N // 2)
OFFSET = datetime.timezone(datetime.timedelta(hours=1))


def arrow(dtype):
    return pd.ArrowDtype(dtype)


PANDAS = {
    "int16": pd.Series(range(N), dtype="int16"),
    "UInt8": pd.Series(range(N), dtype="UInt8"),
    "float64": pd.Series(NUMBERS),
    "float32": pd.Series(NUMBERS, dtype="float32"),
    "Float64": pd.Series(NUMBERS, dtype="Float64"),
    "rounded": pd.Series(np.round(NUMBERS, 1)),
    "bool": pd.Series(FLAGS),
    "boolean": pd.Series(FLAGS, dtype="boolean"),
    "category": pd.Series(pd.Categorical(LETTERS, LEVELS)),
    "ordered": pd.Series(pd.Categorical(LETTERS, LEVELS, ordered=True)),
    "category of numbers": pd.Series(pd.Categorical([1, 5, 3] * (N // 3))),
    "category of flags": pd.Series(pd.Categorical(FLAGS)),
    "str": pd.Series(LETTERS),
    "string": pd.Series(LETTERS, dtype="string"),
    "object": pd.Series(LETTERS, dtype=object),
    "object and NaN": pd.Series([np.nan, *LETTERS[1:]], dtype=object),
    "flags as objects": pd.Series(FLAGS, dtype=object),
    "mixed": pd.Series([1, "a", 2.5] * (N // 3), dtype=object),
    "dates": pd.Series(TIMES.date, dtype=object),
    "ns": pd.Series(TIMES.as_unit("ns")),
    "ms": pd.Series(TIMES.as_unit("ms")),
    "s": pd.Series(TIMES.as_unit("s")),
    "zone": pd.Series(TIMES.tz_localize("Europe/Berlin")),
    "offset": pd.Series(TIMES.tz_localize(OFFSET)),
    "timedelta": pd.Series(TIMES - TIMES[0]),
    "constant": pd.Series(["k"] * N),
    "constant number": pd.Series([7] * N),
    "constant time": pd.Series([TIMES[0]] * N),
    "gaps": pd.Series([None] * N, dtype=object),
    "arrow int": pd.Series(range(N), dtype="int64[pyarrow]"),
    "arrow double": pd.Series(NUMBERS, dtype="double[pyarrow]"),
    "arrow bool": pd.Series(FLAGS, dtype="bool[pyarrow]"),
    "arrow string": pd.Series(LETTERS, dtype=arrow(pa.string())),
    "arrow zone": pd.Series(TIMES, dtype=arrow(pa.timestamp("us", "UTC"))),
    "arrow date": pd.Series(TIMES.date, dtype=arrow(pa.date32())),
    "arrow duration": pd.Series(TIMES - TIMES[0], dtype=arrow(pa.duration("ns"))),
    "arrow dictionary": pd.Series(LETTERS, dtype=arrow(pa.dictionary(pa.int8(), pa.string()))),
}


def polars_frame():
    moments = TIMES.to_pydatetime().tolist()
    return pl.DataFrame(
        {
            "Int16": pl.Series(range(N), dtype=pl.Int16),
            "UInt64": pl.Series(range(N), dtype=pl.UInt64),
            "Float64": NUMBERS,
            "Float32": pl.Series(NUMBERS, dtype=pl.Float32),
            "String": LETTERS,
            "Boolean": FLAGS,
            "Categorical": pl.Series(LETTERS, dtype=pl.Categorical),
            "Enum": pl.Series(LETTERS, dtype=pl.Enum(LEVELS)),
            "Date": TIMES.date.tolist(),
            "Datetime": pl.Series(moments, dtype=pl.Datetime("us")),
            "ms": pl.Series(moments, dtype=pl.Datetime("ms")),
            "zone": pl.Series(moments, dtype=pl.Datetime("us")).dt.replace_time_zone("Asia/Tokyo"),
            "Duration": pl.Series((TIMES - TIMES[0]).to_pytimedelta().tolist()),
            "Null": pl.Series([None] * N, dtype=pl.Null),
        }
    )


def arrow_table():
    numbers = pa.array(NUMBERS)
    return pa.table(
        {
            "uint8": pa.array(range(N), pa.uint8()),
            "double": numbers,
            "halffloat": pa.array(NUMBERS.astype(np.float16)),
            "bool": FLAGS,
            "string": LETTERS,
            "large": pa.array(LETTERS, pa.large_string()),
            "dictionary": pa.array(LETTERS).dictionary_encode(),
            "of numbers": pa.array([5, 3, 4] * (N // 3)).dictionary_encode(),
            "date32": TIMES.date.tolist(),
            "date64": pa.array(TIMES.date.tolist(), pa.date64()),
            "timestamp": pa.array(TIMES, pa.timestamp("ns")),
            "zone": pa.array(TIMES.tz_localize("UTC"), pa.timestamp("ms", "America/Lima")),
            "duration": pa.array(TIMES - TIMES[0], pa.duration("us")),
            "null": pa.nulls(N),
        }
    )


def with_gap(table):
    """The table with a gap in its fourth row, where its types have gaps."""
    if isinstance(table, pl.DataFrame):
        keep = pl.int_range(N) != 3
        return table.select(pl.when(keep).then(pl.col(c)).alias(c) for c in table.columns)
    index = pa.array([None if i == 3 else i for i in range(N)])
    return pa.table({name: table[name].combine_chunks().take(index) for name in table.schema.names})


def round_trip(table):
    found = TableColumns.from_table(table, range(table.shape[1]))
    again = TableColumns.from_plain(found.to_plain())
    assert (again.table, again.columns) == (found.table, found.columns)
    rows = again.rows(table)
    assert again.unseen(rows) == []
    restored = again.restore(rows)
    np.testing.assert_array_equal(again.rows(restored), rows)
    np.testing.assert_array_equal(again.rows(again.values(rows)), rows)
    return restored


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("name", PANDAS)
def test_every_type_of_pandas_comes_back(name, gap):
    series = PANDAS[name].copy()
    if gap:
        as_integers = {"int16": "Int16", "constant number": "Int64", "bool": "boolean"}
        series = series.astype(as_integers.get(name, series.dtype))
        series.iloc[3] = np.nan if name == "object and NaN" else None
    table = pd.DataFrame({"c": series})
    pd.testing.assert_frame_equal(round_trip(table), table)


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("make", [polars_frame, arrow_table])
def test_every_type_of_polars_and_pyarrow_comes_back(make, gap):
    table = with_gap(make()) if gap else make()
    restored = round_trip(table)
    if isinstance(table, pl.DataFrame):
        assert restored.schema == table.schema
    for name in [*table.schema] if isinstance(table, pl.DataFrame) else table.schema.names:
        assert restored[name].equals(table[name]), name


def test_record_batches_and_chunks_are_read():
    table = with_gap(arrow_table())
    found = TableColumns.from_table(table, [])
    batch = table.to_batches()[0]
    if hasattr(batch, "shape"):  # before pyarrow 15 it was no table
        np.testing.assert_array_equal(found.rows(batch), found.rows(table))
    other = pa.table({"dictionary": pa.array(["d", "b"]).dictionary_encode()})
    chunks = pa.concat_tables([table.select(["dictionary"]), other])
    found = TableColumns.from_table(chunks, [])
    assert found.restore(found.rows(chunks))["dictionary"].to_pylist() == (
        chunks["dictionary"].to_pylist()
    )


def test_columns_of_numbers_take_gaps_that_they_had_not_in_fit():
    table = pd.DataFrame({name: PANDAS[name] for name in ("int16", "bool", "float32", "str")})
    found = TableColumns.from_table(table, [])
    rows = found.rows(table)
    rows[3] = np.nan
    restored = found.restore(rows)
    assert restored.dtypes.astype(str).tolist()[:3] == ["Int16", "boolean", "float32"]
    assert restored.iloc[3].isna().all()
    assert restored.drop(index=3).astype(table.dtypes).equals(table.drop(index=3))


@pytest.mark.parametrize("container", ["pandas", "polars", "pyarrow"])
def test_tables_are_restored_in_other_libraries(container):
    table = pd.DataFrame(PANDAS)
    found = TableColumns.from_table(table, [])
    rows = found.rows(table)
    restored = found.restore(rows, container)
    same = [name for name in PANDAS if name != "mixed" or container == "pandas"]
    again = TableColumns.from_table(restored, []).rows(restored)
    chosen = [list(PANDAS).index(name) for name in same if "category" not in name]
    np.testing.assert_array_equal(again[:, chosen], rows[:, chosen])
    with pytest.raises(ValueError, match="container must be one of"):
        found.restore(rows, "csv")


def test_a_table_of_objects_becomes_a_frame_of_pandas_or_an_array():
    day = datetime.date(2020, 1, 1)
    cells = np.array([[1, "a", True, day, 2.5], [2, None, False, day, np.nan]] * 6, dtype=object)
    found = TableColumns.from_table(cells, range(5))
    restored = found.restore(found.rows(cells))
    assert restored.columns.tolist() == ["x0", "x1", "x2", "x3", "x4"]
    assert restored.dtypes.astype(str).tolist() == [
        "int64",
        "object",
        "object",
        "object",
        "float64",
    ]
    expected = pd.DataFrame(cells)
    assert (restored.isna().to_numpy() == expected.isna().to_numpy()).all()
    for values in (found.values(found.rows(cells)), found.restore(found.rows(cells), "numpy")):
        kept = ~expected.isna().to_numpy()
        assert (values[kept] == cells[kept]).all()
        assert all(map(np.isnan, values[~kept]))
        assert [*map(type, values[0])] == [int, str, bool, datetime.date, float]


@pytest.mark.parametrize("dtype", ["<U3", "datetime64[D]", "timedelta64[h]", "bool", "float32"])
def test_arrays_of_one_type(dtype):
    array = np.arange(40).reshape(20, 2).astype(dtype)
    found = TableColumns.from_table(array, [0, 1])
    rows = found.rows(array)
    restored = found.restore(rows)
    np.testing.assert_array_equal(found.rows(restored), rows)
    assert (restored.to_numpy().astype(dtype) == array).all()


def test_sampled_numbers_are_moved_to_possible_values():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "count": np.r_[0, rng.poisson(20, 299)],
            "stars": rng.integers(1, 6, 300),
            "price": np.round(rng.lognormal(0, 1, 300), 2),
            "month": np.round(np.arange(300) % 70 / 12, 5),
            "zero": np.where(rng.random(300) < 0.5, 0.0, np.round(rng.lognormal(size=300), 1)),
            "day": pd.Timestamp("2024") + pd.to_timedelta(rng.integers(0, 30, 300), "D"),
            "kind": rng.choice(["a", "b"], 300),
            "flag": rng.random(300) < 0.5,
        }
    )
    found = TableColumns.from_table(table, [])
    noon = pd.Timestamp("2024-02-01 11:00").timestamp()
    rows = np.array(
        [[-3.3, 2.2, 1.23456, 1.34, 0.0, noon, 1.0, 0], [98.6, -1, 0.1 + 0.2, 0.7, 0.26, 0, -1, 1]]
    )
    restored = found.restore(rows)
    assert restored["count"].tolist() == [0, 99]
    assert restored["stars"].tolist() == [3, pd.NA]
    assert restored["price"].tolist() == [1.23, 0.3]
    assert restored["month"].tolist() == [1.33333, 0.66667]
    assert restored["zero"].tolist() == [0.0, 0.3]
    assert restored["day"].tolist() == [pd.Timestamp("2024-02-01"), pd.Timestamp("1970-01-01")]
    assert restored["kind"].isna().tolist() == [False, True]
    assert restored["kind"][0] == "b"
    assert restored["flag"].tolist() == [False, True]


def test_times_far_outside_the_calendar_stop_at_its_ends():
    for unit in ("s", "ns"):
        table = pd.DataFrame({"day": pd.Series(TIMES.as_unit(unit)), "size": NUMBERS})
        found = TableColumns.from_table(table, [])
        restored = found.restore(np.array([[1e15, 0.0], [-1e15, 0.0]]))
        assert restored["day"].is_monotonic_decreasing
        assert found.values(np.array([[1e15, 0.0]]))[0, 0].year == 9999


def test_requested_kinds_keep_their_types():
    table = pd.DataFrame(
        {
            "size": pd.Categorical(LETTERS, LEVELS),
            "marks": pd.Categorical([1, 2, 4] * (N // 3)),
            "grade": pd.Categorical([1, 2, 4] * (N // 3)),
            "zip": [10115, 20095] * (N // 2),
            "day": pd.Series(TIMES.normalize()),
        }
    )
    requested = {
        "size": "ordinal", "marks": "ordinal", "grade": "continuous", "zip": "categorical",
        "day": "categorical",
    }  # fmt: skip
    found = TableColumns.from_table(table, [], requested)
    restored = found.restore(found.rows(table))
    for name in ("size", "zip", "day"):
        pd.testing.assert_series_equal(restored[name], table[name])
    # The categories are those of the grid; of what is continuous there are none.
    assert restored["marks"].cat.categories.tolist() == [1, 2, 3, 4]
    assert restored["marks"].astype(int).tolist() == table["marks"].astype(int).tolist()
    assert restored["grade"].tolist() == table["grade"].tolist()


# Names of types


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("datetime64[ns]", TypeContent("datetime", "ns")),
        ("datetime64[us, America/Lima]", TypeContent("datetime", "us", "America/Lima")),
        ("datetime64[s, UTC+01:00]", TypeContent("datetime", "s", "UTC+01:00")),
        ("timestamp[ms, tz=UTC][pyarrow]", TypeContent("datetime", "ms", "UTC")),
        ("Datetime(time_unit='us', time_zone='UTC')", TypeContent("datetime", "us", "UTC")),
        ("Datetime(time_unit='us', time_zone=None)", TypeContent("datetime", "us")),
        ("Duration(time_unit='ms')", TypeContent("duration", "ms")),
        ("timedelta64[s]", TypeContent("duration", "s")),
        ("category[ordered]", TypeContent("levels", ordered=True)),
        ("dictionary<values=string, indices=int32, ordered=0>", TypeContent("levels")),
        ("date32[day]", TypeContent("date")),
        ("Date", TypeContent("date")),
        ("object[date]", TypeContent("date")),
        ("object", TypeContent("text")),
        ("UInt8", TypeContent("integer")),
        ("halffloat", TypeContent("number")),
    ],
)
def test_types_tell_what_they_hold(name, expected):
    assert TypeContent.of(name) == expected


def test_types_that_cannot_be_made_again():
    assert type_name("pandas", pd.PeriodDtype("D")) == "float64"
    assert type_name("polars", pl.List(pl.Int8)) == "Float64"
    assert type_name("pyarrow", pa.list_(pa.int8())) == "double"
    assert type_name("numpy", np.dtype("datetime64[D]")) == "datetime64[s]"


# Files


@pytest.fixture(scope="module")
def plain():
    """All that a file holds, of every kind of columns."""
    rng = np.random.default_rng(0)
    names = ["category", "str", "bool", "int16", "zone", "rounded", "constant", "gaps"]
    table = pd.DataFrame({name: PANDAS[name] for name in names})
    table["angle"] = np.arange(N)
    table["spent"] = np.where(rng.random(N) < 0.5, 0.0, rng.lognormal(size=N))
    table["rating"] = [1, 2, 3] * (N // 3)
    requested = {"angle": "periodic", "spent": "mixed"}
    return TableColumns.from_table(table, [], requested).to_plain()


def parts_of(plain, path=()):
    """Paths to all parts of a tree."""
    yield path
    if isinstance(plain, dict | list):
        for key in plain if isinstance(plain, dict) else range(len(plain)):
            yield from parts_of(plain[key], (*path, key))


JUNK = [
    None, -1, 0, 3, 2**70, 1e308, float("nan"), float("inf"), "", "x", "int64", "category", True,
    [], ["a"], ["a", "a"], [[1]], [float("nan")], {}, {"a": 1}, np.zeros(3),
    np.zeros((2, 11), bool),
]  # fmt: skip


def test_foreign_parts_in_a_file_are_refused_or_harmless(plain):
    refused = 0
    for i, path in enumerate(parts_of(plain)):
        for junk in JUNK[i % 3 :: 3]:
            changed = {"plain": copy.deepcopy(plain)}
            place = changed
            for key in ("plain", *path)[:-1]:
                place = place[key]
            place[("plain", *path)[-1]] = junk
            try:
                found = TableColumns.from_plain(changed["plain"])
            except (LookupError, TypeError, ValueError, AttributeError):
                refused += 1
                continue
            try:
                found.restore(np.zeros((2, len(found.columns))))
            except ValueError:
                # A time zone or a name that only its library can judge.
                assert path[0] == "table"
            assert len(found.summary()) == len(found.columns)
    assert refused > 300


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (0, {"levels": []}),
        (0, {"levels": ["a", "a"]}),
        (0, {"levels": [None]}),
        (0, {"levels": [[1]]}),
        (0, {"levels": [float("inf")]}),
        (0, {"kind": "ordered"}),
        (0, {"unit": "days"}),
        (3, {"step": 0.0}),
        (3, {"step": -1.0}),
        (3, {"lowest": 9.0, "highest": 3.0}),
        (3, {"decimals": 99}),
        (8, {"period": 0.0}),
        (9, {"atoms": []}),
        (9, {"atoms": [1.0, 0.0]}),
        (9, {"atoms": [float("nan")]}),
    ],
)
def test_columns_that_make_no_sense_are_refused(plain, number, changes):
    changed = copy.deepcopy(plain)
    changed["columns"][number] |= changes
    with pytest.raises(ValueError, match=r"column|finite"):
        TableColumns.from_plain(changed)
