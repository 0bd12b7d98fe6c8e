"""Reading: a file's bytes from its draft, its extents and their chunks."""

from collections import OrderedDict
from dataclasses import dataclass

from storefs.cache.chunks import ChunkCache
from storefs.core.writemap import gaps
from storefs.engine.drafts import Drafts
from storefs.engine.fetch import Fetcher
from storefs.engine.limits import Limits
from storefs.model import ChunkId, Extent
from storefs.tree.tree import Tree

_STREAMS_MAX = 1024


@dataclass(slots=True)
class _Stream:
    """A file that is read in order: where the next read is expected, how far ahead to fetch, how far that has come."""

    next: int
    window: int
    ahead: int


class Reader:
    """Reads files."""

    def __init__(self, tree: Tree, drafts: Drafts, fetcher: Fetcher, cache: ChunkCache, limits: Limits) -> None:
        self._tree = tree
        self._drafts = drafts
        self._fetcher = fetcher
        self._cache = cache
        self._limits = limits
        self._streams: OrderedDict[int, _Stream] = OrderedDict()

    async def read(self, ino: int, offset: int, end: int) -> bytes | memoryview | bytearray:
        """Return the bytes ``offset`` to ``end`` of a file; the caller has held ``end`` against its size.

        Which bytes they are is decided before the first await: a write or a remote commit that comes during the
        fetch changes nothing in this answer.
        """
        staged = self._drafts.pieces(ino, offset, end)
        parts = [part for gap in gaps(staged, offset, end) for part in self._parts(ino, gap.start, gap.end)]
        staged_bytes = [(piece.offset, self._drafts.read(piece)) for piece in staged]
        if parts:
            self._read_ahead(ino, offset, end)
        if len(parts) == 1 and not staged and parts[0].length == end - offset:
            data = self._fetcher.now(parts[0].chunk) or await self._fetcher.get(parts[0].chunk)
            return memoryview(data)[parts[0].skip : parts[0].skip + parts[0].length]
        if len(staged) == 1 and not parts and staged[0].length == end - offset:
            return staged_bytes[0][1]
        buffer = bytearray(end - offset)
        for at, data in staged_bytes:
            buffer[at - offset : at - offset + len(data)] = data
        self._fetcher.bring([part.chunk for part in parts if self._fetcher.now(part.chunk) is None])
        for part in parts:
            data = await self._fetcher.get(part.chunk)
            buffer[part.offset - offset : part.offset - offset + part.length] = memoryview(data)[
                part.skip : part.skip + part.length
            ]
        return buffer

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

    def _read_ahead(self, ino: int, offset: int, end: int) -> None:
        """Fetch ahead of a reader that goes through a file in order; the farther, the longer it does so."""
        stream = self._streams.get(ino)
        if stream is None or offset != stream.next:
            near = stream is not None and stream.next - (1 << 20) <= offset <= stream.next + (1 << 20)
            if stream is not None and near:  # the kernel's own read-ahead sends its pieces out of order
                stream.next = max(stream.next, end)
                return
            self._streams[ino] = _Stream(end, 0, end)
            self._streams.move_to_end(ino)
            if len(self._streams) > _STREAMS_MAX:
                self._streams.popitem(last=False)
            return
        stream.next = end
        stream.window = min(self._limits.read_ahead_bytes, max(1 << 20, 2 * stream.window))
        if stream.ahead - end < stream.window // 2:
            start, stream.ahead = max(end, stream.ahead), end + stream.window
            self._fetcher.bring([part.chunk for part in self._parts(ino, start, stream.ahead)])
