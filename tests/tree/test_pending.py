"""Recording: every operation and its changeset are one; merged and applied they make the same tree elsewhere."""

import random

import pytest

from storefs.errors import Diverged
from storefs.model import ChunkId, ChunkPlace, Codec, Extent, ShardId, ShardInfo
from storefs.testing.world import noise, tables
from storefs.tree import apply, edits, pending, schema
from storefs.tree.recorder import Recorder


def make(tree, number, parent=1, mode=0o100644):
    with tree.pending.recorded():
        tree.inodes.insert(number, mode, 1000, 1000, number)
        tree.dentries.insert(parent, b"%d" % number, number, number, mode)


def fill(tree, seed, steps=200):
    """Do many operations of all kinds on a tree, each recorded; here and there a commit may end."""
    dice, alive = random.Random(seed), []
    for number in range(10, 10 + steps):
        if dice.random() < 0.1:
            tree.pending.mark(0)
        step = dice.choice(["make", "make", "remove", "rename", "content", "xattr", "shard"])
        if step == "make" or not alive:
            make(tree, number)
            alive.append(number)
            continue
        ino = dice.choice(alive)
        with tree.pending.recorded():
            if step == "remove":
                alive.remove(ino)
                tree.dentries.remove(*tree.dentries.name_of(ino))
                tree.inodes.remove(ino)
            elif step == "rename":
                tree.dentries.remove(*tree.dentries.name_of(ino))
                tree.dentries.insert(1, b"moved-%d" % number, ino, number, 0o100644)
            elif step == "content":
                start = dice.randrange(100)
                tree.extents.clear(ino, start, start + 20)
                tree.extents.insert(ino, Extent(start, 20, ChunkId(noise(number, 32)), 0))
                tree.inodes.update(ino, size=200, cid=number)
            elif step == "xattr":
                tree.xattrs.set(ino, b"user.a", b"%d" % number)
            else:
                shard = ShardId(noise(number, 16))
                tree.chunks.insert_shard(ShardInfo(shard, 20260101, 0))
                tree.chunks.insert(ChunkPlace(ChunkId(noise(number, 32)), shard, 0, 10, Codec.NONE, 10))
                tree.chunks.set_shard_size(shard, 100)


def all_of(tree):
    return tree.pending.read(0, tree.pending.last)


def take_over(tree, changes):
    with tree.database.transaction():
        apply.apply(tree.database, changes)


def test_every_replicated_table_is_recorded(tree):
    tree.pending.prove()
    tree.database.run("DROP TABLE xattr")
    tree.database.run("CREATE TABLE xattr (ino, name, value)")  # without a key nothing could be applied
    with pytest.raises(AssertionError, match="xattr"):
        pending.Pending(tree.database)
    assert tree.pending.count == 0


def test_the_merged_changes_make_the_same_tree(tree, plant, seed):
    fill(tree, seed)
    other = plant("other")
    take_over(other, pending.merge(all_of(tree)))
    assert tables(other) == tables(tree)
    assert other.pending.count == 0


def test_any_cut_into_commits_makes_the_same_tree(tree, plant, seed):
    fill(tree, seed)
    other, low = plant("other"), 1
    while low <= tree.pending.last:
        high = tree.pending.slice_end(low, tree.pending.last, 7)
        take_over(other, pending.merge(tree.pending.read(low, high)))
        low = high + 1
    assert tables(other) == tables(tree)


def test_a_commit_ends_at_a_mark(tree):
    for number in range(10, 40):
        make(tree, number)
        if number in (13, 15, 30):
            tree.pending.mark(0)
    first, second, third = 5, 8, 24  # each a change of its own
    last = tree.pending.last
    assert tree.pending.count == last == 33
    assert tree.pending.slice_end(1, last, 100) == last
    assert tree.pending.slice_end(1, last, 10) == second
    assert tree.pending.slice_end(1, last, 6) == first
    assert tree.pending.slice_end(second + 1, last, 10) == third  # more than was asked for
    assert tree.pending.slice_end(third + 1, last, 3) == last
    assert tree.pending.slice_end(1, second - 1, 3) == first
    assert tree.pending.slice_end(first + 1, second - 1, 1) == second - 1


def test_marks_are_made_once_in_so_many_changes(tree):
    marks = 0
    for number in range(10, 60):
        make(tree, number)
        before = tree.pending.count
        tree.pending.mark(10)
        tree.pending.mark(10)
        marks += tree.pending.count - before
    assert marks == 4


def test_the_inverse_undoes_it(tree, seed):
    before = tables(tree)
    fill(tree, seed)
    take_over(tree, apply.invert(pending.merge(all_of(tree))))
    assert tables(tree) == before


def test_changes_that_cancel_out_are_nothing(tree):
    make(tree, 10)
    with tree.pending.recorded():
        tree.dentries.remove(1, b"10")
        tree.inodes.remove(10)
    assert tree.pending.count == 2
    assert pending.merge(all_of(tree)) == b""


