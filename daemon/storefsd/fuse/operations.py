"""The operations: each is a call on the volume and a reply; nothing is decided here.

The handle of an open file or directory is its inode number: all state is kept per inode. With the bridge the kernel
opens files by itself (ENOSYS to the first open tells it to); the handlers are the same.
"""

import errno
import logging
import os
import stat
from collections.abc import Sequence

import pyfuse3

from storefs.errors import PosixError
from storefs.volume.attributes import Changes
from storefs.volume.caller import Caller
from storefs.volume.history import is_past
from storefsd.control import files as control
from storefsd.control.files import is_control
from storefsd.fuse.guard import changing, guarded
from storefsd.fuse.reply import negative, unkept
from storefsd.fuse.steps import Steps

log = logging.getLogger(__name__)

_PAGE_ENTRIES = 32
"""How many entries are read at first for a listing: about what the kernel's smallest buffer holds."""

_DOT, _DOT_DOT = 1, 2
"""Cookies of "." and ".."; those of real entries are far above."""

_AT_END = -1
"""The offset that the bridge gives a write that goes to the end of the file, wherever that is."""

_RENAME_FLAGS = pyfuse3.RENAME_NOREPLACE | pyfuse3.RENAME_EXCHANGE


def _caller(ctx: pyfuse3.RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid)


