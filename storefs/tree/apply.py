"""Applying what is committed to a replica."""

import apsw

from storefs.errors import Diverged
from storefs.tree.database import Database
from storefs.tree.pending import is_replicated


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
