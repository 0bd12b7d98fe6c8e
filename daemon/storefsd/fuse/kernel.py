"""The kernel's caches: invalidations, pushed from threads of their own.

They lock what requests lock as well, so they must never run on the request loop. Each inode (of an entry: its
directory) always goes through the same one of a few queues, in order; one that is held up holds up that queue only.
"""

import errno
import logging
import queue
import threading
from collections.abc import Callable

import pyfuse3

log = logging.getLogger(__name__)

_QUEUES = 4


class KernelInvalidations:
    """Implements the port KernelCache on the mount of this process."""

    def __init__(self) -> None:
        self._queues: list[queue.SimpleQueue[Callable[[], None] | None]] = [queue.SimpleQueue() for _ in range(_QUEUES)]
        self._threads = [
            threading.Thread(target=_work, args=(one,), name=f"invalidate-{number}", daemon=True)
            for number, one in enumerate(self._queues)
        ]

    def start(self) -> None:
        """Begin; the mount is up. What was asked before is done now."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; nothing is waited for, the mount is going."""
        for one in self._queues:
            one.put(None)

    def forget_inode(self, ino: int, *, attributes_only: bool = False) -> None:
        """Drop the cached attributes of ``ino`` and, unless ``attributes_only``, its pages."""
        self._queues[ino % _QUEUES].put(lambda: pyfuse3.invalidate_inode(ino, attr_only=attributes_only))

    def forget_entry(self, parent: int, name: bytes) -> None:
        """Drop the cached answer to the lookup of ``name`` in ``parent``, and the cached listing of ``parent``."""
        self._queues[parent % _QUEUES].put(lambda: pyfuse3.invalidate_entry(parent, name))
        self._queues[parent % _QUEUES].put(lambda: pyfuse3.invalidate_inode(parent, attr_only=False))


def _work(calls: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
    while (call := calls.get()) is not None:
        try:
            call()
        except OSError as error:
            if error.errno != errno.ENOENT:  # the kernel does not know it: nothing to forget
                log.warning("cannot invalidate: %s", error)
