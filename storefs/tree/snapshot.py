"""Snapshots: the tree at one commit as a plain SQLite file, and a new replica made from one."""

import contextlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from storefs.core.storeinfo import StoreInfo
from storefs.errors import Corrupt, UnknownFormat
from storefs.model import ROOT_INO, ChunkPlace, Extent, ShardInfo
from storefs.tree import apply, pending, schema
from storefs.tree.database import Database
from storefs.tree.local import Position

_INFO_SQL = "CREATE TABLE snapshot (key TEXT NOT NULL PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID"


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What a snapshot says of itself: its store (16 bytes) and its place in the journal."""

    store: bytes
    position: Position


def write(source: Path, target: Path) -> SnapshotInfo:
    """Write the committed tree of the replica ``source`` to the new file ``target``.

    Works beside the replica's writing connection, in any thread: it reads one consistent state, leaves out what is only
    local, and undoes what is pending, so that the snapshot is the tree at exactly the replica's position.
    """
    with contextlib.closing(_fresh(target)) as copy:
        copy.execute("ATTACH ? AS replica", (str(source),))
        copy.execute("BEGIN").fetchall()
        copy.execute(schema.REPLICATED_SQL).fetchall()
        for table in schema.REPLICATED:
            copy.execute(f"INSERT INTO main.{table} SELECT * FROM replica.{table}")
        state: dict[Any, Any] = dict(_pairs(copy, "replica.state"))
        orphans = copy.execute("SELECT ino FROM replica.orphan").fetchall()
        changes = [bytes(row[0]) for row in copy.execute("SELECT changeset FROM replica.pending ORDER BY id")]
        # Orphans' rows stand there unrecorded, after a recorded removal: gone first, they come back by the undo below.
        for (ino,) in orphans:
            for table in ("inode", "extent", "xattr"):
                copy.execute(f"DELETE FROM main.{table} WHERE ino = ?", (ino,))
        net = pending.merge(changes)
        if net:
            apsw.Changeset.apply(apply.invert(net), copy, filter=pending.is_replicated)
        _sign(copy, SnapshotInfo(state["store"], Position(state["seq"], state["nonce"], state["chain"])))
        copy.execute("COMMIT").fetchall()
        copy.execute("DETACH replica")
    return read_info(target)


class SnapshotWriter:
    """A snapshot that is written row by row: of a tree that no journal made. One thread at a time uses it."""

    def __init__(self, target: Path, info: StoreInfo, position: Position) -> None:
        """Begin a new file ``target``, with the root directory that ``info`` describes."""
        self._info = SnapshotInfo(info.store, position)
        self._rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in schema.REPLICATED}
        self._connection = _fresh(target)
        # Chunks come in the order of their digests, that is in none: with less, each would be a page read again.
        self._connection.execute("PRAGMA cache_size = -131072; BEGIN").fetchall()
        for statement in _statements("CREATE TABLE"):
            self._connection.execute(statement).fetchall()
        self.add_inode(ROOT_INO, info.root_mode, info.root_uid, info.root_gid, 0, info.created_ns)

    def add_inode(self, ino: int, mode: int, uid: int, gid: int, size: int, time_ns: int) -> None:
        """Add an inode; ``time_ns`` are all its times. A name has to follow, unless it is the root."""
        self._rows["inode"].append((ino, mode, uid, gid, size, ino, time_ns, time_ns, time_ns, 0, b""))

    def add_name(self, parent: int, name: bytes, ino: int, mode: int) -> None:
        """Add a name that leads to an inode. Listings go by inode numbers."""
        self._rows["dentry"].append((parent, name, ino, ino, stat.S_IFMT(mode) >> 12))

    def add_extent(self, ino: int, extent: Extent) -> None:
        """Add a part of a file's content."""
        self._rows["extent"].append((ino, extent.offset, extent.length, extent.chunk, extent.skip))

    def add_chunk(self, place: ChunkPlace) -> None:
        """Add a chunk, unless it is there."""
        row = (place.chunk, place.shard, place.offset, place.stored, int(place.codec), place.size)
        self._rows["chunk"].append(row)

    def add_shard(self, shard: ShardInfo) -> None:
        """Add a shard, unless it is there."""
        self._rows["shard"].append((shard.shard, shard.day, shard.size))

    def flush(self) -> None:
        """Write what was added out of memory. Call it now and then."""
        for table, rows in self._rows.items():
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                conflict = " OR IGNORE" if table in ("chunk", "shard") else ""
                self._connection.executemany(f"INSERT{conflict} INTO {table} VALUES ({marks})", sorted(rows))
                rows.clear()

    def finish(self) -> None:
        """Complete the file and close it."""
        self.flush()
        for statement in _statements("CREATE INDEX", "CREATE UNIQUE INDEX"):  # now: sorting is cheaper than searching
            self._connection.execute(statement).fetchall()
        _sign(self._connection, self._info)
        self._connection.execute("COMMIT").fetchall()
        self.close()

    def close(self) -> None:
        """Close the file, complete or not. A second call does nothing."""
        self._connection.close()


