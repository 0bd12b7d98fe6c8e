"""Fetching: a chunk's plain content from memory, this disk or the store, each checked against its digest.

However many readers want a chunk, it is fetched once (one flight); neighbours of a shard come in one request.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from storefs.cache.blocks import BlockChecks
from storefs.cache.chunks import ChunkCache, DecodedChunks, read_payloads
from storefs.cache.direct import DirectIO
from storefs.core.ranges import Span, coalesce
from storefs.engine.limits import Limits
from storefs.engine.trips import Outcome, Trip, Trips, proven
from storefs.errors import Corrupt
from storefs.model import Buffer, ChunkId, ChunkPlace, Extent, ShardId
from storefs.ports import Offload
from storefs.shard.reader import check_content, decode_chunk
from storefs.tree.shards import ShardState
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_INLINE_BYTES = 128 << 10
"""Payloads up to here are read and decoded on the loop: handing them to a thread would take longer."""

_BLOCKS_BYTES = 256 << 10
"""Reads up to here are answered by blocks of a chunk, where these can be checked; longer ones by the whole chunk."""

_DISK_BYTES = (8 << 20) - (8 << 10)
"""How much one thread reads from the cache in one go: with what aligns it, the buffer of a direct read."""


@dataclass(slots=True)
class _Flight:
    """A chunk on its way: what arrived, or why it did not. With ``ahead`` nobody waited for it when it began."""

    ahead: bool = False
    landed: trio.Event = field(default_factory=trio.Event)
    outcome: Outcome | None = None


class Fetcher:
    """Chunks by their ids."""

    def __init__(
        self,
        tree: Tree,
        trips: Trips,
        cache: ChunkCache,
        decoded: DecodedChunks,
        offload: Offload,
        limits: Limits,
        nursery: trio.Nursery,
    ) -> None:
        self._tree = tree
        self._trips = trips
        self._cache = cache
        self._decoded = decoded
        self._blocks = cache.blocks
        self._offload = offload
        self._limits = limits
        self._nursery = nursery
        self._flights: dict[ChunkId, _Flight] = {}

    def now(self, chunk: ChunkId) -> Buffer | None:
        """Return a chunk's content if that needs neither the store nor a thread, else None."""
        data = self._decoded.get(chunk)
        if data is not None:
            return data
        place = self._tree.chunks.place(chunk)
        return self.near(place) if place is not None else None

    def part_now(self, extent: Extent, ahead: int) -> memoryview | None:
        """Return the bytes of an extent if that needs neither the store nor a thread, else None.

        ``ahead`` says how many bytes behind it will be wanted too: if many, reading a few blocks is no gain.
        """
        data = self._decoded.get(extent.chunk)
        if data is None:
            place = self._tree.chunks.place(extent.chunk)
            if place is None:
                return None
            data = self.near(place)
            if data is None and extent.length + ahead <= _BLOCKS_BYTES:
                return self._block(place, extent, ahead)
        if data is None:
            return None
        return memoryview(data)[extent.skip : extent.skip + extent.length]

    async def part(self, extent: Extent) -> memoryview:
        """Return the bytes of an extent; they go to the kernel now. Raises as ``get``."""
        data = await self.get(extent.chunk)
        self.note_read(extent)
        return memoryview(data)[extent.skip : extent.skip + extent.length]

    def copy(self, extent: Extent) -> bytes | None:
        """Return the bytes of an extent, apart from its chunk, if that is in memory, else None."""
        data = self._decoded.get(extent.chunk)
        if data is None:
            return None
        self.note_read(extent)
        return bytes(memoryview(data)[extent.skip : extent.skip + extent.length])

    def note_read(self, extent: Extent) -> None:
        """Take note that the bytes of an extent go to the kernel now."""
        self._decoded.note_read(extent.chunk, extent.length)

    def _block(self, place: ChunkPlace, extent: Extent, ahead: int) -> memoryview | None:
        try:
            return self._blocks.read(place, extent.skip, extent.skip + extent.length, ahead)
        except Corrupt as error:
            self._distrust(place, error)
            return None

    def near(self, place: ChunkPlace) -> bytes | None:
        """Return a small chunk's content from this disk, or None."""
        return self._from_disk(place) if place.stored <= _INLINE_BYTES and place.size <= 2 * _INLINE_BYTES else None

    async def get(self, chunk: ChunkId) -> Buffer:
        """Return a chunk's content. Raises StoreError and its kinds, Corrupt when no source has the right bytes."""
        while (data := self.now(chunk)) is None:
            self.bring([chunk])
            flight = self._flights.get(chunk)
            if flight is None:
                raise Corrupt(f"no shard holds the chunk {chunk.hex()}")
            await flight.landed.wait()
            if isinstance(flight.outcome, Buffer):
                return flight.outcome
            assert flight.outcome is not None
            # What is fetched ahead is given up after a few tries: this reader's own request has more patience.
            if not (flight.ahead and flight.outcome.retryable):
                raise flight.outcome
        return data

    def bring(self, chunks: Sequence[ChunkId], *, ahead: bool = False) -> None:
        """Start to bring chunks into memory (and the cache), those that are not there or on their way.

        ``ahead`` says that nobody waits for them yet.
        """
        near: dict[Path | None, list[ChunkPlace]] = {}
        remote: dict[ShardId, list[ChunkPlace]] = {}
        for chunk in dict.fromkeys(chunks):
            if chunk in self._flights or self._decoded.get(chunk) is not None:
                continue
            place = self._tree.chunks.place(chunk)
            if place is None:
                continue
            if self._cache.has(place):
                near.setdefault(self._cache.file_of(place), []).append(place)
            elif (trip := self._trips.covering(place)) is not None:
                self._nursery.start_soon(self._fly_along, trip, place, self._take_off(place))
            else:
                remote.setdefault(place.shard, []).append(place)
        for path, places in near.items():
            for group in _groups(places):
                self._nursery.start_soon(self._fly_from_disk, path, group, [self._take_off(place) for place in group])
        for span, inside in self._requests(remote):
            self.bring_span(inside[0].shard, span, inside, ahead=ahead)

    def bring_to_disk(self, chunks: Sequence[ChunkId]) -> None:
        """Start to bring chunks to this disk, those that are not here or on their way. Nobody waits for them yet.

        Whoever reads one meanwhile waits for it and has it from the disk; whatever goes wrong, he will find out.
        """
        remote: dict[ShardId, list[ChunkPlace]] = {}
        for chunk in dict.fromkeys(chunks):
            place = self._tree.chunks.place(chunk)
            if place is None or chunk in self._flights or self._cache.has(place) or self._trips.covering(place):
                continue
            remote.setdefault(place.shard, []).append(place)
        for span, inside in self._requests(remote):
            trip = self._trips.begin(inside[0].shard, span, ahead=True, to_disk=True)
            self._nursery.start_soon(self._trips.run, trip, inside)

    def _requests(self, remote: dict[ShardId, list[ChunkPlace]]) -> Iterator[tuple[Span, list[ChunkPlace]]]:
        """Yield the ranges to ask for, each with the chunks that are wanted of it."""
        for places in remote.values():
            spans = [Span(place.offset, place.offset + place.stored) for place in places]
            for span in coalesce(spans, self._limits.fetch_gap_bytes, self._limits.fetch_bytes):
                yield span, [place for place in places if span.start <= place.offset < span.end]

    def bring_span(self, shard: ShardId, span: Span, places: Sequence[ChunkPlace], *, ahead: bool = False) -> None:
        """Start to bring a range of a shard to this disk, and the chunks at ``places`` inside it into memory."""
        flights = [self._take_off(place, ahead=ahead) for place in places]
        self._nursery.start_soon(self._fly_from_store, self._trips.begin(shard, span, ahead=ahead), places, flights)

    def is_flying(self, chunk: ChunkId) -> bool:
        """Whether a chunk is on its way."""
        return chunk in self._flights

    def _take_off(self, place: ChunkPlace, *, ahead: bool = False) -> _Flight:
        flight = self._flights[place.chunk] = _Flight(ahead)
        return flight

    def _land(self, place: ChunkPlace, flight: _Flight, outcome: Outcome) -> None:
        flight.outcome = outcome
        del self._flights[place.chunk]
        # What the kernel takes in one piece is not asked for again soon.
        if isinstance(outcome, Buffer) and (place.size > _INLINE_BYTES or not self._cache.has(place)):
            self._decoded.put(place.chunk, outcome)
        flight.landed.set()

    def _from_disk(self, place: ChunkPlace) -> bytes | None:
        """Read a small chunk from the cache, on the loop."""
        payload = self._cache.payload(place)
        try:
            if payload is not None:
                return decode_chunk(payload, place)
            content = self._cache.content(place.chunk)
            if content is not None:
                check_content(content, place)
        except Corrupt as error:
            self._distrust(place, error)
            return None
        return content

    async def _fly_from_disk(self, path: Path | None, places: Sequence[ChunkPlace], flights: Sequence[_Flight]) -> None:
        """Read chunks from a shard file, or from the vault if ``path`` is None; from the store what is not there (any
        more) or damaged.
        """
        shard = places[0].shard
        life = self._cache.files.life(shard)
        try:
            if path is None:
                outcomes: list[Outcome | None] = [self._from_disk(place) for place in places]
            else:
                direct = self._cache.files.direct(shard)
                outcomes = await self._offload.run(_read_and_decode, path, places, direct, self._blocks)
        except Exception:  # the disk's fault or a defect: the store may still have them
            log.exception("reading from the cache failed")
            outcomes = [None] * len(places)
        for place, flight, outcome in zip(places, flights, outcomes, strict=True):
            # If it was removed meanwhile and came back, what was read was perhaps not in it any more, or not yet.
            if isinstance(outcome, Corrupt) and self._cache.files.is_same(shard, life):
                self._distrust(place, outcome)
            if isinstance(outcome, Buffer):
                self._land(place, flight, outcome)
            else:
                trip = self._trips.begin(place.shard, Span(place.offset, place.offset + place.stored))
                self._nursery.start_soon(self._fly_from_store, trip, [place], [flight])

    async def _fly_along(self, trip: Trip, place: ChunkPlace, flight: _Flight) -> None:
        """Wait for a trip that somebody else began; what it brings is on the disk then."""
        await trip.landed.wait()
        await self._fly_from_disk(self._cache.file_of(place), [place], [flight])

    async def _fly_from_store(self, trip: Trip, places: Sequence[ChunkPlace], flights: Sequence[_Flight]) -> None:
        outcomes = await self._trips.run(trip, places)
        for place, flight, outcome in zip(places, flights, outcomes, strict=True):
            self._land(place, flight, outcome)

    def _distrust(self, place: ChunkPlace, error: Corrupt) -> None:
        """Drop a damaged copy, unless the store does not have the shard yet: then nothing may be thrown away."""
        log.error("cached bytes are damaged and are fetched again: %s", error)
        unsafe = {shard.shard for shard in self._tree.shards.dirty() if shard.state is not ShardState.UPLOADED}
        if place.shard not in unsafe:
            self._cache.drop(place)


def _groups(places: Sequence[ChunkPlace]) -> Iterator[list[ChunkPlace]]:
    """Divide chunks of a shard into what one thread reads in one go."""
    group: list[ChunkPlace] = []
    total = 0
    for place in places:
        if group and total + place.stored > _DISK_BYTES:
            yield group
            group, total = [], 0
        group.append(place)
        total += place.stored
    yield group


def _read_and_decode(
    path: Path, places: Sequence[ChunkPlace], direct: DirectIO | None, blocks: BlockChecks
) -> list[Outcome | None]:
    """Read chunks from their shard file: each one's content, what is wrong with it, or None if it is not there.

    One whose checks are known was proven by its digest before, and this disk is not a stranger: then they will do, at a
    tenth of the time.
    """
    outcomes: list[Outcome | None] = []
    for place, payload in zip(places, read_payloads(path, places, direct), strict=True):
        if payload is None or blocks.holds(place, payload):
            outcomes.append(payload)
        else:
            outcomes.append(proven(payload, place, blocks))
    return outcomes
