"""Many fits at once give what each gives alone, and leave nothing behind."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone


def fitted_scores(model, X):
    return model.fit(X).score_samples(X), model.sample(3, random_state=0)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_eight_fits_at_once_are_those_made_alone(quick, table2, backend):
    kinds = ["nsf", "maf", "realnvp", "affine"]
    models = [
        quick(flow=kind, random_state=seed, n_estimators=1) for kind in kinds for seed in (0, 1)
    ]
    alone = [fitted_scores(clone(model), table2) for model in models]
    with joblib.parallel_config(backend=backend, n_jobs=8 if backend == "threading" else 2):
        jobs = (joblib.delayed(fitted_scores)(model, table2) for model in models)
        together = joblib.Parallel()(jobs)
    for ours, theirs in zip(alone, together, strict=True):
        assert np.array_equal(ours[0], theirs[0])
        assert np.array_equal(ours[1], theirs[1])


REFITS = """
import os, sys, threading
import numpy as np
import skgbnf

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

X = np.random.default_rng(0).normal(size=(300, 3))
model = skgbnf.GradientBoostedFlowDensity(
    1, flow="realnvp", init=None, max_iter=1, hidden_layer_sizes=(16,), n_transforms=1
)
for i in range(110):
    model.fit(X).score_samples(X)
    if i == 9:
        before, threads = resident(), len(os.listdir("/proc/self/task"))
print(resident() - before, len(os.listdir("/proc/self/task")) - threads, threading.active_count())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_hundred_refits_leave_no_memory_and_no_threads_behind():
    done = subprocess.run([sys.executable, "-c", REFITS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    megabytes, new_threads, python_threads = map(float, done.stdout.split())
    assert megabytes < 50
    assert new_threads <= 0
    assert python_threads == 1
