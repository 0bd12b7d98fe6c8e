"""Extended attributes."""

import errno
import os
from pathlib import Path

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller
from tests.mount.posix.conftest import Site
from tests.mount.posix.stage import LONG, NOBODY, Refusal, refusals

pytestmark = pytest.mark.mount

_ACL = b"system.posix_acl_access"


@refusals(
    Refusal("get-unset", errno.ENODATA, lambda c: c.getxattr(b"file", b"user.none")),
    Refusal("get-size-unset", errno.ENODATA, lambda c: c.getxattr_into(b"file", b"user.none", 0)),
    Refusal("get-trusted", errno.ENODATA, lambda c: c.getxattr(b"file", b"trusted.none")),
    Refusal("get-of-fifo", errno.ENODATA, lambda c: c.getxattr(b"fifo", b"user.none")),
    Refusal("get-missing", errno.ENOENT, lambda c: c.getxattr(b"missing", b"user.none")),
    Refusal("get-dangling", errno.ENOENT, lambda c: c.getxattr(b"dangling", b"user.none")),
    Refusal("get-below-file", errno.ENOTDIR, lambda c: c.getxattr(b"file/x", b"user.none")),
    Refusal("get-loop", errno.ELOOP, lambda c: c.getxattr(b"loop", b"user.none")),
    Refusal("get-long-path", errno.ENAMETOOLONG, lambda c: c.getxattr(LONG, b"user.none")),
    Refusal("get-long-name", errno.ERANGE, lambda c: c.getxattr(b"file", b"user." + b"n" * 251)),
    Refusal("get-without-name", errno.ERANGE, lambda c: c.getxattr(b"file", b"")),
    Refusal("get-unknown-kind", errno.EOPNOTSUPP, lambda c: c.getxattr(b"file", b"unknown.name")),
    Refusal("get-not-searchable", errno.EACCES, lambda c: c.getxattr(b"locked/file", b"user.none"), "nobody"),
    Refusal("get-not-readable", errno.EACCES, lambda c: c.getxattr(b"closed", b"user.none"), "nobody"),
    Refusal("set-missing", errno.ENOENT, lambda c: c.setxattr(b"missing", b"user.new", b"1")),
    Refusal("set-below-file", errno.ENOTDIR, lambda c: c.setxattr(b"file/x", b"user.new", b"1")),
    Refusal("set-loop", errno.ELOOP, lambda c: c.setxattr(b"loop", b"user.new", b"1")),
    Refusal("set-unknown-kind", errno.EOPNOTSUPP, lambda c: c.setxattr(b"mine", b"unknown.name", b"1")),
    Refusal("set-plain-name", errno.EOPNOTSUPP, lambda c: c.setxattr(b"mine", b"name", b"1")),
    Refusal("set-long-name", errno.ERANGE, lambda c: c.setxattr(b"mine", b"user." + b"n" * 251, b"1")),
    Refusal("set-without-name", errno.ERANGE, lambda c: c.setxattr(b"mine", b"", b"1")),
    Refusal("set-too-large", errno.E2BIG, lambda c: c.setxattr(b"mine", b"user.new", bytes(65537))),
    Refusal("set-unknown-flag", errno.EINVAL, lambda c: c.setxattr(b"mine", b"user.new", b"1", 1 << 7)),
    Refusal("replace-unset", errno.ENODATA, lambda c: c.setxattr(b"mine", b"user.new", b"1", os.XATTR_REPLACE)),
    Refusal("set-on-fifo", errno.EPERM, lambda c: c.setxattr(b"fifo", b"user.new", b"1")),
    Refusal("set-on-socket", errno.EPERM, lambda c: c.setxattr(b"socket", b"user.new", b"1")),
    Refusal("set-on-link", errno.EPERM, lambda c: c.setxattr(b"dangling", b"user.new", b"1", follow_symlinks=False)),
    Refusal("set-not-writable", errno.EACCES, lambda c: c.setxattr(b"file", b"user.new", b"1"), "nobody"),
    Refusal("set-trusted", errno.EPERM, lambda c: c.setxattr(b"mine", b"trusted.new", b"1"), "nobody"),
    Refusal("set-on-sticky-folder", errno.EPERM, lambda c: c.setxattr(b"sticky", b"user.new", b"1"), "nobody"),
    Refusal("remove-unset", errno.ENODATA, lambda c: c.removexattr(b"mine", b"user.none")),
    Refusal("remove-missing", errno.ENOENT, lambda c: c.removexattr(b"missing", b"user.none")),
    Refusal("remove-not-writable", errno.EACCES, lambda c: c.removexattr(b"file", b"user.none"), "nobody"),
    Refusal("remove-unknown-kind", errno.EOPNOTSUPP, lambda c: c.removexattr(b"mine", b"unknown.name")),
    Refusal("list-missing", errno.ENOENT, lambda c: c.listxattr(b"missing")),
    Refusal("list-below-file", errno.ENOTDIR, lambda c: c.listxattr(b"file/x")),
    Refusal("list-loop", errno.ELOOP, lambda c: c.listxattr(b"loop")),
)
def test_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@pytest.fixture
def file(folder: Path, caller: Caller) -> bytes:
    caller.close(caller.open(b"file", os.O_CREAT | os.O_WRONLY, 0o644))
    return b"file"


