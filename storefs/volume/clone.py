"""Clone: a file or a whole directory copied at once. The copies are new inodes that share the chunks of their sources.

A copy that fits into one slice appears in one transaction. A larger one is built slice by slice under a name of its
own beside its target, and gets the target's name with the last transaction. What a crash leaves is a directory (or a
file) with that name, which anybody may remove; it has a time to live, so that it goes by itself as well.
"""

import errno
import logging
import os
import stat
from collections import deque
from dataclasses import dataclass, field, replace

import trio

from storefs.core import ttl
from storefs.engine.engine import Engine
from storefs.errors import PosixError, StorefsError
from storefs.model import FILE_BYTES_MAX, NAME_BYTES_MAX, ROOT_INO, Extent, Inode
from storefs.tree import versions
from storefs.tree.versions import Row, Version
from storefs.volume.attributes import Attributes
from storefs.volume.expiry import remove_tree
from storefs.volume.names import Names

log = logging.getLogger(__name__)

RESERVED_NAME = b".storefs"
"""The control directory's name in the root directory: no file of the tree has it."""

SLICE_ROWS = 2000
"""About so many rows are written in one transaction: nobody else is served meanwhile."""

UNFINISHED_TTL = b"1d"
_PAGE_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy goes: a directory, and a name in it."""

    parent: int
    name: bytes


@dataclass(frozen=True, slots=True)
class _Item:
    """A name of the copy, and the inode it leads to; ``version`` is None if that is there already, by another name."""

    at: Place
    ino: int
    mode: int
    version: Version | None


@dataclass(slots=True)
class _Content:
    """What is still to be written of a file's content: extents, and behind them what was staged when it was read.

    ``cid`` and ``time_ns`` are those of the copy's inode.
    """

    ino: int
    cid: int
    time_ns: int
    rows: deque[Row]
    staged: list[tuple[int, bytes]]


@dataclass(slots=True)
class _Slice:
    """What one transaction writes: names with their inodes, extents, and the contents that are complete with it."""

    items: list[_Item] = field(default_factory=list)
    extents: list[tuple[_Content, Row]] = field(default_factory=list)
    complete: list[_Content] = field(default_factory=list)
    rows: int = 0


@dataclass(slots=True)
class _Walk:
    """A directory that is being copied, up to the entry with the cookie ``after``."""

    source: int
    copy: int
    after: int = 0


class Clone:
    """The verb ``clone``."""

    def __init__(self, engine: Engine, attributes: Attributes, names: Names) -> None:
        self._engine = engine
        self._attributes = attributes
        self._names = names

    async def clone(self, source: bytes, target: bytes) -> int:
        """Copy what is at the path ``source`` to ``target``, where nothing is yet; return how many names were made.

        Both paths are from the root of the tree, with a leading slash; links in them are not followed. Each file is
        taken as it is when its turn comes. Raises PosixError (EEXIST, ENOENT, ENOTDIR, EINVAL for a target inside the
        source and for paths that are none, ENAMETOOLONG), NoSpace, NotCommitted.
        """
        self._engine.require_writable()
        await self._engine.cutter.drain()
        await self._engine.pressure.admit()
        found = self._names.resolve(_checked(source))
        at = self._place(_checked(target))
        if found.ino in self._engine.tree.dentries.ancestors(at.parent):
            raise PosixError(errno.EINVAL, f"{os.fsdecode(target)} is inside {os.fsdecode(source)}")
        return await _Copying(self._engine, self._attributes, self._names, found, at).run()

    def _place(self, target: bytes) -> Place:
        above, _, name = target.rstrip(b"/").rpartition(b"/")
        if name in (b"", b"."):
            raise PosixError(errno.EEXIST, os.fsdecode(target))
        parent = self._names.resolve(above)
        if not parent.is_directory:
            raise PosixError(errno.ENOTDIR, os.fsdecode(above))
        reserved = parent.ino == ROOT_INO and name == RESERVED_NAME
        if reserved or self._names.lookup(parent.ino, name) is not None:
            raise PosixError(errno.EEXIST, os.fsdecode(target))
        return Place(parent.ino, name)


class _Copying:
    """One copy in the making."""

    def __init__(self, engine: Engine, attributes: Attributes, names: Names, source: Inode, at: Place) -> None:
        self._engine = engine
        self._tree = engine.tree
        self._attributes = attributes
        self._names = names
        self._at = at
        self._walks: list[_Walk] = []
        self._met: set[int] = set()
        """Directories of both sides: none is copied twice, wherever it is moved meanwhile."""
        self._linked: dict[int, int] = {}
        """The copies of files that have several names, by source."""
        self._contents: deque[_Content] = deque()
        self._made = 0
        self._root = self._inode(source, at)

    async def run(self) -> int:
        """Copy everything; return how many names were made. What was made is taken back if something is in the way."""
        part = self._gather(_Slice([self._root], rows=2))
        if not self._has_more():
            self._write(part)
            self._announce(self._at)
            return self._made
        hidden = self._hidden()
        part.items[0] = hidden
        self._write(part)
        self._announce(hidden.at)
        try:
            while self._has_more():
                await trio.lowlevel.checkpoint()
                await self._engine.pressure.admit()
                self._engine.require_writable()
                self._write(self._gather(_Slice()))
            self._reveal()
        except StorefsError:
            await self._take_back()
            raise
        return self._made

    # --- reading the source -------------------------------------------------------------------------------------------

    def _has_more(self) -> bool:
        return bool(self._walks or self._contents)

    def _gather(self, part: _Slice) -> _Slice:
        """Fill a slice with what comes next, in one step with its writing: a page of names is never old."""
        while part.rows < SLICE_ROWS and self._has_more():
            if self._contents:
                self._take_extents(part)
            else:
                self._take_page(part)
        return part

    def _take_extents(self, part: _Slice) -> None:
        content = self._contents[0]
        while content.rows and part.rows < SLICE_ROWS:
            part.extents.append((content, content.rows.popleft()))
            part.rows += 1
        if not content.rows:
            part.complete.append(self._contents.popleft())

    def _take_page(self, part: _Slice) -> None:
        walk = self._walks[-1]
        page = self._tree.dentries.page(walk.source, walk.after, _PAGE_ENTRIES)
        if not page:
            self._walks.pop()
        for dentry, inode in page:
            walk.after = dentry.cookie
            at = Place(walk.copy, dentry.name)
            if inode.ino in self._met:
                continue
            if inode.ino in self._linked:
                item = _Item(at, self._linked[inode.ino], inode.mode, None)
            else:
                item = self._inode(inode, at)
            part.items.append(item)
            part.rows += 2 + (len(item.version.xattrs) if item.version is not None else 0)

    def _inode(self, inode: Inode, at: Place) -> _Item:
        """Return the copy of an inode as it is now; what it holds is put in line."""
        version = versions.load(self._tree.database, inode.ino)
        assert version is not None
        now, numbers = self._attributes.current(inode), self._engine.numbers
        ino, cid = numbers.take(), numbers.take() if inode.is_regular else 0
        row = list(version.row)
        row[versions.SIZE], row[versions.CID], row[versions.MTIME] = now.size, cid, now.mtime_ns
        row[versions.CTIME] = time_ns = self._engine.world.clock.now_ns()
        if inode.is_directory:
            row[versions.SIZE] = 0
            self._met |= {inode.ino, ino}
            self._walks.append(_Walk(inode.ino, ino))
        elif inode.nlink > 1:
            self._linked[inode.ino] = ino
        drafts = self._engine.drafts
        staged = [(piece.offset, drafts.read(piece)) for piece in drafts.pieces(inode.ino, 0, FILE_BYTES_MAX)]
        if version.extents or staged:
            self._contents.append(_Content(ino, cid, time_ns, deque(version.extents), staged))
        return _Item(at, ino, inode.mode, Version(tuple(row), (), version.xattrs, {}))

    # --- writing the copy ---------------------------------------------------------------------------------------------

    def _write(self, part: _Slice) -> None:
        """Write a slice: all of it, or nothing."""
        tree, drafts = self._tree, self._engine.drafts
        try:
            for content in part.complete:
                self._stage(content)
            with tree.pending.recorded():
                for item in part.items:
                    self._insert(item)
                known: int | None = None
                for content, row in part.extents:
                    if content.ino != known:
                        self._require_unchanged(content)
                        known = content.ino
                    self._share(content.ino, Extent(*row))
                if not self._made:  # the first slice has the root's name
                    now_ns = self._engine.world.clock.now_ns()
                    tree.inodes.update(self._at.parent, mtime_ns=now_ns, ctime_ns=now_ns)
        except BaseException:
            for content in part.complete:
                drafts.drop(content.ino)
            raise
        self._made += len(part.items)
        self._tell_of(part.items)
        if any(content.staged for content in part.complete):
            self._engine.cutter.wake()

    def _insert(self, item: _Item) -> None:
        tree = self._tree
        self._require(item.at.parent)
        if item.version is not None:
            versions.store(tree.database, item.ino, item.version, None)
        else:
            self._require(item.ino)
        tree.dentries.insert(item.at.parent, item.at.name, item.ino, self._engine.numbers.take(), item.mode)

    def _share(self, ino: int, extent: Extent) -> None:
        """Add an extent, and keep its chunk here until a commit names it for the copy as well, if it is here at all."""
        place = self._tree.chunks.place(extent.chunk)
        if place is None:
            raise PosixError(errno.ESTALE, "the source was changed, and its former content is gone")
        self._tree.extents.insert(ino, extent)
        if self._engine.cache.has(place):
            self._tree.shards.hold(extent.chunk, self._tree.pending.last + 1)

    def _stage(self, content: _Content) -> None:
        """Stage for a copy what was staged of its source. Until its inode is there nobody misses or recovers it."""
        drafts = self._engine.drafts
        for offset, data in content.staged:
            draft = drafts.write(content.ino, offset, data, content.time_ns)
            draft.mtime_ns = None  # the tree has the source's
            draft.close()

    def _require(self, ino: int) -> None:
        """Raise PosixError (ENOENT) if an inode that the copy needs is gone: somebody has removed it meanwhile."""
        if self._tree.inodes.mode_and_group(ino) is None or self._tree.local.is_orphan(ino):
            raise PosixError(errno.ENOENT, "the unfinished copy, or its target, was removed")

    def _require_unchanged(self, content: _Content) -> None:
        self._require(content.ino)
        inode = self._tree.inodes.get(content.ino)
        if inode is None or inode.cid != content.cid:
            raise PosixError(errno.EBUSY, "the unfinished copy was changed")

    # --- a copy of several slices -------------------------------------------------------------------------------------

    def _hidden(self) -> _Item:
        """Return the root of the copy as it is until all is there: its owner's alone, under a name that says so."""
        root = self._root
        assert root.version is not None
        suffix = b".unfinished-clone-%d" % root.ino
        row = list(root.version.row)
        row[versions.MODE] = stat.S_IFMT(root.mode) | (0o700 if stat.S_ISDIR(root.mode) else 0o600)
        row[versions.MTIME] = row[versions.CTIME]
        version = replace(root.version, row=tuple(row), xattrs={ttl.XATTR: UNFINISHED_TTL})
        name = self._at.name[: NAME_BYTES_MAX - len(suffix)] + suffix
        return replace(root, at=Place(self._at.parent, name), version=version)

    def _reveal(self) -> None:
        """Give the finished copy its name and its attributes."""
        tree, root, to = self._tree, self._root, self._at
        assert root.version is not None
        self._require(root.ino)
        self._require(to.parent)
        if tree.dentries.exists(to.parent, to.name):
            raise PosixError(errno.EEXIST, os.fsdecode(to.name))
        if root.ino in tree.dentries.ancestors(to.parent):
            raise PosixError(errno.EINVAL, "the target was moved into its own copy")
        at = tree.dentries.name_of(root.ino)
        assert at is not None
        row, now_ns = root.version.row, self._engine.world.clock.now_ns()
        cookie = self._engine.numbers.take()
        with tree.pending.recorded():
            tree.dentries.remove(*at)
            tree.dentries.insert(to.parent, to.name, root.ino, cookie, root.mode)
            tree.xattrs.remove(root.ino, ttl.XATTR)
            for name, value in root.version.xattrs.items():
                tree.xattrs.set(root.ino, name, value)
            tree.inodes.update(
                root.ino, mode=root.mode, atime_ns=row[versions.ATIME], mtime_ns=row[versions.MTIME], ctime_ns=now_ns
            )
            for directory in {at[0], to.parent}:
                tree.inodes.update(directory, mtime_ns=now_ns, ctime_ns=now_ns)
        self._announce(Place(*at))
        self._announce(to)

    async def _take_back(self) -> None:
        """Remove what was made."""
        ino = self._root.ino
        at = self._tree.dentries.name_of(ino)
        if at is None:
            return
        try:
            if stat.S_ISDIR(self._root.mode):
                await remove_tree(self._engine, self._names, ino)
            else:
                self._names.unlink(*at)
                self._announce(Place(*at))
        except StorefsError as error:
            log.warning("an unfinished copy stays behind at %s: %s", os.fsdecode(at[1]), error)

    # --- the kernel ---------------------------------------------------------------------------------------------------

    def _announce(self, at: Place) -> None:
        """Let the kernel ask anew for a name, its directory, and the root of the copy."""
        kernel = self._engine.world.kernel
        kernel.forget_names(at.parent, [at.name])
        for ino in (at.parent, self._root.ino):
            kernel.forget_inode(ino, attributes_only=True)

    def _tell_of(self, items: list[_Item]) -> None:
        """Tell the kernel of names in directories that somebody has looked into before they were complete."""
        kernel, references = self._engine.world.kernel, self._engine.references
        for item in items:
            if item.at.parent in references:
                kernel.forget_names(item.at.parent, [item.at.name])
            if item.ino in references:
                kernel.forget_inode(item.ino, attributes_only=True)


def _checked(path: bytes) -> bytes:
    if not path.startswith(b"/"):
        raise PosixError(errno.EINVAL, f"{os.fsdecode(path)!r} does not begin at the root of the mount")
    if b".." in path.split(b"/"):
        raise PosixError(errno.EINVAL, os.fsdecode(path))
    return path
