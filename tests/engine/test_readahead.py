"""Read-ahead: readers in order find their bytes here; tensor files that are read here and there come in whole."""

import json
import random
import struct

import pytest
import trio

from storefs.core import keys
from storefs.engine.fetch import Fetcher
from storefs.engine.readahead import ReadAhead
from storefs.testing.world import noise, put_file, read, with_limits
from storefs.tree.extents import Extents

SIZE = 1 << 20
STEP = 8 << 10
LIMITS = with_limits(whole_bytes=128 << 10, read_ahead_bytes=128 << 10, ahead_bytes=256 << 10, decoded_bytes=1 << 20)


def safetensors(seed, header=b'{"__metadata__": {}}'):
    return struct.pack("<Q", len(header)) + header + noise(seed, SIZE - 8 - len(header))


@pytest.fixture
def make(world, tmp_path, autojump_clock):
    """Put a file into the store; return its inode number."""

    async def put(data):
        async with world.engine_at(tmp_path / "one") as volume:
            ino = await put_file(volume, "file", data)
            await volume.engine.finish(60)
        world.store.requests.clear()
        return ino

    return put


def fetched(world):
    return [one for one in world.store.requests if one.operation == "get" and one.key.startswith(keys.SHARDS)]


async def test_who_reads_in_order_does_not_wait(make, world, tmp_path, autojump_clock, seed):
    data = noise(seed, SIZE)
    ino = await make(data)

    async def slow(request):
        if request.key.startswith(keys.SHARDS):
            await trio.sleep(0.1)

    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        world.store.before = slow
        waited = 0
        for at in range(0, SIZE, STEP):
            began_s = trio.current_time()
            assert await read(volume, ino, at, STEP) == data[at : at + STEP]
            waited += trio.current_time() > began_s + 0.05
            await trio.sleep(0.02)  # what is fetched ahead comes in while the reader thinks
        assert waited <= 10


async def test_who_waits_for_what_is_fetched_ahead_waits_for_the_store(make, world, tmp_path, autojump_clock, seed):
    """What is fetched ahead is not asked for twice, but a reader has nobody who tries again for it."""
    data = noise(seed, SIZE)
    ino = await make(data)

    async def slow(request):
        if request.key.startswith(keys.SHARDS):
            await trio.sleep(0.1)

    async with world.engine_at(tmp_path / "two", LIMITS) as volume, trio.open_nursery() as nursery:
        world.store.before = slow

        async def go_away_for_a_while():
            world.faults.away = True
            await trio.sleep(volume.engine.limits.store_deadline_s - 10)
            world.faults.away = False

        for at in range(0, SIZE, STEP):
            if at == SIZE // 2:
                nursery.start_soon(go_away_for_a_while)
                await trio.lowlevel.checkpoint()
            assert await read(volume, ino, at, STEP) == data[at : at + STEP]


async def test_random_reads_of_other_files_bring_nothing_more(make, world, tmp_path, autojump_clock, seed):
    data = noise(seed, SIZE)
    ino = await make(data)
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        dice = random.Random(seed)
        for at in dice.sample(range(0, SIZE - 4096, 4096), 12):
            assert await read(volume, ino, at, 4096) == data[at : at + 4096]
            await trio.sleep(1)
        assert volume.engine.read_ahead.whole_files == 0
        assert sum(one.length for one in fetched(world)) < SIZE


async def test_jumping_reads_of_a_tensor_file_bring_it_in_whole(make, world, tmp_path, autojump_clock, seed):
    data = safetensors(seed)
    ino = await make(data)
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        far = 5 << 20  # farther apart than what still counts as one reader
        for at in (0, far, 2 * far):
            volume.engine.read_ahead.note(ino, at, at + STEP, SIZE)
        await trio.sleep(5)
        assert volume.engine.read_ahead.whole_files == 1
        starts = [one.start for one in fetched(world) if one.length > 1000]
        assert len(starts) > 1
        world.faults.away = True
        assert await read(volume, ino) == data


