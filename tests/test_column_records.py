"""What a fitted density says of its columns, in attributes and in HTML."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers import degenerate_data_allowed

from skgbnf import GradientBoostedFlowDensity


@pytest.fixture(scope="module")
def mixed():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a <b>": rng.normal(size=120),
            "count": pd.array(rng.poisson(3, 120), dtype="Int64"),
            "kind": pd.Categorical(rng.choice(list("xyz"), 120)),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 120), "D"),
            "amount": np.where(rng.random(120) < 0.4, 0.0, rng.exponential(size=120)),
            "same": 1.5,
        }
    )
    frame.iloc[:30, 0] = np.nan
    return GradientBoostedFlowDensity(1, flow="location_mixture", n_folds=None).fit(frame)


@pytest.fixture(scope="module")
def plain():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [
            rng.normal(size=120),
            rng.poisson(3, 120),
            np.full(120, 1.5),
            np.where(rng.random(120) < 0.4, 0.0, rng.exponential(size=120)),
            rng.integers(0, 6, 120) / 2,
            np.full(120, 2.0),
        ]
    )
    with degenerate_data_allowed():
        return GradientBoostedFlowDensity(1, flow="affine", bounds={5: (0, 3)}, n_folds=None).fit(X)


@pytest.mark.quick
def test_columns_of_a_mixed_table(mixed):
    kinds = [column.kind for column in mixed.columns_]
    assert kinds == ["continuous", "ordinal", "categorical", "continuous", "mixed", "constant"]
    assert mixed.columns_[3].unit == "seconds"
    assert [a.tolist() for a in mixed.atoms_] == [[], [], [], [], [0.0], []]
    assert mixed.bounds_.shape == mixed.bound_margins_.shape == (2, 6)
    assert (mixed.dequantize_widths_ == 0).all()
    np.testing.assert_array_equal(np.isfinite(mixed.dequantize_origins_), [0, 1, 0, 1, 0, 0])
    assert mixed.location_.shape == mixed.scale_.shape == (6,)
    assert mixed.location_[2] == 0
    assert mixed.scale_[2] == 1
    assert mixed.coordinates_ is mixed.fitted_.coordinates


def test_columns_of_a_table_of_numbers(plain):
    columns = plain.columns_
    kinds = [column.kind for column in columns]
    assert kinds == ["continuous", "ordinal", "constant", "mixed", "continuous", "constant"]
    assert (columns[1].step, columns[1].lowest) == (1, 0)
    assert columns[2].levels == (1.5,)
    assert columns[3].atoms == (0.0,)
    assert columns[4].step == 0.5
    assert columns[5].levels == (pytest.approx(2.0),)
    for column in columns:
        assert type(column).from_plain(column.to_plain()) == column


def test_notebooks_show_the_columns_of_a_fitted_density(mixed, plain):
    for shown in (mixed._repr_html_(), mixed._repr_mimebundle_()["text/html"]):
        assert "a &lt;b&gt;" in shown
        assert "a <b>" not in shown
        assert "25.0%" in shown  # missing
        assert shown.count("<tr>") >= 7
    assert "always 1.5" in plain._repr_html_()


def test_others_are_shown_as_they_are(mixed):
    fresh = GradientBoostedFlowDensity()
    assert "Columns" not in fresh._repr_html_()
    with sklearn.config_context(display="text"):
        assert not hasattr(mixed, "_repr_html_")
        assert "text/html" not in mixed._repr_mimebundle_()
