"""Contents of files: payloads and big files, fetched, decoded, and held against their digests."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from storefs.archive import proof
from storefs.archive.ahead import Call, in_order
from storefs.archive.indexes import Tail
from storefs.archive.proof import Blocks
from storefs.archive.requests import Kind, Requests
from storefs.archive.routing import big_file_key
from storefs.archive.shards import Shard
from storefs.core.digest import digest
from storefs.errors import Corrupt, cause_of
from storefs.model import Buffer, Codec
from storefs.ports import Offload
from storefs.shard.format import BigFileEntry, Entry, InlineEntry
from storefs.shard.reader import decode_entry

PIECE_BYTES = 4 << 20
"""How much of a big file without digests of blocks is asked for at once."""

_AHEAD = 4
_AHEAD_BYTES = 16 << 20
"""How much of a big file is on its way at a time, as that many ranges at most: one by one they would mostly wait."""

_LONG_BYTES = 256 << 10
"""Content above that is decoded and digested in a thread."""

Write = Callable[[bytes], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was found: its entry, the shard that has it, and the shard's end if that is just at hand."""

    entry: Entry
    shard: Shard
    tail: Tail | None = None


class Contents:
    """Reads what entries stand for."""

    def __init__(self, requests: Requests, offload: Offload) -> None:
        self._requests = requests
        self._offload = offload

    async def whole(self, found: Found) -> bytes:
        """Return a file's content. Raises Corrupt, ObjectMissing when shard or big file is gone, the store's errors."""
        entry = found.entry
        if isinstance(entry, BigFileEntry):
            content = bytearray()
            async with self.pieces(found) as pieces:
                async for piece in pieces:
                    content += piece
            return bytes(content)
        return await self.decoded(await self._payload(found, entry, 0, entry.stored), entry, found.shard.key)

    async def part(self, found: Found, start: int, end: int) -> bytes:
        """Return the bytes ``start`` to ``end`` of a file, which has that many. Raises as ``whole`` does."""
        entry = found.entry
        if isinstance(entry, BigFileEntry):
            return await self._big_part(found, entry, start, end)
        if entry.codec is Codec.NONE and _inline_digest(entry, found.shard.key) is None:
            part = await self._payload(found, entry, start, end - start)
            _check_length(part, end - start, found)
            return part
        return (await self.whole(found))[start:end]

    @asynccontextmanager
    async def pieces(self, found: Found) -> AsyncIterator[AsyncIterator[bytes]]:
        """Hand out a file's content piece by piece: proven one by one where it has digests of blocks.

        A big file without is proven as a whole: what was handed out is good once the end is reached. Of a big file
        some 16 MiB are on their way at a time. Raises as ``whole`` does.
        """
        entry = found.entry
        try:
            if isinstance(entry, BigFileEntry):
                blocks = blocks_in(entry, found.shard.key)
                size = PIECE_BYTES if blocks is None else blocks.size
                at_once = max(min(_AHEAD, _AHEAD_BYTES // size), 1)
                async with in_order(self._calls(found, entry, blocks), at_once) as pieces:
                    checked = _hashed(pieces, found, entry, self._offload) if blocks is None else _as_they_are(pieces)
                    async with aclosing(checked) as proven:
                        yield proven
            else:
                async with aclosing(self._single(found)) as single:
                    yield single
        except BaseExceptionGroup as error:
            raise cause_of(error) from None

    async def _single(self, found: Found) -> AsyncGenerator[bytes, None]:
        yield await self.whole(found)

    def _calls(self, found: Found, entry: BigFileEntry, blocks: Blocks | None) -> Iterator[Call[bytes]]:
        """Yield the calls that fetch a big file, one after another."""
        if blocks is not None:
            for number in range(len(blocks.digests)):
                yield partial(self._block, found, entry, blocks, number)
            return
        for start in range(0, entry.size, PIECE_BYTES):
            yield partial(self._big, found, entry, start, min(PIECE_BYTES, entry.size - start))

    async def decoded(self, payload: Buffer, entry: InlineEntry, label: str) -> bytes:
        """Return the content of a payload. Raises Corrupt."""
        if max(entry.size, len(payload)) <= _LONG_BYTES:
            return content_of(payload, entry, label)
        return await self._offload.run(content_of, payload, entry, label)

    async def _payload(self, found: Found, entry: InlineEntry, start: int, length: int) -> bytes:
        if length == 0:
            return b""
        start += entry.offset
        at_hand = found.tail.part(start, length) if found.tail is not None else None
        if at_hand is not None:
            return at_hand
        return await self._requests.range(found.shard.store, found.shard.key, start, length, Kind.PAYLOAD)

    async def _big_part(self, found: Found, entry: BigFileEntry, start: int, end: int) -> bytes:
        blocks = blocks_in(entry, found.shard.key)
        if blocks is None:
            return await self._big(found, entry, start, end - start) if start < end else b""
        part = bytearray()
        for number in range(start // blocks.size, -(-end // blocks.size)) if start < end else ():
            at = number * blocks.size
            part += (await self._block(found, entry, blocks, number))[max(start - at, 0) : end - at]
        return bytes(part)

    async def _block(self, found: Found, entry: BigFileEntry, blocks: Blocks, number: int) -> bytes:
        start = number * blocks.size
        block = await self._big(found, entry, start, min(blocks.size, entry.size - start))
        if await self._offload.run(digest, block) != blocks.digests[number]:
            raise Corrupt(
                f"{where(found)}: block {number} of {big_file_key(entry.sha256)} at {start} does not match its digest"
            )
        return block

    async def _big(self, found: Found, entry: BigFileEntry, start: int, length: int) -> bytes:
        data = await self._requests.range(found.shard.store, big_file_key(entry.sha256), start, length, Kind.BIG_FILE)
        _check_length(data, length, found)
        return data


async def _hashed(
    pieces: AsyncIterator[bytes], found: Found, entry: BigFileEntry, offload: Offload
) -> AsyncGenerator[bytes, None]:
    """Pass the pieces on. Raises Corrupt at the end unless they are what the SHA-256 says."""
    hasher = hashlib.sha256()
    async for piece in pieces:
        await offload.run(hasher.update, piece)
        yield piece
    if hasher.hexdigest() != entry.sha256:
        raise Corrupt(f"{where(found)}: the content of {big_file_key(entry.sha256)} does not match its SHA-256")


async def _as_they_are(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for piece in pieces:
        yield piece


def content_of(payload: Buffer, entry: InlineEntry, label: str) -> bytes:
    """Return the content of a payload, held against its digest if it has one. Raises Corrupt, naming the shard
    ``label`` and the entry.
    """
    _inline_digest(entry, label)
    content = decode_entry(payload, entry, label)
    proof.check(entry, content, label)
    return content


def is_proven(entry: Entry, label: str) -> bool:
    """Whether an entry has a digest of its content (of a big file: of its blocks). Raises Corrupt."""
    found = blocks_in(entry, label) if isinstance(entry, BigFileEntry) else _inline_digest(entry, label)
    return found is not None


def where(found: Found) -> str:
    """Return shard and entry, for messages."""
    return f"{found.shard.key}, entry {found.entry.name}"


def _inline_digest(entry: InlineEntry, label: str) -> bytes | None:
    try:
        return proof.digest_of(entry)
    except Corrupt as error:
        raise Corrupt(f"{label}, {error}") from error


def blocks_in(entry: BigFileEntry, label: str) -> Blocks | None:
    """Return the digests of a big file's blocks, None if it has none. Raises Corrupt, naming the shard ``label``."""
    try:
        return proof.blocks_of(entry)
    except Corrupt as error:
        raise Corrupt(f"{label}, {error}") from error


def _check_length(data: bytes, expected: int, found: Found) -> None:
    if len(data) != expected:
        raise Corrupt(f"{where(found)}: {len(data)} bytes came, {expected} expected")
