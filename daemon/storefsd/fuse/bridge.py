"""The bridge from this side: the operations that it adds, each request a task that ends with exactly one reply."""

import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pyfuse3
import trio

from storefsd.control.ioctl import IOCTL_TYPE
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
        if self._nursery is None:
            raise RuntimeError("a request came before the loop ran")
        self._nursery.start_soon(self._answer, name, request, arguments)

    async def _answer(self, name: str, request: int, arguments: tuple[Any, ...]) -> None:
        assert _native is not None
        try:
            result = await getattr(self._operations, name)(*arguments)
        except pyfuse3.FUSEError as error:
            failed = _native.reply_error(request, error.errno)
        except Exception:
            log.exception("%s failed outside its guard", name)
            failed = _native.reply_error(request, errno.EIO)
        else:
            failed = _reply(_native, name, request, result)
        if failed and failed != -errno.ENOENT:  # whoever asked may be gone
            log.error("the reply to %s failed: errno %d", name, -failed)


def _reply(native: Any, name: str, request: int, result: Any) -> int:
    reply = {
        "seek": native.reply_offset,
        "copy_range": native.reply_count,
        "ioctl": native.reply_ioctl,
        "allocate": lambda request, _: native.reply_error(request, 0),
    }[name]
    return int(reply(request, result))
