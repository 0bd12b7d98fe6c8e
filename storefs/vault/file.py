"""The file of a vault: one connection for many threads, tried again while another process writes."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import apsw

from storefs.vault.errors import Damaged, DatabaseBusy, InvalidArgument, IoError, KohakuVaultError
from storefs.vault.table import Table

T = TypeVar("T")

_BUSY_MS = 5000
"""How long SQLite itself waits for another writer, in each try."""

_PAGE_SIZES = [1 << power for power in range(9, 17)]
_READ_ONLY = apsw.SQLITE_OPEN_READONLY
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How a vault's file is opened; the defaults are those of ``KVault``."""

    table: str
    enable_wal: bool
    page_size: int
    mmap_size: int
    cache_kb: int
    retries: int
    backoff_base: float
    durability: str
    read_only: bool

    def check(self) -> None:
        """Raise InvalidArgument for what cannot be."""
        if self.page_size not in _PAGE_SIZES:
            raise InvalidArgument(f"page_size={self.page_size} is not a power of two from 512 to 65536")
        if self.mmap_size < 0 or self.cache_kb < 0 or self.backoff_base < 0:
            raise InvalidArgument("mmap_size, cache_kb and backoff_base must not be negative")
        if self.retries < 1:
            raise InvalidArgument(f"retries={self.retries}: there must be one try at least")
        if self.durability not in ("normal", "full"):
            raise InvalidArgument(f"durability={self.durability!r} is neither 'normal' nor 'full'")


class VaultFile:
    """One table of one file."""

    def __init__(self, path: str | Path, options: FileOptions) -> None:
        options.check()
        self.path = str(path)
        self.options = options
        self.lock = threading.RLock()
        """Held by whoever uses the table."""
        self._left_behind: list[apsw.Connection] = []
        self._closed = False
        self._pid = os.getpid()
        with _translated(self.path):
            self._connection, self._table = self._connect(create=not options.read_only)

    @property
    def in_memory(self) -> bool:
        """Whether there is no file: nobody else sees what is in it."""
        return self.path == ":memory:"

    def run(self, call: Callable[[Table], T]) -> T:
        """Return ``call(table)``, tried again while the file is busy. Raises the vault's errors."""
        with self.lock:
            table = self._own()
            for failed in range(1, self.options.retries + 1):
                try:
                    with _translated(self.path):
                        return call(table)
                except DatabaseBusy:
                    if failed == self.options.retries:
                        raise
                time.sleep(self.options.backoff_base * 2 ** (failed - 1))
        raise AssertionError("there is one try at least")

    @contextmanager
    def reading(self) -> Iterator[Table]:
        """Hand out the table as it is now, for as long as it takes, without keeping anybody waiting."""
        if self.in_memory:
            with self.lock, _translated(self.path):
                yield self._own()
            return
        with self.lock:
            self._own()
        with _translated(self.path):
            connection, table = self._connect(create=False, read_only=True)
            try:
                with table.transaction("DEFERRED"):
                    yield table
            finally:
                connection.close()

    def optimize(self) -> None:
        """Give unused space back, and let SQLite look at its statistics."""
        self.run(lambda _table: self._connection.execute("VACUUM").fetchall())
        self.run(lambda _table: self._connection.execute("PRAGMA optimize").fetchall())

    def close(self) -> None:
        """Close the file; more than once is no error."""
        with self.lock:
            if not self._closed and self._pid == os.getpid():
                with _translated(self.path):
                    self._connection.close()
            self._closed = True

    def _own(self) -> Table:
        """Return the table over a connection of this process: SQLite's do not survive a fork."""
        if self._closed:
            raise KohakuVaultError(f"the vault {self.path} is closed")
        if self._pid != os.getpid():
            if self.in_memory:
                raise KohakuVaultError("a vault in memory stays with the process that made it")
            self._left_behind.append(self._connection)  # closing it would take the parent's locks away
            self._pid = os.getpid()
            with _translated(self.path):
                self._connection, self._table = self._connect(create=False)
        return self._table

    def _connect(self, *, create: bool, read_only: bool = False) -> tuple[apsw.Connection, Table]:
        options = self.options
        read_only = read_only or options.read_only
        connection = apsw.Connection(self.path, flags=_READ_ONLY if read_only else _READ_WRITE)
        try:
            connection.set_busy_timeout(_BUSY_MS)
            pragmas = [f"cache_size = -{options.cache_kb}", f"mmap_size = {options.mmap_size}"]
            if not read_only:
                pragmas.insert(0, f"page_size = {options.page_size}")
                # With a rollback journal anything less could damage the file when the power goes.
                full = options.durability == "full" or not options.enable_wal
                pragmas.append(f"synchronous = {'FULL' if full else 'NORMAL'}")
            if create and options.enable_wal:
                pragmas.insert(1, "journal_mode = WAL")
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            return connection, Table(connection, options.table, create=create)
        except BaseException:
            connection.close()
            raise


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Let SQLite's errors come out as the vault's."""
    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise DatabaseBusy(f"{path} is busy: {error}") from error
    except apsw.ReadOnlyError as error:
        raise InvalidArgument(f"{path} is open for reading only") from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise Damaged(f"{path} is no readable vault: {error}") from error
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError) as error:
        raise IoError(f"{path}: {error}") from error
    except apsw.Error as error:
        raise KohakuVaultError(f"{path}: {error}") from error
