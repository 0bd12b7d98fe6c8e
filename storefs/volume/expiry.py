"""Expiry: files and directories with a time to live are removed when it is over.

It counts from the mtime of the very file or directory that has the xattr. A directory goes with all that is in it,
however new: what counts is when a name in it was last made, moved or removed.
"""

import logging

import trio

from storefs.core import ttl
from storefs.engine.engine import Engine
from storefs.model import ROOT_INO, Inode
from storefs.volume.names import Names

log = logging.getLogger(__name__)

_XATTRS_AT_ONCE = 5000
_NAMES_AT_ONCE = 64


class Expiry:
    """Removes what has outlived its time."""

    def __init__(self, engine: Engine, names: Names) -> None:
        self._engine = engine
        self._tree = engine.tree
        self._names = names
        self._complained: set[int] = set()

    async def run_once(self) -> int:
        """Remove all that is due now; return how many names went. A mount that takes no changes removes nothing.

        Raises NoSpace, and why the mount takes no changes if that begins meanwhile.
        """
        if self._engine.read_only:
            return 0
        directories, files = await self._find()
        removed = 0
        # From the top, and files last: a removal moves the mtime of the directory around it, whose turn was before.
        directories.sort(key=lambda ino: sum(1 for _ in self._tree.dentries.ancestors(ino)))
        for ino in directories:
            if self._due(ino) is not None:
                removed += await remove_tree(self._engine, self._names, ino)
        for number, ino in enumerate(files, start=1):
            if self._due(ino) is not None:
                removed += self._remove_file(ino)
            if number % _NAMES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        if removed:
            log.info("removed %d names whose time to live was over", removed)
        return removed

    async def _find(self) -> tuple[list[int], list[int]]:
        """Return the directories and the other files that are due, in the order of their numbers.

        All xattrs are looked through, a few at a time: where there are none this is one query.
        """
        directories: list[int] = []
        files: list[int] = []
        after = 0
        while last := self._tree.database.value(
            "SELECT max(ino) FROM (SELECT ino FROM xattr WHERE ino > ? ORDER BY ino LIMIT ?)", (after, _XATTRS_AT_ONCE)
        ):
            rows = self._tree.database.rows(
                "SELECT ino FROM xattr WHERE ino > ? AND ino <= ? AND name = ?", (after, last, ttl.XATTR)
            )
            for (ino,) in rows:
                inode = self._due(ino)
                if inode is not None:
                    (directories if inode.is_directory else files).append(inode.ino)
            after = last
            await trio.lowlevel.checkpoint()
        return directories, files

    def _due(self, ino: int) -> Inode | None:
        """Return the inode if it is due now. One that is being written counts as touched just now."""
        value = self._tree.xattrs.get(ino, ttl.XATTR)
        inode = self._tree.inodes.get(ino)
        if value is None or inode is None or ino == ROOT_INO or self._tree.local.is_orphan(ino):
            return None
        if self._engine.drafts.get(ino) is not None:
            return None
        try:
            return inode if ttl.is_due(inode.mtime_ns, value, self._engine.world.clock.now_ns()) else None
        except ValueError:
            if ino not in self._complained:
                self._complained.add(ino)
                log.warning("inode %d: %r is no time to live: the file stays", ino, value[:100])
            return None

    def _remove_file(self, ino: int) -> int:
        """Remove all names of a file; return how many."""
        removed = 0
        while (at := self._tree.dentries.name_of(ino)) is not None:
            self._names.unlink(*at)
            _tell_kernel(self._engine, *at, ino)
            removed += 1
        return removed


async def remove_tree(engine: Engine, names: Names, root: int) -> int:
    """Remove the directory ``root`` with all that is in it; return how many names went.

    What is in use stays usable, symbolic links are not followed, and what others move out of it meanwhile is spared.
    An end halfway leaves the directory with the mtime that it had. Raises ReadOnly, NoSpace.
    """
    tree = engine.tree
    inode = tree.inodes.get(root)
    assert inode is not None
    removed = 0
    stack = [root]
    while stack:
        directory = stack[-1]
        at = tree.dentries.name_of(directory)
        if at is None or root not in tree.dentries.ancestors(directory):
            stack.pop()
            continue
        page = tree.dentries.page(directory, 0, _NAMES_AT_ONCE)
        for dentry, entry in page:
            if entry.is_directory:
                stack.append(entry.ino)
            else:
                names.unlink(directory, dentry.name)
                _tell_kernel(engine, directory, dentry.name, entry.ino)
                removed += 1
        if not page:
            names.rmdir(*at)
            _tell_kernel(engine, *at, directory)
            removed += 1
            stack.pop()
        if root in (directory, at[0]) and tree.dentries.name_of(root) is not None:
            with tree.pending.recorded():
                tree.inodes.update(root, mtime_ns=inode.mtime_ns)
        await trio.lowlevel.checkpoint()
    return removed


def _tell_kernel(engine: Engine, parent: int, name: bytes, ino: int) -> None:
    engine.world.kernel.forget_names(parent, [name])
    for changed in (ino, parent):
        engine.world.kernel.forget_inode(changed, attributes_only=True)
