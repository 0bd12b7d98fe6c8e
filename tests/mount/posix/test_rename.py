"""rename and renameat2."""

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller
from tests.mount.posix.calls import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT
from tests.mount.posix.conftest import Site
from tests.mount.posix.stage import LONG, TOO_DEEP, Refusal, refusals

pytestmark = pytest.mark.mount


@refusals(
    Refusal("missing", errno.ENOENT, lambda c: c.rename(b"missing", b"new")),
    Refusal("missing-over-file", errno.ENOENT, lambda c: c.rename(b"missing", b"file")),
    Refusal("empty-path", errno.ENOENT, lambda c: c.rename(b"", b"new")),
    Refusal("to-empty-path", errno.ENOENT, lambda c: c.rename(b"file", b"")),
    Refusal("to-missing-folder", errno.ENOENT, lambda c: c.rename(b"file", b"missing/new")),
    Refusal("from-below-file", errno.ENOTDIR, lambda c: c.rename(b"file/x", b"new")),
    Refusal("to-below-file", errno.ENOTDIR, lambda c: c.rename(b"writable", b"file/new")),
    Refusal("folder-over-file", errno.ENOTDIR, lambda c: c.rename(b"full", b"file")),
    Refusal("folder-over-link", errno.ENOTDIR, lambda c: c.rename(b"full", b"folder-link")),
    Refusal("file-with-slash", errno.ENOTDIR, lambda c: c.rename(b"file/", b"new")),
    Refusal("file-to-slash", errno.ENOTDIR, lambda c: c.rename(b"file", b"new/")),
    Refusal("file-over-folder", errno.EISDIR, lambda c: c.rename(b"file", b"folder")),
    Refusal("link-over-folder", errno.EISDIR, lambda c: c.rename(b"folder-link", b"full/sub")),
    Refusal("folder-over-full", errno.ENOTEMPTY, lambda c: c.rename(b"full/sub", b"full")),
    Refusal("folder-over-other-full", errno.ENOTEMPTY, lambda c: c.rename(b"full/sub", b"sticky")),
    Refusal("into-itself", errno.EINVAL, lambda c: c.rename(b"full", b"full/new")),
    Refusal("deep-into-itself", errno.EINVAL, lambda c: c.rename(b"full", b"full/sub/new")),
    Refusal("dot", errno.EBUSY, lambda c: c.rename(b"full/.", b"new")),
    Refusal("dot-dot", errno.EBUSY, lambda c: c.rename(b"full/..", b"new")),
    Refusal("to-dot", errno.EBUSY, lambda c: c.rename(b"full", b"folder/.")),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.rename(LONG, b"new")),
    Refusal("to-long-name", errno.ENAMETOOLONG, lambda c: c.rename(b"writable", LONG)),
    Refusal("to-long-path", errno.ENAMETOOLONG, lambda c: c.rename(b"writable", TOO_DEEP + b"new")),
    Refusal("below-loop", errno.ELOOP, lambda c: c.rename(b"loop/x", b"new")),
    Refusal("to-below-loop", errno.ELOOP, lambda c: c.rename(b"writable", b"loop/new")),
    Refusal("from-elsewhere", errno.EXDEV, lambda c: c.rename(b"/proc/version", b"new")),
    Refusal("to-elsewhere", errno.EXDEV, lambda c: c.rename(b"writable", b"/proc/new")),
    Refusal("from-shut", errno.EACCES, lambda c: c.rename(b"shut/file", b"new"), "nobody"),
    Refusal("to-shut", errno.EACCES, lambda c: c.rename(b"mine", b"shut/new"), "nobody"),
    Refusal("from-locked", errno.EACCES, lambda c: c.rename(b"locked/file", b"new"), "nobody"),
    Refusal("to-locked", errno.EACCES, lambda c: c.rename(b"mine", b"locked/new"), "nobody"),
    Refusal("folder-that-cannot-be-changed", errno.EACCES, lambda c: c.rename(b"shut", b"full/new"), "nobody"),
    Refusal("sticky", errno.EPERM, lambda c: c.rename(b"sticky/file", b"new"), "nobody"),
    Refusal("over-sticky", errno.EPERM, lambda c: c.rename(b"mine", b"sticky/file"), "nobody"),
)
def test_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("exists", errno.EEXIST, lambda c: c.renameat2(b"file", b"writable", RENAME_NOREPLACE)),
    Refusal("folder-exists", errno.EEXIST, lambda c: c.renameat2(b"full", b"folder", RENAME_NOREPLACE)),
    Refusal("link-exists", errno.EEXIST, lambda c: c.renameat2(b"file", b"dangling", RENAME_NOREPLACE)),
    Refusal("itself-exists", errno.EEXIST, lambda c: c.renameat2(b"file", b"file", RENAME_NOREPLACE)),
    Refusal("other-name-exists", errno.EEXIST, lambda c: c.renameat2(b"file", b"second", RENAME_NOREPLACE)),
    Refusal("missing", errno.ENOENT, lambda c: c.renameat2(b"missing", b"new", RENAME_NOREPLACE)),
    Refusal("swap-missing", errno.ENOENT, lambda c: c.renameat2(b"missing", b"file", RENAME_EXCHANGE)),
    Refusal("swap-with-missing", errno.ENOENT, lambda c: c.renameat2(b"file", b"missing", RENAME_EXCHANGE)),
    Refusal("swap-inside", errno.EINVAL, lambda c: c.renameat2(b"full", b"full/sub", RENAME_EXCHANGE)),
    Refusal("swap-outside", errno.EINVAL, lambda c: c.renameat2(b"full/sub", b"full", RENAME_EXCHANGE)),
    Refusal("swap-dot", errno.EBUSY, lambda c: c.renameat2(b"full/.", b"folder", RENAME_EXCHANGE)),
    Refusal("swap-long", errno.ENAMETOOLONG, lambda c: c.renameat2(b"file", LONG, RENAME_EXCHANGE)),
    Refusal(
        "both-flags", errno.EINVAL, lambda c: c.renameat2(b"file", b"writable", RENAME_EXCHANGE | RENAME_NOREPLACE)
    ),
    Refusal(
        "swapped-whiteout", errno.EINVAL, lambda c: c.renameat2(b"file", b"mine", RENAME_EXCHANGE | RENAME_WHITEOUT)
    ),
    Refusal("unknown-flag", errno.EINVAL, lambda c: c.renameat2(b"file", b"new", 1 << 7)),
    Refusal("swap-sticky", errno.EPERM, lambda c: c.renameat2(b"mine", b"sticky/file", RENAME_EXCHANGE), "nobody"),
    Refusal("swap-shut", errno.EACCES, lambda c: c.renameat2(b"mine", b"shut/file", RENAME_EXCHANGE), "nobody"),
)
def test_refused_with_flags(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


def _file(caller: Caller, name: bytes, content: bytes) -> int:
    fd = caller.open(name, os.O_CREAT | os.O_WRONLY | os.O_EXCL)
    caller.write(fd, content)
    caller.close(fd)
    return int(caller.stat(name).st_ino)


def test_a_file_replaces_a_file(folder: Path, caller: Caller) -> None:
    ino = _file(caller, b"old", b"old")
    _file(caller, b"new", b"new")
    held = caller.open(b"new", os.O_RDWR)
    caller.rename(b"old", b"new")
    assert caller.stat(b"new").st_ino == ino
    assert caller.listdir(b".") == [b"new"]
    assert caller.fstat(held).st_nlink == 0
    assert caller.pread(held, 10, 0) == b"new", "who has it open goes on"
    caller.close(held)


def test_two_names_of_one_file_both_stay(folder: Path, caller: Caller) -> None:
    _file(caller, b"one", b"")
    caller.linkat(b"one", b"two", 0)
    caller.rename(b"one", b"two")
    caller.rename(b"two", b"two")
    assert sorted(caller.listdir(b".")) == [b"one", b"two"]
    assert caller.stat(b"one").st_nlink == 2


def test_a_directory_moves_with_all_that_is_in_it(folder: Path, caller: Caller) -> None:
    for name in (b"a", b"a/b", b"c", b"empty"):
        caller.mkdir(name)
    ino = _file(caller, b"a/b/file", b"content")
    caller.rename(b"a", b"c/d")
    assert caller.stat(b"c/d/b/file").st_ino == ino
    assert caller.stat(b"c/d/..").st_ino == caller.stat(b"c").st_ino
    caller.rename(b"c/d", b"empty")
    assert caller.stat(b"empty/b/file").st_ino == ino
    caller.rename(b"empty/", b"again/")
    assert sorted(caller.listdir(b".")) == [b"again", b"c"]


@pytest.mark.parametrize("kind", ["fifo", "symlink", "folder"])
def test_every_kind_can_be_renamed(folder: Path, caller: Caller, kind: str) -> None:
    if kind == "fifo":
        caller.mkfifo(b"old")
    elif kind == "symlink":
        caller.symlink(b"no/such", b"old")
    else:
        caller.mkdir(b"old")
    before = caller.lstat(b"old")
    caller.renameat2(b"old", b"new", RENAME_NOREPLACE)
    after = caller.lstat(b"new")
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    with refused(errno.ENOENT):
        caller.lstat(b"old")


@pytest.mark.parametrize(("one", "other"), [("file", "file"), ("file", "folder"), ("folder", "folder")])
def test_exchange(folder: Path, caller: Caller, one: str, other: str) -> None:
    caller.mkdir(b"below")
    for kind, name in ((one, b"here"), (other, b"below/there")):
        if kind == "file":
            _file(caller, name, name)
        else:
            caller.mkdir(name)
            _file(caller, name + b"/inside", name)
    before = caller.stat(b"here").st_ino, caller.stat(b"below/there").st_ino
    caller.renameat2(b"here", b"below/there", RENAME_EXCHANGE)
    assert (caller.stat(b"below/there").st_ino, caller.stat(b"here").st_ino) == before
    caller.renameat2(b"here", b"here", RENAME_EXCHANGE)
    assert sorted(caller.listdir(b".")) == [b"below", b"here"]
    if one == "folder":
        assert caller.stat(b"below/there/..").st_ino == caller.stat(b"below").st_ino


def test_a_whiteout_is_left_behind_or_refused(site: Site, folder: Path, root: Caller) -> None:
    _file(root, b"file", b"content")
    if site.is_mount:
        with refused(errno.EINVAL):
            root.renameat2(b"file", b"new", RENAME_WHITEOUT)
        assert root.listdir(b".") == [b"file"]
        return
    root.renameat2(b"file", b"new", RENAME_WHITEOUT)
    left = root.lstat(b"file")
    assert stat.S_ISCHR(left.st_mode)
    assert left.st_rdev == 0


def test_a_new_name_is_seen_at_once_by_others(folder: Path, root: Caller, nobody: Caller) -> None:
    for number in range(50):
        _file(root, b"new", b"%d" % number)
        root.rename(b"new", b"current")
        assert nobody.open_and("pread", b"current", os.O_RDONLY, 10, 0) == b"%d" % number
    with refused(errno.ENOENT):
        nobody.stat(b"new")
