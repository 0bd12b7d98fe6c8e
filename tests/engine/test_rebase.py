"""Rebasing: two mounts change one tree at the same time; both commit, nothing is lost, and it stays a tree."""

import contextlib
import stat

import pytest
import trio

from storefs.core import keys
from storefs.model import ROOT_INO
from storefs.testing.world import FOLDER_MODE, create, find, listing, noise, put_file, read, tables, with_limits, write
from storefs.tree import check
from storefs.volume.attributes import Changes


class Pair:
    """Two mounts of one store: ``one`` commits first."""

    def __init__(self, world, one, two):
        self.world, self.one, self.two = world, one, two

    async def begin(self):
        """Commit what the first has made, and let the second see it."""
        await self.one.files.fsync()
        await self.two.engine.follower.poll()
        self.world.kernel.inodes.clear()
        self.world.kernel.entries.clear()

    async def meet(self):
        """Let both commit, and see that they agree on something that is a tree."""
        await self.one.files.fsync()
        await self.two.files.fsync()
        await self.one.engine.follower.poll()
        for volume in (self.one, self.two):
            assert list(check.faults(volume.engine.tree.database)) == []
            assert not volume.engine.tree.pending.count
            assert not volume.engine.read_only
        assert tables(self.one.engine.tree) == tables(self.two.engine.tree)

    async def files(self, parent=ROOT_INO, at=""):
        """Return the tree as the first has it: contents by path, None for directories."""
        found = {}
        for name in listing(self.one, parent):
            inode = self.one.names.lookup(parent, name.encode())
            if inode.is_directory:
                found[at + name] = None
                found |= await self.files(inode.ino, f"{at}{name}/")
            else:
                found[at + name] = await read(self.one, inode.ino)
        assert self.one.engine.tree.pending.count == 0
        return found


@pytest.fixture
async def pair(world, tmp_path):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        yield Pair(world, one, two)


def conflict(name, volume, seq):
    return f"{name}.conflict-{volume.engine.writer.node}-{seq}"


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


async def test_the_same_name_made_twice_keeps_both(pair, autojump_clock):
    await pair.begin()
    await put_file(pair.one, "file", b"first")
    mine = await put_file(pair.two, "file", b"second")
    await pair.meet()
    copy = conflict("file", pair.two, 2)
    assert await pair.files() == {"file": b"first", copy: b"second"}
    assert find(pair.two, copy) == mine, "who has it open goes on in it"


async def test_directories_of_one_name_become_one(pair, autojump_clock):
    await pair.begin()
    for volume, inside, deep in ((pair.one, b"1", b"one"), (pair.two, b"2", b"two")):
        folder = create(volume, "run", mode=FOLDER_MODE)
        await put_file(volume, "same", inside, folder)
        await put_file(volume, deep.decode(), inside, create(volume, "deep", folder, FOLDER_MODE))
    await pair.meet()
    copy = conflict("run/same", pair.two, 2)
    assert await pair.files() == {
        "run": None, "run/same": b"1", copy: b"2", "run/deep": None, "run/deep/one": b"1", "run/deep/two": b"2",
    }  # fmt: skip


async def test_a_directory_that_became_anothers_stays_for_who_is_in_it(pair, autojump_clock):
    await pair.begin()
    create(pair.one, "run", mode=FOLDER_MODE)
    mine = create(pair.two, "run", mode=FOLDER_MODE)
    pair.two.references.add(mine)
    await pair.one.files.fsync()
    await pair.two.files.fsync()
    assert pair.two.attributes.get(mine).nlink == 0
    pair.two.names.forget(mine, 1)
    await pair.meet()
    assert await pair.files() == {"run": None}


async def test_a_file_and_a_directory_of_one_name(pair, autojump_clock):
    await pair.begin()
    create(pair.one, "x", mode=FOLDER_MODE)
    await put_file(pair.two, "x", b"2")
    await pair.meet()
    assert await pair.files() == {"x": None, conflict("x", pair.two, 2): b"2"}


async def test_a_file_written_on_both_sides_is_never_mixed(pair, autojump_clock):
    await put_file(pair.one, "file", b"0" * 9000)
    await pair.begin()
    await write(pair.one, find(pair.one, "file"), b"1" * 4096)
    await write(pair.two, find(pair.two, "file"), b"2" * 4096, 4500)
    await pair.meet()
    assert await pair.files() == {
        "file": b"0" * 4500 + b"2" * 4096 + b"0" * 404,
        conflict("file", pair.one, 2): b"1" * 4096 + b"0" * 4904,
    }


