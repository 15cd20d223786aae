"""What a table may hold: one sentence for each fault, the same wherever the table goes."""

import datetime
import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from skgbnf import FlowBayesClassifier, FlowOutlierDetector, GradientBoostedFlowVAE
from skgbnf.diagnostics import gaussian_reference_score
from skgbnf.table.checks import checked_values

N = 30
Y = np.arange(N) % 2


@pytest.fixture(scope="module")
def affine(quick):
    return lambda: quick(flow="affine", n_estimators=1)


@pytest.fixture(scope="module")
def good():
    return pd.DataFrame(np.random.default_rng(0).normal(size=(N, 2)), columns=["a", "b"])


@pytest.fixture(scope="module")
def fitted(affine, good):
    """A density, a detector and a classifier."""
    return [
        affine().fit(good),
        FlowOutlierDetector(affine()).fit(good),
        FlowBayesClassifier(affine()).fit(good, Y),
    ]


def assert_refused(affine, good, fitted, table, kind, message):
    """In fit, in scores and among validation rows, by all that takes tables."""
    validation = message.replace("X", "X_val", 1)
    for name, ask in {
        message: lambda: affine().fit(table),
        validation: lambda: affine().fit(good, X_val=table),
        **{
            f"{message}{k * '.*'}": lambda model=model: model.score_samples(table)
            for k, model in enumerate(fitted)
            # Of a sample with gaps the rest is scored.
            if "missing" not in message
        },
    }.items():
        with pytest.raises(kind, match=name):
            ask()
    for wrapper in (FlowOutlierDetector(affine()), FlowBayesClassifier(affine())):
        with pytest.raises(kind, match=message):
            wrapper.fit(table, Y)


CELLS = {
    "a date of NumPy": (np.datetime64("2020-01-01"), "dates or durations"),
    "a missing date of NumPy": (np.datetime64("NaT"), "dates or durations"),
    "a duration of NumPy": (np.timedelta64(3, "s"), "dates or durations"),
    "a date": (datetime.date(2020, 1, 1), "dates or durations"),
    "a time": (datetime.time(3), "dates or durations"),
    "a duration": (datetime.timedelta(1), "dates or durations"),
    "a missing date": (pd.NaT, "dates or durations"),
    "a period": (pd.Period("2020"), "dates or durations"),
    "a missing value": (pd.NA, r"missing values \(NaN\)"),
    "nothing": (None, r"missing values \(NaN\)"),
    "letters": ("abc", "text"),
    "a complex number": (1j, "complex numbers"),
    "infinity": (float("inf"), r"infinite values \(inf\)"),
    "a large integer": (10**400, "integers beyond the range of float64"),
}
OBJECTS = {"list": [1, 2], "dict": {"a": 1}, "object": object(), "Interval": pd.Interval(0, 1)}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_among_objects_that_is_no_number(affine, good, fitted, name):
    cell, what = CELLS[name]
    column = good["b"].astype(object)
    column[3] = cell
    frame = good.assign(b=column)
    assert_refused(affine, good, fitted, frame, ValueError, f"X: column 'b' holds {what}; ")
    for table in (frame.to_numpy(), frame.to_numpy().tolist()):
        with pytest.raises(ValueError, match=f"X: column 1 holds {what}; "):
            affine().fit(table)


@pytest.mark.quick
@pytest.mark.parametrize("name", OBJECTS)
def test_a_cell_that_is_no_single_value(affine, good, fitted, name):
    column = good["b"].astype(object)
    column.iat[3] = OBJECTS[name]
    frame = good.assign(b=column)
    message = f"X: column 'b' holds objects of type {name}; "
    assert_refused(affine, good, fitted, frame, TypeError, message)
    with pytest.raises(TypeError, match=f"X: column 1 holds objects of type {name}; "):
        affine().fit(frame.to_numpy().tolist())


