"""Expiry: what has a time to live goes when that is over, and nothing else does."""

import errno
import logging

import pytest
import trio

from storefs.core import ttl
from storefs.errors import PosixError
from storefs.model import ROOT_INO
from storefs.testing.world import (
    CALLER,
    FOLDER_MODE,
    create,
    find,
    listing,
    noise,
    put_file,
    read,
    tables,
    write,
)  # fmt: skip
from storefs.tree import check
from storefs.volume import expiry
from storefs.volume.attributes import Changes

HOUR_NS = 3600 * 10**9


def keep_for(volume, ino, value):
    volume.attributes.set_xattr(ino, ttl.XATTR, value)


def later(world, hours):
    world.clock.at_ns += int(hours * HOUR_NS)


def checked(volume):
    """Return the names in the root directory of a tree that is whole."""
    assert list(check.faults(volume.engine.tree.database)) == []
    return listing(volume)


async def settle(volume):
    await volume.engine.cutter.drain()


async def test_a_file_goes_when_its_time_is_over(world, volume, autojump_clock):
    ino = await put_file(volume, "short", b"content")
    await put_file(volume, "plain", b"content")
    keep_for(volume, ino, b"2h")
    await settle(volume)
    later(world, 1.9)
    assert await volume.expiry.run_once() == 0
    assert checked(volume) == ["plain", "short"]
    later(world, 0.2)
    assert await volume.expiry.run_once() == 1
    assert checked(volume) == ["plain"]
    assert (ROOT_INO, b"short") in world.kernel.entries
    assert {ino, ROOT_INO} <= {told for told, _ in world.kernel.inodes}
    assert await volume.expiry.run_once() == 0


async def test_touching_it_or_removing_the_xattr_keeps_it(world, volume, autojump_clock):
    inos = {name: await put_file(volume, name, b"content") for name in ("touched", "written", "freed", "left")}
    for ino in inos.values():
        keep_for(volume, ino, b"1h")
    await settle(volume)
    later(world, 2)
    await volume.attributes.set(inos["touched"], Changes(mtime_ns=world.clock.now_ns()))
    await write(volume, inos["written"], b"more")
    await settle(volume)
    volume.attributes.remove_xattr(inos["freed"], ttl.XATTR)
    assert await volume.expiry.run_once() == 1
    assert checked(volume) == ["freed", "touched", "written"]
    later(world, 2)
    assert await volume.expiry.run_once() == 2
    assert checked(volume) == ["freed"]


async def test_a_file_that_is_being_written_counts_as_touched_now(world, volume, autojump_clock):
    ino = await put_file(volume, "file", b"content")
    keep_for(volume, ino, b"1h")
    await settle(volume)
    later(world, 2)
    await write(volume, ino, b"new")
    await volume.attributes.set(ino, Changes(mtime_ns=1))
    assert await volume.expiry.run_once() == 0, "old by its mtime, but it is still being written"
    await settle(volume)
    assert await volume.expiry.run_once() == 1


async def test_a_directory_goes_with_all_that_is_in_it(world, volume, autojump_clock):
    """Its own mtime counts: what was written in a file of it a moment ago does not save it."""
    folder = create(volume, "folder", mode=FOLDER_MODE)
    outside = create(volume, "outside", mode=FOLDER_MODE)
    await put_file(volume, "kept", b"kept", outside)
    deep = create(volume, "deep", folder, FOLDER_MODE)
    inner = await put_file(volume, "inner", b"inner", deep)
    volume.names.symlink(folder, b"link", b"../outside", CALLER)
    volume.names.link(inner, outside, b"also-inner")
    many = create(volume, "many", folder, FOLDER_MODE)
    for number in range(150):
        create(volume, f"{number}", many)
        create(volume, f"folder-{number}", many, FOLDER_MODE)
    keep_for(volume, folder, b"1h")
    later(world, 2)
    await write(volume, inner, b"just written")
    volume.files.flush(inner)
    assert await volume.expiry.run_once() == 1 + 1 + 1 + 1 + 1 + 300
    assert checked(volume) == ["outside"]
    assert listing(volume, outside) == ["also-inner", "kept"]
    assert await read(volume, find(volume, "also-inner", outside)) == b"just written"


