"""Names: every byte, every length up to the limit, and files of every kind that a name can have."""

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller
from tests.mount.posix.conftest import Site
from tests.mount.posix.stage import LONG, TOO_DEEP, Refusal, refusals

pytestmark = pytest.mark.mount

_BLOCK = stat.S_IFBLK | 0o644


@refusals(
    Refusal("exists", errno.EEXIST, lambda c: c.mknod(b"file", stat.S_IFREG | 0o644)),
    Refusal("folder-exists", errno.EEXIST, lambda c: c.mknod(b"folder", stat.S_IFIFO | 0o644)),
    Refusal("dangling-exists", errno.EEXIST, lambda c: c.mknod(b"dangling", stat.S_IFIFO | 0o644)),
    Refusal("dot-exists", errno.EEXIST, lambda c: c.mknod(b".", stat.S_IFIFO | 0o644)),
    Refusal("missing-folder", errno.ENOENT, lambda c: c.mknod(b"missing/new", stat.S_IFREG | 0o644)),
    Refusal("empty-path", errno.ENOENT, lambda c: c.mknod(b"", stat.S_IFREG | 0o644)),
    Refusal("with-slash", errno.ENOENT, lambda c: c.mknod(b"new/", stat.S_IFIFO | 0o644)),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.mknod(b"file/new", stat.S_IFREG | 0o644)),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.mknod(LONG, stat.S_IFREG | 0o644)),
    Refusal("long-path", errno.ENAMETOOLONG, lambda c: c.mknod(TOO_DEEP + b"new", stat.S_IFREG | 0o644)),
    Refusal("below-loop", errno.ELOOP, lambda c: c.mknod(b"loop/new", stat.S_IFREG | 0o644)),
    Refusal("folder", errno.EPERM, lambda c: c.mknod(b"new", stat.S_IFDIR | 0o755)),
    Refusal("no-kind", errno.EINVAL, lambda c: c.mknod(b"new", 0o170644)),
    Refusal("link", errno.EINVAL, lambda c: c.mknod(b"new", stat.S_IFLNK | 0o777)),
    Refusal("device", errno.EPERM, lambda c: c.mknod(b"new", stat.S_IFCHR | 0o644, os.makedev(1, 3)), "nobody"),
    Refusal("disk", errno.EPERM, lambda c: c.mknod(b"new", _BLOCK, os.makedev(7, 0)), "nobody"),
    Refusal("not-writable", errno.EACCES, lambda c: c.mknod(b"shut/new", stat.S_IFREG | 0o644), "nobody"),
    Refusal("not-searchable", errno.EACCES, lambda c: c.mknod(b"locked/new", stat.S_IFREG | 0o644), "nobody"),
    Refusal("fifo-exists", errno.EEXIST, lambda c: c.mkfifo(b"fifo")),
    Refusal("fifo-below-missing", errno.ENOENT, lambda c: c.mkfifo(b"missing/new")),
    Refusal("fifo-not-writable", errno.EACCES, lambda c: c.mkfifo(b"shut/new"), "nobody"),
)
def test_mknod_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("stat-missing", errno.ENOENT, lambda c: c.stat(b"missing")),
    Refusal("stat-dangling", errno.ENOENT, lambda c: c.stat(b"dangling")),
    Refusal("stat-empty-path", errno.ENOENT, lambda c: c.stat(b"")),
    Refusal("stat-below-file", errno.ENOTDIR, lambda c: c.lstat(b"file/x")),
    Refusal("stat-file-with-slash", errno.ENOTDIR, lambda c: c.stat(b"file/")),
    Refusal("stat-loop", errno.ELOOP, lambda c: c.stat(b"loop")),
    Refusal("stat-long-name", errno.ENAMETOOLONG, lambda c: c.lstat(LONG)),
    Refusal("stat-long-path", errno.ENAMETOOLONG, lambda c: c.lstat(TOO_DEEP + b"file")),
    Refusal("stat-locked", errno.EACCES, lambda c: c.lstat(b"locked/file"), "nobody"),
    Refusal("statvfs-missing", errno.ENOENT, lambda c: c.statvfs(b"missing")),
    Refusal("statvfs-below-file", errno.ENOTDIR, lambda c: c.statvfs(b"file/x")),
    Refusal("statvfs-locked", errno.EACCES, lambda c: c.statvfs(b"locked/file"), "nobody"),
)
def test_stat_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


def test_every_byte(folder: Path) -> None:
    wanted = {bytes([byte]) for byte in range(1, 256)} - {b"/", b"."}
    wanted |= {bytes([byte, 256 - byte]) for byte in range(1, 256)} - {b"/\xd1", b"\xd1/"}
    for name in wanted:
        os.mknod(name)
    assert set(os.listdir(b".")) == wanted
    assert len({os.lstat(name).st_ino for name in wanted}) == len(wanted), "no two names are one"
    for name in wanted:
        os.unlink(name)
    assert os.listdir(b".") == []


