"""Keys: sorted as their numbers, and read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.core import keys

numbers = st.integers(0, (1 << 63) - 1)


@given(numbers, numbers)
def test_journal_keys_sort_as_their_numbers(one, two):
    assert (keys.journal(one) < keys.journal(two)) == (one < two)


@given(numbers, numbers)
def test_snapshot_keys_sort_as_their_numbers(one, two):
    assert (keys.snapshot(one) < keys.snapshot(two)) == (one < two)
    if one:
        assert keys.snapshot_seq(keys.snapshot(one)) == one
        assert keys.journal_seq(keys.journal(one)) == one


@given(st.binary(min_size=16, max_size=16), st.integers(0, 99_999_999))
def test_shard_keys_are_read_back(shard, day):
    assert keys.shard_named(keys.shard(shard, day)) == (shard, day)


@given(st.integers(1, (1 << 23) - 1))
def test_node_keys_are_read_back(number):
    assert keys.node_number(keys.node(number)) == number


def test_the_names_are_those_of_the_format():
    assert keys.journal(26) == "journal/000000000000001a"
    assert keys.snapshot(26) == "snapshots/000000000000001a.sqlite.zst"
    assert keys.shard(bytes(range(16)), 20260102) == "shards/20260102/000102030405060708090a0b0c0d0e0f.des"
    assert keys.node(3) == "nodes/3"


@pytest.mark.parametrize(
    "name",
    [
        "snapshots/README",
        "snapshots/1a",
        "snapshots/x.sqlite.zst",
        "snapshots/1a.sqlite.zst",
        "snapshots/000000000000001A.sqlite.zst",
        "snapshots/0000000000000000.sqlite.zst",
        "snapshots/named/000000000000001a.sqlite.zst",
    ],
)
def test_foreign_names_are_refused(name):
    with pytest.raises(ValueError, match=r"."):
        keys.snapshot_seq(name)
    with pytest.raises(ValueError, match=r"."):
        keys.journal_seq(name.replace("snapshots", "journal"))
    with pytest.raises(ValueError, match=r"."):
        keys.journal_seq("journal/1a")
    assert keys.shard_named("shards/20260102/0001.des") is None
    assert keys.shard_named("shards/2026012/000102030405060708090a0b0c0d0e0f.des") is None
    with pytest.raises(ValueError, match=r"."):
        keys.node_number("nodes/README")
