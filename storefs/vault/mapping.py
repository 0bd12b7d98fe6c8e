"""The mapping: what a dict does, on a table in a file and what is not written to it yet."""

from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, TypeVar, overload

import apsw

from storefs.vault.cache import Cache
from storefs.vault.errors import InvalidArgument, NotFound
from storefs.vault.file import VaultFile
from storefs.vault.table import Table

D = TypeVar("D")
Key = str | bytes
Value = bytes | bytearray | memoryview

_PAGE_KEYS = 1000
"""How many items are read at a time."""

_PAGE_BYTES = 8 << 20
"""And how many bytes of values."""

_KEYS_FIRST = 16
_KEYS_MAX = 16_384
"""How many keys are read at a time: a few first, then twice as many each time."""

_KEYS_BYTES = 1 << 20
"""How long the keys of a page are together, as far as the one before it tells."""

_MISSING: Any = object()


class VaultMapping(MutableMapping[Key, bytes]):
    """A dict of bytes by key. Keys are bytes; a str stands for its UTF-8.

    A key comes out as bytes, and keys in the order of their bytes.
    """

    def __init__(self, file: VaultFile[Table], cache: Cache) -> None:
        self._file = file
        self._cache = cache

    # --- values -------------------------------------------------------------------------------------------------------

    def put(self, key: Key, value: Value) -> None:
        """Set a value. Raises InvalidArgument for a key that is neither str nor bytes, or a value that is not bytes."""
        name = key.encode() if type(key) is str else key_bytes(key)
        data = value if type(value) is bytes else value_bytes(value)
        file = self._file
        lock = file.lock
        lock.acquire()  # as in ``get``
        try:
            direct = file.direct
            if direct is not None:
                direct.put(name, data)
            elif not self._cache.put(name, data):
                self._put(name, data)
        except apsw.Error as error:
            self._put_again(name, data, error)
        finally:
            lock.release()

    def _put(self, name: bytes, data: bytes) -> None:
        self._file.run(lambda table: table.put(name, data))

    def _put_again(self, name: bytes, data: bytes, error: apsw.Error) -> None:
        self._file.again(lambda table: table.put(name, data), error)

    @overload
    def get(self, key: Key) -> bytes | None: ...
    @overload
    def get(self, key: Key, default: D) -> bytes | D: ...
    def get(self, key: Key, default: Any = None) -> Any:
        """Return a value, or ``default`` when there is none.

        Any other failure raises: else nobody could tell a value that is not there from one that cannot be read. (The
        documentation of KohakuVault has the default stand for both.)
        """
        name = key.encode() if type(key) is str else key_bytes(key)
        file = self._file
        lock = file.lock
        lock.acquire()  # ``with`` would take longer than all the rest of this in Python
        try:
            direct = file.direct
            found = self._get(name) if direct is None else direct.get(name)
        except apsw.Error as error:
            found = self._get_again(name, error)
        finally:
            lock.release()
        return default if found is None else found

    def _get(self, name: bytes) -> bytes | None:
        with self._cache:
            found = self._cache.get(name)
            return self._file.run(lambda table: table.get(name)) if found is None else found

    def _get_again(self, name: bytes, error: apsw.Error) -> bytes | None:
        return self._file.again(lambda table: table.get(name), error)

    def delete(self, key: Key) -> bool:
        """Remove a value; return whether there was one."""
        name = key_bytes(key)
        with self._cache:
            there = self._file.run(lambda table: table.delete(name))
            return self._cache.discard(name) or there

    def exists(self, key: Key) -> bool:
        """Whether there is a value of that key."""
        name = key_bytes(key)
        with self._cache:
            return self._cache.get(name) is not None or self._file.run(lambda table: table.exists(name))

    def put_many(self, items: Mapping[Any, Value] | Iterable[tuple[Key, Value]]) -> int:
        """Set values in one transaction: all of them, or none; return how many.

        With a cache they go behind what it holds, not into it.
        """
        pairs = items.items() if isinstance(items, Mapping) else items
        listed = [(key_bytes(key), value_bytes(value)) for key, value in pairs]
        with self._cache:
            count = self._file.run(lambda table: table.put_many(listed))
            for name, _ in listed:
                self._cache.discard(name)
        return count

    def get_many(self, keys: Iterable[Key]) -> dict[bytes, bytes]:
        """Return the values of those keys that have one, all of one moment, in the order of ``keys``."""
        names = [key_bytes(key) for key in keys]
        with self._cache:
            cached = {name: found for name in names if (found := self._cache.get(name)) is not None}

            def read(table: Table) -> dict[bytes, bytes]:
                with table.transaction("DEFERRED"):
                    pairs = ((name, cached[name] if name in cached else table.get(name)) for name in names)
                    return {name: value for name, value in pairs if value is not None}

            return self._file.run(read)

    def read_range(self, key: Key, offset: int, length: int) -> bytes:
        """Return ``length`` bytes of a value from ``offset`` on, fewer at its end. Raises NotFound, InvalidArgument."""
        name = key_bytes(key)
        if offset < 0 or length < 0:
            raise InvalidArgument(f"offset={offset} and length={length} must not be negative")
        with self._cache:
            found = self._cache.get(name)
            if found is not None:
                return found[offset : offset + length]
            found = self._file.run(lambda table: table.read(name, offset, length))
        if found is None:
            raise NotFound(key)
        return found

    # --- the mapping --------------------------------------------------------------------------------------------------

    def __getitem__(self, key: Key) -> bytes:
        """Return a value. Raises NotFound, which is a KeyError."""
        found = self.get(key)
        if found is None:
            raise NotFound(key)
        return found

    def __setitem__(self, key: Key, value: Value) -> None:
        """Set a value."""
        self.put(key, value)

    def __delitem__(self, key: Key) -> None:
        """Remove a value. Raises NotFound."""
        if not self.delete(key):
            raise NotFound(key)

    def __contains__(self, key: object) -> bool:
        """Whether there is a value of that key."""
        return self.exists(key)  # type: ignore[arg-type]

    def __len__(self) -> int:
        """Return how many keys there are."""
        with self._cache:
            fresh = self._cache.items(b"")

            def count(table: Table) -> int:
                with table.transaction("DEFERRED"):
                    return table.count() + sum(not table.exists(key) for key in fresh)

            return self._file.run(count)

    def __iter__(self) -> Iterator[bytes]:
        """Yield all keys, in order."""
        return self.keys_from()

    def keys_from(self, prefix: Key = b"", after: Key | None = None) -> Iterator[bytes]:
        """Yield the keys that start with ``prefix`` and come after ``after``, in order.

        They are read a page at a time: what changes meanwhile may show or not, and nothing is shown twice.
        """
        start, at = key_bytes(prefix), None if after is None else key_bytes(after)
        count = _KEYS_FIRST
        while True:
            with self._cache:
                page = self._file.run(lambda table, at=at, n=count: table.keys(start, at, n))  # type: ignore[misc]
                last = page[-1] if len(page) == count else None
                length = sum(map(len, page))
                page = _merged(page, list(self._cache.items(start)), at, last)
            yield from page
            if last is None:
                return
            at, count = last, min(count * 2, _KEYS_MAX, max(1, count * _KEYS_BYTES // max(1, length)))

    def items_from(self, prefix: Key = b"", after: Key | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of the same keys. A page is of one moment."""
        start, at = key_bytes(prefix), None if after is None else key_bytes(after)
        while True:
            with self._cache:
                page = dict(
                    self._file.run(
                        lambda table, at=at: table.items(start, at, _PAGE_KEYS, _PAGE_BYTES)  # type: ignore[misc]
                    )
                )
                last = next(reversed(page), None)
                more = last is not None and bool(
                    self._file.run(lambda table, last=last: table.keys(start, last, 1))  # type: ignore[misc]
                )
                until = last if more else None
                fresh = self._cache.items(start)
                names = _merged(list(page), list(fresh), at, until)
                found = [(name, fresh[name] if name in fresh else page[name]) for name in names]
            yield from found
            if until is None:
                return
            at = until

    def items(self) -> "_Items":
        """Return a view of all (key, value), read page by page."""
        return _Items(self)

    def values(self) -> "_Values":
        """Return a view of all values, in the order of their keys, read page by page."""
        return _Values(self)

    @overload
    def pop(self, key: Key) -> bytes: ...
    @overload
    def pop(self, key: Key, default: D) -> bytes | D: ...
    def pop(self, key: Key, default: Any = _MISSING) -> Any:
        """Remove a value and return it, in one transaction; ``default`` when there is none. Raises NotFound."""
        name = key_bytes(key)
        with self._cache:

            def take(table: Table) -> bytes | None:
                with table.transaction():
                    value = table.get(name)
                    table.delete(name)
                    return value

            stored = self._file.run(take)
            cached = self._cache.get(name)
            self._cache.discard(name)
        found = stored if cached is None else cached
        if found is None and default is _MISSING:
            raise NotFound(key)
        return default if found is None else found

    def setdefault(self, key: Key, default: Value = b"") -> bytes:
        """Return a value; when there is none, set ``default`` first, in the same transaction."""
        name, data = key_bytes(key), value_bytes(default)
        with self._cache:
            cached = self._cache.get(name)
            if cached is not None:
                return cached

            def get_or_put(table: Table) -> bytes:
                with table.transaction():
                    found = table.get(name)
                    if found is None:
                        table.put(name, data)
                    return data if found is None else found

            return self._file.run(get_or_put)

    def update(self, other: Any = (), /, **more: Value) -> None:
        """Set values in one transaction: all of them, or none. With a cache, through that."""
        pairs = list(other.items() if isinstance(other, Mapping) else other) + list(more.items())
        if self._cache.settings is not None:
            for key, value in pairs:
                self.put(key, value)
        else:
            self.put_many(pairs)

    def clear(self) -> None:
        """Remove all values."""
        with self._cache:
            self._file.run(lambda table: table.clear())
            self._cache.clear()


class _Items(ItemsView[Key, bytes]):
    """A view of a vault's items, read page by page."""

    _mapping: VaultMapping

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping.items_from()


class _Values(ValuesView[bytes]):
    """A view of a vault's values, read page by page."""

    _mapping: VaultMapping

    def __iter__(self) -> Iterator[bytes]:
        return (value for _, value in self._mapping.items_from())

    def __contains__(self, value: object) -> bool:
        return any(value == one for one in self)


def key_bytes(key: Key) -> bytes:
    """Return a key as it is stored. Raises InvalidArgument for what is neither str nor bytes."""
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes | bytearray | memoryview):
        return bytes(key)
    raise InvalidArgument(f"a key is str or bytes, not {type(key).__name__}")


def value_bytes(value: Value) -> bytes:
    """Return a value as bytes of its own: what the caller does to a buffer later is not stored."""
    if isinstance(value, bytes):
        return value
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise InvalidArgument(f"a value is bytes, or a buffer of them, not {type(value).__name__}") from None


def _merged(page: list[bytes], cached: list[bytes], after: bytes | None, last: bytes | None) -> list[bytes]:
    """Return the keys of a page, which goes from behind ``after`` to ``last``, with those in the cache, in order."""
    fresh = [key for key in cached if (after is None or key > after) and (last is None or key <= last)]
    return sorted({*page, *fresh}) if fresh else page
