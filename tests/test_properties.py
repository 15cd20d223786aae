"""Random tables, layouts, weights and parameters: what holds for every fit.

``make fuzz`` runs many more of them.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import degenerate_data_allowed
from hypothesis import given, note
from hypothesis import strategies as st
from sklearn.base import clone

import skgbnf
from skgbnf import GradientBoostedFlowDensity
from skgbnf.flows import family_names

COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_t(1, size=n),
    "skewed": lambda rng, n: rng.lognormal(sigma=2, size=n),
    "tiny": lambda rng, n: 1e-12 * rng.normal(size=n),
    "huge": lambda rng, n: 1e12 * rng.normal(size=n),
    "far": lambda rng, n: 1e6 + rng.normal(size=n),
    "integer": lambda rng, n: rng.integers(-3, 20, size=n),
    "binary": lambda rng, n: rng.integers(0, 2, size=n),
    "constant": lambda rng, n: np.full(n, 4.2),
    "rounded": lambda rng, n: np.round(rng.normal(size=n), 1),
    "zeros among": lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n)),
}


@st.composite
def tables(draw):
    """Rows as float64, from 2 to 60 of up to 4 columns of different kinds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 60))
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4))
    note(f"columns {kinds}, {n} rows")
    return np.column_stack([COLUMNS[kind](rng, n).astype(np.float64) for kind in kinds])


def as_memory_map(X):
    path = Path(tempfile.mkdtemp()) / "X.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r")


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "reversed": lambda X: np.ascontiguousarray(X[:, ::-1])[:, ::-1],
    "memory map": as_memory_map,
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=[f"column {j}" for j in range(X.shape[1])]),
}

PARAMETERS = st.fixed_dictionaries(
    {
        "n_estimators": st.integers(1, 3),
        "flow": st.one_of(
            st.sampled_from(["auto", *family_names()]),
            st.lists(st.sampled_from(family_names()), min_size=1, max_size=2),
        ),
        "init": st.sampled_from(["auto", "gaussian_mixture", None]),
        "base": st.sampled_from(["normal", "student_t"]),
        "combine": st.sampled_from(["sum", "sum", "sum", "product"]),
        "objective": st.sampled_from(["tempered", "greedy", "weighted"]),
        "n_transforms": st.integers(1, 2),
        "hidden_layer_sizes": st.sampled_from([(4,), (8, 8), 5]),
        "activation": st.sampled_from(["relu", "tanh", "elu", "silu"]),
        "learning_rate_init": st.sampled_from([1e-6, 6e-3, 1.0, 10.0]),
        "batch_size": st.sampled_from(["auto", 1, 7, 1000]),
        "max_iter": st.integers(1, 2),
        "validation_fraction": st.sampled_from([None, 0.1, 0.5]),
        "dequantize": st.sampled_from(["auto", True, False, 0.1]),
        "tol": st.sampled_from([0.0, 1e-4]),
        "random_state": st.integers(0, 100),
    }
)


@pytest.mark.slow
@given(
    X=tables(),
    parameters=PARAMETERS,
    layout=st.sampled_from(sorted(LAYOUTS)),
    dtype=st.sampled_from([np.float64, np.float32]),
    weighted=st.booleans(),
    bounded=st.sampled_from(["no", "below", "on both sides"]),
)
def test_every_fit_gives_a_sound_density(X, parameters, layout, dtype, weighted, bounded):
    with np.errstate(over="ignore"):
        X = X.astype(dtype)
    given_X = LAYOUTS[layout](X)
    weights = np.linspace(0, 2, len(X)) if weighted and len(X) > 3 else None
    model = GradientBoostedFlowDensity(**parameters)
    lower, upper = X.min(axis=0), X.max(axis=0) + 1.0
    if bounded != "no":
        highest = [None] * len(lower) if bounded == "below" else upper
        model.set_params(bounds=list(zip(lower, highest, strict=True)))
    if parameters["combine"] == "sum":
        model.set_params(fine_tune=len(X) % 2)
    with degenerate_data_allowed():
        assert model.fit(given_X, sample_weight=weights) is model
        again = clone(model).fit(given_X, sample_weight=weights)

    scores = model.score_samples(given_X)
    assert scores.shape == (len(X),)
    assert np.isfinite(scores).all()
    assert scores.dtype == (np.float64 if layout == "list" else dtype)
    assert np.array_equal(again.score_samples(given_X), scores), "the same fit twice"
    assert np.isclose(model.estimator_weights_.sum(), 1.0, atol=1e-6)
    *_, last = model.staged_score_samples(given_X)
    assert np.array_equal(last, scores)
    assert np.isclose(model.score(given_X), scores.astype(np.float64).mean(), rtol=1e-6, atol=1e-6)

    rows = model.sample(20, random_state=1)
    assert rows.shape == (20, X.shape[1])
    assert np.isfinite(rows).all()
    assert bounded == "no" or (rows >= lower).all()
    assert bounded != "on both sides" or (rows <= upper).all()
    with tempfile.TemporaryDirectory() as folder:
        skgbnf.save(model, f"{folder}/model")
        loaded = skgbnf.load(f"{folder}/model")
    assert np.array_equal(loaded.score_samples(given_X), scores)
    assert np.array_equal(loaded.sample(20, random_state=1), rows)
