"""Drawing calls: at random, but so that most of them have something to work on."""

import os
import random
import stat
from typing import Any

from tests.mount.side_by_side.calls import EXCHANGE, NOREPLACE, SLOTS

TOP = "work"
"""The directory in which everything happens; there is one above it, so that no ".." leads out."""

NAMES = ("a", "b", "c", "d", "e")
ODD_NAMES = ("n" * 255, "n" * 256, "\udcff\n", "..", ".", "")
TARGETS = (*NAMES, "a/b", "b/a", ".", "no/such", "t" * 4000)
MODES = (0o755, 0o755, 0o755, 0o777, 0o700, 0o1777, 0o2775, 0o2777, 0o4755, 0o6711, 0o640, 0o600, 0o555, 0o444, 0)
XATTRS = ("user.a", "user.b", "trusted.a", "security.a", "nonsense")
FALLOCATE = (0, 1, 3, 0x10, 0x11, 2, 3 | 0x10)
FAR = 3_000_000
OWNERS = (-1, 0, 1000, 65534)
_FLAGS = ((os.O_TRUNC, 4), (os.O_APPEND, 4), (os.O_EXCL, 6), (os.O_NOFOLLOW, 8), (os.O_DIRECTORY, 15))

WEIGHTS = {
    "mkdir": 6, "rmdir": 4, "unlink": 5, "mknod": 1, "symlink": 3, "readlink": 1, "link": 4, "rename": 12,
    "listdir": 2, "stat": 2, "access": 2,
    "open": 14, "close": 4, "dup": 1, "read": 4, "write": 10, "pread": 4, "pwrite": 10, "lseek": 4, "ftruncate": 4,
    "truncate": 3, "fstat": 2, "fsync": 0.05, "fallocate": 6, "copy_range": 5, "map_read": 4, "map_write": 5,
    "chmod": 4, "fchmod": 2, "chown": 3, "fchown": 1, "utime": 3,
    "setxattr": 4, "fsetxattr": 1, "getxattr": 2, "removexattr": 2, "listxattr": 1,
}  # fmt: skip
"""How often each call comes."""


