"""The operations that the bridge adds to those of pyfuse3, or takes over from it."""

import errno
import logging

from storefs.errors import PosixError
from storefs.volume.files import few
from storefs.volume.history import is_past
from storefs.volume.volume import Volume
from storefsd.control import ioctl
from storefsd.control.files import ControlFiles, is_control
from storefsd.fuse.guard import changing, guarded

log = logging.getLogger(__name__)

Parts = tuple[bytes | bytearray | memoryview, ...]
"""An answer to a read, in pieces that belong one behind the other."""


class AddedOperations:
    """read, lseek, fallocate, copy_file_range and ioctl, answered by a volume."""

    def __init__(self, volume: Volume, control_files: ControlFiles) -> None:
        self._volume = volume
        self._control = control_files

    def count_error(self, call: str, error: Exception) -> None:
        """Count a failure for the status."""
        del call, error
        self._volume.control.errors += 1

    async def calm(self) -> None:
        """Return when a change of the tree is in nobody's way."""
        await self._volume.engine.aside.calm()

    def read_now(self, inode: int, offset: int, size: int) -> Parts | None:
        """Return the answer to a read if that needs no waiting, else None. Whatever goes wrong, ``read`` will tell."""
        if is_control(inode) or is_past(inode):
            return None
        try:
            return self._volume.files.read_now(inode, offset, size)
        except Exception as error:
            log.debug("reading inode %d at once failed: %r", inode, error)
            return None

    @guarded
    async def read(self, inode: int, offset: int, size: int) -> Parts:
        """Return the answer to a read that ``read_now`` did not have."""
        if is_control(inode):
            return (self._control.read(inode)[offset : offset + size],)
        if is_past(inode):
            return few(await self._volume.history.read(inode, offset, size))
        return await self._volume.files.read_waiting(inode, offset, size)

    @guarded
    async def seek(self, inode: int, offset: int, whence: int) -> int:
        """Return the next data or hole."""
        if is_control(inode) or is_past(inode):
            raise PosixError(errno.EINVAL)
        return self._volume.files.seek(inode, offset, whence)

    @changing
    async def allocate(self, inode: int, mode: int, offset: int, length: int) -> None:
        """Allocate, punch a hole, or zero a range."""
        if is_control(inode) or is_past(inode):
            raise PosixError(errno.EPERM if is_control(inode) else errno.EROFS)
        await self._volume.files.allocate(inode, mode, offset, length)

    @changing
    async def copy_range(self, source: int, source_offset: int, target: int, target_offset: int, length: int) -> int:
        """Copy bytes from file to file; return how many."""
        if any(is_control(ino) or is_past(ino) for ino in (source, target)):
            raise PosixError(errno.EXDEV)  # then the program copies by reading and writing
        return await self._volume.files.copy_range(source, source_offset, target, target_offset, length)

    @guarded
    async def ioctl(self, inode: int, command: int, uid: int, data: bytes, room: int) -> bytes:
        """Run a control verb."""
        return (await ioctl.run(self._volume.control, command, inode, uid, self._control.uid))[:room]
