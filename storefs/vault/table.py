"""Tables of bytes by key, in an SQLite file: the layout that KohakuVault has, and longer values.

A value lies in its row. SQLite takes a billion bytes there at most, and has all of them in memory when the row is made
(only zeros in a last column it has not): so what a value has beyond its first 32 MiB lies in parts of that length in a
table beside it (``storefs/vault/parts.py``). The column ``size`` is the length of all of it.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import apsw

from storefs.model import Buffer
from storefs.vault.errors import InvalidArgument, IoError
from storefs.vault.parts import Parts, quoted

PART_BYTES = 32 << 20

_LONG_BYTES = 128 << 10
"""Longer values are read from their pages at once, without SQLite's copy of the row in between."""

_SHORT_BYTES = 4 << 10
_ROWS = 64
"""So many values, when they are short, go in with one statement: to run one takes as long as to put one."""


class Table:
    """One table over one connection. Not for several threads at a time; raises apsw's errors as they come."""

    def __init__(
        self,
        connection: apsw.Connection,
        name: str,
        *,
        create: bool,
        use: str | None = None,
    ) -> None:
        """Open the table ``name``, or make it. Raises InvalidArgument for what cannot be the name of one.

        ``use`` is the SQL of a number that each put notes in a column ``used``; without it there is none.
        """
        if not name or "\0" in name or name.lower().startswith("sqlite_"):
            raise InvalidArgument(f"{name!r} cannot name a table: it is empty, has a NUL, or begins with sqlite_")
        self._connection = connection
        # One cursor for all that is read or run to its end at once: making one costs as much as finding a value.
        self._execute = connection.cursor().execute
        self._name = name
        self._part_bytes = PART_BYTES
        self._table = quoted(name)
        long = min(PART_BYTES, _LONG_BYTES)
        self._get_sql = f"SELECT CASE WHEN size > {long} THEN rowid ELSE value END FROM {self._table} WHERE key = ?"
        self._exists_sql = f"SELECT 1 FROM {self._table} WHERE key = ?"
        self._size_sql = f"SELECT size FROM {self._table} WHERE key = ?"
        names, values, updates = ("", "", "") if use is None else (", used", f", {use}", ", used = excluded.used")
        insert = f"INSERT INTO {self._table} (key, value, size{names}) VALUES "
        update = f" ON CONFLICT (key) DO UPDATE SET value = excluded.value, size = excluded.size{updates}"
        rows = [f"(?{at}, ?{at + 1}, length(?{at + 1}){values})" for at in range(1, 2 * _ROWS, 2)]
        self._put_sql = insert + rows[0] + update
        self._put_rows_sql = insert + ", ".join(rows) + update
        self._room_sql = f"{insert}(?, zeroblob(?), ?{values}){update} RETURNING rowid"
        if create:
            with self.transaction():
                self._create(use)
                self._parts = Parts(connection, name, create=True)
        else:
            self._parts = Parts(connection, name, create=False)

    def _create(self, use: str | None) -> None:
        self._execute(
            f"""CREATE TABLE IF NOT EXISTS {self._table} (
                id    INTEGER PRIMARY KEY,
                key   BLOB UNIQUE NOT NULL,
                value BLOB NOT NULL,                -- the first part of it
                size  INTEGER NOT NULL              -- bytes, with all parts
                {", used INTEGER NOT NULL" if use is not None else ""}
            )"""
        )

    @contextmanager
    def transaction(self, mode: str = "IMMEDIATE") -> Iterator[None]:
        """All inside happens, or nothing; one that is under way is joined."""
        if self._is_open():
            yield
            return
        self._execute(f"BEGIN {mode}")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._is_open():  # after some errors SQLite has rolled back by itself
                self._execute("ROLLBACK")
            raise

    def _is_open(self) -> bool:
        return self._connection.in_transaction

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """Return a value, or None."""
        found = self._execute(self._get_sql, (key,)).get
        return self.read(key, 0, sys.maxsize) if type(found) is int else found

    def exists(self, key: bytes) -> bool:
        """Whether there is a value of that key."""
        return self._execute(self._exists_sql, (key,)).get is not None

    def size(self, key: bytes) -> int | None:
        """Return the length of a value in bytes, or None."""
        size: int | None = self._execute(self._size_sql, (key,)).get
        return size

    def count(self) -> int:
        """Return how many keys there are."""
        return int(self._execute(f"SELECT count(*) FROM {self._table}").get)

    def keys(self, prefix: bytes, after: bytes | None, limit: int) -> list[bytes]:
        """Return up to ``limit`` keys that start with ``prefix`` and are greater than ``after``, in order."""
        where, bindings = _range(prefix, after)
        # A list, or what would be in it if that is one thing only, or None.
        found = self._execute(
            f"SELECT key FROM {self._table} WHERE {where} ORDER BY key LIMIT ?", (*bindings, limit)
        ).get
        return found if isinstance(found, list) else [] if found is None else [found]

    def items(self, prefix: bytes, after: bytes | None, limit: int, limit_bytes: int) -> list[tuple[bytes, bytes]]:
        """Return the same keys with their values: fewer when these get longer than ``limit_bytes``, one at least."""
        where, bindings = _range(prefix, after)
        sql = f"SELECT key, value, size FROM {self._table} WHERE {where} ORDER BY key LIMIT ?"
        found: list[tuple[bytes, bytes]] = []
        length = 0
        with self.transaction("DEFERRED"):
            for key, value, size in self._connection.execute(sql, (*bindings, limit)):
                whole = value if len(value) >= size else self.read(key, 0, size)
                assert whole is not None, "in a transaction nothing goes away"
                found.append((key, whole))
                length += size
                if length >= limit_bytes:
                    break
        return found

    def read(self, key: bytes, offset: int, length: int) -> bytes | None:
        """Return part of a value, less than ``length`` bytes at its end; None when there is no value."""
        with self.transaction("DEFERRED"):
            found = b"".join(self._pieces(key, offset, length, length or 1))
            return found if found or self.size(key) is not None else None

    def short(self, key: bytes, most: int) -> bytes | None:
        """Return a value if it is there and no longer than ``most``, else None."""
        found = self._execute(self._get_sql, (key,)).get
        if type(found) is int:
            with self.transaction("DEFERRED"):
                size = self.size(key)
                return self.get(key) if size is not None and size <= most else None
        return found if found is not None and len(found) <= most else None

    def copy(self, key: bytes, write: Callable[[bytes], object], piece_bytes: int) -> int | None:
        """Hand a value to ``write`` piece by piece; return how long it is, or None."""
        size = self.size(key)
        if size is None:
            return None
        for piece in self._pieces(key, 0, size, piece_bytes):
            write(piece)
        return size

    def _pieces(self, key: bytes, offset: int, length: int, piece_bytes: int) -> Iterator[bytes]:
        """Yield part of a value piece by piece; a transaction has to be open meanwhile."""
        row = self._execute(f"SELECT rowid, size, length(value) FROM {self._table} WHERE key = ?", (key,)).get
        if row is None:
            return
        number, size, first = row
        end = min(offset + length, size)
        places = [(self._name, number, min(first, size))]
        places += [(self._parts.name, place, long) for place, long in self._parts.places(number, first, size)]
        start = 0
        for name, place, long in places:
            if start < end and offset < start + long:
                with self._connection.blob_open("main", name, "value", place, False) as blob:
                    blob.seek(max(offset - start, 0))
                    left = min(end, start + long) - max(offset, start)
                    while left > 0:
                        piece = blob.read(min(piece_bytes, left))
                        left -= len(piece)
                        yield piece
            start += long

    # --- writing ------------------------------------------------------------------------------------------------------

    def put(self, key: bytes, value: Buffer) -> None:
        """Set a value."""
        size = len(value)
        if size <= self._part_bytes and not self._parts.known:
            self._execute(self._put_sql, (key, value))
            return
        with self.transaction():
            if size > self._part_bytes:
                view, at = memoryview(value), 0

                def read(length: int) -> memoryview:
                    nonlocal at
                    at += length
                    return view[at - length : at]

                self.put_from(key, size, read, self._part_bytes)
            else:
                self._execute(self._put_sql, (key, value))
                self._parts.drop(key)

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> int:
        """Set values, all or none of them; return how many. Of one key the last."""
        longest = max((len(value) for _, value in items), default=0)
        with self.transaction():
            if longest > self._part_bytes or self._parts.known:
                for key, value in items:
                    self.put(key, value)
                return len(items)
            whole = len(items) // _ROWS * _ROWS if longest <= _SHORT_BYTES else 0
            for at in range(0, whole, _ROWS):
                self._execute(self._put_rows_sql, tuple(chain.from_iterable(items[at : at + _ROWS])))
            self._connection.executemany(self._put_sql, items[whole:])
        return len(items)

    def put_from(self, key: bytes, size: int, read: Callable[[int], Buffer], piece_bytes: int) -> None:
        """Set a value of ``size`` bytes that ``read`` hands out piece by piece. Raises IoError when that ends early."""
        if size <= min(piece_bytes, self._part_bytes):
            self.put(key, b"".join(_taken(size, read, piece_bytes)))
            return
        first = min(size, self._part_bytes)
        with self.transaction():
            number = self._execute(self._room_sql, (key, first, size)).get
            self._parts.drop_number(number)
            self._fill(self._name, number, first, read, piece_bytes)
            for part, start in enumerate(range(first, size, self._part_bytes), start=1):
                length = min(self._part_bytes, size - start)
                self._fill(self._parts.name, self._parts.add(number, part, length), length, read, piece_bytes)

    def _fill(self, name: str, row: int, length: int, read: Callable[[int], Buffer], piece_bytes: int) -> None:
        if not length:
            return
        with self._connection.blob_open("main", name, "value", row, True) as blob:
            for piece in _taken(length, read, piece_bytes):
                blob.write(piece)

    def delete(self, key: bytes) -> bool:
        """Remove a value; return whether there was one."""
        if not self._parts.known:
            return self._delete(key)
        with self.transaction():
            self._parts.drop(key)
            return self._delete(key)

    def _delete(self, key: bytes) -> bool:
        self._execute(f"DELETE FROM {self._table} WHERE key = ?", (key,))
        return self._connection.changes() > 0

    def clear(self) -> None:
        """Remove all values."""
        with self.transaction():
            self._execute(f"DELETE FROM {self._table}")
            self._parts.clear()

    def sweep(self) -> None:
        """Remove parts that no value has."""
        self._parts.sweep()


def _taken(length: int, read: Callable[[int], Buffer], piece_bytes: int) -> Iterator[Buffer]:
    """Yield ``length`` bytes of what ``read`` hands out, piece by piece. Raises IoError when there are not so many."""
    left = length
    while left > 0:
        piece = read(min(piece_bytes, left))
        if not piece:
            raise IoError(f"what was to be stored ended {left} bytes early")
        if len(piece) > left:
            raise IoError(f"what was to be stored gave {len(piece)} bytes where {left} were asked for")
        left -= len(piece)
        yield piece


def _range(prefix: bytes, after: bytes | None) -> tuple[str, list[bytes]]:
    """Return a condition for keys with a prefix that come after another one, and what it binds.

    It has one lower bound: of two, SQLite would look for the first, and step from there to the second.
    """
    lower, bindings = ("key >= ?", [prefix]) if after is None or after < prefix else ("key > ?", [after])
    end = _next(prefix)
    return (lower, bindings) if end is None else (f"{lower} AND key < ?", [*bindings, end])


def _next(prefix: bytes) -> bytes | None:
    """Return the least key behind all that start with ``prefix``; None when there is none."""
    bare = prefix.rstrip(b"\xff")
    return bare[:-1] + bytes([bare[-1] + 1]) if bare else None
