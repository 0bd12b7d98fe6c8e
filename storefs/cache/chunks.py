"""Chunks on this machine: decoded ones in memory, payloads in shard files, small ones in the vault."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from storefs.cache.blocks import BlockChecks
from storefs.cache.direct import DirectIO, open_direct
from storefs.cache.shards import ShardFiles
from storefs.model import Buffer, ChunkId, ChunkPlace
from storefs.vault.vault import Vault

_PREFIX = b"chunk:"

_TOGETHER_BYTES_MAX = 8 << 20
"""Payloads that lie within so many bytes are read in one go."""

_ENTRY_BYTES = 256
"""What an entry of a dictionary and its objects take besides the bytes themselves."""


class DecodedChunks:
    """Plain contents of the chunks used last, in memory, up to a number of bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._contents: OrderedDict[ChunkId, Buffer] = OrderedDict()
        self._unread: dict[ChunkId, int] = {}
        """How many bytes are left to be read, of those that were read in part."""
        self.bytes = 0

    def get(self, chunk: ChunkId) -> Buffer | None:
        """Return a chunk's plain content, or None."""
        data = self._contents.get(chunk)
        if data is not None:
            self._contents.move_to_end(chunk)
        return data

    def put(self, chunk: ChunkId, data: Buffer) -> None:
        """Keep a chunk's plain content; the longest unused leave."""
        if chunk in self._contents:
            return
        self._contents[chunk] = data
        self.bytes += len(data) + _ENTRY_BYTES
        while self.bytes > self._bytes_max and len(self._contents) > 1:
            self._drop(next(iter(self._contents)))

    def note_read(self, chunk: ChunkId, length: int) -> None:
        """Take note that so many bytes of a chunk were read.

        Once that were all, it leaves: the kernel has them now, and will hardly ask again. They are counted, for it does
        not ask in order.
        """
        data = self._contents.get(chunk)
        if data is None:
            return
        left = self._unread.get(chunk, len(data)) - length
        if left > 0:
            self._unread[chunk] = left
        else:
            self._drop(chunk)

    def shrink(self, length: int) -> None:
        """Let the longest unused leave, so many bytes or more of them."""
        goal = self.bytes - length
        while self._contents and self.bytes > goal:
            self._drop(next(iter(self._contents)))

    def _drop(self, chunk: ChunkId) -> None:
        self.bytes -= len(self._contents.pop(chunk)) + _ENTRY_BYTES
        self._unread.pop(chunk, None)


class ChunkCache:
    """What of the chunks is on this disk.

    A chunk's payload is in a shard file, or its plain content in the vault (small ones that came alone). Nothing is
    checked here: the caller holds every content against its digest.
    """

    def __init__(self, vault: Vault, files: ShardFiles) -> None:
        self._vault = vault
        self.files = files
        self.blocks = BlockChecks(files)

    @property
    def disk_bytes(self) -> int:
        """How many bytes are cached on disk."""
        return self._vault.bytes + self.files.bytes

    @property
    def free_bytes(self) -> int:
        """How many bytes the disk has left for the likes of this process."""
        disk = os.statvfs(self._vault.path)
        return disk.f_bavail * disk.f_frsize

    def has(self, place: ChunkPlace) -> bool:
        """Whether the chunk is here."""
        return self.files.has(place.shard, place.offset, place.stored) or self._vault.exists(_PREFIX + place.chunk)

    def payload(self, place: ChunkPlace) -> bytes | None:
        """Return the stored payload from a shard file, or None."""
        return self.files.read(place.shard, place.offset, place.stored)

    def file_of(self, place: ChunkPlace) -> Path | None:
        """Return the shard file that holds the payload, to be read by ``read_payloads`` in a thread; or None."""
        return self.files.path(place.shard) if self.files.touch(place.shard, place.offset, place.stored) else None

    def content(self, chunk: ChunkId) -> bytes | None:
        """Return the plain content from the vault, or None."""
        return self._vault.get(_PREFIX + chunk)

    def put_contents(self, contents: list[tuple[ChunkId, bytes]]) -> None:
        """Keep plain contents of small chunks in the vault. Raises NoSpace."""
        self._vault.put_many((_PREFIX + chunk, data) for chunk, data in contents)

    def drop(self, place: ChunkPlace) -> None:
        """Forget a chunk whose bytes here turned out wrong, and the shard file they came from."""
        self._vault.delete_many([_PREFIX + place.chunk])
        self.files.remove(place.shard)

    def evict(self, excess: int, held: set[bytes], kept: set[bytes]) -> int:
        """Free about ``excess`` bytes; return how many went.

        Chunks in ``held`` and shards in ``kept`` stay: their bytes may exist nowhere else. Chunks of the vault go
        before shard files of the same age, because they were wanted once and alone.
        """
        freed = 0
        alone: list[bytes] = []
        for key, size in self._vault.least_used(_PREFIX, 4096) if self._vault.bytes > self.files.bytes // 4 else []:
            if freed >= excess:
                break
            if key.removeprefix(_PREFIX) not in held:
                alone.append(key)
                freed += size
        if alone:
            self._vault.delete_many(alone)
        for shard, size in self.files.least_used():
            if freed >= excess:
                break
            if shard not in kept:
                self.files.remove(shard)
                freed += size
        return freed


def read_payloads(path: Path, places: Sequence[ChunkPlace], direct: DirectIO | None) -> list[Buffer | None]:
    """Read payloads from a shard file, in any thread, with ``direct`` past the page cache.

    None for each that is not there: the file was evicted meanwhile. Whoever keeps one of them keeps all in memory.
    """
    start = min(place.offset for place in places)
    end = max(place.offset + place.stored for place in places)
    try:
        if direct is None:
            return _read_ordinary(path, places, start, end)
        fd = open_direct(path)
    except FileNotFoundError:
        return [None] * len(places)
    try:
        together = direct.read(fd, start, end - start) if end - start <= _TOGETHER_BYTES_MAX else None
        if together is not None:
            return [together[place.offset - start :][: place.stored] for place in places]
        return [direct.read(fd, place.offset, place.stored) for place in places]
    finally:
        os.close(fd)


def _read_ordinary(path: Path, places: Sequence[ChunkPlace], start: int, end: int) -> list[Buffer | None]:
    with path.open("rb", buffering=0) as file:
        if end - start <= _TOGETHER_BYTES_MAX:  # the disk hears of all of them first, lest it pause in between
            os.posix_fadvise(file.fileno(), start, end - start, os.POSIX_FADV_WILLNEED)
        return [_pread(file.fileno(), place.offset, place.stored) for place in places]


def read_range(path: Path, offset: int, length: int) -> bytes | None:
    """Read bytes of a shard file, in any thread; None when the file was evicted meanwhile."""
    try:
        with path.open("rb", buffering=0) as file:
            return _pread(file.fileno(), offset, length)
    except FileNotFoundError:
        return None


def _pread(fd: int, offset: int, length: int) -> bytes | None:
    data = os.pread(fd, length, offset)
    return data if len(data) == length else None
