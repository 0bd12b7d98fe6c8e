"""Tables of bytes by key, in an SQLite file: the layout that KohakuVault has, and longer values.

A value lies in its row. SQLite takes a billion bytes there at most, and has all of them in memory when the row is made
(only zeros in a last column it has not): so what a value has beyond its first 32 MiB lies in parts of that length in a
table beside it, ``<table>_parts``. The column ``size`` is the length of all of it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import apsw

from storefs.vault.errors import Damaged, InvalidArgument, IoError

PART_BYTES = 32 << 20


class Table:
    """One table over one connection. Not for several threads at a time; raises apsw's errors as they come."""

    def __init__(self, connection: apsw.Connection, name: str, *, create: bool, part_bytes: int = PART_BYTES) -> None:
        """Open the table ``name``, or make it. Raises InvalidArgument for what cannot be the name of one."""
        if not name or "\0" in name or name.lower().startswith("sqlite_"):
            raise InvalidArgument(f"{name!r} cannot name a table: it is empty, has a NUL, or begins with sqlite_")
        self._connection = connection
        self._name = name
        self._parts_name = f"{name}_parts"
        self._part_bytes = part_bytes
        self._table, self._parts = _quoted(name), _quoted(self._parts_name)
        self._get_sql = f"SELECT value, size, id FROM {self._table} WHERE key = ?"
        self._short_sql = f"SELECT value FROM {self._table} WHERE key = ? AND size <= ? AND size <= length(value)"
        self._put_sql = (
            f"INSERT INTO {self._table} (key, value, size) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value, size = excluded.size"
        )
        if create:
            self._create()
        # Parts of values that are not long any more are never looked at. Whoever knows of any takes them away; those of
        # another process wait for ``sweep``. (A trigger would do it by itself, and make every put three times slower.)
        self._has_parts = self._look_for_parts()

    def _create(self) -> None:
        with self.transaction():
            self._rows(
                f"""CREATE TABLE IF NOT EXISTS {self._table} (
                    id    INTEGER PRIMARY KEY,
                    key   BLOB UNIQUE NOT NULL,
                    value BLOB NOT NULL,                -- the first part of it
                    size  INTEGER NOT NULL              -- bytes, with all parts
                )"""
            )
            self._rows(
                f"""CREATE TABLE IF NOT EXISTS {self._parts} (
                    place INTEGER PRIMARY KEY,
                    id    INTEGER NOT NULL,             -- of the value's row
                    part  INTEGER NOT NULL,             -- 1, 2, ...
                    value BLOB NOT NULL,
                    UNIQUE (id, part)
                )"""
            )

    def _look_for_parts(self) -> bool:
        """Whether there are parts. A file of KohakuVault that is opened to be read has no table of them."""
        there = self._rows("SELECT 1 FROM sqlite_schema WHERE name = ?", (self._parts_name,))
        return bool(there and self._rows(f"SELECT 1 FROM {self._parts} LIMIT 1"))

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, bindings).fetchall()

    @contextmanager
    def transaction(self, mode: str = "IMMEDIATE") -> Iterator[None]:
        """All inside happens, or nothing; one that is under way is joined."""
        connection = self._connection
        if self._is_open():
            yield
            return
        connection.execute(f"BEGIN {mode}")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if self._is_open():  # after some errors SQLite has rolled back by itself
                connection.execute("ROLLBACK")
            raise

    def _is_open(self) -> bool:
        return self._connection.in_transaction

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """Return a value, or None."""
        row = self._connection.execute(self._get_sql, (key,)).fetchone()
        if row is None:
            return None
        value, size, number = row
        return value if len(value) >= size else self._with_parts(value, size, number)

    def _with_parts(self, first: bytes, size: int, number: int) -> bytes:
        rows = self._rows(f"SELECT value FROM {self._parts} WHERE id = ? ORDER BY part", (number,)) if size else []
        value = b"".join([first, *(row[0] for row in rows)])
        if len(value) != size:
            raise Damaged(f"a value of {size} bytes has {len(value)} bytes only")
        return value

    def size(self, key: bytes) -> int | None:
        """Return the length of a value in bytes, or None."""
        row = self._connection.execute(f"SELECT size FROM {self._table} WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row is not None else None

    def count(self) -> int:
        """Return how many keys there are."""
        return int(self._rows(f"SELECT count(*) FROM {self._table}")[0][0])

    def keys(self, prefix: bytes, after: bytes | None, limit: int) -> list[bytes]:
        """Return up to ``limit`` keys that start with ``prefix`` and are greater than ``after``, in order."""
        where, bindings = _range(prefix, after)
        sql = f"SELECT key FROM {self._table} WHERE {where} ORDER BY key LIMIT ?"
        return list(chain.from_iterable(self._connection.execute(sql, (*bindings, limit))))

    def items(self, prefix: bytes, after: bytes | None, limit: int, limit_bytes: int) -> list[tuple[bytes, bytes]]:
        """Return the same keys with their values: fewer when these get longer than ``limit_bytes``, one at least."""
        where, bindings = _range(prefix, after)
        sql = f"SELECT key, value, size, id FROM {self._table} WHERE {where} ORDER BY key LIMIT ?"
        found: list[tuple[bytes, bytes]] = []
        length = 0
        for key, value, size, number in self._connection.execute(sql, (*bindings, limit)):
            found.append((key, value if len(value) >= size else self._with_parts(value, size, number)))
            length += size
            if length >= limit_bytes:
                break
        return found

    def read(self, key: bytes, offset: int, length: int) -> bytes | None:
        """Return part of a value, less than ``length`` bytes at its end; None when there is no value."""
        found = b"".join(self._pieces(key, offset, length, length or 1))
        return found if found or self.size(key) is not None else None

    def short(self, key: bytes, most: int) -> bytes | None:
        """Return a value if it is there and no longer than ``most``, else None."""
        row = self._connection.execute(self._short_sql, (key, most)).fetchone()
        return None if row is None else row[0]

    def copy(self, key: bytes, write: Callable[[bytes], object], piece_bytes: int) -> int | None:
        """Hand a value to ``write`` piece by piece; return how long it is, or None."""
        size = self.size(key)
        if size is None:
            return None
        for piece in self._pieces(key, 0, size, piece_bytes):
            write(piece)
        return size

    def _pieces(self, key: bytes, offset: int, length: int, piece_bytes: int) -> Iterator[bytes]:
        row = self._connection.execute(
            f"SELECT id, size, length(value) FROM {self._table} WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return
        number, size, first = row
        end = min(offset + length, size)
        places = [(self._name, number, first)]
        if first < size:
            rows = self._rows(f"SELECT place, length(value) FROM {self._parts} WHERE id = ? ORDER BY part", (number,))
            places += [(self._parts_name, place, long) for place, long in rows]
            if sum(long for _, _, long in places) != size:
                raise Damaged(f"the value of {key!r} lacks a part")
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

    def put(self, key: bytes, value: bytes | bytearray | memoryview) -> None:
        """Set a value."""
        size = len(value)
        if size > self._part_bytes:
            view, at = memoryview(value), 0

            def read(length: int) -> memoryview:
                nonlocal at
                at += length
                return view[at - length : at]

            self.put_from(key, size, read, self._part_bytes)
            return
        if not self._has_parts:
            self._connection.execute(self._put_sql, (key, value, size))
            return
        with self.transaction():
            self._connection.execute(self._put_sql, (key, value, size))
            self._drop_parts(key)

    def _drop_parts(self, key: bytes) -> None:
        self._rows(f"DELETE FROM {self._parts} WHERE id = (SELECT id FROM {self._table} WHERE key = ?)", (key,))

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> int:
        """Set values, all or none of them; return how many. Of one key the last."""
        most = self._part_bytes
        with self.transaction():
            if not self._has_parts and all(len(value) <= most for _, value in items):
                self._connection.executemany(self._put_sql, ((key, value, len(value)) for key, value in items))
            else:
                for key, value in items:
                    self.put(key, value)
        return len(items)

    def put_from(
        self, key: bytes, size: int, read: Callable[[int], bytes | bytearray | memoryview], piece_bytes: int
    ) -> None:
        """Set a value of ``size`` bytes that ``read`` hands out piece by piece. Raises IoError when that ends early."""
        if size <= min(piece_bytes, self._part_bytes):
            self.put(key, b"".join(_taken(size, read, piece_bytes)))
            return
        first = min(size, self._part_bytes)
        with self.transaction():
            ((number,),) = self._rows(
                f"INSERT INTO {self._table} (key, value, size) VALUES (?, zeroblob(?), ?) ON CONFLICT (key)"
                " DO UPDATE SET value = excluded.value, size = excluded.size RETURNING id",
                (key, first, size),
            )
            self._rows(f"DELETE FROM {self._parts} WHERE id = ?", (number,))
            self._fill(self._name, number, first, read, piece_bytes)
            self._has_parts = self._has_parts or size > first
            for part, start in enumerate(range(first, size, self._part_bytes), start=1):
                length = min(self._part_bytes, size - start)
                ((place,),) = self._rows(
                    f"INSERT INTO {self._parts} (id, part, value) VALUES (?, ?, zeroblob(?)) RETURNING place",
                    (number, part, length),
                )
                self._fill(self._parts_name, place, length, read, piece_bytes)

    def _fill(
        self,
        name: str,
        row: int,
        length: int,
        read: Callable[[int], bytes | bytearray | memoryview],
        piece_bytes: int,
    ) -> None:
        if not length:
            return
        with self._connection.blob_open("main", name, "value", row, True) as blob:
            for piece in _taken(length, read, piece_bytes):
                blob.write(piece)

    def delete(self, key: bytes) -> bool:
        """Remove a value; return whether there was one."""
        if not self._has_parts:
            return self._delete(key)
        with self.transaction():
            self._drop_parts(key)
            return self._delete(key)

    def _delete(self, key: bytes) -> bool:
        self._connection.execute(f"DELETE FROM {self._table} WHERE key = ?", (key,))
        return self._connection.changes() > 0

    def clear(self) -> None:
        """Remove all values."""
        with self.transaction():
            self._rows(f"DELETE FROM {self._table}")
            self._rows(f"DELETE FROM {self._parts}")

    def sweep(self) -> None:
        """Remove parts that no value has."""
        self._rows(
            f"DELETE FROM {self._parts} WHERE id NOT IN (SELECT id FROM {self._table} WHERE size > length(value))"
        )


def _taken(
    length: int, read: Callable[[int], bytes | bytearray | memoryview], piece_bytes: int
) -> Iterator[bytes | bytearray | memoryview]:
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


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _range(prefix: bytes, after: bytes | None) -> tuple[str, tuple[bytes, ...]]:
    """Return a condition for keys with a prefix that come after another one, and what it binds."""
    conditions, bindings = ["key >= ?"], [prefix]
    if after is not None:
        conditions.append("key > ?")
        bindings.append(after)
    if (end := _next(prefix)) is not None:
        conditions.append("key < ?")
        bindings.append(end)
    return " AND ".join(conditions), tuple(bindings)


def _next(prefix: bytes) -> bytes | None:
    """Return the least key behind all that start with ``prefix``; None when there is none."""
    bare = prefix.rstrip(b"\xff")
    return bare[:-1] + bytes([bare[-1] + 1]) if bare else None
