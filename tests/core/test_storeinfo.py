"""store.json: round trip, and every impossible value refused."""

import json

import pytest

from storefs.core import storeinfo
from storefs.core.chunking import ChunkSizes
from storefs.core.storeinfo import StoreInfo
from storefs.errors import Corrupt, UnknownFormat

INFO = StoreInfo(bytes(range(16)), 5, 0o040755, 1000, 100, ChunkSizes())


def changed(**parts):
    document = json.loads(storeinfo.pack(INFO))
    for path, value in parts.items():
        *folders, name = path.split("__")
        place = document
        for folder in folders:
            place = place[folder]
        if value is None:
            del place[name]
        else:
            place[name] = value
    return json.dumps(document).encode()


def test_round_trip():
    assert storeinfo.parse(storeinfo.pack(INFO)) == INFO


@pytest.mark.parametrize(
    "parts",
    [
        {"format": 2},
        {"format": "1"},
        {"chunking__algorithm": "rabin"},
        {"digest": "sha256"},
        {"shard": "DES3"},
    ],
    ids=str,
)
def test_another_format_is_told_from_damage(parts):
    with pytest.raises(UnknownFormat):
        storeinfo.parse(changed(**parts))


@pytest.mark.parametrize(
    "parts",
    [
        {"store": "00"},
        {"store": "zz" * 16},
        {"store": None},
        {"created_ns": "yesterday"},
        {"root__mode": 0o100644},
        {"root": []},
        {"chunking__minimum": 0},
        {"chunking__minimum": 2 << 20},
        {"chunking__average": 1},
        {"chunking__maximum": 1 << 30},
        {"chunking__small": -1},
        {"chunking__small": 1 << 30},
        {"chunking__colour": 1},
    ],
    ids=str,
)
def test_impossible_values_are_refused(parts):
    with pytest.raises(Corrupt):
        storeinfo.parse(changed(**parts))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"<html>", b'"format"'])
def test_other_files_are_refused(data):
    with pytest.raises(Corrupt):
        storeinfo.parse(data)
