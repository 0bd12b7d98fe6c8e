"""What only a replica knows: numbers given out once, position, intent, leftovers."""

import pytest

from storefs.tree.local import ORIGIN, Intent, Numbers, Position
from storefs.tree.pending import has_leftovers


def taken_in_vain(tree, numbers, count):
    """Take numbers inside a transaction that fails; return them."""
    taken = []

    def fail():
        with tree.pending.recorded():
            taken.extend(numbers.take() for _ in range(count))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    return taken


def test_numbers_are_unique_across_restarts_and_rollbacks(tree, plant):
    taken = []
    for _ in range(3):
        numbers = Numbers(tree.database, tree.local, node=3)
        taken += [numbers.take() for _ in range(5000)]
        taken += taken_in_vain(tree, numbers, 5000)
        taken += [numbers.take() for _ in range(10)]
        tree.close()
        tree = plant("one")
    assert len(set(taken)) == len(taken)
    assert taken == sorted(taken)
    assert {number >> 40 for number in taken} == {3}


def test_a_first_reservation_rolled_back_is_made_again(tree, plant):
    numbers = Numbers(tree.database, tree.local, node=3)
    taken = [*taken_in_vain(tree, numbers, 1), numbers.take()]
    tree.close()
    again = plant("one")
    taken.append(Numbers(again.database, again.local, node=3).take())
    assert len(set(taken)) == 3


def test_nodes_do_not_share_numbers(tree):
    one, two = (Numbers(tree.database, tree.local, node) for node in (1, 2))
    assert {one.take() for _ in range(100)}.isdisjoint(two.take() for _ in range(100))
    assert Numbers(tree.database, tree.local, (1 << 23) - 1).take() < 1 << 63


def test_position_and_intent_survive(tree, plant):
    assert tree.local.position == ORIGIN
    position = Position(7, b"n" * 16, b"c" * 32)
    intent = Intent(8, b"i" * 16, 1, 5, b"object")
    with tree.database.transaction():
        tree.local.position, tree.local.intent = position, intent
    tree.close()
    again = plant("one")
    assert (again.local.position, again.local.intent) == (position, intent)
    again.local.intent = None
    assert again.local.intent is None


def test_orphans_that_were_rolled_back_are_none(tree):
    def fail():
        with tree.database.transaction():
            tree.local.add_orphan(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not tree.local.is_orphan(10)
    tree.local.add_orphan(11)
    assert tree.local.orphans() == [11]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, True),
        ({"clean": 0}, True),
        ({"clean": 1}, False),
        ({"clean": 1, "pending": 1}, True),
    ],
    ids=str,
)
def test_what_a_mount_left(tree, state, expected):
    for key, value in state.items():
        if key == "pending":
            with tree.pending.recorded():
                tree.inodes.update(1, uid=5)
        else:
            tree.local.put(key, value)
    path = tree.database.path
    tree.close()
    assert has_leftovers(path) is expected


def test_no_replica_leaves_nothing(tmp_path):
    assert not has_leftovers(tmp_path / "none.sqlite")
    (tmp_path / "bad.sqlite").write_bytes(b"no database" * 1000)
    assert not has_leftovers(tmp_path / "bad.sqlite")


def test_of_two_notes_on_staged_bytes_the_longer_holds(tree):
    """The same file, start and position: first what was cut, then all of it, because it lost its name."""
    with tree.database.transaction():
        for end in (48, 1 << 40, 100):
            tree.shards.absorb(7, 0, end, 500)
    assert [(one.start, one.end, one.position) for one in tree.shards.absorbed()[7]] == [(0, 1 << 40, 500)]
