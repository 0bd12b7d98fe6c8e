"""Trips: requests to the store for byte ranges of shards. What they bring is kept on this disk."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from storefs.cache.blocks import BlockChecks
from storefs.cache.chunks import ChunkCache, DecodedChunks
from storefs.core import keys
from storefs.core.ranges import Span
from storefs.engine.limits import Limits
from storefs.errors import Corrupt, NoSpace, ObjectMissing, StorefsError
from storefs.model import Buffer, ChunkPlace, Codec, ShardId
from storefs.ports import ObjectStore, Offload
from storefs.shard.reader import check_content, decode_chunk
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_PAUSE_S = 0.5
_ROOM_PAUSE_S = 0.01
_ROOM_TRIES = 30
"""How long memory for direct I/O is waited for. Other memory has no bound, and the kernel would clear it for each range
anew.
"""

_COPIED_BYTES = 128 << 10
"""A chunk up to this length is copied: it would keep all of a range in memory."""

Outcome = Buffer | StorefsError
"""A chunk's plain content, or what is wrong with it."""


@dataclass(slots=True, eq=False)
class Trip:
    """A range of a shard that is on its way: to somebody who waits for it or, ``ahead``, will; or to the disk only."""

    shard: ShardId
    span: Span
    ahead: bool
    to_disk: bool
    landed: trio.Event = field(default_factory=trio.Event)


