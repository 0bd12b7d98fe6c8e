"""Checking a tree: whether what its tables say is a file tree at all."""

from collections.abc import Iterator

from storefs.model import ROOT_INO
from storefs.tree.database import Database

_FAULTS = (
    ("the name {1!r} in directory {0} leads to inode {2}, which there is not",
     "SELECT parent, name, ino FROM dentry AS d WHERE NOT EXISTS (SELECT 1 FROM inode AS i WHERE i.ino = d.ino)"),
    ("the name {1!r} is in directory {0}, which there is not",
     """SELECT parent, name FROM dentry AS d
        WHERE NOT EXISTS (SELECT 1 FROM inode AS i WHERE i.ino = d.parent AND i.mode >> 12 = 4)"""),
    ("inode {0} has no name",
     f"""SELECT ino FROM inode AS i WHERE ino != {ROOT_INO}
        AND NOT EXISTS (SELECT 1 FROM dentry AS d WHERE d.ino = i.ino)"""),
    ("directory {0} has {1} names",
     """SELECT d.ino, count(*) FROM dentry AS d JOIN inode AS i ON i.ino = d.ino WHERE i.mode >> 12 = 4
        GROUP BY d.ino HAVING count(*) > 1"""),
    ("the name {1!r} in directory {0} says type {2}, its inode {3}",
     """SELECT d.parent, d.name, d.kind, i.mode >> 12 FROM dentry AS d JOIN inode AS i ON i.ino = d.ino
        WHERE d.kind != i.mode >> 12"""),
    ("inode {0} has content at {1}, but is no regular file",
     """SELECT e.ino, e."offset" FROM extent AS e
        WHERE NOT EXISTS (SELECT 1 FROM inode AS i WHERE i.ino = e.ino AND i.mode >> 12 = 8)"""),
    ("inode {0} of {2} bytes has content up to {1}",
     """SELECT e.ino, max(e."offset" + e.length), i.size FROM extent AS e JOIN inode AS i ON i.ino = e.ino
        GROUP BY e.ino HAVING max(e."offset" + e.length) > i.size"""),
    ("inode {0}: the extents at {1} and {2} overlap",
     """SELECT a.ino, a."offset", b."offset" FROM extent AS a JOIN extent AS b ON b.ino = a.ino
        AND b."offset" > a."offset" AND b."offset" < a."offset" + a.length"""),
    ("inode {0}: no shard has the chunk {2} of its content at {1}",
     """SELECT e.ino, e."offset", lower(hex(e.chunk)) FROM extent AS e
        WHERE NOT EXISTS (SELECT 1 FROM chunk AS c WHERE c.id = e.chunk)"""),
    ("inode {0}: its extent at {1} goes beyond its chunk",
     """SELECT e.ino, e."offset" FROM extent AS e JOIN chunk AS c ON c.id = e.chunk
        WHERE e.skip < 0 OR e.length <= 0 OR e.skip + e.length > c.size"""),
    ("chunk {0} is in shard {1}, which is not in the tree",
     """SELECT lower(hex(c.id)), lower(hex(c.shard)) FROM chunk AS c
        WHERE NOT EXISTS (SELECT 1 FROM shard AS s WHERE s.id = c.shard)"""),
    ("chunk {0} ends behind its shard {1}",
     """SELECT lower(hex(c.id)), lower(hex(c.shard)) FROM chunk AS c JOIN shard AS s ON s.id = c.shard
        WHERE s.size > 0 AND c."offset" + c.stored > s.size"""),
    ("inode {0} has attributes, but there is no such inode",
     "SELECT DISTINCT ino FROM xattr AS x WHERE NOT EXISTS (SELECT 1 FROM inode AS i WHERE i.ino = x.ino)"),
)  # fmt: skip
"""What must not be found, and the words for it."""


def faults(database: Database) -> Iterator[str]:
    """Yield what is wrong with the tree of a database, in words; nothing for a tree as it should be.

    An inode that is kept for the kernel alone, without a name, counts as wrong.
    """
    for text, sql in _FAULTS:
        for row in database.rows(sql):
            yield text.format(*row)
    yield from _unreachable(database)


def _unreachable(database: Database) -> Iterator[str]:
    """Yield directories that no way from the root leads to: those on a cycle, and what is below them."""
    rows = database.rows(
        f"""WITH RECURSIVE below (ino) AS (
            SELECT {ROOT_INO} UNION SELECT d.ino FROM dentry AS d JOIN below AS b ON d.parent = b.ino WHERE d.kind = 4)
        SELECT ino FROM inode WHERE mode >> 12 = 4 AND ino NOT IN below"""
    )
    for (ino,) in rows:
        yield f"directory {ino} cannot be reached from the root"
