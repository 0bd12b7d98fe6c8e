"""Direct I/O: bytes of cached shards go between the disk and memory of ours, past the page cache.

The kernel keeps the pages of the mount's own files. A second copy of the same bytes, as pages of the cache's files,
would push others out of memory, and making it takes longer than all the rest of such a read or write. Where a file
system does not do it (older tmpfs, some overlays), reads and writes are ordinary ones.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from storefs.cache.lending import Memory, Pieces
from storefs.model import Buffer

_ALIGNED = 4096
"""What offset, length and memory are multiples of: disks want 512 or this."""

_PIECE_BYTES = 4 << 20
"""How much is written at once: who reads other parts of the file waits for that long."""

_WRITE_BYTES_MIN = 256 << 10


def open_direct(path: Path) -> int:
    """Return a descriptor for ``DirectIO.read``. Raises OSError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class DirectIO:
    """Reads into and writes from memory that is lent; when none is left, reads and writes are ordinary ones."""

    def __init__(self, memory: Memory | Pieces) -> None:
        """Where the memory serves all threads, so does this."""
        self._memory = memory

    @property
    def bytes(self) -> int:
        """How much of the memory is in use."""
        return self._memory.bytes

    def read(self, fd: int, offset: int, length: int) -> memoryview | None:
        """Return bytes of a file that ``open_direct`` opened, or None when it ends before. Raises OSError.

        Whoever keeps the view, or a part of it, keeps all of the memory that was lent for it.
        """
        skip = offset % _ALIGNED
        aligned = -(-(skip + length) // _ALIGNED) * _ALIGNED
        memory = self._memory.take(aligned)
        if memory is None:
            with _ordinary(fd):
                data = os.pread(fd, length, offset)
            return memoryview(data) if len(data) == length else None
        try:
            got = os.preadv(fd, [memory[:aligned]], offset - skip)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            with _ordinary(fd):
                got = os.preadv(fd, [memory[:aligned]], offset - skip)
        return memory[skip : skip + length] if got >= skip + length else None

    def memory(self, offset: int, length: int) -> memoryview | None:
        """Return memory for bytes that are to be written at ``offset`` of a file; None when all is in use.

        For short ones there is none: they are written the ordinary way.
        """
        if length < _WRITE_BYTES_MIN:
            return None
        skip = offset % _ALIGNED
        memory = self._memory.take(skip + length)
        return memory[skip : skip + length] if memory is not None else None

    def lacks_memory(self, offset: int, length: int) -> bool:
        """Whether ``memory`` would have some, were not all of it in use."""
        return length >= _WRITE_BYTES_MIN and self.memory(offset, length) is None

    @staticmethod
    def write(path: Path, offset: int, data: Buffer, *, direct: bool) -> None:
        """Write into a file, which may have to be made; with ``direct`` past the page cache, if it lies in ``memory``.

        Raises OSError.
        """
        first, last = -offset % _ALIGNED, len(data) - (offset + len(data)) % _ALIGNED
        view = memoryview(data)
        if not direct or last - first < _WRITE_BYTES_MIN or not _lies_aligned(view, offset):
            _write(path, offset, view, 0)
            return
        try:
            _write(path, offset + first, view[first:last], os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            _write(path, offset, view, 0)
            return
        for start, end in ((0, first), (last, len(data))):
            if start < end:
                _write(path, offset + start, view[start:end], 0)


@contextlib.contextmanager
def _ordinary(fd: int) -> Iterator[None]:
    """Let reads go through the page cache."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    try:
        yield
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def _lies_aligned(view: memoryview, offset: int) -> bool:
    """Whether bytes lie in memory as they will in the file, which ``memory`` sees to."""
    return not view.readonly and (ctypes.addressof(ctypes.c_char.from_buffer(view)) - offset) % _ALIGNED == 0


def _write(path: Path, offset: int, view: memoryview, flags: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    try:
        at = 0
        while at < len(view):
            at += os.pwrite(fd, view[at : at + _PIECE_BYTES], offset + at)
    finally:
        os.close(fd)
