"""ioctl: the control verbs on any file of the mount, on read-only mounts too: their control files take no writes."""

import errno
from collections.abc import Awaitable, Callable

from storefs.errors import PosixError
from storefs.volume.control import Control

IOCTL_TYPE = 0xF5
"""The type (bits 8 to 15) of all requests of storefs, as Linux's _IO(type, number) puts it."""

SYNC = IOCTL_TYPE << 8 | 1
"""_IO(0xF5, 1): what a write to the control file ``sync`` does."""

WARM = IOCTL_TYPE << 8 | 2
"""_IO(0xF5, 2): bring all that this file or directory holds to the disk of this machine."""

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
