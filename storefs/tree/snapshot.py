"""Snapshots: the tree at one commit as a plain SQLite file, and a new replica made from one."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from storefs.errors import Corrupt, UnknownFormat
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
    target.unlink(missing_ok=True)
    with contextlib.closing(apsw.Connection(str(target))) as copy:
        copy.execute("PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").fetchall()
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
        info = {
            "store": state["store"],
            "seq": state["seq"],
            "nonce": state["nonce"],
            "chain": state["chain"],
            "schema": schema.SCHEMA_VERSION,
            "fingerprint": schema.fingerprint(),
        }
        copy.execute(_INFO_SQL)
        copy.executemany("INSERT INTO snapshot VALUES (?, ?)", info.items())
        copy.execute("COMMIT").fetchall()
        copy.execute("DETACH replica")
    return read_info(target)


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
