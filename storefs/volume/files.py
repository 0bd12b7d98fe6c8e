"""Files: read, write, flush, fsync."""

import errno

from storefs.engine.engine import Engine
from storefs.errors import NoSpace, PosixError
from storefs.model import FILE_BYTES_MAX
from storefs.volume.attributes import Attributes


class Files:
    """The verbs on a file's bytes."""

    def __init__(self, engine: Engine, attributes: Attributes) -> None:
        self._engine = engine
        self._attributes = attributes

    async def read(self, ino: int, offset: int, length: int) -> bytes | memoryview | bytearray:
        """Return up to ``length`` bytes from ``offset`` on; fewer only at the end of the file."""
        inode = self._attributes.get(ino)
        end = min(offset + length, inode.size)
        if end <= offset:
            return b""
        return await self._engine.reader.read(ino, offset, end)

    async def write(self, ino: int, offset: int, data: bytes | memoryview) -> int:
        """Write; return how many bytes. They survive the death of this process when this returns.

        Set-user-ID bits are the caller's business: the kernel takes them away with a setattr of its own.
        Raises NotCommitted (EIO) when too much waits for a store that is away, NoSpace, PosixError (EFBIG).
        """
        self._engine.require_writable()
        if offset + len(data) > FILE_BYTES_MAX:
            raise PosixError(errno.EFBIG)
        if not data:
            return 0
        await self._engine.pressure.admit()
        self._attributes.get(ino)
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

    def flush(self, ino: int) -> None:
        """Take note that a file was closed somewhere: its content is whole as far as anyone knows."""
        draft = self._engine.drafts.get(ino)
        if draft is not None and not draft.whole:
            draft.whole = True
            self._engine.cutter.wake()

    async def fsync(self) -> None:
        """Return when everything acknowledged before is in the store. Raises NotCommitted (EIO) and its kin."""
        if not self._engine.ro:
            await self._engine.committer.sync()
