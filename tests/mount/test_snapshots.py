"""Named snapshots: kept by a command, seen below the control directory, read-only, whatever happens to the tree."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from storefs.testing.mounted import run_storefs
from storefs.testing.trees import describe, differences, make_tree
from tests.mount.places import Mounts, Place, eventually, refused

pytestmark = pytest.mark.mount


@pytest.mark.parametrize("bridge", ["yes", "no"])
def test_a_tree_as_it_was(directory_place: Place, mounts: Mounts, seed: int, bridge: str) -> None:
    mount = mounts(directory_place, bridge=bridge)
    tree = mount.path / "tree"
    make_tree(tree, seed, 60, 300_000)
    (mount.path / "large").write_bytes(large := os.urandom(5 << 20))
    before = describe(tree)
    done = run_storefs("snapshot", "create", "first", mount.path)
    assert done.returncode == 0, done.stderr
    for path in sorted(tree.rglob("*"), reverse=True):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
    (mount.path / "large").write_bytes(b"new")
    (mount.path / "later").write_bytes(b"x")

    past = mount.path / ".storefs" / "snapshots" / "first"
    assert sorted(os.listdir(past)) == ["large", "tree"]
    assert list(differences(before, describe(past / "tree"))) == []
    assert (past / "large").read_bytes() == large
    assert (past / "large").stat().st_ino != (mount.path / "large").stat().st_ino
    with (past / "large").open("rb") as file:
        file.seek(3 << 20)
        assert file.read(1000) == large[3 << 20 : (3 << 20) + 1000]
    assert (mount.path / "large").read_bytes() == b"new"
    descriptor = os.open(past / "large", os.O_RDWR)
    for act in (
        lambda: (past / "new").write_bytes(b"x"),
        lambda: os.pwrite(descriptor, b"x", 0),
        (past / "large").unlink,
        (past / "dir").mkdir,
        lambda: (past / "large").rename(past / "moved"),
        lambda: (past / "large").chmod(0o600),
        lambda: os.truncate(past / "large", 0),
        lambda: os.setxattr(past / "large", "user.a", b"1"),
        lambda: os.link(past / "large", past / "link"),
        lambda: os.symlink("x", past / "link"),
    ):
        with refused(errno.EROFS):
            act()
    os.close(descriptor)
    assert list(differences(before, describe(past / "tree"))) == []

    listed = json.loads(run_storefs("snapshot", "list", mount.path, "--json").stdout)
    assert list(listed) == ["first"]
    assert run_storefs("snapshot", "create", "first", mount.path).returncode == 2
    assert run_storefs("snapshot", "create", "a/b", mount.path).returncode == 2
    assert run_storefs("snapshot", "delete", "none", mount.path).returncode == 2
    assert run_storefs("snapshot", "delete", "first", directory_place.source).returncode == 0
    eventually(lambda: not os.listdir(mount.path / ".storefs" / "snapshots"))
    mount.umount()


def test_the_folder_of_snapshots(directory_place: Place, mounts: Mounts) -> None:
    mount = mounts(directory_place)
    folder = mount.path / ".storefs" / "snapshots"
    assert stat.S_ISDIR(folder.stat().st_mode)
    assert os.listdir(folder) == []
    assert not (folder / "none").exists()
    with refused(errno.EPERM):
        (folder / "made").mkdir()
    (mount.path / "file").write_bytes(b"1")
    assert run_storefs("snapshot", "create", "one", mount.path).returncode == 0
    eventually((folder / "one" / "file").exists)
    (mount.path / "file").write_bytes(b"2")
    assert run_storefs("snapshot", "create", "two", mount.path).returncode == 0
    eventually(lambda: sorted(os.listdir(folder)) == ["one", "two"])
    assert [(folder / name / "file").read_bytes() for name in ("one", "two")] == [b"1", b"2"]
    other = mounts(directory_place, ro="yes")
    assert (other.path / ".storefs" / "snapshots" / "one" / "file").read_bytes() == b"1"
    assert Path(os.path.realpath(folder / "one")) == folder / "one"
