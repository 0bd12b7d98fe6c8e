"""Reading header, footer and index of a shard that anybody may have written: nothing is believed unchecked."""

from struct import Struct
from typing import Any

from storefs.errors import Corrupt
from storefs.model import FILE_BYTES_MAX, Codec
from storefs.shard.format import (
    BIG_FIELDS,
    COUNT_FIELD,
    FLAG_BIG_FILE,
    FLAGS_FIELD,
    FOOTER_BYTES,
    FOOTER_FIELDS,
    FOOTER_MAGIC,
    HASH_FIELD,
    HEADER_BYTES,
    HEADER_FIELDS,
    INDEX_BYTES_MAX,
    INLINE_FIELDS,
    INLINE_FIELDS_OLD,
    MAGIC,
    META_BYTES_MAX,
    NAME_FIELD,
    SHA256_HEX,
    VERSION,
    VERSION_OLD,
    BigFileEntry,
    Entry,
    InlineEntry,
    unpack_meta,
)

_ENTRY_BYTES_MIN = {
    VERSION: NAME_FIELD.size + 1 + FLAGS_FIELD.size + INLINE_FIELDS.size,
    VERSION_OLD: NAME_FIELD.size + 1 + INLINE_FIELDS_OLD.size,
}
"""The shortest entry (a name of one byte), by version. A big file's is longer."""

_CODECS = {int(codec): codec for codec in Codec}
_HASH_BYTES = 64


def parse_header(data: bytes) -> int:
    """Return the version of a shard whose first bytes are ``data``. Raises Corrupt."""
    if len(data) < HEADER_BYTES:
        raise Corrupt(f"header: {len(data)} bytes, {HEADER_BYTES} expected")
    magic, version, reserved = HEADER_FIELDS.unpack_from(data)
    if magic != MAGIC or reserved != bytes(len(reserved)):
        raise Corrupt(f"header: not a DES shard, it starts with {data[:HEADER_BYTES]!r}")
    if version not in _ENTRY_BYTES_MIN:
        raise Corrupt(f"header: version {version}, only {VERSION_OLD} and {VERSION} are known")
    return int(version)


def parse_footer(data: bytes, shard_size: int | None = None) -> int:
    """Return the index's length, from the last 12 bytes of a shard of ``shard_size`` bytes (if known).

    The index ends where the footer starts. Raises Corrupt.
    """
    if len(data) != FOOTER_BYTES:
        raise Corrupt(f"footer: {len(data)} bytes, {FOOTER_BYTES} expected")
    magic, index_size = FOOTER_FIELDS.unpack(data)
    if magic != FOOTER_MAGIC:
        raise Corrupt(f"footer: it starts with {magic!r}, {FOOTER_MAGIC!r} expected")
    most = INDEX_BYTES_MAX
    if shard_size is not None:
        most = min(most, shard_size - HEADER_BYTES - FOOTER_BYTES)
    if not COUNT_FIELD.size <= index_size <= most:
        raise Corrupt(f"footer: index size {index_size}, {COUNT_FIELD.size} to {most} possible")
    return int(index_size)


def parse_index(data: bytes, version: int | None = None, shard_size: int | None = None) -> tuple[Entry, ...]:
    """Return the entries of the index ``data`` (without the footer), in order.

    ``version`` is the header's, or None when the header was not read; ``shard_size`` bounds the payloads, when known.
    Takes memory in proportion to ``data``, whatever it claims. Raises Corrupt, naming entry (from 0) and field.
    """
    payload_end = FILE_BYTES_MAX if shard_size is None else shard_size - FOOTER_BYTES - len(data)
    if version is not None:
        return _parse(data, version, payload_end)
    # Without the header, an index is taken as version 2 and only when that fails as version 1. The two do not mix up:
    # where version 2 has its flags (0 or 1), version 1 has the low byte of an offset, and that is 8, the length of
    # the header, for the first payload. Should a first offset ever end in 0 or 1, every later field is one byte off,
    # and ranges, codec, repeated length and total length would all have to hold by chance.
    try:
        return _parse(data, VERSION, payload_end)
    except Corrupt as failure:
        try:
            return _parse(data, VERSION_OLD, payload_end)
        except Corrupt:
            raise failure from None


def _parse(data: bytes, version: int, payload_end: int) -> tuple[Entry, ...]:
    if len(data) < COUNT_FIELD.size:
        raise Corrupt(f"index: {len(data)} bytes have no room for the count")
    (count,) = COUNT_FIELD.unpack_from(data)
    room = (len(data) - COUNT_FIELD.size) // _ENTRY_BYTES_MIN[version]
    if count > room:
        raise Corrupt(f"index: count {count}, {len(data)} bytes have room for {room}")
    cursor = _Cursor(data, COUNT_FIELD.size)
    read = _read_entry if version == VERSION else _read_old_entry
    entries = []
    for number in range(count):
        cursor.number = number
        entries.append(read(cursor, payload_end))
    if cursor.at != len(data):
        raise Corrupt(f"index: {len(data) - cursor.at} bytes behind the last of {count} entries")
    return tuple(entries)


