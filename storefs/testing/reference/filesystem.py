"""The filesystem as plain dicts: what a volume has to answer, call by call.

Its verbs are those of a filesystem below the kernel: files are known by inode numbers, permissions and the flags of
setxattr are the kernel's business. A call is refused with an OSError before it changes anything. Where several
refusals fit, POSIX leaves the choice to the filesystem; the order of the checks here is storefs' choice.

Nothing is stored that can be counted: link counts and parents are found by looking through all directories.
"""

import errno
import os
import stat
from typing import NoReturn

from storefs.model import FILE_BYTES_MAX, NAME_BYTES_MAX, ROOT_INO
from storefs.testing.reference.nodes import Entry, Listing, Moment, Node

TARGET_BYTES_MAX = 4095
XATTR_BYTES_MAX = 64 << 10

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10
"""Flags of fallocate."""

NOREPLACE, EXCHANGE = 1, 2
"""Flags of renameat2."""


def refuse(number: int) -> NoReturn:
    """Raise the OSError ``number``."""
    raise OSError(number, os.strerror(number))


class Filesystem:
    """A tree of files.

    Attributes:
        nodes: every file, by its inode number.
        now: what the time is, as near as whoever drives the reference knows; to be set before each call.
    """

    def __init__(self, mode: int, uid: int, gid: int, now: Moment) -> None:
        self.now = now
        self.nodes = {ROOT_INO: Node(ROOT_INO, stat.S_IFDIR | mode, uid, gid, now, now, now, holders=1)}
        self._last = ROOT_INO

    # --- looking ------------------------------------------------------------------------------------------------------

    def get(self, ino: int) -> Node:
        """Return a file. Refuses with ENOENT."""
        return self.nodes.get(ino) or refuse(errno.ENOENT)

    def names(self, ino: int) -> list[tuple[int, bytes]]:
        """Return all names of a file as (directory, name)."""
        return [
            (directory.ino, name)
            for directory in self.nodes.values()
            for name, entry in directory.entries.items()
            if entry.ino == ino
        ]

    def nlink(self, ino: int) -> int:
        """Return the link count: names; of a directory also its own "." and the ".." of each subdirectory."""
        node, names = self.get(ino), len(self.names(ino))
        if not node.is_directory:
            return names
        if not names and ino != ROOT_INO:
            return 0
        return 2 + sum(self.nodes[entry.ino].is_directory for entry in node.entries.values())

    def lookup(self, parent: int, name: bytes) -> int | None:
        """Return where a name leads, or None. Refuses with ENAMETOOLONG."""
        entry = self._entry(parent, name)
        return entry.ino if entry else None

    def list(self, directory: int) -> Listing:
        """Begin to list a directory."""
        return Listing(self.get(directory))

    def read_link(self, ino: int) -> bytes:
        """Return what a symbolic link points to."""
        return self.get(ino).target

    # --- names --------------------------------------------------------------------------------------------------------

    def make(self, parent: int, name: bytes, mode: int, uid: int, gid: int, rdev: int = 0, target: bytes = b"") -> int:
        """Make a file of any kind. Refuses with ENOENT, ENOTDIR, ENAMETOOLONG, EINVAL, EEXIST."""
        directory = self._open_directory(parent)
        self._require_new(parent, name)
        if directory.mode & stat.S_ISGID:
            gid = directory.gid
            if stat.S_ISDIR(mode):
                mode |= stat.S_ISGID
        self._last += 1
        now = self.now
        self.nodes[self._last] = Node(self._last, mode, uid, gid, now, now, now, rdev, target)
        directory.entries[name] = Entry(self._last)
        self._list_changed(directory)
        return self._last

    def symlink(self, parent: int, name: bytes, target: bytes, uid: int, gid: int) -> int:
        """Make a symbolic link. Refuses as ``make``, and an empty target with ENOENT, a long one with ENAMETOOLONG."""
        if not target:
            refuse(errno.ENOENT)
        if len(target) > TARGET_BYTES_MAX:
            refuse(errno.ENAMETOOLONG)
        return self.make(parent, name, stat.S_IFLNK | 0o777, uid, gid, target=target)

    def link(self, ino: int, parent: int, name: bytes) -> None:
        """Make another name. Refuses directories with EPERM, files without a name with ENOENT, and as ``make``."""
        node = self.get(ino)
        if node.is_directory:
            refuse(errno.EPERM)
        if not self.names(ino):
            refuse(errno.ENOENT)
        directory = self._open_directory(parent)
        self._require_new(parent, name)
        directory.entries[name] = Entry(ino)
        node.ctime = self.now
        self._list_changed(directory)

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name. Refuses with ENOENT, EISDIR."""
        node = self._existing(parent, name)
        if node.is_directory:
            refuse(errno.EISDIR)
        self._remove(parent, name)

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory. Refuses with ENOENT, ENOTDIR, ENOTEMPTY."""
        node = self._existing(parent, name)
        if not node.is_directory:
            refuse(errno.ENOTDIR)
        if node.entries:
            refuse(errno.ENOTEMPTY)
        self._remove(parent, name)

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int = 0) -> None:
        """Move a name, or swap two.

        Refuses with ENOENT, ENOTDIR, ENAMETOOLONG, EEXIST (NOREPLACE), EINVAL (a directory into itself), EISDIR,
        ENOTEMPTY.
        """
        if flags & EXCHANGE:
            self._exchange(parent, name, new_parent, new_name)
            return
        node = self._existing(parent, name)
        target = self._open_directory(new_parent)
        entry = self._entry(new_parent, new_name)
        victim = self.nodes[entry.ino] if entry else None
        if victim is not None and flags & NOREPLACE:
            refuse(errno.EEXIST)
        if victim is node:
            return
        self._require_no_cycle(node, new_parent)
        if victim is not None:
            if node.is_directory and not victim.is_directory:
                refuse(errno.ENOTDIR)
            if victim.is_directory and not node.is_directory:
                refuse(errno.EISDIR)
            if victim.entries:
                refuse(errno.ENOTEMPTY)
            self._remove(new_parent, new_name)
        source = self.nodes[parent]
        del source.entries[name]
        target.entries[new_name] = Entry(node.ino)
        node.ctime = self.now
        self._list_changed(source)
        self._list_changed(target)

    def _exchange(self, parent: int, name: bytes, other_parent: int, other_name: bytes) -> None:
        node, other = self._existing(parent, name), self._existing(other_parent, other_name)
        if node is other:
            return
        self._require_no_cycle(node, other_parent)
        self._require_no_cycle(other, parent)
        self.nodes[parent].entries[name] = Entry(other.ino)
        self.nodes[other_parent].entries[other_name] = Entry(node.ino)
        node.ctime = other.ctime = self.now
        self._list_changed(self.nodes[parent])
        self._list_changed(self.nodes[other_parent])

    def hold(self, ino: int) -> None:
        """Open a file: it works on when it loses its last name."""
        self.get(ino).holders += 1

    def let_go(self, ino: int) -> None:
        """Close a file."""
        node = self.get(ino)
        node.holders -= 1
        self._bury(node)

    def let_all_go(self) -> None:
        """Close everything, as the end of the machine does."""
        for node in list(self.nodes.values()):
            node.holders = int(node.ino == ROOT_INO)
            self._bury(node)

    # --- contents -----------------------------------------------------------------------------------------------------

    def read(self, ino: int, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes; fewer only at the end."""
        return self.get(ino).content.read(offset, length)

    def write(self, ino: int, offset: int, data: bytes) -> int:
        """Write; return how many bytes. Refuses with EFBIG."""
        if offset + len(data) > FILE_BYTES_MAX:
            refuse(errno.EFBIG)
        node = self.get(ino)
        if data:
            node.content.write(offset, data)
            node.mtime = node.ctime = self.now
        return len(data)

    def allocate(self, ino: int, mode: int, offset: int, length: int) -> None:
        """Allocate, or make zeros of, a range. Refuses with EOPNOTSUPP, EINVAL, EFBIG."""
        if mode not in (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE):
            refuse(errno.EOPNOTSUPP)
        if offset < 0 or length <= 0:
            refuse(errno.EINVAL)
        if offset + length > FILE_BYTES_MAX:
            refuse(errno.EFBIG)
        node = self.get(ino)
        before, grown = node.content.size, max(node.content.size, offset + length)
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            node.content.zero(offset, offset + length)
        if not mode & KEEP_SIZE:
            node.content.truncate(grown)
        if (mode & (PUNCH_HOLE | ZERO_RANGE) and offset < before) or node.content.size != before:
            node.mtime = node.ctime = self.now
        else:  # space is all it asked for, and of space there is nothing to see
            node.mtime, node.ctime = node.mtime.or_later(self.now), node.ctime.or_later(self.now)

    def copy_range(self, source: int, source_offset: int, target: int, target_offset: int, length: int) -> int:
        """Copy bytes; return how many. Refuses with EFBIG, and with EINVAL ranges of one file that overlap."""
        data = self.read(source, source_offset, length)
        if source == target and abs(source_offset - target_offset) < len(data):
            refuse(errno.EINVAL)
        return self.write(target, target_offset, data)

    # --- attributes ---------------------------------------------------------------------------------------------------

    def truncate(self, ino: int, size: int) -> None:
        """Set the size, to less or more. Refuses with EFBIG, EISDIR, EINVAL."""
        if not 0 <= size <= FILE_BYTES_MAX:
            refuse(errno.EFBIG)
        node = self.get(ino)
        if not node.is_regular:
            refuse(errno.EISDIR if node.is_directory else errno.EINVAL)
        node.content.truncate(size)
        node.mtime = node.ctime = self.now

    def chmod(self, ino: int, mode: int) -> None:
        """Set the permission bits."""
        node = self.get(ino)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        node.ctime = self.now

    def chown(self, ino: int, uid: int | None, gid: int | None) -> None:
        """Set owner and group; None leaves as it is. Set-user-ID bits are the kernel's business."""
        node = self.get(ino)
        node.uid = node.uid if uid is None else uid
        node.gid = node.gid if gid is None else gid
        node.ctime = self.now

    def utimens(self, ino: int, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set times; None leaves as it is."""
        node = self.get(ino)
        node.atime = node.atime if atime_ns is None else Moment(atime_ns, atime_ns)
        node.mtime = node.mtime if mtime_ns is None else Moment(mtime_ns, mtime_ns)
        node.ctime = self.now

    def set_xattr(self, ino: int, name: bytes, value: bytes) -> None:
        """Set an extended attribute, new or not. Refuses with EOPNOTSUPP, ERANGE, E2BIG."""
        _require_namespace(name)
        if len(name) > NAME_BYTES_MAX:
            refuse(errno.ERANGE)
        if len(value) > XATTR_BYTES_MAX:
            refuse(errno.E2BIG)
        node = self.get(ino)
        node.xattrs[name] = value
        node.ctime = self.now

    def get_xattr(self, ino: int, name: bytes) -> bytes:
        """Return an extended attribute. Refuses with EOPNOTSUPP, ENODATA."""
        _require_namespace(name)
        value = self.get(ino).xattrs.get(name)
        return value if value is not None else refuse(errno.ENODATA)

    def remove_xattr(self, ino: int, name: bytes) -> None:
        """Remove an extended attribute. Refuses with EOPNOTSUPP, ENODATA."""
        self.get_xattr(ino, name)
        node = self.get(ino)
        del node.xattrs[name]
        node.ctime = self.now

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _entry(self, parent: int, name: bytes) -> Entry | None:
        if len(name) > NAME_BYTES_MAX:
            refuse(errno.ENAMETOOLONG)
        return self.get(parent).entries.get(name)

    def _existing(self, parent: int, name: bytes) -> Node:
        entry = self._entry(parent, name) or refuse(errno.ENOENT)
        return self.nodes[entry.ino]

    def _open_directory(self, ino: int) -> Node:
        """Return a directory that takes new names."""
        node = self.get(ino)
        if not node.is_directory:
            refuse(errno.ENOTDIR)
        if ino != ROOT_INO and not self.names(ino):
            refuse(errno.ENOENT)
        return node

    def _require_new(self, parent: int, name: bytes) -> None:
        entry = self._entry(parent, name)
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            refuse(errno.EINVAL)
        if entry is not None:
            refuse(errno.EEXIST)

    def _require_no_cycle(self, moved: Node, into: int) -> None:
        """Refuse to move a directory into itself or below."""
        at = into
        while moved.is_directory:
            if at == moved.ino:
                refuse(errno.EINVAL)
            above = self.names(at)
            if not above:
                return
            ((at, _),) = above

    def _remove(self, parent: int, name: bytes) -> None:
        directory = self.nodes[parent]
        node = self.nodes[directory.entries.pop(name).ino]
        self._list_changed(directory)
        # Nobody says whether the last name counts.
        node.ctime = self.now if self.names(node.ino) else node.ctime.or_later(self.now)
        self._bury(node)

    def _bury(self, node: Node) -> None:
        """Forget a file that has neither a name nor users."""
        if not node.holders and not self.names(node.ino):
            del self.nodes[node.ino]

    def _list_changed(self, directory: Node) -> None:
        directory.mtime = directory.ctime = self.now


def _require_namespace(name: bytes) -> None:
    known = name.startswith((b"user.", b"trusted.", b"security.", b"system.")) and not name.endswith(b".")
    if not known or name.startswith(b"system.posix_acl_"):
        refuse(errno.EOPNOTSUPP)
