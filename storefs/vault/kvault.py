"""KVault: a dict of bytes in one SQLite file, with the interface of KohakuVault's class of that name.

Values are bytes and come back as they were put, whatever they begin with. Without the cache a value that was put
survives the death of the process, and with ``durability="full"`` that of the machine.
"""

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from storefs.vault.cache import Cache
from storefs.vault.errors import InvalidArgument, IoError, NotFound
from storefs.vault.file import FileOptions, VaultFile
from storefs.vault.mapping import Key, VaultMapping, key_bytes
from storefs.vault.streams import Reader, Writer, opened
from storefs.vault.table import Table
from storefs.vault.writeback import CAP_BYTES, FLUSH_BYTES


class KVault(VaultMapping):
    """A dict of bytes by key, in a table of an SQLite file. Keys are bytes; a str stands for its UTF-8.

    Any number of threads may share one, and any number of processes may open the file. A key comes out as bytes, and
    keys in the order of their bytes. Every method raises KohakuVaultError and its kin, and nothing is half done then.

    With a cache, what was put is written later; reading, counting and iterating see it all the same. When writing fails
    in the background, the next call says so, once, and does nothing else; nothing that was put is lost by that.
    """

    def __init__(
        self,
        path: str | Path,
        chunk_size: int = 1 << 20,
        retries: int = 4,
        backoff_base: float = 0.02,
        table: str = "kvault",
        enable_wal: bool = True,
        page_size: int = 32768,
        mmap_size: int = 256 << 20,
        cache_kb: int = 100_000,
        *,
        durability: str = "normal",
        read_only: bool = False,
    ) -> None:
        """Open ``path``, or make it; ":memory:" is a file that is nowhere.

        ``chunk_size`` is what streaming reads and writes at a time, in bytes. While another process writes, a call is
        tried ``retries`` times, with ``backoff_base`` seconds between the first two, and twice as many each time after.
        One file can hold several tables. ``enable_wal`` lets readers go on beside a writer. ``page_size`` (of a new
        file) and ``mmap_size`` are in bytes, ``cache_kb``, the memory for pages, in KiB. With ``durability="full"``
        every write is synced to the disk.

        Raises InvalidArgument, Damaged, IoError, DatabaseBusy.
        """
        if not isinstance(path, str | os.PathLike) or not str(path):
            raise InvalidArgument(f"path={path!r} is no path")
        _check_length("chunk_size", chunk_size)
        self._chunk_size = chunk_size
        options = FileOptions(
            table, enable_wal, page_size, mmap_size, cache_kb, retries, backoff_base, durability, read_only
        )
        file = VaultFile(path, options, Table)
        super().__init__(file, Cache(file))
        self._end = weakref.finalize(self, self._cache.abandon)

    # --- streaming ----------------------------------------------------------------------------------------------------

    def put_file(self, key: Key, reader: Reader, size: int | None = None, chunk_size: int | None = None) -> None:
        """Set a value from an open file, ``chunk_size`` bytes in memory at a time.

        ``size`` is how much of it; else all that is left, found by seeking, or, where that cannot be, by copying it to
        a temporary file first. Raises IoError when reading fails or ends early; what was there before stays then.
        """
        name = key_bytes(key)
        piece = self._piece(chunk_size)
        if size is not None and size < 0:
            raise InvalidArgument(f"size={size} must not be negative")
        with opened(reader, size, piece) as source, self._cache:

            def put(table: Table) -> None:
                source.rewind()
                table.put_from(name, source.length, source.read, piece)

            self._file.run(put)
            self._cache.discard(name)

    def get_to_file(self, key: Key, writer: Writer, chunk_size: int | None = None) -> int:
        """Write a value to an open file, ``chunk_size`` bytes in memory at a time; return its length in bytes.

        Nobody waits for that. Raises NotFound, and IoError when writing fails.
        """
        name, piece = key_bytes(key), self._piece(chunk_size)

        def write(data: bytes) -> None:
            try:
                writer.write(data)
            except OSError as error:
                raise IoError(f"cannot write what {name!r} holds: {error}") from error

        with self._cache:
            found = self._cache.get(name)
            if found is None:
                found = self._file.run(lambda table: table.short(name, piece))
        if found is not None:
            write(found)
            return len(found)
        with self._file.reading() as table:
            copied = table.copy(name, write, piece)
        if copied is None:
            raise NotFound(key)
        return copied

    def _piece(self, chunk_size: int | None) -> int:
        if chunk_size is None:
            return self._chunk_size
        _check_length("chunk_size", chunk_size)
        return chunk_size

    # --- the cache ----------------------------------------------------------------------------------------------------

    def enable_cache(
        self,
        cap_bytes: int = CAP_BYTES,
        flush_threshold: int = FLUSH_BYTES,
        flush_interval: float | None = None,
    ) -> None:
        """Keep what is put in memory, ``cap_bytes`` of keys and values at most, and write it in large transactions.

        It is written when ``flush_threshold`` bytes have gathered, when there is no room, when nothing was put for
        ``flush_interval`` seconds (None: not for that), and by ``flush_cache``, ``disable_cache`` and ``close``. A
        value longer than ``cap_bytes`` is written at once. What is in memory dies with the process. When there is a
        cache already, what it holds is written first.
        """
        with self._cache:
            self._cache.enable(cap_bytes, flush_threshold, flush_interval)

    def disable_cache(self) -> None:
        """Write what the cache holds, and go on without it. If writing raises, the cache and what it holds stay."""
        with self._cache:
            self._cache.disable()

    def flush_cache(self) -> int:
        """Write what the cache holds; return how many values that were: 0 while ``lock_cache`` holds it."""
        with self._cache:
            return self._cache.flush()

    @contextmanager
    def cache(
        self, cap_bytes: int = CAP_BYTES, flush_threshold: int | None = None, auto_flush: bool = True
    ) -> Iterator[Self]:
        """Cache what is put inside; at the end, also by an exception, it is written and the cache is as it was before.

        ``flush_threshold`` is a quarter of ``cap_bytes`` if not given. Without ``auto_flush`` the end does nothing: the
        cache stays, with all it holds, until it is flushed, disabled or closed.
        """
        before = self._cache.settings
        self.enable_cache(cap_bytes, max(1, cap_bytes // 4) if flush_threshold is None else flush_threshold)
        try:
            yield self
        finally:
            if auto_flush:
                self.disable_cache()
                if before is not None:
                    self.enable_cache(*before)

    @contextmanager
    def lock_cache(self) -> Iterator[Self]:
        """Write nothing of the cache while inside: what is put there is written together, in one transaction.

        Putting more than the cache takes raises CacheFull then. Without a cache this does nothing.
        """
        with self._cache.locked():
            yield self

    # --- the file -----------------------------------------------------------------------------------------------------

    def optimize(self) -> None:
        """Write what the cache holds, give unused space back, and renew SQLite's statistics. Writers wait meanwhile."""
        with self._cache:
            self._cache.flush()
            self._file.optimize()

    def close(self) -> None:
        """Write what the cache holds, and close the file; more than once is no error.

        If writing raises, the vault stays open, with all that the cache holds.
        """
        if self._end.alive:
            self._cache.close()
            self._end.detach()

    def __enter__(self) -> Self:
        """Return the vault; it is closed at the end."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name the file and the table."""
        return f"KVault({self._file.path!r}, table={self._file.options.table!r})"


def _check_length(name: str, length: object) -> None:
    if not isinstance(length, int) or isinstance(length, bool) or length <= 0:
        raise InvalidArgument(f"{name}={length!r} must be a positive number of bytes")
