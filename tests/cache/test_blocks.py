"""Blocks: any part of a proven chunk is read and checked by itself; what changed on the disk is noticed."""

import random

import pytest

from storefs.cache.blocks import BlockChecks
from storefs.cache.direct import DirectIO
from storefs.cache.lending import Memory
from storefs.cache.shards import ShardFiles
from storefs.core.digest import CHECKED_BYTES, chunk_id
from storefs.errors import Corrupt
from storefs.model import ChunkId, ChunkPlace, Codec, ShardId
from storefs.testing.world import noise
from storefs.vault.vault import Vault

SHARD = ShardId(bytes(16))
AT = 77
SIZE = 19 * CHECKED_BYTES + 123


@pytest.fixture
def files(tmp_path):
    vault = Vault(tmp_path / "vault.sqlite")
    (tmp_path / "shards").mkdir()
    files = ShardFiles(tmp_path / "shards", vault, DirectIO(Memory(8 << 20)))
    yield files
    files.close()
    vault.close()


def keep(files, data, codec=Codec.NONE):
    files.write(SHARD, AT, data)
    files.note(SHARD, AT, AT + len(data))
    return ChunkPlace(chunk_id(data), SHARD, AT, len(data), codec, len(data))


def test_every_part_is_read_as_it_is(files, seed):
    data, dice = noise(seed, SIZE), random.Random(seed)
    place, blocks = keep(files, data), BlockChecks(files)
    assert blocks.read(place, 0, 10) is None, "nobody has proven it"
    blocks.note(place, data)
    for _ in range(200):
        start = dice.randrange(SIZE)
        end = dice.randint(start + 1, SIZE)
        assert blocks.read(place, start, end) == data[start:end]
    assert blocks.read(place, SIZE - 1, SIZE) == data[-1:]


def test_a_changed_byte_is_noticed_in_its_block_only(files, seed):
    data = noise(seed, SIZE)
    place, blocks = keep(files, data), BlockChecks(files)
    blocks.note(place, data)
    where = 2 * CHECKED_BYTES + 7
    files.write(SHARD, AT + where, bytes([data[where] ^ 1]))
    with pytest.raises(Corrupt, match="lies at 16384 to 24576 "):
        blocks.read(place, where + 10, where + 20)
    assert blocks.read(place, 0, CHECKED_BYTES) == data[:CHECKED_BYTES]


def test_what_was_evicted_is_not_there(files, seed):
    data = noise(seed, SIZE)
    place, blocks = keep(files, data), BlockChecks(files)
    blocks.note(place, data)
    files.remove(SHARD)
    assert blocks.read(place, 0, 10) is None


def test_compressed_payloads_have_no_blocks(files, seed):
    data = noise(seed, SIZE)
    place, blocks = keep(files, data, Codec.ZSTD), BlockChecks(files)
    blocks.note(place, data)
    assert blocks.read(place, 0, 10) is None


def test_what_is_read_ahead_answers_the_next_reads_without_the_disk(files, seed, monkeypatch):
    data = noise(seed, SIZE)
    place, blocks = keep(files, data), BlockChecks(files)
    blocks.note(place, data)
    reads = []
    real = files.read_block
    monkeypatch.setattr(files, "read_block", lambda *where: reads.append(where) or real(*where))
    assert blocks.read(place, 5, 10, 20_000) == data[5:10]
    for start in range(10, 20_010, 100):
        assert blocks.read(place, start, start + 100) == data[start : start + 100]
    assert len(reads) == 1
    end = place.size
    assert blocks.read(place, end - 50, end, 1 << 20) == data[-50:], "nothing lies behind the chunk's end"
    assert blocks.read(place, 40_000, 40_001) == data[40_000:40_001]
    assert len(reads) == 3


def test_damage_in_what_is_read_ahead_is_noticed(files, seed):
    data = noise(seed, SIZE)
    place, blocks = keep(files, data), BlockChecks(files)
    blocks.note(place, data)
    files.write(SHARD, AT + 30_000, bytes([data[30_000] ^ 1]))
    with pytest.raises(Corrupt):
        blocks.read(place, 0, 10, 40_000)
    assert blocks.read(place, 0, 10) == data[:10]


def test_little_of_what_was_read_ahead_is_kept(files, seed, monkeypatch):
    blocks, data = BlockChecks(files), noise(seed, SIZE)
    keep(files, data)
    places = [ChunkPlace(ChunkId(bytes([number]) * 32), SHARD, AT, SIZE, Codec.NONE, SIZE) for number in range(40)]
    for place in places:
        blocks.note(place, data)
        assert blocks.read(place, 0, 10, 10_000) == data[:10]
    reads = []
    real = files.read_block
    monkeypatch.setattr(files, "read_block", lambda *where: reads.append(where) or real(*where))
    for place in places[-16:]:
        assert blocks.read(place, 5_000, 5_010) == data[5_000:5_010]
    assert not reads
    for place in places[:24]:
        assert blocks.read(place, 5_000, 5_010) == data[5_000:5_010]
    assert len(reads) == 24
