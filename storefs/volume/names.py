"""Names: lookup, listing, and all that makes, moves or removes a name."""

import errno
import os
import stat
from collections.abc import Callable
from functools import partial

from storefs.core.references import References
from storefs.engine.engine import Engine
from storefs.errors import PosixError
from storefs.model import FILE_BYTES_MAX, NAME_BYTES_MAX, ROOT_INO, Dentry, Inode
from storefs.tree import orphans
from storefs.volume.attributes import Attributes
from storefs.volume.caller import Caller

_LINK_MAX = 65000
_TARGET_BYTES_MAX = 4095


class Names:
    """The verbs on names. Every one of them is one transaction."""

    def __init__(self, engine: Engine, attributes: Attributes, references: References) -> None:
        self._engine = engine
        self._tree = engine.tree
        self._attributes = attributes
        self._references = references

    def lookup(self, parent: int, name: bytes) -> Inode | None:
        """Return where a name leads, or None. Raises PosixError (ENAMETOOLONG, ENOTDIR)."""
        if len(name) > NAME_BYTES_MAX:
            raise PosixError(errno.ENAMETOOLONG)
        inode = self._tree.dentries.lookup(parent, name)
        return self._attributes.current(inode) if inode is not None else None

    def page(self, directory: int, after: int, limit: int) -> list[tuple[Dentry, Inode]]:
        """Return up to ``limit`` entries of a directory behind the cookie ``after``, in the order of their cookies."""
        found = self._tree.dentries.page(directory, after, limit)
        return [(dentry, self._attributes.current(inode)) for dentry, inode in found]

    def parent(self, directory: int) -> int:
        """Return the directory that holds a directory; the root's is itself."""
        name = self._tree.dentries.name_of(directory)
        return name[0] if name is not None else directory

    def make(self, parent: int, name: bytes, mode: int, caller: Caller, rdev: int = 0, target: bytes = b"") -> Inode:
        """Make a file of any kind (its type is in ``mode``, umask applied already); return it.

        Raises PosixError (EEXIST, ENOENT, ENOTDIR, ENAMETOOLONG).
        """
        self._engine.require_writable()
        parent_mode, parent_gid = self._directory(parent)
        self._check_new(parent, name)
        gid = caller.gid
        if parent_mode & stat.S_ISGID:
            gid = parent_gid
            if stat.S_ISDIR(mode):
                mode |= stat.S_ISGID
        now_ns = self._now_ns()
        ino, cookie = self._engine.numbers.take(), self._engine.numbers.take()
        with self._tree.pending.recorded():
            self._tree.inodes.insert(ino, mode, caller.uid, gid, now_ns, rdev, target)
            self._tree.dentries.insert(parent, name, ino, cookie, mode)
            self._touch(parent, now_ns)
        nlink = 2 if stat.S_ISDIR(mode) else 1
        return Inode(ino, mode, caller.uid, gid, len(target), 0, now_ns, now_ns, now_ns, rdev, nlink)

    def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> Inode:
        """Make a symbolic link. Raises PosixError as ``make``, and ENAMETOOLONG or ENOENT for the target."""
        if not target:
            raise PosixError(errno.ENOENT, "empty target")
        if len(target) > _TARGET_BYTES_MAX:
            raise PosixError(errno.ENAMETOOLONG, "target")
        return self.make(parent, name, stat.S_IFLNK | 0o777, caller, target=target)

    def read_link(self, ino: int) -> bytes:
        """Return what a symbolic link points to."""
        return self._tree.inodes.target(ino)

    def link(self, ino: int, parent: int, name: bytes) -> Inode:
        """Make another name for a file. Raises PosixError (EPERM for directories, EMLINK, EEXIST, ENOENT)."""
        self._engine.require_writable()
        inode = self._attributes.get(ino)
        if inode.is_directory:
            raise PosixError(errno.EPERM, "a directory has one name")
        if inode.nlink == 0:
            raise PosixError(errno.ENOENT, "the file was removed")
        if inode.nlink >= _LINK_MAX:
            raise PosixError(errno.EMLINK)
        self._directory(parent)
        self._check_new(parent, name)
        now_ns = self._now_ns()
        cookie = self._engine.numbers.take()
        with self._tree.pending.recorded():
            self._tree.dentries.insert(parent, name, ino, cookie, inode.mode)
            self._tree.inodes.update(ino, **self._attributes.changed_times(inode, now_ns))
            self._touch(parent, now_ns)
        return self._attributes.get(ino)

    def unlink(self, parent: int, name: bytes) -> int:
        """Remove a name that is not a directory's; return its inode. Raises PosixError (ENOENT, EISDIR)."""
        self._engine.require_writable()
        inode = self._existing(parent, name)
        if inode.is_directory:
            raise PosixError(errno.EISDIR, os.fsdecode(name))
        self._remove(parent, name, inode)
        return inode.ino

    def rmdir(self, parent: int, name: bytes) -> int:
        """Remove an empty directory; return its inode. Raises PosixError (ENOENT, ENOTDIR, ENOTEMPTY)."""
        self._engine.require_writable()
        inode = self._existing(parent, name)
        if not inode.is_directory:
            raise PosixError(errno.ENOTDIR, os.fsdecode(name))
        if not self._tree.dentries.is_empty(inode.ino):
            raise PosixError(errno.ENOTEMPTY, os.fsdecode(name))
        self._remove(parent, name, inode)
        return inode.ino

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, *, replace: bool = True) -> int:
        """Move a name; what it replaces goes in the same moment. Return the inode that it leads to.

        Raises PosixError (ENOENT, EEXIST unless ``replace``, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL into itself).
        """
        self._engine.require_writable()
        inode = self._existing(parent, name)
        self._directory(new_parent)
        if len(new_name) > NAME_BYTES_MAX:
            raise PosixError(errno.ENAMETOOLONG)
        victim = self._tree.dentries.lookup(new_parent, new_name)
        if victim is not None and not replace:
            raise PosixError(errno.EEXIST, os.fsdecode(new_name))
        if victim is not None and victim.ino == inode.ino:
            return inode.ino  # two names of one file: POSIX wants nothing to happen
        if inode.is_directory:
            self._check_no_cycle(inode.ino, new_parent)
        if victim is not None:
            self._check_replaceable(inode, victim)
        now_ns = self._now_ns()
        cookie = self._engine.numbers.take()
        with self._tree.pending.recorded(self._orphaning(victim)):
            if victim is not None:  # its place in a listing is kept: a name that stays is listed once
                cookie = self._drop_name(new_parent, new_name, victim, now_ns)
            self._tree.dentries.remove(parent, name)
            self._tree.dentries.insert(new_parent, new_name, inode.ino, cookie, inode.mode)
            self._tree.inodes.update(inode.ino, **self._attributes.changed_times(inode, now_ns))
            for directory in {parent, new_parent}:
                self._touch(directory, now_ns)
        self._drop_draft(victim)
        return inode.ino

    def exchange(self, parent: int, name: bytes, new_parent: int, new_name: bytes) -> None:
        """Swap what two names lead to. Raises PosixError (ENOENT, EINVAL into itself)."""
        self._engine.require_writable()
        one, other = self._existing(parent, name), self._existing(new_parent, new_name)
        if one.ino == other.ino:
            return
        if one.is_directory:
            self._check_no_cycle(one.ino, new_parent)
        if other.is_directory:
            self._check_no_cycle(other.ino, parent)
        now_ns = self._now_ns()
        with self._tree.pending.recorded():
            # Through a removal: at no moment may a directory have two names.
            first = self._tree.dentries.remove(parent, name)
            second = self._tree.dentries.remove(new_parent, new_name)
            self._tree.dentries.insert(parent, name, other.ino, first, other.mode)
            self._tree.dentries.insert(new_parent, new_name, one.ino, second, one.mode)
            for inode in (one, other):
                self._tree.inodes.update(inode.ino, **self._attributes.changed_times(inode, now_ns))
            for directory in {parent, new_parent}:
                self._touch(directory, now_ns)

    def forget(self, ino: int, count: int) -> None:
        """Take references away; a file without a name that nobody uses any more is gone for good."""
        if self._references.remove(ino, count) and self._engine.tree.local.is_orphan(ino):
            with self._tree.database.transaction():
                self._tree.inodes.remove(ino)
                self._tree.local.remove_orphan(ino)
                self._settle_draft(ino)
            self._engine.drafts.drop(ino)

    def path_of(self, ino: int) -> bytes:
        """Return one path of a file, from the root of the tree. Raises PosixError (ENOENT) when it has no name."""
        parts: list[bytes] = []
        at = ino
        while (found := self._tree.dentries.name_of(at)) is not None:
            at, name = found
            parts.append(name)
        if not parts and ino != ROOT_INO:
            raise PosixError(errno.ENOENT, f"inode {ino} has no name")
        return b"/" + b"/".join(reversed(parts))

    def resolve(self, path: bytes) -> Inode:
        """Return where a path below the tree's root leads; symbolic links in it are not followed.

        Raises PosixError (ENOENT, ENOTDIR, EINVAL for "..").
        """
        inode = self._attributes.get(ROOT_INO)
        for name in path.split(b"/"):
            if name in (b"", b"."):
                continue
            if name == b"..":
                raise PosixError(errno.EINVAL, os.fsdecode(path))
            if not inode.is_directory:
                raise PosixError(errno.ENOTDIR, os.fsdecode(path))
            inode = self._existing(inode.ino, name)
        return inode

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return self._engine.world.clock.now_ns()

    def _touch(self, directory: int, now_ns: int) -> None:
        self._tree.inodes.update(directory, mtime_ns=now_ns, ctime_ns=now_ns)

    def _directory(self, ino: int) -> tuple[int, int]:
        """Return (mode, gid) of a directory that exists."""
        found = self._tree.inodes.mode_and_group(ino)
        if found is None or self._tree.local.is_orphan(ino):
            raise PosixError(errno.ENOENT, "the directory was removed")
        if not stat.S_ISDIR(found[0]):
            raise PosixError(errno.ENOTDIR)
        return found

    def _check_new(self, parent: int, name: bytes) -> None:
        if len(name) > NAME_BYTES_MAX:
            raise PosixError(errno.ENAMETOOLONG)
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise PosixError(errno.EINVAL, repr(name))
        if self._tree.dentries.exists(parent, name):
            raise PosixError(errno.EEXIST, os.fsdecode(name))

    def _existing(self, parent: int, name: bytes) -> Inode:
        if len(name) > NAME_BYTES_MAX:
            raise PosixError(errno.ENAMETOOLONG)
        inode = self._tree.dentries.lookup(parent, name)
        if inode is None:
            raise PosixError(errno.ENOENT, os.fsdecode(name))
        return inode

    def _check_no_cycle(self, moved: int, into: int) -> None:
        if moved in self._tree.dentries.ancestors(into):
            raise PosixError(errno.EINVAL, "a directory cannot move into itself")

    def _check_replaceable(self, inode: Inode, victim: Inode) -> None:
        if inode.is_directory and not victim.is_directory:
            raise PosixError(errno.ENOTDIR)
        if victim.is_directory and not inode.is_directory:
            raise PosixError(errno.EISDIR)
        if victim.is_directory and not self._tree.dentries.is_empty(victim.ino):
            raise PosixError(errno.ENOTEMPTY)

    def _remove(self, parent: int, name: bytes, inode: Inode) -> None:
        now_ns = self._now_ns()
        with self._tree.pending.recorded(self._orphaning(inode)):
            self._drop_name(parent, name, inode, now_ns)
            self._touch(parent, now_ns)
        self._drop_draft(inode)

    def _drop_name(self, parent: int, name: bytes, inode: Inode, now_ns: int) -> int:
        """Remove a name, and with the last one the inode; return its cookie."""
        cookie = self._tree.dentries.remove(parent, name)
        if _dies(inode):
            self._tree.inodes.remove(inode.ino)
            self._settle_draft(inode.ino)
        else:
            self._tree.inodes.update(inode.ino, **self._attributes.changed_times(inode, now_ns))
        return cookie

    def _orphaning(self, inode: Inode | None) -> Callable[[], None] | None:
        """Return what keeps a file that is about to lose its last name for those who still use it."""
        if inode is None or not _dies(inode) or inode.ino not in self._references:
            return None
        remains = orphans.save(self._tree.database, inode.ino)
        return partial(orphans.restore, self._tree.database, self._tree.local, remains)

    def _settle_draft(self, ino: int) -> None:
        """Should a file that goes come back by another mount's commit: what was staged of it until now must not."""
        if self._engine.drafts.get(ino) is not None:
            self._tree.shards.absorb(ino, 0, FILE_BYTES_MAX, self._engine.staging.end)

    def _drop_draft(self, inode: Inode | None) -> None:
        if inode is not None and _dies(inode) and inode.ino not in self._references:
            self._engine.drafts.drop(inode.ino)


def _dies(inode: Inode) -> bool:
    """Whether a file goes with its next name."""
    return inode.is_directory or inode.nlink <= 1
