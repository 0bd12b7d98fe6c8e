"""Files: read, write, seek, allocate, copy, flush, fsync."""

import errno

from storefs.engine.engine import Engine
from storefs.errors import NoSpace, PosixError
from storefs.model import FILE_BYTES_MAX, Buffer
from storefs.volume.attributes import Attributes
from storefs.volume.contents import COPY_BYTES_MAX, Contents

PARTS_MAX = 64
"""The most pieces in an answer to a read."""


class Files:
    """The verbs on a file's bytes."""

    def __init__(self, engine: Engine, attributes: Attributes, contents: Contents) -> None:
        self._engine = engine
        self._attributes = attributes
        self._contents = contents

    async def read(self, ino: int, offset: int, length: int) -> Buffer:
        """Return up to ``length`` bytes from ``offset`` on; fewer only at the end of the file."""
        parts = self.read_now(ino, offset, length)
        if parts is None:
            parts = await self.read_waiting(ino, offset, length)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_waiting(self, ino: int, offset: int, length: int) -> tuple[Buffer, ...]:
        """Return what ``read_now`` could not, in pieces, PARTS_MAX at most."""
        size = self._attributes.size(ino)
        end = min(offset + length, size)
        return few(await self._engine.reader.read(ino, offset, end, size)) if offset < end else ()

    def read_now(self, ino: int, offset: int, length: int) -> tuple[Buffer, ...] | None:
        """Return the same pieces if that needs no waiting, else None. It comes first: it notes how files are read."""
        size = self._attributes.size(ino)
        end = min(offset + length, size)
        if end <= offset:
            return ()
        parts = self._engine.reader.now(ino, offset, end, size)
        return few(parts) if parts is not None else None

    async def write(self, ino: int, offset: int | None, data: bytes | memoryview) -> int:
        """Write at ``offset``, or at the end (None); return how many bytes. They survive the death of this process when
        this returns.

        Set-user-ID bits are the caller's business: the kernel takes them away with a setattr of its own.
        Raises NotCommitted (EIO) when too much waits for a store that is away, NoSpace, PosixError (EFBIG).
        """
        self._engine.require_writable()
        if not data:
            return 0
        await self._engine.pressure.admit()
        size = self._attributes.get(ino).size
        if offset is None:  # asked for and written to in one step: nobody's bytes are there
            offset = size
        if offset + len(data) > FILE_BYTES_MAX:
            raise PosixError(errno.EFBIG)
        now_ns = self._engine.world.clock.now_ns()
        try:
            draft = self._engine.drafts.write(ino, offset, data, now_ns)
        except NoSpace:
            if not self._engine.pressure.evict(self._engine.limits.spare_bytes):
                raise
            draft = self._engine.drafts.write(ino, offset, data, now_ns)
        if draft.fresh.bytes >= self._engine.limits.partial_bytes:
            self._engine.cutter.wake()
        return len(data)

    def seek(self, ino: int, offset: int, whence: int) -> int:
        """Return the next data or the next hole from ``offset`` on (os.SEEK_DATA, os.SEEK_HOLE).

        Raises PosixError (ENXIO at or behind the end, and where no data follows).
        """
        return self._contents.seek(self._attributes.get(ino), offset, whence)

    async def allocate(self, ino: int, mode: int, offset: int, length: int) -> None:
        """Do what fallocate(2) does with its flags ``mode``; of these, allocating reserves nothing.

        Raises PosixError (EOPNOTSUPP for unknown flags, EFBIG, EINVAL, ENODEV).
        """
        self._engine.require_writable()
        await self._contents.settle(ino)
        self._contents.punch(self._attributes.get(ino), mode, offset, length)

    async def copy_range(self, source: int, source_offset: int, target: int, target_offset: int, length: int) -> int:
        """Copy bytes between files, or within one, by sharing chunks; return how many: fewer at the source's end.

        Raises PosixError (EINVAL when the ranges overlap in one file, EFBIG, EISDIR), NoSpace, NotCommitted.
        """
        self._engine.require_writable()
        await self._engine.pressure.admit()
        await self._contents.settle(source, target)
        read, written = self._attributes.get(source), self._attributes.get(target)
        if not (read.is_regular and written.is_regular):
            raise PosixError(errno.EISDIR if read.is_directory or written.is_directory else errno.EINVAL)
        length = min(length, COPY_BYTES_MAX, max(0, read.size - source_offset))
        if target_offset + length > FILE_BYTES_MAX:
            raise PosixError(errno.EFBIG)
        if source == target and max(source_offset, target_offset) < min(source_offset, target_offset) + length:
            raise PosixError(errno.EINVAL, "the ranges overlap")
        if length:
            self._contents.share(read, source_offset, written, target_offset, length)
        return length

    def flush(self, ino: int) -> None:
        """Take note that a file was closed somewhere: its content is whole as far as anyone knows."""
        draft = self._engine.drafts.get(ino)
        if draft is not None and not draft.whole:
            draft.close()
            self._engine.cutter.wake()

    async def close(self, ino: int) -> None:
        """Take note of a close; with ``commit_on_close`` return when what was changed of the file is in the store.

        Raises NotCommitted (EIO) and its kin.
        """
        if self._engine.drafts.get(ino) is not None:
            await self._engine.cutter.gate()
        self.flush(ino)
        if self._engine.limits.commit_on_close and not self._engine.ro:
            inode = self._attributes.get(ino)
            if inode.ctime_ns > self._engine.committer.last_commit_ns:  # else there is nothing of it to commit
                await self._engine.committer.sync()

    async def fsync(self) -> None:
        """Return when everything acknowledged before is in the store. Raises NotCommitted (EIO) and its kin."""
        if not self._engine.ro:
            await self._engine.committer.sync()


def few(parts: list[Buffer]) -> tuple[Buffer, ...]:
    """Return the same bytes in PARTS_MAX pieces at most."""
    return tuple(parts) if len(parts) <= PARTS_MAX else (b"".join(parts),)
