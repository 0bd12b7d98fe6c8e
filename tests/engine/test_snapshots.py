"""Snapshots: a new mount starts from the newest that is whole, and reads only the journal behind it."""

import pytest
import trio

from storefs.core import keys
from storefs.engine import snapshots
from storefs.testing.world import FOLDER_MODE, create, find, listing, noise, put_file, read, tables, with_limits, write

LIMITS = with_limits(snapshot_commits_unmount=3)


async def commit_files(volume, names):
    for name in names:
        await put_file(volume, name, name.encode())
        await volume.files.fsync()


async def test_a_new_mount_reads_no_commit_before_the_snapshot(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one", LIMITS) as volume:
        await commit_files(volume, "abcd")
        await volume.engine.finish(60)
        seq = volume.engine.tree.local.position.seq
        await commit_files(volume, "ef")
        after = tables(volume.engine.tree)
    assert world.store.keys("put", keys.SNAPSHOTS) == [keys.snapshot(seq)]
    world.store.requests.clear()
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        assert min(world.store.keys("get", keys.JOURNAL)) == keys.journal(seq + 1)
        assert tables(volume.engine.tree) == after
        assert await read(volume, find(volume, "a")) == b"a"


async def test_few_commits_make_no_snapshot(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one", with_limits(snapshot_commits_unmount=100)) as volume:
        await commit_files(volume, "abcd")
        await volume.engine.finish(60)
    assert world.store.keys("put", keys.SNAPSHOTS) == []


async def test_a_running_mount_writes_them_too(world, tmp_path, autojump_clock):
    limits = with_limits(snapshot_commits=2)
    async with world.engine_at(tmp_path / "one", limits) as volume:
        await commit_files(volume, "abcd")
        await trio.sleep(2 * volume.engine.limits.upkeep_s)
    assert len(world.store.keys("put", keys.SNAPSHOTS)) == 1


async def test_a_mount_restored_from_one_does_not_write_it_again(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one", LIMITS) as volume:
        await commit_files(volume, "abcd")
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        await volume.engine.finish(60)
    assert len(world.store.keys("put", keys.SNAPSHOTS)) == 1


@pytest.mark.parametrize("damaged", ["one", "all"])
async def test_a_damaged_one_is_passed_over(world, tmp_path, autojump_clock, damaged):
    async with world.engine_at(tmp_path / "one", LIMITS) as volume:
        await commit_files(volume, "abcd")
        await volume.engine.finish(60)
        await commit_files(volume, "efgh")
        await volume.engine.finish(60)
        after = tables(volume.engine.tree)
    names = [info.key for info in await world.memory.list_after(keys.SNAPSHOTS)]
    assert len(names) == 2
    for name in names if damaged == "all" else names[1:]:
        content = await world.memory.get(name)
        await world.memory.put(name, content[: len(content) // 2])
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        assert tables(volume.engine.tree) == after
        assert listing(volume) == list("abcdefgh")


async def test_one_taken_amid_changes_holds_the_committed_tree(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one") as volume:
        used = await put_file(volume, "used", noise(seed, 20_000))
        volume.attributes.set_xattr(used, b"user.a", b"1")
        kept = await put_file(volume, "kept", noise(seed, 5_000))
        await volume.files.fsync()
        committed = tables(volume.engine.tree)
        world.faults.away = True
        volume.references.add(used)
        volume.names.unlink(1, b"used")
        volume.names.rename(1, b"kept", 1, b"moved")
        create(volume, "folder", mode=FOLDER_MODE)
        await write(volume, kept, b"new bytes")
        await volume.engine.cutter.drain()
        assert tables(volume.engine.tree) != committed
        world.faults.away = False
        await volume.engine.snapshots.write(volume.engine.tree, volume.engine.home.tree)
        assert volume.engine.tree.pending.count
    (snapshot,) = world.store.keys("put", keys.SNAPSHOTS)
    assert snapshot == keys.snapshot(1)
    async with world.engine_at(tmp_path / "two") as volume:
        assert tables(volume.engine.tree) == committed


@pytest.mark.parametrize("piece", [1, 1000, 1 << 30])
async def test_it_is_downloaded_piece_by_piece(world, tmp_path, seed, piece, monkeypatch, autojump_clock):
    monkeypatch.setattr(snapshots, "_PIECE_BYTES", piece)
    target = tmp_path / "target"
    async with world.engine_at(tmp_path / "one") as volume:
        for size in (0, 1, 3000):
            data = noise(seed, size)
            await world.memory.put("x", data)
            target.write_bytes(b"what a crash left behind" * 1000)
            await volume.engine.snapshots._download("x", target)
            assert target.read_bytes() == data
