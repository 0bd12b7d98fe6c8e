"""The bytes of a file of the reference: a size, and those pages that are not all zeros."""

import os

_PAGE = 4096
_ZEROS = bytes(_PAGE)


class Content:
    """``size`` bytes. Pages of zeros are not kept, so a hole of any length costs nothing."""

    def __init__(self) -> None:
        self.size = 0
        self._pages: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset`` on; fewer only at the end."""
        end = min(offset + length, self.size)
        first = offset - offset % _PAGE
        data = b"".join(self._pages.get(at, _ZEROS) for at in range(first, end, _PAGE))
        return data[offset - first : max(0, end - first)]

    def write(self, offset: int, data: bytes) -> None:
        """Replace bytes; what lies between the old end and ``offset`` becomes zeros."""
        end = offset + len(data)
        for at in range(offset - offset % _PAGE, end, _PAGE):
            first, last = max(at, offset), min(at + _PAGE, end)
            self._splice(at, first - at, data[first - offset : last - offset])
        if data:
            self.size = max(self.size, end)

    def zero(self, start: int, end: int) -> None:
        """Make bytes zeros; the size stays."""
        for at in self._overlapping(start, end):
            first, last = max(at, start), min(at + _PAGE, end)
            self._splice(at, first - at, bytes(last - first))

    def truncate(self, size: int) -> None:
        """Set the size; what is added reads as zeros."""
        self.zero(min(size, self.size), self.size)
        self.size = size

    def is_zero(self, start: int, end: int) -> bool:
        """Whether a range has no byte but zeros (what is behind the end counts as zeros)."""
        return not any(
            any(self.read(max(at, start), min(at + _PAGE, end) - max(at, start)))
            for at in self._overlapping(start, end)
        )

    def may_seek(self, offset: int, whence: int, answer: int | None) -> bool:
        """Whether a filesystem may answer ``answer`` (None: ENXIO) to a seek for data or for a hole.

        Holes may be passed off as data, for nobody knows where a filesystem has them; but what a program does not
        read because it is called a hole must be zeros.
        """
        if offset < 0 or offset >= self.size:
            return answer is None
        if whence == os.SEEK_DATA:
            skipped_to = self.size if answer is None else answer
            return offset <= skipped_to <= self.size and answer != self.size and self.is_zero(offset, skipped_to)
        if answer is None or not offset <= answer <= self.size:
            return False
        return answer == self.size or self.is_zero(answer, answer + 1)

    def parts(self, margin: int) -> list[tuple[int, int]]:
        """Return ranges (start, end) that hold all bytes but zeros, ``margin`` bytes around them, and both ends."""
        edges = [(0, 0), (self.size, self.size), *((at, at + _PAGE) for at in sorted(self._pages))]
        found: list[tuple[int, int]] = []
        for first, last in sorted(edges):
            start, end = max(0, first - margin), min(self.size, last + margin)
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found

    def _overlapping(self, start: int, end: int) -> list[int]:
        return [at for at in self._pages if start < at + _PAGE and at < end]

    def _splice(self, at: int, skip: int, data: bytes) -> None:
        page = bytearray(self._pages.get(at, _ZEROS))
        page[skip : skip + len(data)] = data
        if any(page):
            self._pages[at] = bytes(page)
        else:
            self._pages.pop(at, None)
