"""The shards written on this machine, from their first chunk to the commit that names them."""

from dataclasses import dataclass
from enum import IntEnum

from storefs.model import ChunkId, ShardId
from storefs.tree.database import Database


class ShardState(IntEnum):
    """How far a local shard has come. Up to UPLOADED its bytes may exist nowhere else, or not safely."""

    OPEN = 0
    SEALED = 1
    UPLOADED = 2


@dataclass(frozen=True, slots=True)
class LocalShard:
    """A shard file written here: ``first`` is the lowest pending id that may name it, ``seal`` its sealing."""

    shard: ShardId
    day: int
    state: ShardState
    first: int
    seal: int


@dataclass(frozen=True, slots=True)
class Absorbed:
    """The bytes ``start`` to ``end`` of a file as staged before ``position``: part of its extents, or cut away."""

    start: int
    end: int
    position: int


class LocalShards:
    """The tables ``local_shard``, ``held`` and ``absorbed``: what has to stay here until a commit holds it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def dirty(self) -> list[LocalShard]:
        """Return the shards that no commit holds yet, oldest first."""
        rows = self._database.rows("SELECT id, day, state, first, seal FROM local_shard ORDER BY first, seal")
        return [LocalShard(row[0], row[1], ShardState(row[2]), row[3], row[4]) for row in rows]

    def insert(self, shard: ShardId, day: int, first: int) -> None:
        """Note a shard that was opened."""
        self._database.run("INSERT INTO local_shard VALUES (?, ?, 0, ?, 0)", (shard, day, first))

    def set_sealed(self, shard: ShardId, seal: int) -> None:
        """Note that a shard is complete, by the change ``seal``."""
        self._database.run(
            "UPDATE local_shard SET state = ?, seal = ? WHERE id = ?", (int(ShardState.SEALED), seal, shard)
        )

    def set_uploaded(self, shard: ShardId) -> None:
        """Note that the store has a shard."""
        self._database.run("UPDATE local_shard SET state = ? WHERE id = ?", (int(ShardState.UPLOADED), shard))

    def commit(self, high: int) -> list[ShardId]:
        """Forget, inside the caller's transaction, what a commit up to ``high`` holds; return the shards it freed."""
        rows = self._database.rows("DELETE FROM local_shard WHERE seal BETWEEN 1 AND ? RETURNING id", (high,))
        self._database.run("DELETE FROM held WHERE pending <= ?", (high,))
        return [ShardId(bytes(row[0])) for row in rows]

    def forget(self, shards: set[bytes]) -> None:
        """Forget shards that a commit names, whatever is noted of them here: the store has them."""
        for shard in shards:
            self._database.run("DELETE FROM local_shard WHERE id = ?", (shard,))

    def renumber(self, pending: int) -> None:
        """Let everything belong to the one change ``pending``, which all others were merged into."""
        self._database.run("UPDATE local_shard SET first = ?1, seal = CASE seal WHEN 0 THEN 0 ELSE ?1 END", (pending,))
        self._database.run("UPDATE held SET pending = ?", (pending,))

    def hold(self, chunk: ChunkId, pending: int) -> None:
        """Keep a cached chunk until the change ``pending`` is committed."""
        self._database.run(
            "INSERT INTO held VALUES (?, ?) ON CONFLICT DO UPDATE SET pending = excluded.pending", (chunk, pending)
        )

    def held(self) -> set[bytes]:
        """Return the chunks that must stay cached."""
        return {bytes(row[0]) for row in self._database.rows("SELECT chunk FROM held")}

    def held_shards(self) -> set[bytes]:
        """Return the shards that hold such a chunk."""
        rows = self._database.rows("SELECT DISTINCT c.shard FROM held AS h JOIN chunk AS c ON c.id = h.chunk")
        return {bytes(row[0]) for row in rows}

    def absorb(self, ino: int, start: int, end: int, position: int) -> None:
        """Note that what was staged before ``position`` for these bytes of a file is settled: do not replay it."""
        self._database.run(
            """INSERT INTO absorbed VALUES (?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET "end" = max("end", excluded."end")""",
            (ino, start, end, position),
        )

    def absorbed(self) -> dict[int, list[Absorbed]]:
        """Return, per inode, what of its staged writes is settled."""
        found: dict[int, list[Absorbed]] = {}
        for ino, start, end, position in self._database.rows('SELECT ino, start, "end", position FROM absorbed'):
            found.setdefault(int(ino), []).append(Absorbed(start, end, position))
        return found

    def absorbed_end(self) -> int:
        """Return the highest position that a note on staged writes names, or 0."""
        return self._database.value("SELECT max(position) FROM absorbed")

    def forget_uploads(self) -> None:
        """Take back that the store has shards which no commit names: a sweep may have taken them for abandoned."""
        self._database.run(
            "UPDATE local_shard SET state = ? WHERE state = ?", (int(ShardState.SEALED), int(ShardState.UPLOADED))
        )

    def reopen(self, shard: ShardId) -> None:
        """Take back that a shard is complete: its file has to be written again."""
        self._database.run("UPDATE local_shard SET state = ?, seal = 0 WHERE id = ?", (int(ShardState.OPEN), shard))

    def forget_absorbed(self, before: int) -> None:
        """Drop the notes on staged writes before ``before``: their staging is gone."""
        self._database.run("DELETE FROM absorbed WHERE position <= ?", (before,))
