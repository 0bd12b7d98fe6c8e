"""What the operations have in common: replies, listings of what is not in the tree, refusals."""

import errno
import os
import stat

import pyfuse3

from storefs.errors import PosixError
from storefs.model import Inode
from storefs.volume.history import is_past
from storefs.volume.volume import Volume
from storefsd.control import files as control
from storefsd.control.files import ControlFiles, is_control
from storefsd.fuse.bridge import Bridge
from storefsd.fuse.reply import Replies, virtual


class Steps:
    """The steps of the operations on a volume."""

    def __init__(self, volume: Volume, replies: Replies, control_files: ControlFiles, bridge: Bridge) -> None:
        super().__init__()
        self._volume = volume
        self._replies = replies
        self._control = control_files
        self._bridge = bridge

    def count_error(self, call: str, error: Exception) -> None:
        """Count a failure for the status."""
        del call, error
        self._volume.control.errors += 1

    async def calm(self) -> None:
        """Return when a change of the tree is in nobody's way."""
        await self._volume.engine.aside.calm()

    def _list_control(self, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        for number, (name, ino) in enumerate(self._control.names(), start=1):
            if number > start_id and not pyfuse3.readdir_reply(token, name, self._virtual(ino), number):
                return

    async def _list_snapshots(self, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        for number, name in enumerate(await self._volume.history.names(), start=1):
            if number > start_id:
                root = await self._volume.history.root(name)
                if root is not None and not pyfuse3.readdir_reply(token, name, self._reply(root, keep=False), number):
                    return

    def _entry(self, inode: Inode, *, keep: bool = True) -> pyfuse3.EntryAttributes:
        """Return an inode's attributes in a reply that gives the kernel a reference to it."""
        self._count(inode.ino)
        return self._reply(inode, keep=keep)

    def _count(self, ino: int) -> None:
        if not is_past(ino):  # of a past tree nothing ever goes
            self._volume.references.add(ino)

    def _reply(self, inode: Inode, *, keep: bool = True) -> pyfuse3.EntryAttributes:
        """Return an inode's attributes; without ``keep`` the kernel asks for the name again soon.

        What a commit is about to change it is to keep no longer than for this answer.
        """
        past = is_past(inode.ino)
        blocks = self._volume.history.blocks(inode.ino) if past else self._volume.attributes.blocks(inode)
        entry = self._replies.entry(inode, blocks)
        if not keep:
            entry.entry_timeout = 1
        if self._volume.engine.arrivals.changes(inode.ino):
            entry.entry_timeout = entry.attr_timeout = 0
        return entry

    def _attributes(self, ino: int) -> pyfuse3.EntryAttributes:
        if is_control(ino):
            return self._virtual(ino)
        return self._reply(self._volume.history.get(ino) if is_past(ino) else self._volume.attributes.get(ino))

    def _virtual(self, ino: int) -> pyfuse3.EntryAttributes:
        size, time_ns = self._control.stat(ino)
        entry = virtual(ino, self._control.mode(ino), size, time_ns)
        entry.st_uid, entry.st_gid = self._control.uid, self._control.gid
        return entry

    def _unprivileged(self, ino: int, uid: int) -> int | None:
        """Return the mode without the bits that a change by ``uid`` takes away; None when it takes none.

        The kernel does this by itself, but for an open that truncates and is left to us as a whole.
        """
        mode = self._volume.attributes.get(ino).mode
        lost = stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0)
        return mode & ~lost if uid != 0 and mode & lost else None

    def _refuse_control(self, parent: int, name: bytes, ino: int = pyfuse3.ROOT_INODE) -> None:
        """Refuse to make, move or remove anything of the control directory."""
        if parent == pyfuse3.ROOT_INODE and name == control.DIRECTORY_NAME:
            raise PosixError(errno.EEXIST, "the control directory")
        if is_control(parent) or is_control(ino):
            raise PosixError(errno.EPERM, "the control directory")
        self._refuse_past(parent)
        self._refuse_past(ino)

    @staticmethod
    def _refuse_past(ino: int) -> None:
        if is_past(ino):
            raise PosixError(errno.EROFS, "a snapshot")

    def _refuse_own_xattr(self, ino: int, name: bytes) -> None:
        self._refuse_past(ino)
        if is_control(ino) or name in (control.INFO_XATTR, control.ERROR_XATTR):
            raise PosixError(errno.EPERM, os.fsdecode(name))
