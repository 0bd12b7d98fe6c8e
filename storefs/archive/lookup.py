"""A shard's index as it is kept in memory: its bytes as they came, and where in them each name's entry begins."""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator

from storefs.archive import seal
from storefs.archive.routing import Route, route_index
from storefs.errors import Corrupt
from storefs.shard.format import (
    BIG_FIELDS,
    COUNT_FIELD,
    FLAG_BIG_FILE,
    HASH_FIELD,
    INDEX_BYTES_MAX,
    INLINE_FIELDS,
    INLINE_FIELDS_OLD,
    NAME_FIELD,
    VERSION,
    VERSION_OLD,
    Entry,
)
from storefs.shard.index import parse_index

_AT_BITS = (INDEX_BYTES_MAX - 1).bit_length()
_AT_MASK = (1 << _AT_BITS) - 1
_HASH_MASK = (1 << 64 - _AT_BITS) - 1

_ONE = COUNT_FIELD.pack(1)
_META_LENGTH = struct.Struct("<I")
_NAME_BYTES = NAME_FIELD.size
_INLINE_BYTES = INLINE_FIELDS.size
_OLD_BYTES = INLINE_FIELDS_OLD.size
_BIG_BYTES = HASH_FIELD.size + 64 + BIG_FIELDS.size
_ENTRY_BYTES_MIN = _NAME_BYTES + 1 + _OLD_BYTES


