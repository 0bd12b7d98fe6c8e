"""A write-back cache of values: what is put stays in memory until enough has gathered, then goes in one transaction."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storefs.vault.errors import CacheFull, InvalidArgument

CAP_BYTES = 64 << 20
FLUSH_BYTES = 16 << 20


class WriteBack:
    """Values that are put and not written yet. It never holds more than ``cap_bytes`` of keys and values.

    Its owner sees that one thread at a time uses it.
    """

    def __init__(self, cap_bytes: int, flush_threshold: int, write: Callable[[list[tuple[bytes, bytes]]], object]):
        """``write`` makes a list of items last, all of it or, raising, nothing."""
        if cap_bytes <= 0 or flush_threshold <= 0:
            raise InvalidArgument(f"cap_bytes={cap_bytes} and flush_threshold={flush_threshold} must be positive")
        self.cap_bytes = cap_bytes
        self.flush_threshold = min(flush_threshold, cap_bytes)
        self._write = write
        self._values: dict[bytes, bytes] = {}
        self._bytes = 0
        self._locks = 0
        self.touched_s = time.monotonic()
        """When something was last put, by the monotonic clock."""

    def __len__(self) -> int:
        return len(self._values)

    @property
    def locked(self) -> bool:
        """Whether it must not be flushed."""
        return self._locks > 0

    def get(self, key: bytes) -> bytes | None:
        """Return what was put, or None."""
        return self._values.get(key)

    def items(self, prefix: bytes) -> dict[bytes, bytes]:
        """Return the values whose keys start with ``prefix``."""
        return {key: value for key, value in self._values.items() if key.startswith(prefix)}

    def put(self, key: bytes, value: bytes) -> bool:
        """Take a value in, writing others first where there is no room; False if it is longer than the whole cache.

        Raises CacheFull when that would take a flush while it is locked, and what writing raises. Nothing that it held
        is lost then; the new value is held too unless it was CacheFull or there was no room.
        """
        self.touched_s = time.monotonic()
        size = len(key) + len(value)
        before = self._values.get(key)
        total = self._bytes + size - (len(key) + len(before) if before is not None else 0)
        if total > self.cap_bytes:
            if self.locked:
                raise CacheFull(
                    f"the locked cache holds {self._bytes} of {self.cap_bytes} bytes: no room for {size} more"
                )
            self.flush()
            total = size
            if size > self.cap_bytes:
                return False
        self._values[key] = value
        self._bytes = total
        if total >= self.flush_threshold and not self.locked:
            self.flush()
        return True

    def discard(self, key: bytes) -> bool:
        """Forget a value; return whether there was one."""
        value = self._values.pop(key, None)
        if value is None:
            return False
        self._bytes -= len(key) + len(value)
        return True

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()
        self._bytes = 0

    def flush(self, *, force: bool = False) -> int:
        """Write all values, in one transaction; return how many. None is lost when writing raises.

        0 while it is locked, unless by ``force``.
        """
        if not self._values or (self.locked and not force):
            return 0
        self._write(list(self._values.items()))
        count = len(self._values)
        self.clear()
        return count

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nothing is flushed inside."""
        self._locks += 1
        try:
            yield
        finally:
            self._locks -= 1


class IdleFlusher:
    """A thread that calls ``flush`` whenever it is due: ``due_s`` says in how many seconds that is next."""

    def __init__(self, due_s: Callable[[], float], flush: Callable[[], None]) -> None:
        self._due_s = due_s
        self._flush = flush
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="vault-flush", daemon=True).start()

    def _run(self) -> None:
        while not self._stopped.wait(max(self._due_s(), 0.001)):
            if self._due_s() <= 0:
                self._flush()

    def stop(self) -> None:
        """Let the thread end. It may still be waiting for a lock that the caller holds: ``flush`` looks what is due."""
        self._stopped.set()
