"""open and creat: what they refuse, and what their flags do."""

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller
from tests.mount.posix.conftest import Site
from tests.mount.posix.stage import LONG, TOO_DEEP, Refusal, refusals

pytestmark = pytest.mark.mount

_NEW = os.O_WRONLY | os.O_CREAT
_READ, _WRITE = os.O_RDONLY, os.O_WRONLY


@refusals(
    Refusal("missing", errno.ENOENT, lambda c: c.open(b"missing", _READ)),
    Refusal("missing-truncated", errno.ENOENT, lambda c: c.open(b"missing", _WRITE | os.O_TRUNC)),
    Refusal("empty-path", errno.ENOENT, lambda c: c.open(b"", _READ)),
    Refusal("empty-path-created", errno.ENOENT, lambda c: c.open(b"", _NEW)),
    Refusal("missing-folder", errno.ENOENT, lambda c: c.open(b"missing/new", _NEW)),
    Refusal("dangling", errno.ENOENT, lambda c: c.open(b"dangling", _READ)),
    Refusal("below-dangling", errno.ENOENT, lambda c: c.open(b"dangling/new", _NEW)),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.open(b"file/new", _READ)),
    Refusal("created-below-file", errno.ENOTDIR, lambda c: c.open(b"file/new", _NEW)),
    Refusal("created-below-fifo", errno.ENOTDIR, lambda c: c.open(b"fifo/new", _NEW)),
    Refusal("file-with-slash", errno.ENOTDIR, lambda c: c.open(b"file/", _READ)),
    Refusal("file-as-folder", errno.ENOTDIR, lambda c: c.open(b"file", _READ | os.O_DIRECTORY)),
    Refusal("fifo-as-folder", errno.ENOTDIR, lambda c: c.open(b"fifo", _READ | os.O_DIRECTORY | os.O_NONBLOCK)),
    Refusal("link-as-folder", errno.ENOTDIR, lambda c: c.open(b"folder-link", os.O_DIRECTORY | os.O_NOFOLLOW)),
    Refusal("folder-written", errno.EISDIR, lambda c: c.open(b"full", _WRITE)),
    Refusal("folder-read-and-written", errno.EISDIR, lambda c: c.open(b"full", os.O_RDWR)),
    Refusal("folder-truncated", errno.EISDIR, lambda c: c.open(b"full", _WRITE | os.O_TRUNC)),
    Refusal("folder-created", errno.EISDIR, lambda c: c.open(b"full", _READ | os.O_CREAT)),
    Refusal("dot-created", errno.EISDIR, lambda c: c.open(b".", _READ | os.O_CREAT)),
    Refusal("link-to-folder-written", errno.EISDIR, lambda c: c.open(b"folder-link", _WRITE)),
    Refusal("new-with-slash", errno.EISDIR, lambda c: c.open(b"new/", _NEW)),
    Refusal("exists", errno.EEXIST, lambda c: c.open(b"writable", _NEW | os.O_EXCL)),
    Refusal("folder-exists", errno.EEXIST, lambda c: c.open(b"folder", _NEW | os.O_EXCL)),
    Refusal("link-exists", errno.EEXIST, lambda c: c.open(b"link", _NEW | os.O_EXCL)),
    Refusal("dangling-exists", errno.EEXIST, lambda c: c.open(b"dangling", _NEW | os.O_EXCL)),
    Refusal("loop-exists", errno.EEXIST, lambda c: c.open(b"loop", _NEW | os.O_EXCL)),
    Refusal("fifo-exists", errno.EEXIST, lambda c: c.open(b"fifo", _NEW | os.O_EXCL)),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.open(LONG, _READ)),
    Refusal("long-name-created", errno.ENAMETOOLONG, lambda c: c.open(LONG, _NEW)),
    Refusal("long-name-on-the-way", errno.ENAMETOOLONG, lambda c: c.open(LONG + b"/file", _READ)),
    Refusal("long-path", errno.ENAMETOOLONG, lambda c: c.open(TOO_DEEP + b"file", _READ)),
    Refusal("loop", errno.ELOOP, lambda c: c.open(b"loop", _READ)),
    Refusal("below-loop", errno.ELOOP, lambda c: c.open(b"loop/new", _NEW)),
    Refusal("link-not-followed", errno.ELOOP, lambda c: c.open(b"link", _READ | os.O_NOFOLLOW)),
    Refusal("dangling-not-followed", errno.ELOOP, lambda c: c.open(b"dangling", _NEW | os.O_NOFOLLOW)),
    Refusal("fifo-without-reader", errno.ENXIO, lambda c: c.open(b"fifo", _WRITE | os.O_NONBLOCK)),
    Refusal("socket", errno.ENXIO, lambda c: c.open(b"socket", _READ)),
    Refusal("not-readable", errno.EACCES, lambda c: c.open(b"closed", _READ), "nobody"),
    Refusal("not-writable", errno.EACCES, lambda c: c.open(b"file", _WRITE), "nobody"),
    Refusal("not-appendable", errno.EACCES, lambda c: c.open(b"file", _WRITE | os.O_APPEND), "nobody"),
    Refusal("truncated-for-reading", errno.EACCES, lambda c: c.open(b"file", _READ | os.O_TRUNC), "nobody"),
    Refusal("not-searchable", errno.EACCES, lambda c: c.open(b"locked/file", _READ), "nobody"),
    Refusal("not-searchable-missing", errno.EACCES, lambda c: c.open(b"locked/missing", _READ), "nobody"),
    Refusal("folder-not-readable", errno.EACCES, lambda c: c.open(b"locked", _READ), "nobody"),
    Refusal("folder-not-writable", errno.EACCES, lambda c: c.open(b"shut/new", _NEW), "nobody"),
    Refusal("not-the-owner", errno.EPERM, lambda c: c.open(b"file", _READ | os.O_NOATIME), "nobody"),
)
def test_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("read-a-folder", errno.EISDIR, lambda c: c.open_and("pread", b"full", _READ, 1, 0)),
    Refusal("read-for-writing-only", errno.EBADF, lambda c: c.open_and("pread", b"writable", _WRITE, 1, 0)),
    Refusal("write-for-reading-only", errno.EBADF, lambda c: c.open_and("pwrite", b"writable", _READ, b"x", 0)),
    Refusal("read-before-the-start", errno.EINVAL, lambda c: c.open_and("pread", b"writable", _READ, 1, -1)),
    Refusal("write-before-the-start", errno.EINVAL, lambda c: c.open_and("pwrite", b"writable", _WRITE, b"x", -1)),
    Refusal("seek-before-the-start", errno.EINVAL, lambda c: c.open_and("lseek", b"writable", _READ, -1, os.SEEK_SET)),
    Refusal("seek-from-nowhere", errno.EINVAL, lambda c: c.open_and("lseek", b"writable", _READ, 0, 99)),
    Refusal("data-behind-the-end", errno.ENXIO, lambda c: c.open_and("lseek", b"writable", _READ, 7, os.SEEK_DATA)),
    Refusal("hole-behind-the-end", errno.ENXIO, lambda c: c.open_and("lseek", b"writable", _READ, 7, os.SEEK_HOLE)),
    Refusal("data-far-behind", errno.ENXIO, lambda c: c.open_and("lseek", b"writable", _READ, 1 << 40, os.SEEK_DATA)),
    Refusal("read-what-is-only-a-path", errno.EBADF, lambda c: c.open_and("pread", b"file", os.O_PATH, 1, 0)),
    Refusal("chmod-what-is-only-a-path", errno.EBADF, lambda c: c.open_and("fchmod", b"mine", os.O_PATH, 0o600)),
)
def test_descriptor_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@pytest.mark.parametrize("wanted", [0o000, 0o400, 0o644, 0o777, 0o1777, 0o2755, 0o4755, 0o7777])
def test_created_with_a_mode(folder: Path, caller: Caller, wanted: int) -> None:
    caller.close(caller.open(b"new", _NEW | os.O_EXCL, wanted))
    status = caller.stat(b"new")
    assert stat.S_IMODE(status.st_mode) == wanted & ~0o022, "umask takes these bits away"
    assert stat.S_ISREG(status.st_mode)
    assert (status.st_uid, status.st_gid, status.st_nlink, status.st_size) == (caller.uid, caller.gid, 1, 0)


