"""System calls that Python's os module does not offer, or not in the form that the tables need."""

import ctypes
import errno
import fcntl
import os

AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 0x01, 0x02, 0x10
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW, AT_EACCESS = 0x100, 0x400, 0x200

_libc = ctypes.CDLL(None, use_errno=True)
_libc.getxattr.restype = _libc.listxattr.restype = ctypes.c_ssize_t
_off_t = ctypes.c_int64


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def renameat2(old: bytes, new: bytes, flags: int) -> None:
    _checked(_libc.renameat2(AT_FDCWD, old, AT_FDCWD, new, flags))


def linkat(old: bytes, new: bytes, flags: int) -> None:
    _checked(_libc.linkat(AT_FDCWD, old, AT_FDCWD, new, flags))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    _checked(_libc.fallocate(fd, mode, _off_t(offset), _off_t(length)))


def utimensat(path: bytes, atime: tuple[int, int], mtime: tuple[int, int], flags: int = 0) -> None:
    """Set times, each given as (seconds, nanoseconds) with the special values UTIME_NOW and UTIME_OMIT."""
    _checked(_libc.utimensat(AT_FDCWD, path, (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime)), flags))


def utime_now(path: bytes) -> None:
    """Set both times to now by a null pointer: the right to write is enough for it."""
    _checked(_libc.utimensat(AT_FDCWD, path, None, 0))


def getxattr_into(path: bytes, name: bytes, size: int) -> int:
    """Get an extended attribute into a buffer of ``size`` bytes; 0 asks for its length."""
    return _checked(_libc.getxattr(path, name, ctypes.create_string_buffer(size or 1), size))


def listxattr_into(path: bytes, size: int) -> int:
    return _checked(_libc.listxattr(path, ctypes.create_string_buffer(size or 1), size))


def open_and(name: str, path: bytes, flags: int, *arguments: object) -> object:
    """Open a file, make one call on its descriptor, and close it."""
    fd = os.open(path, flags)
    try:
        return (globals().get(name) or getattr(os, name))(fd, *arguments)
    finally:
        os.close(fd)


def copy_range(source: bytes, target: bytes, flags: int, length: int, at: int, to: int) -> int:
    """copy_file_range between two paths; ``flags`` open the target."""
    read, written = os.open(source, os.O_RDONLY), os.open(target, flags)
    try:
        return os.copy_file_range(read, written, length, at, to)
    finally:
        os.close(read)
        os.close(written)


def may(path: bytes, mode: int) -> None:
    """access(2): fail as it does."""
    _checked(_libc.faccessat(AT_FDCWD, path, mode, 0))


def try_lock(fd: int, kind: int, start: int = 0, length: int = 0) -> bool:
    """Return whether an fcntl lock could be had at once (LOCK_SH, LOCK_EX) or, with LOCK_UN, give it back."""
    try:
        fcntl.lockf(fd, kind | (0 if kind == fcntl.LOCK_UN else fcntl.LOCK_NB), length, start)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def try_flock(fd: int, kind: int) -> bool:
    """Return whether a flock could be had at once."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
