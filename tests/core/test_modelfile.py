"""Model files are known by their first bytes."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from storefs.core.modelfile import HEAD_BYTES, is_model


def safetensors():
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


def saved(save, *arguments):
    file = io.BytesIO()
    save(file, *arguments)
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [safetensors(), saved(np.save, np.zeros(9)), saved(np.savez, np.zeros(9)), zipped(), b"GGUF" + bytes(20)],
    ids=["safetensors", "npy", "npz", "zip", "gguf"],
)
def test_models_are_known(content):
    assert is_model(content[:HEAD_BYTES], len(content))


@pytest.mark.parametrize(
    "content",
    [b"", b"GGU", bytes(64), b"SQLite format 3\0" + bytes(48), b'{"a": 1, "b": {"c": 2}}', b"x" * 64],
    ids=["empty", "short", "zeros", "sqlite", "json", "text"],
)
def test_others_are_not(content):
    assert not is_model(content[:HEAD_BYTES], len(content))


def test_a_header_longer_than_the_file_is_none():
    assert not is_model(struct.pack("<Q", 1000) + b"{" + bytes(7), 100)
