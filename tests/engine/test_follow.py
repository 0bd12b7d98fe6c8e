"""Following: an idle mount takes over what others commit, and tells the kernel exactly what that changed."""

from dataclasses import replace

import pytest
import trio

from storefs.core import commitheader, keys
from storefs.errors import Corrupt, UnknownFormat
from storefs.model import ROOT_INO
from storefs.testing.world import FOLDER_MODE, create, find, listing, noise, put_file, read, tables, with_limits, write
from storefs.volume.attributes import Changes


def told(world):
    """Return what the kernel was told since the last look, once or twice: (inodes, entries), sorted."""
    kernel = world.kernel
    found = sorted(set(kernel.inodes)), sorted(set(kernel.entries))
    kernel.inodes.clear()
    kernel.entries.clear()
    return found


async def test_an_idle_mount_follows_within_the_poll_interval(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 30_000)
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        await put_file(one, "file", data)
        await one.files.fsync()
        await trio.sleep(2 * two.engine.limits.poll_s)
        assert await read(two, find(two, "file")) == data
        assert tables(two.engine.tree) == tables(one.engine.tree)


async def test_the_kernel_is_told_exactly_what_changed(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:

        async def commit():
            await one.files.fsync()
            assert await two.engine.follower.poll() == 1
            return told(world)

        folder = create(one, "folder", mode=FOLDER_MODE)
        two.references.add(folder)
        assert await commit() == ([(ROOT_INO, True), (folder, True)], [(ROOT_INO, b"folder")])
        # The entry of a directory that stays must never be forgotten: what is mounted below it would go.
        file = await put_file(one, "file", b"content", parent=folder)
        two.references.add(file)
        assert await commit() == ([(folder, True), (file, False)], [(folder, b"file")])
        await one.attributes.set(file, Changes(mode=0o600))
        assert await commit() == ([(file, True)], [])
        one.attributes.set_xattr(file, b"user.a", b"1")
        assert await commit() == ([(file, True)], [])
        await write(one, file, b"C")
        assert await commit() == ([(file, False)], [])
        one.names.link(file, ROOT_INO, b"other")
        assert await commit() == ([(ROOT_INO, True), (file, True)], [(ROOT_INO, b"other")])
        one.names.unlink(folder, b"file")
        assert await commit() == ([(folder, True), (file, True)], [(folder, b"file")])
        unknown = create(one, "unknown", mode=FOLDER_MODE)
        create(one, "below", parent=unknown)
        assert await commit() == ([(ROOT_INO, True)], [(ROOT_INO, b"unknown")])
        assert await two.engine.follower.poll() == 0
        assert told(world) == ([], [])


@pytest.mark.parametrize("aside_bytes", [0, 1 << 20])
async def test_the_kernel_has_forgotten_what_changes_when_it_changes(world, tmp_path, autojump_clock, aside_bytes):
    """Who finds a new name must not find an old file beside it that the kernel still has."""
    limits = with_limits(aside_bytes=aside_bytes)
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two", limits) as two:
        old = await put_file(one, "file", b"old")
        await one.files.fsync()
        await two.engine.follower.poll()
        two.references.add(old)
        new = await put_file(one, "fresh", b"new")
        one.names.rename(ROOT_INO, b"fresh", ROOT_INO, b"file")
        mark = create(one, "done")
        await one.files.fsync()
        told(world)
        arrivals, waited = two.engine.arrivals, []

        async def settled():
            await trio.sleep(0.01)
            assert listing(two) == ["file"]
            assert find(two, "file") == old
            assert sorted(world.kernel.entries) == [(ROOT_INO, b"done"), (ROOT_INO, b"file")]
            assert {(ROOT_INO, True), (old, False)} == set(world.kernel.inodes)
            assert all(map(arrivals.changes, (ROOT_INO, old, new, mark)))
            assert arrivals.changes_name(ROOT_INO, b"done")
            assert not arrivals.changes_name(ROOT_INO, b"fresh")
            waited.append(trio.current_time())

        world.kernel.settled = settled
        await two.engine.follower.poll()
        assert len(waited) == 1
        assert listing(two) == ["done", "file"]
        assert not any(map(arrivals.changes, (ROOT_INO, old, new, mark)))
        assert not arrivals.changes_name(ROOT_INO, b"done")
        assert (old, False) in world.kernel.inodes[2:], "it may have read it again"


async def test_a_kernel_that_cannot_forget_holds_no_commit_up_for_long(world, tmp_path, autojump_clock):
    """A call on a directory may hold the lock that it needs, and wait for a commit that comes behind this one."""
    world.kernel.settled = trio.sleep_forever
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        create(one, "theirs")
        await one.files.fsync()
        create(two, "mine")
        began_s = trio.current_time()
        await two.files.fsync()
        assert trio.current_time() - began_s < 0.1
        assert listing(two) == ["mine", "theirs"]
        began_s = trio.current_time()
        await one.engine.follower.poll()
        assert trio.current_time() - began_s < 0.5
        assert listing(one) == ["mine", "theirs"]


async def test_own_commits_tell_the_kernel_nothing(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one:
        await put_file(one, "file", b"content")
        await one.files.fsync()
        await trio.sleep(5)
    assert told(world) == ([], [])


async def test_a_change_made_while_the_store_answers_goes_on_top(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        await put_file(one, "theirs", b"1")
        await one.files.fsync()

        async def change_meanwhile(request):
            if request.operation == "get" and request.key.startswith(keys.JOURNAL) and not listing(two):
                create(two, "mine")

        world.store.after = change_meanwhile
        assert await two.engine.follower.poll() == 1
        assert listing(two) == ["mine", "theirs"]


async def test_a_file_in_use_that_goes_elsewhere_stays_readable_here(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 20_000)
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        await put_file(one, "file", data)
        await one.files.fsync()
        await two.engine.follower.poll()
        ino = find(two, "file")
        two.references.add(ino)
        one.names.unlink(ROOT_INO, b"file")
        await one.files.fsync()
        await two.engine.follower.poll()
        assert listing(two) == []
        assert await read(two, ino) == data
        assert two.attributes.get(ino).nlink == 0
        two.names.forget(ino, 1)
        assert tables(two.engine.tree) == tables(one.engine.tree)


async def test_a_commit_of_another_schema_makes_the_mount_read_only(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        await put_file(two, "file", b"1")
        await two.files.fsync()
        (key,) = await world.journal()
        header, body = commitheader.parse(await world.memory.get(key), 1)
        await world.memory.put(key, commitheader.pack(replace(header, schema=header.schema + 1), body))
        with pytest.raises(UnknownFormat):
            await one.engine.follower.poll()
        assert one.engine.read_only
        with pytest.raises(UnknownFormat):
            create(one, "mine")
        assert listing(one) == []


async def test_a_replica_that_diverged_is_built_again(world, tmp_path, autojump_clock):
    """What is pending there goes on top, and the kernel hears of what had been wrong."""
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        wrong = await put_file(two, "wrong", b"0")
        await two.files.fsync()
        await one.engine.follower.poll()
        one.engine.tree.database.run("UPDATE inode SET mode = 33279, mtime_ns = 5 WHERE ino = ?", (wrong,))
        create(one, "mine")
        one.references.add(wrong)
        told(world)
        await put_file(two, "file", b"1")
        await two.attributes.set(wrong, Changes(mode=0o600))
        await two.files.fsync()
        await one.engine.follower.poll()
        assert (wrong, True) in told(world)[0]
        assert listing(one) == ["file", "mine", "wrong"]
        await one.files.fsync()
        await two.engine.follower.poll()
        assert tables(one.engine.tree) == tables(two.engine.tree)


async def test_a_journal_that_fits_nothing_makes_the_mount_read_only(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        await put_file(two, "file", b"1")
        await two.files.fsync()
        (key,) = await world.journal()
        header, body = commitheader.parse(await world.memory.get(key), 1)
        await world.memory.put(key, commitheader.pack(replace(header, previous=b"x" * 16), body))
        before = tables(one.engine.tree)
        with pytest.raises(Corrupt):
            await one.engine.follower.poll()
        assert tables(one.engine.tree) == before
