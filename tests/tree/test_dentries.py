"""Listings and link counts: cookies stay valid whatever comes and goes."""

import random

import apsw
import pytest


def make(tree, number, name, parent=1, mode=0o100644):
    if tree.inodes.get(number) is None:
        tree.inodes.insert(number, mode, 0, 0, 5)
    tree.dentries.insert(parent, name, number, next_cookie(tree), mode)


def next_cookie(tree):
    return tree.database.value("SELECT max(cookie) FROM dentry") + 1


def test_a_listing_with_changes_meanwhile_repeats_and_skips_nothing(tree, seed):
    dice = random.Random(seed)
    stay = {b"stay-%d" % number for number in range(50)}
    names = sorted(stay | {b"go-%d" % number for number in range(50)})
    dice.shuffle(names)
    for number, name in enumerate(names, 10):
        make(tree, number, name)
    seen, after = [], 0
    while page := tree.dentries.page(1, after, 7):
        seen += [dentry.name for dentry, _ in page]
        after = page[-1][0].cookie
        gone = next((name for name in names if name.startswith(b"go") and tree.dentries.lookup(1, name)), None)
        if gone:
            tree.dentries.remove(1, gone)
        if len(seen) < 60:
            make(tree, 1000 + len(seen), b"new-%d" % len(seen))
    assert len(seen) == len(set(seen))
    assert stay <= set(seen)


def test_link_counts_follow_from_the_names(tree):
    make(tree, 10, b"file")
    make(tree, 10, b"other")
    assert tree.inodes.get(10).nlink == 2
    tree.dentries.remove(1, b"file")
    assert tree.inodes.get(10).nlink == 1
    assert tree.inodes.get(1).nlink == 2
    make(tree, 11, b"folder", mode=0o040755)
    make(tree, 12, b"inner", parent=11, mode=0o040755)
    assert tree.inodes.get(1).nlink == 3
    assert tree.inodes.get(11).nlink == 3
    assert list(tree.dentries.ancestors(12)) == [12, 11, 1]


def test_a_directory_that_is_its_own_ancestor_is_noticed(tree):
    for ino, parent in ((11, 1), (12, 11), (13, 12), (14, 13)):
        make(tree, ino, b"folder", parent=parent, mode=0o040755)
    assert not any(tree.dentries.is_below_itself(ino) for ino in (1, 11, 12, 13, 14))
    tree.dentries.remove(11, b"folder")
    tree.dentries.insert(13, b"folder2", 12, 99, 0o040755)
    assert [ino for ino in (11, 12, 13, 14) if tree.dentries.is_below_itself(ino)] == [12, 13]


def test_a_directory_has_one_name(tree):
    make(tree, 11, b"folder", mode=0o040755)
    with pytest.raises(apsw.ConstraintError):
        make(tree, 11, b"other", mode=0o040755)


def test_names_are_bytes(tree):
    for number, name in enumerate([b"\xff\xfe", b"A", b"a", "ä".encode(), b" "], 10):
        make(tree, number, name)
        assert tree.dentries.lookup(1, name).ino == number
