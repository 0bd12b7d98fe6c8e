"""The DES2 layout: constants, limits, index entries, and the packing of header, index and footer.

All numbers are little-endian. docs/FORMAT.md has the tables; the format is that of Data Easy Store, version 2.
"""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from storefs.errors import UsageError
from storefs.model import FILE_BYTES_MAX, Codec

# --- the layout -------------------------------------------------------------------------------------------------------

MAGIC = b"DES2"
FOOTER_MAGIC = b"DESI"

VERSION = 2
"""The version that is written. Version 1 (neither flags nor meta) is only read."""

VERSION_OLD = 1

HEADER_FIELDS = struct.Struct("<4sB3s")  # magic, version, reserved (zeros)
FOOTER_FIELDS = struct.Struct("<4sQ")  # magic, index size
COUNT_FIELD = struct.Struct("<I")
NAME_FIELD = struct.Struct("<H")  # length of the name that follows
FLAGS_FIELD = struct.Struct("<B")
INLINE_FIELDS = struct.Struct("<QQBQQI")  # offset, length, codec, compressed size, uncompressed size, meta length
INLINE_FIELDS_OLD = struct.Struct("<QQBQQ")
HASH_FIELD = struct.Struct("<H")  # length of the SHA-256 in hex that follows
BIG_FIELDS = struct.Struct("<QI")  # size, meta length

FLAG_BIG_FILE = 1
HEADER_BYTES = HEADER_FIELDS.size
FOOTER_BYTES = FOOTER_FIELDS.size
HEADER = HEADER_FIELDS.pack(MAGIC, VERSION, bytes(3))

# --- limits -----------------------------------------------------------------------------------------------------------

NAME_BYTES_MAX = (1 << 16) - 1
"""The longest name of an entry, in bytes of UTF-8: what its length field holds."""

META_BYTES_MAX = 1 << 16
"""The longest meta of an entry. It bounds what checking hostile JSON can cost."""

INDEX_BYTES_MAX = 1 << 28
"""The longest index that is read or written: about two million entries of storefs."""

SHA256_HEX = re.compile(r"[0-9a-f]{64}")
"""The name of a big file. It becomes part of a path, so nothing else passes."""


# --- entries ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InlineEntry:
    """Content whose payload lies in the shard.

    Attributes:
        name: in storefs' own shards the chunk's digest in hex, in an archive the file's uid.
        offset: of the payload, from the start of the shard.
        stored: the payload's bytes.
        codec: how the payload is stored.
        size: the content's bytes, once decoded.
        meta: a JSON object in UTF-8, or empty.
    """

    name: str
    offset: int
    stored: int
    codec: Codec
    size: int
    meta: bytes = b""

    @property
    def end(self) -> int:
        """The offset behind the payload."""
        return self.offset + self.stored

    @property
    def metadata(self) -> dict[str, Any]:
        """The meta as a dict, empty when there is none."""
        return unpack_meta(self.meta)


@dataclass(frozen=True, slots=True)
class BigFileEntry:
    """Content that lies beside the shard, as an object of its own that is named by its digest.

    Attributes:
        name: the file's uid.
        sha256: of the content, 64 hex digits in lower case.
        size: the content's bytes.
        meta: a JSON object in UTF-8, or empty.
    """

    name: str
    sha256: str
    size: int
    meta: bytes = b""

    @property
    def metadata(self) -> dict[str, Any]:
        """The meta as a dict, empty when there is none."""
        return unpack_meta(self.meta)


Entry = InlineEntry | BigFileEntry


# --- packing ----------------------------------------------------------------------------------------------------------


def pack_meta(meta: Mapping[str, Any] | None) -> bytes:
    """Return the JSON of ``meta``; empty for None and for an empty mapping. Raises UsageError."""
    if not meta:
        return b""
    try:
        packed = json.dumps(dict(meta), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the meta of an entry must be JSON: {error}") from error
    if len(packed) > META_BYTES_MAX:
        raise UsageError(f"the meta of an entry has {len(packed)} bytes; {META_BYTES_MAX} are allowed")
    return packed


def unpack_meta(meta: bytes) -> dict[str, Any]:
    """Return the dict of an entry's meta. Raises ValueError or RecursionError when it is no JSON object."""
    if not meta:
        return {}
    # Decoded here, as the parser would also take UTF-16 and UTF-32 from bytes.
    parsed = json.loads(meta.decode(), parse_constant=_refuse_constant)
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  as any other fault of the text
    return parsed


def pack_entry(entry: Entry) -> bytes:
    """Return the index entry in version 2. Raises UsageError when the name does not fit."""
    name = pack_name(entry.name)
    assert 0 <= entry.size <= FILE_BYTES_MAX
    assert len(entry.meta) <= META_BYTES_MAX
    if isinstance(entry, BigFileEntry):
        assert SHA256_HEX.fullmatch(entry.sha256)
        digest = entry.sha256.encode()
        tail = (
            FLAGS_FIELD.pack(FLAG_BIG_FILE),
            HASH_FIELD.pack(len(digest)),
            digest,
            BIG_FIELDS.pack(entry.size, len(entry.meta)),
        )
        return b"".join((NAME_FIELD.pack(len(name)), name, *tail, entry.meta))
    # The stored length appears twice in the format; both mean the same.
    fields = INLINE_FIELDS.pack(entry.offset, entry.stored, entry.codec, entry.stored, entry.size, len(entry.meta))
    return b"".join((NAME_FIELD.pack(len(name)), name, FLAGS_FIELD.pack(0), fields, entry.meta))


def pack_name(name: str) -> bytes:
    """Return an entry's name in UTF-8. Raises UsageError when it is empty, too long or not Unicode."""
    try:
        packed = name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the name of an entry is not Unicode: {name!r}") from error
    if not 0 < len(packed) <= NAME_BYTES_MAX:
        raise UsageError(f"the name of an entry has {len(packed)} bytes; 1 to {NAME_BYTES_MAX} are allowed")
    return packed


def pack_index(entries: Iterable[Entry]) -> bytes:
    """Return the index: the count, then the entries. Raises UsageError when it is longer than a reader takes."""
    packed = [pack_entry(entry) for entry in entries]
    index = b"".join((COUNT_FIELD.pack(len(packed)), *packed))
    if len(index) > INDEX_BYTES_MAX:
        raise UsageError(f"the index of a shard has {len(index)} bytes; {INDEX_BYTES_MAX} are allowed")
    return index


def pack_footer(index_size: int) -> bytes:
    """Return the footer behind an index of ``index_size`` bytes."""
    return FOOTER_FIELDS.pack(FOOTER_MAGIC, index_size)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