COLUMNS = {
    "days": (lambda: pd.date_range("2020", periods=N), "dates or durations"),
    "periods": (lambda: pd.period_range("2020", periods=N), "dates or durations"),
    "categories": (lambda: pd.Categorical(["u", "v"] * (N // 2)), "text"),
    "dates as categories": (
        lambda: pd.Categorical(pd.to_datetime(["2020", "2021"] * (N // 2))), "dates or durations"
    ),
    "strings": (lambda: pd.array(["u"] * N, dtype="string"), "text"),
    "nullable integers": (
        lambda: pd.array([pd.NA, *range(N - 1)], dtype="Int64"), r"missing values \(NaN\)"
    ),
    "nullable booleans": (
        lambda: pd.array([pd.NA] + [True] * (N - 1), dtype="boolean"), r"missing values \(NaN\)"
    ),
    "not a number": (lambda: [np.nan, *range(N - 1)], r"missing values \(NaN\)"),
    "infinity": (lambda: [-np.inf, *range(N - 1)], r"infinite values \(inf\)"),
    "complex": (lambda: np.arange(N) * 1j, "complex numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_pandas_that_is_not_of_numbers(affine, good, fitted, name):
    make, what = COLUMNS[name]
    frame = good.assign(b=make())
    assert_refused(affine, good, fitted, frame, ValueError, f"X: column 'b' holds {what}; ")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([datetime.date(2020, 1, 1)] * N, "dates or durations"),
        ([datetime.timedelta(1)] * N, "dates or durations"),
        (["u"] * N, "text"),
        ([None, *range(N - 1)], "missing values"),
        ([None] * N, "missing values"),
        ([np.inf] * N, "infinite values"),
    ],
)
@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_a_column_of_polars_and_pyarrow(affine, good, fitted, library, values, what):
    module = pytest.importorskip(library)
    make = module.table if library == "pyarrow" else module.DataFrame
    table = make({"a": good["a"].tolist(), "b": values})
    assert_refused(affine, good, fitted, table, ValueError, f"X: column 'b' holds {what}")


@pytest.mark.quick
def test_all_columns_of_a_fault_are_named(affine, good):
    frame = good.assign(c=["u"] * N, d=["v"] * N)
    with pytest.raises(ValueError, match=r"X: columns \['c', 'd'\] hold text; "):
        affine().fit(frame)
    wide = np.full((4, 30), np.nan)
    with pytest.raises(ValueError, match="X: columns .*8, 9] and 20 more hold missing values"):
        affine().fit(wide)


def test_sparse_and_lazy_tables(affine, good, fitted):
    frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(good.to_numpy()))
    frame.columns = ["a", "b"]
    message = r"X: columns \['a', 'b'\] hold sparse values; .*to_dense"
    assert_refused(affine, good, fitted, frame, TypeError, message)
    mixed = good.assign(b=frame["b"])
    assert_refused(affine, good, fitted, mixed, TypeError, "X: column 'b' holds sparse values")
    lazy = pl.LazyFrame(good.to_dict("list"))
    message = r"X: a LazyFrame of polars holds no rows yet; collect\(\)"
    assert_refused(affine, good, fitted, lazy, TypeError, message)


def test_a_delayed_table_of_dask(affine, good):
    delayed = pytest.importorskip("dask.delayed").delayed(good)
    for estimator in (affine(), FlowOutlierDetector(affine())):
        with pytest.raises(TypeError, match=r"X: .* of dask holds no rows yet; compute\(\)"):
            estimator.fit(delayed)


def test_rows_of_different_lengths_and_structured_arrays(affine):
    with pytest.raises(ValueError, match="X: its rows have different numbers of cells"):
        affine().fit([[1.0], [2.0, 3.0]])
    with pytest.raises(TypeError, match="X is a structured array"):
        affine().fit(np.zeros(5, dtype=[("a", float), ("b", float)]))


def test_numbers_as_text_and_decimals_are_numbers(affine, good):
    text = good.astype(str).astype(object)
    scores = affine().fit(good).score_samples(good)
    np.testing.assert_allclose(affine().fit(text).score_samples(text), scores)


# Masked arrays


def test_what_is_masked_is_refused(affine, good, fitted):
    X = np.ma.MaskedArray(good.to_numpy())
    X[3, 1] = np.ma.masked
    for ask in (
        lambda: affine().fit(X),
        lambda: FlowOutlierDetector(affine()).fit(X),
        lambda: FlowBayesClassifier(affine()).fit(X, Y),
        lambda: GradientBoostedFlowVAE(n_components=1, max_iter=1).fit(X),
        lambda: gaussian_reference_score(X),
        *(lambda model=model: model.score_samples(X) for model in fitted),
    ):
        with pytest.raises(ValueError, match=r"X: 1 values in columns \[1\] are masked"):
            ask()
    with pytest.raises(ValueError, match="X_val: 1 values"):
        affine().fit(good, X_val=X)


def test_masked_weights_and_labels_are_refused(affine, good, fitted):
    weights = np.ma.MaskedArray(np.ones(N), mask=np.arange(N) < 2)
    labels = np.ma.MaskedArray(Y, mask=np.arange(N) < 2)
    for name, ask in {
        "^sample_weight: 2 values": lambda: affine().fit(good, sample_weight=weights),
        "sample_weight: 2 values": lambda: fitted[0].score(good, sample_weight=weights),
        "sample_weight_val: 2 values": lambda: affine().fit(
            good, X_val=good, sample_weight_val=weights
        ),
        "y: 2 values": lambda: FlowBayesClassifier(affine()).fit(good, labels),
    }.items():
        with pytest.raises(ValueError, match=name):
            ask()


def test_a_mask_of_nothing_changes_nothing(affine, good):
    X = good.to_numpy()
    bare, masked = affine().fit(X), affine().fit(np.ma.MaskedArray(X), X_val=np.ma.MaskedArray(X))
    assert np.array_equal(bare.score_samples(np.ma.MaskedArray(X)), bare.score_samples(X))
    assert masked.n_features_in_ == 2
    weights = np.ma.MaskedArray(np.ones(N))
    assert bare.score(X, sample_weight=weights) == bare.score(X)
    assert FlowBayesClassifier(affine()).fit(X, np.ma.MaskedArray(Y)).classes_.tolist() == [0, 1]


# Validation rows, and the cost


def test_held_out_rows_are_blamed_by_their_name(affine, good):
    for table, message in (
        (good[["a"]], "^X_val: The feature names"),
        (good[["b", "a"]], "^X_val: The feature names"),
        (good.iloc[:0], "^X_val: Found array with 0 sample"),
    ):
        with pytest.raises(ValueError, match=message):
            affine().fit(good, X_val=table)
    X = good.to_numpy()
    with pytest.raises(ValueError, match="^X_val has 1 features, but .* expecting 2"):
        affine().fit(X, X_val=X[:, :1])
    with pytest.raises(ValueError, match="^X_val: Expected 2D array"):
        affine().fit(X, X_val=X[0])
    images = GradientBoostedFlowVAE(n_components=1, max_iter=1)
    with pytest.raises(ValueError, match="^X_val has 1 features, but .* expecting 2"):
        images.fit(X, X_val=X[:, :1])


def test_dates_are_no_weights(affine, good):
    with pytest.raises(ValueError, match="sample_weight must hold numbers, got dates"):
        affine().fit(good, sample_weight=pd.date_range("2020", periods=N))


def test_checks_of_a_large_array_cost_next_to_nothing():
    X = np.ones((1000, 1000))
    start = time.perf_counter()
    for _ in range(20):
        assert checked_values(X) is X
    assert time.perf_counter() - start < 1.0
