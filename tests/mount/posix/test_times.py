"""utimensat, and which of a file's three times each call changes."""

import errno
import mmap
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller
from tests.mount.posix.calls import AT_SYMLINK_NOFOLLOW, RENAME_EXCHANGE, UTIME_NOW, UTIME_OMIT
from tests.mount.posix.conftest import Site
from tests.mount.posix.stage import LONG, Refusal, refusals

pytestmark = pytest.mark.mount

_NOW, _OMIT = (0, UTIME_NOW), (0, UTIME_OMIT)
_SOME = (5, 5)


@refusals(
    Refusal("missing", errno.ENOENT, lambda c: c.utimensat(b"missing", _SOME, _SOME)),
    Refusal("dangling", errno.ENOENT, lambda c: c.utimensat(b"dangling", _SOME, _SOME)),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.utimensat(b"file/x", _SOME, _SOME)),
    Refusal("loop", errno.ELOOP, lambda c: c.utimensat(b"loop", _SOME, _SOME)),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.utimensat(LONG, _SOME, _SOME)),
    Refusal("too-many-nanoseconds", errno.EINVAL, lambda c: c.utimensat(b"mine", (0, 10**9), _SOME)),
    Refusal("negative-nanoseconds", errno.EINVAL, lambda c: c.utimensat(b"mine", _SOME, (0, -1))),
    Refusal("unknown-flag", errno.EINVAL, lambda c: c.utimensat(b"mine", _SOME, _SOME, 1)),
    Refusal("not-owner", errno.EPERM, lambda c: c.utimensat(b"file", _SOME, _SOME), "nobody"),
    Refusal("not-owner-though-writable", errno.EPERM, lambda c: c.utimensat(b"writable", _SOME, _SOME), "nobody"),
    Refusal("now-and-omitted", errno.EPERM, lambda c: c.utimensat(b"writable", _NOW, _OMIT), "nobody"),
    Refusal("not-writable-now", errno.EACCES, lambda c: c.utime_now(b"file"), "nobody"),
    Refusal("not-writable-both-now", errno.EACCES, lambda c: c.utimensat(b"file", _NOW, _NOW), "nobody"),
    Refusal("not-searchable", errno.EACCES, lambda c: c.utimensat(b"locked/file", _SOME, _SOME), "nobody"),
)
def test_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


def _times(caller: Caller, name: bytes) -> tuple[int, int, int]:
    status = caller.lstat(name)
    return status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns


_TICK_NS = 10_000_000
"""The longest tick of the clock by which local filesystems tell times."""


def _pause() -> None:
    """Let a tick pass."""
    time.sleep(0.011)


@pytest.mark.parametrize("seconds", [0, 1, 2**31 - 1, 2**31, 4_102_444_800, -1, -1_500_000_000])
@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999_999])
def test_each_nanosecond_is_kept(folder: Path, caller: Caller, seconds: int, nanoseconds: int) -> None:
    caller.mknod(b"file", stat.S_IFREG | 0o644)
    before = time.time_ns()
    caller.utimensat(b"file", (seconds, nanoseconds), (seconds + 7, nanoseconds))
    atime, mtime, ctime = _times(caller, b"file")
    assert (atime, mtime) == (seconds * 10**9 + nanoseconds, (seconds + 7) * 10**9 + nanoseconds)
    assert ctime > before - 10**9, "nobody sets ctime"


def test_now_and_omitted(folder: Path, caller: Caller) -> None:
    caller.mknod(b"file", stat.S_IFREG | 0o644)
    caller.utimensat(b"file", (1, 1), (2, 2))
    caller.utimensat(b"file", _OMIT, (3, 3))
    assert _times(caller, b"file")[:2] == (1_000_000_001, 3_000_000_003)
    caller.utimensat(b"file", (4, 4), _OMIT)
    assert _times(caller, b"file")[:2] == (4_000_000_004, 3_000_000_003)
    unchanged = _times(caller, b"file")
    _pause()
    caller.utimensat(b"file", _OMIT, _OMIT)
    assert _times(caller, b"file") == unchanged, "omitting both does nothing at all"
    before = time.time_ns() - 20_000_000
    caller.utimensat(b"file", _NOW, _OMIT)
    assert _times(caller, b"file")[0] >= before
    assert _times(caller, b"file")[1] == 3_000_000_003
    caller.utimensat(b"file", (0, 0), _NOW)
    assert _times(caller, b"file")[1] >= before


