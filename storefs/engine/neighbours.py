"""Neighbours: when a small file is read, those that were packed beside it come along, up into the kernel's page cache.

Once there, the kernel serves them without asking, so a program that goes through a million files asks for a few of them
only. How far to reach is decided by core/widening.
"""

import logging
from pathlib import Path

import trio

from storefs.cache.chunks import ChunkCache, read_range
from storefs.core.ranges import Span
from storefs.core.references import References
from storefs.core.widening import Widening, place_window
from storefs.engine.fetch import Fetcher
from storefs.engine.limits import Limits
from storefs.engine.trips import Trips, outcome_of
from storefs.model import Buffer, ChunkId, ChunkPlace, ShardId
from storefs.ports import KernelCache, Offload
from storefs.tree.extents import WholeFile
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_NUMBERS_PER_FILE = 4
"""How far apart the inode numbers of files lie that were made one after the other: cookies and contents take some."""
_REACH_MIN, _REACH_MAX = 256, 1024
"""How many inode numbers to either side are looked at."""

_ENDS_MAX = 4096

_WORTH_FILES = 8

_TASKS_MAX = 4
"""Pushes at a time; a read that finds so many under way starts none."""


class Neighbours:
    """Serves small files, and brings what lies beside them.

    Attributes:
        windows: how often each size of window was chosen.
        pushed: files given to the kernel; ``pushed_bytes`` their bytes.
    """

    def __init__(
        self,
        tree: Tree,
        fetcher: Fetcher,
        trips: Trips,
        cache: ChunkCache,
        references: References,
        kernel: KernelCache,
        offload: Offload,
        limits: Limits,
        nursery: trio.Nursery,
        *,
        pushes: bool,
    ) -> None:
        self._tree = tree
        self._fetcher = fetcher
        self._trips = trips
        self._cache = cache
        self._references = references
        self._kernel = kernel
        self._offload = offload
        self._limits = limits
        self._nursery = nursery
        self._pushes = pushes
        self._widening: Widening[ShardId] = Widening(limits.window_least_bytes, limits.window_most_bytes)
        self._ends: dict[ShardId, int] = {}
        self._tasks = 0
        self.windows: dict[int, int] = {}
        self.pushed = 0
        self.pushed_bytes = 0

    def now(self, ino: int, chunk: ChunkId) -> bytes | None:
        """Return the content of a small file's chunk if it is on this disk, else None."""
        place = self._tree.chunks.place(chunk)
        data = self._fetcher.near(place) if place is not None else None
        if place is None or data is None:
            return None
        self._bring_along(ino, place, self._window(place))
        return data

    async def read(self, ino: int, chunk: ChunkId) -> Buffer:
        """Return the content of a small file's chunk that is not at hand. Raises as ``Fetcher.get``."""
        place = self._tree.chunks.place(chunk)
        if place is None:
            return await self._fetcher.get(chunk)
        span = self._window(place)
        if not self._cache.has(place) and not self._fetcher.is_flying(chunk):
            self._bring(place, span)
        data = await self._fetcher.get(chunk)
        self._bring_along(ino, place, span)
        return data

    def _window(self, place: ChunkPlace) -> Span:
        """Count the read of a file; return the window around it."""
        window = self._widening.window(place.shard, trio.current_time())
        self.windows[window] = self.windows.get(window, 0) + 1
        onward = place.offset > 0 and self._cache.files.has(place.shard, place.offset - 1, 1)
        own = Span(place.offset, place.offset + place.stored)
        span = place_window(own, window, self._end(place), onward=onward)
        if onward:
            self._bring_ahead(place, span, window)
        return span

    def _bring_along(self, ino: int, place: ChunkPlace, span: Span) -> None:
        """Push what is here of a file's window, where the kernel's pages cannot be newer than the store's."""
        if not self._pushes:
            return
        self._references.mark_stored(ino)
        if self._tasks < _TASKS_MAX:
            self._push_beside(ino, place, span)

    def _end(self, place: ChunkPlace) -> int:
        """Return where the payloads of a shard may end."""
        end = self._ends.get(place.shard)
        if end is None:
            info = self._tree.chunks.shard(place.shard)
            if info is None or not info.size:  # not sealed yet
                return place.offset + place.stored
            if len(self._ends) >= _ENDS_MAX:
                self._ends.clear()
            end = self._ends[place.shard] = info.size
        return end

    def _bring(self, place: ChunkPlace, span: Span) -> None:
        """Start to fetch what of the window is not here."""
        if self._trips.covering(place) is not None or not self._keeps(span):
            return  # the fetcher goes along with that trip, or fetches the one chunk
        missing = self._trips.missing(place.shard, span)
        if missing is not None and missing.start <= place.offset and place.offset + place.stored <= missing.end:
            self._fetcher.bring_span(place.shard, missing, [place])

    def _bring_ahead(self, place: ChunkPlace, span: Span, window: int) -> None:
        """Fetch what lies behind the window of somebody who reads in order, half a window of it at least.

        It is not pushed: the first read in it shows that he has come so far, pushes the rest, and brings the next.
        """
        if self._cache.files.has(place.shard, span.end, window // 2):
            return
        end = self._end(place)
        missing = self._trips.missing(place.shard, Span(span.end, min(span.end + window, end)))
        if missing is None or (missing.length < window // 2 and missing.end < end):
            return
        if self._keeps(missing) and self._trips.ahead_bytes + missing.length <= self._limits.ahead_bytes:
            self._fetcher.bring_span(place.shard, missing, [], ahead=True)

    def _keeps(self, span: Span) -> bool:
        """Whether there is room on the disk for what nobody has asked for."""
        return self._cache.free_bytes >= self._limits.spare_bytes + span.length

    def _push_beside(self, ino: int, place: ChunkPlace, span: Span) -> None:
        """Give the kernel those files of the window that it knows by name and has not read yet."""
        reach = _NUMBERS_PER_FILE * span.length // place.stored
        reach = min(max(reach, _REACH_MIN), _REACH_MAX)
        fresh = self._references.fresh(ino - reach, ino + reach)
        if len(fresh) < _WORTH_FILES:  # whoever opens files by name only, the kernel hears of each too late
            return
        found = self._tree.extents.whole_files(fresh[0], fresh[-1], place.shard, span.start, span.end)
        wanted = set(fresh) - {ino}
        here = [
            file
            for file in found
            if file.ino in wanted and self._cache.files.has(place.shard, file.place.offset, file.place.stored)
        ]
        files = _up_to(here, self._limits.window_most_bytes)
        if not files:
            return
        for file in files:
            self._references.mark_stored(file.ino)
        path = self._cache.file_of(files[0].place)
        assert path is not None
        self._tasks += 1
        self._nursery.start_soon(self._push, path, files)

    async def _push(self, path: Path, files: list[WholeFile]) -> None:
        try:
            contents = await self._offload.run(_read_all, path, files)
            pages = {
                file.ino: data
                for file, data in zip(files, contents, strict=True)
                if data is not None and self._is_unchanged(file)
            }
            # Queued in the same step as the check: what changes a file from here on comes behind it.
            if not self._kernel.store(pages):
                pages = {}
            for file in files:
                if file.ino not in pages:
                    self._references.unmark_stored(file.ino)
            self.pushed += len(pages)
            self.pushed_bytes += sum(map(len, pages.values()))
        except Exception:  # nobody waits for it, and reading does without
            log.exception("pushing files into the kernel's cache failed")
        finally:
            self._tasks -= 1

    def _is_unchanged(self, file: WholeFile) -> bool:
        """Whether a file is still what was read."""
        inode = self._tree.inodes.get(file.ino)
        return inode is not None and inode.cid == file.cid and inode.size == file.place.size


def _up_to(files: list[WholeFile], limit: int) -> list[WholeFile]:
    """Return the first files that hold ``limit`` bytes in all."""
    total = 0
    for index, file in enumerate(files):
        total += file.place.size
        if total > limit:
            return files[:index]
    return files


def _read_all(path: Path, files: list[WholeFile]) -> list[bytes | None]:
    """Read and check the contents of files that lie close together in one shard file. Runs in a thread."""
    start = min(file.place.offset for file in files)
    end = max(file.place.offset + file.place.stored for file in files)
    data = read_range(path, start, end - start)
    if data is None:
        return [None] * len(files)
    view = memoryview(data)
    outcomes = [outcome_of(view[file.place.offset - start :][: file.place.stored], file.place) for file in files]
    # Whoever reads a file that is damaged here will find out, and have it fetched again.
    return [one if isinstance(one, bytes) else None for one in outcomes]