@pytest.mark.parametrize("length", [1, 2, 143, 144, 254, 255])
def test_lengths(folder: Path, caller: Caller, length: int) -> None:
    caller.mkdir(b"d" * length)
    caller.mknod(b"d" * length + b"/" + b"f" * length, stat.S_IFREG | 0o644)
    caller.symlink(b"s" * length, b"s" * length)
    assert sorted(caller.listdir(b".")) == [b"d" * length, b"s" * length]
    assert caller.listdir(b"d" * length) == [b"f" * length]
    caller.rename(b"d" * length, b"e" * length)
    assert stat.S_ISREG(caller.stat(b"e" * length + b"/" + b"f" * length).st_mode)
    with refused(errno.ENAMETOOLONG):
        caller.rename(b"e" * length, LONG)


@pytest.mark.parametrize("name", [b"...", b"..a", b".hidden", b" ", b"-rf", b"a\nb", b"A", b".storefs"], ids=repr)
def test_odd_names(folder: Path, caller: Caller, name: bytes) -> None:
    caller.mkdir(name)
    assert caller.listdir(b".") == [name]
    with refused(errno.ENOENT):
        caller.stat(name.swapcase() + b"x")
    caller.rmdir(name)


def test_names_that_differ_in_case_or_composition_only(folder: Path, caller: Caller) -> None:
    names = [b"name", b"Name", b"NAME", "é".encode(), "e\u0301".encode(), b"\xe9", b"name ", b"name."]
    for name in names:
        caller.mknod(name, stat.S_IFREG | 0o644)
    assert sorted(caller.listdir(b".")) == sorted(names)


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, 0], ids=["file", "fifo", "socket", "0"])
@pytest.mark.parametrize("mode", [0o000, 0o644, 0o7777], ids=oct)
def test_kinds(folder: Path, caller: Caller, kind: int, mode: int) -> None:
    caller.mknod(b"new", kind | mode)
    status = caller.lstat(b"new")
    assert stat.S_IFMT(status.st_mode) == (kind or stat.S_IFREG)
    assert stat.S_IMODE(status.st_mode) == mode & ~0o022
    assert (status.st_uid, status.st_gid, status.st_nlink, status.st_size) == (caller.uid, caller.gid, 1, 0)
    caller.unlink(b"new")


@pytest.mark.parametrize("number", [(0, 0), (1, 3), (7, 255), (259, 4095), (4095, 1 << 19)], ids=str)
@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK], ids=["character", "block"])
def test_devices(site: Site, folder: Path, root: Caller, kind: int, number: tuple[int, int]) -> None:
    device = os.makedev(*number)
    try:
        root.mknod(b"device", kind | 0o600, device)
    except PermissionError:
        pytest.skip("this root may make no devices")
    status = root.lstat(b"device")
    assert stat.S_IFMT(status.st_mode) == kind
    assert status.st_rdev == device
    root.rename(b"device", b"renamed")
    assert root.lstat(b"renamed").st_rdev == device
    if site.is_mount:
        with refused(errno.EACCES):  # mounted with nodev
            root.open(b"renamed", os.O_RDONLY)
    root.unlink(b"renamed")


def test_a_fifo_passes_bytes_between_processes(folder: Path, root: Caller, nobody: Caller) -> None:
    root.mkfifo(b"fifo")
    root.chmod(b"fifo", 0o666)
    reading = root.open(b"fifo", os.O_RDONLY | os.O_NONBLOCK)
    writing = nobody.open(b"fifo", os.O_WRONLY)
    assert nobody.write(writing, b"through") == 7
    assert root.read(reading, 100) == b"through"
    with refused(errno.ESPIPE):
        root.lseek(reading, 0, os.SEEK_SET)
    nobody.close(writing)
    assert root.read(reading, 100) == b""
    root.close(reading)
    assert root.stat(b"fifo").st_size == 0


def test_a_socket_takes_connections(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        server.listen()
        assert stat.S_ISSOCK(os.lstat("socket").st_mode)
        client.connect("socket")
        with server.accept()[0] as connection:
            connection.sendall(b"hello")
            assert client.recv(10) == b"hello"
        with socket.socket(socket.AF_UNIX) as second, refused(errno.EADDRINUSE):
            second.bind("socket")


def test_statvfs(site: Site, stage: Path, caller: Caller) -> None:
    block_size, fragment_size, blocks, free, available, files, files_free, _, flags, name_max = caller.statvfs(b".")[
        :10
    ]
    assert caller.statvfs(b"file")[0:2] == (block_size, fragment_size)
    assert name_max == 255
    assert fragment_size >= 512
    assert block_size % fragment_size == 0
    assert blocks >= free >= available >= 0
    assert files >= files_free > 0
    assert not flags & os.ST_RDONLY
    if site.is_mount:
        assert flags & os.ST_NOSUID
        assert flags & os.ST_NODEV
        assert available * fragment_size > 1 << 49
