"""mkdir and rmdir, the link counts of directories, and paths that are as long as they may be."""

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller
from tests.mount.posix.conftest import Site
from tests.mount.posix.stage import LONG, TOO_DEEP, Refusal, refusals

pytestmark = pytest.mark.mount


@refusals(
    Refusal("file", errno.EEXIST, lambda c: c.mkdir(b"file")),
    Refusal("folder", errno.EEXIST, lambda c: c.mkdir(b"folder")),
    Refusal("folder-with-slash", errno.EEXIST, lambda c: c.mkdir(b"folder/")),
    Refusal("link", errno.EEXIST, lambda c: c.mkdir(b"link")),
    Refusal("dangling", errno.EEXIST, lambda c: c.mkdir(b"dangling")),
    Refusal("loop", errno.EEXIST, lambda c: c.mkdir(b"loop")),
    Refusal("fifo", errno.EEXIST, lambda c: c.mkdir(b"fifo")),
    Refusal("dot", errno.EEXIST, lambda c: c.mkdir(b".")),
    Refusal("dot-dot", errno.EEXIST, lambda c: c.mkdir(b"..")),
    Refusal("dot-of-folder", errno.EEXIST, lambda c: c.mkdir(b"full/.")),
    Refusal("empty-path", errno.ENOENT, lambda c: c.mkdir(b"")),
    Refusal("missing-parent", errno.ENOENT, lambda c: c.mkdir(b"missing/new")),
    Refusal("dot-of-missing", errno.ENOENT, lambda c: c.mkdir(b"missing/.")),
    Refusal("below-dangling", errno.ENOENT, lambda c: c.mkdir(b"dangling/new")),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.mkdir(b"file/new")),
    Refusal("below-link-to-file", errno.ENOTDIR, lambda c: c.mkdir(b"link/new")),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.mkdir(LONG)),
    Refusal("long-path", errno.ENAMETOOLONG, lambda c: c.mkdir(TOO_DEEP + b"new")),
    Refusal("below-loop", errno.ELOOP, lambda c: c.mkdir(b"loop/new")),
    Refusal("not-searchable", errno.EACCES, lambda c: c.mkdir(b"locked/new"), "nobody"),
    Refusal("not-writable", errno.EACCES, lambda c: c.mkdir(b"shut/new"), "nobody"),
    Refusal("exists-though-not-writable", errno.EEXIST, lambda c: c.mkdir(b"shut/sub"), "nobody"),
)
def test_mkdir_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("missing", errno.ENOENT, lambda c: c.rmdir(b"missing")),
    Refusal("empty-path", errno.ENOENT, lambda c: c.rmdir(b"")),
    Refusal("below-missing", errno.ENOENT, lambda c: c.rmdir(b"missing/sub")),
    Refusal("file", errno.ENOTDIR, lambda c: c.rmdir(b"file")),
    Refusal("fifo", errno.ENOTDIR, lambda c: c.rmdir(b"fifo")),
    Refusal("link-to-folder", errno.ENOTDIR, lambda c: c.rmdir(b"folder-link")),
    Refusal("dangling", errno.ENOTDIR, lambda c: c.rmdir(b"dangling")),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.rmdir(b"file/sub")),
    Refusal("full", errno.ENOTEMPTY, lambda c: c.rmdir(b"full")),
    Refusal("dot-dot", errno.ENOTEMPTY, lambda c: c.rmdir(b"folder/..")),
    Refusal("dot", errno.EINVAL, lambda c: c.rmdir(b".")),
    Refusal("dot-of-folder", errno.EINVAL, lambda c: c.rmdir(b"folder/.")),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.rmdir(LONG)),
    Refusal("below-loop", errno.ELOOP, lambda c: c.rmdir(b"loop/sub")),
    Refusal("not-searchable", errno.EACCES, lambda c: c.rmdir(b"locked/sub"), "nobody"),
    Refusal("not-writable", errno.EACCES, lambda c: c.rmdir(b"shut/sub"), "nobody"),
    Refusal("sticky", errno.EPERM, lambda c: c.rmdir(b"sticky/folder"), "nobody"),
    Refusal("root", errno.EBUSY, lambda c: c.rmdir(b"/")),
)
def test_rmdir_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("enter-file", errno.ENOTDIR, lambda c: c.chdir(b"file")),
    Refusal("enter-missing", errno.ENOENT, lambda c: c.chdir(b"missing")),
    Refusal("enter-loop", errno.ELOOP, lambda c: c.chdir(b"loop")),
    Refusal("enter-locked", errno.EACCES, lambda c: c.chdir(b"locked"), "nobody"),
    Refusal("list-file", errno.ENOTDIR, lambda c: c.listdir(b"file")),
    Refusal("list-missing", errno.ENOENT, lambda c: c.listdir(b"missing")),
    Refusal("list-locked", errno.EACCES, lambda c: c.listdir(b"locked"), "nobody"),
)
def test_use_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@pytest.mark.parametrize("wanted", [0o000, 0o700, 0o755, 0o777, 0o1777, 0o2770])
def test_made_with_a_mode(folder: Path, caller: Caller, wanted: int) -> None:
    caller.mkdir(b"new", wanted)
    status = caller.stat(b"new")
    assert stat.S_IMODE(status.st_mode) == wanted & ~0o2022, "umask takes bits away, mkdir the set-group-ID bit"
    assert stat.S_ISDIR(status.st_mode)
    assert (status.st_uid, status.st_gid, status.st_nlink) == (caller.uid, caller.gid, 2)


