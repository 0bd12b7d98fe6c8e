"""Exclusive names: with ``consistency=strict`` a name counts only once the store says that it is ours.

So mkdir, open with O_EXCL, link and rename work as locks between machines: of several mounts that make the same name
one succeeds, and the others are refused as if it had been there before.
"""

import errno
import os

from storefs.engine.engine import Engine
from storefs.errors import NotCommitted, PosixError
from storefs.volume.names import Names


class Exclusive:
    """Waits for the commit of names that were just made. Without the option nothing waits."""

    def __init__(self, engine: Engine, names: Names) -> None:
        self._engine = engine
        self._names = names

    async def made(self, parent: int, name: bytes, ino: int) -> None:
        """Return when a name just made for an inode is committed.

        Raises PosixError (EEXIST) when another mount was first: then there is nothing left of ours. Raises
        NotCommitted when the store could not be asked: the name is taken back.
        """
        try:
            won = await self._won(ino)
        except NotCommitted:
            self._take_back(parent, name, ino)
            raise
        if not won:
            raise PosixError(errno.EEXIST, os.fsdecode(name))

    async def renamed(self, ino: int) -> None:
        """Return when a rename just done is committed.

        Raises PosixError (ENOENT) when another mount renamed the file first; NotCommitted leaves open which name holds.
        """
        if not await self._won(ino):
            raise PosixError(errno.ENOENT, f"inode {ino} was renamed elsewhere")

    async def _won(self, ino: int) -> bool:
        """Return, once that is settled, whether an inode has the name that it was just given."""
        if not self._engine.limits.strict:
            return True
        exclusive = self._engine.exclusive
        exclusive.add(ino)
        try:
            await self._engine.committer.sync(cut=False)
            return ino in exclusive
        finally:
            exclusive.discard(ino)

    def _take_back(self, parent: int, name: bytes, ino: int) -> None:
        there = self._names.lookup(parent, name)
        if there is None or there.ino != ino:
            return
        if there.is_directory:
            self._names.rmdir(parent, name)
        else:
            self._names.unlink(parent, name)
