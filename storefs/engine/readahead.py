"""Read-ahead: what a file's readers will want next is fetched before they ask.

State is kept per inode, not per open file: the kernel opens files by itself, and many workers read one file. Whoever
reads in order gets a window that grows as he goes on; all readers together have a bound, and share it. A file of
tensors that is read here and there, as a mapping is when its tensors are touched in their own order, is brought in
whole and in order: fetching what each jump asks for would leave the link idle in between.
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass, field

import trio

from storefs.cache.chunks import ChunkCache
from storefs.core.streams import Stream, Streams
from storefs.engine.fetch import Fetcher
from storefs.engine.limits import Limits
from storefs.engine.tensors import TensorFiles, Tensors
from storefs.engine.trips import Trips
from storefs.errors import StorefsError
from storefs.model import Extent
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_FILES_MAX = 1024
_SHARE_BYTES_MIN = 8 << 20
"""However many read at a time: shorter ranges cost the store much more."""

_REST_BYTES = 2 << 20
"""A short window is filled again when no more than that is left of it."""

_FIRST_STEP_BYTES = 2 << 20
_ACTIVE_S = 2.0
"""Who has read nothing for so long gets no share of what is read ahead."""

_JUMPS_MIN = 2
"""After so many jumps a file of tensors is brought in whole."""

_TENSOR_BYTES_MIN = 2 << 20
"""Who read so much in order before a jump goes from tensor to tensor, and not from sample to sample."""

_ROOM_S = 0.02
_IDLE_S = 10.0
"""A file that nobody has read for so long is not brought in further."""


@dataclass(slots=True)
class _File:
    """How a file is read, when it was last, what it says of its tensors, and whether it is being brought in whole."""

    read_s: float
    streams: Streams = field(default_factory=Streams)
    tensors: Tensors | None = None
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
        self._tensors = TensorFiles(tree, fetcher)
        self._files: OrderedDict[int, _File] = OrderedDict()
        self._active: OrderedDict[Stream, float] = OrderedDict()
        """Those with a window, and when each was read last."""
        self.whole_files = 0
        # What is fetched ahead waits in memory: half of it, lest it be gone before it is read.
        self._window_max = min(limits.read_ahead_bytes, limits.decoded_bytes // 2)

    def note(self, ino: int, start: int, end: int, size: int) -> int:
        """Take note that ``start`` to ``end`` of a file of ``size`` bytes are read now; fetch what comes next.

        Return how many bytes behind ``end`` will probably be wanted as well.
        """
        now_s = trio.current_time()
        file = self._files.get(ino)
        if file is None:
            file = self._files[ino] = _File(now_s)
            if len(self._files) > _FILES_MAX:
                self._files.popitem(last=False)
        self._files.move_to_end(ino)
        file.read_s = now_s
        last, jumps = file.streams.last, file.streams.jumps
        # Where tensors are touched one after the other, the next one follows; of anything else nothing is known.
        touches = file.whole and last is not None and last.run >= _TENSOR_BYTES_MIN
        stream = file.streams.note(start, end, jump_window=self._limits.fetch_bytes if touches else 0)
        if last is not None and file.streams.jumps > jumps:
            self._active.pop(last, None)  # unless it was somebody else who jumped: then it will be read again
            whole = file.streams.jumps == _JUMPS_MIN and not file.whole
            if size >= self._limits.whole_bytes and (whole or (file.tensors is None and self._tensors.is_near(ino))):
                self._nursery.start_soon(self._look, ino, file, size, whole)
        if not stream.is_long:
            return stream.run
        stream.widen(self._share(stream, now_s))
        self._fetch_ahead(ino, file, stream, size)
        return stream.window

    def _share(self, stream: Stream, now_s: float) -> int:
        """Return how much may be fetched ahead of a stream, which is read now."""
        active = self._active
        if stream.window:
            active[stream] = now_s
            active.move_to_end(stream)
            while next(iter(active.values())) < now_s - _ACTIVE_S:
                active.popitem(last=False)
        return max(self._window_max // max(len(active), 1), min(_SHARE_BYTES_MIN, self._window_max))

    def _fetch_ahead(self, ino: int, file: _File, stream: Stream, size: int) -> None:
        target = min(size, stream.next + stream.window)
        if file.tensors is not None:  # behind its end nobody knows what comes next
            target = min(target, file.tensors.end(stream.start, stream.next) or target)
        start = max(stream.next, stream.fetched)
        rest = start - stream.next
        if start >= target or rest >= min(stream.window // 2, max(stream.window - _SHARE_BYTES_MIN, _REST_BYTES)):
            return
        # Not a shorter one where there is no room: it comes when there is, or when the reader has nothing left.
        if rest and self._trips.ahead_bytes + target - start > self._limits.ahead_bytes:
            return
        stream.fetched = target
        # At first in short steps: somebody waits for the first bytes of what comes in one request until its last ones.
        step = _FIRST_STEP_BYTES if stream.run < _FIRST_STEP_BYTES else stream.window
        while start < stream.fetched:
            end = min(start + step, stream.fetched)
            extents = self._tree.extents.overlapping(ino, start, end)
            self._fetcher.bring([extent.chunk for extent in extents], ahead=True)
            start, step = end, 2 * step

    async def _look(self, ino: int, file: _File, size: int, whole: bool) -> None:
        """See what a file is made of that is read here and there; if of tensors, bring it in ``whole``."""
        try:
            if file.tensors is None:
                file.tensors = await self._tensors.look(ino, size)
            if whole and file.tensors.any:
                await self._bring_whole(ino, file, size)
        except StorefsError:
            pass  # whoever reads the file is told
        except Exception:  # nobody waits for it, and reading does without
            log.exception("reading ahead in inode %d failed", ino)

    async def _bring_whole(self, ino: int, file: _File, size: int) -> None:
        """Bring a file in whole and in order, if the disk has room for it."""
        # More than half of the cache would push itself out.
        if self._cache.free_bytes < self._limits.spare_bytes + size or size > self._limits.cache_bytes // 2:
            return
        file.whole = True
        self.whole_files += 1
        at = 0
        while at < size and trio.current_time() - file.read_s < _IDLE_S:
            step = [extent for extent in self._extents(ino, at) if not self._is_here(extent)]
            busy = self._trips.ahead_bytes
            if step and busy and busy + self._limits.fetch_bytes > self._limits.ahead_bytes // 2:
                await trio.sleep(_ROOM_S)  # readers' own windows go first
                continue
            self._fetcher.bring_to_disk([extent.chunk for extent in step])
            at += self._limits.fetch_bytes
            await trio.lowlevel.checkpoint()
        if at < size:  # nobody read it any more; who comes back may have it brought in again
            file.whole, file.streams.jumps = False, 0

    def _extents(self, ino: int, at: int) -> list[Extent]:
        return self._tree.extents.overlapping(ino, at, at + self._limits.fetch_bytes)

    def _is_here(self, extent: Extent) -> bool:
        place = self._tree.chunks.place(extent.chunk)
        return place is None or self._cache.has(place)
