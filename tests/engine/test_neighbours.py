"""Small files arrive by the window of their shard, and on read-only mounts go up into the kernel's page cache."""

import random

import pytest
import trio

from storefs.core import keys
from storefs.model import ROOT_INO
from storefs.testing.world import find, noise, put_file, read, with_limits, write

FILES = 200
BYTES = 700


def content(seed, number):
    return noise(f"{seed}-{number}", BYTES)


@pytest.fixture
async def inos(world, tmp_path, autojump_clock, seed):
    """A store of small files, all in few shards; their inode numbers."""
    async with world.engine_at(tmp_path / "one") as volume:
        found = [await put_file(volume, f"{number}", content(seed, number)) for number in range(FILES)]
        await volume.engine.finish(60)
    world.store.requests.clear()
    return found


def fetches(world):
    return [one for one in world.store.requests if one.operation == "get" and one.key.startswith(keys.SHARDS)]


async def test_one_file_brings_few_others(inos, world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "two") as volume:
        assert await read(volume, inos[FILES // 2]) == content(seed, FILES // 2)
        (request,) = fetches(world)
        assert request.length <= 5000


@pytest.mark.parametrize("order", ["shuffled", "in order"])
async def test_reading_all_takes_few_requests(inos, world, tmp_path, autojump_clock, seed, order):
    async with world.engine_at(tmp_path / "two") as volume:
        numbers = list(range(FILES))
        if order == "shuffled":
            random.Random(seed).shuffle(numbers)
        for number in numbers:
            assert await read(volume, inos[number]) == content(seed, number)
        assert len(fetches(world)) <= FILES / 5, "windows are small here: a shard is two of the largest"
        assert sum(one.length for one in fetches(world)) <= 2 * FILES * BYTES


async def test_the_kernel_is_given_the_files_that_it_knows(inos, world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "two", ro=True) as volume:
        for ino in inos[: FILES // 2]:
            volume.references.add(ino)
        for number in range(0, FILES, 3):
            await read(volume, inos[number])
            await trio.sleep(0.01)
        stored = world.kernel.stored
        assert len(stored) > FILES / 4
        assert set(stored) <= set(inos[: FILES // 2])
        for number, ino in enumerate(inos):
            assert stored.get(ino, content(seed, number)) == content(seed, number)
        assert volume.engine.neighbours.pushed == len(stored), "each once"


async def test_what_the_kernel_does_not_take_is_offered_again(inos, world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "two", ro=True) as volume:
        for ino in inos:
            volume.references.add(ino)
        world.kernel.takes = False
        await read(volume, inos[0])
        await trio.sleep(1)
        assert not any(volume.references.is_stored(ino) for ino in inos[1:])
        world.kernel.takes = True
        await read(volume, inos[2])
        await trio.sleep(1)
        assert len(world.kernel.stored) > 1


async def test_nothing_is_given_to_the_kernel_of_a_writable_mount(inos, world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "two") as volume:
        for number, ino in enumerate(inos):
            volume.references.add(ino)
            assert await read(volume, ino) == content(seed, number)
        await trio.sleep(1)
        assert world.kernel.stored == {}, "a mapping may hold newer bytes that nobody knows of"


async def test_what_another_mount_changes_meanwhile_is_left_out(inos, world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "three") as writer, world.engine_at(tmp_path / "two", ro=True) as volume:
        for ino in inos:
            volume.references.add(ino)
        run = world.offload.run
        changed = False

        async def slow(function, *arguments):
            nonlocal changed
            result = await run(function, *arguments)
            if function.__name__ == "_read_all" and not changed:
                changed = True
                await write(writer, inos[1], b"new")
                await writer.engine.finish(60)
                await volume.engine.follower.poll()
            return result

        world.offload.run = slow
        await read(volume, inos[0])
        await trio.sleep(1)
        assert changed
        assert len(world.kernel.stored) > 1
        assert inos[1] not in world.kernel.stored


async def test_reading_in_order_fetches_ahead(inos, world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "two") as volume:
        for number in range(FILES // 2):
            await read(volume, inos[number])
            await trio.sleep(0.5)
        ahead = max(one.start + one.length for one in fetches(world))
        place = volume.engine.tree.extents.places(inos[FILES // 2])[0]
        assert ahead > place.offset


async def test_nothing_comes_along_on_a_full_disk(inos, world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "two", with_limits(spare_bytes=1 << 60)) as volume:
        assert await read(volume, inos[5]) == content(seed, 5)
        (request,) = fetches(world)
        assert request.length < 2 * BYTES


async def test_damaged_neighbours_do_no_harm(inos, world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "two", ro=True) as volume:
        for ino in inos:
            volume.references.add(ino)
        bad = volume.engine.tree.extents.places(inos[2])[0]
        info = volume.engine.tree.chunks.shard(bad.shard)
        key = keys.shard(info.shard, info.day)
        damaged = bytearray(await world.memory.get(key))
        damaged[bad.offset + 5] ^= 1
        await world.memory.put(key, bytes(damaged))
        assert await read(volume, inos[0]) == content(seed, 0)
        await trio.sleep(1)
        assert len(world.kernel.stored) > 1
        assert inos[2] not in world.kernel.stored
        assert find(volume, "0", ROOT_INO) == inos[0]