async def test_a_defect_while_bringing_a_file_in_ends_nothing_else(
    make, world, tmp_path, autojump_clock, seed, monkeypatch, caplog
):
    data = safetensors(seed)
    ino = await make(data)
    monkeypatch.setattr("storefs.engine.tensors.is_model", lambda *_: 1 / 0)
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        for at in (0, 5 << 20, 10 << 20):
            volume.engine.read_ahead.note(ino, at, at + STEP, SIZE)
        await trio.sleep(5)
        assert "ZeroDivisionError" in caplog.text
        assert await read(volume, ino) == data


async def test_a_file_too_large_for_the_cache_is_not_brought_in_whole(make, world, tmp_path, autojump_clock, seed):
    ino = await make(safetensors(seed))
    limits = with_limits(whole_bytes=128 << 10, cache_bytes=SIZE, ahead_bytes=256 << 10)
    async with world.engine_at(tmp_path / "two", limits) as volume:
        far = 5 << 20
        for at in (0, far, 2 * far):
            volume.engine.read_ahead.note(ino, at, at + STEP, SIZE)
        await trio.sleep(5)
        assert volume.engine.read_ahead.whole_files == 0


async def test_what_is_ahead_has_a_bound(make, world, tmp_path, autojump_clock, seed):
    data = noise(seed, SIZE)
    ino = await make(data)
    most = 0

    async def hold(request):
        nonlocal most
        if request.key.startswith(keys.SHARDS):
            most = max(most, volume.engine.trips.ahead_bytes)
            await trio.sleep(1)

    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        world.store.before = hold
        for at in range(0, SIZE, STEP):
            assert await read(volume, ino, at, STEP) == data[at : at + STEP]
        assert 0 < most <= LIMITS.ahead_bytes + LIMITS.fetch_bytes


async def test_a_file_that_was_left_alone_can_be_brought_in_later(make, world, tmp_path, autojump_clock, seed):
    ino = await make(safetensors(seed))

    async def slow(request):
        if request.key.startswith(keys.SHARDS):
            await trio.sleep(20)

    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        far = 5 << 20
        world.store.before = slow
        for at in (0, far, 2 * far):
            volume.engine.read_ahead.note(ino, at, at + STEP, SIZE)
        await trio.sleep(200)
        world.store.before = pass_by
        for at in (3 * far, 4 * far):
            volume.engine.read_ahead.note(ino, at, at + STEP, SIZE)
        await trio.sleep(5)
        world.faults.away = True
        assert len(await read(volume, ino)) == SIZE


async def test_nothing_is_fetched_behind_the_tensor_that_is_touched(
    make, world, tmp_path, autojump_clock, seed, monkeypatch
):
    """Unless somebody goes on in order far behind its end."""
    mib = 1 << 20
    ends = [40 * mib, 100 * mib, 200 * mib, *range(201 * mib, 300 * mib, mib)]
    header = json.dumps({str(end): {"data_offsets": [0, end]} for end in ends}).encode()
    ino = await make(safetensors(seed, header))
    ends = [8 + len(header) + end for end in ends]
    limits = with_limits(read_ahead_bytes=64 * mib, ahead_bytes=96 * mib, decoded_bytes=128 * mib, cache_bytes=SIZE)
    async with world.engine_at(tmp_path / "two", limits) as volume:
        reached = []
        real = Extents.overlapping
        monkeypatch.setattr(Extents, "overlapping", lambda *of: reached.append(of[3]) or real(*of))

        async def go_on(start, end):
            """Read in order; return up to where things were fetched."""
            reached.clear()
            for at in range(start, end, mib):
                volume.engine.read_ahead.note(ino, at, at + mib, 1 << 40)
                await trio.sleep(0.01)
            return max(reached, default=0)

        await read(volume, ino, 0, 4096)  # the header
        assert await go_on(43 * mib, 99 * mib) == ends[1]
        assert await go_on(99 * mib, 104 * mib) == 0, "the kernel reads ahead of the program"
        assert await go_on(104 * mib, 120 * mib) > 150 * mib, "the program goes on"
        assert await go_on(38 * mib, 60 * mib) == ends[1], "touched behind the end of the one before"
        assert await go_on(201 * mib, 230 * mib) > 250 * mib, "short ones are fetched in advance"


