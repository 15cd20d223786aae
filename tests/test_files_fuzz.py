"""Thousands of damaged, foreign and lying files: the same model or a ValueError, never worse."""

import copy
import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from helpers import joined, split

import skgbnf

N_FLIPS = 3000
N_LIES = 1500
ODD = [
    None, True, False, -1, 0, 1, 3, 10**30, -(10**400), 0.5, 1e308, float("nan"), float("inf"), "",
    "nsf", "auto", "é\x00", [], [1, 2], [[]], [None], {}, {"kind": "nsf"}, [10**6] * 3,
]  # fmt: skip


@pytest.fixture(scope="module")
def fitted(quick, table2):
    flows = ["realnvp", "gaussian_mixture"]
    return quick(flow=flows, n_transforms=1, hidden_layer_sizes=(4,), tol=0.0).fit(table2)


@pytest.fixture(scope="module")
def content(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "model"
    skgbnf.save(fitted, path)
    return path.read_bytes()


@pytest.fixture
def opened(tmp_path):
    """Load bytes as a file; None if they are refused as they should be."""

    def load(content):
        path = tmp_path / "model"
        path.write_bytes(content)
        try:
            return skgbnf.load(path)
        except ValueError:
            return None

    return load


def test_flipped_bytes_give_the_same_model_or_a_refusal(content, fitted, opened, table2):
    rng = np.random.default_rng(0)
    expected = fitted.score_samples(table2)
    refused = 0
    for i in range(N_FLIPS):
        damaged = bytearray(content)
        # The header is where a flip can do more than fail the checksum.
        end = len(content) if i % 2 else 8 + struct.unpack("<Q", content[:8])[0]
        for position in rng.integers(0, end, size=1 + i % 3):
            damaged[position] ^= 1 << rng.integers(8)
        model = opened(bytes(damaged))
        if model is None:
            refused += 1
        else:
            assert np.array_equal(model.score_samples(table2), expected)
    assert refused > 0.9 * N_FLIPS


def test_truncated_files_are_refused(content, opened):
    for length in {
        *range(0, len(content), 7),
        *range(200),
        *range(len(content) - 50, len(content)),
    }:
        assert opened(content[:length]) is None


def test_files_with_something_inserted_are_refused(content, opened):
    rng = np.random.default_rng(1)
    for _ in range(300):
        position = int(rng.integers(len(content)))
        piece = rng.bytes(int(rng.integers(1, 30)))
        assert opened(content[:position] + piece + content[position:]) is None


def test_noise_is_refused(opened):
    rng = np.random.default_rng(2)
    for size in range(300):
        assert opened(rng.bytes(size)) is None


@pytest.mark.parametrize("size", [0, 1, 10**6, 2**31, 2**40, 2**63, 2**64 - 1])
def test_headers_of_a_size_that_lies_are_refused(content, opened, size):
    assert opened(struct.pack("<Q", size) + content[8:]) is None


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F64", "shape": [2**62, 4], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F64", "shape": [1], "data_offsets": [8, 0]}},
        {"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 2**63]}},
        {"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F64", "shape": [0] * 100, "data_offsets": [0, 0]}},
        {"__metadata__": {"format": "skgbnf"}},
        {"__metadata__": {"format": "skgbnf", "version": "1"}},
        {"__metadata__": "skgbnf"},
        [],
        None,
    ],
)
def test_headers_that_lie_are_refused(opened, header):
    text = json.dumps(header).encode()
    assert opened(struct.pack("<Q", len(text)) + text + bytes(8)) is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "NaN", "\ud800"])
def test_metadata_that_is_no_sound_json_is_refused(content, opened, text):
    metadata, _, arrays = split(content)
    changed = dict(metadata, model=text.encode("utf-8", "replace").decode())
    assert opened(safetensors.numpy.save(arrays, changed)) is None


def test_files_of_others_are_refused(opened):
    weights = {"linear.weight": np.ones((3, 3)), "linear.bias": np.zeros(3)}
    assert opened(safetensors.numpy.save(weights)) is None
    assert opened(safetensors.numpy.save(weights, {"format": "pt"})) is None
    assert opened(b"PK\x03\x04" + bytes(100)) is None
    assert opened(b"\x80\x04\x95" + bytes(100)) is None


def leaves(tree, path=()):
    """Paths to all values of nested dicts and lists, the containers included."""
    if path:
        yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def put(tree, path, value):
    *outer, last = path
    for key in outer:
        tree = tree[key]
    tree[last] = value


def test_lies_with_a_true_checksum_give_a_model_that_scores_or_a_refusal(content, opened, table2):
    """Every value of the description and every array, replaced by something odd."""
    rng = np.random.default_rng(3)
    metadata, model, arrays = split(content)
    paths, names = list(leaves(model)), sorted(arrays)
    for i in range(N_LIES):
        told, held = copy.deepcopy(model), dict(arrays)
        if i % 3:
            put(told, paths[rng.integers(len(paths))], ODD[rng.integers(len(ODD))])
        else:
            name = names[rng.integers(len(names))]
            array = held.pop(name)
            with np.errstate(invalid="ignore", over="ignore"):
                changes = [
                    array[..., :0], array[None], array.astype(np.int64), array.astype(np.float16),
                    np.full_like(array, 200), -array, array.ravel()[:1], array.astype(bool),
                ]  # fmt: skip
            if rng.random() < 0.9:
                held[name] = changes[rng.integers(len(changes))]
        opened_model = opened(joined(metadata, told, held))
        if opened_model is None or hasattr(opened_model, "feature_names_in_"):
            continue
        if opened_model.n_features_in_ == table2.shape[1]:
            assert np.isfinite(opened_model.score_samples(table2)).all()
