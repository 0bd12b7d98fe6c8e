"""Power cuts: the disk goes back to what was synced; what the store has stays, what only the disk had is told."""

import os

import pytest

from storefs.core import keys
from storefs.errors import NotCommitted, StoreUnavailable
from storefs.shard import reader as shard_reader
from storefs.testing.world import copy_disk, create, find, listing, noise, put_file, read, write
from storefs.tree.shards import ShardState


async def assert_store_is_whole(world, volume):
    """Every shard that the tree names lies in the store, readable, with the length that the tree says."""
    rows = volume.engine.tree.database.rows("SELECT id, day, size FROM shard")
    for shard, day, size in rows:
        key = keys.shard(shard, day)
        assert (await world.memory.head(key)).size == size

        async def get(start, length, key=key):
            return await world.memory.get(key, start, length)

        await shard_reader.read_index(get, size)


async def test_a_tree_thrown_back_behind_its_commit_catches_up(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 50_000)
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", data)
        await volume.engine.cutter.drain()
        image = copy_disk(tmp_path / "one", tmp_path / "image")
        await volume.files.fsync()
        shard = next(volume.engine.home.shards.glob("*.des"))
    # SQLite lost what came after its last sync, the shard's file what was never synced.
    os.truncate(next(image.rglob(shard.name)), 5_000)
    world.power_cut()
    async with world.engine_at(image) as volume:
        assert volume.engine.recovered.damaged_files == ()
        assert await read(volume, find(volume, "file")) == data
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "another") as volume:
        assert await read(volume, find(volume, "file")) == data
        await assert_store_is_whole(world, volume)


async def test_writes_after_a_lost_staging_tail_are_not_taken_for_settled(world, tmp_path, autojump_clock):
    """The notes on settled writes outlived the end of the log: the new writes must not fall under them."""
    async with world.engine_at(tmp_path / "one") as volume:
        ino = create(volume, "file")
        for fill in (b"x" * 100, b"z" * 1000):
            await write(volume, ino, fill)
            await volume.engine.cutter.drain()
        await volume.files.fsync()
        log = next(volume.engine.home.staging.glob("*.log"))
        image = copy_disk(tmp_path / "one", tmp_path / "image")
    os.truncate(next(image.rglob(log.name)), 500)
    world.power_cut()
    async with world.engine_at(image) as volume:
        assert await read(volume, find(volume, "file")) == b"z" * 1000
        await write(volume, find(volume, "file"), b"NEW")
    async with world.engine_at(image) as volume:
        assert await read(volume, find(volume, "file")) == b"NEW" + b"z" * 997


@pytest.mark.parametrize("left", [None, 20_000], ids=["gone", "short"])
async def test_a_sealed_shard_that_was_not_synced(world, tmp_path, autojump_clock, seed, left):
    """What is gone becomes holes and is named; what is left is committed; the store gets whole shards only."""
    data = noise(seed, 200_000)
    async with world.engine_at(tmp_path / "one") as volume:
        world.faults.away = True
        damaged = await put_file(volume, "large", data)
        await volume.engine.cutter.drain()
        shard = next(one for one in volume.engine.tree.shards.dirty() if one.state is ShardState.SEALED)
        path = volume.engine.cache.files.path(shard.shard)
    if left is None:
        path.unlink()
    else:
        os.truncate(path, left)
    world.faults.away = False
    world.power_cut()
    async with world.engine_at(tmp_path / "one") as volume:
        assert volume.engine.recovered.damaged_files == (damaged,)
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as volume:
        await assert_store_is_whole(world, volume)
        got = await read(volume, find(volume, "large"))
        assert len(got) == len(data)
        assert got != data
        assert all(one in (0, other) for one, other in zip(got, data, strict=True))


async def test_an_uploaded_shard_that_was_not_synced_is_fetched_again(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 200_000)

    async def refuse_commits(request):
        if request.key.startswith(keys.JOURNAL):
            raise StoreUnavailable("the journal is away")

    async def pass_all(_):
        pass

    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", data)
        world.store.before = refuse_commits
        with pytest.raises(NotCommitted):
            await volume.files.fsync()
        uploaded = [one for one in volume.engine.tree.shards.dirty() if one.state is ShardState.UPLOADED]
        assert uploaded
        for shard in uploaded:
            os.truncate(volume.engine.cache.files.path(shard.shard), 100)
    world.store.before = pass_all
    world.power_cut()
    async with world.engine_at(tmp_path / "one") as volume:
        assert volume.engine.recovered.damaged_files == ()
        assert await read(volume, find(volume, "file")) == data


async def test_an_orphan_is_gone_before_the_journal_is_caught_up(world, tmp_path, autojump_clock):
    """The rows of an unlinked file in use stand in the replica; the commit of its removal must fit all the same."""
    async with world.engine_at(tmp_path / "one") as volume:
        ino = await put_file(volume, "used", b"1" * 100)
        await volume.files.fsync()
        volume.references.add(ino)
        volume.names.unlink(1, b"used")
        image = copy_disk(tmp_path / "one", tmp_path / "image")
        await put_file(volume, "later", b"2")
        await volume.files.fsync()
    world.power_cut()
    async with world.engine_at(image) as volume:
        assert listing(volume) == ["later"]
        assert volume.engine.tree.inodes.get(ino) is None


@pytest.mark.parametrize("field", range(0, 48, 7))
async def test_a_staged_header_that_was_torn_is_not_replayed(world, tmp_path, autojump_clock, field):
    """The check covers the header: a wrong offset or inode must not pass for a write."""
    async with world.engine_at(tmp_path / "one") as volume:
        world.faults.away = True
        ino = create(volume, "file")
        await write(volume, ino, b"1" * 100)
        at = volume.engine.staging.end
        await write(volume, ino, b"2" * 100, offset=100)
        log = next(volume.engine.home.staging.glob("*.log"))
    content = bytearray(log.read_bytes())
    content[at + field] ^= 1
    log.write_bytes(content)
    world.faults.away = False
    world.power_cut()
    async with world.engine_at(tmp_path / "one") as volume:
        got = await read(volume, find(volume, "file"))
        assert got == b"1" * 100
