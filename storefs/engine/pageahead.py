"""Paging ahead: a file that is read here and there comes into the kernel's memory bit by bit, from this disk.

Each read for itself waits for the disk; read in order, the disk is several times as fast. How much of the file it is
told to bring follows from what is read: a few reads here and there bring next to nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import trio

from storefs.cache.chunks import ChunkCache
from storefs.cache.shards import announce
from storefs.core.ranges import Span, coalesce
from storefs.engine.limits import Limits
from storefs.ports import Offload
from storefs.tree.tree import Tree

_EARNED = 16
"""A byte that is read earns so many: by then it is likely that others of them are wanted."""

_STEP_BYTES = 4 << 20
_STEPS_MAX = 4
_GAP_BYTES = 64 << 10


@dataclass(slots=True)
class Paged:
    """How far a file was brought: bytes from its beginning, and what its reads have earned since."""

    upto: int = 0
    earned: int = 0
    busy: bool = False


class PageAhead:
    """Lets the disk bring files that are here and read here and there, those that fit into memory.

    Attributes:
        bytes: how much the disk was told to bring.
    """

    def __init__(self, tree: Tree, cache: ChunkCache, offload: Offload, limits: Limits, nursery: trio.Nursery) -> None:
        self._tree = tree
        self._cache = cache
        self._offload = offload
        self._limits = limits
        self._nursery = nursery
        self.bytes = 0

    def earn(self, ino: int, paged: Paged, length: int, size: int) -> None:
        """Take note that ``length`` bytes of a file of ``size`` bytes were read somewhere in it."""
        if size > self._limits.paged_bytes or paged.upto >= size:
            return
        paged.earned += _EARNED * length
        if paged.earned >= _STEP_BYTES and not paged.busy:
            paged.busy = True
            self._nursery.start_soon(self._bring, ino, paged, size)

    async def _bring(self, ino: int, paged: Paged, size: int) -> None:
        try:
            step = min(paged.earned, _STEPS_MAX * _STEP_BYTES, size - paged.upto)
            ranges = self._ranges(ino, paged.upto, paged.upto + step)
            paged.upto += step
            paged.earned -= step
            for path, spans in ranges.items():
                self.bytes += await self._offload.run(announce, path, spans)
        finally:
            paged.busy = False

    def _ranges(self, ino: int, start: int, end: int) -> dict[Path, list[Span]]:
        """Return where on this disk the chunks are that begin in a part of a file."""
        found: dict[Path, list[Span]] = {}
        for extent in self._tree.extents.overlapping(ino, start, end):
            if extent.offset < start:  # it came with the part before
                continue
            place = self._tree.chunks.place(extent.chunk)
            if place is not None and (path := self._cache.file_of(place)) is not None:
                found.setdefault(path, []).append(Span(place.offset, place.offset + place.stored))
        return {path: coalesce(spans, _GAP_BYTES, _STEPS_MAX * _STEP_BYTES) for path, spans in found.items()}
