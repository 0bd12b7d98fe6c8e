"""Usage: how much of each shard files still need."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from storefs.model import ChunkId, ShardId


@dataclass(frozen=True, slots=True)
class ShardUsage:
    """A shard of the tree: its length, and how many bytes of its payloads files need."""

    shard: ShardId
    size: int
    live: int


def shard_usages(replica: Path) -> list[ShardUsage]:
    """Return the usage of each sealed shard, but for those that no commit holds yet; the least used first.

    In any thread, beside the replica's writing connection. All extents are looked at.
    """
    with contextlib.closing(apsw.Connection(str(replica))) as connection:
        connection.execute("PRAGMA query_only = 1").fetchall()
        rows: list[tuple[Any, ...]] = connection.execute(
            """SELECT s.id, s.size, coalesce(sum(c.stored) FILTER (WHERE c.id IN (SELECT chunk FROM extent)), 0) AS live
            FROM shard AS s LEFT JOIN chunk AS c ON c.shard = s.id
            WHERE s.size > 0 AND s.id NOT IN (SELECT id FROM local_shard) GROUP BY s.id ORDER BY live"""
        ).fetchall()
    return [ShardUsage(ShardId(bytes(row[0])), int(row[1]), int(row[2])) for row in rows]


def needed_chunks(replica: Path, shards: set[ShardId]) -> set[ChunkId]:
    """Return the chunks of some shards that files need. In any thread."""
    with contextlib.closing(apsw.Connection(str(replica))) as connection:
        connection.execute("PRAGMA query_only = 1").fetchall()
        rows: Iterator[tuple[Any, ...]] = connection.execute(
            "SELECT id, shard FROM chunk WHERE id IN (SELECT chunk FROM extent)"
        )
        return {ChunkId(bytes(row[0])) for row in rows if bytes(row[1]) in shards}
