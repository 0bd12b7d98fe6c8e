"""Blocks of large chunks, read one by one: checked like the whole chunk, without reading all of it.

A chunk proves itself by its digest only as a whole. When that was done once, the checks of its blocks are kept in
memory, and later reads of a few KiB here and there are held against those.
"""

from array import array
from collections import OrderedDict
from typing import NamedTuple

from storefs.cache.shards import ShardFiles
from storefs.core.digest import CHECKED_BYTES, block_checks, quick_check
from storefs.errors import Corrupt
from storefs.model import Buffer, ChunkId, ChunkPlace, Codec

_CHUNKS_MAX = 16_384
"""At 1 MiB a chunk this covers 16 GiB, in some 20 MiB of memory."""

_RECENT_MAX = 16
"""Of so many chunks what was read ahead is kept: one for each who goes on in small steps."""

_CHUNK_BYTES_MIN = 128 << 10
"""Smaller chunks are read whole anyway."""


class _Checks(NamedTuple):
    """Of a chunk: the check of all of it, and those of its blocks."""

    whole: bytes
    blocks: "array[int]"


class BlockChecks:
    """The checks of the chunks that were proven last. ``note`` and ``holds`` may be called in any thread."""

    def __init__(self, files: ShardFiles) -> None:
        self._files = files
        self._checks: OrderedDict[ChunkId, _Checks] = OrderedDict()
        self._recent: OrderedDict[ChunkId, tuple[int, memoryview]] = OrderedDict()
        """What was read ahead, of a few chunks: from where on, and the bytes."""

    def note(self, place: ChunkPlace, data: Buffer) -> None:
        """Keep the checks of a chunk whose content, just proven, is ``data``. Only raw payloads have blocks to read."""
        if place.codec is not Codec.NONE or place.size <= _CHUNK_BYTES_MIN or place.chunk in self._checks:
            return
        self._checks[place.chunk] = _Checks(quick_check(data), block_checks(data))
        if len(self._checks) > _CHUNKS_MAX:
            self._checks.popitem(last=False)

    def holds(self, place: ChunkPlace, payload: Buffer) -> bool:
        """Whether a raw payload is known to be what it was when it was proven; False if nobody knows."""
        checks = self._checks.get(place.chunk) if place.codec is Codec.NONE else None
        return checks is not None and quick_check(payload) == checks.whole

    def read(self, place: ChunkPlace, start: int, end: int, ahead: int = 0) -> memoryview | None:
        """Return the bytes ``start`` to ``end`` of a chunk's content from its shard file, or None if that cannot be.

        The next ``ahead`` bytes are read along with them, for the calls to come. Raises Corrupt when they are no longer
        what they were.
        """
        if place.chunk in self._recent:
            begin, known = self._recent[place.chunk]
            if begin <= start and end <= begin + len(known):
                return known[start - begin : end - begin]
        checks = self._checks.get(place.chunk)
        if checks is None:
            return None
        first = start // CHECKED_BYTES
        begin = first * CHECKED_BYTES
        length = min(-(-(end + ahead) // CHECKED_BYTES) * CHECKED_BYTES, place.size) - begin
        view = self._files.read_block(place.shard, place.offset + begin, length)
        if view is None:
            return None
        found = block_checks(view)
        if found != checks.blocks[first : first + len(found)]:
            raise Corrupt(
                f"shard {place.shard.hex()}: what lies at {begin} to {begin + length} of chunk {place.chunk.hex()} "
                "has changed"
            )
        if ahead:
            view = memoryview(bytes(view))  # the memory it lies in is wanted for the next read
            self._recent[place.chunk] = begin, view
            self._recent.move_to_end(place.chunk)
            if len(self._recent) > _RECENT_MAX:
                self._recent.popitem(last=False)
        return view[start - begin : end - begin]
