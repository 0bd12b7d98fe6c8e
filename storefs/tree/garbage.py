"""Garbage: chunks and shards in the index that no file needs."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from storefs.model import ChunkId, ShardId
from storefs.tree.pending import merge
from storefs.tree.tree import Tree

CONDEMNING = "condemning"
"""Set in the local state while changes that take chunks out of the index are pending: see ``rebase``."""


@dataclass(frozen=True, slots=True)
class Dead:
    """Chunks that nothing needs, as of a moment of a replica: (chunk, stored bytes) of each."""

    chunks: list[tuple[ChunkId, int]]
    seq: int
    pending: int


def dead_chunks(replica: Path, old: Path) -> Dead:
    """Return the chunks that no file has needed for as long as the snapshot ``old`` is old, nor needs now.

    In any thread, beside the replica's writing connection. What only this machine keeps a file or a chunk for counts
    as needed.
    """
    with contextlib.closing(apsw.Connection(str(replica))) as connection:
        connection.execute("PRAGMA query_only = 1").fetchall()
        connection.execute("ATTACH ? AS old", (str(old),))
        connection.execute("BEGIN").fetchall()
        rows: list[tuple[Any, ...]] = connection.execute(
            """SELECT c.id, c.stored FROM main.chunk AS c JOIN old.chunk AS o ON o.id = c.id
            WHERE c.id NOT IN (SELECT chunk FROM main.extent) AND c.id NOT IN (SELECT chunk FROM old.extent)
            AND c.id NOT IN (SELECT chunk FROM main.held)"""
        ).fetchall()
        seq = connection.execute("SELECT value FROM state WHERE key = 'seq'").fetchone()
        last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'pending'").fetchone()
    chunks = [(ChunkId(bytes(row[0])), int(row[1])) for row in rows]
    return Dead(chunks, int(seq[0]) if seq else 0, int(last[0]) if last else 0)


def still_dead(tree: Tree, dead: Dead) -> list[tuple[ChunkId, int]]:
    """Return those of ``dead`` that nothing here has come to need since; none when a commit came in since."""
    if tree.local.position.seq != dead.seq:
        return []
    needed = set()
    since = merge(tree.pending.read(dead.pending + 1, tree.pending.last))
    for change in apsw.Changeset.iter(since) if since else ():
        if change.name == "extent" and change.new is not None:
            needed.add(change.new[2])
    return [one for one in dead.chunks if one[0] not in needed]


def drop(tree: Tree, chunks: list[ChunkId]) -> None:
    """Take chunks that nothing needs out of the index, and shards that have no other, as a change to be committed."""
    with tree.pending.recorded():
        shards = set()
        for chunk in chunks:
            rows = tree.database.rows("DELETE FROM chunk WHERE id = ? RETURNING shard", (chunk,))
            shards |= {bytes(row[0]) for row in rows}
        for shard in shards:
            tree.database.run(
                """DELETE FROM shard WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM chunk WHERE shard = ?1)
                AND NOT EXISTS (SELECT 1 FROM local_shard WHERE id = ?1)""",
                (shard,),
            )
        tree.local.put(CONDEMNING, 1)


def is_condemning(tree: Tree) -> bool:
    """Whether what is pending takes chunks out of the index."""
    return bool(tree.pending.count and tree.local.get(CONDEMNING))


def shards_of(path: Path) -> set[ShardId]:
    """Return the shards that the tree in a SQLite file names. In any thread."""
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return {ShardId(bytes(row[0])) for row in connection.execute("SELECT id FROM shard")}


def shards_in(tree: Tree) -> set[ShardId]:
    """Return the shards that a replica names, and those written here that it does not name yet."""
    rows = tree.database.rows("SELECT id FROM shard UNION SELECT id FROM local_shard")
    return {ShardId(bytes(row[0])) for row in rows}
