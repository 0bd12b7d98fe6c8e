"""Contents and attributes that two mounts changed at the same time."""

import contextlib
import stat

import pytest

from storefs.model import ROOT_INO
from storefs.testing.world import create, find, listing, noise, put_file, read, tables, write
from storefs.volume.attributes import Changes
from tests.engine.pair import conflict


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


async def test_an_own_orphan_meets_newer_content(pair, autojump_clock):
    file = await put_file(pair.one, "file", b"0" * 5000)
    await pair.begin()
    pair.two.references.add(file)
    pair.two.names.unlink(ROOT_INO, b"file")
    await write(pair.one, file, b"1" * 5000)
    await pair.meet()
    assert await pair.files() == {"file": b"1" * 5000}
    assert not pair.two.engine.tree.local.is_orphan(file)


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


async def test_staged_writes_of_an_orphan_that_was_let_go_stay_away_when_it_comes_back(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "1") as one:
        async with world.engine_at(tmp_path / "2") as two:
            file = await put_file(one, "file", b"0" * 5000)
            await one.files.fsync()
            await two.engine.follower.poll()
            await write(two, create(two, "keeps the log"), b"k")
            two.references.add(file)
            two.names.unlink(ROOT_INO, b"file")
            await write(two, file, b"2" * 1000, 1000)
            two.names.forget(file, 1)
            await write(one, file, b"1" * 5000)
            await one.files.fsync()
            await two.engine.follower.poll()
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
