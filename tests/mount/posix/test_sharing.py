"""One file in several hands: processes that append, map and lock it, and names that go while it is open."""

import errno
import fcntl
import mmap
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Actor, Caller
from tests.mount.posix.conftest import Site

pytestmark = pytest.mark.mount

_RW = os.O_RDWR | os.O_CREAT
_PAGE = mmap.PAGESIZE

_APPENDER = """
import os, sys
fd = os.open("log", os.O_WRONLY | os.O_APPEND)
for number in range(200):
    os.write(fd, (f"{sys.argv[1]} {number:03d} " + sys.argv[1] * (number % 50)).encode() + b"\\n")
"""


def test_appends_of_several_processes_never_mix(folder: Path) -> None:
    Path("log").touch()
    writers = [subprocess.Popen([sys.executable, "-c", _APPENDER, who]) for who in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    lines = Path("log").read_text().splitlines()
    for who in "abcd":
        wanted = [f"{who} {number:03d} {who * (number % 50)}" for number in range(200)]
        assert [line for line in lines if line.startswith(who)] == wanted
    assert len(lines) == 800


def test_writes_are_seen_at_once(folder: Path, other: Actor) -> None:
    mine, theirs = os.open("file", _RW), other.open(b"file", _RW)
    for number in range(50):
        os.pwrite(mine, b"%05d" % number, number * 3)
        assert other.pread(theirs, 5, number * 3) == b"%05d" % number
        other.ftruncate(theirs, number * 3 + 2)
        assert os.fstat(mine).st_size == number * 3 + 2
        assert os.pread(mine, 5, number * 3) == (b"%05d" % number)[:2]
    os.close(mine)
    other.close(theirs)


def test_a_shared_offset(folder: Path) -> None:
    fd = os.open("file", _RW)
    second = os.dup(fd)
    os.write(fd, b"one ")
    os.write(second, b"two")
    assert os.pread(fd, 10, 0) == b"one two"
    os.close(fd)
    os.write(second, b"!")
    assert os.pread(second, 10, 0) == b"one two!"
    os.close(second)


# --- mappings ---------------------------------------------------------------------------------------------------------


def test_a_shared_mapping_and_calls_see_each_other(folder: Path, other: Actor) -> None:
    Path("file").write_bytes(bytes(3 * _PAGE))
    theirs = other.open(b"file", os.O_RDWR)
    with open("file", "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5:10] = b"first"
        assert other.pread(theirs, 5, 5) == b"first"
        other.pwrite(theirs, b"second", _PAGE - 3)
        assert mapped[_PAGE - 3 : _PAGE + 3] == b"second"
        mapped[2 * _PAGE] = 7
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as again:
            assert again[2 * _PAGE] == 7
    other.close(theirs)
    content = Path("file").read_bytes()
    assert (content[5:10], content[_PAGE - 3 : _PAGE + 3], content[2 * _PAGE]) == (b"first", b"second", 7)


def test_a_private_mapping_changes_nothing(folder: Path) -> None:
    Path("file").write_bytes(b"x" * _PAGE)
    with open("file", "r+b") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as mapped:
        mapped[:5] = b"other"
        mapped.flush()
    assert Path("file").read_bytes() == b"x" * _PAGE


def test_a_mapping_outlives_descriptor_and_name(folder: Path) -> None:
    Path("file").write_bytes(b"x" * _PAGE)
    os.link("file", "second")
    fd = os.open("file", os.O_RDWR)
    mapped = mmap.mmap(fd, 0)
    os.close(fd)
    os.unlink("file")
    mapped[:5] = b"other"
    mapped.close()
    assert Path("second").read_bytes()[:6] == b"otherx"
    os.unlink("second")


def test_what_was_cut_off_comes_back_as_zeros(folder: Path) -> None:
    Path("file").write_bytes(b"x" * 2 * _PAGE)
    with open("file", "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as mapped:
        os.ftruncate(file.fileno(), 100)
        assert mapped[:_PAGE] == b"x" * 100 + bytes(_PAGE - 100), "the rest of the page is zeros"
        os.ftruncate(file.fileno(), 2 * _PAGE)
        assert mapped[:] == b"x" * 100 + bytes(2 * _PAGE - 100)


_BEHIND = """
import mmap, os
fd = os.open("file", os.O_RDWR)
mapped = mmap.mmap(fd, 0)
os.ftruncate(fd, 10)
mapped[mmap.PAGESIZE]
"""


def test_a_page_behind_the_end_is_a_signal(folder: Path) -> None:
    Path("file").write_bytes(b"x" * 2 * _PAGE)
    done = subprocess.run([sys.executable, "-c", _BEHIND], check=False, capture_output=True)
    assert done.returncode == -signal.SIGBUS


def test_what_may_be_mapped(folder: Path) -> None:
    Path("file").write_bytes(b"x" * _PAGE)
    with open("file", "rb") as file, refused(errno.EACCES):
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    fd = os.open(".", os.O_RDONLY)
    with refused(errno.ENODEV):
        mmap.mmap(fd, _PAGE, prot=mmap.PROT_READ)
    os.close(fd)


# --- names that go ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["unlink", "rename-over"])
def test_an_open_file_without_a_name(folder: Path, caller: Caller, how: str) -> None:
    fd = caller.open(b"file", _RW, 0o644)
    caller.write(fd, b"content")
    ino = caller.fstat(fd).st_ino
    if how == "unlink":
        caller.unlink(b"file")
    else:
        caller.close(caller.open(b"new", _RW))
        caller.rename(b"new", b"file")
    status = caller.fstat(fd)
    assert (status.st_nlink, status.st_ino, status.st_size) == (0, ino, 7)
    caller.pwrite(fd, b"more", 7)
    caller.fsync(fd)
    assert caller.pread(fd, 20, 0) == b"contentmore"
    caller.ftruncate(fd, 3)
    caller.fchmod(fd, 0o600)
    caller.setxattr(fd, b"user.one", b"1")
    assert caller.getxattr(fd, b"user.one") == b"1"
    assert stat.S_IMODE(caller.fstat(fd).st_mode) == 0o600
    again = caller.open(b"/proc/self/fd/%d" % fd, os.O_RDONLY)
    caller.close(fd)
    assert caller.read(again, 20) == b"con"
    caller.close(again)
    if how == "unlink":
        assert caller.listdir(b".") == []
    else:
        assert caller.stat(b"file").st_ino != ino


def test_a_name_can_be_used_again_while_the_old_file_is_open(folder: Path, caller: Caller) -> None:
    opened = []
    for number in range(20):
        fd = caller.open(b"file", _RW | os.O_EXCL)
        caller.write(fd, b"%d" % number)
        caller.unlink(b"file")
        opened.append(fd)
    assert len({caller.fstat(fd).st_ino for fd in opened}) == 20
    for number, fd in enumerate(opened):
        assert caller.pread(fd, 10, 0) == b"%d" % number
        caller.close(fd)


# --- locks ------------------------------------------------------------------------------------------------------------


def test_flock(folder: Path, other: Actor) -> None:
    mine, theirs = os.open("file", _RW), other.open(b"file", _RW)
    fcntl.flock(mine, fcntl.LOCK_EX)
    assert not other.try_flock(theirs, fcntl.LOCK_SH)
    fcntl.flock(mine, fcntl.LOCK_SH)
    assert other.try_flock(theirs, fcntl.LOCK_SH)
    assert not other.try_flock(theirs, fcntl.LOCK_EX)
    fcntl.flock(mine, fcntl.LOCK_UN)
    assert other.try_flock(theirs, fcntl.LOCK_EX)
    second = os.open("file", os.O_RDWR)
    with refused(errno.EAGAIN):
        fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
    other.close(theirs)
    fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with refused(errno.EAGAIN):  # a lock belongs to an open file, not to a process
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(second)
    os.close(mine)


def test_record_locks(folder: Path, other: Actor) -> None:
    mine, theirs = os.open("file", _RW), other.open(b"file", _RW)
    fcntl.lockf(mine, fcntl.LOCK_EX, 10, 5)
    assert not other.try_lock(theirs, fcntl.LOCK_EX)
    assert not other.try_lock(theirs, fcntl.LOCK_SH, 14, 1)
    assert other.try_lock(theirs, fcntl.LOCK_EX, 0, 5)
    assert other.try_lock(theirs, fcntl.LOCK_EX, 15, 0)
    with refused(errno.EACCES, errno.EAGAIN):
        fcntl.lockf(mine, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 1 << 40)
    fcntl.lockf(mine, fcntl.LOCK_SH, 10, 5)
    assert other.try_lock(theirs, fcntl.LOCK_SH, 5, 10)
    fcntl.lockf(mine, fcntl.LOCK_UN)
    assert other.try_lock(theirs, fcntl.LOCK_EX)
    other.close(theirs)
    fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(os.open("file", os.O_RDONLY))
    theirs = other.open(b"file", os.O_RDWR)
    assert other.try_lock(theirs, fcntl.LOCK_EX), "closing any descriptor of the file gives the process's locks back"
    other.close(theirs)
    os.close(mine)


def test_a_lock_ends_with_its_process(folder: Path) -> None:
    fd = os.open("file", _RW)
    with Actor(os.geteuid(), os.getegid()) as brief:
        brief.chdir(os.fsencode(folder))
        theirs = brief.open(b"file", os.O_RDWR)
        assert brief.try_lock(theirs, fcntl.LOCK_EX)
        assert brief.try_flock(theirs, fcntl.LOCK_EX)
        with refused(errno.EACCES, errno.EAGAIN):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


def test_a_lock_needs_the_right_descriptor(folder: Path) -> None:
    Path("file").touch()
    for flags, kind in ((os.O_RDONLY, fcntl.LOCK_EX), (os.O_WRONLY, fcntl.LOCK_SH)):
        fd = os.open("file", flags)
        with refused(errno.EBADF):
            fcntl.lockf(fd, kind | fcntl.LOCK_NB)
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        os.close(fd)


def test_locks_survive_the_name(site: Site, folder: Path, other: Actor) -> None:
    mine, theirs = os.open("file", _RW), other.open(b"file", _RW)
    os.rename("file", "renamed")
    fcntl.lockf(mine, fcntl.LOCK_EX)
    os.unlink("renamed")
    assert not other.try_lock(theirs, fcntl.LOCK_EX)
    os.close(mine)
    assert other.try_lock(theirs, fcntl.LOCK_EX)
    other.close(theirs)