def test_the_creator_may_write_whatever_the_mode(folder: Path, caller: Caller) -> None:
    fd = caller.open(b"new", os.O_RDWR | os.O_CREAT, 0o000)
    assert caller.write(fd, b"content") == 7
    assert caller.pread(fd, 10, 0) == b"content"
    caller.close(fd)
    if caller.uid:
        with refused(errno.EACCES):
            caller.open(b"new", os.O_RDONLY)


def test_creating_what_exists_opens_it(folder: Path, caller: Caller) -> None:
    Path("file").write_bytes(b"content")
    Path("file").chmod(0o666)
    fd = caller.open(b"file", os.O_RDWR | os.O_CREAT, 0o600)
    assert caller.read(fd, 10) == b"content"
    caller.close(fd)
    assert stat.S_IMODE(caller.stat(b"file").st_mode) == 0o666


def test_creating_through_a_dangling_link_makes_its_target(folder: Path, caller: Caller) -> None:
    caller.symlink(b"target", b"link")
    caller.close(caller.open(b"link", _NEW))
    assert stat.S_ISREG(caller.lstat(b"target").st_mode)
    assert caller.readlink(b"link") == b"target"


def test_truncating_open(folder: Path, caller: Caller) -> None:
    fd = caller.open(b"file", os.O_RDWR | os.O_CREAT)
    caller.write(fd, b"content")
    caller.close(caller.open(b"file", os.O_WRONLY | os.O_TRUNC))
    assert caller.fstat(fd).st_size == 0
    assert caller.pread(fd, 10, 0) == b""
    caller.pwrite(fd, b"x", 3)
    assert caller.pread(fd, 10, 0) == b"\0\0\0x"
    caller.close(fd)


