"""Blocks: any part of a proven chunk is read and checked by itself; what changed on the disk is noticed."""

import random

import pytest

from storefs.cache.blocks import BlockChecks
from storefs.cache.direct import DirectIO
from storefs.cache.shards import ShardFiles
from storefs.core.digest import CHECKED_BYTES, chunk_id
from storefs.errors import Corrupt
from storefs.model import ChunkPlace, Codec, ShardId
from storefs.testing.world import noise
from storefs.vault.vault import Vault

SHARD = ShardId(bytes(16))
AT = 77
SIZE = 9 * CHECKED_BYTES + 123


@pytest.fixture
def files(tmp_path):
    vault = Vault(tmp_path / "vault.sqlite")
    (tmp_path / "shards").mkdir()
    files = ShardFiles(tmp_path / "shards", vault, DirectIO(8 << 20))
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
    with pytest.raises(Corrupt, match="lies at 32768 to 49152 "):
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
