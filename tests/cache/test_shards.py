"""Shard files: parts at their offsets, remembered over restarts; the longest unused leave first."""

import random

import pytest

from storefs.cache.chunks import ChunkCache, DecodedChunks
from storefs.cache.direct import DirectIO
from storefs.cache.lending import Memory
from storefs.cache.shards import ShardFiles
from storefs.model import ChunkId, ChunkPlace, Codec, ShardId
from storefs.testing.world import noise
from storefs.vault.vault import Vault

ONE, TWO, THREE = (ShardId(bytes([number]) * 16) for number in (1, 2, 3))


@pytest.fixture
def start(tmp_path):
    """Open the files of the folder, as each start of a mount does; all are closed at the end."""
    (tmp_path / "shards").mkdir()
    opened = []

    def open_files():
        vault = Vault(tmp_path / "vault.sqlite")
        files = ShardFiles(tmp_path / "shards", vault, DirectIO(Memory(8 << 20)))
        opened.extend((files, vault))
        return files, ChunkCache(vault, files)

    yield open_files
    for one in opened:
        one.close()


def put(files, shard, offset, data):
    """Write a part, as somebody does who fetched it."""
    files.write(shard, offset, data)
    files.note(shard, offset, offset + len(data))


def test_parts_are_read_and_nothing_else(start, seed):
    files, _ = start()
    put(files, ONE, 100, noise(seed, 50))
    put(files, ONE, 150, noise("more", 50))
    assert files.read(ONE, 100, 100) == noise(seed, 50) + noise("more", 50)
    assert files.read(ONE, 99, 2) is None
    assert files.read(ONE, 199, 2) is None
    assert files.read(TWO, 100, 1) is None
    assert files.bytes == files.size(ONE) == 100


def test_parts_are_remembered_over_a_restart(start, seed):
    files, _ = start()
    put(files, ONE, 100, noise(seed, 50))
    put(files, ONE, 1000, noise(seed, 50))
    again, _ = start()
    assert again.read(ONE, 1000, 50) == noise(seed, 50)
    assert again.read(ONE, 100, 950) is None
    assert again.bytes == 100


def test_what_is_written_twice_is_counted_once(start, seed):
    files, _ = start()
    put(files, ONE, 0, noise(seed, 100))
    put(files, ONE, 50, noise(seed, 100))
    assert files.bytes == 150
    files.extend(TWO, 70)
    files.extend(TWO, 90)
    files.note(TWO, 0, 100)
    assert files.bytes == 250
    files.remove(ONE)
    assert files.bytes == 100
    assert not files.path(ONE).exists()
    assert files.read(ONE, 0, 10) is None


def test_a_shard_without_a_record_is_a_stray(start):
    files, _ = start()
    put(files, ONE, 0, b"x")
    files.path(TWO).write_bytes(b"x")
    assert files.strays() == [files.path(TWO)]


@pytest.mark.parametrize("left", [None, 5])
def test_a_file_that_was_cleaned_up_by_hand_is_not_there(start, left):
    files, _ = start()
    put(files, ONE, 0, b"x" * 10)
    again, _ = start()
    if left is None:
        again.path(ONE).unlink()
    else:
        again.path(ONE).write_bytes(b"x" * left)
    assert again.read(ONE, 0, 10) is None


def test_more_files_than_descriptors(start):
    files, _ = start()
    shards = [ShardId(b"%016d" % number) for number in range(200)]
    for number, shard in enumerate(shards):
        put(files, shard, 0, b"%03d" % number)
    assert [files.read(shard, 0, 3) for shard in shards] == [b"%03d" % number for number in range(200)]


def test_the_longest_unused_leave_and_the_held_stay(start):
    files, cache = start()
    for shard in (ONE, TWO, THREE):
        put(files, shard, 0, b"x" * 100)
    files.read(ONE, 0, 10)
    assert cache.evict(1, set(), {bytes(TWO)}) == 100
    assert [files.has(shard, 0, 100) for shard in (ONE, TWO, THREE)] == [True, True, False]
    assert cache.evict(1 << 30, set(), {bytes(TWO)}) == 100
    assert [files.has(shard, 0, 100) for shard in (ONE, TWO, THREE)] == [False, True, False]


def test_held_chunks_of_the_vault_stay(start):
    _, cache = start()
    chunks = [ChunkId(bytes([number]) * 32) for number in range(5)]
    cache.put_contents([(chunk, b"x" * 100) for chunk in chunks])
    assert cache.evict(1 << 30, {bytes(chunks[2])}, set()) == 400
    assert [cache.content(chunk) is not None for chunk in chunks] == [False, False, True, False, False]


