"""Trips of large chunks: readers have the bytes before the disk has, and a slow or full disk holds nobody up."""

import pytest
import trio

from storefs.cache.blocks import BlockChecks
from storefs.cache.shards import ShardFiles
from storefs.core import keys
from storefs.core.ranges import Span, coalesce
from storefs.errors import Corrupt, NoSpace
from storefs.testing.world import find, noise, put_file, read, with_limits

SIZE = 2 << 20
LIMITS = with_limits(read_ahead_bytes=0, small_bytes=1024, fetch_bytes=300 << 10, decoded_bytes=4 << 20, parallel=8)


@pytest.fixture
async def cold(world, tmp_path, autojump_clock, seed):
    """A mount with an empty cache of a store with one file, of 2 MiB, which comes in some seven ranges."""
    async with world.engine_at(tmp_path / "one", with_limits(shard_bytes=4 << 20)) as volume:
        await put_file(volume, "file", noise(seed, SIZE))
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        world.store.requests.clear()
        yield volume


def fetches(world):
    return [one for one in world.store.requests if one.operation == "get" and one.key.startswith(keys.SHARDS)]


@pytest.fixture
def writes(monkeypatch):
    """Whether each range was written directly, in order."""
    seen, real = [], ShardFiles.write

    def write(self, shard, offset, data, *, direct=False):
        seen.append(direct)
        real(self, shard, offset, data, direct=direct)

    monkeypatch.setattr(ShardFiles, "write", write)
    return seen


async def test_readers_do_not_wait_for_the_disk(cold, world, writes, autojump_clock, seed):
    run = world.offload.run

    async def slow(function, *arguments):
        if function.__name__ == "_write_direct":
            await trio.sleep(100)
        return await run(function, *arguments)

    world.offload.run = slow
    began_s = trio.current_time()
    assert await read(cold, find(cold, "file")) == noise(seed, SIZE)
    assert trio.current_time() < began_s + 50
    asked = len(fetches(world))
    assert asked > 4
    assert writes == [False] * (asked - 2), "two are still under way"
    places = [
        cold.engine.tree.chunks.place(extent.chunk) for extent in cold.engine.tree.extents.all(find(cold, "file"))
    ]
    assert not all(map(cold.engine.cache.has, places))
    await trio.sleep(150)
    assert all(map(cold.engine.cache.has, places))
    assert sorted(writes) == [False] * (asked - 2) + [True] * 2
    world.faults.away = True
    assert await read(cold, find(cold, "file")) == noise(seed, SIZE)
    assert len(fetches(world)) == asked


@pytest.mark.parametrize("at", ["_write_direct", "_take_in", "_read_and_decode"])
async def test_a_file_that_leaves_under_a_thread_is_not_taken_for_damaged(
    cold, world, monkeypatch, autojump_clock, seed, caplog, at
):
    """What was written went with it, what is to be read as well; the file that comes next has a hole in that place."""
    monkeypatch.setattr("storefs.engine.fetch._INLINE_BYTES", 0)
    files, tree, run = cold.engine.cache.files, cold.engine.tree, world.offload.run
    shard = tree.chunks.place(tree.extents.all(find(cold, "file"))[0].chunk).shard
    evicted = []

    def evict(function, name):
        if function.__name__ == name and len(evicted) < 3:
            evicted.append(name)
            files.remove(shard)
            files.write(shard, SIZE - 1, b"x")

    async def evict_beside(function, *arguments):
        if at.startswith("_read"):
            evict(function, at)
        result = await run(function, *arguments)
        evict(function, at)
        return result

    world.offload.run = evict_beside
    for _ in range(4):
        assert await read(cold, find(cold, "file")) == noise(seed, SIZE)
        await trio.sleep(1)
    assert evicted
    assert "damaged" not in caplog.text