class Operations(Steps, pyfuse3.Operations):
    """What the kernel asks, answered by a volume."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    # --- names --------------------------------------------------------------------------------------------------------

    @guarded
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        """Return where a name leads; a missing one is an answer too, for the kernel to keep."""
        if parent_inode == control.SNAPSHOTS_INO:
            root = await self._volume.history.root(name)
            return unkept() if root is None else self._entry(root, keep=False)
        if is_past(parent_inode):
            past = self._volume.history.lookup(parent_inode, name)
            return negative() if past is None else self._entry(past)
        if is_control(parent_inode):
            ino = self._control.lookup(name) if parent_inode == control.DIRECTORY_INO else None
            return negative() if ino is None else self._virtual(ino)
        if parent_inode == pyfuse3.ROOT_INODE and name == control.DIRECTORY_NAME:
            return self._virtual(control.DIRECTORY_INO)
        inode = self._volume.names.lookup(parent_inode, name)
        if inode is None:
            return unkept() if self._volume.engine.arrivals.changes_name(parent_inode, name) else negative()
        return self._entry(inode)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Take references away."""
        for ino, count in inode_list:
            try:
                if not is_control(ino) and not is_past(ino):
                    self._volume.names.forget(ino, count)
            except Exception as error:
                log.exception("forget of inode %d failed", ino)
                self.count_error("forget", error)

    @changing
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Make a file of any kind."""
        self._refuse_control(parent_inode, name)
        return self._entry(self._volume.names.make(parent_inode, name, mode, _caller(ctx), rdev=rdev))

    @changing
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Make a directory."""
        self._refuse_control(parent_inode, name)
        made = self._volume.names.make(parent_inode, name, mode | stat.S_IFDIR, _caller(ctx))
        await self._volume.exclusive.made(parent_inode, name, made.ino)
        return self._entry(made)

    @changing
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Make a symbolic link."""
        self._refuse_control(parent_inode, name)
        return self._entry(self._volume.names.symlink(parent_inode, name, target, _caller(ctx)))

    @changing
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Make another name for a file."""
        self._refuse_control(new_parent_inode, new_name, inode)
        linked = self._volume.names.link(inode, new_parent_inode, new_name)
        await self._volume.exclusive.made(new_parent_inode, new_name, inode)
        return self._entry(linked)

    @changing
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Remove a name that is not a directory's."""
        self._refuse_control(parent_inode, name)
        self._volume.names.unlink(parent_inode, name)

    @changing
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Remove an empty directory."""
        self._refuse_control(parent_inode, name)
        self._volume.names.rmdir(parent_inode, name)

    @changing
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """Move a name, or swap two."""
        self._refuse_control(parent_inode_old, name_old)
        self._refuse_control(parent_inode_new, name_new)
        if flags & ~_RENAME_FLAGS or flags == _RENAME_FLAGS:
            raise PosixError(errno.EINVAL, f"rename flags {flags:#x}")
        names = self._volume.names
        if flags & pyfuse3.RENAME_EXCHANGE:
            names.exchange(parent_inode_old, name_old, parent_inode_new, name_new)
        else:
            replace = not flags & pyfuse3.RENAME_NOREPLACE
            moved = names.rename(parent_inode_old, name_old, parent_inode_new, name_new, replace=replace)
            await self._volume.exclusive.renamed(moved)

    @guarded
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """Return what a symbolic link points to."""
        if is_past(inode):
            return self._volume.history.target(inode)
        return self._volume.names.read_link(inode)

    # --- directories --------------------------------------------------------------------------------------------------

    @guarded
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """Open a directory: the handle is the inode."""
        if self._bridge.resident:
            raise pyfuse3.FUSEError(errno.ENOSYS)  # never asked again; the kernel keeps listings from now on
        return inode

    @guarded
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """List a directory from a cookie on."""
        if fh == control.SNAPSHOTS_INO:
            await self._list_snapshots(start_id, token)
            return
        if is_control(fh):
            self._list_control(start_id, token)
            return
        names = self._volume.history if is_past(fh) else self._volume.names
        for cookie, name, ino in ((_DOT, b".", fh), (_DOT_DOT, b"..", names.parent(fh))):
            # These two are reported without a reference.
            if start_id < cookie and not pyfuse3.readdir_reply(token, name, self._attributes(ino), cookie):
                return
        after, entries = max(start_id, _DOT_DOT), _PAGE_ENTRIES
        while page := names.page(fh, after, entries):
            for dentry, inode in page:
                if not pyfuse3.readdir_reply(token, dentry.name, self._reply(inode), dentry.cookie):
                    return
                self._count(inode.ino)
            after, entries = page[-1][0].cookie, 2 * entries

    @guarded
    async def releasedir(self, fh: int) -> None:
        """Close a directory."""

    @guarded
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Return when everything acknowledged is in the store."""
        await self._volume.files.fsync()

    # --- files --------------------------------------------------------------------------------------------------------

    @changing
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Make a file and open it."""
        self._refuse_control(parent_inode, name)
        existing = self._volume.names.lookup(parent_inode, name)
        if existing is not None:  # the kernel thought otherwise: another mount made it meanwhile
            if flags & os.O_EXCL:
                raise PosixError(errno.EEXIST)
            return await self.open(existing.ino, flags, ctx), self._entry(existing)
        made = self._volume.names.make(parent_inode, name, mode | stat.S_IFREG, _caller(ctx))
        if flags & os.O_EXCL:
            await self._volume.exclusive.made(parent_inode, name, made.ino)
        entry = self._entry(made)
        return pyfuse3.FileInfo(fh=made.ino, keep_cache=True), entry

    @guarded
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open a file: the handle is the inode. Without the bridge the kernel leaves O_TRUNC to us."""
        if self._bridge.resident:
            raise pyfuse3.FUSEError(errno.ENOSYS)  # never asked again
        if is_control(inode):
            return pyfuse3.FileInfo(fh=inode, direct_io=True, keep_cache=False)
        if flags & os.O_TRUNC:
            self._refuse_past(inode)
            await self.calm()
            await self._volume.attributes.set(inode, Changes(size=0, mode=self._unprivileged(inode, ctx.uid)))
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    @guarded
    async def read(  # type: ignore[override]
        self, fh: int, off: int, size: int
    ) -> bytes | memoryview | bytearray:
        """Read from a file; pyfuse3 takes any contiguous buffer."""
        if is_control(fh):
            return self._control.read(fh)[off : off + size]
        if is_past(fh):
            return b"".join(await self._volume.history.read(fh, off, size))
        return await self._volume.files.read(fh, off, size)

    @changing
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write to a file; writing to a control file does what it is for."""
        if is_control(fh):
            await self._control.write(fh, buf)
            return len(buf)
        self._refuse_past(fh)
        return await self._volume.files.write(fh, off if off != _AT_END else None, buf)

    @guarded
    async def flush(self, fh: int) -> None:
        """Take note of a close."""
        if self._volume.engine.ro:
            raise pyfuse3.FUSEError(errno.ENOSYS)  # never asked again: nothing is ever written here
        if not is_past(fh):
            await self._volume.files.close(fh)

    @guarded
    async def release(self, fh: int) -> None:
        """Take note of the last close."""
        if not is_past(fh):
            self._volume.files.flush(fh)

    @guarded
    async def fsync(self, fh: int, datasync: bool) -> None:
        """Return when everything acknowledged is in the store."""
        await self._volume.files.fsync()

    # --- attributes ---------------------------------------------------------------------------------------------------

    @guarded
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.EntryAttributes:
        """Return a file's attributes."""
        return self._attributes(inode)

    @changing
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Change a file's attributes."""
        if is_control(inode):
            if fields.update_size:  # what a shell's > sends before it writes
                return self._virtual(inode)
            raise PosixError(errno.EPERM)
        self._refuse_past(inode)
        changes = Changes(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        changed = await self._volume.attributes.set(inode, changes)
        return self._reply(changed)

    @guarded
    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        """Never asked with default_permissions: the kernel decides by mode and owner."""
        return True

    @guarded
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Return the size of the whole."""
        usage = self._volume.attributes.usage()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = usage.block_bytes
        data.f_blocks = usage.blocks
        data.f_bfree = data.f_bavail = usage.blocks_free
        data.f_files = usage.files
        data.f_ffree = data.f_favail = usage.files_free
        data.f_namemax = usage.name_bytes_max
        return data

    @guarded
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """Return an extended attribute, or what storefs knows of the file."""
        if is_control(inode):
            return self._control.xattr(inode, name)
        if is_past(inode):
            return self._volume.history.xattr(inode, name)
        if name == control.INFO_XATTR:
            return self._volume.control.info_text(inode)
        return self._volume.attributes.get_xattr(inode, name)

    @guarded
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> list[bytes]:
        """Return the names of extended attributes; those of storefs itself are not listed."""
        if is_past(inode):
            names = self._volume.history.xattrs(inode)
        else:
            names = [] if is_control(inode) else self._volume.attributes.list_xattrs(inode)
        return names if ctx.uid == 0 else [name for name in names if not name.startswith(b"trusted.")]

    @changing
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Set an extended attribute."""
        self._refuse_own_xattr(inode, name)
        self._volume.attributes.set_xattr(inode, name, value)

    @changing
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Remove an extended attribute."""
        self._refuse_own_xattr(inode, name)
        self._volume.attributes.remove_xattr(inode, name)
