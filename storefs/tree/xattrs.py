"""Extended attributes."""

from storefs.tree.database import Database


class Xattrs:
    """The table ``xattr``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, ino: int, name: bytes) -> bytes | None:
        """Return the value, or None."""
        row = self._database.row("SELECT value FROM xattr WHERE ino = ? AND name = ?", (ino, name))
        return bytes(row[0]) if row else None

    def names(self, ino: int) -> list[bytes]:
        """Return the names, sorted."""
        return [bytes(row[0]) for row in self._database.rows("SELECT name FROM xattr WHERE ino = ?", (ino,))]

    def set(self, ino: int, name: bytes, value: bytes) -> None:
        """Set a value, new or not."""
        self._database.run(
            "INSERT INTO xattr VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (ino, name, value)
        )

    def remove(self, ino: int, name: bytes) -> bool:
        """Remove a value; return whether it was there."""
        return self._database.changed("DELETE FROM xattr WHERE ino = ? AND name = ?", (ino, name)) == 1