async def test_the_same_bytes_written_on_both_sides_are_no_conflict(pair, autojump_clock):
    await put_file(pair.one, "file", b"0" * 9000)
    await pair.begin()
    for volume in (pair.one, pair.two):
        await write(volume, find(volume, "file"), b"1" * 9000)
        volume.files.flush(find(volume, "file"))
        await volume.engine.cutter.drain()
    await pair.meet()
    assert await pair.files() == {"file": b"1" * 9000}


async def test_a_draft_counts_as_written(pair, autojump_clock):
    """What is staged when a commit comes in goes on top of what the writer saw, not of what came."""
    await put_file(pair.one, "file", b"0" * 9000)
    await pair.begin()
    file = find(pair.two, "file")
    await write(pair.two, file, b"2" * 100, 50)
    await write(pair.one, find(pair.one, "file"), b"1" * 9000)
    await pair.one.files.fsync()
    assert await pair.two.engine.follower.poll() == 1
    await write(pair.two, file, b"3" * 100, 8000)
    expected = b"0" * 50 + b"2" * 100 + b"0" * 7850 + b"3" * 100 + b"0" * 900
    assert await read(pair.two, file) == expected
    await pair.meet()
    assert await pair.files() == {"file": expected, conflict("file", pair.one, 2): b"1" * 9000}


async def test_what_waited_longer_than_the_offline_limit_becomes_the_copy(pair, autojump_clock):
    await put_file(pair.one, "file", b"0" * 5000)
    await pair.begin()
    pair.world.faults.away = True
    await write(pair.two, find(pair.two, "file"), b"2" * 5000)
    await pair.two.engine.cutter.drain()
    pair.world.faults.away = False
    pair.world.clock.at_ns += int((pair.two.engine.limits.offline_s + 60) * 1e9)
    await write(pair.one, find(pair.one, "file"), b"1" * 5000)
    await pair.meet()
    assert await pair.files() == {"file": b"1" * 5000, conflict("file", pair.two, 3): b"2" * 5000}


async def test_a_removal_gives_way_to_newer_content(pair, autojump_clock):
    await put_file(pair.one, "theirs", b"0" * 5000)
    await put_file(pair.one, "mine", b"0" * 5000)
    await pair.begin()
    await write(pair.one, find(pair.one, "theirs"), b"1")
    pair.one.names.unlink(ROOT_INO, b"mine")
    pair.two.names.unlink(ROOT_INO, b"theirs")
    await write(pair.two, find(pair.two, "mine"), b"2")
    await pair.meet()
    assert await pair.files() == {"theirs": b"1" + b"0" * 4999, "mine": b"2" + b"0" * 4999}


async def test_a_removal_wins_over_new_attributes(pair, autojump_clock):
    for name in ("a", "b", "c"):
        await put_file(pair.one, name, b"0")
    await pair.begin()
    pair.world.clock.at_ns += 1
    pair.one.names.unlink(ROOT_INO, b"a")
    await pair.one.attributes.set(find(pair.one, "b"), Changes(mode=0o600))
    pair.one.names.unlink(ROOT_INO, b"c")
    await pair.two.attributes.set(find(pair.two, "a"), Changes(mode=0o600))
    pair.two.names.unlink(ROOT_INO, b"b")
    pair.two.names.unlink(ROOT_INO, b"c")
    await pair.meet()
    assert await pair.files() == {}


async def test_a_renamed_file_survives_the_removal_of_its_old_name(pair, autojump_clock):
    await put_file(pair.one, "a", b"0" * 5000)
    await put_file(pair.one, "b", b"1" * 5000)
    await pair.begin()
    pair.world.clock.at_ns += 1
    pair.one.names.unlink(ROOT_INO, b"a")
    pair.one.names.rename(ROOT_INO, b"b", ROOT_INO, b"b2")
    pair.two.names.rename(ROOT_INO, b"a", ROOT_INO, b"a2")
    pair.two.names.unlink(ROOT_INO, b"b")
    await pair.meet()
    assert await pair.files() == {"a2": b"0" * 5000, "b2": b"1" * 5000}


async def test_who_renames_first_has_named_it(pair, autojump_clock):
    await put_file(pair.one, "file", b"0")
    create(pair.one, "folder", mode=FOLDER_MODE)
    await pair.begin()
    for volume, to in ((pair.one, b"-1"), (pair.two, b"-2")):
        for name in (b"file", b"folder"):
            volume.names.rename(ROOT_INO, name, ROOT_INO, name + to)
    await pair.meet()
    assert await pair.files() == {"file-1": b"0", "folder-1": None}


