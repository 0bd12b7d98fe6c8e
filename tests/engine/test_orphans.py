"""Orphans: a file that loses its last name while somebody uses it works on, for them alone, until they let go."""

import pytest

from storefs.model import ROOT_INO
from storefs.testing.world import copy_disk, find, listing, noise, put_file, read, tables, write
from storefs.volume.attributes import Changes


@pytest.fixture
async def orphan(world, tmp_path, autojump_clock, seed):
    """A mount, and a committed file of 50,000 bytes in use there that lost its name: (volume, inode)."""
    async with world.engine_at(tmp_path / "one") as volume:
        ino = await put_file(volume, "file", noise(seed, 50_000))
        await volume.files.fsync()
        volume.references.add(ino)
        volume.names.unlink(ROOT_INO, b"file")
        yield volume, ino


async def test_it_is_read_written_and_truncated(orphan, autojump_clock, seed):
    volume, ino = orphan
    data = bytearray(noise(seed, 50_000))
    assert await read(volume, ino) == data
    await write(volume, ino, b"new", 100)
    data[100:103] = b"new"
    await volume.engine.cutter.drain()
    await volume.files.fsync()
    assert await read(volume, ino) == data
    await volume.attributes.set(ino, Changes(size=200))
    assert await read(volume, ino) == data[:200]
    assert volume.attributes.get(ino).nlink == 0


async def test_nothing_of_it_is_committed(orphan, world, tmp_path, autojump_clock):
    volume, ino = orphan
    await write(volume, ino, b"new", 100)
    await volume.attributes.set(ino, Changes(mode=0o600))
    volume.attributes.set_xattr(ino, b"user.a", b"1")
    await volume.engine.finish(60)
    tree = await world.replica(tmp_path / "replica.sqlite")
    assert tree.inodes.get(ino) is None
    assert tree.extents.all(ino) == []
    tree.close()


async def test_it_goes_with_its_last_user(orphan, world, tmp_path, autojump_clock):
    volume, ino = orphan
    await write(volume, ino, b"new", 100)
    volume.references.add(ino)
    volume.names.forget(ino, 1)
    assert volume.attributes.get(ino).nlink == 0
    volume.names.forget(ino, 1)
    assert volume.engine.tree.inodes.get(ino) is None
    assert volume.engine.drafts.get(ino) is None
    await volume.files.fsync()
    tree = await world.replica(tmp_path / "replica.sqlite")
    assert tables(tree) == tables(volume.engine.tree)
    tree.close()


async def test_it_goes_with_the_mount(orphan, world, tmp_path, autojump_clock):
    volume, ino = orphan
    await volume.files.fsync()
    image = copy_disk(tmp_path / "one", tmp_path / "image")
    async with world.engine_at(image) as after:
        assert after.engine.tree.inodes.get(ino) is None
        assert not after.engine.tree.local.orphans()
        assert listing(after) == []


async def test_a_draft_of_one_does_not_keep_the_mount_from_ending_cleanly(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        ino = await put_file(volume, "file", b"1" * 100)
        volume.references.add(ino)
        volume.names.unlink(ROOT_INO, b"file")
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "one") as volume:
        assert not volume.engine.recovered.unclean


async def test_unlinked_while_being_cut_it_keeps_its_bytes(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 50_000)
    async with world.engine_at(tmp_path / "one") as volume:
        ino = await put_file(volume, "file", data)
        volume.references.add(ino)
        run = world.offload.run

        async def unlink_meanwhile(function, *args):
            if function.__name__ == "_split" and volume.names.lookup(ROOT_INO, b"file"):
                volume.names.unlink(ROOT_INO, b"file")
            return await run(function, *args)

        world.offload.run = unlink_meanwhile
        await volume.engine.cutter.drain()
        assert listing(volume) == []
        assert await read(volume, ino) == data
        await volume.files.fsync()
        assert await read(volume, ino) == data
    tree = await world.replica(tmp_path / "replica.sqlite")
    assert tree.extents.all(ino) == []
    tree.close()


async def test_replaced_by_a_rename_it_stays_readable(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one") as volume:
        old = await put_file(volume, "old", noise(seed, 5_000))
        await put_file(volume, "new", b"new")
        volume.references.add(old)
        volume.names.rename(ROOT_INO, b"new", ROOT_INO, b"old")
        await volume.files.fsync()
        assert await read(volume, old) == noise(seed, 5_000)
        assert await read(volume, find(volume, "old")) == b"new"
