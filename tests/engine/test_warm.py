"""Warming brings a subtree to this disk: all of it, nothing else, and nothing at all when there is no room."""

import pytest
import trio

from storefs.core import keys
from storefs.errors import Corrupt, NoSpace
from storefs.testing.world import FOLDER_MODE, create, find, noise, put_file, read, with_limits

FILES = 60


@pytest.fixture
async def store(world, tmp_path, autojump_clock, seed):
    """A store with a directory of files large and small, nested, and a file beside it."""
    async with world.engine_at(tmp_path / "one") as volume:
        top = create(volume, "top", mode=FOLDER_MODE)
        inner = create(volume, "inner", top, FOLDER_MODE)
        for number in range(FILES):
            await put_file(volume, f"{number}", noise(f"{seed}-{number}", 100 * number), inner if number % 2 else top)
        await put_file(volume, "beside", noise(seed, 90_000))
        await volume.engine.finish(60)
    world.store.requests.clear()


def shard_requests(world):
    return [one for one in world.store.requests if one.operation == "get" and one.key.startswith(keys.SHARDS)]


async def test_a_warm_subtree_is_read_without_the_store(store, world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "two") as volume:
        top = find(volume, "top")
        progress = await volume.engine.warmer.warm(top, "/top")
        assert progress.files == FILES
        assert progress.bytes >= progress.total >= 100 * FILES * (FILES - 1) // 2
        assert max(one.length for one in shard_requests(world)) <= volume.engine.limits.fetch_bytes
        assert volume.engine.warmer.running == []
        world.faults.away = True
        for number in range(FILES):
            parent = find(volume, "inner", top) if number % 2 else top
            assert await read(volume, find(volume, f"{number}", parent)) == noise(f"{seed}-{number}", 100 * number)


async def test_what_is_here_is_not_fetched_again(store, world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "two") as volume:
        await volume.control.warm_path(b"/top")
        world.store.requests.clear()
        await volume.control.warm_path(b"top/")
        assert shard_requests(world) == []


async def test_progress_can_be_watched(store, world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "two") as volume:
        seen = []

        async def slow(request):
            if request.key.startswith(keys.SHARDS):
                await trio.sleep(1)
                seen.append(volume.control.status()["warming"])

        world.store.before = slow
        await volume.control.warm_path(b"/top")
        assert seen
        assert all(len(one) == 1 and one[0]["path"] == "/top" and one[0]["total"] > 0 for one in seen)


async def test_too_much_for_the_cache_is_refused_at_once(store, world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "two", with_limits(cache_bytes=50_000)) as volume:
        with pytest.raises(NoSpace, match="/top needs"):
            await volume.control.warm_path(b"/top")
        assert shard_requests(world) == []


async def test_damage_is_told(store, world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "two") as volume:
        (place,) = volume.engine.tree.extents.places(find(volume, "9", find(volume, "inner", find(volume, "top"))))
        info = volume.engine.tree.chunks.shard(place.shard)
        key = keys.shard(info.shard, info.day)
        damaged = bytearray(await world.memory.get(key))
        damaged[place.offset + 5] ^= 1
        await world.memory.put(key, bytes(damaged))
        with pytest.raises(Corrupt):
            await volume.control.warm_path(b"/top")
        assert volume.engine.warmer.running == []
