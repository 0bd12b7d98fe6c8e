"""The shard being written: chunks are appended, full shards are sealed."""

from datetime import UTC, datetime

import trio

from storefs.cache.shards import ShardFiles
from storefs.engine.limits import Limits
from storefs.engine.wakeup import Wakeup
from storefs.model import ChunkId, ChunkPlace, ShardId, ShardInfo
from storefs.ports import Chance, Clock, Offload
from storefs.shard import codec
from storefs.shard.writer import ShardWriter
from storefs.tree.tree import Tree

_INLINE_BYTES = 64 << 10
"""Up to here encoding takes less than handing it to a thread would."""


class ShardLog:
    """Appends chunks to the open shard of this mount."""

    def __init__(
        self,
        tree: Tree,
        files: ShardFiles,
        offload: Offload,
        clock: Clock,
        chance: Chance,
        limits: Limits,
        sealed: Wakeup,
    ) -> None:
        """``sealed`` is rung when a shard is full: there is something to upload."""
        self._tree = tree
        self._files = files
        self._offload = offload
        self._clock = clock
        self._chance = chance
        self._limits = limits
        self._sealed = sealed
        self._open: tuple[ShardInfo, ShardWriter] | None = None
        self._lock = trio.Lock()

    async def append(self, chunks: list[tuple[ChunkId, memoryview]]) -> list[ChunkPlace]:
        """Store new chunks in local shards; return where. They survive the death of the process from here on.

        The places are not in the chunk index yet: that belongs into the transaction that names the chunks.
        Raises NoSpace.
        """
        places: list[ChunkPlace] = []
        async with self._lock:
            at = 0
            while at < len(chunks):
                if self._open is not None and self._open[1].end >= self._limits.shard_bytes:
                    self._seal()
                    self._sealed.ring()
                info, writer = self._open or self._begin()
                room = max(1, self._limits.shard_bytes - writer.end)
                batch = _up_to(chunks, at, room)
                total = sum(len(data) for _, data in batch)
                if total <= _INLINE_BYTES:
                    stored = _append(info.shard, writer, batch)
                else:
                    stored = await self._offload.run(_append, info.shard, writer, batch)
                self._files.extend(info.shard, writer.end)
                places += stored
                at += len(batch)
        return places

    async def seal(self) -> None:
        """Complete the open shard, if there is one with chunks in it."""
        async with self._lock:
            self._seal()

    def adopt(self, info: ShardInfo, writer: ShardWriter) -> None:
        """Seal a shard that a previous process left open."""
        assert self._open is None
        self._open = (info, writer)
        self._seal()

    def _begin(self) -> tuple[ShardInfo, ShardWriter]:
        day = int(datetime.fromtimestamp(self._clock.now_ns() // 1_000_000_000, UTC).strftime("%Y%m%d"))
        info = ShardInfo(ShardId(self._chance.token(16)), day, 0)
        writer = ShardWriter.create(self._files.path(info.shard))
        pending = self._tree.pending
        with pending.recorded():
            self._tree.chunks.insert_shard(info)
            self._tree.shards.insert(info.shard, info.day, pending.last + 1)
        self._open = (info, writer)
        return self._open

    def _seal(self) -> None:
        if self._open is None:
            return
        info, writer = self._open
        # Not made durable here: the store's copy is what a commit vouches for.
        size = writer.seal(durable=False)
        writer.close()
        pending = self._tree.pending
        with pending.recorded():
            self._tree.chunks.set_shard_size(info.shard, size)
            self._tree.shards.set_sealed(info.shard, pending.last + 1)
        self._files.note(info.shard, 0, size)
        self._open = None


def _up_to(chunks: list[tuple[ChunkId, memoryview]], at: int, room: int) -> list[tuple[ChunkId, memoryview]]:
    """Return the chunks from index ``at`` on whose plain bytes fill ``room``: one at least."""
    total = 0
    for index in range(at, len(chunks)):
        if total >= room:
            return chunks[at:index]
        total += len(chunks[index][1])
    return chunks[at:]


def _append(shard: ShardId, writer: ShardWriter, batch: list[tuple[ChunkId, memoryview]]) -> list[ChunkPlace]:
    places = []
    for chunk, data in batch:
        kind, payload = codec.encode(data)
        offset = writer.append(chunk.hex(), payload, kind, len(data))
        places.append(ChunkPlace(chunk, shard, offset, len(payload), kind, len(data)))
    return places
