"""Node numbers: one cache directory, one number; a copy of it takes another."""

import json

from storefs.core import keys
from storefs.testing.world import copy_disk, create, listing


async def test_a_restart_keeps_the_number_and_changes_the_nonce(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        first = volume.engine.writer
    async with world.engine_at(tmp_path / "one") as volume:
        second = volume.engine.writer
    assert (first.node, second.node) == (1, 1)
    assert first.boot != second.boot
    assert json.loads(await world.memory.get(keys.node(1)))["boot"] == second.boot.hex()


async def test_every_cache_has_its_own(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        assert {one.engine.writer.node, two.engine.writer.node} == {1, 2}


async def test_a_copied_cache_takes_another(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        create(volume, "file")
        await volume.engine.finish(60)
    image = copy_disk(tmp_path / "one", tmp_path / "image")
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(image) as copy:
        assert one.engine.writer.node == 1
        assert copy.engine.writer.node == 2
        inos = {create(one, "mine")}
        await one.files.fsync()
        await copy.engine.follower.poll()
        inos.add(create(copy, "copied"))
        await copy.files.fsync()
        assert len(inos) == 2
        assert listing(copy) == ["copied", "file", "mine"]


async def test_a_power_cut_takes_another(world, tmp_path, autojump_clock):
    """The counters of the old number may have gone back."""
    async with world.engine_at(tmp_path / "one") as volume:
        create(volume, "file")
    world.power_cut()
    async with world.engine_at(tmp_path / "one") as volume:
        assert volume.engine.writer.node == 2


async def test_a_read_only_mount_takes_none(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one"):
        pass
    world.store.requests.clear()
    async with world.engine_at(tmp_path / "two", ro=True):
        pass
    assert world.store.keys("put") == []
