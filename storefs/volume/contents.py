"""Contents: changes of a file's bytes that write none: truncate, fallocate, copies that share chunks; and its holes."""

import errno
import os
from contextlib import AbstractContextManager

from storefs.engine.engine import Engine
from storefs.errors import PosixError
from storefs.model import FILE_BYTES_MAX, Extent, Inode

KEEP_SIZE = 0x01
PUNCH_HOLE = 0x02
ZERO_RANGE = 0x10
"""The modes of fallocate(2) that are known here (linux/falloc.h)."""

COPY_BYTES_MAX = 1 << 30
"""The longest range that one call copies: its extents are written in one transaction."""


class Contents:
    """Replaces ranges of files by holes or by what other files hold. The kernel has checked who may."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tree = engine.tree

    async def settle(self, *inos: int) -> None:
        """Return when nothing of the files is being cut; nothing will be until the next await."""
        drafts = self._engine.drafts
        while cutting := [one for ino in inos if (one := drafts.get(ino)) is not None and one.cutting]:
            await cutting[0].settled.wait()

    def change(self, ino: int) -> AbstractContextManager[None]:
        """Return the transaction for a change of a file: recorded, unless it has lost its last name."""
        if self._tree.local.is_orphan(ino):
            return self._tree.database.transaction()
        return self._tree.pending.recorded()

    def clear(self, ino: int, start: int, end: int) -> dict[str, int]:
        """Make ``start`` to ``end`` a hole, inside the caller's transaction; return columns to be set in the inode.

        The file must be settled, and ``forget_staged`` called with the same range once the transaction is through.
        """
        self._tree.extents.clear(ino, start, end)
        self._tree.shards.absorb(ino, start, end, self._engine.staging.end)
        return {"cid": self._engine.numbers.take()}

    def forget_staged(self, ino: int, start: int, end: int) -> None:
        """Let go of what is staged of ``start`` to ``end``: the tree's times are the newer ones now."""
        self._engine.drafts.clear(ino, start, end)
        draft = self._engine.drafts.get(ino)
        if draft is not None:
            draft.mtime_ns = None

    def punch(self, inode: Inode, mode: int, offset: int, length: int) -> None:
        """Do what fallocate(2) asks of a settled file, as it is now.

        Nothing is reserved: a store has no end, and what a write needs of this disk, it finds when it comes.
        Raises PosixError (EOPNOTSUPP, EINVAL, EFBIG, ENODEV).
        """
        if mode not in (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE):
            raise PosixError(errno.EOPNOTSUPP, f"fallocate mode {mode:#x}")
        if offset < 0 or length <= 0:
            raise PosixError(errno.EINVAL)
        if not inode.is_regular:
            raise PosixError(errno.ENODEV)
        end = offset + length
        if end > FILE_BYTES_MAX:
            raise PosixError(errno.EFBIG)
        size = inode.size if mode & KEEP_SIZE else max(inode.size, end)
        clears = bool(mode & (PUNCH_HOLE | ZERO_RANGE)) and offset < inode.size
        if not clears and size == inode.size:
            return
        now_ns = self._engine.world.clock.now_ns()
        columns = {"size": size, "mtime_ns": now_ns, "ctime_ns": now_ns}
        with self.change(inode.ino):
            columns |= self.clear(inode.ino, offset, end) if clears else {"cid": self._engine.numbers.take()}
            self._tree.inodes.update(inode.ino, **columns)
        self.forget_staged(inode.ino, offset, end if clears else offset)

    def share(self, source: Inode, start: int, target: Inode, offset: int, length: int) -> None:
        """Let ``length`` bytes of ``target`` from ``offset`` be those of ``source`` from ``start``, by sharing chunks.

        Both are settled and given as they are now; the range lies within the source. What is staged of the source is
        staged again for the target, in front of everybody: the caller has seen that there is room. Raises NoSpace.
        """
        tree, drafts = self._tree, self._engine.drafts
        end, now_ns = start + length, self._engine.world.clock.now_ns()
        staged = [(piece.offset, drafts.read(piece)) for piece in drafts.pieces(source.ino, start, end)]
        extents = [extent.between(start, end) for extent in tree.extents.overlapping(source.ino, start, end)]
        columns = {"size": max(target.size, offset + length), "mtime_ns": now_ns, "ctime_ns": now_ns}
        recorded = not tree.local.is_orphan(target.ino)
        with self.change(target.ino):
            columns |= self.clear(target.ino, offset, offset + length)
            for extent in extents:
                tree.extents.insert(
                    target.ino, Extent(extent.offset - start + offset, extent.length, extent.chunk, extent.skip)
                )
                if recorded:
                    self._hold(extent)
            tree.inodes.update(target.ino, **columns)
        self.forget_staged(target.ino, offset, offset + length)
        for at, data in staged:
            drafts.write(target.ino, at - start + offset, data, now_ns)

    def _hold(self, extent: Extent) -> None:
        """Keep a shared chunk here until a commit names it for the target as well, if it is here at all."""
        place = self._tree.chunks.place(extent.chunk)
        if place is not None and self._engine.cache.has(place):
            self._tree.shards.hold(extent.chunk, self._tree.pending.last + 1)

    def seek(self, inode: Inode, offset: int, whence: int) -> int:
        """Return the next byte from ``offset`` on that is data, or that is a hole: its end is one.

        Raises PosixError (ENXIO behind the end, and where no data follows; EINVAL).
        """
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise PosixError(errno.EINVAL, f"whence {whence}")
        if not 0 <= offset < inode.size:
            raise PosixError(errno.ENXIO)
        if whence == os.SEEK_DATA:
            found = self._next_data(inode.ino, offset, inode.size)
            if found is None:
                raise PosixError(errno.ENXIO)
            return found
        at = offset
        for piece in self._engine.drafts.pieces(inode.ino, offset, inode.size):
            while at < piece.offset:
                end = self._tree.extents.run_end(inode.ino, at)
                if end == at:
                    return at
                at = end
            at = max(at, piece.end)
        return min(self._tree.extents.run_end(inode.ino, at), inode.size)

    def _next_data(self, ino: int, offset: int, size: int) -> int | None:
        extent = self._tree.extents.first_behind(ino, offset)
        staged = self._engine.drafts.pieces(ino, offset, size)
        starts = [max(extent.offset, offset)] if extent is not None else []
        starts += [staged[0].offset] if staged else []
        return min(starts, default=None)
