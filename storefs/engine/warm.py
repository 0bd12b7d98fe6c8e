"""Warming: a whole subtree is brought to this disk, before anybody reads it."""

from dataclasses import dataclass

import trio

from storefs.cache.chunks import ChunkCache
from storefs.core.ranges import Span, SpanSet, coalesce
from storefs.engine.limits import Limits
from storefs.engine.trips import Trips
from storefs.errors import NoSpace, StorefsError
from storefs.model import ShardId
from storefs.tree.tree import Tree

_PAGE_ENTRIES = 256


@dataclass(slots=True, eq=False)
class Progress:
    """How far a warming has come: files looked at, bytes brought of those that were not here.

    ``total`` is 0 until all files were looked at.
    """

    path: str
    files: int = 0
    bytes: int = 0
    total: int = 0


class Warmer:
    """Brings subtrees in."""

    def __init__(self, tree: Tree, trips: Trips, cache: ChunkCache, limits: Limits) -> None:
        self._tree = tree
        self._trips = trips
        self._cache = cache
        self._limits = limits
        self.running: list[Progress] = []
        """What is being warmed, the longest under way first."""

    async def warm(self, ino: int, path: str) -> Progress:
        """Bring what the file or directory ``ino`` holds to this disk, checked against its digests.

        ``path`` names it for people. Raises NoSpace before anything is fetched when the cache cannot hold it, and the
        store's errors; what has come stays.
        """
        progress = Progress(path)
        self.running.append(progress)
        try:
            missing = await self._missing(ino, progress)
            progress.total = sum(spans.total for spans in missing.values())
            self._check_room(path, progress.total)
            for shard, spans in missing.items():
                await self._bring(shard, spans, progress)
        finally:
            self.running.remove(progress)
        return progress

    async def _missing(self, ino: int, progress: Progress) -> dict[ShardId, SpanSet]:
        """Return what of the subtree's shards is not here: as ranges, for there may be millions of files."""
        missing: dict[ShardId, SpanSet] = {}
        inode = self._tree.inodes.get(ino)
        directories = [ino] if inode is not None and inode.is_directory else []
        if inode is not None and inode.is_regular:
            self._note(ino, missing)
            progress.files += 1
        while directories:
            directory, after = directories.pop(), 0
            while page := self._tree.dentries.page(directory, after, _PAGE_ENTRIES):
                for dentry, child in page:
                    if child.is_directory:
                        directories.append(dentry.ino)
                    elif child.is_regular:
                        self._note(dentry.ino, missing)
                        progress.files += 1
                after = page[-1][0].cookie
                await trio.lowlevel.checkpoint()
        return missing

    def _note(self, ino: int, missing: dict[ShardId, SpanSet]) -> None:
        for place in self._tree.extents.places(ino):
            if not self._cache.has(place):
                missing.setdefault(place.shard, SpanSet()).add(place.offset, place.offset + place.stored)

    def _check_room(self, path: str, total: int) -> None:
        room = min(self._limits.cache_bytes, self._cache.free_bytes - self._limits.spare_bytes)
        if total > room:
            raise NoSpace(f"{path} needs {total} bytes more in the cache, which has room for {max(0, room)}")

    async def _bring(self, shard: ShardId, missing: SpanSet, progress: Progress) -> None:
        failures: list[StorefsError] = []
        slots = trio.Semaphore(self._limits.parallel)

        async def bring(span: Span) -> None:
            try:
                places = self._tree.chunks.inside(shard, span.start, span.end)
                trip = self._trips.begin(shard, span)
                outcomes = await self._trips.run(trip, places)
                await trip.landed.wait()
                failures.extend(one for one in outcomes if isinstance(one, StorefsError))
                progress.bytes += span.length
            finally:
                slots.release()

        async with trio.open_nursery() as nursery:
            for span in self._requests(shard, missing):
                await slots.acquire()
                if failures:
                    break
                nursery.start_soon(bring, span)
        if failures:
            raise failures[0]

    def _requests(self, shard: ShardId, missing: SpanSet) -> list[Span]:
        """Cut what is missing of a shard into requests: between chunks, and not too long."""
        chunks = [
            Span(place.offset, place.offset + place.stored)
            for span in missing
            for place in self._tree.chunks.inside(shard, span.start, span.end)
        ]
        return coalesce(chunks, self._limits.fetch_gap_bytes, self._limits.fetch_bytes)
