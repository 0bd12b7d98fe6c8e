"""Snapshots as files: read back, refused when damaged, made into replicas."""

import apsw
import pytest

from storefs.errors import Corrupt, StorefsError, UnknownFormat
from storefs.testing.world import tables
from storefs.tree import snapshot
from storefs.tree.local import Position

POSITION = Position(7, b"n" * 16, b"c" * 32)


@pytest.fixture
def written(tree, tmp_path):
    """A tree with a committed file and a pending one, and a snapshot of it: (committed tables, path)."""
    with tree.database.transaction():
        tree.inodes.insert(10, 0o100644, 0, 0, 5)
        tree.dentries.insert(1, b"file", 10, 10, 0o100644)
        tree.local.position = POSITION
        tree.local.put("node", 3)
    committed = tables(tree)
    with tree.pending.recorded():
        tree.inodes.insert(11, 0o100644, 0, 0, 5)
        tree.dentries.insert(1, b"pending", 11, 11, 0o100644)
    path = tmp_path / "snapshot.sqlite"
    assert snapshot.write(tree.database.path, path).position == POSITION
    return committed, path


def test_it_becomes_a_replica_of_the_committed_tree(written, plant, tmp_path):
    committed, path = written
    snapshot.adopt(path, snapshot.read_info(path))
    path.rename(tmp_path / "new.sqlite")
    new = plant("new")
    assert tables(new) == committed
    assert new.local.position == POSITION
    assert new.local.get("snapshot") == POSITION.seq
    assert new.local.get("node") is None
    assert new.pending.count == 0


def test_what_is_not_a_snapshot_is_refused(tree, tmp_path):
    with pytest.raises(Corrupt):
        snapshot.read_info(tree.database.path)
    (tmp_path / "noise").write_bytes(b"noise" * 10_000)
    with pytest.raises(Corrupt):
        snapshot.read_info(tmp_path / "noise")


def test_a_cut_one_is_refused(written):
    _, path = written
    content = path.read_bytes()
    for length in range(0, len(content), 4096):
        path.write_bytes(content[:length])
        with pytest.raises(StorefsError):
            snapshot.read_info(path)


def test_another_schema_is_told_from_damage(written):
    _, path = written
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE snapshot SET value = 99 WHERE key = 'schema'")
    connection.close()
    with pytest.raises(UnknownFormat):
        snapshot.read_info(path)
