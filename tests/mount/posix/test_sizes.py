"""truncate and ftruncate, sparse files as large as they may be, and fallocate and copy_file_range."""

import errno
import os
import resource
from pathlib import Path

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller
from tests.mount.posix.calls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE
from tests.mount.posix.conftest import Site
from tests.mount.posix.stage import LONG, Refusal, refusals

pytestmark = pytest.mark.mount

_END = (1 << 63) - 1
"""The largest size that a file can have on Linux."""

_FAR = 1 << 40
"""A size that every local filesystem allows too."""

_PUNCH = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE
_RW = os.O_RDWR


@refusals(
    Refusal("missing", errno.ENOENT, lambda c: c.truncate(b"missing", 0)),
    Refusal("empty-path", errno.ENOENT, lambda c: c.truncate(b"", 0)),
    Refusal("dangling", errno.ENOENT, lambda c: c.truncate(b"dangling", 0)),
    Refusal("below-file", errno.ENOTDIR, lambda c: c.truncate(b"file/x", 0)),
    Refusal("folder", errno.EISDIR, lambda c: c.truncate(b"full", 0)),
    Refusal("fifo", errno.EINVAL, lambda c: c.truncate(b"fifo", 0)),
    Refusal("negative", errno.EINVAL, lambda c: c.truncate(b"writable", -1)),
    Refusal("negative-open", errno.EINVAL, lambda c: c.open_and("ftruncate", b"writable", _RW, -1)),
    Refusal("open-for-reading", errno.EINVAL, lambda c: c.open_and("ftruncate", b"writable", os.O_RDONLY, 0)),
    Refusal("open-folder", errno.EINVAL, lambda c: c.open_and("ftruncate", b"full", os.O_RDONLY, 0)),
    Refusal("only-a-path", errno.EBADF, lambda c: c.open_and("ftruncate", b"writable", os.O_PATH, 0)),
    Refusal("long-name", errno.ENAMETOOLONG, lambda c: c.truncate(LONG, 0)),
    Refusal("loop", errno.ELOOP, lambda c: c.truncate(b"loop", 0)),
    Refusal("not-writable", errno.EACCES, lambda c: c.truncate(b"file", 0), "nobody"),
    Refusal("not-searchable", errno.EACCES, lambda c: c.truncate(b"locked/file", 0), "nobody"),
    Refusal("write-over-the-end", errno.EINVAL, lambda c: c.open_and("pwrite", b"writable", _RW, b"xy", _END - 1)),
)
def test_truncate_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@refusals(
    Refusal("open-for-reading", errno.EBADF, lambda c: c.open_and("fallocate", b"file", os.O_RDONLY, 0, 0, 1)),
    Refusal("no-length", errno.EINVAL, lambda c: c.open_and("fallocate", b"writable", _RW, 0, 0, 0)),
    Refusal("negative-offset", errno.EINVAL, lambda c: c.open_and("fallocate", b"writable", _RW, 0, -1, 1)),
    Refusal("negative-length", errno.EINVAL, lambda c: c.open_and("fallocate", b"writable", _RW, 0, 0, -1)),
    Refusal("over-the-end", errno.EFBIG, lambda c: c.open_and("fallocate", b"writable", _RW, 0, _END, 1)),
    Refusal(
        "hole-and-longer",
        errno.EOPNOTSUPP,
        lambda c: c.open_and("fallocate", b"writable", _RW, FALLOC_PUNCH_HOLE, 0, 1),
    ),
    Refusal(
        "hole-and-zeros",
        errno.EOPNOTSUPP,
        lambda c: c.open_and("fallocate", b"writable", _RW, _PUNCH | FALLOC_ZERO_RANGE, 0, 1),
    ),
    Refusal("unknown-flag", errno.EOPNOTSUPP, lambda c: c.open_and("fallocate", b"writable", _RW, 1 << 12, 0, 1)),
    Refusal("fifo", errno.ESPIPE, lambda c: c.open_and("fallocate", b"fifo", _RW, 0, 0, 1)),
    Refusal("copy-into-reading", errno.EBADF, lambda c: c.copy_range(b"file", b"writable", os.O_RDONLY, 1, 0, 0)),
    Refusal(
        "copy-into-appending", errno.EBADF, lambda c: c.copy_range(b"file", b"writable", _RW | os.O_APPEND, 1, 0, 0)
    ),
    Refusal("copy-a-folder", errno.EISDIR, lambda c: c.copy_range(b"full", b"writable", _RW, 1, 0, 0)),
    Refusal("copy-onto-itself", errno.EINVAL, lambda c: c.copy_range(b"writable", b"writable", _RW, 4, 0, 2)),
)
def test_allocation_refused(site: Site, stage: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=site.is_mount)


