"""Compacting: what is needed of small and half-empty shards goes into full ones, and every file stays what it is."""

import trio

from storefs.model import ROOT_INO
from storefs.testing.world import create, find, listing, noise, put_file, read, tables, with_limits, write
from storefs.tree import check
from tests.engine.test_sweep import LIMITS, age, snapshot, sweep


async def fill(volume, seed, files=40):
    """Make a file for each commit, so that each is in a shard of its own; return the contents by name."""
    contents = {f"{number:02}": noise(f"{seed}/{number}", 3000) for number in range(files)}
    for name, data in contents.items():
        await put_file(volume, name, data)
        await volume.files.fsync()
    return contents


async def test_small_shards_become_one(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        contents = await fill(one, seed, 12)
        assert len(await world.shards()) == 12
        assert (await one.engine.compactor.compact(dry_run=True)).shards == 12
        compacted = await one.engine.compactor.compact()
        assert compacted.shards == 12
        await one.files.fsync()
        assert one.engine.tree.database.value("SELECT count(*) FROM shard") == 1
        assert len(await world.shards()) == 13, "who reads from an old one meanwhile is not disturbed"
        assert (await one.engine.compactor.compact()).shards == 0
        for _ in range(2):
            await age(world, one)
            await sweep(world, one)
        named = one.engine.tree.database.value("SELECT count(*) FROM shard")
        assert len(await world.shards()) == named
        assert list(check.faults(one.engine.tree.database)) == []
    async with world.engine_at(tmp_path / "two", LIMITS) as two:
        for name, data in contents.items():
            assert await read(two, find(two, name)) == data


async def test_a_half_empty_shard_is_rewritten_without_what_is_gone(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        kept = noise(seed, 8000)
        await put_file(one, "gone", noise(seed + 1, 40_000))
        await put_file(one, "kept", kept)
        await snapshot(one)
        one.names.unlink(ROOT_INO, b"gone")
        await one.files.fsync()
        compacted = await one.engine.compactor.compact()
        assert compacted.shards == 1
        assert compacted.live_bytes < compacted.bytes / 2
        await one.files.fsync()
    async with world.engine_at(tmp_path / "two", LIMITS) as two:
        fetched = world.store.keys("get", "shards/")
        assert await read(two, find(two, "kept")) == kept
        assert len(world.store.keys("get", "shards/")) > len(fetched)


async def test_another_mount_writes_and_reads_meanwhile(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one", LIMITS) as one, world.engine_at(tmp_path / "two", LIMITS) as two:
        contents = await fill(one, seed, 12)
        await two.engine.follower.poll()
        await one.engine.compactor.compact()
        await write(two, find(two, "03"), b"2" * 100)
        two.names.unlink(ROOT_INO, b"04")
        await put_file(two, "again", contents["05"])
        await two.files.fsync()
        await one.files.fsync()
        for volume in (one, two):
            await volume.engine.follower.poll()
            assert list(check.faults(volume.engine.tree.database)) == []
        assert tables(one.engine.tree) == tables(two.engine.tree)
        expected = contents | {"03": b"2" * 100 + contents["03"][100:], "again": contents["05"]}
        del expected["04"]
        assert listing(two) == sorted(expected)
        for name, data in expected.items():
            assert await read(two, find(two, name)) == data


async def test_two_that_compact_at_once(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one", LIMITS) as one, world.engine_at(tmp_path / "two", LIMITS) as two:
        contents = await fill(one, seed, 12)
        await two.engine.follower.poll()
        await one.engine.compactor.compact()
        await two.engine.compactor.compact()
        await one.files.fsync()
        await two.files.fsync()
        await one.engine.follower.poll()
        assert tables(one.engine.tree) == tables(two.engine.tree)
        assert list(check.faults(one.engine.tree.database)) == []
        for name, data in contents.items():
            assert await read(one, find(one, name)) == data


async def test_upkeep_does_all_of_it_by_itself(world, tmp_path, autojump_clock, seed):
    limits = with_limits(grace_s=100.0, sweep_s=300.0, snapshot_commits=3)
    async with world.engine_at(tmp_path / "one", limits) as one:
        contents = await fill(one, seed, 12)
        for turn in range(12):
            create(one, f"turn-{turn}")
            await trio.sleep(150)
            world.clock.at_ns += int(150e9)
        await one.files.fsync()
        assert len(await world.journal()) < 20
        assert len(await world.shards()) < 6
        for name, data in contents.items():
            assert await read(one, find(one, name)) == data
    async with world.engine_at(tmp_path / "two", limits) as two:
        for name, data in contents.items():
            assert await read(two, find(two, name)) == data
