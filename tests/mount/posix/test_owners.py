"""chmod, chown and access: who may, and what happens to the set-user-ID, set-group-ID and sticky bits."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller
from tests.mount.posix.conftest import Site
from tests.mount.posix.stage import LONG, NOBODY, Refusal, refusals

pytestmark = pytest.mark.mount


@refusals(
    Refusal("missing", errno.ENOENT, lambda c: c.chmod(b"missing", 0o644)),
    Refusal("empty-path", errno.ENOENT, lambda c: c.chmod(b"", 0o644)),
    Refusal("dangling", errno.ENOENT, lambda c: c.chmod(b"dangling", 0o644)),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.chmod(b"file/x", 0o644)),
    Refusal("loop", errno.ELOOP, lambda c: c.chmod(b"loop", 0o644)),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.chmod(LONG, 0o644)),
    Refusal("not-owner", errno.EPERM, lambda c: c.chmod(b"file", 0o644), "nobody"),
    Refusal("not-owner-though-writable", errno.EPERM, lambda c: c.chmod(b"writable", 0o666), "nobody"),
    Refusal("not-owner-of-folder", errno.EPERM, lambda c: c.chmod(b"full", 0o777), "nobody"),
    Refusal("not-owner-of-open", errno.EPERM, lambda c: c.open_and("fchmod", b"writable", os.O_RDWR, 0o666), "nobody"),
    Refusal("not-searchable", errno.EACCES, lambda c: c.chmod(b"locked/file", 0o666), "nobody"),
    Refusal("chown-missing", errno.ENOENT, lambda c: c.chown(b"missing", -1, -1)),
    Refusal("chown-dangling", errno.ENOENT, lambda c: c.chown(b"dangling", -1, -1)),
    Refusal("chown-below-file", errno.ENOTDIR, lambda c: c.chown(b"file/x", -1, -1)),
    Refusal("chown-loop", errno.ELOOP, lambda c: c.chown(b"loop", -1, -1)),
    Refusal("given-away", errno.EPERM, lambda c: c.chown(b"mine", 0, -1), "nobody"),
    Refusal("given-to-a-strange-group", errno.EPERM, lambda c: c.chown(b"mine", -1, 0), "nobody"),
    Refusal("taken", errno.EPERM, lambda c: c.chown(b"writable", NOBODY, -1), "nobody"),
    Refusal("link-taken", errno.EPERM, lambda c: c.lchown(b"link", NOBODY, -1), "nobody"),
    Refusal("chown-not-searchable", errno.EACCES, lambda c: c.chown(b"locked/file", NOBODY, -1), "nobody"),
)
def test_change_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("missing", errno.ENOENT, lambda c: c.may(b"missing", os.F_OK)),
    Refusal("dangling", errno.ENOENT, lambda c: c.may(b"dangling", os.F_OK)),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.may(b"file/x", os.F_OK)),
    Refusal("loop", errno.ELOOP, lambda c: c.may(b"loop", os.F_OK)),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.may(LONG, os.F_OK)),
    Refusal("unknown-mode", errno.EINVAL, lambda c: c.may(b"file", 0o10)),
    Refusal("nobody-executes-it", errno.EACCES, lambda c: c.may(b"writable", os.X_OK)),
    Refusal("not-readable", errno.EACCES, lambda c: c.may(b"closed", os.R_OK), "nobody"),
    Refusal("not-writable", errno.EACCES, lambda c: c.may(b"file", os.W_OK), "nobody"),
    Refusal("not-both", errno.EACCES, lambda c: c.may(b"file", os.R_OK | os.W_OK), "nobody"),
    Refusal("not-searchable", errno.EACCES, lambda c: c.may(b"locked/file", os.F_OK), "nobody"),
    Refusal("folder-not-searchable", errno.EACCES, lambda c: c.may(b"locked", os.X_OK), "nobody"),
)
def test_access_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


def _make(name: bytes, mode: int, uid: int = 0, gid: int = 0, content: bytes = b"content") -> None:
    """Make a file as root, with exactly these attributes."""
    with open(name, "wb") as file:
        file.write(content)
    os.chown(name, uid, gid)
    os.chmod(name, mode)


def _bits(caller: Caller, name: bytes = b"file") -> int:
    return stat.S_IMODE(caller.stat(name).st_mode)


@pytest.mark.parametrize("mode", [0o000, 0o644, 0o777, 0o1644, 0o2755, 0o4755, 0o7777])
def test_the_owner_changes_the_mode(folder: Path, caller: Caller, mode: int) -> None:
    _make(b"file", 0o600, caller.uid, caller.gid)
    caller.chmod(b"file", mode)
    assert _bits(caller) == mode
    caller.chmod(b"file", 0o600)
    caller.open_and("fchmod", b"file", os.O_RDONLY, mode)
    assert _bits(caller) == mode


def test_who_is_not_in_the_group_cannot_set_its_id(folder: Path, root: Caller, nobody: Caller) -> None:
    _make(b"file", 0o644, NOBODY, 0)
    nobody.chmod(b"file", 0o2755)
    assert _bits(root) == 0o755
    nobody.chmod(b"file", 0o4755)
    assert _bits(root) == 0o4755
    root.chmod(b"file", 0o2755)
    assert _bits(root) == 0o2755


def test_the_owner_may_keep_everything_as_it_is(folder: Path, root: Caller, nobody: Caller) -> None:
    _make(b"file", 0o644, NOBODY, NOBODY)
    nobody.chown(b"file", NOBODY, NOBODY)
    nobody.chown(b"file", -1, -1)
    nobody.chown(b"file", NOBODY, -1)
    status = root.stat(b"file")
    assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)


def test_root_gives_files_to_anybody(folder: Path, root: Caller) -> None:
    _make(b"file", 0o644)
    root.symlink(b"file", b"link")
    for uid, gid in ((1, 2), (NOBODY, 0), (4_000_000_000, 4_000_000_001), (0, 0)):
        root.chown(b"link", uid, gid)
        assert (root.stat(b"file").st_uid, root.stat(b"file").st_gid) == (uid, gid)
        assert root.lstat(b"link").st_uid == 0
        root.lchown(b"link", uid, gid)
        assert (root.lstat(b"link").st_uid, root.lstat(b"link").st_gid) == (uid, gid)
        root.lchown(b"link", 0, 0)
    root.chown(b"file", 7, -1)
    root.chown(b"file", -1, 8)
    assert (root.stat(b"file").st_uid, root.stat(b"file").st_gid) == (7, 8)


_WRITES: dict[str, Callable[[Caller], Any]] = {
    "write": lambda c: c.open_and("pwrite", b"file", os.O_WRONLY, b"x", 0),
    "append": lambda c: c.open_and("write", b"file", os.O_WRONLY | os.O_APPEND, b"x"),
    "truncate": lambda c: c.truncate(b"file", 3),
    "ftruncate": lambda c: c.open_and("ftruncate", b"file", os.O_WRONLY, 3),
    "open-truncating": lambda c: c.close(c.open(b"file", os.O_WRONLY | os.O_TRUNC)),
}


@pytest.mark.parametrize("how", _WRITES)
@pytest.mark.parametrize(("before", "after"), [(0o4777, 0o777), (0o2777, 0o777), (0o6777, 0o777), (0o2767, 0o2767)],
                         ids=["set-uid", "set-gid", "both", "set-gid-without-execute"])  # fmt: skip
def test_a_write_takes_set_id_bits_away(
    folder: Path, root: Caller, nobody: Caller, how: str, before: int, after: int
) -> None:
    # Without the right to execute, set-group-ID is left to members of the group; of others some kernels take it.
    _make(b"file", before, 0, NOBODY if before == after else 0)
    _WRITES[how](nobody)
    assert _bits(root) == after


@pytest.mark.parametrize("how", _WRITES)
def test_roots_writes_leave_set_id_bits(folder: Path, root: Caller, how: str) -> None:
    _make(b"file", 0o6755)
    _WRITES[how](root)
    assert _bits(root) == 0o6755


@pytest.mark.parametrize(("before", "after"), [(0o4755, 0o755), (0o2755, 0o755), (0o6777, 0o777), (0o2745, 0o2745)])
def test_a_new_owner_does_not_inherit_set_id_bits(folder: Path, root: Caller, before: int, after: int) -> None:
    _make(b"file", before)
    root.chown(b"file", NOBODY, NOBODY)
    assert _bits(root) == after


def test_a_directory_keeps_its_bits_when_its_owner_changes(folder: Path, root: Caller) -> None:
    root.mkdir(b"new")
    root.chmod(b"new", 0o7775)
    root.chown(b"new", NOBODY, NOBODY)
    assert _bits(root, b"new") == 0o7775


def test_set_group_id_directories(folder: Path, root: Caller, nobody: Caller) -> None:
    root.mkdir(b"shared")
    root.chown(b"shared", 0, 12345)
    root.chmod(b"shared", 0o2777)
    nobody.mkdir(b"shared/sub")
    nobody.close(nobody.open(b"shared/file", os.O_CREAT | os.O_WRONLY, 0o644))
    nobody.symlink(b"target", b"shared/link")
    nobody.mkfifo(b"shared/fifo")
    for name in (b"sub", b"file", b"link", b"fifo"):
        assert (root.lstat(b"shared/" + name).st_uid, root.lstat(b"shared/" + name).st_gid) == (NOBODY, 12345), name
    assert _bits(root, b"shared/sub") == 0o2755, "directories inherit the bit as well"
    assert _bits(root, b"shared/file") == 0o644
    nobody.mkdir(b"plain")
    nobody.rename(b"plain", b"shared/plain")
    assert root.stat(b"shared/plain").st_gid == NOBODY, "moving changes no owner"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_sticky_directories(folder: Path, root: Caller, nobody: Caller, kind: str) -> None:
    root.mkdir(b"sticky")
    root.chmod(b"sticky", 0o1777)
    for name, uid in ((b"sticky/theirs", 0), (b"sticky/mine", NOBODY)):
        if kind == "file":
            _make(name, 0o666, uid)
        else:
            root.mkdir(name)
            root.chown(name, uid, uid)
            root.chmod(name, 0o777)
    remove = nobody.unlink if kind == "file" else nobody.rmdir
    with refused(errno.EPERM):
        remove(b"sticky/theirs")
    with refused(errno.EPERM):
        nobody.rename(b"sticky/mine", b"sticky/theirs")
    nobody.rename(b"sticky/mine", b"sticky/still-mine")
    remove(b"sticky/still-mine")
    root.chown(b"sticky", NOBODY, NOBODY)
    remove(b"sticky/theirs")
    assert root.listdir(b"sticky") == [], "the directory's owner may"


def test_class_of_the_caller_decides_alone(folder: Path, root: Caller, nobody: Caller) -> None:
    _make(b"file", 0o077, NOBODY, NOBODY)
    with refused(errno.EACCES):
        nobody.open(b"file", os.O_RDONLY)
    _make(b"file", 0o707, 0, NOBODY)
    with refused(errno.EACCES):
        nobody.open(b"file", os.O_RDONLY)
    _make(b"file", 0o004, 0, 0)
    nobody.close(nobody.open(b"file", os.O_RDONLY))
    root.close(root.open(b"file", os.O_RDWR))
