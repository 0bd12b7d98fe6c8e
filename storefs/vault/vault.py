"""The vault of a cache: bytes by key with the order of their last use, over a file and a table as ``KVault`` is."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import apsw

from storefs.errors import Corrupt, NoSpace, StorefsError
from storefs.vault.errors import Damaged, IoError
from storefs.vault.file import FileOptions, VaultFile, translated
from storefs.vault.used import UsedTable

T = TypeVar("T")

_OPTIONS = FileOptions(
    table="vault",
    enable_wal=True,
    page_size=16384,
    mmap_size=0,
    cache_kb=2000,
    retries=1,
    backoff_base=0,
    durability="normal",
    read_only=False,
)
_TOUCHED_MAX = 10_000
"""How many uses are noted in memory; what is read beyond counts as a use only after they are written down."""

_PAGE_KEYS = 1000
_PAGE_BYTES = 8 << 20


class Vault:
    """A map from bytes to bytes. One thread at a time uses it; a killed process leaves it readable."""

    def __init__(self, path: Path) -> None:
        """Open ``path`` or make it. Raises Corrupt for a damaged file, as every method does."""
        self.path = path
        self._touched: dict[bytes, int] = {}
        try:
            self._file = VaultFile(path, _OPTIONS, UsedTable)
        except Damaged as error:
            raise Corrupt(str(error)) from error
        self.bytes = self._run(lambda table: table.total())
        """How many bytes all values have together."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value, or None. Counts as a use."""
        table = self._file.table
        try:
            value = table.get(key)
        except apsw.Error as error:
            raise self._known(error) from error
        if value is not None and (len(self._touched) < _TOUCHED_MAX or key in self._touched):
            table.clock += 1
            self._touched[key] = table.clock
        return value

    def exists(self, key: bytes) -> bool:
        """Whether the key has a value. Does not count as a use."""
        try:
            return self._file.table.exists(key)
        except apsw.Error as error:
            raise self._known(error) from error

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Set values, all or none of them. Raises NoSpace when the disk is full."""

        def put(table: UsedTable) -> int:
            grown = 0
            with table.transaction():
                for key, value in items:
                    grown += len(value) - (table.size(key) or 0)
                    table.put(key, value)
            return grown

        self.bytes += self._write(put)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Remove values; keys without one are no error. Raises NoSpace."""

        def delete(table: UsedTable) -> int:
            gone = 0
            with table.transaction():
                for key in keys:
                    gone += table.size(key) or 0
                    table.delete(key)
                    self._touched.pop(key, None)
            return gone

        self.bytes -= self._write(delete)

    def prefixed(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys that start with ``prefix``, and their values, in key order; read page by page."""
        after: bytes | None = None
        while page := self._page(prefix, after):
            yield from page
            after = page[-1][0]

    def _page(self, prefix: bytes, after: bytes | None) -> list[tuple[bytes, bytes]]:
        return self._run(lambda table: table.items(prefix, after, _PAGE_KEYS, _PAGE_BYTES))

    def least_used(self, prefix: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return up to ``limit`` (key, size in bytes) of the keys that start with ``prefix``, longest unused first."""
        self.flush()
        return self._run(lambda table: table.least_used(prefix, limit))

    def flush(self) -> None:
        """Write down the uses noted in memory. Raises NoSpace."""
        touched, self._touched = self._touched, {}
        self._write(lambda table: table.note((used, key) for key, used in touched.items()))

    def close(self) -> None:
        """Write what is noted and close the file."""
        self.flush()
        self._file.close()

    def _run(self, call: Callable[[UsedTable], T]) -> T:
        try:
            return call(self._file.table)
        except apsw.Error as error:
            raise self._known(error) from error

    def _write(self, call: Callable[[UsedTable], T]) -> T:
        try:
            return self._run(call)
        except IoError as error:
            raise NoSpace(f"the cache takes nothing in: {error}") from error

    def _known(self, error: apsw.Error) -> StorefsError:
        known = translated(error, str(self.path))
        return Corrupt(str(known)) if isinstance(known, Damaged) else known
