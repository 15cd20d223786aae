"""Kinds of columns, found and asked for, and tables as matrices of numbers."""

import datetime
import decimal
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skgbnf.table.cells import read_columns
from skgbnf.table.columns import TableColumns
from skgbnf.table.requested import requested_from_plain, requested_to_plain

N = 400


def column_of(values, requested=None, **parameters):
    """What a frame with that column alone is found to hold."""
    frame = pd.DataFrame({"c": values})
    requested = None if requested is None else {"c": requested}
    return TableColumns.from_table(frame, ["c"], requested, **parameters).columns[0]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def shop(rng):
    """A table as people have them."""
    frame = pd.DataFrame(
        {
            "price": np.round(rng.lognormal(3, 1, N), 2),
            "weight": rng.normal(70, 10, N),
            "stars": rng.integers(1, 6, N),
            "visits": rng.poisson(0.3 * rng.lognormal(0, 1, N)),
            "kind": rng.choice(["toy", "book", "tool"], N),
            "size": pd.Categorical(rng.choice(["S", "L"], N), ["S", "M", "L"], ordered=True),
            "member": rng.random(N) < 0.3,
            "spent": np.where(rng.random(N) < 0.4, 0.0, rng.lognormal(2, 1, N)),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, N), "D"),
            "rooms": np.where(rng.random(N) < 0.2, np.nan, rng.integers(1, 9, N)),
            "country": "FR",
            "version": 3,
        }
    )
    frame.loc[5, "kind"] = None
    return frame


# Kinds by rule


def test_kinds_of_a_table_as_people_have_them(shop):
    found = TableColumns.from_table(shop, list(shop))
    columns = dict(zip(shop, found.columns, strict=True))
    assert {name: column.kind for name, column in columns.items()} == {
        "price": "continuous", "weight": "continuous", "stars": "ordinal", "visits": "ordinal",
        "kind": "categorical", "size": "categorical", "member": "categorical", "spent": "mixed",
        "day": "continuous", "rooms": "ordinal", "country": "constant", "version": "constant",
    }  # fmt: skip
    assert columns["kind"].levels == ("book", "tool", "toy")
    assert columns["size"].levels == ("S", "M", "L")
    assert columns["member"].levels == (False, True)
    assert columns["country"].levels == ("FR",)
    assert columns["version"].levels == (3,)
    assert columns["stars"].levels == (1, 2, 3, 4, 5)
    assert (columns["rooms"].lowest, columns["rooms"].highest) == (1, 8)
    assert (columns["visits"].lowest, columns["visits"].highest) == (0, math.inf)
    assert columns["visits"].levels == ()
    assert columns["spent"].atoms == (0.0,)
    assert columns["spent"].step == columns["weight"].step == 0
    assert columns["price"].step == pytest.approx(0.01)
    assert (columns["day"].step, columns["day"].unit) == (86400.0, "seconds")


def test_the_same_table_is_found_in_every_library(shop):
    shop = shop.assign(size=shop["size"].astype(str), day=shop["day"].astype("datetime64[us]"))
    expected = TableColumns.from_table(shop, list(shop))
    for other in (pl.from_pandas(shop), pl.from_pandas(shop).to_arrow()):
        found = TableColumns.from_table(other, list(shop))
        assert found.columns == expected.columns
        np.testing.assert_array_equal(found.rows(other), expected.rows(shop))
    cells = shop.astype(object).to_numpy()
    found = TableColumns.from_table(cells, list(shop))
    assert found.columns == expected.columns
    np.testing.assert_array_equal(found.rows(cells), expected.rows(shop))
    as_lists = TableColumns.from_table(cells.tolist(), list(shop))
    assert as_lists.columns == expected.columns


@pytest.mark.parametrize(
    ("counts", "closed"),
    [
        ([20, 60, 90, 60, 20], True),  # ratings: a fourth of what is before, 20/3 expected behind
        ([100, 200, 300, 400, 500], True),
        ([147, 147, 74, 25, 6], False),  # 400 draws of a Poisson distribution
        ([500, 250, 125, 62, 31], True),  # halves: 31 more behind, none seen
        ([200, 100, 30, 4], False),
    ],
)
def test_an_ordinal_ends_where_more_values_would_have_been_seen(counts, closed):
    x = np.repeat(np.arange(2, len(counts) + 2), counts).astype(float)
    for values, end in ((x, "highest"), (10 - x, "lowest")):
        column = column_of(values)
        assert math.isfinite(getattr(column, end)) == closed


