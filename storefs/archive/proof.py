"""Proofs: digests in the meta of an archive's entries, so that a flipped bit never becomes content.

The format has no place for digests; any reader of it passes over what it does not know in the meta. An inline entry
has ``{"blake3": hex}`` of its content. A big file has ``{"blake3_blocks": {"size": n, "digests": base64}}``: the
digests (32 bytes each) of its blocks of ``n`` bytes, one after another, so that a part of it can be read and proven by
itself.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from storefs.core.digest import digest
from storefs.errors import Corrupt
from storefs.model import CHUNK_ID_BYTES
from storefs.shard.format import BigFileEntry, InlineEntry

BLOCK_BYTES = 4 << 20
_BLOCKS_MAX = 1024
"""Blocks of a big file; those of a longer one are longer. It keeps the meta below 48 KiB."""

_DIGEST, _BLOCKS = "blake3", "blake3_blocks"
_ALONE = re.compile(rb'\{"blake3":"([0-9a-f]{64})"\}')
"""The meta of almost every entry: read without the cost of a parser."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How a big file proves itself: the digests of its blocks of ``size`` bytes; the last may be shorter."""

    size: int
    digests: tuple[bytes, ...]


def block_bytes(size: int) -> int:
    """Return how long the blocks of a big file of ``size`` bytes are."""
    length = BLOCK_BYTES
    while size > length * _BLOCKS_MAX:
        length *= 2
    return length


def blocks_meta_bytes(size: int) -> int:
    """Return how long the meta of a big file of ``size`` bytes gets, at most."""
    return 100 + 44 * -(-size // block_bytes(size))


def inline_meta(content_digest: bytes) -> dict[str, Any]:
    """Return the meta of an inline entry."""
    return {_DIGEST: content_digest.hex()}


def blocks_meta(size: int, digests: Iterable[bytes]) -> dict[str, Any]:
    """Return the meta of a big file whose blocks of ``size`` bytes have these digests."""
    return {_BLOCKS: {"size": size, "digests": base64.b64encode(b"".join(digests)).decode()}}


def digest_of(entry: InlineEntry) -> bytes | None:
    """Return the digest of an entry's content, or None if it has none. Raises Corrupt for one that is no digest."""
    if not entry.meta:
        return None
    if (alone := _ALONE.fullmatch(entry.meta)) is not None:
        return bytes.fromhex(alone[1].decode())
    stated = entry.metadata.get(_DIGEST)
    if stated is None:
        return None
    try:
        found = bytes.fromhex(stated)
    except (TypeError, ValueError):
        found = b""
    if len(found) != CHUNK_ID_BYTES:
        raise Corrupt(f"entry {entry.name}: {_DIGEST} in its meta is not a digest: {stated!r}")
    return found


def blocks_of(entry: BigFileEntry) -> Blocks | None:
    """Return the digests of a big file's blocks, or None if it has none. Raises Corrupt for what cannot be."""
    stated = entry.metadata.get(_BLOCKS)
    if stated is None:
        return None
    try:
        size, packed = stated["size"], base64.b64decode(stated["digests"], validate=True)
    except (TypeError, KeyError, ValueError, binascii.Error):
        size, packed = 0, b""
    if not isinstance(size, int) or size <= 0 or len(packed) != CHUNK_ID_BYTES * -(-entry.size // size):
        raise Corrupt(f"big file {entry.name}: {_BLOCKS} in its meta do not fit its {entry.size} bytes")
    return Blocks(size, tuple(packed[at : at + CHUNK_ID_BYTES] for at in range(0, len(packed), CHUNK_ID_BYTES)))


def check(entry: InlineEntry, content: bytes, label: str) -> None:
    """Hold content against the digest of its entry, if it has one. ``label`` names the shard. Raises Corrupt."""
    expected = digest_of(entry)
    if expected is not None and digest(content) != expected:
        raise Corrupt(f"{label}, entry {entry.name} at {entry.offset}: the content does not match its digest")
