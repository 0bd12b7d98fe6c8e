"""The file of a vault: one connection for many threads, tried again while another process writes."""

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
        self._left_behind: list[apsw.Connection] = []  # closing them would take the parent's locks away
        self._idle: list[tuple[apsw.Connection, Table]] = []
        self._closed = self._is_child = False
        try:
            self._connection, self._table = self._connect(create=not options.read_only)
        except apsw.Error as error:
            raise _translated(error, self.path) from error
        self._usable = True

    @property
    def in_memory(self) -> bool:
        """Whether there is no file: nobody else sees what is in it."""
        return self.path == ":memory:"

    def run(self, call: Callable[[Table], T]) -> T:
        """Return ``call(table)``, tried again while the file is busy. Raises the vault's errors."""
        failed = 0
        with self.lock:
            while True:
                try:
                    return call(self._table if self._usable else self._own())
                except apsw.Error as error:
                    failed += 1
                    known = _translated(error, self.path)
                    if not isinstance(known, DatabaseBusy) or failed == self.options.retries:
                        raise known from error
                time.sleep(self.options.backoff_base * 2 ** (failed - 1))

    @contextmanager
    def reading(self) -> Iterator[Table]:
        """Hand out the table as it is now, for as long as it takes, without keeping anybody waiting."""
        try:
            if self.in_memory:
                with self.lock:
                    yield self._table if self._usable else self._own()
                return
            with self.lock:
                self._own()
                connection, table = self._idle.pop() if self._idle else self._connect(create=False, read_only=True)
            try:
                with table.transaction("DEFERRED"):
                    yield table
            except BaseException:
                connection.close()
                raise
            with self.lock:
                if self._closed:
                    connection.close()
                else:
                    self._idle.append((connection, table))
        except apsw.Error as error:
            raise _translated(error, self.path) from error

    def forked(self) -> None:
        """In a child process: SQLite's connections stay with the parent, and so does the lock."""
        self.lock = threading.RLock()
        self._left_behind += [self._connection, *(connection for connection, _ in self._idle)]
        self._idle = []
        self._usable, self._is_child = False, True

    def optimize(self) -> None:
        """Give unused space back, and let SQLite look at its statistics."""
        self.run(Table.sweep)
        self.run(lambda _table: self._connection.execute("VACUUM").fetchall())
        self.run(lambda _table: self._connection.execute("PRAGMA optimize").fetchall())

    def close(self) -> None:
        """Close the file; more than once is no error."""
        with self.lock:
            if not self._closed and not self._is_child:
                for connection in [*(idle for idle, _ in self._idle), self._connection]:
                    connection.close()
            self._closed, self._usable, self._idle = True, False, []

    def _own(self) -> Table:
        """Return the table, over a connection that is this process's own."""
        if self._closed:
            raise KohakuVaultError(f"the vault {self.path} is closed")
        if self._is_child:
            if self.in_memory:
                raise KohakuVaultError("a vault in memory stays with the process that made it")
            self._connection, self._table = self._connect(create=False)
            self._is_child, self._usable = False, True
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


def _translated(error: apsw.Error, path: str) -> KohakuVaultError:
    """Return what an error of SQLite is to whoever uses a vault."""
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return DatabaseBusy(f"{path} is busy: {error}")
        case apsw.ReadOnlyError():
            return InvalidArgument(f"{path} is open for reading only")
        case apsw.NotADBError() | apsw.CorruptError():
            return Damaged(f"{path} is no readable vault: {error}")
        case apsw.FullError() | apsw.IOError() | apsw.CantOpenError():
            return IoError(f"{path}: {error}")
        case _:
            return KohakuVaultError(f"{path}: {error}")