def test_an_operation_that_fails_leaves_neither_rows_nor_record(tree):
    make(tree, 10)
    before, count, last = tables(tree), tree.pending.count, tree.pending.last

    def fail():
        with tree.pending.recorded():
            tree.inodes.insert(11, 0o100644, 0, 0, 5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tables(tree), tree.pending.count, tree.pending.last) == (before, count, last)
    make(tree, 12)
    assert tree.pending.count == count + 1


def test_what_comes_afterwards_is_not_recorded(tree, plant):
    make(tree, 10)
    with tree.pending.recorded(lambda: tree.inodes.insert(11, 0o100644, 0, 0, 5)):
        tree.inodes.update(10, uid=7)
    other = plant("other")
    take_over(other, pending.merge(all_of(tree)))
    assert other.inodes.get(10).uid == 7
    assert other.inodes.get(11) is None


def test_local_tables_are_neither_recorded_nor_applied(tree, plant):
    with tree.pending.recorded():
        tree.local.put("secret", 1)
    assert tree.pending.count == 0
    recorder = Recorder(tree.database, ("state",))
    recorder.start()
    tree.local.put("secret", 2)
    foreign = recorder.changeset()
    assert foreign
    other = plant("other")
    take_over(other, foreign)
    assert other.local.get("secret") is None


def test_ids_are_never_given_twice(tree, plant):
    make(tree, 10)
    last = tree.pending.last
    tree.pending.drop(last)
    assert tree.pending.count == tree.pending.bytes == 0
    make(tree, 11)
    assert tree.pending.last == last + 1
    tree.pending.drop(last + 1)
    tree.close()
    again = plant("one")
    assert again.pending.last == last + 1
    make(again, 12)
    assert again.pending.first() == last + 2


@pytest.mark.parametrize("change", ["attribute", "missing", "present"])
def test_a_commit_that_does_not_fit_changes_nothing(tree, plant, change):
    """The first part of it would fit: that must not stay either."""
    make(tree, 10)
    other = plant("other")
    take_over(other, pending.merge(all_of(tree)))
    tree.pending.drop(tree.pending.last)
    make(tree, 11)
    with tree.pending.recorded():
        tree.inodes.update(10, uid=7)
    if change == "attribute":
        other.database.run("UPDATE inode SET uid = 3 WHERE ino = 10")
    elif change == "missing":
        other.database.run("DELETE FROM inode WHERE ino = 10")
    else:
        other.inodes.insert(11, 0o100600, 0, 0, 5)
    before = tables(other)
    with pytest.raises(Diverged):
        take_over(other, pending.merge(all_of(tree)))
    assert tables(other) == before


def test_what_a_changeset_touches(tree):
    make(tree, 10)
    make(tree, 11)
    tree.pending.drop(tree.pending.last)
    with tree.pending.recorded():
        tree.extents.insert(10, Extent(0, 5, ChunkId(bytes(32)), 0))
        tree.inodes.update(10, size=5)
        tree.dentries.remove(1, b"11")
        tree.inodes.remove(11)
        tree.xattrs.set(1, b"user.a", b"1")
        tree.chunks.insert_shard(ShardInfo(ShardId(bytes(16)), 20260101, 0))
    found = edits.read(pending.merge(all_of(tree)))
    assert found.contents == {10, 11}
    assert found.mentioned == {1, 10, 11}
    assert found.removed == {11}
    assert found.names == {(1, b"11")}
    assert found.shards == {bytes(16)}
    assert not found.created
    assert not found.dropped_shards


def test_what_pending_changes_mention_follows_them(tree):
    make(tree, 10)
    assert tree.pending.mentioned == {1, 10}
    make(tree, 11)
    with tree.pending.recorded():
        tree.inodes.update(10, size=5)
    assert tree.pending.mentioned == {1, 10, 11}
    with pytest.raises(RuntimeError), tree.pending.recorded():  # noqa: PT012 - it is the whole that fails
        tree.inodes.insert(12, 0o100600, 0, 0, 5)
        raise RuntimeError
    assert tree.pending.mentioned == {1, 10, 11}
    tree.pending.drop(tree.pending.last - 1)
    assert tree.pending.mentioned == {10}
    tree.pending.replace(b"")
    assert tree.pending.mentioned == set()


def test_the_fingerprint_names_the_tables_not_their_comments(monkeypatch):
    before = schema.fingerprint()
    assert len(before) == 16
    monkeypatch.setattr(schema, "REPLICATED_SQL", schema.REPLICATED_SQL.replace("-- ", "--  another word: "))
    assert schema.fingerprint() == before
    monkeypatch.setattr(schema, "REPLICATED_SQL", schema.REPLICATED_SQL.replace("uid ", "user_id "))
    assert schema.fingerprint() != before
