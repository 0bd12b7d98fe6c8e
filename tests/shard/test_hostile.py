"""Shards that somebody damaged or made up are Corrupt, and cost no more than their bytes."""

import struct
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.errors import Corrupt
from storefs.model import Codec
from storefs.shard.format import BigFileEntry, InlineEntry, pack_index
from storefs.shard.index import parse_footer, parse_header, parse_index
from storefs.shard.reader import ShardFile
from tests.shard import golden

BYTES_PER_BYTE_MAX = 16
"""Python objects for a byte of index: an entry of 41 bytes becomes some 300."""

SLACK_BYTES = 256 << 10

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
metas = st.sampled_from([b"", b"{}", b'{"a":[1,{"b":null}]}', '{"ł":"\\u0000"}'.encode()])
inlines = st.builds(
    lambda name, offset, stored, codec, size, meta: InlineEntry(
        name, offset, stored, codec, stored if codec is Codec.NONE else size, meta
    ),
    names,
    st.integers(8, 1 << 62),
    st.integers(0, 1 << 61),
    st.sampled_from(Codec),
    st.integers(0, (1 << 63) - 1),
    metas,
)
hexes = st.binary(min_size=32, max_size=32).map(bytes.hex)
bigs = st.builds(BigFileEntry, names, hexes, st.integers(0, (1 << 63) - 1), metas)


def read_everything(path, data: bytes) -> None:
    """Read a shard in every way; it may be good, or Corrupt, and nothing else."""
    path.write_bytes(data)
    with suppress(Corrupt), ShardFile(path) as shard:
        for entry in shard.entries:
            if isinstance(entry, InlineEntry):
                shard.read(entry)


def parse_without_header(data: bytes) -> None:
    with suppress(Corrupt):
        index_size = parse_footer(data[-12:], len(data))
        parse_index(data[-12 - index_size : -12], None, len(data))


@given(st.lists(st.one_of(inlines, bigs), max_size=10))
@settings(deadline=None)
def test_an_index_comes_back(entries):
    packed = pack_index(entries)
    assert parse_index(packed) == parse_index(packed, 2) == tuple(entries)


@given(st.data())
@settings(deadline=None, max_examples=400)
def test_damage_is_corrupt_and_nothing_else(tmp_path_factory, data):
    body = bytearray(data.draw(st.sampled_from([golden.GOLDEN, golden.mixed(), golden.old()])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(
            st.one_of(
                st.binary(min_size=1, max_size=8),
                st.sampled_from([1, 2, 4, 8]).map(lambda width: b"\xff" * width),
                st.integers(0, (1 << 64) - 1).map(lambda number: struct.pack("<Q", number)),
            )
        )
        body[at : at + len(piece)] = piece
    body = body[: data.draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))]
    read_everything(tmp_path_factory.getbasetemp() / "damaged.des", bytes(body))
    parse_without_header(bytes(body))


@pytest.mark.parametrize("body", [golden.GOLDEN, golden.mixed(), golden.old()])
def test_every_byte_set_to_every_extreme(tmp_path, body):
    for at in range(len(body)):
        for value in (0, 1, 0x7F, 0x80, 0xFF, body[at] ^ 1):
            damaged = body[:at] + bytes([value]) + body[at + 1 :]
            read_everything(tmp_path / "damaged.des", damaged)
            parse_without_header(damaged)


@pytest.mark.parametrize("body", [golden.GOLDEN, golden.mixed(), golden.old()])
def test_a_cut_shard_is_corrupt(tmp_path, body):
    path = tmp_path / "cut.des"
    for cut in range(len(body)):
        path.write_bytes(body[:cut])
        with pytest.raises(Corrupt, match=r"cut\.des"):
            ShardFile(path)


@given(st.binary(max_size=400), st.sampled_from([1, 2, None]), st.none() | st.integers(0, 1 << 40))
@settings(deadline=None, max_examples=300)
def test_noise_is_corrupt(data, version, shard_size):
    for index in (data, b"\x01\x00\x00\x00" + data):
        with suppress(Corrupt):
            parse_index(index, version, shard_size)


@pytest.mark.parametrize("version", [1, 2, None])
@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff" + bytes(1 << 20),
        b"\xff\xff\xff\xff" + b"\x01\x00a" + bytes(1 << 20),
        golden.index(golden.inline(b"x" * 65535, 8, 0, 0, 0, b"[" * 65536)),
        golden.index(golden.inline(b"x", 8, 0, 0, 0, b'{"a":' + b"[" * 60000 + b"}")),
        golden.index(golden.inline(b"x", 8, 0, 0, 0, b'{"a":' + b"9" * 60000 + b"}")),
        golden.index(*[golden.inline(b"x", 8, 0, 0, 0)] * 20000) + b"\0",
        golden.index(*[golden.old_inline(b"x", 8, 0, 0, 0)] * 20000) + b"\0",
    ],
    ids=["count", "count-name", "name-and-nesting", "nesting", "number", "many", "many-old"],
)
def test_claims_cost_no_memory(data, version):
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt):
            parse_index(data, version)
        assert tracemalloc.get_traced_memory()[1] < len(data) * BYTES_PER_BYTE_MAX + SLACK_BYTES
    finally:
        tracemalloc.stop()