@pytest.fixture
def fd(folder: Path, caller: Caller) -> int:
    """A descriptor of the caller's, of a new file with 10,000 bytes of content."""
    opened = caller.open(b"file", _RW | os.O_CREAT)
    caller.write(opened, b"0123456789" * 1000)
    return int(opened)


def test_shorter_and_longer(fd: int, caller: Caller) -> None:
    for size, content in ((15, b"012345678901234"), (3, b"012"), (8, b"012\0\0\0\0\0"), (0, b""), (4, bytes(4))):
        caller.ftruncate(fd, size)
        assert caller.pread(fd, 100, 0) == content
        assert caller.stat(b"file").st_size == size
    caller.truncate(b"file", 9000)
    assert caller.pread(fd, 10_000, 0) == bytes(9000)
    assert caller.stat(b"file").st_blocks == 0, "all of it is a hole"


def test_a_write_far_behind_the_end_leaves_a_hole(fd: int, caller: Caller) -> None:
    caller.pwrite(fd, b"end", _FAR)
    assert caller.fstat(fd).st_size == _FAR + 3
    assert caller.pread(fd, 10, _FAR - 5) == bytes(5) + b"end"
    assert caller.pread(fd, 10, _FAR // 2) == bytes(10)
    assert caller.pread(fd, 10, 9995) == b"56789" + bytes(5)
    assert caller.stat(b"file").st_blocks * 512 < 1 << 20


def test_to_the_last_byte(site: Site, fd: int, caller: Caller) -> None:
    if not site.is_mount:
        with refused(errno.EFBIG):
            caller.ftruncate(fd, _END)
        return
    assert caller.pwrite(fd, b"x", _END - 1) == 1
    assert caller.fstat(fd).st_size == _END
    assert caller.pread(fd, 1, _END - 1) == b"x"
    assert caller.pread(fd, 10, _END - 11) == bytes(10)
    assert caller.lseek(fd, 0, os.SEEK_END) == _END
    with refused(errno.EINVAL):
        caller.pwrite(fd, b"xy", _END - 1)
    with refused(errno.EINVAL, errno.EFBIG):
        caller.write(fd, b"x")
    caller.ftruncate(fd, _END)
    caller.ftruncate(fd, 10_001)
    assert caller.pread(fd, 10, 9_999) == b"9\0"
    caller.ftruncate(fd, _END - 1)
    assert caller.pread(fd, 1, _END - 2) == b"\0"
    caller.fsync(fd)
    assert caller.pread(fd, 4, 0) == b"0123"
    caller.ftruncate(fd, 0)


def test_the_limit_of_a_process_holds(folder: Path, root: Caller) -> None:
    fd = os.open("file", _RW | os.O_CREAT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        assert os.pwrite(fd, b"x" * 100, 4950) == 50, "what fits"
        with refused(errno.EFBIG):
            os.pwrite(fd, b"x", 5000)
        with refused(errno.EFBIG):
            os.ftruncate(fd, 5001)
        assert os.fstat(fd).st_size == 5000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        os.close(fd)


def _require_bridge(site: Site, caller: Caller, fd: int) -> None:
    if site.is_mount and not site.has_bridge:
        for mode in (0, FALLOC_KEEP_SIZE, _PUNCH, FALLOC_ZERO_RANGE):
            with refused(errno.EOPNOTSUPP):
                caller.fallocate(fd, mode, 0, 100)
        assert caller.pread(fd, 5, 0) == b"01234"
        pytest.skip("without the bridge there is no fallocate: EOPNOTSUPP, as documented")


def test_fallocate(site: Site, fd: int, caller: Caller) -> None:
    _require_bridge(site, caller, fd)
    content = b"0123456789" * 1000
    caller.fallocate(fd, FALLOC_KEEP_SIZE, 5000, 10_000)
    assert caller.pread(fd, 20_000, 0) == content, "keeps the size"
    caller.fallocate(fd, 0, 5000, 7000)
    assert caller.pread(fd, 20_000, 0) == content + bytes(2000)
    caller.fallocate(fd, 0, 0, 100)
    assert caller.fstat(fd).st_size == 12_000, "never makes it shorter"
    caller.fallocate(fd, _PUNCH, 5, 4095)
    content = content[:5] + bytes(4095) + content[4100:] + bytes(2000)
    assert caller.pread(fd, 20_000, 0) == content
    caller.fallocate(fd, _PUNCH, 11_000, 100_000)
    assert caller.pread(fd, 20_000, 0) == content, "a hole behind the end changes nothing"
    caller.fallocate(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 9_000, 100_000)
    content = content[:9000] + bytes(3000)
    assert caller.pread(fd, 20_000, 0) == content
    caller.fallocate(fd, FALLOC_ZERO_RANGE, 8_000, 6_000)
    content = content[:8000] + bytes(6000)
    assert caller.pread(fd, 20_000, 0) == content


def test_fallocate_takes_set_id_bits_and_moves_times(site: Site, folder: Path, root: Caller, nobody: Caller) -> None:
    Path("file").write_bytes(b"0123456789" * 1000)
    fd = nobody.open(b"other", _RW | os.O_CREAT)
    nobody.write(fd, b"0123456789")
    _require_bridge(site, nobody, fd)
    nobody.close(fd)
    root.utimensat(b"file", (1, 1), (1, 1))
    root.chmod(b"file", 0o4777)
    nobody.open_and("fallocate", b"file", os.O_WRONLY, _PUNCH, 0, 4096)
    status = root.stat(b"file")
    assert status.st_mtime_ns > 10**18
    assert status.st_mode & 0o7777 == 0o777


def test_holes_are_told(site: Site, fd: int, caller: Caller) -> None:
    _require_bridge(site, caller, fd)
    caller.ftruncate(fd, 0)
    caller.ftruncate(fd, 1 << 20)
    caller.pwrite(fd, b"x" * 65536, 256 << 10)
    caller.fsync(fd)
    assert caller.lseek(fd, 0, os.SEEK_DATA) == 256 << 10
    assert caller.lseek(fd, (256 << 10) + 5, os.SEEK_DATA) == (256 << 10) + 5
    assert caller.lseek(fd, 0, os.SEEK_HOLE) == 0
    assert caller.lseek(fd, 256 << 10, os.SEEK_HOLE) == 320 << 10
    with refused(errno.ENXIO):
        caller.lseek(fd, 320 << 10, os.SEEK_DATA)
    caller.ftruncate(fd, 300 << 10)
    assert caller.lseek(fd, 256 << 10, os.SEEK_HOLE) == 300 << 10, "the end is a hole"


def test_copy_file_range(fd: int, caller: Caller) -> None:
    content = b"0123456789" * 1000

    def copied(length: int, at: int, to: int) -> int:
        done = 0
        while count := caller.copy_range(b"file", b"copy", os.O_RDWR, length - done, at + done, to + done):
            done += count
        return done

    caller.close(caller.open(b"copy", os.O_WRONLY | os.O_CREAT))
    assert copied(4000, 1003, 50) == 4000
    assert caller.stat(b"copy").st_size == 4050
    assert copied(100_000, 9_990, 4050) == 10, "to the source's end"
    assert copied(10, 10_000, 0) == 0
    with open(b"copy", "rb") as file:
        assert file.read() == bytes(50) + content[1003:5003] + content[9990:]
    assert caller.copy_range(b"file", b"file", os.O_RDWR, 0, 0, 0) == 0
    copies = 0
    while copies < 5000:
        copies += caller.copy_range(b"file", b"file", os.O_RDWR, 5000 - copies, copies, 5000 + copies)
    assert caller.pread(fd, 20_000, 0) == content[:5000] * 2
