"""Rebasing: two mounts change one tree at the same time; both commit, nothing is lost, and it stays a tree."""

import contextlib

import trio

from storefs.core import keys
from storefs.model import ROOT_INO
from storefs.testing.world import FOLDER_MODE, create, find, listing, noise, put_file, read, tables, with_limits, write
from storefs.tree import check
from tests.engine.pair import conflict


async def test_changes_in_different_places_stand_side_by_side(pair, autojump_clock):
    for name in ("a", "b"):
        create(pair.one, name, mode=FOLDER_MODE)
    await pair.begin()
    await put_file(pair.one, "x", b"1", find(pair.one, "a"))
    await put_file(pair.two, "y", b"2", find(pair.two, "b"))
    await pair.meet()
    assert await pair.files() == {"a": None, "a/x": b"1", "b": None, "b/y": b"2"}


async def test_new_files_of_both_in_one_directory(pair, autojump_clock):
    await pair.begin()
    await put_file(pair.one, "x", b"1")
    await put_file(pair.two, "y", b"2")
    await pair.meet()
    assert await pair.files() == {"x": b"1", "y": b"2"}


async def test_a_second_loss_is_rebased_as_well(pair, world, tmp_path, autojump_clock):
    await pair.begin()
    await put_file(pair.one, "file", b"1")
    await put_file(pair.two, "file", b"2")
    await pair.one.files.fsync()
    await pair.two.engine.follower.poll()
    copy = conflict("file", pair.two, 2)
    await put_file(pair.one, copy, b"3")
    await pair.meet()
    assert await pair.files() == {"file": b"1", copy: b"3", conflict(copy, pair.two, 3): b"2"}


async def test_fsync_waits_for_what_was_rebased(pair, world, autojump_clock):
    """The change that fsync waits for gets another number by the rebase: that must not look like committed."""
    await pair.begin()
    create(pair.one, "x")
    for number in range(3):
        create(pair.two, f"y{number}")
    await pair.one.files.fsync()
    world.faults.lose_next.append("put_if_absent")
    await pair.two.files.fsync()
    assert not pair.two.engine.tree.pending.count
    await pair.one.engine.follower.poll()
    assert listing(pair.one) == ["x", "y0", "y1", "y2"]


async def test_the_kernel_hears_what_the_rebase_changed(pair, world, autojump_clock):
    await pair.begin()
    await put_file(pair.one, "file", b"1")
    mine = await put_file(pair.two, "file", b"2")
    theirs = find(pair.one, "file")
    pair.two.references.add(theirs)
    await pair.one.files.fsync()
    await pair.two.engine.follower.poll()
    copy = conflict("file", pair.two, 2).encode()
    assert sorted(set(world.kernel.entries)) == [(ROOT_INO, b"file"), (ROOT_INO, copy)]
    assert (mine, False) not in world.kernel.inodes, "its bytes are what they were"
    assert (theirs, False) in world.kernel.inodes


async def test_a_file_removed_there_that_is_only_read_here_stays_readable(pair, seed, autojump_clock):
    data = noise(seed, 20_000)
    file = await put_file(pair.one, "file", data)
    await pair.begin()
    pair.two.references.add(file)
    create(pair.two, "mine")
    pair.one.names.unlink(ROOT_INO, b"file")
    await pair.one.files.fsync()
    await pair.two.engine.follower.poll()
    assert await read(pair.two, file) == data
    assert pair.two.attributes.get(file).nlink == 0
    pair.two.names.forget(file, 1)
    await pair.meet()
    assert await pair.files() == {"mine": b""}


async def test_changes_that_a_crash_left_are_rebased_at_the_next_start(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one:
        await put_file(one, "file", b"0" * 5000)
        await one.files.fsync()
        async with world.engine_at(tmp_path / "two") as two:
            create(two, "mine")
            await write(two, find(two, "file"), b"2" * 100)  # staged only
        create(one, "theirs")
        await write(one, find(one, "file"), b"1" * 5000)
        await one.files.fsync()
        async with world.engine_at(tmp_path / "two") as two:
            await two.files.fsync()
            await one.engine.follower.poll()
            assert tables(one.engine.tree) == tables(two.engine.tree)
            assert await read(one, find(one, "file")) == b"2" * 100 + b"0" * 4900
            assert await read(one, find(one, f"file.conflict-{one.engine.writer.node}-2")) == b"1" * 5000
            assert {"mine", "theirs"} <= set(listing(one))
            assert list(check.faults(one.engine.tree.database)) == []


async def test_many_mounts_at_once_all_get_through(world, tmp_path, autojump_clock):
    async with contextlib.AsyncExitStack() as stack:
        mounts = [await stack.enter_async_context(world.engine_at(tmp_path / str(number))) for number in range(5)]

        async def work(number, volume):
            for turn in range(5):
                await put_file(volume, f"{number}-{turn}", b"%d" % number)
                if turn == 2 and volume.names.lookup(ROOT_INO, b"same") is None:
                    await put_file(volume, "same", b"%d" % number)
                await volume.files.fsync()

        async with trio.open_nursery() as nursery:
            for number, volume in enumerate(mounts):
                nursery.start_soon(work, number, volume)
        for volume in mounts:
            await volume.engine.follower.poll()
        first = tables(mounts[0].engine.tree)
        assert all(tables(volume.engine.tree) == first for volume in mounts)
        assert list(check.faults(mounts[0].engine.tree.database)) == []
        names = listing(mounts[0])
        assert {f"{number}-{turn}" for number in range(5) for turn in range(5)} <= set(names)
        assert "same" in names


async def test_nothing_moves_in_a_commit_under_way(pair, world, autojump_clock):
    """A poll while a commit's answer is on its way must not take that commit for somebody else's."""
    await pair.begin()
    create(pair.two, "mine")

    async def look(request):
        if request.operation == "put_if_absent" and request.key.startswith(keys.JOURNAL):
            with trio.move_on_after(1):
                await pair.two.engine.follower.poll()

    world.store.after = look
    await pair.meet()
    assert await pair.files() == {"mine": b""}


async def test_a_name_made_and_removed_here_while_it_is_made_there(world, tmp_path, autojump_clock):
    limits = with_limits(commit_rows=1)
    async with world.engine_at(tmp_path / "1", limits) as one, world.engine_at(tmp_path / "2", limits) as two:
        at = world.clock.now_ns()
        world.clock.now_ns = lambda: at
        create(one, "before")
        await one.files.fsync()
        await two.engine.follower.poll()
        create(one, "name")
        create(two, "name", mode=FOLDER_MODE)
        two.engine.tree.pending.mark(0)  # a commit may end here
        two.names.rmdir(ROOT_INO, b"name")
        two.engine.tree.pending.mark(0)
        create(two, "other")
        await one.files.fsync()
        await two.files.fsync()
        await one.engine.follower.poll()
        assert not one.engine.read_only
        assert tables(one.engine.tree) == tables(two.engine.tree)
        assert listing(one) == ["before", "name", "other"]
