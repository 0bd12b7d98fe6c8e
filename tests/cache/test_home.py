"""Cache directories: one mount each, changes first."""

import json

import pytest

from storefs.cache.home import CacheHome, Holder, acquire
from storefs.errors import StorefsError
from storefs.tree.tree import Tree


@pytest.fixture
def take(tmp_path):
    """Acquire a directory of the store ``name``; all are released at the end."""
    held = []

    def acquire_one():
        found = acquire(tmp_path / "caches", "name")
        if isinstance(found, CacheHome):
            held.append(found)
        return found

    yield acquire_one
    for home in held:
        home.release()


def leave(home, **state):
    """Leave a replica with these values in ``home``, and let go of it."""
    tree = Tree(home.tree)
    for key, value in state.items():
        tree.local.put(key, value)
    tree.close()
    home.release()


@pytest.fixture
def places(tmp_path):
    """Directories that were used and left, with the states that the test asks for."""

    def make(*states):
        homes = [acquire(tmp_path / "caches", "name") for _ in states]
        for home, state in zip(homes, states, strict=True):
            leave(home, **state)

    return make


def test_a_second_mount_gets_another(take):
    one, two, three = take(), take(), take()
    assert [home.path.name for home in (one, two, three)] == ["name", "name.2", "name.3"]
    assert one.staging.is_dir()
    assert one.shards.is_dir()


def test_what_is_free_is_taken_again(places, take):
    places({"clean": 1}, {"clean": 1})
    assert take().path.name == "name"


def test_changes_come_first(places, take):
    places({"clean": 1}, {"clean": 0}, {"clean": 1})
    assert take().path.name == "name.2"
    assert take().path.name == "name"
    assert take().path.name == "name.3"


def test_who_is_finishing_is_waited_for(take):
    one = take()
    one.announce("/mnt", finishing=True)
    found = take()
    assert isinstance(found, Holder)
    assert found.finishing
    assert found.mountpoint == "/mnt"


def test_changes_of_another_come_before_waiting(places, take):
    places({"clean": 0}, {"clean": 0})
    take().announce("/mnt", finishing=True)
    assert take().path.name == "name.2"


def test_who_is_just_mounted_is_not_waited_for(take):
    take().announce("/mnt", finishing=False)
    assert take().path.name == "name.2"


@pytest.mark.parametrize("text", ["", "no json", "[]", json.dumps({"pid": 1})])
def test_a_lock_that_says_nothing_readable_is_held_all_the_same(take, text):
    one = take()
    (one.path / "lock").write_text(text)
    assert take().path.name == "name.2"


def test_a_place_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorefsError, match="cache_dir"):
        acquire(tmp_path / "file", "name")
