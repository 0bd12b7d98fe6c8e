"""Reading shards: a chunk's payload, a local file, or any entry of a remote shard with three range requests."""

import os
import struct
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Self

from storefs.core.digest import chunk_id
from storefs.errors import Corrupt, ObjectMissing
from storefs.model import Buffer, ChunkId, ChunkPlace, ShardId
from storefs.shard.codec import decode
from storefs.shard.format import FOOTER_BYTES, HEADER_BYTES, BigFileEntry, Entry, InlineEntry
from storefs.shard.index import parse_footer, parse_header, parse_index

Get = Callable[[int, int | None], Awaitable[bytes]]
"""Fetches (start, length) of one object, as ``ObjectStore.get`` with its key bound does: a negative start counts from
the end, with length None.
"""

_PLACE = struct.Struct("<QQ")


def decode_chunk(payload: Buffer, place: ChunkPlace) -> bytes:
    """Return the plain content of the chunk whose payload was read at ``place``, proven by its digest.

    Raises Corrupt, naming shard and chunk.
    """
    try:
        data = _decode_whole(payload, place)
    except Corrupt as error:
        raise Corrupt(f"{_where(place)}: {error}") from error
    check_content(data, place)
    return data


def check_content(data: Buffer, place: ChunkPlace) -> None:
    """Hold plain content against the name of its chunk. Raises Corrupt, naming shard and chunk.

    A chunk that is named by its place has nothing but its length that proves it.
    """
    if chunk_id(data) == place.chunk:
        return
    if len(data) != place.size or place.chunk != named_by_place(place.shard, place.offset, place.size):
        raise Corrupt(f"{_where(place)}: the content does not match its digest")


def named_by_place(shard: ShardId, offset: int, size: int) -> ChunkId:
    """Return the name of a chunk whose digest nobody knows: content that another program packed, without one.

    Nothing with a digest can be mistaken for it: that would take content whose BLAKE3 digest is this one.
    """
    return chunk_id(b"storefs chunk without a digest" + shard + _PLACE.pack(offset, size))


def decode_entry(payload: Buffer, entry: InlineEntry, label: str) -> bytes:
    """Return the content of an entry from its payload. ``label`` names the shard in errors. Raises Corrupt.

    A payload that is stored raw has nothing in the format that proves it: the name or the meta may.
    """
    try:
        return _decode_whole(payload, entry)
    except Corrupt as error:
        raise Corrupt(f"{label}, entry {entry.name} at {entry.offset}: {error}") from error


def find(entries: Iterable[Entry], name: str, label: str) -> Entry:
    """Return the entry of that name: the last one, should there be several. Raises ObjectMissing."""
    found = None
    for entry in entries:
        if entry.name == name:
            found = entry
    if found is None:
        raise ObjectMissing(f"{label} has no entry {name}")
    return found


def _decode_whole(payload: Buffer, place: ChunkPlace | InlineEntry) -> bytes:
    if len(payload) != place.stored:
        raise Corrupt(f"{len(payload)} bytes came, {place.stored} are stored")
    return decode(payload, place.codec, place.size)


def _where(place: ChunkPlace) -> str:
    return f"shard {place.shard.hex()}, chunk {place.chunk.hex()} at {place.offset}"


# --- remote -----------------------------------------------------------------------------------------------------------


async def read_index(get: Get, size: int | None = None, label: str = "shard") -> tuple[Entry, ...]:
    """Return the entries of a shard, with two requests: the footer, then the index.

    ``size`` is the shard's length, if known: the entries are then checked against it. Raises Corrupt, and what ``get``
    raises.
    """
    footer = await get(-FOOTER_BYTES, None)
    try:
        index_size = parse_footer(footer, size)
        tail_bytes = index_size + FOOTER_BYTES
        # The header is not worth a request of its own, and without the size the end is all that can be named.
        if size is None:
            tail = await get(-tail_bytes, None)
        else:
            tail = await get(size - tail_bytes, index_size) + footer
        return parse_index(_index_of(tail, footer, index_size), None, size)
    except Corrupt as error:
        raise Corrupt(f"{label}: {error}") from error


def _index_of(tail: bytes, footer: bytes, index_size: int) -> bytes:
    if len(tail) != index_size + FOOTER_BYTES or not tail.endswith(footer):
        raise Corrupt(f"index: {len(tail)} bytes came, {index_size + FOOTER_BYTES} expected up to the footer")
    return tail[:index_size]


async def read_entry(get: Get, name: str, size: int | None = None, label: str = "shard") -> bytes | BigFileEntry:
    """Return the content of one entry, with three requests (an empty payload needs no third); of a big file, its entry.

    Raises ObjectMissing when there is no such entry, Corrupt, and what ``get`` raises.
    """
    entry = find(await read_index(get, size, label), name, label)
    return entry if isinstance(entry, BigFileEntry) else await fetch_entry(get, entry, label)


async def fetch_entry(get: Get, entry: InlineEntry, label: str = "shard") -> bytes:
    """Return the content of an entry whose index was read before, with one request. Raises Corrupt."""
    payload = await get(entry.offset, entry.stored) if entry.stored else b""
    return decode_entry(payload, entry, label)


# --- local ------------------------------------------------------------------------------------------------------------


class ShardFile:
    """A sealed shard on the local disk, its index read and checked. Reading is safe from several threads.

    Attributes:
        path: the file.
        version: of its format, 1 or 2.
        entries: the index, in order.
    """

    def __init__(self, path: Path) -> None:
        """Open the shard. Raises Corrupt, FileNotFoundError."""
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.version, self.entries = self._load()
        except Corrupt as error:
            self.close()
            raise Corrupt(f"{path}: {error}") from error
        except BaseException:
            self.close()
            raise

    def find(self, name: str) -> Entry:
        """Return the entry of that name. Raises ObjectMissing."""
        return find(self.entries, name, str(self.path))

    def read(self, entry: InlineEntry) -> bytes:
        """Return the content of an entry. Raises Corrupt."""
        return decode_entry(self._read_at(entry.offset, entry.stored), entry, str(self.path))

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self) -> tuple[int, tuple[Entry, ...]]:
        size = os.fstat(self._fd).st_size
        version = parse_header(self._read_at(0, HEADER_BYTES))
        footer_at = max(size - FOOTER_BYTES, 0)
        index_size = parse_footer(self._read_at(footer_at, FOOTER_BYTES), size)
        index = self._read_at(footer_at - index_size, index_size)
        if len(index) != index_size:
            raise Corrupt(f"index: {len(index)} bytes came, {index_size} expected")
        return version, parse_index(index, version, size)

    def _read_at(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes, fewer only where the file ends (one read gives 2 GiB at most)."""
        data = os.pread(self._fd, length, offset)
        if len(data) in (0, length):
            return data
        parts = [data]
        while data and (got := sum(map(len, parts))) < length:
            data = os.pread(self._fd, length - got, offset + got)
            parts.append(data)
        return b"".join(parts)
