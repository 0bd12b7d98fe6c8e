"""System calls on one directory tree, in a form that two trees can answer alike: names and slots instead of numbers."""

import ctypes
import errno
import mmap
import os
import stat
from pathlib import Path
from typing import Any

SLOTS = 6
"""How many descriptors are open at most."""

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


def _check(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


class Side:
    """A tree below ``base``, with descriptors open in it. Each public method is a system call, or a few."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.fds: list[int | None] = [None] * SLOTS

    def path(self, name: str) -> str:
        return f"{self.base}/{name}"

    def fd(self, slot: int) -> int:
        fd = self.fds[slot]
        if fd is None:
            raise OSError(errno.EBADF, "the slot is empty")
        return fd

    def end(self) -> None:
        for slot in range(SLOTS):
            self.close(slot)

    # --- names --------------------------------------------------------------------------------------------------------

    def mkdir(self, name: str, mode: int) -> None:
        os.mkdir(self.path(name), mode)

    def rmdir(self, name: str) -> None:
        os.rmdir(self.path(name))

    def unlink(self, name: str) -> None:
        os.unlink(self.path(name))

    def mknod(self, name: str, mode: int) -> None:
        os.mknod(self.path(name), mode)

    def symlink(self, target: str, name: str) -> None:
        os.symlink(target, self.path(name))

    def readlink(self, name: str) -> str:
        return os.readlink(self.path(name))

    def link(self, name: str, new_name: str, follow: bool) -> None:
        os.link(self.path(name), self.path(new_name), follow_symlinks=follow)

    def rename(self, name: str, new_name: str, flags: int) -> None:
        one, other = os.fsencode(self.path(name)), os.fsencode(self.path(new_name))
        _check(_libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, flags))

    def listdir(self, name: str) -> list[str]:
        return sorted(os.listdir(self.path(name)))

    def stat(self, name: str, follow: bool) -> tuple[int, ...]:
        return seen(os.stat(self.path(name), follow_symlinks=follow))

    def access(self, name: str, mode: int) -> bool:
        return os.access(self.path(name), mode)

    # --- descriptors --------------------------------------------------------------------------------------------------

    def open(self, slot: int, name: str, flags: int, mode: int) -> None:
        # Without O_NONBLOCK a fifo would wait for its other end.
        fd = os.open(self.path(name), flags | os.O_NONBLOCK, mode)
        self.close(slot)
        self.fds[slot] = fd

    def close(self, slot: int) -> None:
        fd, self.fds[slot] = self.fds[slot], None
        if fd is not None:
            os.close(fd)

    def dup(self, slot: int, other: int) -> None:
        fd = os.dup(self.fd(slot))
        self.close(other)
        self.fds[other] = fd

    def read(self, slot: int, length: int) -> bytes:
        return os.read(self.fd(slot), length)

    def write(self, slot: int, data: bytes) -> int:
        return os.write(self.fd(slot), data)

    def pread(self, slot: int, length: int, offset: int) -> bytes:
        return os.pread(self.fd(slot), length, offset)

    def pwrite(self, slot: int, data: bytes, offset: int) -> int:
        return os.pwrite(self.fd(slot), data, offset)

    def lseek(self, slot: int, offset: int, whence: int) -> int:
        return os.lseek(self.fd(slot), offset, whence)

    def ftruncate(self, slot: int, size: int) -> None:
        os.ftruncate(self.fd(slot), size)

    def truncate(self, name: str, size: int) -> None:
        os.truncate(self.path(name), size)

    def fstat(self, slot: int) -> tuple[int, ...]:
        return seen(os.fstat(self.fd(slot)))

    def fsync(self, slot: int) -> None:
        os.fsync(self.fd(slot))

    def fallocate(self, slot: int, mode: int, offset: int, length: int) -> None:
        _check(_libc.fallocate(self.fd(slot), mode, ctypes.c_int64(offset), ctypes.c_int64(length)))

    def copy_range(self, slot: int, offset: int, other: int, other_offset: int, length: int) -> int:
        """Copy all that there is now: how much one call copies is the kernel's choice."""
        # A copy within one file may make it longer: what it adds is not to be copied as well.
        length = min(length, max(0, os.fstat(self.fd(slot)).st_size - offset))
        done = 0
        while True:
            copied = os.copy_file_range(
                self.fd(slot), self.fd(other), length - done, offset + done, other_offset + done
            )
            done += copied
            if not copied or done >= length:
                return done

    def map_read(self, slot: int) -> bytes:
        fd = self.fd(slot)
        size = _mappable_bytes(fd)
        if not size:
            return b""
        with mmap.mmap(fd, size, prot=mmap.PROT_READ) as pages:
            return pages[:]

    def map_write(self, slot: int, data: bytes, offset: int) -> int:
        fd = self.fd(slot)
        end = min(_mappable_bytes(fd), offset + len(data))
        if not 0 <= offset < end:
            return 0
        with mmap.mmap(fd, end) as pages:
            pages[offset:end] = data[: end - offset]
            pages.flush()
        return end - offset

    # --- attributes ---------------------------------------------------------------------------------------------------

    def chmod(self, name: str, mode: int) -> None:
        os.chmod(self.path(name), mode)

    def fchmod(self, slot: int, mode: int) -> None:
        os.fchmod(self.fd(slot), mode)

    def chown(self, name: str, uid: int, gid: int, follow: bool) -> None:
        os.chown(self.path(name), uid, gid, follow_symlinks=follow)

    def fchown(self, slot: int, uid: int, gid: int) -> None:
        os.fchown(self.fd(slot), uid, gid)

    def utime(self, name: str, ns: tuple[int, int] | None, follow: bool) -> None:
        if ns is None:
            os.utime(self.path(name), follow_symlinks=follow)
            return
        os.utime(self.path(name), ns=ns, follow_symlinks=follow)
        found = os.stat(self.path(name), follow_symlinks=follow)
        assert (found.st_atime_ns, found.st_mtime_ns) == ns, (found.st_atime_ns, found.st_mtime_ns, ns)

    def setxattr(self, name: str, xattr: str, value: bytes, flags: int, follow: bool) -> None:
        os.setxattr(self.path(name), xattr, value, flags, follow_symlinks=follow)

    def fsetxattr(self, slot: int, xattr: str, value: bytes) -> None:
        os.setxattr(self.fd(slot), xattr, value)

    def getxattr(self, name: str, xattr: str, follow: bool) -> bytes:
        return os.getxattr(self.path(name), xattr, follow_symlinks=follow)

    def removexattr(self, name: str, xattr: str, follow: bool) -> None:
        os.removexattr(self.path(name), xattr, follow_symlinks=follow)

    def listxattr(self, name: str, follow: bool) -> list[str]:
        return sorted(os.listxattr(self.path(name), follow_symlinks=follow))


def seen(found: os.stat_result) -> tuple[int, ...]:
    """Return what has to agree of a stat: mode, link count, owner, group, size; a directory's size is its own."""
    size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return found.st_mode, found.st_nlink, found.st_uid, found.st_gid, size, found.st_rdev


def _mappable_bytes(fd: int) -> int:
    return seen(os.fstat(fd))[4]


def answer(side: Side, verb: str, operands: tuple[Any, ...]) -> tuple[str, Any]:
    """Make a call; return what came of it."""
    try:
        return "answers", getattr(side, verb)(*operands)
    except OSError as error:
        return "fails with", errno.errorcode.get(error.errno or 0, error.errno)
