"""Model files are known by their first bytes."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from storefs.core.modelfile import HEAD_BYTES, header_bytes, is_model, tensor_ends


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


def test_the_header_of_safetensors_says_where_the_tensors_end():
    lengths = {"b": (16, 40), "a": (0, 16), "empty": (16, 16)}
    header = {name: {"dtype": "U8", "shape": [1], "data_offsets": [*pair]} for name, pair in lengths.items()}
    for text in (json.dumps(header), json.dumps(header, separators=(",", ":")), json.dumps(header, indent=2)):
        content = struct.pack("<Q", len(text)) + text.encode() + bytes(40)
        begin = header_bytes(content[:HEAD_BYTES], len(content))
        assert begin == 8 + len(text)
        assert tensor_ends(content[:begin]) == [begin + 16, begin + 40]


@pytest.mark.parametrize("content", [saved(np.save, np.zeros(9)), zipped(), b"GGUF" + bytes(20), b""])
def test_others_do_not_say_it(content):
    assert header_bytes(content[:HEAD_BYTES], len(content)) == 0


def test_nonsense_in_a_header_is_no_end():
    assert tensor_ends(b'{"data_offsets":[1,-2],"data_offsets":[' + b"9" * 5000 + b",1],[3,4]}") == []
