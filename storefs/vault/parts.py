"""What values have beyond their first part, in a table beside theirs."""

from typing import Any

import apsw

from storefs.vault.errors import Damaged


class Parts:
    """The table ``<table>_parts``: parts 1, 2, ... of the values whose rows in ``<table>`` have numbers.

    Parts of values that are not long any more are never looked at. Whoever knows of any takes them away; those of
    another process wait for ``sweep``. (A trigger would do it by itself, and make every put three times slower.)
    """

    def __init__(self, connection: apsw.Connection, table: str, *, create: bool) -> None:
        """Open the parts of ``table``, or make a table for them."""
        self._connection = connection
        self.name = f"{table}_parts"
        self._table, self._parts = quoted(table), quoted(self.name)
        if create:
            self._rows(
                f"""CREATE TABLE IF NOT EXISTS {self._parts} (
                    place INTEGER PRIMARY KEY,
                    id    INTEGER NOT NULL,             -- of the value's row
                    part  INTEGER NOT NULL,             -- 1, 2, ...
                    value BLOB NOT NULL,
                    UNIQUE (id, part)
                )"""
            )
        self.known = self._look()
        """Whether there are any, as far as this connection knows: all that it wrote itself."""

    def _look(self) -> bool:
        """Whether there are parts. A file of KohakuVault that is opened to be read has no table of them."""
        there = self._rows("SELECT 1 FROM sqlite_schema WHERE name = ?", (self.name,))
        return bool(there and self._rows(f"SELECT 1 FROM {self._parts} LIMIT 1"))

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, bindings).fetchall()

    def places(self, number: int, first: int, size: int) -> list[tuple[int, int]]:
        """Return (place, length in bytes) of the parts of a value of ``size`` bytes, ``first`` of them in its row.

        Raises Damaged when that is not all of it.
        """
        if first >= size:
            return []
        rows = self._rows(f"SELECT place, length(value) FROM {self._parts} WHERE id = ? ORDER BY part", (number,))
        there = first + sum(length for _, length in rows)
        if there != size:
            raise Damaged(f"a value lacks a part: {there} of {size} bytes are there")
        return [(place, length) for place, length in rows]

    def add(self, number: int, part: int, length: int) -> int:
        """Make room for ``length`` bytes of a value; return the place to write them to."""
        self.known = True
        ((place,),) = self._rows(
            f"INSERT INTO {self._parts} (id, part, value) VALUES (?, ?, zeroblob(?)) RETURNING place",
            (number, part, length),
        )
        return int(place)

    def drop(self, key: bytes) -> None:
        """Remove the parts of a key's value."""
        self._rows(f"DELETE FROM {self._parts} WHERE id = (SELECT rowid FROM {self._table} WHERE key = ?)", (key,))

    def drop_number(self, number: int) -> None:
        """Remove the parts of the value in a row."""
        self._rows(f"DELETE FROM {self._parts} WHERE id = ?", (number,))

    def clear(self) -> None:
        """Remove all parts."""
        self._rows(f"DELETE FROM {self._parts}")

    def sweep(self) -> None:
        """Remove parts that no value has."""
        self._rows(
            f"DELETE FROM {self._parts} WHERE id NOT IN (SELECT rowid FROM {self._table} WHERE size > length(value))"
        )


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
