"""Tables that know in which order their values were last used."""

from collections.abc import Iterable
from typing import Any

import apsw

from storefs.vault.parts import quoted
from storefs.vault.table import Table


class UsedTable(Table):
    """A table with a column ``used``, which grows with every use: a put is one, and whatever ``note`` is told of."""

    def __init__(self, connection: apsw.Connection, name: str, *, create: bool) -> None:
        """Open the table ``name``, or make it."""
        self.clock = 0
        """The number of the latest use."""
        connection.create_scalar_function("next_use", self._next_use, 0)
        super().__init__(connection, name, create=create, use="next_use()")
        self._execute(f"CREATE INDEX IF NOT EXISTS {quoted(f'{name}_use')} ON {self._table} (used, size)")
        self.clock = int(self._execute(f"SELECT coalesce(max(used), 0) FROM {self._table}").get)

    def _next_use(self, *_nothing: object) -> int:
        self.clock += 1
        return self.clock

    def note(self, uses: Iterable[tuple[int, bytes]]) -> None:
        """Write down uses, each as (its number, key); those of keys without a value are nothing."""
        with self.transaction():
            self._connection.executemany(f"UPDATE {self._table} SET used = ? WHERE key = ?", uses)

    def least_used(self, prefix: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return up to ``limit`` (key, size in bytes) of the keys that start with ``prefix``, longest unused first."""
        rows: Iterable[tuple[Any, ...]] = self._connection.execute(
            f"SELECT key, size FROM {self._table} WHERE substr(key, 1, ?) = ? ORDER BY used LIMIT ?",
            (len(prefix), prefix, limit),
        )
        return [(key, size) for key, size in rows]

    def total(self) -> int:
        """Return how many bytes all values have together."""
        return int(self._execute(f"SELECT coalesce(sum(size), 0) FROM {self._table}").get)