async def test_links_made_on_both_sides(pair, autojump_clock):
    await put_file(pair.one, "file", b"0")
    await pair.begin()
    for volume, name in ((pair.one, b"one"), (pair.two, b"two")):
        volume.names.link(find(volume, "file"), ROOT_INO, name)
    await pair.meet()
    assert await pair.files() == {"file": b"0", "one": b"0", "two": b"0"}
    assert pair.one.attributes.get(find(pair.one, "file")).nlink == 3


async def test_link_there_and_removal_here(pair, autojump_clock):
    await put_file(pair.one, "a", b"0")
    await put_file(pair.one, "b", b"1")
    await pair.begin()
    pair.one.names.link(find(pair.one, "a"), ROOT_INO, b"a2")
    pair.one.names.unlink(ROOT_INO, b"b")
    pair.two.names.unlink(ROOT_INO, b"a")
    pair.two.names.link(find(pair.two, "b"), ROOT_INO, b"b2")
    await pair.meet()
    assert await pair.files() == {"a2": b"0", "b2": b"1"}


async def test_a_link_removed_here_and_the_other_one_there(pair, autojump_clock):
    file = await put_file(pair.one, "a", b"0")
    pair.one.names.link(file, ROOT_INO, b"b")
    await pair.begin()
    pair.one.names.unlink(ROOT_INO, b"a")
    pair.two.names.unlink(ROOT_INO, b"b")
    await pair.meet()
    assert await pair.files() == {}


@pytest.mark.parametrize("first", ["removal", "filling"])
async def test_a_directory_removed_there_and_filled_here_comes_back(pair, first, autojump_clock):
    deep = create(
        pair.one, "c", create(pair.one, "b", create(pair.one, "a", mode=FOLDER_MODE), FOLDER_MODE), FOLDER_MODE
    )
    await pair.begin()
    removing, filling = (pair.one, pair.two) if first == "removal" else (pair.two, pair.one)
    await put_file(filling, "kept", b"1", deep)
    a = find(removing, "a")
    b = find(removing, "b", a)
    removing.names.rmdir(b, b"c")
    removing.names.rmdir(a, b"b")
    removing.names.rmdir(ROOT_INO, b"a")
    await pair.meet()
    assert await pair.files() == {"a": None, "a/b": None, "a/b/c": None, "a/b/c/kept": b"1"}


async def test_a_directory_removed_there_comes_back_beside_what_has_its_name_now(pair, autojump_clock):
    folder = create(pair.one, "a", mode=FOLDER_MODE)
    await pair.begin()
    pair.one.names.rmdir(ROOT_INO, b"a")
    await put_file(pair.one, "a", b"now a file")
    await put_file(pair.two, "kept", b"1", folder)
    await pair.meet()
    copy = conflict("a", pair.two, 3)
    assert await pair.files() == {"a": b"now a file", copy: None, f"{copy}/kept": b"1"}


async def test_renames_that_would_form_a_cycle(pair, autojump_clock):
    create(pair.one, "x", create(pair.one, "a", mode=FOLDER_MODE), FOLDER_MODE)
    create(pair.one, "y", create(pair.one, "b", mode=FOLDER_MODE), FOLDER_MODE)
    await pair.begin()
    for volume, moved, into in ((pair.one, "a", ("b", "y")), (pair.two, "b", ("a", "x"))):
        target = find(volume, into[1], find(volume, into[0]))
        volume.names.rename(ROOT_INO, moved.encode(), target, b"moved")
    await pair.meet()
    assert await pair.files() == {"b": None, "b/y": None, "b/y/moved": None, "b/y/moved/x": None}


async def test_a_file_replaced_on_both_sides(pair, autojump_clock):
    await put_file(pair.one, "file", b"0" * 5000)
    await pair.begin()
    for volume, data in ((pair.one, b"1"), (pair.two, b"2")):
        await put_file(volume, f"new-{data.decode()}", data * 5000)
        volume.names.rename(ROOT_INO, f"new-{data.decode()}".encode(), ROOT_INO, b"file")
    await pair.meet()
    assert await pair.files() == {"file": b"1" * 5000, conflict("file", pair.two, 3): b"2" * 5000}