class Lookup:
    """The entries of one shard by name. It takes the bytes of the index and 8 bytes for each entry.

    What ties the index together (lengths, flags, names, its seal) is checked when it is made; the fields of an entry
    when that entry is asked for, so that one damaged entry does not take the others along.

    Attributes:
        version: of the shard's format, 1 or 2.
        sealed: whether the whole index was held against its digest.
    """

    __slots__ = ("_data", "_label", "_places", "_shard_size", "sealed", "version")

    def __init__(self, data: bytes, version: int | None, shard_size: int, route: Route, n_bits: int, label: str):
        """Take the index ``data`` of a shard of ``shard_size`` bytes; ``label`` names it in errors.

        ``version`` is that of its header, or None when that was not read. Every name must belong to ``route``: a name
        that was changed would otherwise look like a file that is not there. Raises Corrupt, naming the shard.
        """
        self._data, self._shard_size, self._label = data, shard_size, label
        try:
            self.version, places = _walked(data, version)
            self.sealed = self.version == VERSION and bool(places) and seal.check(data, _meta_of(data, places[-1]))
            self._check_names(places, route, n_bits)
        except Corrupt as error:
            raise Corrupt(f"{label}: {error}") from error
        self._places = array("Q", sorted(self._key(at) for at in places))

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries that count, in the order in which they lie: of several of one name the last. Raises
        Corrupt.
        """
        for at in sorted(key & _AT_MASK for key in self._places):
            if self._find(self._name(at)) == at:
                yield self._entry(at)

    def __contains__(self, name: str) -> bool:
        return self._find(name.encode()) is not None

    @property
    def cost_bytes(self) -> int:
        """The memory that it takes."""
        return len(self._data) + 8 * len(self._places)

    def find(self, name: str) -> Entry | None:
        """Return the entry of that name: the last one, should there be several. Raises Corrupt, naming shard and
        entry.
        """
        at = self._find(name.encode())
        return None if at is None else self._entry(at)

    def each(self) -> Iterator[Entry | Corrupt]:
        """Yield every entry in the order in which they lie, also one whose name comes again; of a damaged one, what is
        wrong.
        """
        for at in sorted(key & _AT_MASK for key in self._places):
            try:
                yield self._entry(at)
            except Corrupt as error:
                yield error

    def _find(self, name: bytes) -> int | None:
        """Return where the last entry of that name begins."""
        hashed = hash(name) & _HASH_MASK
        at = bisect_left(self._places, (hashed + 1) << _AT_BITS) - 1
        while at >= 0 and self._places[at] >> _AT_BITS == hashed:
            begin = self._places[at] & _AT_MASK
            if self._name(begin) == name:
                return begin
            at -= 1
        return None

    def _key(self, at: int) -> int:
        return (hash(self._name(at)) & _HASH_MASK) << _AT_BITS | at

    def _name(self, at: int) -> bytes:
        (length,) = NAME_FIELD.unpack_from(self._data, at)
        return self._data[at + _NAME_BYTES : at + _NAME_BYTES + length]

    def _entry(self, at: int) -> Entry:
        alone = _ONE + self._data[at : _end_of(self._data, at, self.version)]
        # The size of a shard whose payloads end where those of this one do, and whose index is this entry alone.
        size = self._shard_size - len(self._data) + len(alone)
        try:
            return parse_index(alone, self.version, size)[0]
        except Corrupt as error:
            name = self._name(at).decode(errors="backslashreplace")
            raise Corrupt(f"{self._label}, entry {name}: {error}") from error

    def _check_names(self, places: list[int], route: Route, n_bits: int) -> None:
        for at in places:
            try:
                name = self._name(at).decode()
            except UnicodeDecodeError:
                raise Corrupt(f"index: the name {self._name(at)!r} is not UTF-8") from None
            if route_index(name, n_bits) != route.index:
                raise Corrupt(
                    f"index: entry {name} does not belong to route {route.hex}: its name is damaged,"
                    f" or this archive was not packed with {n_bits} bits"
                )


def _walked(data: bytes, version: int | None) -> tuple[int, list[int]]:
    """Return the version, and where the entries begin."""
    if version is not None:
        return version, _walk(data, version)
    # As in parse_index: what is version 2 as far as it can be seen is version 2.
    try:
        return VERSION, _walk(data, VERSION)
    except Corrupt as failure:
        try:
            return VERSION_OLD, _walk(data, VERSION_OLD)
        except Corrupt:
            raise failure from None


def _walk(data: bytes, version: int) -> list[int]:
    if len(data) < COUNT_FIELD.size:
        raise Corrupt(f"index: {len(data)} bytes have no room for the count")
    (count,) = COUNT_FIELD.unpack_from(data)
    room = (len(data) - COUNT_FIELD.size) // _ENTRY_BYTES_MIN
    if count > room:
        raise Corrupt(f"index: count {count}, {len(data)} bytes have room for {room}")
    at, places = COUNT_FIELD.size, []
    for number in range(count):
        places.append(at)
        try:
            at = _end_of(data, at, version)
        except (struct.error, IndexError):
            raise Corrupt(f"index entry {number}: it ends behind the {len(data)} bytes of the index") from None
        except Corrupt as error:
            raise Corrupt(f"index entry {number}: {error}") from None
    if at != len(data):
        raise Corrupt(f"index: its {count} entries end at {at}, not at {len(data)}")
    return places


def _end_of(data: bytes, at: int, version: int) -> int:
    """Return where the entry at ``at`` ends. Raises Corrupt, and IndexError or struct.error behind the end of data."""
    (length,) = NAME_FIELD.unpack_from(data, at)
    if length == 0:
        raise Corrupt("name length: 0")
    at += _NAME_BYTES + length
    if version == VERSION_OLD:
        return at + _OLD_BYTES
    flags = data[at]
    if flags == 0:
        at += 1 + _INLINE_BYTES
    elif flags == FLAG_BIG_FILE:
        at += 1 + _BIG_BYTES
    else:
        raise Corrupt(f"flags: {flags:#04x} are unknown")
    (meta,) = _META_LENGTH.unpack_from(data, at - _META_LENGTH.size)
    return at + int(meta)


def _meta_of(data: bytes, at: int) -> int:
    """Return where the meta of the entry at ``at`` begins."""
    (length,) = NAME_FIELD.unpack_from(data, at)
    at += _NAME_BYTES + length
    return at + 1 + (_BIG_BYTES if data[at] else _INLINE_BYTES)
