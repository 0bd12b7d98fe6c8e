"""Recording: which rows an operation changed, as a SQLite changeset.

SQLite's session extension does the same, but a session for each operation prepares several statements each time, which
takes longer than the operation. Here the preupdate hook notes the old and the new values of each row, and the changeset
is written from these. Format: the comment on changesets in SQLite's sqlite3session.c.
"""

import struct
from dataclasses import dataclass
from typing import Any

import apsw

from storefs.tree.database import Database

_Row = tuple[Any, ...]

_INTEGER = struct.Struct(">Bq")
_INTEGER_TYPE, _TEXT_TYPE, _BLOB_TYPE = 1, 3, 4
_UNDEFINED = b"\x00"
_TABLE = b"T"
_DIRECT = b"\x00"


@dataclass(frozen=True, slots=True)
class _Table:
    """A recorded table: what its part of a changeset starts with, and the columns of its primary key."""

    header: bytes
    keys: tuple[int, ...]


class Recorder:
    """Notes changes of some tables between ``start`` and ``stop``. Its connection must not have a session as well."""

    def __init__(self, database: Database, tables: tuple[str, ...]) -> None:
        self._tables = {name: _describe(database, name) for name in tables}
        self._rows: dict[str, dict[_Row, tuple[_Row | None, _Row | None]]] = {}
        self._noting = False
        # For good: a DELETE that was prepared without the hook may clear a table without telling of its rows.
        database.connection.preupdate_hook(self._note)

    def start(self) -> None:
        """Note changes from here on, none so far."""
        self._rows = {}
        self._noting = True

    def stop(self) -> None:
        """Note no more."""
        self._noting = False

    def changeset(self) -> bytes:
        """Return the net change of all that was noted; empty if everything is as it was."""
        parts = []
        for name, rows in self._rows.items():
            table = self._tables[name]
            changes = [_change(table, old, new) for old, new in rows.values() if old != new]
            if changes:
                parts += [table.header, *changes]
        return b"".join(parts)

    def _note(self, change: apsw.PreUpdate) -> None:
        if not self._noting:
            return
        table = self._tables.get(change.table_name)
        if table is None:
            return
        rows = self._rows.setdefault(change.table_name, {})
        old, new = change.old, change.new
        if old is not None and new is not None and any(old[at] != new[at] for at in table.keys):
            _keep(rows, table, old, None)
            _keep(rows, table, None, new)
        else:
            _keep(rows, table, old, new)


def _keep(rows: dict[_Row, tuple[_Row | None, _Row | None]], table: _Table, old: _Row | None, new: _Row | None) -> None:
    """Add a change of a row to the earlier ones: it was what it was first, and is what it is last."""
    row = new if old is None else old
    assert row is not None
    key = tuple([row[at] for at in table.keys])
    earlier = rows.get(key)
    rows[key] = (old if earlier is None else earlier[0], new)


def _describe(database: Database, name: str) -> _Table:
    columns = database.rows("SELECT pk FROM pragma_table_info(?) ORDER BY cid", (name,))
    flags = bytes(int(pk) for (pk,) in columns)
    assert any(flags), f"table {name} has no primary key: its changes could not be applied elsewhere"
    header = _TABLE + _varint(len(flags)) + flags + name.encode() + b"\0"
    return _Table(header, tuple(at for at, pk in enumerate(flags) if pk))


def _change(table: _Table, old: _Row | None, new: _Row | None) -> bytes:
    if old is None:
        assert new is not None
        return b"".join([bytes([apsw.SQLITE_INSERT]), _DIRECT, *map(_value, new)])
    if new is None:
        return b"".join([bytes([apsw.SQLITE_DELETE]), _DIRECT, *map(_value, old)])
    before, after = [], []
    for at, (one, other) in enumerate(zip(old, new, strict=True)):
        differs = one != other
        before.append(_value(one) if differs or at in table.keys else _UNDEFINED)
        after.append(_value(other) if differs else _UNDEFINED)
    return b"".join([bytes([apsw.SQLITE_UPDATE]), _DIRECT, *before, *after])


def _value(value: int | bytes | str) -> bytes:  # the tables are STRICT and NOT NULL: there are no other kinds
    if isinstance(value, int):
        return _INTEGER.pack(_INTEGER_TYPE, value)
    if isinstance(value, bytes):
        return b"%c%b%b" % (_BLOB_TYPE, _varint(len(value)), value)
    data = value.encode()
    return b"%c%b%b" % (_TEXT_TYPE, _varint(len(data)), data)


def _varint(number: int) -> bytes:
    """Write a number as SQLite does: seven bits a byte, the highest first. Lengths stay below 2^56."""
    found = [number & 0x7F]
    while number := number >> 7:
        found.append(number & 0x7F | 0x80)
    return bytes(reversed(found))
