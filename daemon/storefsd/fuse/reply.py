"""Replies: the tree's attributes as pyfuse3 wants them."""

import stat

import pyfuse3

from storefs.model import Inode

FOREVER_S = 365 * 86400
"""How long the kernel may keep an entry or attributes: whoever changes them otherwise tells it."""

_BLOCK_BYTES = 128 << 10
"""st_blksize: programs size their buffers by it, and every read or write is a request."""


class Replies:
    """Makes attributes; ``uid`` and ``gid``, where set, stand in for every owner."""

    def __init__(self, uid: int | None, gid: int | None) -> None:
        self._uid = uid
        self._gid = gid

    def entry(self, inode: Inode, blocks: int) -> pyfuse3.EntryAttributes:
        """Return the attributes of an inode."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode.ino
        entry.generation = 0
        entry.entry_timeout = FOREVER_S
        entry.attr_timeout = FOREVER_S
        entry.st_mode = inode.mode
        entry.st_nlink = inode.nlink
        entry.st_uid = inode.uid if self._uid is None else self._uid
        entry.st_gid = inode.gid if self._gid is None else self._gid
        entry.st_rdev = inode.rdev
        entry.st_size = 4096 if stat.S_ISDIR(inode.mode) else inode.size
        entry.st_blksize = _BLOCK_BYTES
        entry.st_blocks = blocks
        entry.st_atime_ns = inode.atime_ns
        entry.st_mtime_ns = inode.mtime_ns
        entry.st_ctime_ns = inode.ctime_ns
        return entry


def negative() -> pyfuse3.EntryAttributes:
    """Return the answer that there is no such name, which the kernel may keep."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = FOREVER_S
    return entry


def unkept() -> pyfuse3.EntryAttributes:
    """Return the answer that there is no such name just now."""
    entry = negative()
    entry.entry_timeout = 0
    return entry


def virtual(ino: int, mode: int, size: int, time_ns: int) -> pyfuse3.EntryAttributes:
    """Return the attributes of a control file: true for this moment only, so that each open asks again."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = ino
    entry.generation = 0
    entry.entry_timeout = 0
    entry.attr_timeout = 0
    entry.st_mode = mode
    entry.st_nlink = 2 if stat.S_ISDIR(mode) else 1
    entry.st_size = size
    entry.st_blksize = 4096
    entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = time_ns
    return entry