class _Cursor:
    """A place in the index, and the number of the entry there."""

    __slots__ = ("_data", "at", "number")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at
        self.number = 0

    def fields(self, layout: Struct, field: str) -> tuple[Any, ...]:
        """Read the fields of ``layout``."""
        self._require(layout.size, field)
        values = layout.unpack_from(self._data, self.at)
        self.at += layout.size
        return values

    def bytes(self, length: int, field: str) -> bytes:
        """Read ``length`` bytes."""
        self._require(length, field)
        self.at += length
        return self._data[self.at - length : self.at]

    def fault(self, field: str, problem: str) -> Corrupt:
        """Say what is wrong with a field of this entry."""
        return Corrupt(f"index entry {self.number}: {field}: {problem}")

    def _require(self, length: int, field: str) -> None:
        left = len(self._data) - self.at
        if length > left:
            raise self.fault(field, f"{length} bytes, {left} are left")


def _read_entry(cursor: _Cursor, payload_end: int) -> Entry:
    name = _read_name(cursor)
    (flags,) = cursor.fields(FLAGS_FIELD, "flags")
    if flags == FLAG_BIG_FILE:
        return _read_big_file(cursor, name)
    if flags != 0:
        raise cursor.fault("flags", f"{flags:#04x} are unknown")
    *place, meta_length = cursor.fields(INLINE_FIELDS, "offset to meta length")
    entry = _checked_place(cursor, name, place, payload_end)
    meta = _read_meta(cursor, meta_length)
    return InlineEntry(name, entry.offset, entry.stored, entry.codec, entry.size, meta) if meta else entry


def _read_old_entry(cursor: _Cursor, payload_end: int) -> Entry:
    name = _read_name(cursor)
    return _checked_place(cursor, name, cursor.fields(INLINE_FIELDS_OLD, "offset to uncompressed size"), payload_end)


def _read_name(cursor: _Cursor) -> str:
    (length,) = cursor.fields(NAME_FIELD, "name length")
    if length == 0:
        raise cursor.fault("name length", "0")
    name = cursor.bytes(length, "name")
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise cursor.fault("name", f"not UTF-8 ({error.reason} at byte {error.start})") from None


def _checked_place(cursor: _Cursor, name: str, place: list[Any] | tuple[Any, ...], payload_end: int) -> InlineEntry:
    offset, length, codec_number, stored, size = place
    if not HEADER_BYTES <= offset <= payload_end:
        raise cursor.fault("offset", f"{offset}, payloads lie from {HEADER_BYTES} to {payload_end}")
    if length > payload_end - offset:
        raise cursor.fault("length", f"{length} at offset {offset}, payloads end at {payload_end}")
    codec = _CODECS.get(codec_number)
    if codec is None:
        raise cursor.fault("codec", f"{codec_number} is unknown")
    if stored != length:
        raise cursor.fault("compressed size", f"{stored}, but the length is {length}")
    if size > FILE_BYTES_MAX or (codec is Codec.NONE and size != length):
        raise cursor.fault("uncompressed size", f"{size}, with {length} bytes stored as {codec.name}")
    return InlineEntry(name, offset, length, codec, size)


def _read_big_file(cursor: _Cursor, name: str) -> BigFileEntry:
    (length,) = cursor.fields(HASH_FIELD, "hash length")
    if length != _HASH_BYTES:
        raise cursor.fault("hash length", f"{length}, {_HASH_BYTES} expected")
    sha256 = cursor.bytes(length, "hash").decode("latin-1")
    if not SHA256_HEX.fullmatch(sha256):
        raise cursor.fault("hash", f"{sha256!r} is not a SHA-256 in lower-case hex")
    size, meta_length = cursor.fields(BIG_FIELDS, "size and meta length")
    if size > FILE_BYTES_MAX:
        raise cursor.fault("size", f"{size}, {FILE_BYTES_MAX} are possible")
    return BigFileEntry(name, sha256, size, _read_meta(cursor, meta_length))


def _read_meta(cursor: _Cursor, length: int) -> bytes:
    if length > META_BYTES_MAX:
        raise cursor.fault("meta length", f"{length}, {META_BYTES_MAX} are allowed")
    meta = cursor.bytes(length, "meta")
    try:
        unpack_meta(meta)
    except (ValueError, RecursionError) as error:
        raise cursor.fault("meta", f"not a JSON object in UTF-8: {error}") from None
    return meta
