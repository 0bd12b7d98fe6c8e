"""The object of a commit: a fixed header, then the compressed changeset (docs/FORMAT.md has the table)."""

import struct
from dataclasses import dataclass

from storefs.core.digest import digest
from storefs.errors import Corrupt, UnknownFormat

MAGIC = b"STOREFSJ"
VERSION = 1
CHANGESET_BYTES_MAX = 1 << 30
"""No commit holds more; a header that claims so is damaged."""

_FIELDS = struct.Struct("<8sHHIQQ16s16sQQQ16s16s32sQQ")
_CHECKSUM_BYTES = 32
HEADER_BYTES = _FIELDS.size + _CHECKSUM_BYTES


@dataclass(frozen=True, slots=True)
class CommitHeader:
    """What a commit says of itself.

    Attributes:
        schema: the schema version of the changeset.
        seq: its number in the journal, from 1.
        node: the mount that wrote it.
        boot: that mount's nonce of its present start (16 bytes).
        nonce: this commit's own (16 bytes).
        low, high: the range of the writer's pending ids that it commits.
        time_ns: when, by the writer's clock.
        fingerprint: of the replicated tables (16 bytes).
        previous: the nonce of the commit before it.
        chain: digest of the chain of the commit before it and this changeset (32 bytes).
        plain, stored: the length of the changeset, and of its compressed form behind the header.
    """

    schema: int
    seq: int
    node: int
    boot: bytes
    nonce: bytes
    low: int
    high: int
    time_ns: int
    fingerprint: bytes
    previous: bytes
    chain: bytes
    plain: int
    stored: int


def link(chain: bytes, changes: bytes) -> bytes:
    """Return the chain digest after ``changes``, given the one before."""
    return digest(chain + digest(changes))


def pack(header: CommitHeader, body: bytes) -> bytes:
    """Return the object: header, checksum over header and body, body."""
    assert header.stored == len(body)
    assert header.plain <= CHANGESET_BYTES_MAX
    fields = _FIELDS.pack(
        MAGIC,
        VERSION,
        header.schema,
        0,
        header.seq,
        header.node,
        header.boot,
        header.nonce,
        header.low,
        header.high,
        header.time_ns,
        header.fingerprint,
        header.previous,
        header.chain,
        header.plain,
        header.stored,
    )
    return fields + digest(fields + body) + body


def parse(data: bytes, seq: int) -> tuple[CommitHeader, bytes]:
    """Return the header and the compressed changeset of commit ``seq``. Raises Corrupt, UnknownFormat."""
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        raise Corrupt(f"commit {seq} is not a commit: {len(data)} bytes that start with {data[:8]!r}")
    _, version, schema, _, *rest = _FIELDS.unpack_from(data)
    if version != VERSION:
        raise UnknownFormat(f"commit {seq} has format version {version}; this storefs reads {VERSION}: update storefs")
    body = data[HEADER_BYTES:]
    if digest(data[: _FIELDS.size] + body) != data[_FIELDS.size : HEADER_BYTES]:
        raise Corrupt(f"commit {seq} does not match its checksum")
    header = CommitHeader(schema, *rest)
    if header.seq != seq or header.stored != len(body) or header.plain > CHANGESET_BYTES_MAX:
        raise Corrupt(f"commit {seq} contradicts itself: it says number {header.seq}, {header.stored} bytes")
    return header, body
