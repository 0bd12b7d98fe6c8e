"""The difference of two trees, as the changeset that turns one into the other."""

import contextlib
from pathlib import Path

import apsw

from storefs.tree import schema


def difference(old: Path, new: Path) -> bytes:
    """Return the changeset that makes the tree in the SQLite file ``old`` that in ``new``; empty if they are equal.

    Both are read only. All of both is compared: for large trees this takes minutes, so it is for when the changesets
    in between are gone. In any thread.
    """
    with contextlib.closing(apsw.Connection(str(new), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.execute("ATTACH ? AS old", (str(old),))
        session = apsw.Session(connection, "main")
        try:
            for table in schema.REPLICATED:
                session.attach(table)
                session.diff("old", table)
            return session.changeset()
        finally:
            session.close()
