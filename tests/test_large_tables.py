"""Tables larger than memory: scored in blocks, or lazily."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import skgbnf.estimators.scoring
from skgbnf import FlowOutlierDetector

MEMORY = """
import resource, sys
import numpy as np
import skgbnf

X = np.load(sys.argv[1], mmap_mode="r")
rows = np.asarray(X[:300], dtype=np.float64)
model = skgbnf.GradientBoostedFlowDensity(1, flow="affine", max_iter=1, dequantize=False)
model.fit(rows).score_samples(rows)
skgbnf.estimators.scoring._ROWS_PER_BLOCK = 20_000
model.score_samples(X[:20_000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scores = model.score_samples(X)
assert len(scores) == len(X)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss")
def test_a_memory_map_is_never_in_memory_as_a_whole(tmp_path):
    # Integers, so that scoring must convert: 40 MB here, 320 MB as float64.
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", dtype=np.int8, shape=(1_000_000, 40))
    X[:] = np.random.default_rng(0).integers(-100, 100, size=(1, 40))
    X[:300] = np.random.default_rng(1).integers(-100, 100, size=(300, 40))
    X.flush()
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "X.npy")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The map's own pages count too, and the scores take 8 MB.
    assert float(done.stdout) < 150


@pytest.fixture(scope="module")
def model(quick, table3):
    return quick(max_iter=1).fit(table3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_do_not_matter(model, table3, monkeypatch, dtype):
    X = table3.astype(dtype)
    expected = model.score_samples(X)
    monkeypatch.setattr(skgbnf.estimators.scoring, "_ROWS_PER_BLOCK", 50)
    for table in (X, X.tolist()):
        scores = model.score_samples(table)
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert model.score_samples(X).dtype == dtype


def test_a_bad_row_of_a_later_block_is_refused(model, table3, monkeypatch):
    monkeypatch.setattr(skgbnf.estimators.scoring, "_ROWS_PER_BLOCK", 50)
    X = table3.copy()
    X[110, 1] = np.inf
    with pytest.raises(ValueError, match="X: column . holds infinite values"):
        model.score_samples(X)


# dask


@pytest.fixture(scope="module")
def da():
    return pytest.importorskip("dask.array")


@pytest.mark.quick
@pytest.mark.parametrize("chunks", [(50, 3), (7, 2), (120, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_a_dask_array_is_scored_lazily(model, table3, da, chunks, dtype):
    X = (10 * table3).astype(dtype)
    scores = model.score_samples(da.from_array(X, chunks=chunks))
    assert type(scores).__module__.startswith("dask.")
    assert scores.shape == (120,)
    expected = model.score_samples(X)
    assert scores.dtype == expected.dtype
    computed = scores.compute(scheduler="synchronous")
    assert computed.dtype == expected.dtype
    np.testing.assert_allclose(computed, expected, rtol=1e-4 if dtype == np.float32 else 1e-9)


def test_nothing_is_computed_before_it_is_asked_for(model, table3, da):
    seen = []

    def block(block_info=None):
        seen.append(block_info)
        return table3[:60]

    X = da.map_blocks(block, chunks=((60, 60), (3,)), dtype=float, meta=np.empty((0, 0)))
    scores = model.score_samples(X)
    assert not seen
    scores[:60].compute(scheduler="synchronous")
    assert len(seen) == 1


def test_unknown_and_empty_blocks_of_a_dask_array(model, table3, da):
    X = da.from_array(table3, chunks=(40, 3))
    kept = X[X[:, 0] > np.sort(table3[:, 0])[-3]]
    scores = model.score_samples(kept).compute(scheduler="synchronous")
    expected = model.score_samples(table3[table3[:, 0] > np.sort(table3[:, 0])[-3]])
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


def test_the_mean_of_a_dask_array_is_a_number(model, table3, da):
    score = model.score(da.from_array(table3, chunks=(40, 3)))
    assert score == pytest.approx(model.score(table3))


def test_pvalues_of_a_dask_array_are_numbers(quick, table3, da):
    detector = FlowOutlierDetector(quick(flow="affine"), random_state=0).fit(table3)
    p = detector.pvalues(da.from_array(table3, chunks=(40, 3)))
    np.testing.assert_array_equal(p, detector.pvalues(table3))


def test_other_columns_and_collections_are_refused_at_once(model, quick, table3, da):
    X = da.from_array(table3, chunks=(40, 3))
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 3\), got \(120, 2\)"):
        model.score_samples(X[:, :2])
    other = pytest.importorskip("dask.delayed").delayed(len)(table3)
    with pytest.raises(TypeError, match="of dask an array is needed, got Delayed"):
        model.score_samples(other)
    with pytest.raises(NotFittedError):
        quick().score_samples(X)


@pytest.mark.slow
def test_dask_is_not_imported():
    code = "import sys, skgbnf, numpy\nassert 'dask' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
