"""Pending changes: every operation's changeset, stored beside the operation in one transaction.

What is recorded in memory would die with the process. So each operation runs as one transaction that also inserts the
operation's own changeset into the local table ``pending``. A commit takes a closed range of these ids.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from storefs.tree import edits, schema
from storefs.tree.database import Database
from storefs.tree.recorder import Recorder

_REPLICATED = frozenset(schema.REPLICATED)

_MARKS = "FROM pending WHERE length(changeset) = 0"
"""A mark is a change that changes nothing."""


def is_replicated(table: str) -> bool:
    """Whether changes of ``table`` are recorded and applied."""
    return table in _REPLICATED


@dataclass(slots=True)
class Noted:
    """What was changed, once it is known."""

    changes: bytes = b""


class Pending:
    """The table ``pending`` and the recording of changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recorder = Recorder(database, schema.REPLICATED)
        sequence = database.value("SELECT seq FROM sqlite_sequence WHERE name = 'pending'")
        self.last = sequence
        """The id of the latest change of this replica, committed or not; 0 before the first."""
        self.bytes, self.count = self._measure()
        self._mentioned: set[int] = set()
        self._mentioned_upto = 0
        database.on_reread.append(self._remeasure)

    def _measure(self) -> tuple[int, int]:
        row = self._database.row("SELECT coalesce(sum(length(changeset)), 0), count(*) FROM pending")
        assert row is not None
        return int(row[0]), int(row[1])

    @property
    def mentioned(self) -> set[int]:
        """The inodes that any pending change mentions, also those that another one undoes; see ``Edits``."""
        changes = self.read(self._mentioned_upto + 1, self.last)
        self._mentioned.update(*(edits.read(one).mentioned for one in changes))
        self._mentioned_upto = self.last
        return self._mentioned

    def _remeasure(self) -> None:
        self._mentioned, self._mentioned_upto = set(), 0
        self.last = self._database.value("SELECT seq FROM sqlite_sequence WHERE name = 'pending'")
        self.bytes, self.count = self._measure()

    @contextmanager
    def recorded(self, afterwards: Callable[[], None] | None = None) -> Iterator[None]:
        """One operation on the tree: it and the record of it happen together, or not at all.

        ``afterwards`` runs in the same transaction, unrecorded.
        """
        with self._database.transaction():
            self._recorder.start()
            try:
                yield
            finally:
                self._recorder.stop()
            changes = self._recorder.changeset()
            if afterwards is not None:
                afterwards()
            if changes:
                self._insert(changes)

    def _insert(self, changes: bytes) -> None:
        self._database.run("INSERT INTO pending (changeset) VALUES (?)", (changes,))
        self.last = self._database.connection.last_insert_rowid()
        self.bytes += len(changes)
        self.count += 1

    @contextmanager
    def noted(self) -> Iterator["Noted"]:
        """Within a transaction: note what changes inside, for ``replace``."""
        noted = Noted()
        self._recorder.start()
        try:
            yield noted
        finally:
            self._recorder.stop()
        noted.changes = self._recorder.changeset()

    def replace(self, changes: bytes) -> int:
        """Let ``changes`` be all that is pending, within the caller's transaction; return their id, 0 for none.

        It is the lowest that was pending: who waits for a later one to be committed waits on.
        """
        first = self.first()
        self._database.run("DELETE FROM pending")
        if not changes:
            self._remeasure()
            return 0
        if first:
            self._database.run("INSERT INTO pending VALUES (?, ?)", (first, changes))
        else:
            self._database.run("INSERT INTO pending (changeset) VALUES (?)", (changes,))
            first = self._database.connection.last_insert_rowid()
        self._remeasure()
        return first

    def prove(self) -> None:
        """Show with a probe row in each replicated table that its changes are recorded; leaves nothing behind.

        Raises AssertionError naming the table: changes of it would be lost silently.
        """
        for table in schema.REPLICATED:
            columns = [str(row[0]) for row in self._database.rows("SELECT type FROM pragma_table_info(?)", (table,))]
            probe = ", ".join("x'00'" if kind == "BLOB" else "-1" for kind in columns)
            self._database.run("BEGIN")
            self._recorder.start()
            try:
                self._database.run(f"INSERT INTO {table} VALUES ({probe})")
                recorded = [change.name for change in apsw.Changeset.iter(self._recorder.changeset())]
                assert recorded == [table], f"changes of table {table} are not recorded"
            finally:
                self._recorder.stop()
                self._database.run("ROLLBACK")

    def mark(self, every: int) -> None:
        """Note that nothing is half done at this moment: a commit may end here. Once in ``every`` changes, at most."""
        since = self.last - every
        if self.count <= every or self._database.row(f"SELECT 1 {_MARKS} AND id > ?", (since,)) is not None:
            return
        with self._database.transaction():
            self._insert(b"")

    def slice_end(self, low: int, high: int, rows: int) -> int:
        """Return the id that ends a commit of about ``rows`` changes of ``low`` to ``high``: a mark, or ``high``."""
        after = low + rows
        if high <= after:
            return high
        before = self._database.value(f"SELECT max(id) {_MARKS} AND id BETWEEN ? AND ?", (low, after))
        return before or self._database.value(f"SELECT min(id) {_MARKS} AND id BETWEEN ? AND ?", (after, high)) or high

    def read(self, low: int, high: int) -> list[bytes]:
        """Return the changesets of a closed range of ids, in order."""
        found = self._database.rows("SELECT changeset FROM pending WHERE id BETWEEN ? AND ? ORDER BY id", (low, high))
        return [bytes(row[0]) for row in found]

    def first(self) -> int:
        """Return the lowest id that is pending, or 0."""
        return self._database.value("SELECT min(id) FROM pending")

    def drop(self, high: int) -> None:
        """Forget the changes up to ``high``: a commit holds them. Belongs into the transaction that records so."""
        self._database.run("DELETE FROM pending WHERE id <= ?", (high,))
        self._remeasure()


def merge(changesets: list[bytes]) -> bytes:
    """Return the net change of several changesets as one; empty when they cancel out. Needs no database."""
    builder = apsw.ChangesetBuilder()  # type: ignore[no-untyped-call]
    try:
        for changes in changesets:
            builder.add(changes)
        return builder.output()
    finally:
        builder.close()


def has_leftovers(path: Path) -> bool:
    """Whether the last mount left changes in the replica at ``path``, in use by nobody, or was cut off.

    The next mount takes them over.
    """
    if not path.exists():
        return False
    try:
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            changes = connection.execute("SELECT count(*) FROM pending").fetchone()
            clean = connection.execute("SELECT value FROM state WHERE key = 'clean'").fetchone()
    except apsw.Error:
        return False
    return changes != (0,) or clean != (1,)
