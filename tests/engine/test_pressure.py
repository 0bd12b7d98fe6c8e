"""Pressure: writers wait while too much waits for the store, and are told when that lasts too long."""

import errno

import pytest
import trio

from storefs.errors import NotCommitted
from storefs.testing.world import create, find, noise, put_file, read, with_limits, write

LIMIT = 1 << 20


async def test_a_small_limit_holds_nobody_up_for_ever(world, tmp_path, autojump_clock, seed):
    """Less than one batch of anything is allowed to wait: it gets committed, and writers go on."""
    async with world.engine_at(tmp_path / "one", with_limits(dirty_bytes=LIMIT)) as volume:
        for number in range(8):
            await put_file(volume, f"{number}", noise(f"{seed}/{number}", 300_000))
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as volume:
        for number in range(8):
            assert await read(volume, find(volume, f"{number}")) == noise(f"{seed}/{number}", 300_000)


async def test_a_write_beyond_the_limit_waits_and_then_fails(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one", with_limits(dirty_bytes=LIMIT)) as volume:
        world.faults.away = True
        ino = create(volume, "file")
        began_s = trio.current_time()
        await write(volume, ino, noise(seed, LIMIT))
        assert trio.current_time() == began_s
        with pytest.raises(NotCommitted) as refused:
            await write(volume, ino, b"x", offset=LIMIT)
        assert refused.value.errno == errno.EIO
        assert trio.current_time() - began_s == pytest.approx(volume.engine.limits.store_deadline_s, abs=1)
        assert volume.attributes.get(ino).size == LIMIT


async def test_a_waiting_write_goes_on_when_the_store_is_back(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one", with_limits(dirty_bytes=LIMIT)) as volume:
        world.faults.away = True
        ino = create(volume, "file")
        await write(volume, ino, noise(seed, LIMIT))
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, volume, ino, b"x", LIMIT)
            await trio.sleep(10)
            world.faults.away = False
        assert 10 <= trio.current_time() - began_s < 40
        assert await read(volume, ino) == noise(seed, LIMIT) + b"x"


async def test_reading_needs_no_room(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one", with_limits(dirty_bytes=LIMIT)) as volume:
        world.faults.away = True
        ino = create(volume, "file")
        await write(volume, ino, noise(seed, LIMIT))
        assert await read(volume, ino) == noise(seed, LIMIT)


async def test_the_cache_stays_within_its_limit(world, tmp_path, autojump_clock, seed):
    limits = with_limits(cache_bytes=300_000, dirty_bytes=200_000)
    async with world.engine_at(tmp_path / "one", limits) as volume:
        for number in range(10):
            await put_file(volume, f"{number}", noise(f"{seed}/{number}", 100_000))
            await volume.files.fsync()
        await trio.sleep(1)
        files = volume.engine.home.shards.iterdir()
        assert sum(path.stat().st_size for path in files) <= 300_000
        assert volume.engine.cache.disk_bytes <= 300_000
        for number in range(10):
            assert await read(volume, find(volume, f"{number}")) == noise(f"{seed}/{number}", 100_000)
