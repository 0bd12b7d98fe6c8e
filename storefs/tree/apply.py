"""Applying what is committed to a replica, and telling what that touched."""

from dataclasses import dataclass, field
from typing import Any

import apsw

from storefs.errors import Diverged
from storefs.tree.database import Database
from storefs.tree.pending import is_replicated


@dataclass(slots=True)
class Touched:
    """What a changeset changed: inodes whose attributes, inodes whose content, names, inodes that are gone, shards."""

    attributes: set[int] = field(default_factory=set)
    contents: set[int] = field(default_factory=set)
    names: set[tuple[int, bytes]] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)
    shards: set[bytes] = field(default_factory=set)


def apply(database: Database, changes: bytes) -> None:
    """Apply a committed changeset, inside the caller's transaction.

    Every old value in it must be what this replica holds. Raises Diverged, with nothing changed, where one is not:
    then this replica is wrong, and going on would hide it.
    """
    conflicts: list[str] = []

    def refuse(reason: int, change: apsw.TableChange) -> int:
        conflicts.append(f"{change.op} in {change.name}, reason {reason}")
        return apsw.SQLITE_CHANGESET_ABORT

    try:
        apsw.Changeset.apply(changes, database.connection, filter=is_replicated, conflict=refuse)
    except apsw.AbortError as error:
        raise Diverged(f"a commit does not fit this replica of the tree: {'; '.join(conflicts) or error}") from error


def invert(changes: bytes) -> bytes:
    """Return the changeset that undoes ``changes``."""
    return apsw.Changeset.invert(changes)


def touched(changes: bytes) -> Touched:
    """Read from a changeset what it changes."""
    found = Touched()
    for change in apsw.Changeset.iter(changes):
        row: Any = change.old if change.op != "INSERT" else change.new
        if change.name == "inode":
            (found.removed if change.op == "DELETE" else found.attributes).add(int(row[0]))
        elif change.name == "extent":
            found.contents.add(int(row[0]))
        elif change.name == "xattr":
            found.attributes.add(int(row[0]))
        elif change.name == "shard":
            found.shards.add(bytes(row[0]))
        elif change.name == "dentry":
            found.names.add((int(row[0]), bytes(row[1])))
            for side in (change.old, change.new):
                # In an UPDATE, columns that did not change are left out.
                if side is not None and isinstance(side[2], int):
                    found.attributes.add(side[2])
    return found
