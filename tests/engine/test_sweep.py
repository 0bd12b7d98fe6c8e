"""Sweeping: what nothing needs goes after the grace period, and nothing else, whatever happens meanwhile."""

import pytest

from storefs.core import keys
from storefs.errors import StoreUnavailable, UsageError
from storefs.model import ROOT_INO
from storefs.testing.world import create, find, listing, noise, put_file, read, tables, with_limits, write
from storefs.tree import check
from storefs.volume.attributes import Changes

GRACE_S = 1000.0
LIMITS = with_limits(grace_s=GRACE_S, offline_s=10 * GRACE_S)


async def snapshot(volume):
    await volume.files.fsync()
    await volume.engine.snapshots.write(volume.engine.tree, volume.engine.tree.database.path)


async def age(world, volume, terms=1.1):
    """Let the grace period pass, and write a snapshot after it."""
    world.clock.at_ns += int(terms * GRACE_S * 1e9)
    create(volume, f"aged-{world.clock.at_ns}")
    await snapshot(volume)


async def sweep(world, volume, **options):
    swept = await volume.engine.sweeper.sweep(**options)
    await volume.files.fsync()
    return swept


async def test_commits_and_snapshots_go_behind_a_snapshot_that_is_old_enough(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        for name in "abc":
            await put_file(one, name, b"1")
            await one.files.fsync()
        await snapshot(one)
        await put_file(one, "d", b"1")
        await snapshot(one)
        assert (await sweep(world, one)).commits == 0, "too young"
        await age(world, one)
        assert (await sweep(world, one, dry_run=True)).commits == 4
        assert len(await world.journal()) == 5
        swept = await sweep(world, one)
        assert (swept.commits, swept.snapshots, swept.shards) == (4, 1, 0)
        assert await world.journal() == [keys.journal(5)]
        assert await world.memory.get(keys.FLOOR) == b"4\n"
        before = tables(one.engine.tree)
    async with world.engine_at(tmp_path / "two", LIMITS) as two:
        assert tables(two.engine.tree) == before


async def test_the_floor_is_raised_before_anything_is_deleted(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        create(one, "a")
        await snapshot(one)
        await age(world, one)

        async def look(request):
            if request.operation == "delete":
                assert await world.memory.get(keys.FLOOR) == b"1\n"

        world.store.before = look
        assert (await sweep(world, one)).commits == 1


async def test_shards_go_long_after_the_last_file_in_them(world, tmp_path, seed, autojump_clock):
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        await put_file(one, "gone", noise(seed, 40_000))
        await one.files.fsync()
        (shard,) = await world.shards()
        await put_file(one, "kept", noise(seed + 1, 40_000))
        await snapshot(one)
        one.names.unlink(ROOT_INO, b"gone")
        await age(world, one)
        assert (await sweep(world, one)).chunks == 0, "it was needed when the old snapshot was written"
        await age(world, one)
        assert (await sweep(world, one, dry_run=True)).chunks > 0
        swept = await sweep(world, one)
        assert swept.chunks > 0
        assert swept.shards == 0
        assert shard in await world.shards(), "readers that are behind may still fetch from it"
        await age(world, one)
        await sweep(world, one)
        await age(world, one)
        await sweep(world, one)
        assert shard not in await world.shards()
        assert await read(one, find(one, "kept")) == noise(seed + 1, 40_000)
        assert list(check.faults(one.engine.tree.database)) == []
    async with world.engine_at(tmp_path / "two", LIMITS) as two:
        assert await read(two, find(two, "kept")) == noise(seed + 1, 40_000)


async def test_what_was_uploaded_and_never_committed_goes(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        create(one, "a")
        await snapshot(one)
        stray = keys.SHARDS + "20270101/" + "ab" * 16 + ".des"
        await world.memory.put(stray, b"cut off")
        await world.memory.put(keys.SHARDS + "note.txt", b"not ours")
        assert (await sweep(world, one)).shards == 0
        await age(world, one)
        assert (await sweep(world, one)).shards == 1
        assert await world.shards() == [keys.SHARDS + "note.txt"]


@pytest.mark.parametrize("behind", [False, True])
async def test_chunks_that_another_mount_comes_to_need_stay(world, tmp_path, seed, behind, autojump_clock):
    """Both orders: the sweep commits first, or the file that shares its chunks does."""
    data = noise(seed, 40_000)
    async with world.engine_at(tmp_path / "one", LIMITS) as one, world.engine_at(tmp_path / "two", LIMITS) as two:
        await put_file(one, "gone", data)
        await snapshot(one)
        one.names.unlink(ROOT_INO, b"gone")
        await age(world, one)
        await age(world, one)
        await two.engine.follower.poll()
        if behind:
            await put_file(two, "again", data)
            await two.engine.cutter.drain()
        swept = await one.engine.sweeper.sweep()
        assert swept.chunks > 0
        if not behind:
            await put_file(two, "again", data)
            await two.files.fsync()
        await one.files.fsync()
        await two.files.fsync()
        for volume in (one, two):
            await volume.engine.follower.poll()
            assert list(check.faults(volume.engine.tree.database)) == []
            assert await read(volume, find(volume, "again")) == data
        assert tables(one.engine.tree) == tables(two.engine.tree)
    async with world.engine_at(tmp_path / "three", LIMITS) as three:
        assert await read(three, find(three, "again")) == data


async def test_a_mount_that_was_away_longer_comes_back_with_its_changes(world, tmp_path, seed, autojump_clock):
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        await put_file(one, "file", b"0" * 5000)
        await snapshot(one)
        async with world.engine_at(tmp_path / "two", LIMITS) as two:
            await put_file(two, "mine", noise(seed, 9000))
            await write(two, find(two, "file"), b"2" * 5000)
            await two.engine.cutter.drain()
            world.faults.away = True
        world.faults.away = False
        for turn in range(3):
            await put_file(one, f"theirs-{turn}", b"1")
            await one.attributes.set(find(one, "file"), Changes(mode=0o600 + turn))
            await age(world, one)
            await sweep(world, one)
        assert len(await world.journal()) <= 2
        async with world.engine_at(tmp_path / "two", LIMITS) as two:
            assert {"file", "mine", "theirs-0", "theirs-2"} <= set(listing(two))
            await two.files.fsync()
            await one.engine.follower.poll()
            assert tables(one.engine.tree) == tables(two.engine.tree)
            assert await read(one, find(one, "file")) == b"2" * 5000
            assert await read(one, find(one, "mine")) == noise(seed, 9000)
            assert one.attributes.get(find(one, "file")).mode & 0o777 == 0o602


async def test_a_mount_that_slept_does_not_take_a_deleted_number_for_a_free_one(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one", LIMITS) as one, world.engine_at(tmp_path / "two", LIMITS) as two:
        create(one, "a")
        await snapshot(one)
        await two.engine.follower.poll()
        hold = two.engine.committer.lock  # it sleeps: neither polls nor commits
        async with hold:
            for turn in range(3):
                create(one, f"b{turn}")
                await age(world, one)
                await sweep(world, one)
            create(two, "mine")
        await two.files.fsync()
        await one.engine.follower.poll()
        assert {"a", "b0", "b1", "b2", "mine"} <= set(listing(one))
        assert tables(one.engine.tree) == tables(two.engine.tree)


async def test_a_sweep_that_is_cut_off_is_no_harm(world, tmp_path, seed, autojump_clock):
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        await put_file(one, "kept", noise(seed, 40_000))
        for turn in range(4):
            create(one, f"{turn}")
            await snapshot(one)
        await age(world, one)
        world.faults.fail_next.append("delete")
        with pytest.raises(StoreUnavailable):
            await sweep(world, one)
    async with world.engine_at(tmp_path / "two", LIMITS) as two:
        assert listing(two)[-1] == "kept"
        assert await read(two, find(two, "kept")) == noise(seed, 40_000)
        assert (await sweep(world, two)).commits > 0


async def test_a_named_snapshot_keeps_what_it_needs(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        data = noise(seed, 40_000)
        await put_file(one, "file", data)
        await one.files.fsync()
        (shard,) = await world.shards()
        assert await one.engine.snapshots.write_named("kept", one.engine.tree.database.path) == 1
        with pytest.raises(UsageError, match="there is a snapshot kept already"):
            await one.engine.snapshots.write_named("kept", one.engine.tree.database.path)
        for name in ("", "a/b", "..", "-x", "x" * 101, "a b"):
            with pytest.raises(UsageError, match="cannot name a snapshot"):
                await one.engine.snapshots.write_named(name, one.engine.tree.database.path)
        await snapshot(one)
        one.names.unlink(ROOT_INO, b"file")
        for _ in range(5):
            await age(world, one)
            await sweep(world, one)
        assert shard in await world.shards()
        assert list(await one.engine.snapshots.named()) == ["kept"]
        assert len(await one.engine.snapshots.newest()) == 2, "named ones do not count"
        await one.engine.snapshots.delete_named("kept")
        with pytest.raises(UsageError, match="there is no snapshot kept"):
            await one.engine.snapshots.delete_named("kept")
        await sweep(world, one)
        assert shard not in await world.shards()


async def test_an_upload_that_was_swept_away_is_made_again(world, tmp_path, autojump_clock, seed):
    """A shard was uploaded, its commit was not made, and the mount was away until the shard counted as abandoned."""
    data = noise(seed, 100_000)
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        create(one, "first")
        await snapshot(one)
        async with world.engine_at(tmp_path / "two", LIMITS) as two:
            await put_file(two, "mine", data)
            await two.engine.cutter.drain()
            world.faults.fail_next.append("put_if_absent")
            with pytest.raises(StoreUnavailable):
                await two.engine.committer.commit()
            uploaded = await world.shards()
            assert uploaded
            world.faults.away = True
        world.faults.away = False
        await age(world, one)
        assert (await sweep(world, one)).shards == len(uploaded)
        async with world.engine_at(tmp_path / "two", LIMITS) as two:
            await two.files.fsync()
        async with world.engine_at(tmp_path / "three", LIMITS) as three:
            assert await read(three, find(three, "mine")) == data


async def test_chunks_that_were_shared_and_then_swept_away_are_uploaded(world, tmp_path, autojump_clock, seed):
    """The file shares the chunks of another one; while its mount is away, that one goes, and so do its shards."""
    data = noise(seed, 40_000)
    async with world.engine_at(tmp_path / "one", LIMITS) as one:
        await put_file(one, "gone", data)
        await snapshot(one)
        (shard,) = await world.shards()
        async with world.engine_at(tmp_path / "two", LIMITS) as two:
            await put_file(two, "again", data)
            await two.engine.cutter.drain()
            world.faults.away = True
        world.faults.away = False
        one.names.unlink(ROOT_INO, b"gone")
        for _ in range(5):
            await age(world, one)
            await sweep(world, one)
        assert shard not in await world.shards()
        async with world.engine_at(tmp_path / "two", LIMITS) as two:
            await two.files.fsync()
            assert list(check.faults(two.engine.tree.database)) == []
        async with world.engine_at(tmp_path / "three", LIMITS) as three:
            assert await read(three, find(three, "again")) == data