async def test_a_file_changed_there_that_replaced_another_here(pair, autojump_clock):
    await put_file(pair.one, "a", b"0" * 5000)
    await put_file(pair.one, "b", b"1" * 5000)
    await pair.begin()
    await pair.one.attributes.set(find(pair.one, "b"), Changes(mode=0o600))
    pair.two.names.rename(ROOT_INO, b"b", ROOT_INO, b"a")
    await pair.meet()
    assert await pair.files() == {"a": b"1" * 5000}


async def test_the_same_with_a_replaced_file_that_has_another_name(pair, autojump_clock):
    file = await put_file(pair.one, "a", b"0" * 5000)
    pair.one.names.link(file, ROOT_INO, b"a2")
    await put_file(pair.one, "b", b"1" * 5000)
    await pair.begin()
    await pair.one.attributes.set(find(pair.one, "b"), Changes(mode=0o600))
    pair.two.names.rename(ROOT_INO, b"b", ROOT_INO, b"a")
    await pair.meet()
    assert await pair.files() == {"a": b"1" * 5000, "a2": b"0" * 5000}


@pytest.mark.parametrize("first", ["replacing", "writing"])
async def test_a_file_replaced_here_and_written_there(pair, first, autojump_clock):
    await put_file(pair.one, "file", b"0" * 5000)
    await pair.begin()
    replacing, writing = (pair.one, pair.two) if first == "replacing" else (pair.two, pair.one)
    await put_file(replacing, "new", b"1" * 5000)
    replacing.names.rename(ROOT_INO, b"new", ROOT_INO, b"file")
    await write(writing, find(writing, "file"), b"2" * 5000)
    await pair.meet()
    one, two = (b"1", b"2") if first == "replacing" else (b"2", b"1")
    assert await pair.files() == {"file": one * 5000, conflict("file", pair.two, 3): two * 5000}


async def test_attributes_are_merged_one_by_one(pair, autojump_clock):
    file = await put_file(pair.one, "file", b"0")
    for name in (b"user.a", b"user.b", b"user.c"):
        pair.one.attributes.set_xattr(file, name, b"0")
    await pair.begin()
    await pair.one.attributes.set(file, Changes(mode=0o600, mtime_ns=11))
    pair.one.attributes.set_xattr(file, b"user.a", b"1")
    pair.one.attributes.remove_xattr(file, b"user.b")
    await pair.two.attributes.set(file, Changes(uid=7, mtime_ns=22))
    pair.two.attributes.set_xattr(file, b"user.a", b"2")
    pair.two.attributes.remove_xattr(file, b"user.c")
    pair.two.attributes.set_xattr(file, b"user.d", b"2")
    await pair.meet()
    inode = pair.one.attributes.get(file)
    assert (stat.S_IMODE(inode.mode), inode.uid, inode.mtime_ns) == (0o600, 7, 22)
    assert {name: pair.one.attributes.get_xattr(file, name) for name in pair.one.attributes.list_xattrs(file)} == {
        b"user.a": b"2", b"user.d": b"2",
    }  # fmt: skip


async def test_content_there_and_attributes_here(pair, autojump_clock):
    file = await put_file(pair.one, "file", b"0" * 5000)
    await pair.begin()
    await write(pair.one, file, b"1" * 6000)
    await pair.two.attributes.set(file, Changes(mode=0o600))
    await pair.meet()
    assert await pair.files() == {"file": b"1" * 6000}
    assert stat.S_IMODE(pair.two.attributes.get(file).mode) == 0o600


async def test_the_same_new_bytes_are_indexed_once(pair, seed, autojump_clock):
    await pair.begin()
    data = noise(seed, 50_000)
    await put_file(pair.one, "x", data)
    await put_file(pair.two, "y", data)
    await pair.meet()
    assert await pair.files() == {"x": data, "y": data}
    rows = pair.one.engine.tree.database.rows("SELECT shard FROM chunk")
    assert len({row[0] for row in rows}) == 1


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
    await pair.one.files.fsync()
    await pair.two.engine.follower.poll()
    copy = conflict("file", pair.two, 2).encode()
    assert sorted(world.kernel.entries) == [(ROOT_INO, b"file"), (ROOT_INO, copy)]
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


async def test_an_own_orphan_meets_newer_content(pair, autojump_clock):
    file = await put_file(pair.one, "file", b"0" * 5000)
    await pair.begin()
    pair.two.references.add(file)
    pair.two.names.unlink(ROOT_INO, b"file")
    await write(pair.one, file, b"1" * 5000)
    await pair.meet()
    assert await pair.files() == {"file": b"1" * 5000}
    assert not pair.two.engine.tree.local.is_orphan(file)


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