def test_create_and_replace(file: bytes, caller: Caller) -> None:
    caller.setxattr(file, b"user.one", b"1", os.XATTR_CREATE)
    with refused(errno.EEXIST):
        caller.setxattr(file, b"user.one", b"2", os.XATTR_CREATE)
    assert caller.getxattr(file, b"user.one") == b"1"
    caller.setxattr(file, b"user.one", b"longer than before", os.XATTR_REPLACE)
    assert caller.getxattr(file, b"user.one") == b"longer than before"
    caller.setxattr(file, b"user.one", b"")
    assert caller.getxattr(file, b"user.one") == b""
    caller.removexattr(file, b"user.one")
    with refused(errno.ENODATA):
        caller.getxattr(file, b"user.one")
    caller.setxattr(file, b"user.one", b"3", os.XATTR_CREATE)
    assert caller.listxattr(file) == ["user.one"]


def test_buffers_that_are_too_small(file: bytes, caller: Caller) -> None:
    caller.setxattr(file, b"user.name", b"12345")
    assert caller.getxattr_into(file, b"user.name", 0) == 5
    assert caller.getxattr_into(file, b"user.name", 5) == 5
    assert caller.getxattr_into(file, b"user.name", 65536) == 5
    with refused(errno.ERANGE):
        caller.getxattr_into(file, b"user.name", 4)
    assert caller.listxattr_into(file, 0) == 10
    assert caller.listxattr_into(file, 10) == 10
    with refused(errno.ERANGE):
        caller.listxattr_into(file, 9)


def test_names_and_values_of_every_kind(site: Site, file: bytes, caller: Caller) -> None:
    every_byte = bytes(range(1, 256))
    # A block of ext4 holds all that a file has; a mount takes much more.
    values = {
        b"user.empty": b"",
        b"user.binary": bytes(range(256)),
        b"user.name with blank": b"1",
        b"user.." + b".": b"2",
        b"user." + "ä日🦊".encode(): b"3",
        b"user." + every_byte[:100]: b"4",
        b"user." + b"n" * 250: b"5",
    }
    if site.is_mount:
        values |= {b"user.large": os.urandom(65536), b"user." + every_byte[100:]: b"6" * 10_000}
    for name, value in values.items():
        caller.setxattr(file, name, value)
    assert {os.fsencode(name) for name in caller.listxattr(file)} == set(values)
    assert {name: caller.getxattr(file, name) for name in values} == values


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_trusted_attributes_of_every_kind_of_file(folder: Path, root: Caller, nobody: Caller, kind: str) -> None:
    if kind == "link":
        root.symlink(b"target", b"x")
    else:
        (root.mkdir if kind == "folder" else root.mkfifo)(b"x")
    try:
        root.setxattr(b"x", b"trusted.one", b"1", follow_symlinks=False)
    except PermissionError:
        pytest.skip("this root may not set trusted attributes")
    root.setxattr(b"x", b"security.test", b"2", follow_symlinks=False)
    assert root.getxattr(b"x", b"trusted.one", follow_symlinks=False) == b"1"
    assert "trusted.one" in root.listxattr(b"x", follow_symlinks=False)
    with refused(errno.ENODATA, errno.EPERM):
        nobody.getxattr(b"x", b"trusted.one", follow_symlinks=False)
    assert nobody.getxattr(b"x", b"security.test", follow_symlinks=False) == b"2"


def test_they_stay_with_the_file(folder: Path, root: Caller, nobody: Caller) -> None:
    fd = nobody.open(b"file", os.O_CREAT | os.O_RDWR, 0o644)
    nobody.setxattr(fd, b"user.one", b"1")
    nobody.linkat(b"file", b"second", 0)
    nobody.rename(b"file", b"third")
    assert root.getxattr(b"second", b"user.one") == b"1"
    root.chown(b"third", 0, 0)
    root.truncate(b"third", 0)
    assert nobody.getxattr(b"third", b"user.one") == b"1"
    nobody.unlink(b"second")
    nobody.unlink(b"third")
    assert nobody.getxattr(fd, b"user.one") == b"1", "while it is open"
    root.chown(b"/proc/%d/fd/%d" % (nobody.getpid(), fd), NOBODY, NOBODY)
    nobody.setxattr(fd, b"user.two", b"2")
    assert sorted(nobody.listxattr(fd)) == ["user.one", "user.two"]
    nobody.close(fd)


def test_there_are_no_acls(site: Site, file: bytes, caller: Caller) -> None:
    if not site.is_mount:
        pytest.skip("a local filesystem may have ACLs")
    entries = b"\x01\0\x06\0", b"\x04\0\x04\0", b"\x20\0\x04\0"
    acl = b"\x02\0\0\0" + b"".join(entry + b"\xff" * 4 for entry in entries)
    caller.mkdir(b"d")
    for path, name in ((file, _ACL), (b"d", _ACL), (b"d", b"system.posix_acl_default")):
        with refused(errno.EOPNOTSUPP):
            caller.getxattr(path, name)
        with refused(errno.EOPNOTSUPP):
            caller.setxattr(path, name, acl)
        with refused(errno.EOPNOTSUPP, errno.ENODATA):
            caller.removexattr(path, name)
    assert caller.listxattr(file) == []
