"""Direct I/O: bytes of cached shards go between the disk and memory of ours, past the page cache.

The kernel keeps the pages of the mount's own files. A second copy of the same bytes, as pages of the cache's files,
would push others out of memory, and making it takes longer than all the rest of such a read or write. Where a file
system does not do it (older tmpfs, some overlays), reads and writes are ordinary ones.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from storefs.model import Buffer

_ALIGNED = 4096
"""What offset, length and memory are multiples of: disks want 512 or this."""

_HUGE = 2 << 20
"""The length of a huge page (x86-64, and arm64 with pages of 4 KiB). Disks, virtual ones above all, take a good third
less time for one long piece of memory than for the many pages that it consists of otherwise."""

_LONG_PAGES = 4

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
    """Reads into and writes from memory that is used again as soon as nobody holds a view of it; in any thread."""

    def __init__(self, bytes_max: int) -> None:
        """The memory takes ``bytes_max`` at most. When none is left, reads and writes are ordinary ones."""
        self._memory = _Memory(bytes_max)

    @property
    def bytes(self) -> int:
        """How much of the memory is in use."""
        return self._memory.bytes

    def read(self, fd: int, offset: int, length: int) -> memoryview | None:
        """Return bytes of a file that ``open_direct`` opened, or None when it ends before. Raises OSError.

        Whoever keeps the view, or a part of it, keeps all of a buffer of 2 MiB or a multiple of it.
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


class _Loan(weakref.ref[object]):
    """A reference to a run of pages that is lent, which says which those are: the first, and how many."""

    pages: tuple[int, int]


class _Memory:
    """Memory in huge pages, lent in runs of them.

    All of it is one mapping, so that pages once touched serve for runs of any length: the kernel clears a page before
    it is used first, which takes as long as to read it from the disk.
    """

    def __init__(self, bytes_max: int) -> None:
        pages = bytes_max // _HUGE
        # Longer by a huge page, so that it has an aligned part; what is not used of it takes no memory.
        self._mapping = mmap.mmap(-1, (pages + 1) * _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel without them
            self._mapping.madvise(mmap.MADV_HUGEPAGE)
        self._start = -ctypes.addressof(ctypes.c_char.from_buffer(self._mapping)) % _HUGE
        self._used = bytearray(pages)
        self._loans: dict[int, _Loan] = {}
        """By the first page."""
        self._ended: deque[_Loan] = deque()
        """Those that nobody has a view of any more. The last view can go at any time, even while the lock is held."""
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """How much is lent."""
        with self._lock:
            self._take_back()
            return sum(self._used) * _HUGE

    def take(self, length: int) -> memoryview | None:
        """Return aligned memory of that length or more until nobody has a view of it any more; None if none is left."""
        pages = -(-length // _HUGE)
        with self._lock:
            self._take_back()
            # Long runs from one end, short ones from the other: those that stay do not break up the room for the rest.
            find = self._used.find if pages < _LONG_PAGES else self._used.rfind
            first = find(bytes(pages))
            if first < 0:
                return None
            self._used[first : first + pages] = bytes([1]) * pages
            run = (ctypes.c_char * (pages * _HUGE)).from_buffer(self._mapping, self._start + first * _HUGE)
            self._loans[first] = _Loan(run, self._ended.append)
            self._loans[first].pages = first, pages
        return memoryview(run).cast("B")

    def _take_back(self) -> None:
        while self._ended:
            first, pages = self._ended.popleft().pages
            self._used[first : first + pages] = bytes(pages)
            del self._loans[first]


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
