"""ioctl: the control verbs on any file of the mount, for programs that hold it open already."""

import errno

from storefs.errors import PosixError
from storefsd.control.files import ControlFiles

IOCTL_TYPE = 0xF5
"""The type (bits 8 to 15) of all requests of storefs, as Linux's _IO(type, number) puts it."""

SYNC = IOCTL_TYPE << 8 | 1
"""_IO(0xF5, 1): what a write to the control file ``sync`` does."""

_VERBS = {SYNC: b"sync"}


async def run(control: ControlFiles, command: int, uid: int) -> bytes:
    """Run the verb of an ioctl request; return its output. Raises PosixError (ENOTTY, EPERM) and the verb's errors."""
    name = _VERBS.get(command)
    if name is None:
        raise PosixError(errno.ENOTTY, f"ioctl {command:#x}")
    if uid not in (0, control.uid):
        raise PosixError(errno.EPERM, f"ioctl {name.decode()} is for root and the owner of the mount")
    ino = control.lookup(name)
    assert ino is not None
    await control.write(ino)
    return b""