async def test_what_cannot_be_written_is_read_all_the_same(cold, world, monkeypatch, autojump_clock, seed, caplog):
    def full(self, shard, offset, data, *, direct=False):
        raise NoSpace("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(ShardFiles, "write", full)
        assert await read(cold, find(cold, "file")) == noise(seed, SIZE)
        await trio.sleep(1)
    assert "the disk is full" in caplog.text
    place = cold.engine.tree.chunks.place(cold.engine.tree.extents.all(find(cold, "file"))[0].chunk)
    assert not cold.engine.cache.has(place)
    assert await read(cold, find(cold, "file")) == noise(seed, SIZE)


async def test_a_defect_while_writing_ends_neither_the_trip_nor_the_mount(
    cold, world, monkeypatch, autojump_clock, seed, caplog
):
    with monkeypatch.context() as patch:
        patch.setattr(ShardFiles, "write", lambda *_, direct=False: 1 / 0 if direct else None)
        assert await read(cold, find(cold, "file")) == noise(seed, SIZE)
        await trio.sleep(1)
    assert "ZeroDivisionError" in caplog.text
    assert await read(cold, find(cold, "file")) == noise(seed, SIZE)


@pytest.fixture
def received(world, monkeypatch):
    """The lengths of what was received into memory for direct I/O."""
    lengths, real = [], world.store.get_into

    async def get_into(key, start, memory):
        lengths.append(len(memory))
        return await real(key, start, memory)

    monkeypatch.setattr(world.store, "get_into", get_into)
    return lengths


@pytest.fixture
def short_chunks_stay(monkeypatch):
    """Chunks of the tests are shorter than those that keep the range that they came with in memory."""
    monkeypatch.setattr("storefs.engine.trips._COPIED_BYTES", 0)


def ranges(volume):
    """Return the first and the last byte of the file in each range that is long enough for such memory."""
    tree = volume.engine.tree
    extents = tree.extents.all(find(volume, "file"))
    places = [tree.chunks.place(extent.chunk) for extent in extents]
    starts = {place.offset: extent.offset for place, extent in zip(places, extents, strict=True)}
    ends = {place.offset + place.stored: extent.end for place, extent in zip(places, extents, strict=True)}
    spans = coalesce([Span(place.offset, place.offset + place.stored) for place in places], 0, LIMITS.fetch_bytes)
    return [(starts[span.start], ends[span.end]) for span in spans if span.length >= 256 << 10]


def all_memory(volume):
    """Take what there is of memory for direct I/O."""
    files = volume.engine.cache.files
    return list(iter(lambda: files.memory(0, 1 << 20), None))


async def test_a_range_waits_for_memory(cold, received, autojump_clock, seed):
    held = all_memory(cold)
    async with trio.open_nursery() as nursery:

        async def release():
            await trio.sleep(0.05)
            assert not received
            held.clear()

        nursery.start_soon(release)
        assert await read(cold, find(cold, "file")) == noise(seed, SIZE)
    assert len(received) == len(ranges(cold)) > 3


async def test_a_range_does_not_wait_for_ever(cold, received, autojump_clock, seed):
    held = all_memory(cold)
    began_s = trio.current_time()
    assert await read(cold, find(cold, "file")) == noise(seed, SIZE)
    assert trio.current_time() < began_s + 10
    assert held
    assert not received


async def test_what_nobody_reads_leaves_for_what_somebody_waits_for(
    cold, received, short_chunks_stay, autojump_clock, seed
):
    (first, end), *_, (start, last) = ranges(cold)
    assert await read(cold, find(cold, "file"), first, end - first - 1) == noise(seed, SIZE)[first : end - 1]
    held = all_memory(cold)
    assert await read(cold, find(cold, "file"), start, last - start) == noise(seed, SIZE)[start:last]
    assert held
    assert received == [end - first, last - start]


async def test_who_waits_keeps_none_of_the_memory_that_he_waits_for(
    cold, world, received, short_chunks_stay, autojump_clock, seed
):
    """What a read has of the range before is copied, and then that range's memory is free."""
    (first, end), *_ = ranges(cold)
    free = len(all_memory(cold))
    assert await read(cold, find(cold, "file"), first, end - first - 1) == noise(seed, SIZE)[first : end - 1]
    assert len(all_memory(cold)) == free - 1
    under_way = []

    async def hold(request):
        if request.key.startswith(keys.SHARDS):
            await trio.sleep(100)
            under_way.append(len(all_memory(cold)))

    world.store.before = hold
    assert await read(cold, find(cold, "file"), end - 1, 2) == noise(seed, SIZE)[end - 1 : end + 1]
    assert under_way == [free], "a short one follows"


async def test_a_damaged_range_is_not_kept(cold, world, writes, autojump_clock, seed):
    place = cold.engine.tree.chunks.place(cold.engine.tree.extents.all(find(cold, "file"))[0].chunk)
    key = next(iter(await world.shards()))
    content = bytearray(await world.memory.get(key))
    content[place.offset + 5] ^= 1
    await world.memory.put(key, bytes(content))
    with pytest.raises(Corrupt, match="does not match"):
        await read(cold, find(cold, "file"))
    await trio.sleep(1)
    assert not cold.engine.cache.has(place)
    content[place.offset + 5] ^= 1
    await world.memory.put(key, bytes(content))
    assert await read(cold, find(cold, "file")) == noise(seed, SIZE)


async def test_what_the_store_sends_is_held_against_its_digest_always(
    cold, world, monkeypatch, short_chunks_stay, autojump_clock
):
    """The quick checks of what was proven before are good enough for this disk only."""
    monkeypatch.setattr(BlockChecks, "holds", lambda *_: True)
    (key,) = await world.shards()
    place = cold.engine.tree.chunks.place(cold.engine.tree.extents.all(find(cold, "file"))[0].chunk)
    content = bytearray(await world.memory.get(key))
    content[place.offset + 5] ^= 1
    await world.memory.put(key, bytes(content))
    with pytest.raises(Corrupt, match="does not match"):
        await read(cold, find(cold, "file"))


async def test_what_goes_to_the_disk_only_waits_for_its_turn_and_takes_none_from_readers(
    cold, world, writes, autojump_clock, seed
):
    run = world.offload.run
    writing, most = 0, 0

    async def slow(function, *arguments):
        nonlocal writing, most
        if function.__name__ != "_write_direct":
            return await run(function, *arguments)
        writing += 1
        most = max(most, writing)
        await trio.sleep(100)
        writing -= 1
        return await run(function, *arguments)

    world.offload.run = slow
    trips, extents = cold.engine.trips, cold.engine.tree.extents.all(find(cold, "file"))
    places = [cold.engine.tree.chunks.place(extent.chunk) for extent in extents]
    spans = coalesce([Span(place.offset, place.offset + place.stored) for place in places], 0, 400 << 10)
    assert len(spans) > 2 + LIMITS.direct_writers
    async with trio.open_nursery() as nursery:
        for span in spans[:-1]:
            inside = [place for place in places if span.start <= place.offset < span.end]
            trip = trips.begin(places[0].shard, span, ahead=True, to_disk=True)
            nursery.start_soon(trips.run, trip, inside)
        await trio.sleep(10)
        assert not writes, "none is left to the kernel"
        assert most == LIMITS.direct_writers
        last = [extent for extent, place in zip(extents, places, strict=True) if place.offset >= spans[-1].start]
        begun_s = trio.current_time()
        start = last[0].offset
        assert await read(cold, find(cold, "file"), start, SIZE) == noise(seed, SIZE)[start:]
        assert trio.current_time() < begun_s + 50, "readers have writers of their own"
    await trio.sleep(1000)
    assert all(map(cold.engine.cache.has, places))
    assert writes.count(True) >= len(spans) - 1
