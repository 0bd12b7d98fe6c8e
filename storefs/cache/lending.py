"""Memory that is lent for direct I/O, and used again as soon as nobody has a view of it.

It consists of huge pages. Disks, virtual ones above all, take a good third less time for one long piece of memory than
for the many pages that it consists of otherwise.
"""

import contextlib
import ctypes
import mmap
import sys
import threading
import weakref
from collections import deque

_HUGE = 2 << 20
"""The length of a huge page (x86-64, and arm64 with pages of 4 KiB)."""

_LONG_PAGES = 4


class _Loan(weakref.ref[object]):
    """A reference to a run of pages that is lent, which says which those are: the first, and how many."""

    pages: tuple[int, int]


class Memory:
    """Memory in huge pages, lent in runs of them.

    All of it is one mapping, so that pages once touched serve for runs of any length: the kernel clears a page before
    it is used first, which takes as long as to read it from the disk.
    """

    def __init__(self, bytes_max: int) -> None:
        pages = bytes_max // _HUGE
        self._mapping, self._start = _huge_pages(pages)
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


class Pieces:
    """Memory in a few pieces of one length, lent one by one in one thread: that takes a tenth of the time of a run."""

    def __init__(self, count: int, length: int) -> None:
        self._mapping, start = _huge_pages(-(-count * length // _HUGE))
        piece_of = ctypes.c_char * length
        self._pieces = [piece_of.from_buffer(self._mapping, start + number * length) for number in range(count)]
        self._length = length
        for piece in self._pieces:  # counted as ``take`` does it
            self._references = sys.getrefcount(piece)

    @property
    def bytes(self) -> int:
        """How much is lent."""
        lent = 0
        for piece in self._pieces:
            lent += self._length * (sys.getrefcount(piece) > self._references)
        return lent

    def take(self, length: int) -> memoryview | None:
        """Return a piece, if it is as long as that, until nobody has a view of it any more; None if none is left."""
        if length <= self._length:
            for piece in self._pieces:
                if sys.getrefcount(piece) == self._references:
                    return memoryview(piece).cast("B")
        return None


def _huge_pages(count: int) -> tuple[mmap.mmap, int]:
    """Return a mapping, and where in it so many huge pages begin."""
    # Longer by a huge page, so that it has an aligned part; what is not used of it takes no memory.
    mapping = mmap.mmap(-1, (count + 1) * _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping, -ctypes.addressof(ctypes.c_char.from_buffer(mapping)) % _HUGE
