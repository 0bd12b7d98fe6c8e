"""Versions: all that a replica holds of one inode, to be compared with what another one holds of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from storefs.tree.database import Database

Row = tuple[Any, ...]

MODE, UID, GID, SIZE, CID, ATIME, MTIME, CTIME = range(1, 9)
"""Columns of an inode's row."""


class Name(NamedTuple):
    """Where a name is: in which directory, and what it is called."""

    parent: int
    name: bytes


class Place(NamedTuple):
    """What a dentry holds besides its name: its place in a listing, and the type of what it leads to."""

    cookie: int
    kind: int


@dataclass(frozen=True, slots=True)
class Version:
    """An inode as one replica has it: its row, its extents and attributes, and the names that lead to it."""

    row: Row
    extents: tuple[Row, ...]
    xattrs: Mapping[bytes, bytes]
    names: Mapping[Name, Place]

    @property
    def cid(self) -> int:
        """The version of its content."""
        return int(self.row[CID])

    @property
    def kind(self) -> int:
        """The file type, as dentries have it."""
        return int(self.row[MODE]) >> 12

    def has_content_of(self, other: "Version") -> bool:
        """Whether both are the same bytes, out of the same chunks."""
        return self.row[SIZE] == other.row[SIZE] and self.extents == other.extents


def load(database: Database, ino: int) -> Version | None:
    """Return an inode as it is now, or None."""
    row = database.row("SELECT * FROM inode WHERE ino = ?", (ino,))
    if row is None:
        return None
    extents = database.rows('SELECT * FROM extent WHERE ino = ? ORDER BY "offset"', (ino,))
    xattrs = database.rows("SELECT name, value FROM xattr WHERE ino = ?", (ino,))
    names = database.rows("SELECT parent, name, cookie, kind FROM dentry WHERE ino = ?", (ino,))
    return Version(
        row,
        tuple(one[1:] for one in extents),
        {bytes(name): bytes(value) for name, value in xattrs},
        {Name(one[0], bytes(one[1])): Place(one[2], one[3]) for one in names},
    )


def store(database: Database, ino: int, version: Version, now: Version | None) -> None:
    """Make ``version`` what the replica holds of ``ino``, all but its names; ``now`` is what it holds."""
    row = (ino, *version.row[1:])
    if now is None or now.row != row:
        remove_row(database, ino)
        database.run(f"INSERT INTO inode VALUES ({', '.join('?' * len(row))})", row)
    if now is None or now.extents != version.extents:
        database.run("DELETE FROM extent WHERE ino = ?", (ino,))
        for extent in version.extents:
            database.run("INSERT INTO extent VALUES (?, ?, ?, ?, ?)", (ino, *extent))
    if now is None or now.xattrs != version.xattrs:
        database.run("DELETE FROM xattr WHERE ino = ?", (ino,))
        for name, value in version.xattrs.items():
            database.run("INSERT INTO xattr VALUES (?, ?, ?)", (ino, name, value))


def remove_row(database: Database, ino: int) -> None:
    """Remove the row of an inode, and nothing else of it."""
    database.run("DELETE FROM inode WHERE ino = ?", (ino,))