def test_ends_of_an_ordinal_are_closed_where_many_rows_are(rng):
    counts = rng.poisson(20, 1000)
    assert (column_of(counts).lowest, column_of(counts).highest) == (-math.inf, math.inf)
    capped = column_of(counts.clip(15, 22))
    assert (capped.lowest, capped.highest, capped.levels) == (15, 22, (*range(15, 23),))
    assert column_of(counts - counts.min() + 1).lowest == 1
    assert column_of(counts - counts.min() - 1).lowest == -math.inf
    wide = column_of(np.repeat(np.arange(100), 10))
    assert (wide.lowest, wide.highest, wide.levels) == (0, 99, ())


def test_levels_of_an_ordinal_have_no_holes(rng):
    column = column_of(rng.choice([2, 4, 10], 300))
    assert (column.kind, column.step, column.levels) == ("ordinal", 2, (2, 4, 6, 8, 10))
    odd = column_of(rng.choice([3, 5, 9], 300).astype(float))
    assert (odd.step, odd.origin, odd.levels) == (2, 1, (3, 5, 7, 9))


def test_atoms_stand_out_of_their_neighbours(rng):
    """The values at the mode of counts are no atoms, however many rows they hold."""
    long_tailed = np.round(rng.lognormal(2, 1.5, 5000))
    assert column_of(long_tailed).kind == "ordinal"
    heaped = np.where(rng.random(5000) < 0.3, 30, rng.poisson(40, 5000))
    inflated = np.where(rng.random(5000) < 0.3, 0, np.round(rng.lognormal(5, 1, 5000)))
    assert column_of(heaped).atoms == (30.0,)
    assert column_of(inflated).atoms == (0.0,)
    assert column_of(inflated).step == 1
    capped = rng.normal(size=5000).clip(-1.5, 1.2)
    assert column_of(capped).atoms == (-1.5, 1.2)


def test_codes_far_away_are_atoms(rng):
    values = rng.normal(size=500)
    values[:20] = -9999
    assert column_of(values).atoms == (-9999.0,)
    coded = column_of(np.where(rng.random(500) < 0.1, 999, rng.integers(0, 5, 500)))
    assert (coded.kind, coded.atoms, coded.step) == ("mixed", (999.0,), 1)


def test_at_most_five_atoms_are_taken_the_most_frequent():
    values = np.r_[np.arange(400) + 0.5, np.repeat(np.arange(8) * 50.0, range(100, 180, 10))]
    assert column_of(values, "mixed").atoms == (150.0, 200.0, 250.0, 300.0, 350.0)


def test_weights_decide_what_is_frequent(rng):
    values = np.where(np.arange(1000) < 20, 0.0, rng.normal(5, 1, 1000))
    weights = np.where(values == 0, 20.0, 1.0)
    assert column_of(values).kind == "continuous"
    assert column_of(values, weights=weights).atoms == (0.0,)


@pytest.mark.parametrize(
    ("values", "step", "decimals"),
    [
        (np.arange(300) % 40 / 8, 0.125, 3),
        (np.round(np.arange(300) % 40 / 12, 5), 1 / 12, 5),
        (np.round(np.arange(300) % 90 * 0.1, 1).astype(np.float32), 0.1, 1),
        (np.random.default_rng(0).normal(size=300), 0, -1),
    ],
)
def test_grids_of_numbers_and_their_decimals(values, step, decimals):
    column = column_of(values)
    assert column.kind == "continuous"
    assert column.step == pytest.approx(step, rel=1e-3)
    assert (column.origin, column.decimals) == (0, decimals)
    np.testing.assert_array_equal(column.grid.snap(values).astype(values.dtype), values)


@pytest.mark.parametrize(
    ("times", "step"),
    [
        (pd.date_range("2000", periods=40, freq="W"), 7 * 86400),
        (pd.date_range("1969-12-25 06:00", periods=40, freq="D"), 86400),
        (pd.date_range("2000", periods=40, freq="h"), 3600),
        (pd.to_timedelta(np.arange(40) % 7 * 90, "s"), 90),
        (pd.to_datetime(np.random.default_rng(0).integers(0, 2**31, 40), unit="s"), 0),
        (pd.to_datetime(np.random.default_rng(0).random(40) * 2**31, unit="s"), 0),
    ],
)
def test_grids_of_times(times, step):
    column = column_of(times)
    assert (column.kind, column.step, column.unit) == ("continuous", step, "seconds")


