"""The cache of one vault: its write-back, the thread that flushes it, and what went wrong in there."""

import logging
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from storefs.vault.errors import InvalidArgument, KohakuVaultError
from storefs.vault.file import VaultFile
from storefs.vault.table import Table
from storefs.vault.writeback import IdleFlusher, WriteBack

log = logging.getLogger(__name__)

Settings = tuple[int, int, float | None]
"""cap_bytes, flush_threshold, flush_interval."""


class Cache:
    """The write-back of a vault, if it has one.

    A vault does everything inside ``with cache``: that keeps other threads out, and raises what the latest flush in the
    background raised, once. While it has nothing to hold or to raise, the file is not covered by it.
    """

    def __init__(self, file: VaultFile[Table]) -> None:
        self._file = file
        self._held: WriteBack | None = None
        self._interval_s: float | None = None
        self._flusher: IdleFlusher | None = None
        self._failure: KohakuVaultError | None = None
        _every.add(self)

    def __enter__(self) -> None:
        self._file.lock.acquire()
        if self._failure is not None:
            try:
                self._tell()
            finally:
                self._file.lock.release()

    def __exit__(self, *error: object) -> None:
        self._file.lock.release()

    @property
    def settings(self) -> Settings | None:
        """How it was enabled; None while there is none."""
        held = self._held
        return (held.cap_bytes, held.flush_threshold, self._interval_s) if held is not None else None

    def _tell(self) -> None:
        failure, self._failure = self._failure, None
        self._cover()
        if failure is not None:
            raise failure

    def _cover(self) -> None:
        self._file.cover(self._held is not None or self._failure is not None)

    # --- what it holds ------------------------------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes) -> bool:
        """Take a value in; False if it has to be written by itself. The caller has the lock, that is all it needs."""
        if self._failure is not None:
            self._tell()
        return self._held is not None and self._held.put(key, value)

    def get(self, key: bytes) -> bytes | None:
        """Return a value that is not written yet, or None."""
        return self._held.get(key) if self._held is not None else None

    def items(self, prefix: bytes) -> dict[bytes, bytes]:
        """Return what is not written yet of the keys that start with ``prefix``."""
        return self._held.items(prefix) if self._held is not None else {}

    def discard(self, key: bytes) -> bool:
        """Forget a value that is not written yet; return whether there was one."""
        return self._held is not None and self._held.discard(key)

    def clear(self) -> None:
        """Forget all of them."""
        if self._held is not None:
            self._held.clear()

    # --- writing it ---------------------------------------------------------------------------------------------------

    def enable(self, cap_bytes: int, flush_threshold: int, flush_interval: float | None) -> None:
        """Begin, or begin anew with other settings."""
        if flush_interval is not None and flush_interval <= 0:
            raise InvalidArgument(f"flush_interval={flush_interval} must be positive")
        fresh = WriteBack(cap_bytes, flush_threshold, lambda items: self._file.run(lambda table: table.put_many(items)))
        self.disable()
        self._held, self._interval_s = fresh, flush_interval
        self._cover()
        if flush_interval is not None:
            self._flusher = IdleFlusher(self._due_s, self._flush_idle)

    def disable(self) -> None:
        """Write all and end, locked or not."""
        if self._held is not None:
            self._held.flush(force=True)
        if self._flusher is not None:
            self._flusher.stop()
        self._held = self._flusher = self._interval_s = None
        self._cover()

    def flush(self) -> int:
        """Write all, unless it is locked; return how many values that were."""
        return self._held.flush() if self._held is not None else 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing is written inside. Other threads may use the vault."""
        with self:
            held = self._held
        if held is None:
            yield
            return
        with held.lock():
            yield

    def _due_s(self) -> float:
        """Return in how many seconds what is held is to be written: it was idle for so long then."""
        held, interval_s = self._held, self._interval_s
        if held is None or interval_s is None:
            return 1.0
        return held.touched_s + interval_s - time.monotonic() if len(held) and not held.locked else interval_s

    def _flush_idle(self) -> None:
        with self._file.lock:
            try:
                if self._due_s() <= 0:
                    self.flush()
            except KohakuVaultError as error:
                log.warning("what a vault has in memory could not be written, and is kept: %s", error)
                self._failure = error
                if self._held is not None:
                    self._held.touched_s = time.monotonic()

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write all, and close the file."""
        with self._file.lock:
            self.disable()
            self._file.close()

    def abandon(self) -> None:
        """Close a vault that nobody has any more: at the end of the program, or because it was let go."""
        try:
            self.close()
        except KohakuVaultError:
            log.exception("a vault was let go, and what it had in memory could not be written")

    def forked(self) -> None:
        """In a child process: what is held is the parent's to write, and so are its thread and its lock."""
        self._file.forked()
        self._flusher = self._failure = None
        self._cover()
        if self._held is not None:
            self._held.clear()


_every: "weakref.WeakSet[Cache]" = weakref.WeakSet()


def _after_fork() -> None:
    for cache in list(_every):
        cache.forked()


os.register_at_fork(after_in_child=_after_fork)
