"""The nouns, frozen: what the floors above hand to each other."""

import stat
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, NewType

ChunkId = NewType("ChunkId", bytes)
"""The BLAKE3-256 digest (32 bytes) of a chunk's plain content."""

ShardId = NewType("ShardId", bytes)
"""16 random bytes that name a shard in its store."""

Buffer = bytes | bytearray | memoryview
"""Bytes in any dress; a view must be contiguous and of single bytes."""

ROOT_INO = 1
"""The inode number of a tree's root directory."""

CHUNK_ID_BYTES = 32
SHARD_ID_BYTES = 16

NAME_BYTES_MAX = 255
"""The longest name of a directory entry, in bytes (NAME_MAX)."""

FILE_BYTES_MAX = (1 << 63) - 1
"""The largest file size and offset, in bytes."""


class Codec(IntEnum):
    """How a chunk's payload is stored in a shard (the numbers are those of the DES format)."""

    NONE = 0
    ZSTD = 1
    LZ4 = 2


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object of the store as ``head`` and ``list_after`` describe it.

    Attributes:
        key: its name below the store's prefix.
        size: its length in bytes.
        tag: its version, opaque (an ETag); what ``put_if_match`` compares.
        modified_s: when it was written, in seconds since 1970.
    """

    key: str
    size: int
    tag: str
    modified_s: float


@dataclass(frozen=True, slots=True)
class Inode:
    """A file's identity and attributes, as the tree holds them. Times are ns since 1970.

    ``nlink`` is derived from the names that lead here; ``cid`` names the version of the content.
    """

    ino: int
    mode: int
    uid: int
    gid: int
    size: int
    cid: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    rdev: int
    nlink: int

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether this is a regular file."""
        return stat.S_ISREG(self.mode)


@dataclass(frozen=True, slots=True)
class Dentry:
    """A name in a directory. ``cookie`` is its place in a listing, unique and growing within the directory."""

    name: bytes
    ino: int
    cookie: int


class Extent(NamedTuple):
    """``length`` bytes of a file at ``offset``, which are the bytes from ``skip`` on of a chunk's plain content."""

    offset: int
    length: int
    chunk: ChunkId
    skip: int

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + self.length

    def between(self, start: int, end: int) -> "Extent":
        """Return the part of it that lies in ``start`` to ``end``: one byte at least."""
        offset, length, chunk, skip = self
        first = max(offset, start)
        return Extent(first, min(offset + length, end) - first, chunk, skip + first - offset)


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk's payload lies: ``stored`` bytes at ``offset`` of a shard, ``size`` bytes once decoded."""

    chunk: ChunkId
    shard: ShardId
    offset: int
    stored: int
    codec: Codec
    size: int


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """A shard of the tree: the day (YYYYMMDD, UTC) that is part of its key, and its length (0 while it is open)."""

    shard: ShardId
    day: int
    size: int
