"""The kernel's caches: invalidations and pages, pushed from threads of their own.

They lock what requests lock as well, so they must never run on the request loop. Each inode (of an entry: its
directory) always goes through the same one of a few queues, in order; one that is held up holds up that queue only.
"""

import contextlib
import errno
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pyfuse3
import trio

from storefsd.fuse.bridge import Bridge

log = logging.getLogger(__name__)

_QUEUES = 16
"""With consistency=strict a directory is locked while a name in it waits for its commit, and with it one queue."""

_STORE_FILES = 64
"""How many files are put into the page cache in one go."""

_WAITING_BYTES_MAX = 64 << 20
_STOP_S = 2.0


class KernelPushes:
    """Implements the port KernelCache on the mount of this process."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._queues: list[queue.SimpleQueue[Callable[[], None] | None]] = [queue.SimpleQueue() for _ in range(_QUEUES)]
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, args=(one,), name=f"kernel-{number}", daemon=True)
            for number, one in enumerate(self._queues)
        ]

    def start(self) -> None:
        """Begin; the mount is up. What was asked before is done now."""
        if self._stopping:
            return
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads: the mount is going, and nothing that waits still matters."""
        self._stopping = True
        for one in self._queues:
            one.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_STOP_S)

    def forget_inode(self, ino: int, *, attributes_only: bool = False) -> None:
        """Drop the cached attributes of ``ino`` and, unless ``attributes_only``, its pages."""
        self._queues[ino % _QUEUES].put(lambda: pyfuse3.invalidate_inode(ino, attr_only=attributes_only))

    def forget_names(self, parent: int, names: Sequence[bytes]) -> None:
        """Drop the cached answers to the lookups of ``names`` in ``parent``, and the cached listing of ``parent``."""
        self._queues[parent % _QUEUES].put(lambda: _forget_names(parent, names))

    async def settled(self) -> None:
        """Return when all that was asked before is done; at once while no thread is there to do it."""
        if self._stopping or not self._threads[0].is_alive():
            return
        left, token, done = len(self._queues), trio.lowlevel.current_trio_token(), trio.Event()

        def count() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        def arrive() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(count)

        for one in self._queues:
            one.put(arrive)
        await done.wait()

    def store(self, contents: Mapping[int, bytes]) -> bool:
        """Put whole contents of files into the page cache; False when too much waits already."""
        total = sum(map(len, contents.values()))
        with self._lock:
            if self._waiting_bytes + total > _WAITING_BYTES_MAX:
                return False
            self._waiting_bytes += total
        for number in range(_QUEUES):
            mine = [item for item in contents.items() if item[0] % _QUEUES == number]
            for at in range(0, len(mine), _STORE_FILES):
                part = tuple(mine[at : at + _STORE_FILES])
                self._queues[number].put(partial(self._store, part))
        return True

    def _store(self, part: tuple[tuple[int, bytes], ...]) -> None:
        try:
            self._bridge.store(part)
        finally:
            with self._lock:
                self._waiting_bytes -= sum(len(data) for _, data in part)

    def _work(self, calls: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
        while (call := calls.get()) is not None and not self._stopping:
            try:
                call()
            except OSError as error:
                _report(error)
            except Exception:
                log.exception("pushing to the kernel failed")


def _forget_names(parent: int, names: Sequence[bytes]) -> None:
    for name in names:
        try:
            pyfuse3.invalidate_entry(parent, name)
        except OSError as error:
            _report(error)
    pyfuse3.invalidate_inode(parent, attr_only=False)


def _report(error: OSError) -> None:
    if error.errno != errno.ENOENT:  # the kernel does not know it: nothing to forget
        log.warning("cannot push to the kernel: %s", error)