def test_constant_columns_and_columns_of_gaps():
    assert column_of([2.5] * 10).levels == (2.5,)
    assert column_of([2.5, None] * 5).kind == "constant"
    assert column_of(["a"] * 9).kind == "constant"
    one_or_none = column_of(["a", None] * 5)
    assert (one_or_none.kind, one_or_none.levels) == ("categorical", ("a",))
    assert column_of([True] * 9).levels == (True,)
    for gaps in ([None] * 4, [np.nan] * 4, [pd.NaT] * 4, pd.array([pd.NA] * 4, "string")):
        column = column_of(gaps)
        assert (column.kind, column.levels) == ("constant", ())


def test_a_large_column_without_repeats_is_continuous(rng):
    values = rng.normal(size=60_000)
    assert column_of(values).kind == "continuous"
    values[:6000] = 0
    assert column_of(values).atoms == (0.0,)


def test_numbers_beyond_those_that_floats_tell_apart_are_no_ordinal():
    assert column_of(np.arange(2**60, 2**60 + 50 * 2**20, 2**20)).kind == "continuous"


def test_columns_of_objects():
    half = decimal.Decimal("0.5")
    objects = {
        "numbers": [1, 2.5, half, None] * 5,
        "mixed": [1, "a", 2, None] * 5,
        "flags": [True, False, None, True] * 5,
        "bytes": [b"a", b"b", b"a", None] * 5,
        "bins": [pd.Interval(0, 1), pd.Interval(1, 2), None, None] * 5,
        "dates": [datetime.date(1970, 1, 2), None, datetime.datetime(1970, 1, 1, 1), pd.NaT] * 5,
        "spans": [datetime.timedelta(hours=1), np.timedelta64(1, "m"), None, pd.Timedelta(0)] * 5,
    }
    table = np.column_stack([np.array(cells, dtype=object) for cells in objects.values()])
    numbers, mixed, flags, text, bins, dates, spans = read_columns(table)
    np.testing.assert_array_equal(numbers.values[:4], [1, 2.5, 0.5, np.nan])
    assert mixed.levels == (1, 2, "a")
    np.testing.assert_array_equal(mixed.values[:4], [0, 2, 1, np.nan])
    assert flags.levels == (False, True)
    np.testing.assert_array_equal(flags.numbers()[:4], [1, 0, np.nan, 1])
    assert text.levels == ("a", "b")
    assert bins.levels == ("(0, 1]", "(1, 2]")
    np.testing.assert_array_equal(dates.values[:4], [86400, np.nan, 3600, np.nan])
    np.testing.assert_array_equal(spans.values[:4], [3600, 60, np.nan, 0])


# Kinds that are asked for


@pytest.mark.parametrize(
    ("values", "period"),
    [
        (np.linspace(-3.1, 3.1, 50), 2 * math.pi),
        (np.linspace(0, 6.2, 50), 2 * math.pi),
        (np.linspace(0, 23.5, 50), 24),
        (np.arange(24), 24),
        (np.linspace(-180, 180, 50), 360),
        (np.arange(360), 360),
    ],
)
def test_usual_periods_are_known(values, period):
    column = column_of(values, "periodic")
    assert (column.kind, column.period) == ("periodic", period)
    assert column_of(values, ("periodic", 100)).period == 100


@pytest.mark.parametrize("values", [np.arange(7), np.arange(60), np.arange(1000) / 7])
def test_other_periods_must_be_said(values):
    with pytest.raises(ValueError, match=r"period of 'c' is not clear .* \(\"periodic\", period\)"):
        column_of(values, "periodic")


