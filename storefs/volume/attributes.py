"""Attributes: stat, chmod, chown, utimens, truncate, xattrs, statfs."""

import errno
import os
import stat
from dataclasses import dataclass, replace

import trio

from storefs.core import ttl
from storefs.engine.engine import Engine
from storefs.errors import PosixError
from storefs.model import FILE_BYTES_MAX, NAME_BYTES_MAX, ROOT_INO, Inode
from storefs.volume.contents import Contents

XATTR_VALUE_BYTES_MAX = 64 << 10
XATTR_NAMES_BYTES_MAX = 64 << 10
_BLOCK_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Changes:
    """What a setattr asks for; None leaves as it is."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What statfs answers: in blocks of ``block_bytes``, and in files."""

    block_bytes: int
    blocks: int
    blocks_free: int
    files: int
    files_free: int
    name_bytes_max: int


class Attributes:
    """The verbs on attributes."""

    def __init__(self, engine: Engine, contents: Contents) -> None:
        self._engine = engine
        self._tree = engine.tree
        self._contents = contents
        self._files = 0
        self._count_again_s = 0.0

    def get(self, ino: int) -> Inode:
        """Return a file's attributes as they are now, staged writes included. Raises PosixError (ENOENT)."""
        inode = self._tree.inodes.get(ino)
        if inode is None:
            raise PosixError(errno.ENOENT, f"inode {ino}")
        return self.current(inode)

    def size(self, ino: int) -> int:
        """Return a file's size as it is now. Raises PosixError (ENOENT)."""
        size = self._tree.inodes.size(ino)
        if size is None:
            raise PosixError(errno.ENOENT, f"inode {ino}")
        draft = self._engine.drafts.get(ino)
        return size if draft is None else max(size, draft.end)

    def current(self, inode: Inode) -> Inode:
        """Return what the tree says of a file with what its draft adds."""
        draft = self._engine.drafts.get(inode.ino)
        if draft is None:
            # A directory that was removed has no names left: not even its own ".".
            removed = inode.is_directory and self._tree.local.is_orphan(inode.ino)
            return replace(inode, nlink=0) if removed else inode
        if draft.mtime_ns is None:
            return replace(inode, size=max(inode.size, draft.end))
        ctime_ns = max(inode.ctime_ns, draft.mtime_ns)
        return replace(inode, size=max(inode.size, draft.end), mtime_ns=draft.mtime_ns, ctime_ns=ctime_ns)

    def changed_times(self, inode: Inode, now_ns: int) -> dict[str, int]:
        """Return the columns for a change of a file's status now: what its draft knows of its mtime goes along.

        After a crash a staged write older than ctime is taken to have had its say on mtime.
        """
        return {"ctime_ns": now_ns, "mtime_ns": self.current(inode).mtime_ns}

    def blocks(self, inode: Inode) -> int:
        """Return st_blocks: units of 512 bytes that are not holes."""
        if not inode.is_regular:
            return 0
        draft = self._engine.drafts.get(inode.ino)
        staged = draft.staged_bytes if draft is not None else 0
        return -(-min(self._tree.extents.allocated(inode.ino) + staged, inode.size) // 512)

    async def set(self, ino: int, changes: Changes) -> Inode:
        """Change attributes; return the new ones.

        The kernel has checked who may (default_permissions), and takes set-user-ID bits away by itself.
        """
        self._engine.require_writable()
        if changes.size is not None:
            if not 0 <= changes.size <= FILE_BYTES_MAX:
                raise PosixError(errno.EFBIG, f"{changes.size} bytes")
            await self._contents.settle(ino)
        inode = self.get(ino)
        if changes.size is not None and not inode.is_regular:
            raise PosixError(errno.EISDIR if inode.is_directory else errno.EINVAL)
        draft = self._engine.drafts.get(ino)
        columns = _columns(inode, changes, self._engine.world.clock.now_ns())
        with self._contents.change(ino):
            if changes.size is not None:
                columns |= self._contents.clear(ino, changes.size, FILE_BYTES_MAX)
            self._tree.inodes.update(ino, **columns)
        if changes.size is not None:
            self._contents.forget_staged(ino, changes.size, FILE_BYTES_MAX)
        elif draft is not None:
            draft.mtime_ns = None  # the tree's times are the newer ones now
        return self.get(ino)

    # --- xattrs -------------------------------------------------------------------------------------------------------

    def get_xattr(self, ino: int, name: bytes) -> bytes:
        """Return an extended attribute. Raises PosixError (ENODATA, EOPNOTSUPP)."""
        _check_namespace(name)
        value = self._tree.xattrs.get(ino, name)
        if value is None:
            # ls -l asks for each file's label, and stops asking where it hears that there are none.
            raise PosixError(errno.EOPNOTSUPP if name == b"security.selinux" else errno.ENODATA, os.fsdecode(name))
        return value

    def list_xattrs(self, ino: int) -> list[bytes]:
        """Return the names of a file's extended attributes."""
        return self._tree.xattrs.names(ino)

    def set_xattr(self, ino: int, name: bytes, value: bytes) -> None:
        """Set an extended attribute. Raises PosixError (E2BIG, ENOSPC, EOPNOTSUPP; EINVAL for a bad time to live)."""
        self._engine.require_writable()
        _check_namespace(name)
        if name == ttl.XATTR:
            _check_ttl(ino, value)
        if len(name) > NAME_BYTES_MAX:
            raise PosixError(errno.ERANGE, "xattr name")
        if len(value) > XATTR_VALUE_BYTES_MAX:
            raise PosixError(errno.E2BIG, f"xattr value of {len(value)} bytes")
        if sum(len(other) + 1 for other in {*self._tree.xattrs.names(ino), name}) > XATTR_NAMES_BYTES_MAX:
            raise PosixError(errno.ENOSPC, "too many xattrs")
        times = self.changed_times(self.get(ino), self._engine.world.clock.now_ns())
        with self._contents.change(ino):
            self._tree.xattrs.set(ino, name, value)
            self._tree.inodes.update(ino, **times)

    def remove_xattr(self, ino: int, name: bytes) -> None:
        """Remove an extended attribute. Raises PosixError (ENODATA)."""
        self._engine.require_writable()
        self.get_xattr(ino, name)
        times = self.changed_times(self.get(ino), self._engine.world.clock.now_ns())
        with self._contents.change(ino):
            self._tree.xattrs.remove(ino, name)
            self._tree.inodes.update(ino, **times)

    # --- the whole ----------------------------------------------------------------------------------------------------

    def _file_count(self) -> int:
        """Return how many files there are, counted anew now and then: that takes a while in a large tree."""
        now_s = trio.current_time()
        if now_s >= self._count_again_s:
            began_ns = self._engine.world.clock.now_ns()
            self._files = self._tree.inodes.count()
            took_s = (self._engine.world.clock.now_ns() - began_ns) / 1e9
            self._count_again_s = now_s + 1 + 1000 * took_s
        return self._files

    def usage(self) -> Usage:
        """Return what statfs answers. A store has no end: free is what a petabyte leaves."""
        stored = self._tree.stored_bytes()
        blocks = (1 << 50) // _BLOCK_BYTES
        used = min(blocks, -(-stored // _BLOCK_BYTES))
        files = self._file_count()
        return Usage(_BLOCK_BYTES, blocks, blocks - used, files + (1 << 30), 1 << 30, NAME_BYTES_MAX)


def _columns(inode: Inode, changes: Changes, now_ns: int) -> dict[str, int]:
    """Return what a setattr writes into the inode's row. ``inode`` has the times of its draft: they are written too."""
    columns = {"ctime_ns": now_ns, "mtime_ns": inode.mtime_ns if changes.size is None else now_ns}
    for name in ("uid", "gid", "size", "atime_ns", "mtime_ns"):
        value = getattr(changes, name)
        if value is not None:
            columns[name] = value
    if changes.mode is not None:
        columns["mode"] = stat.S_IFMT(inode.mode) | stat.S_IMODE(changes.mode)
    return columns


def _check_namespace(name: bytes) -> None:
    if name.startswith(b"system.posix_acl_"):
        raise PosixError(errno.EOPNOTSUPP, "POSIX ACLs")
    namespace, _, rest = name.partition(b".")
    if namespace not in (b"user", b"trusted", b"security", b"system") or not rest:
        raise PosixError(errno.EOPNOTSUPP, os.fsdecode(name))


def _check_ttl(ino: int, value: bytes) -> None:
    if ino == ROOT_INO:
        raise PosixError(errno.EINVAL, "the root of the tree has no time to live")
    try:
        ttl.parse(value)
    except ValueError as error:
        raise PosixError(errno.EINVAL, f"{ttl.XATTR.decode()} takes {error}") from None
