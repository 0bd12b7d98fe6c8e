"""Paging ahead: random reads of a file that is here earn the rest of it, step by step; few of them earn nothing."""

import random
from itertools import pairwise

import pytest
import trio

from storefs.cache import shards
from storefs.engine import pageahead
from storefs.testing.world import noise, put_file, read, with_limits

SIZE = 1 << 20
PIECE = 4096
LIMITS = with_limits(paged_bytes=2 * SIZE, cache_bytes=64 << 20, shard_bytes=256 << 10)


@pytest.fixture
def announced(monkeypatch):
    """What the disk was told: (file, first byte, end)."""
    told = []

    def announce(path, spans):
        told.extend((path.name, span.start, span.end) for span in spans)
        return shards.announce(path, spans)

    monkeypatch.setattr(pageahead, "announce", announce)
    monkeypatch.setattr(pageahead, "_STEP_BYTES", 64 << 10)
    # Everything that is far away counts as a jump.
    monkeypatch.setattr("storefs.engine.readahead._NEAR_BYTES", 0)
    return told


async def shuffled(volume, ino, data, dice, reads):
    for offset in dice.sample(range(0, SIZE - PIECE, PIECE), reads):
        assert await read(volume, ino, offset, PIECE) == data[offset : offset + PIECE]
        await trio.testing.wait_all_tasks_blocked()


async def test_random_reads_bring_the_rest_once(world, tmp_path, autojump_clock, seed, announced):
    data, dice = noise(seed, SIZE), random.Random(seed)
    async with world.engine_at(tmp_path / "one", LIMITS) as volume:
        ino = await put_file(volume, "file", data)
        await volume.engine.finish(60)
        announced.clear()
        await shuffled(volume, ino, data, dice, 200)
        pages = volume.engine.read_ahead.pages
        assert pages.bytes == sum(end - start for _, start, end in announced) == SIZE
        for (shard, _, end), (next_shard, start, _) in pairwise(sorted(announced)):
            assert shard != next_shard or end <= start


async def test_what_comes_is_what_was_earned(world, tmp_path, autojump_clock, seed, announced):
    data, dice = noise(seed, SIZE), random.Random(seed)
    async with world.engine_at(tmp_path / "one", LIMITS) as volume:
        ino = await put_file(volume, "file", data)
        await volume.engine.finish(60)
        announced.clear()
        await shuffled(volume, ino, data, dice, 10)
        pages = volume.engine.read_ahead.pages
        assert pages.bytes <= 10 * PIECE * 16 + (64 << 10)


@pytest.mark.parametrize("paged_bytes", [0, SIZE - 1])
async def test_files_that_do_not_fit_are_left(world, tmp_path, autojump_clock, seed, announced, paged_bytes):
    data, dice = noise(seed, SIZE), random.Random(seed)
    limits = with_limits(paged_bytes=paged_bytes, cache_bytes=64 << 20)
    async with world.engine_at(tmp_path / "one", limits) as volume:
        ino = await put_file(volume, "file", data)
        await volume.engine.finish(60)
        announced.clear()
        await shuffled(volume, ino, data, dice, 200)
        assert volume.engine.read_ahead.pages.bytes == 0


async def test_readers_in_order_earn_nothing(world, tmp_path, autojump_clock, seed, announced):
    data = noise(seed, SIZE)
    async with world.engine_at(tmp_path / "one", LIMITS) as volume:
        ino = await put_file(volume, "file", data)
        await volume.engine.finish(60)
        announced.clear()
        for offset in range(0, SIZE, PIECE):
            assert await read(volume, ino, offset, PIECE) == data[offset : offset + PIECE]
        await trio.testing.wait_all_tasks_blocked()
        assert volume.engine.read_ahead.pages.bytes == 0


async def test_a_shard_that_was_evicted_meanwhile_is_no_error(tmp_path):
    assert shards.announce(tmp_path / "gone.des", []) == 0