async def test_a_new_name_keeps_a_directory(world, volume, autojump_clock):
    folder = create(volume, "folder", mode=FOLDER_MODE)
    keep_for(volume, folder, b"1h")
    later(world, 2)
    await put_file(volume, "new", b"", folder)
    assert await volume.expiry.run_once() == 0
    assert checked(volume) == ["folder"]


async def test_times_within_times(world, volume, autojump_clock):
    """The shorter time counts within the longer one; all that is due goes in one round, whatever it is in."""
    outer = create(volume, "outer", mode=FOLDER_MODE)
    middle = create(volume, "middle", outer, FOLDER_MODE)
    file = await put_file(volume, "file", b"x", middle)
    other = await put_file(volume, "other", b"x", outer)
    for ino, value in ((outer, b"10h"), (middle, b"5h"), (file, b"1h"), (other, b"20h")):
        keep_for(volume, ino, value)
    await settle(volume)
    later(world, 2)
    assert await volume.expiry.run_once() == 1
    assert listing(volume, middle) == []
    later(world, 4)
    assert await volume.expiry.run_once() == 0, "the removal of the file was a change of the directory"
    later(world, 2)
    assert await volume.expiry.run_once() == 1
    assert listing(volume, outer) == ["other"]
    later(world, 11)
    assert await volume.expiry.run_once() == 2
    assert checked(volume) == []


async def test_what_is_due_at_the_same_time_goes_at_the_same_time(world, volume, autojump_clock):
    """The deepest directory has the lowest number: were it removed first, that would touch the one around it."""
    inos = [create(volume, f"level-{depth}", mode=FOLDER_MODE) for depth in range(4)]
    for depth, ino in enumerate(inos):
        keep_for(volume, ino, b"1h")
        keep_for(volume, create(volume, f"file-{depth}", ino), b"1h")
    for depth in range(3):
        volume.names.rename(ROOT_INO, f"level-{depth}".encode(), inos[depth + 1], b"inner")
    later(world, 2)
    assert await volume.expiry.run_once() == 8
    assert checked(volume) == []


async def test_a_file_goes_with_all_its_names(world, volume, autojump_clock):
    folder = create(volume, "folder", mode=FOLDER_MODE)
    ino = await put_file(volume, "one", b"x")
    volume.names.link(ino, folder, b"two")
    keep_for(volume, ino, b"1h")
    await settle(volume)
    later(world, 2)
    assert await volume.expiry.run_once() == 2
    assert (checked(volume), listing(volume, folder)) == (["folder"], [])


async def test_what_is_in_use_stays_usable(world, volume, seed, autojump_clock):
    data = noise(seed, 20_000)
    ino = await put_file(volume, "file", data)
    keep_for(volume, ino, b"1h")
    await settle(volume)
    volume.references.add(ino)
    later(world, 2)
    assert await volume.expiry.run_once() == 1
    assert listing(volume) == []
    assert await read(volume, ino) == data
    assert await volume.expiry.run_once() == 0, "an orphan is gone already"
    volume.names.forget(ino, 1)
    assert volume.engine.tree.inodes.get(ino) is None


async def test_the_removal_is_committed(world, volume, tmp_path, autojump_clock):
    ino = await put_file(volume, "file", b"x")
    keep_for(volume, ino, b"1h")
    await volume.files.fsync()
    later(world, 2)
    await volume.expiry.run_once()
    await volume.files.fsync()
    replica = await world.replica(tmp_path / "replica.sqlite")
    assert tables(replica) == tables(volume.engine.tree)
    assert tables(replica)["xattr"] == []
    replica.close()


