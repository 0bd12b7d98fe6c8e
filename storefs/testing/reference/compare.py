"""Comparing: whether a volume looks as the reference says it has to."""

import errno
import os
import stat
from collections.abc import Iterable, Mapping

from storefs.errors import StorefsError
from storefs.model import ROOT_INO, Inode
from storefs.testing.reference.filesystem import Filesystem
from storefs.testing.reference.nodes import Node
from storefs.volume.volume import Volume

_MARGIN = 3_000
_PIECE = 1 << 20


def check_attributes(inode: Inode, reference: Filesystem, node: Node) -> None:
    """Hold the attributes of a file against the reference's."""
    found = (oct(inode.mode), inode.uid, inode.gid, inode.rdev, 0 if node.is_directory else inode.size, inode.nlink)
    size = 0 if node.is_directory else node.size
    wanted = (oct(node.mode), node.uid, node.gid, node.rdev, size, reference.nlink(node.ino))
    assert found == wanted, f"inode {inode.ino}: (mode, uid, gid, rdev, size, nlink) is {found}, not {wanted}"
    for name in ("atime", "mtime", "ctime"):
        time_ns, moment = getattr(inode, f"{name}_ns"), getattr(node, name)
        assert moment.allows(time_ns), f"inode {inode.ino}: {name} is {time_ns}, not {moment}"


async def check_content(volume: Volume, ino: int, node: Node) -> None:
    """Hold the bytes of a file, and what it says of its holes, against the reference's."""
    for first, last in node.content.parts(_MARGIN):
        for start in range(first, last, _PIECE):
            length = min(_PIECE, last - start)
            found, wanted = bytes(await volume.files.read(ino, start, length)), node.content.read(start, length)
            assert len(found) == len(wanted), f"inode {ino}: {len(found)} bytes at {start}, not {len(wanted)}"
            if found != wanted:
                at = next(at for at in range(length) if found[at] != wanted[at])
                raise AssertionError(f"inode {ino}: byte {start + at} is {found[at]}, not {wanted[at]}")
    check_holes(volume, ino, node)


def check_holes(volume: Volume, ino: int, node: Node) -> None:
    """Walk from data to hole and on, as programs that copy sparse files do."""
    at, whence = 0, os.SEEK_DATA
    while (found := seek(volume, ino, at, whence)) is not None:
        assert node.content.may_seek(at, whence, found), f"inode {ino}: seek({at}, {whence}) is {found}"
        assert found > at or whence == os.SEEK_DATA, f"inode {ino}: what is data at {at} is a hole there too"
        at, whence = found, os.SEEK_HOLE if whence == os.SEEK_DATA else os.SEEK_DATA
    assert node.content.may_seek(at, whence, None), f"inode {ino}: seek({at}, {whence}) is refused"


def seek(volume: Volume, ino: int, offset: int, whence: int) -> int | None:
    """Return where the next data or hole is, or None for ENXIO."""
    try:
        return volume.files.seek(ino, offset, whence)
    except StorefsError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


async def check_tree(volume: Volume, reference: Filesystem, inos: Mapping[int, int]) -> None:
    """Hold everything that has a name against the reference; ``inos`` has the volume's number of each inode."""
    seen: set[int] = set()
    waiting = [ROOT_INO]
    while waiting:
        ino = waiting.pop()
        if ino in seen:
            continue
        seen.add(ino)
        node = reference.nodes[ino]
        await check_file(volume, reference, node, inos[ino])
        if node.is_directory:
            _check_listing(volume, node, inos)
            waiting += [entry.ino for entry in node.entries.values()]
    assert seen == {ino for ino in reference.nodes if ino == ROOT_INO or reference.names(ino)}


async def check_file(volume: Volume, reference: Filesystem, node: Node, ino: int) -> None:
    """Hold one file against the reference, whole."""
    check_attributes(volume.attributes.get(ino), reference, node)
    names = volume.attributes.list_xattrs(ino)
    assert len(set(names)) == len(names)
    xattrs = {name: volume.attributes.get_xattr(ino, name) for name in names}
    assert xattrs == node.xattrs, f"inode {ino}: xattrs"
    if stat.S_ISLNK(node.mode):
        assert volume.names.read_link(ino) == node.target
    if node.is_regular:
        await check_content(volume, ino, node)


def _check_listing(volume: Volume, node: Node, inos: Mapping[int, int]) -> None:
    ino = inos[node.ino]
    found = [(dentry.name, inode.ino) for dentry, inode in volume.names.page(ino, 0, 1 << 20)]
    wanted = {name: inos[entry.ino] for name, entry in node.entries.items()}
    assert sorted(found) == sorted(wanted.items()), f"inode {ino} lists {found}, not {wanted}"
    for name, target in wanted.items():
        inode = volume.names.lookup(ino, name)
        assert inode is not None
        assert inode.ino == target


def check_nothing_else(volume: Volume, inos: Iterable[int]) -> None:
    """Hold the tables to these inodes and what belongs to them: nothing that is gone may have left anything."""
    wanted = set(inos)
    rows = volume.engine.tree.database.rows
    assert {row[0] for row in rows("SELECT ino FROM inode")} == wanted
    for table, column in (("extent", "ino"), ("xattr", "ino"), ("dentry", "ino"), ("dentry", "parent")):
        left = {row[0] for row in rows(f"SELECT DISTINCT {column} FROM {table}")} - wanted
        assert not left, f"{table}.{column} still has {left}"
