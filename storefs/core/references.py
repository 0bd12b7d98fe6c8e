"""Which inodes the kernel holds, and what it may have of their pages.

A million inodes are held after a walk through a million files, so each takes a byte here: pages of bytes by inode
number, which one mount gives out almost one after the other.
"""

_PAGE_INOS = 1024
_COUNT_MASK = 0x7F
_MANY = _COUNT_MASK
"""From this count on, the true one is kept apart."""

_STORED = 0x80

_FRESH = bytes(0 < byte < _STORED for byte in range(256))
"""For bytes.translate: which bytes stand for held inodes without a mark."""


class References:
    """Lookup counts of the kernel, per inode, with a mark that goes with the last reference.

    ``stored``: the kernel was given its whole content, for the page cache.
    """

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._held: dict[int, int] = {}
        """How many inodes of each page are held."""
        self._many: dict[int, int] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, ino: int) -> bool:
        page = self._pages.get(ino // _PAGE_INOS)
        return page is not None and page[ino % _PAGE_INOS] != 0

    def add(self, ino: int) -> None:
        """Count one more reference."""
        number, at = divmod(ino, _PAGE_INOS)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = bytearray(_PAGE_INOS)
            self._held[number] = 0
        count = page[at] & _COUNT_MASK
        if count == 0:
            self._held[number] += 1
            self._length += 1
        if count < _MANY - 1:
            page[at] += 1
        elif count < _MANY:
            page[at] += 1
            self._many[ino] = _MANY
        else:
            self._many[ino] += 1

    def remove(self, ino: int, count: int) -> bool:
        """Take ``count`` references away; return whether none is left."""
        number, at = divmod(ino, _PAGE_INOS)
        page = self._pages.get(number)
        if page is None or page[at] == 0:
            return True
        left = (self._many.pop(ino, 0) or page[at] & _COUNT_MASK) - count
        if left > 0:
            page[at] = page[at] & ~_COUNT_MASK | min(left, _MANY)
            if left >= _MANY:
                self._many[ino] = left
            return False
        page[at] = 0
        self._length -= 1
        self._held[number] -= 1
        if not self._held[number]:
            del self._pages[number], self._held[number]
        return True

    def fresh(self, first: int, last: int) -> list[int]:
        """Return the held inodes from ``first`` to ``last`` that are not stored, in order."""
        found = []
        for number in range(first // _PAGE_INOS, last // _PAGE_INOS + 1):
            page = self._pages.get(number)
            if page is None:
                continue
            marks = page.translate(_FRESH)
            at = marks.find(1)
            while at >= 0:
                found.append(number * _PAGE_INOS + at)
                at = marks.find(1, at + 1)
        return [ino for ino in found if first <= ino <= last]

    def mark_stored(self, ino: int) -> bool:
        """Note that a held inode's content is pushed; return whether that is news."""
        byte = self._byte(ino)
        if not byte or byte & _STORED:
            return False
        self._pages[ino // _PAGE_INOS][ino % _PAGE_INOS] = byte | _STORED
        return True

    def is_stored(self, ino: int) -> bool:
        """Whether an inode's content was pushed. The kernel may have dropped it again."""
        return bool(self._byte(ino) & _STORED)

    def unmark_stored(self, ino: int) -> None:
        """Note that the kernel does not have an inode's content."""
        page = self._pages.get(ino // _PAGE_INOS)
        if page is not None:
            page[ino % _PAGE_INOS] &= ~_STORED

    def _byte(self, ino: int) -> int:
        page = self._pages.get(ino // _PAGE_INOS)
        return page[ino % _PAGE_INOS] if page is not None else 0