def test_who_may_write_may_set_both_to_now(folder: Path, root: Caller, nobody: Caller) -> None:
    root.mknod(b"file", stat.S_IFREG | 0o666)
    root.chmod(b"file", 0o666)
    for both_named in (False, True):
        root.utimensat(b"file", (1, 1), (1, 1))
        if both_named:
            nobody.utimensat(b"file", _NOW, _NOW)
        else:
            nobody.utime_now(b"file")
        assert min(_times(root, b"file")) > 10**18


def test_the_times_of_a_link(folder: Path, caller: Caller) -> None:
    caller.symlink(b"no/such", b"link")
    caller.utimensat(b"link", (1, 2), (3, 4), AT_SYMLINK_NOFOLLOW)
    assert _times(caller, b"link")[:2] == (1_000_000_002, 3_000_000_004)
    with refused(errno.ENOENT):
        caller.utimensat(b"link", (1, 2), (3, 4))


def _use(name: str, *arguments: object, flags: int = os.O_RDWR) -> Callable[[Caller], Any]:
    return lambda c: c.open_and(name, b"d/file", flags, *arguments)


# What a call does, and the times that it changes ("a", "m", "c") of: the file, its directory d, the other directory e.
_CHANGES: dict[str, tuple[Callable[[Caller], Any], str, str, str]] = {
    "open": (lambda c: c.close(c.open(b"d/file", os.O_RDWR)), "", "", ""),
    "create-existing": (lambda c: c.close(c.open(b"d/file", os.O_RDWR | os.O_CREAT)), "", "", ""),
    "truncate-on-open": (lambda c: c.close(c.open(b"d/file", os.O_WRONLY | os.O_TRUNC)), "mc", "", ""),
    "write": (_use("pwrite", b"x", 0), "mc", "", ""),
    "append": (_use("write", b"x", flags=os.O_WRONLY | os.O_APPEND), "mc", "", ""),
    "write-nothing": (_use("pwrite", b"", 0), "", "", ""),
    "read-at-the-end": (_use("pread", 0, 7), "", "", ""),
    "truncate-shorter": (lambda c: c.truncate(b"d/file", 3), "mc", "", ""),
    "truncate-longer": (lambda c: c.truncate(b"d/file", 100), "mc", "", ""),
    "ftruncate-to-the-same": (_use("ftruncate", 7), "mc", "", ""),
    "fsync": (_use("fsync"), "", "", ""),
    "stat": (lambda c: c.stat(b"d/file"), "", "", ""),
    "chmod": (lambda c: c.chmod(b"d/file", 0o640), "c", "", ""),
    "chmod-to-the-same": (lambda c: c.chmod(b"d/file", 0o644), "c", "", ""),
    "chown": (lambda c: c.chown(b"d/file", c.uid, c.gid), "c", "", ""),
    "set-xattr": (lambda c: c.setxattr(b"d/file", b"user.new", b"1"), "c", "", ""),
    "replace-xattr": (lambda c: c.setxattr(b"d/file", b"user.old", b"2"), "c", "", ""),
    "remove-xattr": (lambda c: c.removexattr(b"d/file", b"user.old"), "c", "", ""),
    "get-xattr": (lambda c: c.getxattr(b"d/file", b"user.old"), "", "", ""),
    "utimens": (lambda c: c.utimensat(b"d/file", (1, 1), (1, 1)), "amc", "", ""),
    "utimens-atime": (lambda c: c.utimensat(b"d/file", (1, 1), _OMIT), "ac", "", ""),
    "utimens-mtime": (lambda c: c.utimensat(b"d/file", _OMIT, (1, 1)), "mc", "", ""),
    "link": (lambda c: c.linkat(b"d/file", b"e/new", 0), "c", "", "mc"),
    "unlink-other-name": (lambda c: c.unlink(b"d/second"), "c", "mc", ""),
    "rename": (lambda c: c.rename(b"d/file", b"d/new"), "c", "mc", ""),
    "rename-elsewhere": (lambda c: c.rename(b"d/file", b"e/file"), "c", "mc", "mc"),
    "rename-over": (lambda c: c.rename(b"d/file", b"e/victim"), "c", "mc", "mc"),
    "rename-to-itself": (lambda c: c.rename(b"d/file", b"d/second"), "", "", ""),
    "exchange": (lambda c: c.renameat2(b"d/file", b"e/victim", RENAME_EXCHANGE), "c", "mc", "mc"),
    "create": (lambda c: c.close(c.open(b"d/new", os.O_WRONLY | os.O_CREAT)), "", "mc", ""),
    "mkdir": (lambda c: c.mkdir(b"d/new"), "", "mc", ""),
    "rmdir": (lambda c: c.rmdir(b"d/sub"), "", "mc", ""),
    "symlink": (lambda c: c.symlink(b"target", b"d/new"), "", "mc", ""),
    "mkfifo": (lambda c: c.mkfifo(b"d/new"), "", "mc", ""),
    "chmod-directory": (lambda c: c.chmod(b"d", 0o700), "", "c", ""),
    "utimens-directory": (lambda c: c.utimensat(b"d", (1, 1), (1, 1)), "", "amc", ""),
}