def test_trailing_slashes(folder: Path, caller: Caller) -> None:
    caller.mkdir(b"new///")
    caller.rmdir(b"new//")
    with refused(errno.ENOENT):
        caller.stat(b"new")


def test_link_counts(folder: Path, caller: Caller) -> None:
    caller.mkdir(b"one")
    caller.mkdir(b"other")

    def counts() -> tuple[int, int]:
        return caller.stat(b"one").st_nlink, caller.stat(b"other").st_nlink

    assert counts() == (2, 2)
    for number in range(3):
        caller.mkdir(b"one/%d" % number)
    caller.close(caller.open(b"one/file", os.O_CREAT | os.O_WRONLY))
    caller.symlink(b"0", b"one/link")
    assert counts() == (5, 2), "one for each directory inside, none for what is no directory"
    caller.rename(b"one/0", b"other/0")
    assert counts() == (4, 3)
    caller.rename(b"one/1", b"other/0")
    assert counts() == (3, 3), "a directory that is replaced is gone"
    caller.renameat2(b"one/2", b"other/0", 2)
    assert counts() == (3, 3)
    caller.rmdir(b"one/2")
    caller.rmdir(b"other/0")
    assert counts() == (2, 2)


def test_a_removed_directory_takes_nothing_in(folder: Path, caller: Caller) -> None:
    caller.mkdir(b"gone")
    fd = caller.open(b"gone", os.O_RDONLY)
    caller.chdir(b"gone")
    caller.rmdir(b"../gone")
    calls: list[tuple[str, tuple[object, ...]]] = [
        ("mkdir", (b"new",)),
        ("open", (b"new", os.O_CREAT | os.O_WRONLY)),
        ("symlink", (b"target", b"new")),
        ("mknod", (b"new", stat.S_IFREG | 0o600)),
        ("linkat", (os.fsencode(folder) + b"/file", b"new", 0)),
    ]
    caller.mknod(os.fsencode(folder) + b"/file", stat.S_IFREG | 0o600)
    for name, arguments in calls:
        with refused(errno.ENOENT):
            getattr(caller, name)(*arguments)
    assert caller.listdir(fd) == []
    caller.close(fd)
    caller.chdir(os.fsencode(folder))


def test_a_removed_directory_has_no_links(folder: Path, caller: Caller) -> None:
    caller.mkdir(b"gone")
    fd = caller.open(b"gone", os.O_RDONLY)
    caller.rmdir(b"gone")
    assert caller.fstat(fd).st_nlink == 0
    caller.close(fd)


def test_a_mountpoint_stays(folder: Path, root: Caller) -> None:
    Path("point").mkdir()
    Path("other").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", "point"], check=False, capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        with refused(errno.EBUSY):
            root.rmdir(b"point")
        with refused(errno.EBUSY):
            root.rename(b"point", b"elsewhere")
        with refused(errno.EBUSY):
            root.rename(b"other", b"point")
        with refused(errno.EXDEV):
            root.rename(b"other", b"point/other")
    finally:
        subprocess.run(["umount", "point"], check=True)
    root.rmdir(b"point")


def test_the_longest_path(folder: Path, caller: Caller) -> None:
    step, steps = b"d" * 254 + b"/", 16
    for _ in range(steps):
        caller.mkdir(step)
        caller.chdir(step)
    caller.chdir(os.fsencode(folder))
    longest = (step * steps).ljust(4095, b"f")
    caller.close(caller.open(longest, os.O_CREAT | os.O_WRONLY))
    assert caller.stat(longest).st_size == 0
    with refused(errno.ENAMETOOLONG):
        caller.stat(longest + b"f")
    with refused(errno.ENAMETOOLONG):
        caller.open(longest + b"f", os.O_CREAT | os.O_WRONLY)
    caller.unlink(longest)