@pytest.mark.parametrize("value", [b"", b"soon", b"-1s", b"0"])
async def test_bad_values_are_refused(volume, value, autojump_clock):
    ino = create(volume, "file")
    with pytest.raises(PosixError) as error:
        keep_for(volume, ino, value)
    assert error.value.errno == errno.EINVAL
    assert volume.attributes.list_xattrs(ino) == []


async def test_the_root_has_no_time_to_live(volume, autojump_clock):
    with pytest.raises(PosixError) as error:
        keep_for(volume, ROOT_INO, b"1d")
    assert error.value.errno == errno.EINVAL


async def test_a_bad_value_that_is_there_is_logged_once(world, volume, caplog, autojump_clock):
    ino, good = create(volume, "file"), create(volume, "good")
    keep_for(volume, good, b"1h")
    for bad in (ino, ROOT_INO):
        volume.engine.tree.xattrs.set(bad, ttl.XATTR, b"whenever")
    later(world, 2)
    with caplog.at_level(logging.WARNING):
        assert [await volume.expiry.run_once() for _ in range(3)] == [1, 0, 0]
    assert [record.getMessage() for record in caplog.records] == [
        f"inode {ino}: b'whenever' is no time to live: the file stays"
    ]
    assert checked(volume) == ["file"]


async def test_an_end_halfway_leaves_the_directory_due(world, volume, autojump_clock):
    folder = create(volume, "folder", mode=FOLDER_MODE)
    for number in range(200):
        create(volume, f"{number}", folder)
    keep_for(volume, folder, b"1h")
    later(world, 2)
    with trio.CancelScope() as scope:
        scope.cancel()
        await expiry.remove_tree(volume.engine, volume.names, folder)
    left = len(listing(volume, folder))
    assert 0 < left < 200
    assert await volume.expiry.run_once() == left + 1
    assert checked(volume) == []


async def test_what_is_moved_out_meanwhile_is_spared(volume, autojump_clock):
    folder = create(volume, "folder", mode=FOLDER_MODE)
    saved = create(volume, "saved", folder, FOLDER_MODE)  # of the first page of names, and the last of it to go
    create(volume, "inside", saved)
    for number in range(200):
        create(volume, f"{number}", create(volume, f"last-{number}", folder, FOLDER_MODE))

    async def move() -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        volume.names.rename(folder, b"saved", ROOT_INO, b"saved")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expiry.remove_tree, volume.engine, volume.names, folder)
        nursery.start_soon(move)
    assert checked(volume) == ["saved"]
    assert listing(volume, saved) == ["inside"]


async def test_other_xattrs_are_passed_over_a_few_at_a_time(world, volume, monkeypatch, autojump_clock):
    monkeypatch.setattr(expiry, "_XATTRS_AT_ONCE", 3)
    inos = [create(volume, f"{number:02}") for number in range(20)]
    for ino in inos:
        for name in (b"user.a", b"user.storefs.tt", b"user.storefs.ttl2", b"user.z"):
            volume.attributes.set_xattr(ino, name, b"1s")
    for ino in inos[::4]:
        keep_for(volume, ino, b"1h")
    later(world, 2)
    assert await volume.expiry.run_once() == 5
    assert len(checked(volume)) == 15


async def test_without_such_xattrs_it_costs_one_query(volume, autojump_clock):
    for number in range(50):
        create(volume, f"{number}")
    asked = []
    volume.engine.tree.database.connection.trace_v2(1, lambda event: asked.append(event["sql"]))
    assert await volume.expiry.run_once() == 0
    assert len(asked) == 1
    (plan,) = asked
    rows = volume.engine.tree.database.rows(f"EXPLAIN QUERY PLAN {plan}", (0, 5000))
    assert not any("SCAN inode" in str(row) for row in rows)


async def test_a_mount_that_takes_no_changes_removes_nothing(world, volume, tmp_path, autojump_clock):
    ino = create(volume, "file")
    keep_for(volume, ino, b"1h")
    await volume.files.fsync()
    later(world, 2)
    async with world.engine_at(tmp_path / "two", ro=True) as reader:
        assert await reader.expiry.run_once() == 0
        assert listing(reader) == ["file"]
