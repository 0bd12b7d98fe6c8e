"""Fetching: a chunk's plain content from memory, this disk or the store, each checked against its digest.

However many readers want a chunk, it is fetched once (one flight); neighbours of a shard come in one request.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from storefs.cache.chunks import ChunkCache, DecodedChunks, read_payload
from storefs.core import keys
from storefs.core.ranges import Span, coalesce
from storefs.engine.limits import Limits
from storefs.errors import Corrupt, NoSpace, ObjectMissing, StorefsError
from storefs.model import ChunkId, ChunkPlace, ShardId
from storefs.ports import ObjectStore, Offload
from storefs.shard.reader import decode_chunk
from storefs.tree.shards import ShardState
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_INLINE_BYTES = 128 << 10
"""Payloads up to here are read and decoded on the loop: handing them to a thread would take longer."""


@dataclass(slots=True)
class _Flight:
    """A chunk on its way: what arrived, or why it did not."""

    landed: trio.Event = field(default_factory=trio.Event)
    data: bytes | None = None
    error: Exception | None = None


class Fetcher:
    """Chunks by their ids."""

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
        self._flights: dict[ChunkId, _Flight] = {}
        self._requests = trio.Semaphore(limits.parallel)

    def now(self, chunk: ChunkId) -> bytes | None:
        """Return a chunk's content if that needs neither the store nor a thread, else None."""
        data = self._decoded.get(chunk)
        if data is not None:
            return data
        place = self._tree.chunks.place(chunk)
        if place is None:
            return None
        return self._from_disk(place) if place.stored <= _INLINE_BYTES and place.size <= 2 * _INLINE_BYTES else None

    async def get(self, chunk: ChunkId) -> bytes:
        """Return a chunk's content. Raises StoreError and its kinds, Corrupt when no source has the right bytes."""
        data = self.now(chunk)
        if data is not None:
            return data
        self.bring([chunk])
        flight = self._flights.get(chunk)
        if flight is None:
            raise Corrupt(f"no shard holds the chunk {chunk.hex()}")
        await flight.landed.wait()
        if flight.error is not None:
            raise flight.error
        assert flight.data is not None
        return flight.data

    def bring(self, chunks: Sequence[ChunkId]) -> None:
        """Start to bring chunks into memory (and the cache), those that are not there or on their way."""
        remote: dict[ShardId, list[ChunkPlace]] = {}
        for chunk in dict.fromkeys(chunks):
            if chunk in self._flights or self._decoded.get(chunk) is not None:
                continue
            place = self._tree.chunks.place(chunk)
            if place is None:
                continue
            self._flights[chunk] = _Flight()
            if self._cache.has(place):
                self._nursery.start_soon(self._fly_from_disk, place)
            else:
                remote.setdefault(place.shard, []).append(place)
        for shard, places in remote.items():
            spans = [Span(place.offset, place.offset + place.stored) for place in places]
            for span in coalesce(spans, self._limits.fetch_gap_bytes, self._limits.fetch_bytes):
                inside = [place for place in places if span.start <= place.offset < span.end]
                self._nursery.start_soon(self._fly_from_store, shard, span, inside)

    def _land(self, chunk: ChunkId) -> None:
        flight = self._flights.pop(chunk)
        if flight.data is not None:
            self._decoded.put(chunk, flight.data)
        flight.landed.set()

    def _from_disk(self, place: ChunkPlace) -> bytes | None:
        """Read a small chunk from the cache, on the loop."""
        payload = self._cache.payload(place)
        try:
            if payload is not None:
                data = decode_chunk(payload, place)
            else:
                content = self._cache.content(place.chunk)
                if content is None:
                    return None
                data = decode_chunk(content, _plain(place))
        except Corrupt as error:
            self._distrust(place, error)
            return None
        self._decoded.put(place.chunk, data)
        return data

    async def _fly_from_disk(self, place: ChunkPlace) -> None:
        flight = self._flights[place.chunk]
        path = self._cache.file_of(place)
        try:
            if path is None:
                flight.data = self._from_disk(place)
            else:
                flight.data = await self._offload.run(_read_and_decode, path, place)
        except Corrupt as error:
            self._distrust(place, error)
        except Exception as error:
            flight.error = error
            self._land(place.chunk)
            return
        if flight.data is None:
            await self._fly_from_store(place.shard, Span(place.offset, place.offset + place.stored), [place])
        else:
            self._land(place.chunk)

    def _distrust(self, place: ChunkPlace, error: Corrupt) -> None:
        """Drop a damaged copy, unless the store does not have the shard yet: then nothing may be thrown away."""
        log.error("cached bytes are damaged and are fetched again: %s", error)
        unsafe = {shard.shard for shard in self._tree.shards.dirty() if shard.state is not ShardState.UPLOADED}
        if place.shard not in unsafe:
            self._cache.drop(place)

    async def _fly_from_store(self, shard: ShardId, span: Span, places: list[ChunkPlace]) -> None:
        flights = [self._flights[place.chunk] for place in places]
        try:
            contents = await self._fetch(shard, span, places)
        except StorefsError as error:
            contents = [error] * len(places)
        except Exception as error:  # a defect, but readers must not wait for ever for it
            log.exception("fetching from shard %s failed", shard.hex())
            contents = [Corrupt(f"fetching from shard {shard.hex()} failed: {error!r}")] * len(places)
        for place, flight, content in zip(places, flights, contents, strict=True):
            if isinstance(content, StorefsError):
                flight.error = content
            else:
                flight.data = content
            self._land(place.chunk)

    async def _fetch(self, shard: ShardId, span: Span, places: list[ChunkPlace]) -> list[bytes | StorefsError]:
        """Fetch a range of a shard, keep it, and return the chunks in it, or what is wrong with each."""
        info = self._tree.chunks.shard(shard)
        if info is None:
            raise Corrupt(f"the tree does not know the shard {shard.hex()}")
        try:
            async with self._requests:
                data = await self._store.get(keys.shard(shard, info.day), span.start, span.length)
        except ObjectMissing as error:  # not ENOENT: the file is there
            raise Corrupt(f"the store has lost a shard: {error}") from error
        contents = await self._offload.run(_decode_all, data, span, places)
        self._keep(shard, span, data, places, contents)
        return contents

    def _keep(
        self, shard: ShardId, span: Span, data: bytes, places: list[ChunkPlace], contents: list[bytes | StorefsError]
    ) -> None:
        if self._cache.free_bytes < self._limits.spare_bytes + span.length:
            return
        good = [(one.chunk, plain) for one, plain in zip(places, contents, strict=True) if isinstance(plain, bytes)]
        try:
            if span.length <= self._limits.alone_bytes or len(good) < len(places):
                self._cache.put_contents(good)
            else:
                self._cache.files.write(shard, span.start, data)
        except NoSpace as error:
            log.warning("what was fetched is not kept: %s", error)


def _plain(place: ChunkPlace) -> ChunkPlace:
    """Return the place as if the plain content itself were the payload."""
    return ChunkPlace(place.chunk, place.shard, 0, place.size, type(place.codec).NONE, place.size)


def _read_and_decode(path: Path, place: ChunkPlace) -> bytes | None:
    payload = read_payload(path, place)
    return None if payload is None else decode_chunk(payload, place)


def _decode_all(data: bytes, span: Span, places: list[ChunkPlace]) -> list[bytes | StorefsError]:
    """Decode the chunks of a fetched range. One that is damaged does not take its neighbours with it."""
    if len(data) != span.length:
        raise Corrupt(f"shard {places[0].shard.hex()} ends early: {len(data)} of {span.length} bytes at {span.start}")
    view = memoryview(data)
    return [_decode_one(view[place.offset - span.start :][: place.stored], place) for place in places]


def _decode_one(payload: memoryview, place: ChunkPlace) -> bytes | StorefsError:
    try:
        return decode_chunk(payload, place)
    except Corrupt as error:
        return error
