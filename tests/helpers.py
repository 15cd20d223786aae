"""What several modules of tests call."""

import hashlib
import json
import warnings
from contextlib import contextmanager

import numpy as np
import safetensors.numpy
from sklearn.exceptions import ConvergenceWarning

from skgbnf.dequantisation import DegenerateDataWarning


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
