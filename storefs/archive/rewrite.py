"""Rewriting a route: all files that count, proven one by one, into fresh shards on the local disk."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from storefs.archive import proof, seal
from storefs.archive.contents import Contents, Found, is_proven
from storefs.archive.prover import Prover
from storefs.archive.requests import Requests
from storefs.archive.walk import Layers, live
from storefs.archive.windows import BATCH, payloads
from storefs.core.digest import digest
from storefs.ports import Offload
from storefs.shard.format import VERSION_OLD, BigFileEntry, Entry, InlineEntry, pack_entry
from storefs.shard.writer import ShardWriter

_ROOM_PERCENT = 90
"""Shards count as spare if those files fit into fewer that are filled so far: else a route would be rewritten for
nothing, and again the next time.
"""


@dataclass(frozen=True, slots=True)
class Need:
    """Why a route is rewritten, or not.

    Attributes:
        files: the files that count.
        superseded: entries that no longer do.
        unproven: files without digests.
        old: shards of version 1.
        spare: shards that there would be less.
    """

    files: int
    superseded: int
    unproven: int
    old: int
    spare: int

    @property
    def is_any(self) -> bool:
        """Whether rewriting changes anything."""
        return bool(self.superseded or self.unproven or self.old or self.spare)


def need(layers: Layers, shard_bytes: int) -> Need:
    """Return why a route should be rewritten into shards of ``shard_bytes``. Raises Corrupt for a damaged entry."""
    files = unproven = filled = 0
    shards = 1
    for entry, label in _oldest_first(layers):
        files += 1
        unproven += not is_proven(entry, label)
        taken = _bytes_of(entry)
        if filled and (filled + taken) * 100 > shard_bytes * _ROOM_PERCENT:
            shards += 1
            filled = 0
        filled += taken
    every = sum(len(lookup) for _, lookup in layers)
    old = sum(lookup.version == VERSION_OLD for _, lookup in layers)
    return Need(files, every - files, unproven, old, max(len(layers) - shards, 0))


class Rewrite:
    """Writes the fresh shards of routes. ``folder`` is where they lie until they are uploaded."""

    def __init__(self, requests: Requests, offload: Offload, prover: Prover, folder: Path, shard_bytes: int) -> None:
        self._requests = requests
        self._offload = offload
        self._prover = prover
        self._contents = Contents(requests, offload)
        self._folder = folder
        self._shard_bytes = shard_bytes

    async def write(self, layers: Layers) -> AsyncGenerator[Path, None]:
        """Yield the fresh shards of a route one by one, sealed; each path is the caller's.

        Payloads are taken over as they are. Entries get the digests that they lack. Raises Corrupt, ObjectMissing when
        a shard went, NoSpace, UsageError for a meta that has no room for digests, and the store's errors.
        """
        writer: ShardWriter | None = None
        filled = made = 0
        try:
            async with aclosing(self._entries(layers)) as entries:
                async for entry, payload, meta in entries:
                    taken = _bytes_of(entry)
                    if writer is not None and filled + taken > self._shard_bytes:
                        yield await self._finish(writer)
                        writer = None
                    if writer is None:
                        name = f"{layers[0][0].name.route.prefix}{made}.des"
                        writer, filled, made = ShardWriter.create(self._folder / name), 0, made + 1
                    filled += taken
                    if isinstance(entry, BigFileEntry):
                        writer.note_big_file(entry.name, entry.sha256, entry.size, meta)
                    else:
                        await self._offload.run(writer.append, entry.name, payload, entry.codec, entry.size, meta)
            if writer is not None:
                yield await self._finish(writer)
                writer = None
        finally:
            if writer is not None:
                writer.close()
                writer.path.unlink(missing_ok=True)

    async def _finish(self, writer: ShardWriter) -> Path:
        # Not durable: what lies here is of no use after a crash.
        await self._offload.run(_seal, writer)
        return writer.path

    async def _entries(self, layers: Layers) -> AsyncGenerator[tuple[Entry, bytes, dict[str, Any]], None]:
        """Yield what counts, proven, with its payload and its meta, the oldest shard first."""
        for depth in reversed(range(len(layers))):
            shard = layers[depth][0]
            left = live(layers, depth)
            while some := list(islice(left, BATCH)):
                inline = [entry for entry in some if isinstance(entry, InlineEntry)]
                async with aclosing(payloads(self._requests, shard, inline)) as read:
                    async for entry, payload in read:
                        content = await self._contents.decoded(payload, entry, shard.key)
                        yield entry, bytes(payload), seal.without(entry.metadata) | proof.inline_meta(digest(content))
                for one in some:
                    if isinstance(one, BigFileEntry):
                        yield one, b"", await self._big_meta(Found(one, shard), one)

    async def _big_meta(self, found: Found, entry: BigFileEntry) -> dict[str, Any]:
        await self._prover.big(found, entry)
        meta = seal.without(entry.metadata)
        if is_proven(entry, found.shard.key):
            return meta
        size = proof.block_bytes(entry.size)
        digests = []
        for start in range(0, entry.size, size):
            # Proven a moment ago; read again so that no more than a block is in memory.
            block = await self._contents.part(found, start, min(start + size, entry.size))
            digests.append(await self._offload.run(digest, block))
        return meta | proof.blocks_meta(size, digests)


def _seal(writer: ShardWriter) -> int:
    return seal.finish(writer, durable=False)


def _oldest_first(layers: Layers) -> Iterator[tuple[Entry, str]]:
    for depth in reversed(range(len(layers))):
        label = layers[depth][0].key
        for entry in live(layers, depth):
            yield entry, label


def _bytes_of(entry: Entry) -> int:
    """Return what an entry takes in a shard, as it is now."""
    return len(pack_entry(entry)) + (entry.stored if isinstance(entry, InlineEntry) else 0)
