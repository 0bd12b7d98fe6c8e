"""Extents: which bytes of a file come from which chunk."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from storefs.model import FILE_BYTES_MAX, ChunkPlace, Extent, ShardId
from storefs.tree.chunks import place_from
from storefs.tree.database import Database

_COLUMNS = '"offset", length, chunk, skip'

_REGION_BYTES = 8 << 20
_REGION_EXTENTS_MAX = 32
"""So much of a file is remembered at once, where it has no more extents than this: looking through them is quick."""

_UNKNOWN: Any = object()


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file whose whole content is one chunk: its inode, the version of its content, and where the chunk lies."""

    ino: int
    cid: int
    place: ChunkPlace


class Extents:
    """The table ``extent``. Extents of a file never overlap; what none covers is a hole and reads as zeros."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def overlapping(self, ino: int, start: int, end: int) -> list[Extent]:
        """Return the extents with a byte in ``start`` to ``end``, whole, in order."""
        region = start // _REGION_BYTES
        if end <= start or (end - 1) // _REGION_BYTES != region:
            return self._overlapping(ino, start, end, -1)
        remembered = self._database.remembered()
        known: tuple[list[Extent], list[int]] | None = remembered.get((ino, region), _UNKNOWN)
        if known is _UNKNOWN:
            known = remembered[ino, region] = self._region(ino, region * _REGION_BYTES)
        if known is None:
            return self._overlapping(ino, start, end, -1)
        extents, ends = known
        first = last = bisect_right(ends, start)
        while last < len(extents) and extents[last].offset < end:
            last += 1
        return extents[first:last]

    def _region(self, ino: int, first: int) -> tuple[list[Extent], list[int]] | None:
        """Return the extents of a region and their ends; None if they are too many to be looked through."""
        last = min(first + _REGION_BYTES, FILE_BYTES_MAX)
        found = self._overlapping(ino, first, last, _REGION_EXTENTS_MAX + 1)
        return (found, [extent.end for extent in found]) if len(found) <= _REGION_EXTENTS_MAX else None

    def _overlapping(self, ino: int, start: int, end: int, limit: int) -> list[Extent]:
        """Look for them in the table; ``limit`` rows are looked at, all if it is negative."""
        # The one that reaches into the range from before is found apart: a range scan over all earlier ones is not.
        rows = self._database.rows(
            f"""SELECT {_COLUMNS} FROM extent WHERE ino = ?1 AND "offset" >= coalesce(
                    (SELECT max("offset") FROM extent WHERE ino = ?1 AND "offset" <= ?2), ?2)
                AND "offset" < ?3 ORDER BY "offset" LIMIT ?4""",
            (ino, start, end, limit),
        )
        found = [Extent(*row) for row in rows]
        return found[1:] if found and found[0].end <= start else found

    def before(self, ino: int, offset: int) -> Extent | None:
        """Return the extent that ends exactly at ``offset``, or None."""
        row = self._database.row(
            f'SELECT {_COLUMNS} FROM extent WHERE ino = ? AND "offset" < ? ORDER BY "offset" DESC LIMIT 1',
            (ino, offset),
        )
        extent = Extent(*row) if row else None
        return extent if extent is not None and extent.end == offset else None

    def first_behind(self, ino: int, offset: int) -> Extent | None:
        """Return the first extent with a byte at ``offset`` or behind it, or None."""
        found = self.overlapping(ino, offset, offset + 1)
        if found:
            return found[0]
        row = self._database.row(
            f'SELECT {_COLUMNS} FROM extent WHERE ino = ? AND "offset" > ? ORDER BY "offset" LIMIT 1', (ino, offset)
        )
        return Extent(*row) if row else None

    def run_end(self, ino: int, offset: int) -> int:
        """Return where the extents that cover ``offset``, one right behind the other, end; ``offset`` if none does."""
        covering = self.overlapping(ino, offset, offset + 1)
        if not covering:
            return offset
        return self._database.value(
            """SELECT e."offset" + e.length FROM extent AS e WHERE e.ino = ?1 AND e."offset" >= ?2 AND NOT EXISTS
                (SELECT 1 FROM extent AS n WHERE n.ino = ?1 AND n."offset" = e."offset" + e.length)
            ORDER BY e."offset" LIMIT 1""",
            (ino, covering[0].offset),
        )

    def whole_files(self, first: int, last: int, shard: ShardId, start: int, end: int) -> list[WholeFile]:
        """Return the files from inode ``first`` to ``last`` that are one chunk each, stored in a range of a shard."""
        rows = self._database.rows(
            """SELECT i.ino, i.cid, c.id, c.shard, c."offset", c.stored, c.codec, c.size
            FROM extent AS e CROSS JOIN inode AS i ON i.ino = e.ino CROSS JOIN chunk AS c ON c.id = e.chunk
            WHERE e.ino BETWEEN ?1 AND ?2 AND e."offset" = 0 AND e.skip = 0 AND e.length = i.size AND e.length = c.size
                AND c.shard = ?3 AND c."offset" >= ?4 AND c."offset" + c.stored <= ?5""",
            (first, last, shard, start, end),
        )
        return [WholeFile(row[0], row[1], place_from(row[2:])) for row in rows]

    def places(self, ino: int) -> list[ChunkPlace]:
        """Return where the chunks of a file lie."""
        rows = self._database.rows(
            """SELECT DISTINCT c.id, c.shard, c."offset", c.stored, c.codec, c.size
            FROM extent AS e JOIN chunk AS c ON c.id = e.chunk WHERE e.ino = ?""",
            (ino,),
        )
        return [place_from(row) for row in rows]

    def count(self, ino: int, limit: int) -> int:
        """Return how many extents a file has, counting no further than ``limit``."""
        return self._database.value("SELECT count(*) FROM (SELECT 1 FROM extent WHERE ino = ? LIMIT ?)", (ino, limit))

    def allocated(self, ino: int) -> int:
        """Return how many bytes of a file are not holes."""
        return self._database.value("SELECT sum(length) FROM extent WHERE ino = ?", (ino,))

    def all(self, ino: int) -> list[Extent]:
        """Return all extents of a file, in order."""
        rows = self._database.rows(f'SELECT {_COLUMNS} FROM extent WHERE ino = ? ORDER BY "offset"', (ino,))
        return [Extent(*row) for row in rows]

    def clear(self, ino: int, start: int, end: int) -> None:
        """Make ``start`` to ``end`` a hole: extents inside go, those that reach over its edges are cut."""
        for old in self.overlapping(ino, start, end):
            if old.offset >= start:
                self._database.run('DELETE FROM extent WHERE ino = ? AND "offset" = ?', (ino, old.offset))
            else:
                self._database.run(
                    'UPDATE extent SET length = ? WHERE ino = ? AND "offset" = ?', (start - old.offset, ino, old.offset)
                )
            if old.end > end:
                self.insert(ino, Extent(end, old.end - end, old.chunk, old.skip + end - old.offset))

    def insert(self, ino: int, extent: Extent) -> None:
        """Add an extent where there is a hole."""
        assert extent.length > 0
        self._database.run(
            "INSERT INTO extent VALUES (?, ?, ?, ?, ?)", (ino, extent.offset, extent.length, extent.chunk, extent.skip)
        )