@pytest.mark.parametrize("what", _CHANGES)
def test_what_changes(folder: Path, caller: Caller, what: str) -> None:
    call, *wanted = _CHANGES[what]
    for name in (b"d", b"e", b"d/sub"):
        caller.mkdir(name)
    for name in (b"d/file", b"e/victim"):
        fd = caller.open(name, os.O_CREAT | os.O_WRONLY, 0o644)
        caller.write(fd, b"content")
        caller.close(fd)
    caller.setxattr(b"d/file", b"user.old", b"1")
    caller.linkat(b"d/file", b"d/second", 0)
    caller.linkat(b"d/file", b"same", 0)
    before = [_times(caller, name) for name in (b"same", b"d", b"e")]
    _pause()
    call(caller)
    after = [_times(caller, name) for name in (b"same", b"d", b"e")]
    changed = [
        "".join(letter for letter, one, other in zip("amc", *pair, strict=True) if one != other)
        for pair in zip(before, after, strict=True)
    ]
    assert dict(zip(("file", "directory", "other directory"), changed, strict=True)) == dict(
        zip(("file", "directory", "other directory"), wanted, strict=True)
    )
    assert all(new[2] >= old[2] for old, new in zip(before, after, strict=True)), "ctime never goes back"


@pytest.mark.parametrize("how", ["read", "readlink", "listdir"])
def test_reading_changes_no_atime_of_a_mount(site: Site, folder: Path, caller: Caller, how: str) -> None:
    caller.mkdir(b"d")
    caller.symlink(b"target", b"d/link")
    fd = caller.open(b"d/file", os.O_CREAT | os.O_RDWR)
    caller.write(fd, b"content")
    names = {"read": b"d/file", "readlink": b"d/link", "listdir": b"d"}
    before = _times(caller, names[how])
    _pause()
    if how == "read":
        assert caller.pread(fd, 10, 0) == b"content"
    elif how == "readlink":
        assert caller.readlink(b"d/link") == b"target"
    else:
        assert sorted(caller.listdir(b"d")) == [b"file", b"link"]
    after = _times(caller, names[how])
    caller.close(fd)
    assert after[1:] == before[1:]
    if site.is_mount:
        assert after[0] == before[0]


def test_new_files_have_one_time(site: Site, folder: Path, caller: Caller) -> None:
    caller.mkdir(b"d")
    for name, make in (
        (b"d/file", lambda name: caller.mknod(name, stat.S_IFREG | 0o644)),
        (b"d/sub", caller.mkdir),
        (b"d/link", lambda name: caller.symlink(b"target", name)),
    ):
        _pause()
        make(name)
        times = _times(caller, name)
        assert len(set(times)) == 1
        modified, changed = _times(caller, b"d")[1:]
        assert modified == changed
        # On a local filesystem the clock may tick between the two.
        assert 0 <= modified - times[0] <= (0 if site.is_mount else _TICK_NS), "and their directory got the same"


def test_times_of_a_mapped_write(folder: Path) -> None:
    Path("file").write_bytes(bytes(8192))
    before = Path("file").stat()
    _pause()
    with open("file", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5000] = 1
        mapped.flush()
    after = Path("file").stat()
    assert after.st_mtime_ns > before.st_mtime_ns
    assert after.st_ctime_ns > before.st_ctime_ns


def test_a_set_mtime_outlives_what_was_written_before(folder: Path, caller: Caller) -> None:
    fd = caller.open(b"file", os.O_CREAT | os.O_WRONLY)
    caller.write(fd, b"content")
    caller.utimensat(b"file", (1, 1), (2, 2))
    caller.close(fd)
    assert _times(caller, b"file")[1] == 2_000_000_002
    caller.open_and("fsync", b"file", os.O_RDONLY)
    assert _times(caller, b"file")[1] == 2_000_000_002, "what cp -p, tar and rsync rely on"