def _statements(*kinds: str) -> list[str]:
    """Return the statements of the replicated tables that begin so."""
    bare = re.sub(r"--[^\n]*", "", schema.REPLICATED_SQL)
    return [one.strip() for one in bare.split(";") if one.strip().startswith(kinds)]


def _fresh(target: Path) -> apsw.Connection:
    target.unlink(missing_ok=True)
    connection = apsw.Connection(str(target))
    connection.execute("PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").fetchall()
    return connection


def _sign(connection: apsw.Connection, of: SnapshotInfo) -> None:
    """Write what a snapshot says of itself."""
    info = {
        "store": of.store,
        "seq": of.position.seq,
        "nonce": of.position.nonce,
        "chain": of.position.chain,
        "schema": schema.SCHEMA_VERSION,
        "fingerprint": schema.fingerprint(),
    }
    connection.execute(_INFO_SQL)
    connection.executemany("INSERT INTO snapshot VALUES (?, ?)", info.items())


def read_info(path: Path) -> SnapshotInfo:
    """Read what a snapshot says of itself. Raises Corrupt, or UnknownFormat for another schema."""
    try:
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            info: dict[Any, Any] = dict(_pairs(connection, "snapshot"))
            damage = connection.execute("PRAGMA quick_check").fetchall()
        if damage != [("ok",)]:
            raise Corrupt(f"snapshot is damaged: {damage[0][0]}")
        if info["schema"] != schema.SCHEMA_VERSION or info["fingerprint"] != schema.fingerprint():
            raise UnknownFormat(
                f"the snapshot has schema version {info['schema']}, this storefs reads {schema.SCHEMA_VERSION}:"
                " mount with the version of storefs that wrote it"
            )
        return SnapshotInfo(info["store"], Position(info["seq"], info["nonce"], info["chain"]))
    except (apsw.Error, KeyError, ValueError, TypeError) as error:
        raise Corrupt(f"snapshot is not readable: {error}") from error


def adopt(path: Path, info: SnapshotInfo) -> None:
    """Turn a snapshot's file, which ``info`` was read from, into a replica's: with local tables, at its position."""
    database = Database(path)
    try:
        with database.transaction():
            database.run("DROP TABLE snapshot")
            for key, value in (
                ("store", info.store),
                ("seq", info.position.seq),
                ("nonce", info.position.nonce),
                ("chain", info.position.chain),
                ("snapshot", info.position.seq),
            ):
                database.run("INSERT INTO state VALUES (?, ?)", (key, value))
    finally:
        database.close()


def _pairs(connection: apsw.Connection, table: str) -> list[tuple[Any, Any]]:
    return [(row[0], row[1]) for row in connection.execute(f"SELECT key, value FROM {table}")]