def test_a_dropped_chunk_is_nowhere(start):
    files, cache = start()
    place = ChunkPlace(ChunkId(bytes(32)), ONE, 0, 10, Codec.NONE, 10)
    put(files, ONE, 0, b"x" * 10)
    cache.put_contents([(place.chunk, b"x" * 10)])
    assert cache.has(place)
    cache.drop(place)
    assert not cache.has(place)
    assert cache.payload(place) is cache.content(place.chunk) is None
    assert cache.disk_bytes == 0


def test_decoded_chunks_stay_within_their_memory():
    decoded = DecodedChunks(25_000)
    chunks = [ChunkId(bytes([number]) * 32) for number in range(4)]
    for chunk in chunks[:2]:
        decoded.put(chunk, bytes(10_000))
    decoded.get(chunks[0])
    decoded.put(chunks[2], bytes(10_000))
    assert [decoded.get(chunk) is not None for chunk in chunks[:3]] == [True, False, True]
    assert decoded.bytes <= 25_000
    decoded.put(chunks[3], bytes(100_000))  # larger than all: kept alone
    assert decoded.get(chunks[3]) is not None
    assert decoded.get(chunks[0]) is None


def test_what_was_read_leaves_in_whatever_order_that_was(seed):
    """A reader who goes on needs what comes, not what was; the kernel does not ask for it in order."""
    dice, decoded, size = random.Random(seed), DecodedChunks(64 << 20), 1 << 20
    chunks = [ChunkId(number.to_bytes(32)) for number in range(40)]
    for chunk in chunks:
        decoded.put(chunk, bytes(size))
    reads = [(chunk, size // 8) for chunk in chunks for _ in range(8)]
    dice.shuffle(reads)
    left = dict.fromkeys(chunks, 8)
    for chunk, length in reads:
        assert decoded.get(chunk) is not None
        decoded.note_read(chunk, length)
        left[chunk] -= 1
        assert (decoded.get(chunk) is not None) == (left[chunk] > 0)
    assert decoded.bytes == 0
    decoded.note_read(chunks[0], size)
    decoded.put(chunks[0], bytes(size))
    decoded.note_read(chunks[0], size // 2)
    assert decoded.get(chunks[0]) is not None, "what was read of it before it came back counts no more"


def test_the_longest_unused_make_room():
    decoded = DecodedChunks(1 << 20)
    chunks = [ChunkId(bytes([number]) * 32) for number in range(4)]
    for chunk in chunks:
        decoded.put(chunk, bytes(10_000))
    decoded.get(chunks[0])
    decoded.shrink(15_000)
    assert [decoded.get(chunk) is not None for chunk in chunks] == [True, False, False, True]
    decoded.shrink(1 << 30)
    assert decoded.bytes == 0


def test_a_shard_is_read_past_the_page_cache_unless_it_grows(start, seed):
    files, _ = start()
    data = noise(seed, 300_000)
    files.path(ONE).write_bytes(data)
    files.extend(ONE, 200_000)
    assert files.direct(ONE) is None, "reads would wait for the writes"
    assert files.read_block(ONE, 1000, 100_000) == data[1000:101_000]
    files.note(ONE, 0, 300_000)
    assert files.direct(ONE) is not None
    assert files.read_block(ONE, 1000, 250_000) == data[1000:251_000]
    assert files.read_block(ONE, 299_999, 2) is None
    files.path(ONE).unlink()
    assert files.read_block(ONE, 5, 10) == data[5:15], "it was open"
    files.remove(ONE)
    assert files.read_block(ONE, 5, 10) is None
    put(files, ONE, 0, data)
    files.path(ONE).unlink()
    assert files.read_block(ONE, 5, 10) is None, "somebody cleaned up by hand"


def test_what_was_written_into_a_file_that_left_is_not_recorded(start, seed):
    files, _ = start()
    life = files.life(ONE)
    files.write(ONE, 0, noise(seed, 10))
    files.remove(ONE)
    put(files, ONE, 50, noise(seed, 10))
    files.note(ONE, 0, 10, life)
    assert files.read(ONE, 0, 10) is None
    assert files.read(ONE, 50, 10) == noise(seed, 10)
    assert files.bytes == 10


def test_a_file_that_comes_back_after_it_left_is_no_stray(start, seed):
    files, _ = start()
    life = files.life(ONE)
    files.remove(ONE)
    files.write(ONE, 0, noise(seed, 10))
    files.note(ONE, 0, 10, life)
    assert not files.has(ONE, 0, 10)
    assert files.strays() == []
    assert not files.path(ONE).exists()


def test_a_file_is_the_same_until_it_leaves(start, seed):
    files, _ = start()
    life = files.life(ONE)
    put(files, ONE, 0, noise(seed, 10))
    files.note(ONE, 10, 10, files.life(ONE))
    assert files.is_same(ONE, life)
    files.remove(ONE)
    assert not files.is_same(ONE, life)
    assert not files.is_same(ONE, files.life(TWO))
    assert files.is_same(ONE, files.life(ONE))
