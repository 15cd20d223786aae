"""What several modules of tests call."""

import hashlib
import json
import warnings
from contextlib import contextmanager

import numpy as np
import safetensors.numpy
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from skgbnf.table.dequantisation import DegenerateDataWarning


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
