"""System calls whose exact outcome programs rely on, on one mount that lives as long as this module."""

import errno
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted
from storefs.testing.trees import describe, differences
from tests.mount.places import refused

pytestmark = pytest.mark.mount

_APPENDER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for number in range(500):
    os.write(fd, f"{sys.argv[2]} {number:05d}\\n".encode())
"""


def test_append_from_two_processes(folder: Path) -> None:
    file = folder / "log"
    writers = [subprocess.Popen([sys.executable, "-c", _APPENDER, str(file), who]) for who in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    lines = file.read_text().splitlines()
    for who in "ab":
        assert [line for line in lines if line.startswith(who)] == [f"{who} {number:05d}" for number in range(500)]
    assert len(lines) == 1000


def test_unlinked_while_open(folder: Path, shared: Mounted) -> None:
    file = folder / "gone"
    with file.open("wb+", buffering=0) as opened:
        opened.write(b"before")
        file.unlink()
        assert os.fstat(opened.fileno()).st_nlink == 0
        opened.write(b" and after")
        shared.sync()  # what has no name is not the store's business, and no reason to fail
        assert os.pread(opened.fileno(), 100, 0) == b"before and after"
        opened.truncate(3)
        assert os.pread(opened.fileno(), 100, 0) == b"bef"
        os.fchmod(opened.fileno(), 0o600)
        assert stat.S_IMODE(os.fstat(opened.fileno()).st_mode) == 0o600
    assert not file.exists()


def test_renamed_over_while_open(folder: Path) -> None:
    old, new = folder / "old", folder / "new"
    old.write_bytes(b"old content")
    new.write_bytes(b"new")
    with old.open("rb+", buffering=0) as opened:
        new.rename(old)
        assert os.fstat(opened.fileno()).st_nlink == 0
        assert opened.read() == b"old content"
        opened.write(b"!")
        assert os.pread(opened.fileno(), 100, 0) == b"old content!"
        assert old.read_bytes() == b"new"
    assert not new.exists()
    assert old.read_bytes() == b"new"


def test_rename_replaces_directories_by_the_rules(folder: Path) -> None:
    for name in ("a", "b/c", "d"):
        (folder / name).mkdir(parents=True)
    (folder / "file").touch()
    (folder / "a").rename(folder / "d")
    assert not (folder / "a").exists()
    with refused(errno.ENOTEMPTY):
        (folder / "d").rename(folder / "b")
    with refused(errno.EINVAL):
        (folder / "b").rename(folder / "b/c/d")
    with refused(errno.ENOTDIR):
        (folder / "d").rename(folder / "file")
    with refused(errno.EISDIR):
        (folder / "file").rename(folder / "d")
    with refused(errno.ENOTEMPTY):
        (folder / "b").rmdir()


def test_rewriting_never_loses_the_truncation(folder: Path, shared: Mounted, seed: int) -> None:
    chance = random.Random(seed)
    wanted = {}
    for turn in range(4):
        for number in range(60):
            file = folder / f"{number}"
            wanted[file] = chance.randbytes(chance.choice((0, 1, 10, 5000, 200_000, 600_000)))
            file.write_bytes(wanted[file])  # O_TRUNC
            if chance.random() < 0.1:
                with file.open("rb+") as opened:
                    length = chance.randrange(700_000)
                    opened.truncate(length)
                wanted[file] = wanted[file][:length].ljust(length, b"\0")
        if turn % 2:
            shared.sync()
        for file, content in wanted.items():
            assert file.read_bytes() == content, file.name


def test_holes(folder: Path) -> None:
    file = folder / "sparse"
    with file.open("wb", buffering=0) as out:
        out.write(b"start")
        out.seek(3_000_000)
        out.write(b"middle")
        out.truncate(10_000_000)
    content = file.read_bytes()
    assert content == b"start".ljust(3_000_000, b"\0") + b"middle".ljust(7_000_000, b"\0")
    assert file.stat().st_blocks * 512 < 10_000_000
    os.truncate(file, 3_000_003)
    os.truncate(file, 3_000_010)
    assert file.read_bytes()[3_000_000:] == b"mid".ljust(10, b"\0")
    os.truncate(file, 0)
    os.truncate(file, 5)
    assert file.read_bytes() == bytes(5)
    with refused(errno.EINVAL), file.open("rb+") as out:
        os.ftruncate(out.fileno(), -1)


def test_hard_links(folder: Path) -> None:
    first, second = folder / "first", folder / "second"
    first.write_bytes(b"1")
    second.hardlink_to(first)
    assert second.stat().st_nlink == first.stat().st_nlink == 2
    assert second.samefile(first)
    second.write_bytes(b"two")
    assert first.read_bytes() == b"two"
    first.rename(second)  # two names of one file: nothing happens
    assert first.exists()
    first.unlink()
    assert second.stat().st_nlink == 1
    with refused(errno.EPERM):
        os.link(folder, folder / "directory")


def test_symbolic_links_and_fifos(folder: Path) -> None:
    (folder / "link").symlink_to("no/such/ä")
    assert os.readlink(folder / "link") == "no/such/ä"
    with refused(errno.ENOENT):
        (folder / "link").stat()
    (folder / "loop").symlink_to("loop")
    with refused(errno.ELOOP):
        (folder / "loop").stat()
    os.mkfifo(folder / "fifo", 0o640)
    assert stat.S_ISFIFO((folder / "fifo").lstat().st_mode)
    with subprocess.Popen(["cat", folder / "fifo"], stdout=subprocess.PIPE, text=True) as reader:
        (folder / "fifo").write_text("through")
        assert reader.communicate(timeout=30)[0] == "through"


def test_extended_attributes(folder: Path) -> None:
    file = folder / "file"
    file.touch()
    os.setxattr(file, "user.one", b"1", os.XATTR_CREATE)
    with refused(errno.EEXIST):
        os.setxattr(file, "user.one", b"2", os.XATTR_CREATE)
    os.setxattr(file, "user.one", b"3", os.XATTR_REPLACE)
    with refused(errno.ENODATA):
        os.setxattr(file, "user.two", b"1", os.XATTR_REPLACE)
    assert os.getxattr(file, "user.one") == b"3"
    os.setxattr(file, "user.empty", b"")
    assert os.getxattr(file, "user.empty") == b""
    assert sorted(os.listxattr(file)) == ["user.empty", "user.one"]
    os.removexattr(file, "user.one")
    with refused(errno.ENODATA):
        os.getxattr(file, "user.one")
    with refused(errno.ENODATA):
        os.removexattr(file, "user.one")
    with refused(errno.EOPNOTSUPP):
        os.getxattr(file, "system.posix_acl_access")


@pytest.mark.timeout(200)
def test_listing_a_directory_while_it_is_emptied(folder: Path) -> None:
    names = {f"{number:05d}" for number in range(20_000)}
    for name in names:
        os.mknod(folder / name)
    assert set(os.listdir(folder)) == names
    seen = []
    with os.scandir(folder) as listing:
        for entry in listing:
            seen.append(entry.name)
            os.unlink(entry.path)
    assert len(seen) == len(names)
    assert set(seen) == names
    assert os.listdir(folder) == []
    folder.rmdir()


def test_long_names(folder: Path) -> None:
    for name in ("n" * 255, "ä" * 127):
        (folder / name).write_text(name)
        assert (folder / name).read_text() == name
    assert sorted(os.listdir(folder)) == sorted(["n" * 255, "ä" * 127])
    for call in (Path.touch, Path.mkdir, Path.stat, Path.unlink):
        with refused(errno.ENAMETOOLONG):
            call(folder / ("n" * 256))
    with refused(errno.ENAMETOOLONG):
        (folder / ("n" * 255)).rename(folder / ("n" * 256))


def test_modes_owners_and_times(folder: Path) -> None:
    file = folder / "file"
    file.write_bytes(b"1")
    os.utime(file, ns=(1_000_000_001, 2_000_000_002))
    assert (file.stat().st_atime_ns, file.stat().st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    before = file.stat()
    assert file.read_bytes() == b"1"
    assert file.stat().st_atime_ns == before.st_atime_ns, "only utimens changes it"
    file.chmod(0o4755)
    assert stat.S_IMODE(file.stat().st_mode) == 0o4755
    file.write_bytes(b"2")
    assert file.stat().st_mtime_ns > before.st_mtime_ns
    assert file.stat().st_ctime_ns >= before.st_ctime_ns
    listed = folder.stat().st_mtime_ns
    (folder / "another").touch()
    assert folder.stat().st_mtime_ns > listed


def test_statfs(folder: Path) -> None:
    found = os.statvfs(folder)
    assert found.f_namemax == 255
    assert found.f_blocks >= found.f_bavail > 0
    assert found.f_files > found.f_ffree > 0


def test_the_control_directory_is_out_of_the_way(shared: Mounted, folder: Path) -> None:
    control = shared.path / ".storefs"
    assert ".storefs" not in os.listdir(shared.path)
    assert control.is_dir()
    assert sorted(os.listdir(control)) == ["clone", "hint", "snapshots", "status", "sync", "warm"]
    (folder / "file").touch()
    (folder / "empty").mkdir()
    denied = (errno.EEXIST, errno.EPERM)
    for attempt in (
        control.mkdir,
        control.rmdir,
        (control / "status").unlink,
        (control / "new").touch,
        (control / "new").mkdir,
        lambda: control.rename(folder / "mine"),
        lambda: (folder / "file").rename(control / "file"),
        lambda: (folder / "empty").rename(control),
        lambda: (folder / "link").hardlink_to(control / "status"),
        lambda: (control / "status").chmod(0o777),
        lambda: os.setxattr(control / "status", "user.one", b"1"),
        lambda: os.setxattr(folder / "file", "user.storefs.info", b"1"),
    ):
        with refused(*denied):
            attempt()
    (folder / ".storefs").mkdir()  # below the root it is a name like any other
    assert os.listdir(folder / ".storefs") == []


def test_all_that_the_others_left_is_in_the_store(shared: Mounted) -> None:
    wanted = describe(shared.path)
    shared.umount()
    shared.remount(new_cache=True)
    assert differences(wanted, describe(shared.path)) == []