async def test_samples_of_a_tensor_file_on_this_disk_bring_nothing_more(
    make, world, tmp_path, autojump_clock, seed, monkeypatch
):
    data = safetensors(seed)
    ino = await make(data)
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        assert await read(volume, ino) == data
        ahead = volume.engine.read_ahead
        for at in (5 << 20, 10 << 20, 15 << 20):
            ahead.note(ino, at, at + STEP, SIZE)
        await trio.sleep(5)
        assert ahead.whole_files == 1
        brought = []
        monkeypatch.setattr(Fetcher, "bring", lambda _self, chunks, *, ahead=False: brought.extend(chunks))
        dice = random.Random(seed)
        for at in dice.sample(range(20 << 20, 1 << 40, STEP), 100):
            assert ahead.note(ino, at, at + STEP, 1 << 40) == 0
        assert not brought


async def test_a_read_that_had_to_wait_is_noted_once(make, world, tmp_path, autojump_clock, seed, monkeypatch):
    data = noise(seed, SIZE)
    ino = await make(data)
    noted = []
    real = ReadAhead.note
    monkeypatch.setattr(ReadAhead, "note", lambda self, *what: noted.append(what[1:3]) or real(self, *what))
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        for at in range(0, SIZE, STEP):
            assert await read(volume, ino, at, STEP) == data[at : at + STEP]
    assert noted == [(at, at + STEP) for at in range(0, SIZE, STEP)]


async def test_who_reads_ahead_shares_the_memory(make, world, tmp_path, autojump_clock, seed):
    ino = await make(noise(seed, SIZE))
    limits = with_limits(read_ahead_bytes=64 << 20, decoded_bytes=128 << 20)
    async with world.engine_at(tmp_path / "two", limits) as volume:
        ahead = volume.engine.read_ahead

        def go(readers, rounds=64):
            return [
                max(
                    ahead.note(ino, at + turn, at + turn + (1 << 20), 1 << 50)
                    for turn in range(0, rounds << 20, 1 << 20)
                )
                for at in (number << 40 for number in range(1, readers + 1))
            ]

        assert go(1) == [64 << 20]
        together = []
        for turn in range(64):
            at = turn << 20
            together = [
                ahead.note(ino, (number << 41) + at, (number << 41) + at + (1 << 20), 1 << 50)
                for number in range(10, 14)
            ]
        assert together == [16 << 20] * 4


async def test_many_readers_are_fetched_for_in_long_ranges(make, world, tmp_path, autojump_clock, seed, monkeypatch):
    """Whoever waits for the store anyway: short ranges cost it half as much again."""
    mib = 1 << 20
    ino = await make(noise(seed, SIZE))
    limits = with_limits(read_ahead_bytes=64 * mib, ahead_bytes=96 * mib, decoded_bytes=128 * mib)
    async with world.engine_at(tmp_path / "two", limits) as volume:
        fetched = []
        monkeypatch.setattr(Extents, "overlapping", lambda _self, _ino, *span: fetched.append(span) or [])
        for at in range(0, 128 * mib, mib):
            for reader in range(1, 17):
                start = (reader << 32) + at
                volume.engine.read_ahead.note(ino, start, start + mib, 1 << 50)
        for reader in range(1, 17):
            own = [span for span in fetched if span[0] >> 32 == reader]
            assert [end for _, end in own[:-1]] == [start for start, _ in own[1:]], "all of it, once"
            assert min(end - start for start, end in own if start >= (reader << 32) + 32 * mib) >= 6 * mib


async def pass_by(_request):
    """Hold nothing up."""
