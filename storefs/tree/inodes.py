"""Inodes: a file's identity and attributes."""

import stat

from storefs.model import Inode
from storefs.tree import schema
from storefs.tree.database import Database

COLUMNS = f"""i.ino, i.mode, i.uid, i.gid, i.size, i.cid, i.atime_ns, i.mtime_ns, i.ctime_ns, i.rdev,
    CASE WHEN i.mode & {0o170000} = {stat.S_IFDIR}
        THEN 2 + (SELECT count(*) FROM dentry AS s WHERE s.parent = i.ino AND s.kind = {schema.DIRECTORY_KIND})
        ELSE (SELECT count(*) FROM dentry AS s WHERE s.ino = i.ino) END"""
"""The columns of an Inode in its order, link count derived, from ``inode AS i``."""

_GET = f"SELECT {COLUMNS} FROM inode AS i WHERE i.ino = ?"

_SETTABLE = frozenset({"mode", "uid", "gid", "size", "cid", "atime_ns", "mtime_ns", "ctime_ns"})


class Inodes:
    """The table ``inode``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, ino: int) -> Inode | None:
        """Return the inode, or None."""
        row = self._database.row(_GET, (ino,))
        return Inode(*row) if row else None

    def mode_and_group(self, ino: int) -> tuple[int, int] | None:
        """Return (mode, gid), or None. Cheaper than ``get``: nobody counts links."""
        row = self._database.row("SELECT mode, gid FROM inode WHERE ino = ?", (ino,))
        return (int(row[0]), int(row[1])) if row else None

    def size(self, ino: int) -> int | None:
        """Return a file's size, or None."""
        remembered = self._database.remembered()
        if ino not in remembered:
            row = self._database.row("SELECT size FROM inode WHERE ino = ?", (ino,))
            remembered[ino] = int(row[0]) if row else None
        size: int | None = remembered[ino]
        return size

    def insert(self, ino: int, mode: int, uid: int, gid: int, now_ns: int, rdev: int = 0, target: bytes = b"") -> None:
        """Add an inode without content, all of its times ``now_ns``; a symbolic link's size is its target's length."""
        self._database.run(
            "INSERT INTO inode VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
            (ino, mode, uid, gid, len(target), now_ns, now_ns, now_ns, rdev, target),
        )

    def update(self, ino: int, **columns: int) -> None:
        """Set some columns of an inode that exists."""
        assert _SETTABLE.issuperset(columns), columns
        assignments = ", ".join(f"{name} = ?" for name in columns)
        changed = self._database.changed(f"UPDATE inode SET {assignments} WHERE ino = ?", (*columns.values(), ino))
        assert changed == 1, f"inode {ino} vanished under its update"

    def target(self, ino: int) -> bytes:
        """Return what a symbolic link points to (empty for other kinds)."""
        row = self._database.row("SELECT target FROM inode WHERE ino = ?", (ino,))
        return bytes(row[0]) if row else b""

    def remove(self, ino: int) -> None:
        """Remove an inode with its extents and xattrs."""
        self._database.run("DELETE FROM extent WHERE ino = ?", (ino,))
        self._database.run("DELETE FROM xattr WHERE ino = ?", (ino,))
        self._database.run("DELETE FROM inode WHERE ino = ?", (ino,))

    def count(self) -> int:
        """Return how many inodes the tree has."""
        return self._database.value("SELECT count(*) FROM inode")