def test_a_request_wins_over_the_rules(rng):
    zips = rng.choice([75001, 10115, 20095], 50)
    column = column_of(zips, "categorical")
    assert (column.kind, column.levels) == ("categorical", (10115, 20095, 75001))
    halves = rng.integers(2, 11, 300) / 2
    ratings = column_of(halves, "ordinal")
    assert (ratings.kind, ratings.step, ratings.levels) == (
        "ordinal",
        0.5,
        (*np.arange(2, 11) / 2,),
    )
    amounts = np.where(rng.random(1000) < 0.03, 0.0, rng.lognormal(size=1000))
    assert column_of(amounts).kind == "continuous"
    assert column_of(amounts, "mixed").atoms == (0.0,)
    counts = column_of(rng.poisson(3, 300), "continuous")
    assert (counts.kind, counts.step) == ("continuous", 0)
    days = pd.Series(pd.date_range("2024", periods=3)).sample(50, replace=True, random_state=0)
    assert column_of(days, "categorical").levels == (1704067200, 1704153600, 1704240000)
    assert column_of(days, ("periodic", 7 * 86400)).unit == "seconds"


def test_ordered_categories_and_flags_can_be_ordinal(rng):
    sizes = pd.Categorical(rng.choice(["S", "L"], 50), ["S", "M", "L"])
    column = column_of(sizes, "ordinal")
    assert (column.kind, column.levels) == ("ordinal", ("S", "M", "L"))
    assert (column.step, column.lowest, column.highest) == (1, 0, 2)
    assert column_of(rng.random(50) < 0.5, "ordinal").levels == (False, True)
    marks = pd.Categorical(rng.choice([1, 2, 4], 50))
    assert column_of(marks).kind == "categorical"
    assert column_of(marks, "ordinal").levels == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("values", "requested", "message"),
    [
        (["a", "b"], "ordinal", "'c' holds text in no known order"),
        (["a", "b"], "mixed", "'c' holds text, which cannot be mixed"),
        (["a", "b"], ("periodic", 7), "'c' holds text, which cannot be periodic"),
        (np.random.default_rng(0).random(50), "ordinal", "values of 'c' lie on no grid"),
        (np.random.default_rng(0).random(50), "mixed", "no value holds 1 % of its rows"),
        ([0.0, 1.0] * 20, "mixed", r"no other values than \[0.0, 1.0\]"),
        ([0.0, 1.0], "numeric", "a kind is one of .* got 'numeric'"),
        ([0.0, 1.0], ("periodic", -1), "a period must be a positive number, got -1"),
        ([0.0, 1.0], ("periodic", "week"), "a period must be a positive number, got 'week'"),
    ],
)
def test_requests_that_do_not_suit_a_column(values, requested, message):
    with pytest.raises(ValueError, match=message):
        column_of(values, requested)


def test_columns_are_called_by_name_or_position(rng):
    frame = pd.DataFrame(rng.integers(0, 5, (50, 3)), columns=["a", 2, 0])
    # There is a column of the name 2, which 2 means; 1 is a position, of the same column.
    with pytest.raises(ValueError, match="columns: column 2 is named twice"):
        TableColumns.from_table(frame, [], {2: "categorical", 1: "continuous"})
    found = TableColumns.from_table(frame, [], {2: "categorical", 0: "continuous"})
    assert [column.kind for column in found.columns] == ["ordinal", "categorical", "continuous"]
    array = TableColumns.from_table(frame.to_numpy(), [0, 1, 2], {1: "categorical"})
    assert array.columns[1].kind == "categorical"
    with pytest.raises(ValueError, match="columns: there is no column 'b' among"):
        TableColumns.from_table(frame, [], {"b": "ordinal"})
    with pytest.raises(TypeError, match="columns must be a dictionary or None"):
        TableColumns.from_table(frame, [], ["ordinal"] * 3)


def test_requests_go_into_files():
    requested = {"a": "ordinal", 3: ("periodic", 24), ("b", 1): "mixed"}
    plain = requested_to_plain(requested)
    assert requested_from_plain(plain) == {**requested, 3: ("periodic", 24.0)}
    assert requested_from_plain(requested_to_plain(None)) is None
    with pytest.raises(ValueError, match="a kind is one of"):
        requested_from_plain({"by_column": [["a", "os", 0.0]]})


# Rows


