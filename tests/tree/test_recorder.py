"""The recorder against SQLite's own session extension: the same statements leave the same net change."""

import contextlib
import tempfile
from pathlib import Path

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.tree import schema
from storefs.tree.database import Database
from storefs.tree.pending import merge
from storefs.tree.recorder import Recorder

numbers = st.sampled_from([0, 1, 127, 128, -1, 1 << 40, (1 << 63) - 1, -(1 << 63)])
blobs = st.sampled_from([b"", b"a", b"\0\xff", bytes(127), bytes(128), bytes(16_384), bytes(70_000)])
inos = st.integers(1, 4)
steps = st.one_of(
    st.tuples(st.just("INSERT OR IGNORE INTO inode VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0, 0, ?)"), inos, numbers, blobs),
    st.tuples(st.just("UPDATE inode SET size = ?2, target = ?3 WHERE ino = ?1"), inos, numbers, blobs),
    st.tuples(st.just("UPDATE inode SET mode = ?2 WHERE ino = ?1"), inos, numbers),
    st.tuples(st.just("DELETE FROM inode WHERE ino = ?"), inos),
    st.tuples(st.just("INSERT OR IGNORE INTO xattr VALUES (?, ?, ?)"), inos, blobs, blobs),
    st.tuples(st.just("INSERT OR REPLACE INTO xattr VALUES (?, ?, ?)"), inos, blobs, blobs),
    st.tuples(st.just("UPDATE OR IGNORE xattr SET name = ?2 WHERE ino = ?1"), inos, blobs),
    st.tuples(st.just("DELETE FROM xattr WHERE ino > 0")),
    st.tuples(st.just("INSERT OR IGNORE INTO orphan VALUES (?)"), inos),
)


def run(database, plan):
    for sql, *bindings in plan:
        database.run(sql, tuple(bindings))


def content(database):
    return {table: sorted(database.rows(f"SELECT * FROM {table}")) for table in schema.REPLICATED}


def changes(changeset):
    return sorted(
        (change.name, change.op, str(change.old), str(change.new)) for change in apsw.Changeset.iter(changeset)
    )


@given(st.lists(steps, max_size=12), st.lists(steps, max_size=25))
@settings(max_examples=200, deadline=None)
def test_it_records_what_a_session_records(before, plan):
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ours, theirs, copy = (Database(Path(folder) / name) for name in ("ours", "theirs", "copy"))
        for database in (ours, theirs, copy):
            stack.callback(database.close)
        recorder = Recorder(ours, schema.REPLICATED)
        for database in (ours, theirs, copy):
            run(database, before)
        recorder.start()
        run(ours, plan)
        recorder.stop()
        session = apsw.Session(theirs.connection, "main")
        session.table_filter(lambda table: table in schema.REPLICATED)
        session.attach()
        run(theirs, plan)
        expected = session.changeset()
        session.close()

        recorded = recorder.changeset()

        assert changes(recorded) == changes(expected)
        assert changes(merge([recorded])) == changes(expected)
        apsw.Changeset.apply(recorded, copy.connection)
        assert content(copy) == content(theirs)
        apsw.Changeset.apply(apsw.Changeset.invert(recorded), copy.connection)
        run(ours, [("DELETE FROM orphan",)])  # after stop nothing is noted
        assert recorder.changeset() == recorded


def test_rows_that_came_back_to_what_they_were_are_no_change(tmp_path):
    database = Database(tmp_path / "file")
    recorder = Recorder(database, schema.REPLICATED)
    recorder.start()
    run(database, [("INSERT INTO xattr VALUES (1, x'00', x'01')",), ("DELETE FROM xattr",)])
    recorder.stop()
    assert recorder.changeset() == b""
    database.close()
