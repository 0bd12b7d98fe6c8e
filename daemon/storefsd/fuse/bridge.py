"""The bridge from this side: its operations, each request ended by exactly one reply."""

import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pyfuse3
import trio

from storefs.core.ioctls import IOCTL_TYPE
from storefsd.fuse.added import AddedOperations

try:
    import storefsd.fuse._bridge as _native
except ImportError as error:
    _native, MISSING = None, f"the extension module is not built ({error})"  # type: ignore[assignment]
else:
    MISSING = ""

log = logging.getLogger(__name__)


class Bridge:
    """The bridge of this process's mount; without the extension module, or switched off, it adds nothing.

    Attributes:
        active: whether the next session goes through it.
    """

    def __init__(self, *, wanted: bool) -> None:
        self.active = wanted and _native is not None
        self.why_not = "" if self.active else MISSING or "switched off by the option bridge"
        self._operations: AddedOperations | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def resident(self) -> bool:
        """Whether the kernel opens files by itself: known once the mount is up."""
        return self.active and _native is not None and _native.is_resident()

    def state(self) -> dict[str, object]:
        """Return what the status of the mount says of it."""
        return {"bridge": self.active, "resident": self.resident, "why_not": self.why_not or None}

    def enable(self, operations: AddedOperations) -> None:
        """Let the next session go through the bridge, if it is active."""
        self._operations = operations
        if self.active and _native is not None:
            _native.enable(self._receive, IOCTL_TYPE)

    def store(self, files: tuple[tuple[int, bytes], ...]) -> None:
        """Put whole files into the page cache, in any thread but the loop's. What the kernel does not know is left."""
        if self.active and _native is not None:
            _native.store(files)
            return
        for ino, data in files:
            with contextlib.suppress(OSError):
                pyfuse3.notify_store(ino, 0, data)

    async def run(self, serve: Callable[[], Awaitable[None]]) -> None:
        """Answer requests for as long as ``serve`` runs."""
        async with trio.open_nursery() as self._nursery:
            await serve()
            self._nursery.cancel_scope.cancel()

    def _receive(self, name: str, request: int, *arguments: Any) -> None:
        """Take a request: a read of what is in memory is answered at once, all else in a task of its own."""
        assert self._nursery is not None, "a request came before the loop ran"
        assert self._operations is not None
        parts = self._operations.read_now(*arguments) if name == "read" else None
        if parts is None:
            self._nursery.start_soon(self._answer, name, request, arguments)
        else:
            _check(name, _native.reply_parts(request, parts))

    async def _answer(self, name: str, request: int, arguments: tuple[Any, ...]) -> None:
        try:
            result = await getattr(self._operations, name)(*arguments)
        except pyfuse3.FUSEError as error:
            failed = _native.reply_number(request, "e", error.errno)
        except Exception:
            log.exception("%s failed outside its guard", name)
            failed = _native.reply_number(request, "e", errno.EIO)
        else:
            failed = _reply(name, request, result)
        _check(name, failed)


def _reply(name: str, request: int, result: Any) -> int:
    """End a request that succeeded."""
    if name == "read":
        return _native.reply_parts(request, result)
    if name == "ioctl":
        return _native.reply_ioctl(request, result)
    if name == "allocate":
        return _native.reply_number(request, "e", 0)
    return _native.reply_number(request, "o" if name == "seek" else "c", result)


def _check(name: str, failed: int) -> None:
    if failed and failed != -errno.ENOENT:  # whoever asked may be gone
        log.error("the reply to %s failed: errno %d", name, -failed)
