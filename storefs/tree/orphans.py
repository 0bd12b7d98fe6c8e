"""Orphans: files that lost their last name while somebody here still uses them.

For every other mount they are gone, so their removal is recorded and committed. Here their rows are put back behind
the recording, in the same transaction, and stay until the kernel forgets the inode or the mount ends.
"""

from dataclasses import dataclass

from storefs.tree.database import Bindings, Database
from storefs.tree.local import Local

_TABLES = ("inode", "extent", "xattr")


@dataclass(frozen=True, slots=True)
class Remains:
    """The rows of an inode that is about to be removed, by table."""

    ino: int
    rows: dict[str, list[Bindings]]


def save(database: Database, ino: int) -> Remains:
    """Read all rows of an inode."""
    rows = {table: database.rows(f"SELECT * FROM {table} WHERE ino = ?", (ino,)) for table in _TABLES}
    return Remains(ino, rows)


def restore(database: Database, local: Local, remains: Remains) -> None:
    """Put the rows back as an orphan's, inside a transaction that does not record it."""
    for table, rows in remains.rows.items():
        for row in rows:
            database.run(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    local.add_orphan(remains.ino)