class Drawer:
    """Draws calls.

    Attributes:
        paths: what exists, as of the last call.
        directories: which of them are directories.
        open: which slots have something open.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.paths: list[str] = []
        self.directories: list[str] = [TOP]
        self.open: list[int] = []

    def draw(self) -> tuple[str, tuple[Any, ...]]:
        (verb,) = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        return verb, getattr(self, f"_{verb}")()

    # --- operands -----------------------------------------------------------------------------------------------------

    def _some(self) -> str:
        """Return a path that likely exists."""
        return self._chance.choice(self.paths) if self.paths and self._chance.random() < 0.85 else self._new()

    def _new(self) -> str:
        """Return a path that likely has a directory and does not exist itself."""
        way = self._chance.random()
        if way < 0.04 and self.paths:  # below what may be no directory
            return f"{self._chance.choice(self.paths)}/{self._name()}"
        if way < 0.08:
            return f"{self._chance.choice(self.directories)}/../{self._chance.choice(NAMES)}"
        return f"{self._chance.choice(self.directories)}/{self._name()}"

    def _odd(self) -> str:
        """Return a path whose last part only calls on names may get."""
        return f"{self._some()}/{self._chance.choice(ODD_NAMES)}" if self._chance.random() < 0.05 else self._some()

    def _name(self) -> str:
        return self._chance.choice(ODD_NAMES[:3] if self._chance.random() < 0.03 else NAMES)

    def _slot(self) -> int:
        return self._chance.choice(self.open) if self.open else self._any_slot()

    def _any_slot(self) -> int:
        return self._chance.randrange(SLOTS)

    def _offset(self) -> int:
        kind = self._chance.random()
        if kind < 0.02:
            return self._chance.choice((-1, FAR))
        return self._chance.choice((0, 1, 4095, 4096, 131072, self._chance.randrange(300_000), int(kind * 9000)))

    def _length(self) -> int:
        return self._chance.choice((0, 1, 100, 4096, 5000, self._chance.randrange(70_000), self._chance.randrange(200)))

    def _data(self) -> bytes:
        length = self._length()
        return bytes(length) if self._chance.random() < 0.1 else self._chance.randbytes(length)

    def _mode(self) -> int:
        return self._chance.choice(MODES)

    def _flip(self) -> bool:
        return self._chance.random() < 0.5

    # --- calls --------------------------------------------------------------------------------------------------------

    def _mkdir(self) -> tuple[Any, ...]:
        return self._new(), self._mode()

    def _rmdir(self) -> tuple[Any, ...]:
        return (self._odd(),)

    _unlink = _rmdir

    def _mknod(self) -> tuple[Any, ...]:
        return self._new(), self._mode() | self._chance.choice((stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG))

    def _symlink(self) -> tuple[Any, ...]:
        return self._chance.choice(TARGETS), self._new()

    def _readlink(self) -> tuple[Any, ...]:
        return (self._some(),)

    def _link(self) -> tuple[Any, ...]:
        return self._odd(), self._new() if self._chance.random() < 0.9 else self._odd(), self._flip()

    def _rename(self) -> tuple[Any, ...]:
        flags = self._chance.choice((0, 0, 0, NOREPLACE, EXCHANGE, EXCHANGE, NOREPLACE | EXCHANGE))
        return self._odd(), self._new() if self._flip() else self._odd(), flags

    _listdir = _readlink

    def _stat(self) -> tuple[Any, ...]:
        return self._odd(), self._flip()

    def _access(self) -> tuple[Any, ...]:
        return self._some(), self._chance.randrange(8)

    def _open(self) -> tuple[Any, ...]:
        flags = self._chance.choice((os.O_RDONLY, os.O_WRONLY, *[os.O_RDWR] * 4))
        for flag, rarely in _FLAGS:
            if self._chance.randrange(rarely) == 0:
                flags |= flag
        if self._flip() and not flags & os.O_DIRECTORY:  # O_CREAT with O_DIRECTORY changed its meaning over the years
            flags |= os.O_CREAT
        if not flags & os.O_CREAT:
            flags &= ~os.O_EXCL  # undefined
        name = self._new() if self._chance.random() < 0.3 else self._some()
        return self._any_slot(), name, flags, self._mode()

    def _close(self) -> tuple[Any, ...]:
        return (self._slot(),)

    def _dup(self) -> tuple[Any, ...]:
        return self._slot(), self._any_slot()

    def _read(self) -> tuple[Any, ...]:
        return self._slot(), self._length()

    def _write(self) -> tuple[Any, ...]:
        return self._slot(), self._data()

    def _pread(self) -> tuple[Any, ...]:
        return self._slot(), self._length(), self._offset()

    def _pwrite(self) -> tuple[Any, ...]:
        return self._slot(), self._data(), self._offset()

    _map_write = _pwrite

    def _lseek(self) -> tuple[Any, ...]:
        whence = self._chance.choice((os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, os.SEEK_DATA, os.SEEK_HOLE))
        return self._slot(), self._offset() * self._chance.choice((1, 1, -1)), whence

    def _ftruncate(self) -> tuple[Any, ...]:
        return self._slot(), self._offset()

    def _truncate(self) -> tuple[Any, ...]:
        return self._some(), self._offset()

    _fstat = _fsync = _map_read = _close

    def _fallocate(self) -> tuple[Any, ...]:
        return self._slot(), self._chance.choice(FALLOCATE), self._offset(), self._length()

    def _copy_range(self) -> tuple[Any, ...]:
        return self._slot(), self._offset(), self._slot(), self._offset(), self._length()

    def _chmod(self) -> tuple[Any, ...]:
        return self._some(), self._mode()

    def _fchmod(self) -> tuple[Any, ...]:
        return self._slot(), self._mode()

    def _chown(self) -> tuple[Any, ...]:
        return self._some(), self._chance.choice(OWNERS), self._chance.choice(OWNERS), self._flip()

    def _fchown(self) -> tuple[Any, ...]:
        return self._slot(), self._chance.choice(OWNERS), self._chance.choice(OWNERS)

    def _utime(self) -> tuple[Any, ...]:
        given = tuple(self._chance.randrange(2_000_000_000) * 10**9 + self._chance.randrange(10**9) for _ in range(2))
        return self._some(), given if self._chance.random() < 0.7 else None, self._flip()

    def _setxattr(self) -> tuple[Any, ...]:
        flags = self._chance.choice((0, 0, os.XATTR_CREATE, os.XATTR_REPLACE))
        return self._some(), self._chance.choice(XATTRS), self._data()[:200], flags, self._flip()

    def _fsetxattr(self) -> tuple[Any, ...]:
        return self._slot(), self._chance.choice(XATTRS), self._data()[:200]

    def _getxattr(self) -> tuple[Any, ...]:
        return self._some(), self._chance.choice(XATTRS), self._flip()

    _removexattr = _getxattr

    def _listxattr(self) -> tuple[Any, ...]:
        return self._some(), self._flip()
