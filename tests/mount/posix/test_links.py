"""link, symlink, readlink and unlink."""

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller
from tests.mount.posix.calls import AT_SYMLINK_FOLLOW
from tests.mount.posix.conftest import Site
from tests.mount.posix.stage import LONG, TOO_DEEP, Refusal, refusals

pytestmark = pytest.mark.mount


@refusals(  # each links a file of its own: systems forbid links to other people's files
    Refusal("exists", errno.EEXIST, lambda c: c.linkat(b"mine", b"file", 0)),
    Refusal("folder-exists", errno.EEXIST, lambda c: c.linkat(b"mine", b"folder", 0)),
    Refusal("dangling-exists", errno.EEXIST, lambda c: c.linkat(b"mine", b"dangling", 0)),
    Refusal("itself", errno.EEXIST, lambda c: c.linkat(b"mine", b"mine", 0)),
    Refusal("missing", errno.ENOENT, lambda c: c.linkat(b"missing", b"new", 0)),
    Refusal("empty-path", errno.ENOENT, lambda c: c.linkat(b"", b"new", 0)),
    Refusal("to-empty-path", errno.ENOENT, lambda c: c.linkat(b"mine", b"", 0)),
    Refusal("to-missing-folder", errno.ENOENT, lambda c: c.linkat(b"mine", b"missing/new", 0)),
    Refusal("dangling-followed", errno.ENOENT, lambda c: c.linkat(b"dangling", b"new", AT_SYMLINK_FOLLOW)),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.linkat(b"mine", b"file/new", 0)),
    Refusal("of-below-file", errno.ENOTDIR, lambda c: c.linkat(b"file/mine", b"new", 0)),
    Refusal("folder", errno.EPERM, lambda c: c.linkat(b"folder", b"new", 0)),
    Refusal("dot", errno.EPERM, lambda c: c.linkat(b".", b"new", 0)),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.linkat(b"mine", LONG, 0)),
    Refusal("of-long-name", errno.ENAMETOOLONG, lambda c: c.linkat(LONG, b"new", 0)),
    Refusal("below-loop", errno.ELOOP, lambda c: c.linkat(b"mine", b"loop/new", 0)),
    Refusal("loop-followed", errno.ELOOP, lambda c: c.linkat(b"loop", b"new", AT_SYMLINK_FOLLOW)),
    Refusal("from-elsewhere", errno.EXDEV, lambda c: c.linkat(b"/proc/version", b"new", 0)),
    Refusal("not-writable", errno.EACCES, lambda c: c.linkat(b"mine", b"shut/new", 0), "nobody"),
    Refusal("not-searchable", errno.EACCES, lambda c: c.linkat(b"locked/file", b"new", 0), "nobody"),
)
def test_link_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("exists", errno.EEXIST, lambda c: c.symlink(b"target", b"file")),
    Refusal("folder-exists", errno.EEXIST, lambda c: c.symlink(b"target", b"folder")),
    Refusal("link-exists", errno.EEXIST, lambda c: c.symlink(b"target", b"link")),
    Refusal("dangling-exists", errno.EEXIST, lambda c: c.symlink(b"target", b"dangling")),
    Refusal("empty-target", errno.ENOENT, lambda c: c.symlink(b"", b"new")),
    Refusal("empty-path", errno.ENOENT, lambda c: c.symlink(b"target", b"")),
    Refusal("missing-folder", errno.ENOENT, lambda c: c.symlink(b"target", b"missing/new")),
    Refusal("with-slash", errno.ENOENT, lambda c: c.symlink(b"target", b"new/")),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.symlink(b"target", b"file/new")),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.symlink(b"target", LONG)),
    Refusal("long-path", errno.ENAMETOOLONG, lambda c: c.symlink(b"target", TOO_DEEP + b"new")),
    Refusal("long-target", errno.ENAMETOOLONG, lambda c: c.symlink(b"t" * 4096, b"new")),
    Refusal("below-loop", errno.ELOOP, lambda c: c.symlink(b"target", b"loop/new")),
    Refusal("not-writable", errno.EACCES, lambda c: c.symlink(b"target", b"shut/new"), "nobody"),
    Refusal("not-searchable", errno.EACCES, lambda c: c.symlink(b"target", b"locked/new"), "nobody"),
)
def test_symlink_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("file", errno.EINVAL, lambda c: c.readlink(b"file")),
    Refusal("folder", errno.EINVAL, lambda c: c.readlink(b"folder")),
    Refusal("fifo", errno.EINVAL, lambda c: c.readlink(b"fifo")),
    Refusal("missing", errno.ENOENT, lambda c: c.readlink(b"missing")),
    Refusal("empty-path", errno.ENOENT, lambda c: c.readlink(b"")),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.readlink(b"file/link")),
    Refusal("with-slash", errno.ENOTDIR, lambda c: c.readlink(b"link/")),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.readlink(LONG)),
    Refusal("below-loop", errno.ELOOP, lambda c: c.readlink(b"loop/link")),
    Refusal("not-searchable", errno.EACCES, lambda c: c.readlink(b"locked/link"), "nobody"),
)
def test_readlink_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("missing", errno.ENOENT, lambda c: c.unlink(b"missing")),
    Refusal("empty-path", errno.ENOENT, lambda c: c.unlink(b"")),
    Refusal("below-missing", errno.ENOENT, lambda c: c.unlink(b"missing/file")),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.unlink(b"file/file")),
    Refusal("with-slash", errno.ENOTDIR, lambda c: c.unlink(b"file/")),
    Refusal("link-to-folder-with-slash", errno.ENOTDIR, lambda c: c.unlink(b"folder-link/")),
    Refusal("folder", errno.EISDIR, lambda c: c.unlink(b"folder")),
    Refusal("full", errno.EISDIR, lambda c: c.unlink(b"full")),
    Refusal("folder-with-slash", errno.EISDIR, lambda c: c.unlink(b"folder/")),
    Refusal("dot", errno.EISDIR, lambda c: c.unlink(b".")),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.unlink(LONG)),
    Refusal("below-loop", errno.ELOOP, lambda c: c.unlink(b"loop/file")),
    Refusal("not-writable", errno.EACCES, lambda c: c.unlink(b"shut/file"), "nobody"),
    Refusal("not-searchable", errno.EACCES, lambda c: c.unlink(b"locked/file"), "nobody"),
    Refusal("sticky", errno.EPERM, lambda c: c.unlink(b"sticky/file"), "nobody"),
)
def test_unlink_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@pytest.mark.parametrize("kind", ["file", "fifo", "socket", "symlink"])
def test_names_of_one_file(folder: Path, caller: Caller, kind: str) -> None:
    if kind == "symlink":
        caller.symlink(b"target", b"one")
    else:
        types = {"file": stat.S_IFREG, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK}
        caller.mknod(b"one", types[kind] | 0o600)
    caller.linkat(b"one", b"two", 0)
    caller.linkat(b"two", b"three", 0)
    statuses = [caller.lstat(name) for name in (b"one", b"two", b"three")]
    assert {status.st_ino for status in statuses} == {statuses[0].st_ino}
    assert [status.st_nlink for status in statuses] == [3, 3, 3]
    caller.unlink(b"one")
    assert caller.lstat(b"three").st_nlink == 2
    caller.rename(b"three", b"four")
    caller.unlink(b"two")
    assert caller.lstat(b"four").st_nlink == 1
    assert caller.lstat(b"four").st_mode == statuses[0].st_mode


