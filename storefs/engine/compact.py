"""Compacting: what is still needed of small and half-empty shards goes into full ones.

The old shards then hold nothing that the index points to; the sweep deletes them after its grace period, so that who
reads from one meanwhile is not disturbed.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from storefs.core.ranges import Span, coalesce
from storefs.engine.fetch import Fetcher
from storefs.engine.limits import Limits
from storefs.engine.shardlog import ShardLog
from storefs.model import ChunkId, ChunkPlace, ShardId
from storefs.ports import Offload
from storefs.tree import usage
from storefs.tree.tree import Tree
from storefs.tree.usage import ShardUsage

log = logging.getLogger(__name__)

_LIVE_MIN = 0.5
"""A shard of which files need less than this is worth rewriting."""

_SMALL = 0.25
"""A shard shorter than this part of a full one is small; several of them become one."""

_WORTH_SHARDS = 4
"""So few small shards are left alone: the next commit makes another one anyway."""


@dataclass(slots=True)
class Compacted:
    """What was, or is to be, rewritten: so many shards of so many bytes, of which ``live_bytes`` are kept."""

    shards: int = 0
    bytes: int = 0
    live_bytes: int = 0


class Compactor:
    """Compacts the shards of one store. Safe beside mounts that write, and to cut off anywhere."""

    def __init__(self, tree: Tree, fetcher: Fetcher, shards: ShardLog, offload: Offload, limits: Limits) -> None:
        self._tree = tree
        self._fetcher = fetcher
        self._shards = shards
        self._offload = offload
        self._limits = limits

    async def compact(
        self, *, dry_run: bool = False, progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> Compacted:
        """Rewrite what is worth it; the changes are to be committed. ``progress`` hears of bytes done and in all.

        Raises the store's errors, Corrupt, NoSpace; what was rewritten until then stays so.
        """
        usages = await self._offload.run(usage.shard_usages, self._tree.database.path)
        chosen = _worth_rewriting(usages, self._limits.shard_bytes)
        compacted = Compacted(len(chosen), sum(one.size for one in chosen), sum(one.live for one in chosen))
        if dry_run:
            return compacted
        done = 0
        needed = await self._offload.run(usage.needed_chunks, self._tree.database.path, {one.shard for one in chosen})
        for one in chosen:
            for batch in self._batches(one.shard, needed):
                await self._move(batch)
                done += sum(place.stored for place in batch)
                progress(done, compacted.live_bytes)
            self._forget(one.shard)
        return compacted

    async def secure_held(self) -> None:
        """Write chunks that something pending shares with the store into a shard of our own.

        After so long the store's copy may be gone; this machine kept one for the case.
        """
        chunks = [ChunkId(chunk) for chunk in sorted(self._tree.shards.held())]
        for chunk in chunks:
            place = self._tree.chunks.place(chunk)
            if place is not None:
                await self._move([place])

    def _batches(self, shard: ShardId, needed: set[ChunkId]) -> list[list[ChunkPlace]]:
        """Return what is needed of a shard, in pieces that fit into memory."""
        places = [place for place in self._tree.chunks.in_shard(shard) if place.chunk in needed]
        spans = coalesce(
            [Span(place.offset, place.offset + place.stored) for place in places],
            self._limits.fetch_gap_bytes,
            self._limits.fetch_bytes,
        )
        return [[place for place in places if span.start <= place.offset < span.end] for span in spans]

    async def _move(self, places: list[ChunkPlace]) -> None:
        """Append chunks to the open shard, and let the index point there."""
        self._fetcher.bring([place.chunk for place in places])
        contents = [(place.chunk, memoryview(await self._fetcher.get(place.chunk))) for place in places]
        new = await self._shards.append(contents)
        with self._tree.pending.recorded():
            for old, place in zip(places, new, strict=True):
                self._tree.chunks.move(old, place)

    def _forget(self, shard: ShardId) -> None:
        """Take a shard out of the tree if nothing points to it any more."""
        with self._tree.pending.recorded():
            self._tree.chunks.remove_if_empty(shard)


def _worth_rewriting(usages: list[ShardUsage], shard_bytes: int) -> list[ShardUsage]:
    sparse = [one for one in usages if one.live < _LIVE_MIN * one.size]
    small = [one for one in usages if one.live >= _LIVE_MIN * one.size and one.size < _SMALL * shard_bytes]
    return sparse + (small if len(small) >= _WORTH_SHARDS else [])