def test_rows_are_codes_numbers_seconds_and_gaps():
    frame = pd.DataFrame(
        {
            "text": ["b", None, "a", "b"],
            "flag": pd.array([True, None, False, True], "boolean"),
            "count": pd.array([7, None, 9, 8], "Int64"),
            "day": [pd.Timestamp("1970-01-02"), pd.NaT, *pd.date_range("1970-01-03", periods=2)],
            "span": pd.to_timedelta([1, None, 3, 4], "h"),
        }
    )
    expected = [
        [1, 1, 7, 86400, 3600],
        [np.nan] * 5,
        [0, 0, 9, 2 * 86400, 3 * 3600],
        [1, 1, 8, 3 * 86400, 4 * 3600],
    ]
    for table in (frame, pl.from_pandas(frame), pl.from_pandas(frame).to_arrow()):
        found = TableColumns.from_table(table, list(frame))
        np.testing.assert_array_equal(found.rows(table), expected)


def test_values_that_were_not_seen_have_the_code_minus_one():
    frame = pd.DataFrame(
        {
            "text": ["a", "b"] * 20,
            "stars": [1, 3] * 20,
            "flag": [True] * 40,
            "one": [5] * 40,
            "gone": [None] * 40,
            "free": np.arange(40),
        }
    )
    found = TableColumns.from_table(frame, list(frame))
    other = pd.DataFrame(
        {"text": ["c"], "stars": [2.5], "flag": [False], "one": [6], "gone": ["x"], "free": [-7]}
    )
    rows = found.rows(other)
    np.testing.assert_array_equal(rows, [[-1, -1, -1, -1, -1, -7]])
    assert found.unseen(rows) == ["text", "stars", "flag", "one", "gone"]
    assert found.unseen(found.rows(frame)) == []
    gaps = found.rows(pd.DataFrame({name: [None] for name in frame}))
    assert np.isnan(gaps).all()
    assert found.unseen(gaps) == []


def test_flags_and_numbers_stand_for_each_other():
    flags, numbers = pd.DataFrame({"c": [True, False] * 9}), pd.DataFrame({"c": [1, 0] * 9})
    for fitted in (flags, numbers):
        found = TableColumns.from_table(fitted, ["c"])
        for asked in (flags, numbers):
            assert np.array_equal(found.rows(asked)[:2, 0], [1, 0])


@pytest.mark.parametrize(
    ("fitted", "asked", "message"),
    [
        ([1.5, 2.0], ["a", "b"], "new: column 'c' holds text, but numbers in fit"),
        (["a", "b"], [1.5, 2.0], "new: column 'c' holds numbers, but text in fit"),
        ([1, 2] * 9, ["a", "b"], "new: column 'c' holds text, but numbers in fit"),
        ([1.5, 2.0], pd.to_datetime([1, 2]), "holds dates or durations, but numbers in fit"),
        (pd.to_datetime([1, 2]), [1.5, 2.0], "holds numbers, but dates or durations in fit"),
    ],
)
def test_other_types_than_in_fit_are_refused(fitted, asked, message):
    found = TableColumns.from_table(pd.DataFrame({"c": fitted}), ["c"])
    with pytest.raises(ValueError, match=message):
        found.rows(pd.DataFrame({"c": asked}), "new")


@pytest.mark.parametrize(
    ("cells", "error", "message"),
    [
        ([1.0, np.inf], ValueError, "X: column 'c' holds infinite values"),
        ([1.0, 1j], ValueError, "X: column 'c' holds complex numbers"),
        ([["a"], ["b"]], TypeError, "X: column 'c' holds objects of type list"),
        ([("a",), ("b",)], TypeError, "X: column 'c' holds objects of type tuple"),
        ([{"a": 1}, "b"], TypeError, "X: column 'c' holds objects of type dict"),
        ([datetime.time(1), "a"], ValueError, "X: column 'c' holds dates or durations"),
        ([pd.Period("2020"), None], ValueError, "X: column 'c' holds dates or durations"),
        ([10**400, 1], ValueError, "X: column 'c' holds integers beyond the range"),
    ],
)
def test_what_no_column_can_hold(cells, error, message):
    dtype = None if isinstance(cells[0], float) else object
    frame = pd.DataFrame({"a": [1.0, 2.0], "c": pd.Series(cells, dtype=dtype)})
    with pytest.raises(error, match=message):
        TableColumns.from_table(frame, list(frame))
    if isinstance(cells[0], list):
        with pytest.raises(error, match=message):
            TableColumns.from_table(pl.DataFrame({"c": cells}), ["c"])


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (pl.LazyFrame({"a": [1]}), TypeError, "X: a LazyFrame of polars holds no rows yet"),
        (np.array([1.0, 2.0]), ValueError, "2D array"),
        ([[1, "a"], [2]], ValueError, "X: its rows have different numbers of cells"),
        (pd.DataFrame({"a": []}), ValueError, "0 sample"),
        (pd.DataFrame(index=[0, 1]), ValueError, "0 feature"),
        (np.ma.masked_equal([[1.0], [2.0]], 2), ValueError, "X: 1 values in columns"),
        (np.array([(1, "a")], dtype="i8,U1"), TypeError, "X is a structured array"),
        (np.array([[1j]]), ValueError, "holds complex numbers"),
    ],
)
def test_what_is_no_table(table, error, message):
    with pytest.raises(error, match=message):
        TableColumns.from_table(table, [0])


