"""The one hash of storefs: BLAKE3-256. Beside it, a fast check for bytes that were proven by it before."""

from array import array

import xxhash
from blake3 import blake3

from storefs.model import CHUNK_ID_BYTES, ChunkId

_THREADS_FROM_BYTES = 4 << 20
"""Below this length more threads cost more than they save."""


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the BLAKE3-256 digest of ``data`` (32 bytes)."""
    threads = blake3.AUTO if len(data) >= _THREADS_FROM_BYTES else 1
    return blake3(data, max_threads=threads).digest()


def digest_of(*parts: bytes | bytearray | memoryview) -> bytes:
    """Return the BLAKE3-256 digest of the parts one after another (32 bytes), without joining them."""
    hasher = blake3()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def chunk_id(data: bytes | bytearray | memoryview) -> ChunkId:
    """Return the name of the chunk whose plain content is ``data``."""
    name = digest(data)
    assert len(name) == CHUNK_ID_BYTES
    return ChunkId(name)


def quick_check(*parts: bytes | bytearray | memoryview) -> bytes:
    """Return 8 bytes (XXH3, big-endian) that tell whole parts from torn ones. They prove nothing against malice."""
    hasher = xxhash.xxh3_64()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


CHECKED_BYTES = 8 << 10
"""The length of the blocks that ``block_checks`` tells apart."""


def block_checks(data: bytes | bytearray | memoryview) -> "array[int]":
    """Return a number of 64 bits (XXH3) for each block of ``data``: enough to notice that a disk changed it since."""
    view, check = memoryview(data), xxhash.xxh3_64_intdigest
    return array("Q", [check(view[at : at + CHECKED_BYTES]) for at in range(0, len(view), CHECKED_BYTES)])
