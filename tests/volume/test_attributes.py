"""Attributes: times and sizes with a draft underneath, xattrs and their limits, the size of the whole."""

import errno
from dataclasses import replace

import pytest

from storefs.errors import PosixError
from storefs.model import FILE_BYTES_MAX, ROOT_INO
from storefs.testing.world import FOLDER_MODE, create, noise, put_file, read, write
from storefs.volume.attributes import XATTR_VALUE_BYTES_MAX, Changes


@pytest.fixture
def attributes(volume):
    return volume.attributes


async def test_a_write_shows_before_it_is_cut(volume, attributes, autojump_clock):
    ino = create(volume, "file")
    created = attributes.get(ino)
    await write(volume, ino, b"x" * 5000, 100)
    written = attributes.get(ino)
    assert (written.size, attributes.blocks(written)) == (5100, 10)
    assert written.mtime_ns >= created.mtime_ns
    await volume.engine.cutter.drain()
    cut = attributes.get(ino)
    assert cut == replace(written, cid=cut.cid)


async def test_times_set_after_a_write_stay(volume, attributes, autojump_clock):
    ino = await put_file(volume, "file", b"bytes")
    await attributes.set(ino, Changes(atime_ns=1, mtime_ns=-2_000_000_001))
    await volume.engine.cutter.drain()
    after = attributes.get(ino)
    assert (after.atime_ns, after.mtime_ns) == (1, -2_000_000_001)
    await write(volume, ino, b"more", 5)
    assert attributes.get(ino).mtime_ns > 0


async def test_chmod_leaves_the_time_of_the_write(volume, attributes, autojump_clock):
    ino = await put_file(volume, "file", b"bytes")
    mtime_ns = attributes.get(ino).mtime_ns
    await attributes.set(ino, Changes(mode=0o100600, uid=7, gid=8))
    await volume.engine.cutter.drain()
    after = attributes.get(ino)
    assert (after.mode, after.uid, after.gid, after.mtime_ns) == (0o100600, 7, 8, mtime_ns)


@pytest.mark.parametrize("cut", [False, True])
async def test_truncate_goes_both_ways(volume, attributes, seed, cut, autojump_clock):
    data = noise(seed, 10_000)
    ino = await put_file(volume, "file", data)
    if cut:
        await volume.engine.cutter.drain()
    await attributes.set(ino, Changes(size=3000))
    await attributes.set(ino, Changes(size=6000))
    assert await read(volume, ino) == data[:3000] + bytes(3000)
    await volume.engine.cutter.drain()
    assert await read(volume, ino) == data[:3000] + bytes(3000)


async def test_sizes_that_cannot_be(volume, attributes, autojump_clock):
    ino, folder = create(volume, "file"), create(volume, "folder", mode=FOLDER_MODE)
    for target, size, number in ((ino, FILE_BYTES_MAX + 1, errno.EFBIG), (folder, 0, errno.EISDIR)):
        with pytest.raises(PosixError) as error:
            await attributes.set(target, Changes(size=size))
        assert error.value.errno == number
    await attributes.set(ino, Changes(size=FILE_BYTES_MAX))
    assert attributes.blocks(attributes.get(ino)) == 0
    with pytest.raises(PosixError):
        await volume.files.write(ino, FILE_BYTES_MAX, b"x")


async def test_xattrs(volume, attributes, autojump_clock):
    ino = create(volume, "file")
    attributes.set_xattr(ino, b"user.a", b"\x00\xff")
    attributes.set_xattr(ino, b"user.a", b"2")
    attributes.set_xattr(ino, b"user.b", b"v" * XATTR_VALUE_BYTES_MAX)
    assert attributes.list_xattrs(ino) == [b"user.a", b"user.b"]
    assert attributes.get_xattr(ino, b"user.a") == b"2"
    attributes.remove_xattr(ino, b"user.a")
    for call, number in (
        (lambda: attributes.get_xattr(ino, b"user.a"), errno.ENODATA),
        (lambda: attributes.remove_xattr(ino, b"user.a"), errno.ENODATA),
        (lambda: attributes.set_xattr(ino, b"user.c", b"v" * (XATTR_VALUE_BYTES_MAX + 1)), errno.E2BIG),
        (lambda: attributes.set_xattr(ino, b"user." + b"n" * 251, b""), errno.ERANGE),
        (lambda: attributes.set_xattr(ino, b"nonsense", b""), errno.EOPNOTSUPP),
        (lambda: attributes.get_xattr(ino, b"system.posix_acl_access"), errno.EOPNOTSUPP),
    ):
        with pytest.raises(PosixError) as error:
            call()
        assert error.value.errno == number


async def test_the_size_of_the_whole(volume, attributes, autojump_clock):
    empty = attributes.usage()
    await put_file(volume, "file", b"x" * 100_000)
    await volume.engine.committer.sync()
    assert attributes.usage().blocks_free < empty.blocks_free
    assert attributes.usage().name_bytes_max == 255


async def test_info_says_where_the_bytes_are(volume, seed, autojump_clock):
    ino = await put_file(volume, "file", noise(seed, 100_000))
    before = volume.control.info(ino)
    assert (before["staged_bytes"], before["chunks"]) == (100_000, 0)
    await volume.engine.committer.sync()
    after = volume.control.info(ino)
    assert (after["path"], after["size"], after["staged_bytes"]) == ("/file", 100_000, 0)
    assert after["chunks"] == after["cached_chunks"] > 0
    assert after["uncommitted_chunks"] == 0
    assert len(after["shards"]) == after["shards_total"] > 0
    assert volume.control.info(ROOT_INO)["path"] == "/"
