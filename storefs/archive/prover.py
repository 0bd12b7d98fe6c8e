"""Proving a shard: its header, its index, every payload, and every big file that it names."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice

import trio

from storefs.archive.contents import Contents, Found, blocks_in, is_proven, where
from storefs.archive.indexes import Indexes
from storefs.archive.lookup import Lookup
from storefs.archive.requests import Kind, Requests
from storefs.archive.routing import big_file_key
from storefs.archive.shards import Shard
from storefs.archive.windows import BATCH, payloads
from storefs.core.digest import digest_of
from storefs.errors import Corrupt, ObjectMissing
from storefs.ports import Offload
from storefs.shard.format import HEADER_BYTES, BigFileEntry, Entry, InlineEntry
from storefs.shard.index import parse_header

_Identity = tuple[str, str, int, bytes]
"""A big file, its store, and what is said of its size and its blocks."""


@dataclass(slots=True)
class Proof:
    """What was found in a shard, or in several.

    Attributes:
        files: entries that were read and are good.
        big_files: those of them that lie beside their shard.
        bytes: the content of all of them.
        unproven: those of them that have no digest of their own. A raw payload without one may be anything.
        faults: what is wrong, one line each, naming the shard and, where it is known, the uid.
    """

    files: int = 0
    big_files: int = 0
    bytes: int = 0
    unproven: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: "Proof") -> None:
        """Take in what was found elsewhere."""
        self.files += other.files
        self.big_files += other.big_files
        self.bytes += other.bytes
        self.unproven += other.unproven
        self.faults += other.faults


class Prover:
    """Reads shards in full, past every memory. A big file that many entries name is read once."""

    def __init__(self, requests: Requests, offload: Offload, n_bits: int) -> None:
        self._requests = requests
        self._offload = offload
        self._indexes = Indexes(requests, offload, n_bits, 0)
        self._contents = Contents(requests, offload)
        self._good: set[_Identity] = set()
        self._reading: defaultdict[_Identity, trio.Lock] = defaultdict(trio.Lock)

    async def index(self, shard: Shard) -> Lookup:
        """Return the index of a shard whose header is good too. Raises Corrupt, ObjectMissing, the store's errors."""
        header = await self._requests.range(shard.store, shard.key, 0, HEADER_BYTES, Kind.PAYLOAD)
        try:
            version = parse_header(header)
        except Corrupt as error:
            raise Corrupt(f"{shard.key}: {error}") from error
        lookup, _ = await self._indexes.load(shard)
        if lookup.version != version:
            raise Corrupt(f"{shard.key}: its header says version {version}, its index is of version {lookup.version}")
        return lookup

    async def shard(self, shard: Shard) -> Proof:
        """Return what is in a shard, and what is wrong with it. Raises ObjectMissing when it is gone, and the store's
        other errors.
        """
        proof = Proof()
        try:
            lookup = await self.index(shard)
        except Corrupt as error:
            proof.faults.append(str(error))
            return proof
        left = _good(lookup, proof.faults)
        while some := list(islice(left, BATCH)):
            await self._payloads(shard, some, proof)
            for entry in some:
                if isinstance(entry, BigFileEntry):
                    await self._big(Found(entry, shard), proof)
        return proof

    async def big(self, found: Found, entry: BigFileEntry) -> None:
        """Read a big file in full. Raises Corrupt for whatever is wrong with it, also that it is not there."""
        key = _identity(found, entry)
        lock = self._reading[key]
        try:
            async with lock:
                if key not in self._good:
                    await self._read_big(found, entry)
                    self._good.add(key)
        finally:
            if not lock.locked():
                self._reading.pop(key, None)

    async def _read_big(self, found: Found, entry: BigFileEntry) -> None:
        name = big_file_key(entry.sha256)
        try:
            size = (await found.shard.store.head(name)).size
            if size != entry.size:
                raise Corrupt(f"{where(found)}: {name} has {size} bytes, {entry.size} expected")
            hasher = hashlib.sha256()
            async with self._contents.pieces(found) as pieces:
                async for piece in pieces:
                    await self._offload.run(hasher.update, piece)
        except ObjectMissing as error:
            raise Corrupt(f"{where(found)}: {name} is not there") from error
        if hasher.hexdigest() != entry.sha256:
            raise Corrupt(f"{where(found)}: the content of {name} does not match its SHA-256")

    async def _payloads(self, shard: Shard, some: Iterable[Entry], proof: Proof) -> None:
        inline = [entry for entry in some if isinstance(entry, InlineEntry)]
        async with aclosing(payloads(self._requests, shard, inline)) as read:
            async for entry, payload in read:
                try:
                    await self._contents.decoded(payload, entry, shard.key)
                    proof.unproven += not is_proven(entry, shard.key)
                except Corrupt as error:
                    proof.faults.append(str(error))
                    continue
                proof.files += 1
                proof.bytes += entry.size

    async def _big(self, found: Found, proof: Proof) -> None:
        assert isinstance(found.entry, BigFileEntry)
        try:
            await self.big(found, found.entry)
            proof.unproven += not is_proven(found.entry, found.shard.key)
        except Corrupt as error:
            proof.faults.append(str(error))
            return
        proof.files += 1
        proof.big_files += 1
        proof.bytes += found.entry.size


def _identity(found: Found, entry: BigFileEntry) -> _Identity:
    blocks = blocks_in(entry, found.shard.key)
    said = b"" if blocks is None else digest_of(str(blocks.size).encode(), *blocks.digests)
    return found.shard.store.url, entry.sha256, entry.size, said


def _good(lookup: Lookup, faults: list[str]) -> Iterator[Entry]:
    """Yield the entries that can be read, and note what is wrong with the others."""
    for entry in lookup.each():
        if isinstance(entry, Corrupt):
            faults.append(str(entry))
        else:
            yield entry
