"""Generated trees are the same for the same seed, hold everything, and every difference between two is told."""

import os
import shutil
import stat
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from storefs.testing.trees import describe, differences, make_tree

FILES, BIGGEST = 300, 1 << 20


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated") / "tree"
    make_tree(root, seed=1, files=FILES, biggest=BIGGEST)
    return root


def test_same_seed_makes_the_same_tree(tree, tmp_path):
    make_tree(tmp_path / "again", seed=1, files=FILES, biggest=BIGGEST)
    assert differences(describe(tree), describe(tmp_path / "again")) == []


def test_another_seed_makes_another_tree(tree, tmp_path):
    make_tree(tmp_path / "other", seed=2, files=FILES, biggest=BIGGEST)
    assert len(differences(describe(tree), describe(tmp_path / "other"))) > FILES


def test_tree_holds_everything(tree):
    described = describe(tree)
    kinds = Counter(stat.S_IFMT(entry.mode) for entry in described.values())
    regular = {entry.first_name: entry for entry in described.values() if stat.S_ISREG(entry.mode)}
    parents = {os.path.dirname(name) or b"." for name in described if name != b"."}
    assert len(regular) == FILES
    assert kinds[stat.S_IFDIR] > 25
    assert kinds[stat.S_IFLNK] > 25
    assert kinds[stat.S_IFIFO] == 2
    assert {0, 1, 4095, 4096, 4097, 262143, 262144, 262145, BIGGEST} <= {entry.size for entry in regular.values()}
    assert max(entry.size for entry in regular.values()) == BIGGEST
    assert max(entry.nlink for entry in regular.values()) > 2
    assert len({entry.content for entry in regular.values() if entry.size > 1}) < len(regular) - 10
    assert any(stat.S_ISDIR(entry.mode) and name not in parents for name, entry in described.items())
    assert any(stat.S_ISDIR(entry.mode) and entry.mode & stat.S_ISGID for entry in described.values())
    assert max(name.count(b"/") for name in described) >= 4
    assert len(max((os.path.basename(name) for name in described), key=len)) == 255
    assert any(b"\xff" in name for name in described)
    assert any(b"\n" in name for name in described)
    assert any((tree / os.fsdecode(name)).lstat().st_blocks * 512 < entry.size for name, entry in regular.items())
    targets = [entry.target for entry in described.values() if entry.target is not None]
    assert any(target.startswith(b"/") for target in targets)
    assert any(target.startswith(b"../") for target in targets)


@pytest.mark.parametrize(("files", "biggest"), [(0, 0), (1, 0), (1, 5), (3, 4096)])
def test_small_trees_hold_as_many_files_as_asked_for(tmp_path, files, biggest):
    make_tree(tmp_path / "small", seed=3, files=files, biggest=biggest)
    regular = [entry for entry in describe(tmp_path / "small").values() if stat.S_ISREG(entry.mode)]
    assert len({entry.first_name for entry in regular}) == files
    assert all(entry.size <= biggest for entry in regular)


def test_an_archived_copy_does_not_differ(tree, tmp_path):
    subprocess.run(["cp", "-a", "--", tree, tmp_path / "copy"], check=True)
    assert differences(describe(tree), describe(tmp_path / "copy")) == []


def _plain(root: Path) -> Path:
    (root / "directory").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    (root / "second name").hardlink_to(root / "file")
    (root / "link").symlink_to("file")
    for path in (root / "directory", root / "file", root / "link", root):
        os.utime(path, ns=(1, 1), follow_symlinks=False)
    return root


def _touch_root(root: Path) -> None:
    os.utime(root, ns=(1, 1))


def _unlink(root: Path) -> None:
    (root / "directory").rmdir()
    _touch_root(root)


def _rewrite(root: Path) -> None:
    (root / "file").write_bytes(b"CONTENT")
    os.utime(root / "file", ns=(1, 1))


def _unshare(root: Path) -> None:
    (root / "second name").unlink()
    shutil.copy2(root / "file", root / "second name")
    _touch_root(root)


def _retarget(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("./file")
    os.utime(root / "link", ns=(1, 1), follow_symlinks=False)
    _touch_root(root)


def _shift_time(root: Path) -> None:
    os.utime(root / "directory", ns=(1, 2))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_unlink, ["b'directory' is only in the first"]),
        (_touch_root, []),
        (_shift_time, ["b'directory': mtime_ns is 1 in the first, 2 in the second"]),
        (
            lambda root: (root / "directory").chmod(0o700),
            ["b'directory': mode is drwxr-xr-x in the first, drwx------ in the second"],
        ),
        (_retarget, ["b'link': size is 4", "b'link': target is b'file' in the first, b'./file' in the second"]),
        (_rewrite, ["b'file': content is ", "b'second name': content is "]),
        (
            _unshare,
            [
                "b'file': nlink is 2 in the first, 1 in the second",
                "b'second name': nlink is 2 in the first, 1 in the second",
                "b'second name': first_name is b'file' in the first, b'second name' in the second",
            ],
        ),
    ],
)
def test_each_change_is_told(tmp_path, change, told):
    before, after = _plain(tmp_path / "a"), _plain(tmp_path / "b")
    for root in (before, after):
        (root / "directory").chmod(0o755)
    change(after)
    words = differences(describe(before), describe(after))
    assert len(words) == len(told)
    for said, expected in zip(words, told, strict=True):
        assert said.startswith(expected)


def test_extended_attributes_are_told(tmp_path):
    before, after = _plain(tmp_path / "a"), _plain(tmp_path / "b")
    try:
        os.setxattr(after / "file", "user.a", b"1")
    except OSError as problem:
        pytest.skip(f"no user attributes here: {problem}")
    words = differences(describe(before), describe(after))
    assert [word.partition(" is ")[0] for word in words] == ["b'file': xattrs", "b'second name': xattrs"]