def test_another_number_of_columns_is_refused(shop):
    found = TableColumns.from_table(shop, list(shop))
    with pytest.raises(ValueError, match="new has 11 columns, but 12 in fit"):
        found.rows(shop.drop(columns="day"), "new")
    with pytest.raises(ValueError, match="X_reference has 11 columns, but 12 in fit"):
        TableColumns.from_table(shop, list(shop), reference=shop.drop(columns="day"))


def test_a_reference_gives_levels_and_kinds(shop):
    part = shop[shop["kind"] == "toy"]
    alone = TableColumns.from_table(part, list(shop))
    found = TableColumns.from_table(part, list(shop), reference=shop)
    assert alone.columns[4].kind == "constant"
    assert found.columns == TableColumns.from_table(shop, list(shop)).columns
    assert found.table == alone.table
    assert found.gaps.counts.sum() == len(part)


# Plain tables and gaps


def test_only_tables_of_complete_numbers_are_plain(shop, rng):
    numbers = shop[["price", "weight", "stars", "visits", "version"]]
    assert TableColumns.from_table(numbers, []).is_plain
    assert TableColumns.from_table(numbers.astype(object), []).is_plain
    assert TableColumns.from_table(rng.normal(size=(50, 2)), [0, 1]).is_plain
    assert not TableColumns.from_table(numbers, [], {"stars": "ordinal"}).is_plain
    with_gap = numbers.assign(weight=numbers["weight"].where(numbers["weight"] < 90))
    assert not TableColumns.from_table(with_gap, []).is_plain
    assert not TableColumns.from_table(numbers, [], reference=with_gap).is_plain
    for name in ("kind", "size", "member", "spent", "day", "rooms", "country"):
        assert not TableColumns.from_table(numbers.assign(other=shop[name]), []).is_plain


def test_patterns_of_gaps_are_counted(rng):
    mask = rng.random((500, 11)) < [0.9] + [0.02] * 10
    X = np.where(mask, np.nan, rng.normal(size=mask.shape))
    gaps = TableColumns.from_table(X, range(11)).gaps
    patterns, counts = np.unique(mask, axis=0, return_counts=True)
    expected = {tuple(pattern): count for pattern, count in zip(patterns, counts, strict=True)}
    found = {tuple(p): count for p, count in zip(gaps.missing, gaps.counts, strict=True)}
    assert found == expected
    assert (np.diff(gaps.counts) <= 0).all()
    np.testing.assert_array_equal(gaps.shares, mask.mean(axis=0))


def test_a_thousand_patterns_are_kept(rng):
    X = np.where(rng.random((3000, 30)) < 0.5, np.nan, 1.0)
    assert TableColumns.from_table(X, range(30)).gaps.missing.shape == (1000, 30)


def test_a_summary_tells_what_was_found(shop):
    shop = shop.assign(hour=np.arange(N) % 24)
    requested = {"hour": "periodic", "size": "ordinal"}
    found = TableColumns.from_table(shop, list(shop), requested).summary()
    told = {label: rest for label, *rest in found}
    assert told["kind"] == ["categorical", "3 levels", "", 1 / N]
    assert told["stars"] == ["ordinal", "step 1, from 1 to 5", "", 0]
    assert told["visits"][1] == "step 1, from 0"
    assert told["spent"][1] == "atoms 0"
    assert told["day"][:3] == ["continuous", "step 86400", "seconds"]
    assert told["hour"][:2] == ["periodic", "period 24, step 1"]
    assert told["size"][:2] == ["ordinal", "3 levels"]
    assert told["country"][:2] == ["constant", "always FR"]
