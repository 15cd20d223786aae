"""What several modules of tests call."""

import hashlib
import json
import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import safetensors.numpy
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from skgbnf.boosting.base import Limits
from skgbnf.estimators.plan import resolve
from skgbnf.table.dequantisation import DegenerateDataWarning
from skgbnf.training.progress import Progress
from skgbnf.training.rows import Rows


@contextmanager
def degenerate_data_allowed():
    """No warning of what hard tables and hard settings are warned of."""
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, DegenerateDataWarning):
            warnings.simplefilter("ignore", category)
        yield


def split(content):
    """Header, metadata, model data and arrays of a good file."""
    n_header = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + n_header])["__metadata__"]
    return metadata, json.loads(metadata["model"]), safetensors.numpy.load(content)


def joined(metadata, model, arrays):
    """A file with the checksum that belongs to it, as the format defines it."""
    text = json.dumps(model)
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    metadata = {**metadata, "model": text, "sha256": digest.hexdigest()}
    return safetensors.numpy.save(arrays, metadata)


class GaussianDensity(DensityMixin, BaseEstimator):
    """One Gaussian in closed form: the oracle and the cheap density of what wraps densities.

    Another package's density, for all that the wrapper knows: no data frames of its own, a weight
    of two is a row twice, and one row is enough.
    """

    def __init__(self, ridge=1e-9, random_state=None):
        self.ridge = ridge
        self.random_state = random_state

    def fit(self, X, y=None, sample_weight=None):
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
        self.mean_ = np.average(X, axis=0, weights=weights)
        centred = X - self.mean_
        self.covariance_ = (weights * centred.T) @ centred / weights.sum()
        self.covariance_ += self.ridge * np.eye(X.shape[1])
        self.seed_ = self.random_state
        return self

    def score_samples(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        factor = np.linalg.cholesky(self.covariance_)
        z = np.linalg.solve(factor, (X - self.mean_).T)
        log_det = 2 * np.log(np.diag(factor)).sum()
        return -0.5 * (np.square(z).sum(axis=0) + log_det + X.shape[1] * np.log(2 * np.pi))

    def sample(self, n_samples=1, random_state=None):
        rng = np.random.RandomState(random_state)
        return rng.multivariate_normal(self.mean_, self.covariance_, n_samples)


def named(choices):
    """Parameters as the name of a test, that of a function in place of its address."""
    return ", ".join(f"{k}={getattr(v, '__name__', v)}" for k, v in choices.items())


class Offers:
    """A plan of candidates in which every round is offered the same architectures.

    Parameters
    ----------
    *offered : lists of Architecture
        Those of one family each, the smallest first.
    """

    n_first = 0
    n_samples = 10**9

    def __init__(self, *offered):
        self._offered = list(offered)

    def share(self, n_rounds):
        return 1.0

    def depends_on_sparsity(self, n_rounds):
        return False

    def offered(self, earlier, *, sparse):
        return self._offered


def limits(**chosen):
    """Limits of boosting: the defaults of the density, but for what is chosen."""
    return Limits(**{"n_estimators": 6, "n_iter_no_change": 2, "tol": 1e-4, **chosen})


def candidate_plan(estimator, n_samples, n_features):
    """What a density offers its rounds, given so many training samples."""
    rows = Rows(torch.empty(n_samples, n_features), torch.ones(n_samples))
    return resolve(estimator, rows, Progress(), 0.0).candidates


def with_combination(model, **changes):
    """Change fields of the combination of a fitted density, as `dataclasses.replace` does."""
    combination = replace(model.fitted_.combination, **changes)
    model.fitted_ = replace(model.fitted_, combination=combination)
    return model
