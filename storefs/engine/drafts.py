"""Drafts: what was written to files and is not part of their content yet."""

from dataclasses import dataclass, field

import trio

from storefs.cache.staging import Staging
from storefs.core.ranges import Span
from storefs.core.writemap import Piece, WriteMap, gaps


@dataclass(slots=True)
class Draft:
    """The staged writes of one file: ``fresh`` ones, over those that are just being cut into chunks.

    Attributes:
        mtime_ns: when it was last written; None when the file's times were set since.
        whole: whether the file was closed, and not written since: the content is complete.
        closed: whether the file was closed since ``fresh`` began; perhaps it is written again by now.
        closed_before: whether it was before what is in ``cutting`` was set apart.
        touched_s: when it was last written, by trio's clock.
        settled: set while nothing is being cut.
    """

    ino: int
    mtime_ns: int | None
    touched_s: float
    fresh: WriteMap = field(default_factory=WriteMap)
    cutting: WriteMap = field(default_factory=WriteMap)
    whole: bool = False
    closed: bool = False
    closed_before: bool = False
    settled: trio.Event = field(default_factory=trio.Event)

    def close(self) -> None:
        """Take note that the file was closed."""
        self.whole = self.closed = True

    @property
    def owed(self) -> bool:
        """Whether the next commit has to have its content: the file was closed, and something is not cut yet."""
        return self.closed or self.closed_before

    @property
    def end(self) -> int:
        """The offset behind its last byte."""
        return max(self.fresh.end, self.cutting.end)

    @property
    def staged_bytes(self) -> int:
        """How many staged bytes it needs."""
        return self.fresh.bytes + self.cutting.bytes


class Drafts:
    """All drafts of a mount."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._drafts: dict[int, Draft] = {}

    def __len__(self) -> int:
        return len(self._drafts)

    def get(self, ino: int) -> Draft | None:
        """Return a file's draft, or None."""
        return self._drafts.get(ino)

    def all(self) -> list[Draft]:
        """Return all drafts, the longest known first."""
        return list(self._drafts.values())

    @property
    def staged_bytes(self) -> int:
        """How many bytes the staging log takes."""
        return self._staging.disk_bytes

    @property
    def staged_end(self) -> int:
        """The position behind all that is staged."""
        return self._staging.end

    def write(self, ino: int, offset: int, data: bytes | memoryview, now_ns: int) -> Draft:
        """Stage a write. When this returns it survives the death of the process. Raises NoSpace."""
        position = self._staging.append(ino, offset, data, now_ns)
        return self._cover(ino, offset, len(data), position, now_ns)

    def replay(self, ino: int, piece: Piece, mtime_ns: int | None) -> None:
        """Take in a write found in the log at the start; ``mtime_ns`` is None when the file's times were set since."""
        self._staging.retain(piece.position, piece.length)
        draft = self._cover(ino, piece.offset, piece.length, piece.position, mtime_ns)
        draft.close()

    def _cover(self, ino: int, offset: int, length: int, position: int, mtime_ns: int | None) -> Draft:
        draft = self._drafts.get(ino)
        now_s = trio.current_time()
        if draft is None:
            draft = self._drafts[ino] = Draft(ino, mtime_ns, now_s)
            draft.settled.set()
        self._release(draft.fresh.overlapping(offset, offset + length))
        draft.fresh.put(offset, length, position)
        draft.mtime_ns = mtime_ns
        draft.touched_s = now_s
        draft.whole = False
        return draft

    def pieces(self, ino: int, start: int, end: int) -> list[Piece]:
        """Return what is staged of ``start`` to ``end``, in order, newest writes winning."""
        draft = self._drafts.get(ino)
        if draft is None:
            return []
        fresh = draft.fresh.overlapping(start, end)
        if not draft.cutting:
            return fresh
        older = [piece for gap in gaps(fresh, start, end) for piece in draft.cutting.overlapping(gap.start, gap.end)]
        return sorted(fresh + older, key=lambda piece: piece.offset)

    def read(self, piece: Piece) -> bytes:
        """Return a piece's bytes."""
        return self._staging.read(piece.position, piece.length)

    def freeze(self, draft: Draft) -> None:
        """Set what is staged apart for cutting; later writes go on top of it."""
        assert not draft.cutting
        draft.cutting, draft.fresh = draft.fresh, WriteMap()
        draft.closed_before, draft.closed = draft.closed, False
        draft.settled = trio.Event()

    def absorbed(self, draft: Draft, span: Span) -> None:
        """Let go of frozen bytes that are part of the content now."""
        self._release(draft.cutting.overlapping(span.start, span.end))
        draft.cutting.clear(span.start, span.end)

    def thaw(self, draft: Draft) -> None:
        """End a cutting: what it left goes back under the newer writes."""
        draft.closed |= draft.closed_before and bool(draft.cutting)
        draft.closed_before = False
        for piece in draft.cutting.pieces:
            covered = draft.fresh.overlapping(piece.offset, piece.end)
            self._release(
                [Piece(one.offset, one.length, piece.position + one.offset - piece.offset) for one in covered]
            )
        draft.fresh.put_under(draft.cutting)
        draft.cutting = WriteMap()
        draft.settled.set()
        self._forget_empty(draft)

    def clear(self, ino: int, start: int, end: int) -> None:
        """Let go of what is staged of ``start`` to ``end``. Nothing of the file may be in cutting."""
        draft = self._drafts.get(ino)
        if draft is not None:
            assert not draft.cutting
            self._release(draft.fresh.overlapping(start, end))
            draft.fresh.clear(start, end)
            self._forget_empty(draft)

    def drop(self, ino: int) -> None:
        """Let go of a file's draft: the file is gone."""
        draft = self._drafts.pop(ino, None)
        if draft is not None:
            self._release(list(draft.fresh.pieces))
            self._release(list(draft.cutting.pieces))
            draft.fresh, draft.cutting = WriteMap(), WriteMap()
            draft.settled.set()

    def _forget_empty(self, draft: Draft) -> None:
        if not draft.fresh and not draft.cutting and self._drafts.get(draft.ino) is draft:
            del self._drafts[draft.ino]

    def _release(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self._staging.release(piece.position, piece.length)
