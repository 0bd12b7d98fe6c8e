"""The chunk index and the shards: where in the store a chunk's payload lies."""

from collections.abc import Sequence
from typing import Any

from storefs.model import ChunkId, ChunkPlace, Codec, ShardId, ShardInfo
from storefs.tree.database import Database

_COLUMNS = 'id, shard, "offset", stored, codec, size'


class Chunks:
    """The tables ``chunk`` and ``shard``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def place(self, chunk: ChunkId) -> ChunkPlace | None:
        """Return where a chunk lies, or None."""
        remembered = self._database.remembered()
        if chunk not in remembered:
            row = self._database.row(f"SELECT {_COLUMNS} FROM chunk WHERE id = ?", (chunk,))
            remembered[chunk] = place_from(row) if row else None
        place: ChunkPlace | None = remembered[chunk]
        return place

    def in_shard(self, shard: ShardId) -> list[ChunkPlace]:
        """Return the chunks of a shard in the order of their payloads."""
        rows = self._database.rows(f'SELECT {_COLUMNS} FROM chunk WHERE shard = ? ORDER BY "offset"', (shard,))
        return [place_from(row) for row in rows]

    def inside(self, shard: ShardId, start: int, end: int) -> list[ChunkPlace]:
        """Return the chunks of a shard that lie in ``start`` to ``end`` as a whole, in the order of their payloads."""
        rows = self._database.rows(
            f"""SELECT {_COLUMNS} FROM chunk WHERE shard = ? AND "offset" >= ? AND "offset" + stored <= ?
            ORDER BY "offset" """,
            (shard, start, end),
        )
        return [place_from(row) for row in rows]

    def insert(self, place: ChunkPlace) -> None:
        """Add a chunk that is not indexed yet."""
        self._database.run(
            "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?)",
            (place.chunk, place.shard, place.offset, place.stored, int(place.codec), place.size),
        )

    def move(self, old: ChunkPlace, new: ChunkPlace) -> None:
        """Let a chunk lie at ``new`` from now on, if it is still at ``old``."""
        self._database.run(
            """UPDATE chunk SET shard = ?, "offset" = ?, stored = ?, codec = ?, size = ?
            WHERE id = ? AND shard = ? AND "offset" = ?""",
            (new.shard, new.offset, new.stored, int(new.codec), new.size, old.chunk, old.shard, old.offset),
        )

    def remove_if_empty(self, shard: ShardId) -> None:
        """Remove a shard, unless a chunk is in it."""
        self._database.run(
            "DELETE FROM shard WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM chunk WHERE shard = ?1)", (shard,)
        )

    def shard(self, shard: ShardId) -> ShardInfo | None:
        """Return what is known of a shard, or None."""
        row = self._database.row("SELECT id, day, size FROM shard WHERE id = ?", (shard,))
        return ShardInfo(*row) if row else None

    def insert_shard(self, info: ShardInfo) -> None:
        """Add a shard."""
        self._database.run("INSERT INTO shard VALUES (?, ?, ?)", (info.shard, info.day, info.size))

    def set_shard_size(self, shard: ShardId, size: int) -> None:
        """Record the length of a shard that was sealed."""
        self._database.run("UPDATE shard SET size = ? WHERE id = ?", (size, shard))


def place_from(row: Sequence[Any]) -> ChunkPlace:
    """Return the place that a row (id, shard, offset, stored, codec, size) describes."""
    chunk, shard, offset, stored, codec, size = row
    return ChunkPlace(chunk, shard, offset, stored, Codec(codec), size)
