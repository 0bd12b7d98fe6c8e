"""Read-ahead: what a file's readers will want next is fetched before they ask.

State is kept per inode, not per open file: the kernel opens files by itself, and many workers read one file. Whoever
reads in order gets a window that doubles as he goes on. A file of tensors that is read here and there, as a mapping is
when its tensors are touched in their own order, is brought in whole and in order: fetching what each jump asks for
would leave the link idle in between.
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass

import trio

from storefs.cache.chunks import ChunkCache
from storefs.core.modelfile import HEAD_BYTES, is_model
from storefs.engine.fetch import Fetcher
from storefs.engine.limits import Limits
from storefs.engine.trips import Trips
from storefs.errors import StorefsError
from storefs.model import Extent
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_STREAMS_MAX = 1024
_FIRST_WINDOW = 1 << 20
_NEAR_BYTES = 4 << 20
"""Reads this far from where one was expected still belong to it: the kernel sends its own read-ahead out of order."""

_JUMPS_MIN = 2
"""After so many jumps a file of tensors is brought in whole."""

_ROOM_S = 0.02
_IDLE_S = 10.0
"""A file that nobody has read for so long is not brought in further."""


@dataclass(slots=True)
class _Stream:
    """How a file is read: where the next read is expected, how far ahead to fetch, how far that has come."""

    next: int
    window: int
    ahead: int
    read_s: float
    jumps: int = 0
    whole: bool = False


class ReadAhead:
    """Fetches ahead of readers, within a bound for all of them together.

    Attributes:
        whole_files: how many files were brought in whole because they were read here and there.
    """

    def __init__(
        self, tree: Tree, fetcher: Fetcher, trips: Trips, cache: ChunkCache, limits: Limits, nursery: trio.Nursery
    ) -> None:
        self._tree = tree
        self._fetcher = fetcher
        self._trips = trips
        self._cache = cache
        self._limits = limits
        self._nursery = nursery
        self._streams: OrderedDict[int, _Stream] = OrderedDict()
        self.whole_files = 0
        # What is fetched ahead waits in memory: half of it, lest it be gone before it is read.
        self._window_max = min(limits.read_ahead_bytes, limits.decoded_bytes // 2)

    def note(self, ino: int, start: int, end: int, size: int) -> bool:
        """Take note that ``start`` to ``end`` of a file of ``size`` bytes are read now; fetch what comes next.

        Return whether what lies beside it will probably be wanted as well.
        """
        stream = self._streams.get(ino)
        now_s = trio.current_time()
        if stream is None:
            stream = self._streams[ino] = _Stream(end, 0, end, now_s)
            if len(self._streams) > _STREAMS_MAX:
                self._streams.popitem(last=False)
            if start > 0:
                return False
        self._streams.move_to_end(ino)
        stream.read_s = now_s
        if start > stream.next + _NEAR_BYTES or end + _NEAR_BYTES < stream.next:
            self._jumped(ino, stream, end, size)
        elif end > stream.next or stream.next == end:
            stream.next = end
            stream.window = min(self._window_max, max(_FIRST_WINDOW, 2 * stream.window))
        self._fetch_ahead(ino, stream, size)
        return stream.window > 0

    def _jumped(self, ino: int, stream: _Stream, end: int, size: int) -> None:
        stream.jumps += 1
        stream.next, stream.ahead = end, end
        # A tensor follows where a mapping of many is touched; of anything else nothing is known.
        stream.window = self._limits.fetch_bytes if stream.whole else 0
        if stream.jumps == _JUMPS_MIN and size >= self._limits.whole_bytes and not stream.whole:
            self._nursery.start_soon(self._bring_whole, ino, stream, size)

    def _fetch_ahead(self, ino: int, stream: _Stream, size: int) -> None:
        target = min(size, stream.next + stream.window)
        if stream.window == 0 or stream.ahead - stream.next >= stream.window // 2 or stream.ahead >= target:
            return
        room = self._limits.ahead_bytes - self._trips.ahead_bytes
        start = max(stream.next, stream.ahead)
        stream.ahead = min(target, start + room)
        if stream.ahead > start:
            self._bring(ino, start, stream.ahead)

    def _bring(self, ino: int, start: int, end: int) -> None:
        extents = self._tree.extents.overlapping(ino, start, end)
        self._fetcher.bring([extent.chunk for extent in extents], ahead=True)

    async def _bring_whole(self, ino: int, stream: _Stream, size: int) -> None:
        try:
            await self._whole_model(ino, stream, size)
        except StorefsError:
            pass  # whoever reads the file is told
        except Exception:  # nobody waits for it, and reading does without
            log.exception("bringing inode %d in whole failed", ino)

    async def _whole_model(self, ino: int, stream: _Stream, size: int) -> None:
        """Bring a file in whole and in order, if it is made of tensors and the disk has room for it."""
        if not await self._is_model(ino, size) or self._cache.free_bytes < self._limits.spare_bytes + size:
            return
        if size > self._limits.cache_bytes // 2:  # it would push itself out
            return
        stream.whole = True
        self.whole_files += 1
        at = 0
        while at < size and trio.current_time() - stream.read_s < _IDLE_S:
            step = [extent for extent in self._extents(ino, at) if not self._is_here(extent)]
            if step and self._trips.ahead_bytes + self._limits.fetch_bytes > self._limits.ahead_bytes:
                await trio.sleep(_ROOM_S)  # readers' own windows go first
                continue
            self._fetcher.bring_to_disk([extent.chunk for extent in step])
            at += self._limits.fetch_bytes
            await trio.lowlevel.checkpoint()
        if at < size:  # nobody read it any more; who comes back may have it brought in again
            stream.whole, stream.jumps = False, 0

    def _extents(self, ino: int, at: int) -> list[Extent]:
        return self._tree.extents.overlapping(ino, at, at + self._limits.fetch_bytes)

    def _is_here(self, extent: Extent) -> bool:
        place = self._tree.chunks.place(extent.chunk)
        return place is None or self._cache.has(place)

    async def _is_model(self, ino: int, size: int) -> bool:
        first = self._tree.extents.overlapping(ino, 0, HEAD_BYTES)
        if not first or first[0].offset > 0:
            return False
        content = memoryview(await self._fetcher.get(first[0].chunk))[first[0].skip :]
        return is_model(bytes(content[: min(HEAD_BYTES, first[0].length)]), size)
