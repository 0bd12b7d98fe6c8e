"""Remote shards cost three requests, and damage is named, with the shard and the chunk."""

import random

import pytest

from storefs.core.digest import chunk_id
from storefs.errors import Corrupt, ObjectMissing
from storefs.model import ChunkPlace, Codec, ShardId
from storefs.shard import codec
from storefs.shard.format import BigFileEntry
from storefs.shard.reader import ShardFile, decode_chunk, fetch_entry, read_entry, read_index
from tests.shard import golden

SHARD = ShardId(bytes(range(16)))


class Remote:
    """One object, and the requests that were made for it."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.requests: list[tuple[int, int | None]] = []

    async def get(self, start: int, length: int | None) -> bytes:
        self.requests.append((start, length))
        if start < 0:
            assert length is None
            return self.body[start:]
        return self.body[start:] if length is None else self.body[start : start + length]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("body", [golden.GOLDEN, golden.mixed(), golden.old()])
async def test_an_index_costs_two_requests_and_an_entry_a_third(tmp_path, body, known):
    path = tmp_path / "shard.des"
    path.write_bytes(body)
    size = len(body) if known else None
    with ShardFile(path) as local:
        remote = Remote(body)
        assert await read_index(remote.get, size) == local.entries
        assert len(remote.requests) == 2
        for entry in local.entries:
            remote = Remote(body)
            content = await read_entry(remote.get, entry.name, size)
            if isinstance(entry, BigFileEntry):
                assert content == entry
                continue
            assert content == local.read(entry)
            assert len(remote.requests) == 3
            assert remote.requests[-1] == (entry.offset, entry.stored)
            assert await fetch_entry(remote.get, entry) == content
            assert len(remote.requests) == 4


async def test_an_unknown_name_is_missing():
    remote = Remote(golden.GOLDEN)
    with pytest.raises(ObjectMissing, match="shard x has no entry uid-124"):
        await read_entry(remote.get, "uid-124", label="shard x")


@pytest.mark.parametrize("known", [True, False])
async def test_a_shard_cut_at_any_byte_is_corrupt(known):
    body = golden.mixed()
    for cut in range(len(body)):
        remote = Remote(body[:cut])
        with pytest.raises(Corrupt, match="shard x"):
            await read_index(remote.get, len(body) if known else None, "shard x")


async def test_a_shard_that_changes_between_requests_is_corrupt():
    class Changing(Remote):
        async def get(self, start: int, length: int | None) -> bytes:
            data = await super().get(start, length)
            self.body = golden.mixed()
            return data

    with pytest.raises(Corrupt, match="expected up to the footer"):
        await read_index(Changing(golden.GOLDEN).get)


async def test_a_payload_that_comes_short_is_corrupt():
    remote = Remote(golden.GOLDEN)
    (entry,) = await read_index(remote.get)
    remote.body = golden.GOLDEN[:10]
    with pytest.raises(Corrupt, match="shard x, entry uid-123 at 8: 2 bytes came, 7 are stored"):
        await fetch_entry(remote.get, entry, "shard x")


# --- chunks -----------------------------------------------------------------------------------------------------------


def stored(data: bytes, wanted: Codec) -> tuple[bytes, ChunkPlace]:
    kind, payload = codec.encode(data, codec=wanted)
    return bytes(payload), ChunkPlace(chunk_id(data), SHARD, 8, len(payload), kind, len(data))


@pytest.mark.parametrize("wanted", list(Codec))
@pytest.mark.parametrize("data", [b"", b"x", golden.TEXT])
def test_chunks_come_back(wanted, data):
    payload, place = stored(data, wanted)
    for dress in (bytes, bytearray, memoryview):
        content = decode_chunk(dress(payload), place)
        assert type(content) is bytes
        assert content == data


@pytest.mark.parametrize("wanted", list(Codec))
def test_a_flipped_bit_is_found_and_named(seed, wanted):
    dice = random.Random(seed)
    data = b"".join(b"%d of the same\n" % dice.randrange(9) for _ in range(40))
    payload, place = stored(data, wanted)
    assert place.codec is wanted
    said, harmless = [], 0
    for bit in range(len(payload) * 8):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            # A frame has bits that decoders ignore: then the content is proven right all the same.
            assert decode_chunk(damaged, place) == data
            harmless += 1
        except Corrupt as error:
            said.append(str(error))
    where = f"shard {SHARD.hex()}, chunk {place.chunk.hex()} at 8: "
    assert [text for text in said if not text.startswith(where)] == []
    assert harmless <= (0 if wanted is Codec.NONE else 16)


def test_another_chunks_payload_is_corrupt():
    _, place = stored(b"wanted", Codec.NONE)
    with pytest.raises(Corrupt, match="does not match its digest"):
        decode_chunk(b"gotten", place)
    with pytest.raises(Corrupt, match="5 bytes came, 6 are stored"):
        decode_chunk(b"gotte", place)
