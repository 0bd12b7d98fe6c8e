"""ioctl: the control verbs on any file of the mount, on read-only mounts too: their control files take no writes."""

import errno
from collections.abc import Awaitable, Callable

from storefs.core.ioctls import SYNC, WARM
from storefs.errors import PosixError
from storefs.volume.control import Control

_VERBS: dict[int, Callable[[Control, int], Awaitable[None]]] = {
    SYNC: lambda control, _: control.sync(),
    WARM: lambda control, ino: control.warm(ino),
}


async def run(control: Control, command: int, ino: int, uid: int, owner: int) -> bytes:
    """Run the verb of an ioctl request on ``ino`` for user ``uid``; return its output.

    Raises PosixError (ENOTTY, EPERM) and the verb's errors.
    """
    verb = _VERBS.get(command)
    if verb is None:
        raise PosixError(errno.ENOTTY, f"ioctl {command:#x}")
    if uid not in (0, owner):
        raise PosixError(errno.EPERM, "verbs are for root and the owner of the mount")
    await verb(control, ino)
    return b""
