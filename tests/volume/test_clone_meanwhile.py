"""Clone beside other work: whole or not at all, whoever writes, removes, moves or dies meanwhile."""

import errno
import stat

import pytest
import trio
import trio.lowlevel

from storefs.core import ttl
from storefs.errors import NoSpace
from storefs.model import ROOT_INO
from storefs.testing.world import (
    FOLDER_MODE,
    copy_disk,
    create,
    find,
    listing,
    noise,
    put_file,
    read,
    tables,
    with_limits,
    write,
)  # fmt: skip
from storefs.volume import clone
from storefs.volume.attributes import Changes
from tests.volume.clones import make_source, refused, shown, sliced, whole


async def during(volume, change, source=b"/source", at=3):
    """Clone, and make a change after the slice number ``at``; return how many slices there were."""
    write_slice = clone._Copying._write
    turn = 0

    def spy(self, part):
        nonlocal turn
        write_slice(self, part)
        turn += 1
        if turn == at:
            change(self)

    clone._Copying._write = spy
    try:
        await volume.cloner.clone(source, b"/copy")
    finally:
        clone._Copying._write = write_slice
        assert turn >= at
    return turn


async def test_others_see_it_whole_or_not_at_all(world, volume, tmp_path, seed, slices, autojump_clock):
    """Each commit on the way has either no copy, or an unfinished one by its own name, or the whole one."""
    await make_source(volume, seed)
    await volume.engine.finish(60)
    wanted = await shown(volume, b"/source")
    async with world.engine_at(tmp_path / "two", ro=True) as other:
        seen = set()

        async def commit() -> None:
            while True:
                await volume.engine.committer.commit()
                await other.engine.follower.poll()
                names = whole(other)
                seen.add(len(names))
                if "copy" in names:
                    assert await shown(other, b"/copy") == wanted
                    return
                for name in set(names) - {"source"}:
                    assert name.startswith("copy.unfinished-clone-")
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit)
            await volume.cloner.clone(b"/source", b"/copy")
            nursery.start_soon(volume.files.fsync)
        assert whole(other) == ["copy", "source"]
        assert await shown(other, b"/copy") == wanted


@pytest.mark.parametrize("moment", range(1, 8, 2))
async def test_killed_in_the_middle(world, tmp_path, seed, slices, moment, autojump_clock):
    """What is left after a crash is the source, and what says that it is unfinished and can be removed."""
    async with world.engine_at(tmp_path / "one") as volume:
        await make_source(volume, seed)
        await volume.files.fsync()
        wanted = await shown(volume, b"/source")
        turns = await during(volume, lambda _: copy_disk(tmp_path / "one", tmp_path / "killed"), at=moment)
    assert turns > moment, "the copy was made in the middle"
    async with world.engine_at(tmp_path / "killed") as volume:
        assert await shown(volume, b"/source") == wanted
        (left,) = set(whole(volume)) - {"source"}
        assert left.startswith("copy.unfinished-clone-")
        ino = find(volume, left)
        assert volume.attributes.get(ino).mode == stat.S_IFDIR | 0o700
        assert volume.attributes.get_xattr(ino, ttl.XATTR) == clone.UNFINISHED_TTL
        await volume.cloner.clone(b"/source", b"/copy")
        assert await shown(volume, b"/copy") == wanted
        world.clock.at_ns += 86_400 * 10**9
        assert await volume.expiry.run_once() > 0
        assert whole(volume) == ["copy", "source"]
        await volume.engine.finish(60)


