"""A tree with everything that a tree can have, to be cloned, and what calls tell of a tree."""

import os
import stat

import pytest

from storefs.errors import PosixError
from storefs.testing.world import (
    CALLER,
    FOLDER_MODE,
    create,
    listing,
    noise,
    put_file,
    read,
    write,
)  # fmt: skip
from storefs.tree import check
from storefs.volume import clone
from storefs.volume.attributes import Changes

sliced = pytest.mark.parametrize("rows", [5, clone.SLICE_ROWS], ids=["slices", "at once"])


async def make_source(volume, seed):
    """Make a tree with everything that a tree can have; return its inode number."""
    top = create(volume, "source", mode=0o042750)
    deep = create(volume, "deep", top, 0o041777)
    create(volume, "empty", deep, FOLDER_MODE)
    small = await put_file(volume, "small", noise(seed, 900), top)
    large = await put_file(volume, "large", noise(f"{seed}/l", 150_000), deep)
    await put_file(volume, "nothing", b"", deep)
    sparse = create(volume, "sparse", deep)
    await write(volume, sparse, b"begin", 3)
    await write(volume, sparse, noise(f"{seed}/s", 5000), 1 << 40)
    await volume.files.allocate(sparse, 0, 0, (1 << 40) + 100_000)
    volume.names.link(small, deep, b"small-again")
    volume.names.link(large, top, b"large-again")
    volume.names.symlink(top, b"link", b"deep/\xff", CALLER)
    volume.names.make(deep, b"fifo", stat.S_IFIFO | 0o640, CALLER)
    volume.names.make(deep, b"device", stat.S_IFCHR | 0o600, CALLER, rdev=259)
    for ino in (top, small, deep):
        volume.attributes.set_xattr(ino, b"user.a", b"\x00of %d" % (ino % 7))
        volume.attributes.set_xattr(ino, b"user.b", b"v" * 1000)
    await volume.attributes.set(large, Changes(mode=0o104755, uid=5, gid=6, atime_ns=1, mtime_ns=-2_000_000_001))
    await volume.attributes.set(deep, Changes(atime_ns=7, mtime_ns=8))
    await volume.attributes.set(top, Changes(uid=9, gid=10, mtime_ns=11))
    return top


async def shown(volume, path):
    """Return all that calls tell of what is below a path: attributes, xattrs, contents, which names are one file."""
    engine = volume.engine
    found, first = {}, {}

    async def look(name, inode):
        now = volume.attributes.get(inode.ino)
        content = None
        if now.is_regular:
            content = [await read(volume, now.ino, at, 200_000) for at in (0, (1 << 40) - 100, max(0, now.size - 100))]
        xattrs = {one: volume.attributes.get_xattr(now.ino, one) for one in volume.attributes.list_xattrs(now.ino)}
        same = first.setdefault(now.ino, name) if not now.is_directory else None
        kind = (now.mode, now.uid, now.gid, now.size, now.atime_ns, now.mtime_ns, now.rdev, now.nlink)
        found[name] = (kind, volume.names.read_link(now.ino), xattrs, content, same, volume.attributes.blocks(now))
        if now.is_directory:
            for dentry, child in sorted(engine.tree.dentries.page(now.ino, 0, 10_000), key=lambda one: one[0].name):
                await look(name + b"/" + dentry.name, child)

    await look(b"", volume.names.resolve(path))
    return found


def whole(volume):
    """Return the names in the root directory of a tree that is one."""
    assert list(check.faults(volume.engine.tree.database)) == []
    return listing(volume)


def refused(number):
    return pytest.raises(PosixError, match=f"^{os.strerror(number)}")
