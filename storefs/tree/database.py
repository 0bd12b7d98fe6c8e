"""One SQLite file over one connection, and the transactions on it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from storefs.errors import Corrupt, NoSpace
from storefs.tree import schema

Bindings = tuple[int | bytes | str, ...]

_PRAGMAS = (
    # Small pages: every transaction writes each page that it touches whole, and most touch a few bytes of many.
    "PRAGMA page_size = 4096",
    "PRAGMA journal_mode = WAL",
    # A checkpoint syncs the disk: never on the loop, see checkpoint().
    "PRAGMA wal_autocheckpoint = 0",
    # A committed transaction survives the death of the process at once, and that of the machine after the next
    # checkpoint: durability against power loss is the store's business (fsync puts a commit there).
    "PRAGMA synchronous = NORMAL",
    "PRAGMA cache_size = -32768",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA busy_timeout = 10000",
)


_DISK_ERRORS = (apsw.FullError, apsw.IOError, apsw.CantOpenError)
"""What SQLite raises when the disk is full: which of them depends on the file that could not grow."""

_REMEMBERED_MAX = 8192

CHECKPOINT_BYTES = 16 << 20
"""From this length on the write-ahead log is worth a checkpoint."""


def checkpoint(path: Path) -> None:
    """Move what the write-ahead log of ``path`` holds into the file itself, if it has grown. Runs in a thread.

    It works beside the writing connection, over one of its own, and makes nobody wait.
    """
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or log.stat().st_size < CHECKPOINT_BYTES:
        return
    connection = apsw.Connection(str(path))
    try:
        connection.execute("PRAGMA query_only = 1").fetchall()
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        connection.close()


def remove_database(path: Path) -> None:
    """Remove a file that nobody has open, with its log; one that is not there is no error."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def sync_log(path: Path) -> None:
    """Make what is committed to the replica ``path`` survive a power cut as well. Runs in a thread.

    Raises NoSpace when the disk does not take it.
    """
    log = path.with_name(f"{path.name}-wal")
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NoSpace(f"cannot sync {log}: {error.strerror}") from error


class Database:
    """A writing connection. All calls are synchronous: code between two awaits is one step for everyone else.

    A replica has one, and another for changes that are made aside (see engine/aside): one of them writes at a time.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``, or make it with the tables of an empty tree. Raises Corrupt for a damaged file."""
        self.path = path
        try:
            self.connection = apsw.Connection(str(path))
            # Plans independent of what is bound: partial indexes otherwise make SQLite prepare a statement again for
            # every new value, which costs more than running it.
            self.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
            for pragma in _PRAGMAS:
                self.connection.execute(pragma).fetchall()
            if not self.value("SELECT count(*) FROM sqlite_schema WHERE name = 'inode'"):
                with self.transaction():
                    self.connection.execute(schema.REPLICATED_SQL).fetchall()
            with self.transaction():
                self.connection.execute(schema.LOCAL_SQL).fetchall()
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise Corrupt(f"{path} is not a readable SQLite file: {error}") from error
        self._remembered: dict[Any, Any] = {}
        self._remembered_at = 0
        self.on_reread: list[Callable[[], None]] = [self._remembered.clear]
        """What is to be read again when rows change without this connection's doing: by a rollback, or by another."""

    def close(self) -> None:
        """Checkpoint and close the file."""
        self.connection.close()

    def when_busy(self, gives_way: Callable[[], bool]) -> None:
        """Instead of waiting for another connection that is writing, have it give way; False if it cannot."""
        self.connection.set_busy_handler(lambda _tries: gives_way())

    def interrupt(self) -> None:
        """Let the statement that another thread runs on this connection fail."""
        self.connection.interrupt()

    def reread(self) -> None:
        """Take in that another connection changed the file."""
        for read in self.on_reread:
            read()

    def roll_back(self) -> None:
        """Take back what the open transaction did, if there is one."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self.reread()

    def row(self, sql: str, bindings: Bindings = ()) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        return self.connection.execute(sql, bindings).fetchone()

    def rows(self, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return self.connection.execute(sql, bindings).fetchall()

    def value(self, sql: str, bindings: Bindings = ()) -> int:
        """Return the first row's first column, a number (0 for no row and for NULL)."""
        row = self.connection.execute(sql, bindings).fetchone()
        return int(row[0]) if row is not None and row[0] is not None else 0

    def remembered(self) -> dict[Any, Any]:
        """Return what readers put in here since the tree last changed: answers that still hold.

        Reading the same few rows over and over is most of what a mount does. Each change of any row, by whomever on
        this connection, empties it; so does a rollback, which brings rows back without counting them.
        """
        changes = self.connection.total_changes()
        if changes != self._remembered_at or len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.clear()
            self._remembered_at = changes
        return self._remembered

    def run(self, sql: str, bindings: Bindings = ()) -> None:
        """Run one statement that returns nothing."""
        self.connection.execute(sql, bindings)

    def changed(self, sql: str, bindings: Bindings = ()) -> int:
        """Run one statement; return how many rows it changed."""
        self.connection.execute(sql, bindings)
        return self.connection.changes()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Within a transaction: what happens inside is taken back if it raises, and what came before is not."""
        self.run("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            self.run("ROLLBACK TO attempt")
            self.reread()
            raise
        finally:
            self.run("RELEASE attempt")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside happens, or nothing. Transactions do not nest. Raises NoSpace when the disk is full."""
        # Not apsw's own context manager: that one holds the GIL while COMMIT writes.
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            self.roll_back()
            if isinstance(error, _DISK_ERRORS):
                raise NoSpace(f"cannot write {self.path}: {error}") from error
            raise