async def test_killed_after_it(world, tmp_path, seed, slices, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        await make_source(volume, seed)
        await volume.cloner.clone(b"/source", b"/copy")
        wanted = await shown(volume, b"/source")
    async with world.engine_at(tmp_path / "one") as volume:
        assert await shown(volume, b"/copy") == await shown(volume, b"/source") == wanted
        assert whole(volume) == ["copy", "source"]
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as volume:
        assert await shown(volume, b"/copy") == wanted


@pytest.mark.parametrize("crash", [False, True])
@sliced
async def test_a_file_is_taken_as_it_is_when_its_turn_comes(
    world, tmp_path, seed, rows, crash, monkeypatch, autojump_clock
):
    """Writes that come after the first cut are staged; the copy has them, and those that come later it has not."""
    monkeypatch.setattr(clone, "SLICE_ROWS", rows)
    base, new = noise(seed, 100_000), noise(f"{seed}/n", 30_000)
    async with world.engine_at(tmp_path / "one", with_limits(idle_s=1000.0, partial_bytes=1 << 30)) as volume:
        top = create(volume, "source", mode=FOLDER_MODE)
        ino = await put_file(volume, "file", base, top)
        await volume.files.fsync()
        drain = volume.engine.cutter.drain

        async def drain_then_write() -> None:
            await drain()
            await write(volume, ino, new, 90_000)

        monkeypatch.setattr(volume.engine.cutter, "drain", drain_then_write)
        await volume.cloner.clone(b"/source", b"/copy")
        monkeypatch.undo()
        copy = find(volume, "file", find(volume, "copy"))
        assert volume.attributes.get(copy).mtime_ns == volume.attributes.get(ino).mtime_ns
        before = volume.attributes.get(copy)
        await write(volume, ino, b"later", 0)
        assert await read(volume, copy) == base[:90_000] + new
        if not crash:
            await volume.engine.cutter.drain()
            assert await read(volume, copy) == base[:90_000] + new
    async with world.engine_at(tmp_path / "one") as volume:
        await volume.files.fsync()
        after = volume.attributes.get(copy)
        assert (after.size, after.mtime_ns) == (before.size, before.mtime_ns)
        assert await read(volume, copy) == base[:90_000] + new
        assert await read(volume, ino) == b"later" + base[5:90_000] + new
        assert whole(volume) == ["copy", "source"]


async def test_a_target_that_comes_meanwhile_is_left_alone(volume, seed, slices, autojump_clock):
    await make_source(volume, seed)
    with refused(errno.EEXIST):
        await during(volume, lambda _: create(volume, "copy"))
    assert whole(volume) == ["copy", "source"], "what was made is taken back"
    assert volume.attributes.get(find(volume, "copy")).is_regular


async def test_a_full_disk_takes_it_back(volume, seed, slices, autojump_clock):
    await make_source(volume, seed)
    before = len(tables(volume.engine.tree)["inode"])

    def fail(_):
        raise NoSpace("full")

    with pytest.raises(NoSpace):
        await during(volume, fail)
    assert whole(volume) == ["source"]
    assert len(tables(volume.engine.tree)["inode"]) == before
    await put_file(volume, "large", noise(seed, 300_000))
    with pytest.raises(NoSpace):
        await during(volume, fail, source=b"/large")
    assert whole(volume) == ["large", "source"]


@pytest.mark.parametrize("contents", [True, False])
async def test_somebody_removes_what_is_not_finished(volume, seed, slices, contents, autojump_clock):
    if contents:
        await make_source(volume, seed)
    else:
        top = create(volume, "source", mode=FOLDER_MODE)
        for number in range(20):
            create(volume, f"{number}", top)

    def remove(copying):
        def empty(ino):
            for dentry, inode in volume.names.page(ino, 0, 1000):
                if inode.is_directory:
                    empty(inode.ino)
                    volume.names.rmdir(ino, dentry.name)
                else:
                    volume.names.unlink(ino, dentry.name)

        empty(copying._root.ino)
        volume.names.rmdir(*volume.engine.tree.dentries.name_of(copying._root.ino))

    with refused(errno.ENOENT):
        await during(volume, remove)
    assert whole(volume) == ["source"]


async def test_somebody_writes_to_what_is_not_finished(volume, seed, slices, autojump_clock):
    await put_file(volume, "source", noise(seed, 300_000))

    def punch(copying):
        volume.engine.tree.inodes.update(copying._root.ino, cid=volume.engine.numbers.take())

    with refused(errno.EBUSY):
        await during(volume, punch)
    assert whole(volume) == ["source"]


async def test_the_target_moves_into_the_source(volume, seed, slices, autojump_clock):
    """It ends, and nothing is copied into itself again and again."""
    top = await make_source(volume, seed)
    folder = create(volume, "folder", mode=FOLDER_MODE)
    write_slice = clone._Copying._write

    def spy(self, part):
        write_slice(self, part)
        if volume.names.lookup(ROOT_INO, b"folder") is not None:
            volume.names.rename(ROOT_INO, b"folder", top, b"zz")

    clone._Copying._write = spy
    try:
        with trio.fail_after(10):
            await volume.cloner.clone(b"/source", b"/folder/copy")
    finally:
        clone._Copying._write = write_slice
    assert whole(volume) == ["source"]
    assert listing(volume, folder) == ["copy"]
    assert listing(volume, find(volume, "zz", find(volume, "copy", folder))) == []


async def test_what_another_mount_commits_meanwhile_goes_under_it(
    world, volume, tmp_path, seed, slices, autojump_clock
):
    await make_source(volume, seed)
    await volume.engine.finish(60)
    wanted = await shown(volume, b"/source")
    async with world.engine_at(tmp_path / "two") as other:
        create(other, "theirs")
        create(other, "copy-of-theirs", mode=FOLDER_MODE)
        await other.attributes.set(ROOT_INO, Changes(mode=0o700))
        await other.files.fsync()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(volume.cloner.clone, b"/source", b"/copy")
            await trio.lowlevel.checkpoint()
            await volume.engine.committer.commit()
        await volume.files.fsync()
        await other.engine.follower.poll()
        for one in (volume, other):
            assert whole(one) == ["copy", "copy-of-theirs", "source", "theirs"]
            assert await shown(one, b"/copy") == wanted
        assert tables(volume.engine.tree) == tables(other.engine.tree)
