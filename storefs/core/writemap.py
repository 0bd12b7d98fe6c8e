"""Which bytes of a file were written, and where in a log they lie."""

from bisect import bisect_right
from dataclasses import dataclass

from storefs.core.ranges import Span


@dataclass(frozen=True, slots=True)
class Piece:
    """``length`` bytes of the file at ``offset``, found in the log at ``position``."""

    offset: int
    length: int
    position: int

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + self.length


class WriteMap:
    """Disjoint pieces in order of their offsets; what is put later wins."""

    __slots__ = ("_offsets", "_pieces", "bytes")

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._pieces: list[Piece] = []
        self.bytes = 0
        """How many bytes of the file the map covers."""

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces, in order."""
        return tuple(self._pieces)

    @property
    def end(self) -> int:
        """The offset behind the last byte that it covers; 0 when empty."""
        return self._pieces[-1].end if self._pieces else 0

    def put(self, offset: int, length: int, position: int) -> None:
        """Cover ``length`` bytes at ``offset`` by what lies at ``position``."""
        if not self._pieces or offset >= self._pieces[-1].end:
            at = len(self._pieces)
        else:
            self.clear(offset, offset + length)
            at = bisect_right(self._offsets, offset)
        self._offsets.insert(at, offset)
        self._pieces.insert(at, Piece(offset, length, position))
        self.bytes += length

    def clear(self, start: int, end: int) -> None:
        """Uncover the bytes ``start`` to ``end``."""
        low, high = self._overlap(start, end)
        if low == high:
            return
        kept: list[Piece] = []
        for piece in self._pieces[low:high]:
            self.bytes -= piece.length
            if piece.offset < start:
                kept.append(Piece(piece.offset, start - piece.offset, piece.position))
            if piece.end > end:
                kept.append(Piece(end, piece.end - end, piece.position + end - piece.offset))
        self.bytes += sum(piece.length for piece in kept)
        self._pieces[low:high] = kept
        self._offsets[low:high] = [piece.offset for piece in kept]

    def overlapping(self, start: int, end: int) -> list[Piece]:
        """Return the pieces, trimmed to ``start`` to ``end``, in order."""
        low, high = self._overlap(start, end)
        found = []
        for piece in self._pieces[low:high]:
            first, last = max(piece.offset, start), min(piece.end, end)
            found.append(Piece(first, last - first, piece.position + first - piece.offset))
        return found

    def put_under(self, older: "WriteMap") -> None:
        """Cover by ``older`` what this map leaves uncovered."""
        for piece in older.pieces:
            for gap in gaps(self.overlapping(piece.offset, piece.end), piece.offset, piece.end):
                self.put(gap.start, gap.length, piece.position + gap.start - piece.offset)

    def runs(self) -> list[Span]:
        """Return the covered bytes as spans without gaps inside, in order."""
        found: list[Span] = []
        for piece in self._pieces:
            if found and found[-1].end == piece.offset:
                found[-1] = Span(found[-1].start, piece.end)
            else:
                found.append(Span(piece.offset, piece.end))
        return found

    def _overlap(self, start: int, end: int) -> tuple[int, int]:
        """Return the index range of the pieces with a byte in ``start`` to ``end``."""
        if start >= end:
            return 0, 0
        low = bisect_right(self._offsets, start)
        if low and self._pieces[low - 1].end > start:
            low -= 1
        high = low
        while high < len(self._pieces) and self._offsets[high] < end:
            high += 1
        return low, high


def gaps(pieces: list[Piece], start: int, end: int) -> list[Span]:
    """Return what of ``start`` to ``end`` the pieces (in order) leave uncovered."""
    found = []
    at = start
    for piece in pieces:
        if piece.offset > at:
            found.append(Span(at, piece.offset))
        at = max(at, piece.end)
    if at < end:
        found.append(Span(at, end))
    return found
