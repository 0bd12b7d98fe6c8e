"""Reading: a file's bytes from its draft, its extents and their chunks."""

from storefs.cache.chunks import ChunkCache
from storefs.core.writemap import gaps
from storefs.engine.drafts import Drafts
from storefs.engine.fetch import Fetcher
from storefs.engine.limits import Limits
from storefs.engine.neighbours import Neighbours
from storefs.engine.readahead import ReadAhead
from storefs.model import ChunkId, Extent
from storefs.tree.tree import Tree


class Reader:
    """Reads files."""

    def __init__(
        self,
        tree: Tree,
        drafts: Drafts,
        fetcher: Fetcher,
        neighbours: Neighbours,
        read_ahead: ReadAhead,
        cache: ChunkCache,
        limits: Limits,
    ) -> None:
        self._tree = tree
        self._drafts = drafts
        self._fetcher = fetcher
        self._neighbours = neighbours
        self._read_ahead = read_ahead
        self._cache = cache
        self._limits = limits

    async def read(self, ino: int, offset: int, end: int, size: int) -> bytes | memoryview | bytearray:
        """Return the bytes ``offset`` to ``end`` of a file of ``size`` bytes; the caller has held ``end`` against it.

        Which bytes they are is decided before the first await: a write or a remote commit that comes during the
        fetch changes nothing in this answer.
        """
        staged = self._drafts.pieces(ino, offset, end)
        parts = [part for gap in gaps(staged, offset, end) for part in self._parts(ino, gap.start, gap.end)]
        staged_bytes = [(piece.offset, self._drafts.read(piece)) for piece in staged]
        if len(parts) == 1 and not staged and parts[0].length == end - offset:
            data = await self._one(ino, parts[0], size, offset, end)
            return memoryview(data)[parts[0].skip : parts[0].skip + parts[0].length]
        if len(staged) == 1 and not parts and staged[0].length == end - offset:
            return staged_bytes[0][1]
        if parts:
            self._read_ahead.note(ino, offset, end, size)
        buffer = bytearray(end - offset)
        for at, data in staged_bytes:
            buffer[at - offset : at - offset + len(data)] = data
        self._fetcher.bring([part.chunk for part in parts if self._fetcher.now(part.chunk) is None])
        for part in parts:
            data = await self._fetcher.get(part.chunk)
            buffer[part.offset - offset : part.end - offset] = memoryview(data)[part.skip : part.skip + part.length]
        return buffer

    async def _one(self, ino: int, part: Extent, size: int, offset: int, end: int) -> bytes:
        """Return the content of the one chunk that a read needs."""
        if size > self._limits.small_bytes:
            self._read_ahead.note(ino, offset, end, size)
            return await self._fetcher.get(part.chunk)
        return await self._neighbours.read(ino, part.chunk)

    def local(self, ino: int, start: int, end: int) -> bytes | None:
        """Return the committed or pending content (no drafts) of ``start`` to ``end`` if it is all here, else None."""
        buffer = bytearray(end - start)
        for part in self._parts(ino, start, end):
            data = self._fetcher.now(part.chunk)
            if data is None:
                return None
            buffer[part.offset - start : part.offset - start + part.length] = data[part.skip : part.skip + part.length]
        return bytes(buffer)

    def hold(self, chunks: list[tuple[ChunkId, memoryview]]) -> None:
        """See that the bytes of chunks that the store has already are here too: a pending change will name them.

        Raises NoSpace.
        """
        missing = []
        for chunk, data in chunks:
            place = self._tree.chunks.place(chunk)
            if place is None or not self._cache.has(place):
                missing.append((chunk, bytes(data)))
        if missing:
            self._cache.put_contents(missing)

    def _parts(self, ino: int, start: int, end: int) -> list[Extent]:
        return [extent.between(start, end) for extent in self._tree.extents.overlapping(ino, start, end)]
