"""Bytes by key in one SQLite file, with the order of their last use."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from storefs.errors import Corrupt, NoSpace

_TOUCHED_MAX = 10_000
"""How many uses are noted in memory; what is read beyond counts as a use only after they are written down."""


class Vault:
    """A map from bytes to bytes. One thread at a time uses it; a killed process leaves it readable."""

    def __init__(self, path: Path) -> None:
        """Open ``path`` or make it. Raises Corrupt for a damaged file."""
        self.path = path
        try:
            self._connection = apsw.Connection(str(path))
            for pragma in ("page_size = 16384", "journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 10000"):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            self._connection.execute(
                """CREATE TABLE IF NOT EXISTS vault (
                    key   BLOB    NOT NULL PRIMARY KEY,
                    value BLOB    NOT NULL,
                    size  INTEGER NOT NULL,           -- length of value, bytes
                    used  INTEGER NOT NULL            -- grows with every use: the order of eviction
                ) STRICT"""
            ).fetchall()
            self._connection.execute("CREATE INDEX IF NOT EXISTS vault_use ON vault (used, size)").fetchall()
            self.bytes = self._number("SELECT coalesce(sum(size), 0) FROM vault")
            self._clock = self._number("SELECT coalesce(max(used), 0) FROM vault")
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise Corrupt(f"{path} is not a readable SQLite file: {error}") from error
        self._touched: dict[bytes, int] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value, or None. Counts as a use."""
        row = self._connection.execute("SELECT value FROM vault WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if len(self._touched) < _TOUCHED_MAX or key in self._touched:
            self._clock += 1
            self._touched[key] = self._clock
        return bytes(row[0])

    def exists(self, key: bytes) -> bool:
        """Whether the key has a value. Does not count as a use."""
        return self._connection.execute("SELECT 1 FROM vault WHERE key = ?", (key,)).fetchone() is not None

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Set values, all or none of them. Raises NoSpace when the disk is full."""
        grown = 0
        with self._transaction():
            for key, value in items:
                self._clock += 1
                grown += len(value) - self._size(key)
                self._connection.execute(
                    "INSERT INTO vault VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
                    " value = excluded.value, size = excluded.size, used = excluded.used",
                    (key, value, len(value), self._clock),
                )
        self.bytes += grown

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Remove values; keys without one are no error."""
        gone = 0
        with self._transaction():
            for key in keys:
                gone += self._size(key)
                self._connection.execute("DELETE FROM vault WHERE key = ?", (key,))
                self._touched.pop(key, None)
        self.bytes -= gone

    def prefixed(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys that start with ``prefix``, and their values, in key order."""
        rows = self._connection.execute("SELECT key, value FROM vault WHERE key >= ? ORDER BY key", (prefix,))
        for key, value in rows:
            if not bytes(key).startswith(prefix):
                return
            yield bytes(key), bytes(value)

    def least_used(self, prefix: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return up to ``limit`` (key, size in bytes) of the keys that start with ``prefix``, longest unused first."""
        self.flush()
        rows = self._connection.execute(
            "SELECT key, size FROM vault WHERE substr(key, 1, ?) = ? ORDER BY used LIMIT ?",
            (len(prefix), prefix, limit),
        )
        return [(bytes(key), int(size)) for key, size in rows]

    def flush(self) -> None:
        """Write down the uses noted in memory."""
        touched, self._touched = self._touched, {}
        with self._transaction():
            for key, used in touched.items():
                self._connection.execute("UPDATE vault SET used = ? WHERE key = ?", (used, key))

    def close(self) -> None:
        """Write what is noted and close the file."""
        self.flush()
        self._connection.close()

    def _size(self, key: bytes) -> int:
        """Return the length of a value, 0 for none."""
        row = self._connection.execute("SELECT size FROM vault WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row is not None else 0

    def _number(self, sql: str) -> int:
        row = self._connection.execute(sql).fetchone()
        assert row is not None
        return int(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, apsw.FullError | apsw.IOError | apsw.CantOpenError):
                raise NoSpace(f"cannot write {self.path}: {error}") from error
            raise