@pytest.mark.parametrize("there", ["moved", "removed"])
async def test_a_file_is_replaced_here_by_one_that_goes_elsewhere_there(pair, there, autojump_clock):
    await put_file(pair.one, "a", b"0" * 5000)
    await put_file(pair.one, "b", b"1" * 5000)
    await pair.begin()
    a = find(pair.two, "a")
    if there == "moved":
        pair.one.names.rename(ROOT_INO, b"a", ROOT_INO, b"c")
    else:
        pair.one.names.unlink(ROOT_INO, b"a")
    pair.two.names.rename(ROOT_INO, b"a", ROOT_INO, b"b")
    await write(pair.two, a, b"2")
    await pair.meet()
    name = "c" if there == "moved" else "b"
    assert await pair.files() == {name: b"2" + b"0" * 4999}


@pytest.mark.parametrize("removing", ["one", "two"])
@pytest.mark.parametrize("what", ["xattr", "link"])
async def test_a_removal_meets_a_change_that_leaves_the_inodes_row_alone(pair, removing, what, autojump_clock):
    file = await put_file(pair.one, "file", b"0")
    await pair.begin()
    at = pair.one.attributes.get(file).ctime_ns
    pair.world.clock.now_ns = lambda: at
    remover, other = (pair.one, pair.two) if removing == "one" else (pair.two, pair.one)
    remover.names.unlink(ROOT_INO, b"file")
    if what == "xattr":
        other.attributes.set_xattr(file, b"user.a", b"1")
    else:
        other.names.link(file, ROOT_INO, b"second")
    await pair.meet()
    assert await pair.files() == ({} if what == "xattr" else {"second": b"0"})


async def test_a_removed_file_that_two_mounts_bring_back(world, tmp_path, autojump_clock):
    async with contextlib.AsyncExitStack() as stack:
        one, two, three = [await stack.enter_async_context(world.engine_at(tmp_path / name)) for name in "123"]
        file = await put_file(one, "file", b"0" * 5000)
        await one.files.fsync()
        await two.engine.follower.poll()
        await three.engine.follower.poll()
        one.names.unlink(ROOT_INO, b"file")
        await write(two, file, b"2" * 5000)
        await write(three, file, b"3" * 5000)
        await three.engine.cutter.drain()
        for volume in (one, two, three):
            await volume.files.fsync()
        for volume in (one, two):
            await volume.engine.follower.poll()
        assert tables(one.engine.tree) == tables(three.engine.tree)
        assert sorted([await read(one, find(one, name)) for name in listing(one)]) == [b"2" * 5000, b"3" * 5000]


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
        two.names.rmdir(ROOT_INO, b"name")
        create(two, "other")
        await one.files.fsync()
        await two.files.fsync()
        await one.engine.follower.poll()
        assert not one.engine.read_only
        assert tables(one.engine.tree) == tables(two.engine.tree)
        assert listing(one) == ["before", "name", "other"]


async def test_staged_writes_of_a_removed_file_stay_away_when_it_comes_back(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "1") as one:
        async with world.engine_at(tmp_path / "2") as two:
            file = await put_file(one, "file", b"0" * 5000)
            await one.files.fsync()
            await two.engine.follower.poll()
            await put_file(two, "x", b"x")
            await write(two, create(two, "keeps the log"), b"k")
            await write(two, file, b"2" * 1000, 1000)
            two.names.unlink(ROOT_INO, b"file")
            await write(one, file, b"1" * 5000)
            await one.files.fsync()
            await two.engine.follower.poll()
            await two.engine.committer.commit()
            assert await read(two, file) == b"1" * 5000
        async with world.engine_at(tmp_path / "2") as two:
            assert await read(two, file) == b"1" * 5000


async def test_an_orphans_staged_writes_stay_out_of_the_file_that_comes_back(pair, autojump_clock):
    file = await put_file(pair.one, "file", b"0" * 5000)
    await pair.begin()
    pair.two.references.add(file)
    pair.two.names.unlink(ROOT_INO, b"file")
    await write(pair.two, file, b"2" * 1000, 1000)
    await write(pair.one, file, b"1" * 5000)
    await pair.meet()
    await pair.meet()  # what is cut now was an orphan's before
    found = await pair.files()
    assert not [name for name, data in found.items() if b"1" in data and b"2" in data], found.keys()
