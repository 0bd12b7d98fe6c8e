"""Reading: a file's bytes from its draft, its extents and their chunks."""

from collections.abc import Sequence

from storefs.cache.chunks import ChunkCache
from storefs.core.writemap import Piece, gaps
from storefs.engine.drafts import Drafts
from storefs.engine.fetch import Fetcher
from storefs.engine.limits import Limits
from storefs.engine.neighbours import Neighbours
from storefs.engine.readahead import ReadAhead
from storefs.model import Buffer, ChunkId, Extent
from storefs.tree.tree import Tree

_ZEROS = bytes(1 << 20)
"""What holes are answered from."""


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

    def now(self, ino: int, offset: int, end: int, size: int) -> list[Buffer] | None:
        """Return the bytes ``offset`` to ``end`` of a file of ``size`` bytes if that needs no waiting, else None.

        They come in pieces; the caller has held ``end`` against the size.
        """
        plan = self._plan(ino, offset, end)
        one = _one_extent(plan, end - offset)
        if one is not None:  # most are like that
            if size <= self._limits.small_bytes:
                data = self._neighbours.now(ino, one.chunk)
                return [_cut(data, one)] if data is not None else None
            found = self._fetcher.part_now(one, self._read_ahead.note(ino, offset, end, size))
            if found is None:
                return None
            self._fetcher.note_read(one)
            return [found]
        ahead = 0
        if any(isinstance(part, Extent) for part in plan):
            ahead = self._read_ahead.note(ino, offset, end, size)
        contents: list[Buffer] = []
        for part in plan:
            if isinstance(part, Piece):
                contents.append(self._drafts.read(part))
                continue
            found = self._fetcher.part_now(part, ahead)
            if found is None:
                return None
            contents.append(found)
        for part in plan:
            if isinstance(part, Extent):
                self._fetcher.note_read(part)
        return _joined(plan, contents, offset, end)

    async def read(self, ino: int, offset: int, end: int, size: int) -> list[Buffer]:
        """Return what ``now`` could not.

        Which bytes they are is decided before the first await: a write or a remote commit that comes during the
        fetch changes nothing in this answer. Raises StoreError and its kinds, Corrupt.
        """
        plan = self._plan(ino, offset, end)
        one = _one_extent(plan, end - offset)
        if one is not None and size <= self._limits.small_bytes:
            return [_cut(await self._neighbours.read(ino, one.chunk), one)]
        here: dict[Piece | Extent, Buffer] = {part: self._drafts.read(part) for part in plan if isinstance(part, Piece)}
        extents = [part for part in plan if isinstance(part, Extent)]
        self._fetcher.bring([part.chunk for part in extents])
        # Copied: while this read waits it would keep memory that what it waits for may need.
        here |= {part: data for part in extents if (data := self._fetcher.copy(part)) is not None}
        contents: list[Buffer] = [
            here[part] if isinstance(part, Piece) or part in here else await self._fetcher.part(part) for part in plan
        ]
        return _joined(plan, contents, offset, end)

    def _plan(self, ino: int, start: int, end: int) -> list[Piece | Extent]:
        """Return what holds the bytes of a range, in order: staged pieces, and extents where nothing is staged."""
        staged = self._drafts.pieces(ino, start, end)
        if not staged:
            return [extent.between(start, end) for extent in self._tree.extents.overlapping(ino, start, end)]
        extents = [part for gap in gaps(staged, start, end) for part in self._parts(ino, gap.start, gap.end)]
        return sorted([*staged, *extents], key=lambda part: part.offset)

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


def _one_extent(plan: list[Piece | Extent], length: int) -> Extent | None:
    """Return the part of a plan that holds all of the ``length`` bytes that are read, if there is one in a chunk."""
    if len(plan) != 1 or not isinstance(plan[0], Extent) or plan[0].length != length:
        return None
    return plan[0]


def _cut(data: Buffer, extent: Extent) -> memoryview:
    return memoryview(data)[extent.skip : extent.skip + extent.length]


def _joined(plan: Sequence[Piece | Extent], contents: Sequence[Buffer], offset: int, end: int) -> list[Buffer]:
    """Return the contents of the parts of a plan in order, with zeros for the holes between them."""
    found: list[Buffer] = []
    at = offset
    for part, content in zip(plan, contents, strict=True):
        found += _zeros(part.offset - at)
        found.append(content)
        at = part.end
    return found + _zeros(end - at)


def _zeros(length: int) -> list[Buffer]:
    whole, rest = divmod(length, len(_ZEROS))
    found: list[Buffer] = [_ZEROS] * whole
    return [*found, memoryview(_ZEROS)[:rest]] if rest else found