def test_temporary_file_without_a_name(site: Site, folder: Path, caller: Caller) -> None:
    if site.is_mount:
        with refused(errno.EOPNOTSUPP):
            caller.open(b".", os.O_TMPFILE | os.O_RDWR)
        return
    caller.close(caller.open(b".", os.O_TMPFILE | os.O_RDWR))


def test_reading_and_writing_around_the_end(folder: Path, caller: Caller) -> None:
    fd = caller.open(b"file", os.O_RDWR | os.O_CREAT)
    assert caller.read(fd, 10) == b""
    caller.write(fd, b"0123456789")
    assert caller.read(fd, 10) == b""
    assert caller.lseek(fd, 5, os.SEEK_SET) == 5
    assert caller.read(fd, 100) == b"56789"
    assert caller.read(fd, 100) == b""
    assert caller.pread(fd, 10, 1 << 40) == b""
    assert caller.lseek(fd, 10, os.SEEK_END) == 20
    assert caller.fstat(fd).st_size == 10, "seeking makes no file longer"
    caller.write(fd, b"x")
    assert caller.pread(fd, 100, 8) == b"89" + bytes(10) + b"x"
    assert caller.write(fd, b"") == 0
    assert caller.pwrite(fd, b"", 1000) == 0
    assert caller.fstat(fd).st_size == 21, "nor does writing nothing"
    caller.close(fd)


def test_positional_writes_and_append(folder: Path, caller: Caller) -> None:
    fd = caller.open(b"file", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    caller.write(fd, b"first ")
    caller.lseek(fd, 0, os.SEEK_SET)
    caller.write(fd, b"second ")
    assert caller.pwrite(fd, b"third", 0) == 5
    assert caller.pread(fd, 100, 0) == b"first second third", "on Linux O_APPEND wins over pwrite's offset"
    caller.close(fd)