def test_linking_follows_a_link_only_when_asked(folder: Path, caller: Caller) -> None:
    caller.close(caller.open(b"file", os.O_CREAT | os.O_WRONLY))
    caller.symlink(b"file", b"link")
    caller.linkat(b"link", b"same-link", 0)
    assert caller.readlink(b"same-link") == b"file"
    caller.linkat(b"link", b"same-file", AT_SYMLINK_FOLLOW)
    assert caller.lstat(b"same-file").st_ino == caller.stat(b"file").st_ino


def test_a_removed_file_gets_no_new_name(folder: Path, caller: Caller) -> None:
    fd = caller.open(b"file", os.O_CREAT | os.O_RDWR)
    caller.unlink(b"file")
    with refused(errno.ENOENT):
        caller.linkat(b"/proc/self/fd/%d" % fd, b"back", AT_SYMLINK_FOLLOW)
    caller.close(fd)
    assert caller.listdir(b".") == []


@pytest.mark.parametrize(
    "target", [b"t", b"no/such/file", b"/", b"..", b"\xff\xfe\n", b"a//b/", b"t" * 255, b"t" * 4095], ids=repr
)
def test_a_target_is_kept_as_it_is(folder: Path, caller: Caller, target: bytes) -> None:
    caller.symlink(target, b"link")
    assert caller.readlink(b"link") == target
    status = caller.lstat(b"link")
    assert status.st_size == len(target)
    assert status.st_mode == stat.S_IFLNK | 0o777
    assert (status.st_uid, status.st_gid) == (caller.uid, caller.gid)


def test_a_chain_of_links_has_an_end(folder: Path, caller: Caller) -> None:
    caller.close(caller.open(b"0", os.O_CREAT | os.O_WRONLY))
    for number in range(41):
        caller.symlink(b"%d" % number, b"%d" % (number + 1))
    assert stat.S_ISREG(caller.stat(b"40").st_mode)
    with refused(errno.ELOOP):
        caller.stat(b"41")
