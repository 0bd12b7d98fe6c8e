"""Exclusive names: with consistency=strict one mount gets the name, and the others hear that they did not."""

import errno

import pytest
import trio

from storefs.errors import NotCommitted, PosixError
from storefs.model import ROOT_INO
from storefs.testing.world import CALLER, FILE_MODE, FOLDER_MODE, create, listing, put_file, tables, with_limits
from storefs.tree import check


@pytest.fixture
async def mounts(world, tmp_path):
    limits = with_limits(strict=True)
    async with (
        world.engine_at(tmp_path / "0", limits) as one,
        world.engine_at(tmp_path / "1", limits) as two,
        world.engine_at(tmp_path / "2", limits) as three,
    ):
        yield [one, two, three]


async def make(volume, mode, name=b"lock"):
    """Make a name as the daemon does."""
    inode = volume.names.make(ROOT_INO, name, mode, CALLER)
    await volume.exclusive.made(ROOT_INO, name, inode.ino)
    return inode.ino


async def race(mounts, work):
    """Run ``work`` on all mounts at once; return the mounts that succeeded, and the errnos of the others."""
    won, lost = [], []

    async def run(volume):
        try:
            await work(volume)
            won.append(volume)
        except PosixError as error:
            lost.append(error.errno)

    async with trio.open_nursery() as nursery:
        for volume in mounts:
            nursery.start_soon(run, volume)
    return won, lost


@pytest.mark.parametrize("mode", [FILE_MODE, FOLDER_MODE], ids=["O_EXCL", "mkdir"])
async def test_one_of_all_gets_the_lock(mounts, mode, autojump_clock):
    for _ in range(20):
        won, lost = await race(mounts, lambda volume: make(volume, mode))
        assert len(won) == 1
        assert lost == [errno.EEXIST] * 2
        for volume in mounts:
            await volume.engine.follower.poll()
            assert listing(volume) == ["lock"], "no conflict copies are left of those that lost"
            assert list(check.faults(volume.engine.tree.database)) == []
        (winner,) = won
        (winner.names.rmdir if mode == FOLDER_MODE else winner.names.unlink)(ROOT_INO, b"lock")
        await winner.files.fsync()
        for volume in mounts:
            await volume.engine.follower.poll()
    assert tables(mounts[0].engine.tree) == tables(mounts[1].engine.tree)


async def test_a_link_is_a_lock(mounts, autojump_clock):
    for number, volume in enumerate(mounts):
        await put_file(volume, f"own-{number}", b"x")
        await volume.files.fsync()
    for volume in mounts:
        await volume.engine.follower.poll()

    async def link(volume):
        ino = volume.names.lookup(ROOT_INO, f"own-{mounts.index(volume)}".encode()).ino
        volume.names.link(ino, ROOT_INO, b"lock")
        await volume.exclusive.made(ROOT_INO, b"lock", ino)

    won, lost = await race(mounts, link)
    assert (len(won), lost) == (1, [errno.EEXIST] * 2)
    for volume in mounts:
        await volume.engine.follower.poll()
        assert listing(volume) == ["lock", "own-0", "own-1", "own-2"]
        links = [volume.names.lookup(ROOT_INO, f"own-{number}".encode()).nlink for number in range(3)]
        assert links == [2 if mounts[number] in won else 1 for number in range(3)]


async def test_one_rename_of_a_file_succeeds(mounts, autojump_clock):
    await put_file(mounts[0], "job", b"x")
    await mounts[0].files.fsync()
    for volume in mounts:
        await volume.engine.follower.poll()

    async def take(volume):
        moved = volume.names.rename(ROOT_INO, b"job", ROOT_INO, b"taken-%d" % mounts.index(volume))
        await volume.exclusive.renamed(moved)

    won, lost = await race(mounts, take)
    assert (len(won), lost) == (1, [errno.ENOENT] * 2)
    for volume in mounts:
        await volume.engine.follower.poll()
        assert listing(volume) == [f"taken-{mounts.index(won[0])}"]


async def test_without_a_store_the_name_is_taken_back(mounts, world, autojump_clock):
    volume = mounts[0]
    world.faults.away = True
    with pytest.raises(NotCommitted):
        await make(volume, FOLDER_MODE)
    assert listing(volume) == []
    world.faults.away = False
    await volume.files.fsync()
    await mounts[1].engine.follower.poll()
    assert listing(mounts[1]) == []


async def test_without_the_option_nothing_waits(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        world.faults.away = True
        await make(volume, FOLDER_MODE)
        await volume.exclusive.renamed(create(volume, "x"))
        assert listing(volume) == ["lock", "x"]
