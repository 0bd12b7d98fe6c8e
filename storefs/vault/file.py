"""The file of a vault: one connection for many threads, tried again while another process writes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import apsw

from storefs.vault.errors import Damaged, DatabaseBusy, InvalidArgument, IoError, KohakuVaultError
from storefs.vault.table import Table

T = TypeVar("T")
TableT = TypeVar("TableT", bound=Table)

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


class VaultFile(Generic[TableT]):
    """One table of one file."""

    def __init__(self, path: str | Path, options: FileOptions, kind: type[TableT]) -> None:
        """Open the file, or make it. Raises the vault's errors."""
        options.check()
        self.path = str(path)
        self.options = options
        self.lock = threading.RLock()
        """Held by whoever uses the table."""
        self._kind = kind
        self._left_behind: list[Any] = []  # closing them would take the parent's locks away
        self._idle: list[tuple[apsw.Connection, TableT]] = []
        self._closed = self._is_child = False
        try:
            self._connection, self.table = self._connect(create=not options.read_only)
        except apsw.Error as error:
            raise translated(error, self.path) from error
        self.direct: TableT | None = self.table
        """The table, for whoever counts the nanoseconds: under ``lock``, and with ``again`` for what apsw raises.

        None while a cache lies over it (``cover``), while it has to be opened anew, and when it is closed.
        """
        self._covered = False

    @property
    def in_memory(self) -> bool:
        """Whether there is no file: nobody else sees what is in it."""
        return self.path == ":memory:"

    def run(self, call: Callable[[TableT], T]) -> T:
        """Return ``call(table)``, tried again while the file is busy. Raises the vault's errors."""
        with self.lock:
            try:
                return call(self.direct or self._own())
            except apsw.Error as error:
                return self.again(call, error)

    def again(self, call: Callable[[TableT], T], error: apsw.Error) -> T:
        """Do what ``run`` does after a first try, which raised ``error``."""
        failed = 1
        with self.lock:
            while True:
                known = translated(error, self.path)
                if not isinstance(known, DatabaseBusy) or failed == self.options.retries:
                    raise known from error
                time.sleep(self.options.backoff_base * 2 ** (failed - 1))
                try:
                    return call(self.direct or self._own())
                except apsw.Error as another:
                    failed, error = failed + 1, another

    @contextmanager
    def reading(self) -> Iterator[TableT]:
        """Hand out the table as it is now, for as long as it takes, without keeping anybody waiting."""
        try:
            if self.in_memory:
                with self.lock:
                    yield self._own()
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
            raise translated(error, self.path) from error

    def cover(self, covered: bool) -> None:
        """Say whether there is a cache that knows newer values than the table."""
        self._covered = covered
        self.direct = None if covered or self._closed or self._is_child else self.table

    def forked(self) -> None:
        """In a child process: SQLite's connections stay with the parent, and so does the lock."""
        self.lock = threading.RLock()
        self._left_behind += [(self._connection, self.table), *self._idle]
        self._idle = []
        self.direct, self._is_child = None, True

    def optimize(self) -> None:
        """Give unused space back, and let SQLite look at its statistics."""
        self.run(lambda table: table.sweep())
        self.run(lambda _table: self._connection.execute("VACUUM").fetchall())
        self.run(lambda _table: self._connection.execute("PRAGMA optimize").fetchall())

    def close(self) -> None:
        """Close the file; more than once is no error."""
        with self.lock:
            if not self._closed and not self._is_child:
                for connection in [*(idle for idle, _ in self._idle), self._connection]:
                    connection.close()
            self._closed, self.direct, self._idle = True, None, []

    def _own(self) -> TableT:
        """Return the table, over a connection that is this process's own."""
        if self._closed:
            raise KohakuVaultError(f"the vault {self.path} is closed")
        if self._is_child:
            if self.in_memory:
                raise KohakuVaultError("a vault in memory stays with the process that made it")
            self._connection, self.table = self._connect(create=False)
            self._is_child = False
            self.cover(self._covered)
        return self.table

    def _connect(self, *, create: bool, read_only: bool = False) -> tuple[apsw.Connection, TableT]:
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
            return connection, self._kind(connection, options.table, create=create)
        except BaseException:
            connection.close()
            raise


def translated(error: apsw.Error, path: str) -> KohakuVaultError:
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
