"""Dentries: names in directories, and where they lead."""

import stat
from collections.abc import Iterator

from storefs.model import Dentry, Inode
from storefs.tree import inodes, schema
from storefs.tree.database import Database

_PAGE = f"""SELECT d.name, d.ino, d.cookie, {inodes.COLUMNS}
    FROM dentry AS d JOIN inode AS i ON i.ino = d.ino
    WHERE d.parent = ? AND d.cookie > ? ORDER BY d.cookie LIMIT ?"""

_LOOKUP = f"""SELECT {inodes.COLUMNS} FROM dentry AS d JOIN inode AS i ON i.ino = d.ino
    WHERE d.parent = ? AND d.name = ?"""


class Dentries:
    """The table ``dentry``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lookup(self, parent: int, name: bytes) -> Inode | None:
        """Return the inode that ``name`` in ``parent`` leads to, or None."""
        row = self._database.row(_LOOKUP, (parent, name))
        return Inode(*row) if row else None

    def exists(self, parent: int, name: bytes) -> bool:
        """Whether there is such a name."""
        return self._database.row("SELECT 1 FROM dentry WHERE parent = ? AND name = ?", (parent, name)) is not None

    def page(self, parent: int, after: int, limit: int) -> list[tuple[Dentry, Inode]]:
        """Return up to ``limit`` entries whose cookies follow ``after``, in cookie order.

        A cookie belongs to one entry for as long as that exists, so what comes and goes meanwhile neither hides
        nor repeats the others.
        """
        rows = self._database.rows(_PAGE, (parent, after, limit))
        return [(Dentry(*row[:3]), Inode(*row[3:])) for row in rows]

    def insert(self, parent: int, name: bytes, ino: int, cookie: int, mode: int) -> None:
        """Add a name. It must not exist yet."""
        self._database.run("INSERT INTO dentry VALUES (?, ?, ?, ?, ?)", (parent, name, ino, cookie, _kind(mode)))

    def remove(self, parent: int, name: bytes) -> int:
        """Remove a name that exists; return its cookie."""
        rows = self._database.rows("DELETE FROM dentry WHERE parent = ? AND name = ? RETURNING cookie", (parent, name))
        assert len(rows) == 1, (parent, name)
        return int(rows[0][0])

    def is_empty(self, parent: int) -> bool:
        """Whether a directory has no entries."""
        return self._database.row("SELECT 1 FROM dentry WHERE parent = ? LIMIT 1", (parent,)) is None

    def name_of(self, ino: int) -> tuple[int, bytes] | None:
        """Return (parent, name) of one of the names that lead to ``ino``, or None."""
        row = self._database.row("SELECT parent, name FROM dentry WHERE ino = ? LIMIT 1", (ino,))
        return (int(row[0]), bytes(row[1])) if row else None

    def ancestors(self, directory: int) -> Iterator[int]:
        """Yield ``directory``, its parent, and so on up to the root."""
        at = directory
        while True:
            yield at
            up = self._database.row(
                f"SELECT parent FROM dentry WHERE ino = ? AND kind = {schema.DIRECTORY_KIND}", (at,)
            )
            if up is None:
                return
            at = int(up[0])

    def is_below_itself(self, directory: int) -> bool:
        """Whether a directory is one of its own ancestors: what a merge makes must not be left so."""
        seen = set()
        for at in self.ancestors(directory):
            if at in seen:
                return at == directory
            seen.add(at)
        return False


def _kind(mode: int) -> int:
    return stat.S_IFMT(mode) >> 12