RAW = golden.inline(b"x", 8, 7, 0, 7)
SHA = golden.BIG_SHA256.encode()


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (b"", "name length: 2 bytes, 0 are left"),
        (golden.inline(b"", 8, 7, 0, 7) + b" ", "name length: 0"),
        (golden.inline(b"\xff", 8, 7, 0, 7), "name: not UTF-8"),
        (struct.pack("<H", 9999) + bytes(60), "name: 9999 bytes, 60 are left"),
        (RAW[:3] + b"\x02" + RAW[4:], "flags: 0x02 are unknown"),
        (golden.inline(b"x", 7, 7, 0, 7), "offset: 7"),
        (golden.inline(b"x", 1001, 0, 0, 0), "offset: 1001"),
        (golden.inline(b"x", 999, 2, 0, 2), "length: 2 at offset 999"),
        (golden.inline(b"x", 8, (1 << 64) - 1, 0, 7), "length: 18446744073709551615"),
        (golden.inline(b"x", 8, 7, 3, 7), "codec: 3 is unknown"),
        (RAW[:21] + struct.pack("<Q", 8) + RAW[29:], "compressed size: 8, but the length is 7"),
        (golden.inline(b"x", 8, 7, 0, 8), "uncompressed size: 8, with 7 bytes stored as NONE"),
        (golden.inline(b"x", 8, 7, 1, 1 << 63), "uncompressed size: 9223372036854775808"),
        (RAW[:-4] + struct.pack("<I", 65537), "meta length: 65537"),
        (RAW[:-4] + struct.pack("<I", 9), "meta: 9 bytes, 0 are left"),
        (golden.inline(b"x", 8, 7, 0, 7, b"\xff"), "meta: not a JSON object in UTF-8"),
        (golden.inline(b"x", 8, 7, 0, 7, b"[]"), "meta: not a JSON object"),
        (golden.inline(b"x", 8, 7, 0, 7, b'{"a":NaN}'), "meta: not a JSON object in UTF-8: NaN"),
        (golden.inline(b"x", 8, 7, 0, 7, '{"a":1}'.encode("utf-16")), "meta: not a JSON object in UTF-8"),
        (golden.big_file(b"x", SHA[:-1], 7), "hash length: 63, 64 expected"),
        (golden.big_file(b"x", SHA.upper(), 7), "hash: '"),
        (golden.big_file(b"x", b"../" + SHA[3:], 7), "hash: '../"),
        (golden.big_file(b"x", SHA, 1 << 63), "size: 9223372036854775808"),
        (golden.big_file(b"x", SHA, 7, b"1"), "meta: not a JSON object"),
        (RAW + b"\0", "1 bytes behind the last of 2 entries"),
    ],
)
def test_the_fault_is_named(second, says):
    data = golden.index(RAW, second)
    if says.startswith("name length: 2"):
        # As short as an entry may be, so that the count is believed: the first one is longer than that.
        data = golden.index(golden.inline(b"x" * 60, 8, 7, 0, 7), second)
    elif len(second) < 41:
        pytest.fail("the count would be refused first")
    with pytest.raises(Corrupt) as caught:
        parse_index(data, 2, 1000 + 12 + len(data))
    assert says in str(caught.value)
    assert "index entry 1: " in str(caught.value) or says.endswith("entries")


def test_a_count_without_room_is_refused():
    with pytest.raises(Corrupt, match="count 2, 45 bytes have room for 1"):
        parse_index(b"\x02" + golden.index(RAW)[1:], 2)


@pytest.mark.parametrize(
    "head", [b"", b"DES2\x02\x00\x00", b"DES3\x02\0\0\0", b"DES2\x03\0\0\0", b"DES2\x00\0\0\0", b"DES2\x02\0\0\x01"]
)
def test_other_headers_are_corrupt(head):
    with pytest.raises(Corrupt, match="header"):
        parse_header(head)


@pytest.mark.parametrize(
    ("index_size", "shard_size"), [(0, 100), (3, 100), (81, 100), ((1 << 64) - 1, 100), ((1 << 28) + 1, None), (4, 3)]
)
def test_other_footers_are_corrupt(index_size, shard_size):
    with pytest.raises(Corrupt, match=f"footer: index size {index_size}"):
        parse_footer(b"DESI" + struct.pack("<Q", index_size), shard_size)


@pytest.mark.parametrize("tail", [b"", b"DESI" + bytes(7), b"DESX" + bytes(8), b"DESI" + bytes(9)])
def test_what_is_no_footer_is_corrupt(tail):
    with pytest.raises(Corrupt, match="footer"):
        parse_footer(tail)