class Trips:
    """All trips under way: no byte of a shard is asked for twice at a time.

    Attributes:
        requests, bytes: how many were made, and what they asked for in all.
        ahead_bytes: how much is on its way that nobody waits for.
    """

    def __init__(
        self,
        tree: Tree,
        store: ObjectStore,
        cache: ChunkCache,
        decoded: DecodedChunks,
        offload: Offload,
        limits: Limits,
        nursery: trio.Nursery,
    ) -> None:
        self._tree = tree
        self._store = store
        self._cache = cache
        self._decoded = decoded
        self._offload = offload
        self._limits = limits
        self._nursery = nursery
        self._slots = trio.Semaphore(limits.parallel)
        self._takers = {to_disk: trio.Lock() for to_disk in (False, True)}
        self._writers = {to_disk: trio.Semaphore(limits.direct_writers) for to_disk in (False, True)}
        self._under_way: dict[ShardId, list[Trip]] = {}
        self.requests = 0
        self.bytes = 0
        self.ahead_bytes = 0

    def covering(self, place: ChunkPlace) -> Trip | None:
        """Return the trip that brings a chunk, or None."""
        for trip in self._under_way.get(place.shard, ()):
            if trip.span.start <= place.offset and place.offset + place.stored <= trip.span.end:
                return trip
        return None

    def missing(self, shard: ShardId, span: Span) -> Span | None:
        """Return what of ``span`` has to be asked for: less what is here or on its way, at both of its ends."""
        start, end = span.start, span.end
        known = [*self._cache.files.parts(shard, span), *(trip.span for trip in self._under_way.get(shard, ()))]
        for one in sorted(known, key=lambda found: found.start):
            if one.start <= start < one.end:
                start = one.end
        for one in sorted(known, key=lambda found: -found.end):
            if one.start < end <= one.end:
                end = one.start
        return Span(start, end) if start < end else None

    def begin(self, shard: ShardId, span: Span, *, ahead: bool = False, to_disk: bool = False) -> Trip:
        """Note a trip, ``ahead`` if nobody waits for it; ``run`` has to follow."""
        trip = Trip(shard, span, ahead, to_disk)
        self.ahead_bytes += span.length if ahead else 0
        self._under_way.setdefault(shard, []).append(trip)
        return trip

    async def run(self, trip: Trip, places: Sequence[ChunkPlace]) -> list[Outcome]:
        """Make the request, and return the chunks at ``places``. Never raises StorefsError.

        What it brings is kept on the disk; that is done when the trip has landed, which may be a little later.
        """
        unwritten = None
        try:
            outcomes, unwritten = await self._fetch(trip, places)
        except StorefsError as error:
            outcomes = [error] * len(places)
        except Exception as error:  # a defect, but readers must not wait for ever for it
            log.exception("fetching from shard %s failed", trip.shard.hex())
            outcomes = [Corrupt(f"fetching from shard {trip.shard.hex()} failed: {error!r}")] * len(places)
        finally:
            if unwritten is None:
                self._end(trip)
        if unwritten is not None:
            self._nursery.start_soon(self._write, trip, unwritten)
        return outcomes

    def _end(self, trip: Trip) -> None:
        self.ahead_bytes -= trip.span.length if trip.ahead else 0
        self._under_way[trip.shard].remove(trip)
        if not self._under_way[trip.shard]:
            del self._under_way[trip.shard]
        trip.landed.set()

    async def _fetch(self, trip: Trip, places: Sequence[ChunkPlace]) -> tuple[list[Outcome], Buffer | None]:
        """Return the chunks, and what is still to be written of the range."""
        shard, span = trip.shard, trip.span
        info = self._tree.chunks.shard(shard)
        if info is None:
            raise Corrupt(f"the tree does not know the shard {shard.hex()}")
        large = any(place.size > self._limits.small_bytes for place in places)
        try:
            data = await self._get(keys.shard(shard, info.day), trip, large=large)
        except ObjectMissing as error:  # not ENOENT: the file is there
            raise Corrupt(f"the store has lost a shard: {error}") from error
        if len(data) != span.length:
            raise Corrupt(f"shard {shard.hex()} ends early: {len(data)} of {span.length} bytes at {span.start}")
        keep = self._cache.free_bytes >= self._limits.spare_bytes + span.length
        # What comes along would be lost in the vault, which knows chunks only: a small shard would come for each file.
        alone = span.length <= self._limits.alone_bytes and sum(place.stored for place in places) == span.length
        direct = keep and isinstance(data, memoryview) and await self._may_write(trip)
        life = self._cache.files.life(shard)
        try:
            work = (trip, data, places, keep and not alone and not direct)
            outcomes, kept = await self._offload.run(self._take_in, *work)
        except BaseException:
            if direct:
                self._writers[trip.to_disk].release()
            raise
        if direct and not any(isinstance(one, StorefsError) for one in outcomes):
            return outcomes, data
        if direct:
            self._writers[trip.to_disk].release()
        if kept:
            self._cache.files.note(shard, span.start, span.end, life)
        elif keep and alone:
            self._keep_alone(places, outcomes)
        return outcomes, None

    async def _may_write(self, trip: Trip) -> bool:
        """Return whether a trip may write past the page cache, ``direct_writers`` of them at a time.

        All others leave it to the kernel, which writes later: readers do not wait for a slow disk. What goes to the
        disk only waits for its turn, apart from those.
        """
        writers = self._writers[trip.to_disk]
        if trip.to_disk:
            await writers.acquire()
            return True
        try:
            writers.acquire_nowait()
        except trio.WouldBlock:
            return False
        return True

    def _take_in(
        self, trip: Trip, data: Buffer, places: Sequence[ChunkPlace], write: bool
    ) -> tuple[list[Outcome], bool]:
        """Decode the chunks of a fetched range and write all of it to the disk, unless one is damaged. In a thread.

        One that is damaged does not take its neighbours with it. Return the chunks, and whether the range is kept.
        """
        start, view = trip.span.start, memoryview(data)
        parts = [view[place.offset - start :][: place.stored] for place in places]
        if isinstance(data, bytes):  # not in memory that has a bound: one chunk would keep all of it
            parts = [memoryview(bytes(part)) for part in parts]
        outcomes = [proven(part, place, self._cache.blocks) for part, place in zip(parts, places, strict=True)]
        if not write or any(isinstance(one, StorefsError) for one in outcomes):
            return outcomes, False
        try:
            self._cache.files.write(trip.shard, start, view)
        except StorefsError as error:
            log.warning("what was fetched is not kept: %s", error)
            return outcomes, False
        return outcomes, True

    async def _write(self, trip: Trip, data: Buffer) -> None:
        """Write a range past the page cache; nobody but the trip itself waits for it."""
        life = self._cache.files.life(trip.shard)
        try:
            await self._offload.run(self._write_direct, trip, data)
            self._cache.files.note(trip.shard, trip.span.start, trip.span.end, life)
        except StorefsError as error:
            log.warning("what was fetched is not kept: %s", error)
        except Exception:  # a defect, but the bytes were handed over
            log.exception("keeping a range of shard %s failed", trip.shard.hex())
        finally:
            self._writers[trip.to_disk].release()
            self._end(trip)

    def _write_direct(self, trip: Trip, data: Buffer) -> None:
        self._cache.files.write(trip.shard, trip.span.start, data, direct=True)

    async def _get(self, key: str, trip: Trip, *, large: bool) -> Buffer:
        """Return a trip's range of an object. What somebody waits for is asked for until ``store_deadline_s`` is over.

        A program that reads has nobody who tries again for it, unlike all others that need the store.
        """
        until_s = trio.current_time() + self._limits.store_deadline_s
        while True:
            try:
                return await self._ask(key, trip, large=large)
            except StorefsError as error:
                if not error.retryable or trip.ahead or trio.current_time() + _PAUSE_S > until_s:
                    raise
                log.debug("asking again for %s: %s", key, error)
            await trio.sleep(_PAUSE_S)

    async def _ask(self, key: str, trip: Trip, *, large: bool) -> Buffer:
        # New memory for each try: in that of one that was given up something may still be written.
        memory = await self._memory(trip) if large else None
        async with self._slots:
            start, length = trip.span.start, trip.span.length
            self.requests += 1
            self.bytes += length
            if memory is None:
                return await self._store.get(key, start, length)
            return memory[: await self._store.get_into(key, start, memory)]

    async def _memory(self, trip: Trip) -> memoryview | None:
        """Return memory for a range, or None: for a short one, or if none becomes free in time.

        One trip at a time waits. In the end what was fetched for readers makes room, what was unused for longest first.
        """
        start, length = trip.span.start, trip.span.length
        async with self._takers[trip.to_disk]:
            for number in range(_ROOM_TRIES):
                if not self._cache.files.lacks_memory(start, length):
                    break
                if number >= _ROOM_TRIES // 3 and not trip.to_disk:
                    self._decoded.shrink(length)
                await trio.sleep(_ROOM_PAUSE_S)
            return self._cache.files.memory(start, length)

    def _keep_alone(self, places: Sequence[ChunkPlace], outcomes: list[Outcome]) -> None:
        pairs = zip(places, outcomes, strict=True)
        good = [(place.chunk, bytes(one)) for place, one in pairs if not isinstance(one, StorefsError)]
        try:
            self._cache.put_contents(good)
        except NoSpace as error:
            log.warning("what was fetched is not kept: %s", error)


def proven(payload: Buffer, place: ChunkPlace, blocks: BlockChecks) -> Outcome:
    """Return the content of a payload, or what is wrong with it; in any thread.

    A long raw payload is its own content, not a copy; ``blocks`` notes it.
    """
    if place.codec is not Codec.NONE or place.size <= _COPIED_BYTES:
        return outcome_of(payload, place)
    try:
        check_content(payload, place)
    except Corrupt as error:
        return error
    blocks.note(place, payload)
    return payload


def outcome_of(payload: Buffer, place: ChunkPlace) -> bytes | StorefsError:
    """Return the content of a payload, as bytes of its own, or what is wrong with it. In any thread."""
    try:
        return decode_chunk(payload, place)
    except Corrupt as error:
        return error
