"""Fetching: one request for what many want, neighbours together, and damage that stays where it is."""

import pytest
import trio

from storefs.core import keys
from storefs.errors import Corrupt, StoreUnavailable
from storefs.testing.world import find, noise, put_file, read, with_limits


@pytest.fixture
async def cold(world, tmp_path, autojump_clock, seed):
    """A mount with an empty cache of a store with one file, ``file``, of 40,000 bytes; no read-ahead."""
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", noise(seed, 40_000))
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two", with_limits(read_ahead_bytes=0)) as volume:
        world.store.requests.clear()
        yield volume


def fetches(world):
    return [one for one in world.store.requests if one.operation == "get" and one.key.startswith(keys.SHARDS)]


async def damage(world, place):
    """Flip a bit in the middle of a chunk's payload in the store."""
    (key,) = await world.shards()
    content = bytearray(await world.memory.get(key))
    content[place.offset + place.stored // 2] ^= 1
    await world.memory.put(key, bytes(content))


async def test_many_readers_of_a_chunk_make_one_request(cold, world, autojump_clock, seed):
    ino = find(cold, "file")
    answers = []

    async def slow(request):
        if request.key.startswith(keys.SHARDS):
            await trio.sleep(1)

    world.store.before = slow

    async def reader():
        answers.append(await read(cold, ino, 0, 500))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(reader)
    assert answers == [noise(seed, 40_000)[:500]] * 10
    assert len(fetches(world)) == 1


async def test_neighbours_come_in_one_request_and_are_kept(cold, world, autojump_clock, seed):
    ino = find(cold, "file")
    assert len(cold.engine.tree.extents.all(ino)) > 3
    assert await read(cold, ino) == noise(seed, 40_000)
    assert len(fetches(world)) == 1
    world.faults.away = True
    assert await read(cold, ino) == noise(seed, 40_000)


async def test_a_part_is_fetched_without_the_rest(cold, world, autojump_clock, seed):
    ino = find(cold, "file")
    extent = cold.engine.tree.extents.all(ino)[1]
    place = cold.engine.tree.chunks.place(extent.chunk)
    assert await read(cold, ino, extent.offset, 10) == noise(seed, 40_000)[extent.offset :][:10]
    (request,) = fetches(world)
    assert (request.start, request.length) == (place.offset, place.stored)


async def test_a_damaged_chunk_does_not_take_its_neighbours_along(cold, world, autojump_clock, seed):
    ino = find(cold, "file")
    extents = cold.engine.tree.extents.all(ino)
    bad = extents[len(extents) // 2]
    await damage(world, cold.engine.tree.chunks.place(bad.chunk))
    with pytest.raises(Corrupt):
        await read(cold, ino)
    world.store.requests.clear()
    for extent in extents:
        if extent is bad:
            with pytest.raises(Corrupt):
                await read(cold, ino, extent.offset, extent.length)
        else:
            assert (
                await read(cold, ino, extent.offset, extent.length) == noise(seed, 40_000)[extent.offset : extent.end]
            )


async def test_a_chunk_that_was_damaged_in_the_store_heals_with_it(cold, world, autojump_clock, seed):
    """Bytes that do not match are not kept: the next read asks the store again."""
    ino = find(cold, "file")
    (key,) = await world.shards()
    good = await world.memory.get(key)
    await damage(world, cold.engine.tree.chunks.place(cold.engine.tree.extents.all(ino)[0].chunk))
    with pytest.raises(Corrupt):
        await read(cold, ino)
    await world.memory.put(key, good)
    assert await read(cold, ino) == noise(seed, 40_000)


async def test_cached_bytes_that_were_damaged_are_fetched_again(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 40_000)
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", data)
        await volume.engine.finish(60)
        (path,) = volume.engine.home.shards.iterdir()
    path.write_bytes(bytes(path.stat().st_size))
    async with world.engine_at(tmp_path / "one") as volume:
        assert await read(volume, find(volume, "file")) == data


async def test_damaged_bytes_that_only_this_disk_has_are_an_error_and_are_kept(world, tmp_path, autojump_clock, seed):
    """With a decoded cache of nothing, each read goes to the disk. ENOENT would be a lie: the file is there."""
    async with world.engine_at(tmp_path / "one", with_limits(decoded_bytes=1)) as volume:
        world.faults.away = True
        ino = await put_file(volume, "file", noise(seed, 20_000))
        await volume.engine.cutter.drain()
        (path,) = volume.engine.home.shards.iterdir()
        path.write_bytes(bytes(path.stat().st_size))
        world.faults.away = False
        with pytest.raises(Corrupt):
            await read(volume, ino)
        assert path.exists()


async def test_a_shard_that_the_store_lost_is_an_io_error(cold, world, autojump_clock):
    await world.memory.delete(await world.shards())
    with pytest.raises(Corrupt):
        await read(cold, find(cold, "file"))


async def test_a_read_waits_for_the_store(cold, world, autojump_clock, seed):
    async def come_back():
        await trio.sleep(cold.engine.limits.store_deadline_s - 1)
        world.faults.away = False

    world.faults.away = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_back)
        assert await read(cold, find(cold, "file")) == noise(seed, 40_000)


async def test_a_read_without_the_store_fails_and_succeeds_later(cold, world, autojump_clock, seed):
    world.faults.away = True
    began_s = trio.current_time()
    with pytest.raises(StoreUnavailable):
        await read(cold, find(cold, "file"))
    assert trio.current_time() - began_s == pytest.approx(cold.engine.limits.store_deadline_s, abs=1)
    world.faults.away = False
    assert await read(cold, find(cold, "file")) == noise(seed, 40_000)


async def test_a_reader_in_order_is_fetched_ahead_for(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 300_000)
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", data)
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as volume:
        ino = find(volume, "file")
        for at in (0, 10_000, 20_000):
            await read(volume, ino, at, 10_000)
        await trio.sleep(1)
        world.store.requests.clear()
        assert await read(volume, ino, 30_000, 20_000) == data[30_000:50_000]
        assert fetches(world) == []
