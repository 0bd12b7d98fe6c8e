"""The files of the control directory: what they show and what writing to them does."""

import errno
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from storefs.errors import PosixError, StorefsError
from storefs.ports import Clock
from storefs.volume.clone import RESERVED_NAME
from storefs.volume.control import Control

DIRECTORY_NAME = RESERVED_NAME
DIRECTORY_INO = 2
SNAPSHOTS_NAME = b"snapshots"
_FIRST_FILE_INO = 3
RESERVED_INO_END = 1024
SNAPSHOTS_INO = RESERVED_INO_END - 1
"""Inode numbers below are the root's and those of control files; the tree's own start at 1 << 40."""

INFO_XATTR = b"user.storefs.info"
ERROR_XATTR = b"user.storefs.error"


def is_control(ino: int) -> bool:
    """Whether an inode is one of the control directory's."""
    return DIRECTORY_INO <= ino < RESERVED_INO_END


@dataclass(frozen=True, slots=True)
class _File:
    """A control file: its text when it is read, what a write to it does."""

    name: bytes
    mode: int
    text: Callable[[], bytes] | None = None
    verb: Callable[[bytes], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a control file says, as of a moment."""

    text: bytes
    time_ns: int


_RENEW_NS = 1_000_000_000


class ControlFiles:
    """The control directory of a mount. Its verbs are its owner's and root's.

    A text is made when its file is looked up, that is with each open, and stays for the reads that follow: size, time
    and bytes have to agree, for the kernel caches the bytes by the size and the time.
    """

    def __init__(self, control: Control, clock: Clock, uid: int, gid: int) -> None:

        async def hint(_: bytes) -> None:
            control.hint()

        files = (
            _File(b"status", stat.S_IFREG | 0o444, text=control.status_text),
            _File(b"sync", stat.S_IFREG | 0o200, verb=lambda _: control.sync()),
            _File(b"hint", stat.S_IFREG | 0o200, verb=hint),
            _File(b"warm", stat.S_IFREG | 0o200, verb=lambda data: control.warm_path(data.rstrip(b"\n"))),
            _File(b"clone", stat.S_IFREG | 0o200, verb=control.clone),
        )
        self._files = {_FIRST_FILE_INO + number: file for number, file in enumerate(files)}
        self._inos = {file.name: ino for ino, file in self._files.items()}
        self._clock = clock
        self._errors: dict[int, str] = {}
        self._shown: dict[int, _Shown] = {}
        self.uid = uid
        self.gid = gid

    def lookup(self, name: bytes) -> int | None:
        """Return the inode number of a control file, or None. Whoever reads it next reads its state as of now."""
        if name == SNAPSHOTS_NAME:
            return SNAPSHOTS_INO
        ino = self._inos.get(name)
        if ino is not None:
            self._shown.pop(ino, None)
        return ino

    def names(self) -> list[tuple[bytes, int]]:
        """Return the names in the control directory, with their inode numbers."""
        return [*self._inos.items(), (SNAPSHOTS_NAME, SNAPSHOTS_INO)]

    def mode(self, ino: int) -> int:
        """Return the type and permission bits. Raises PosixError (ENOENT)."""
        if ino in (DIRECTORY_INO, SNAPSHOTS_INO):
            return stat.S_IFDIR | 0o755
        return self._file(ino).mode

    def read(self, ino: int) -> bytes:
        """Return what a control file says, as of its last lookup or stat."""
        file = self._file(ino)
        if file.text is None:
            raise PosixError(errno.EACCES, f"{file.name.decode()} is for writing")
        return (self._shown.get(ino) or self._renew(ino)).text

    def stat(self, ino: int) -> tuple[int, int]:
        """Return how long a control file's text is, and its time in ns."""
        shown = self._shown.get(ino)
        if shown is None or self._clock.now_ns() - shown.time_ns > _RENEW_NS:
            shown = self._renew(ino)
        return len(shown.text), shown.time_ns

    def _renew(self, ino: int) -> _Shown:
        file = self._files.get(ino)
        text = file.text() if file is not None and file.text is not None else b""
        shown = self._shown[ino] = _Shown(text, self._clock.now_ns())
        return shown

    async def write(self, ino: int, data: bytes) -> None:
        """Do what a write to a control file asks for; return when it is done. Its error stays readable as an xattr."""
        file = self._file(ino)
        if file.verb is None:
            raise PosixError(errno.EACCES, f"{file.name.decode()} is for reading")
        self._errors.pop(ino, None)
        try:
            await file.verb(data)
        except StorefsError as error:
            self._errors[ino] = str(error)
            raise

    def xattr(self, ino: int, name: bytes) -> bytes:
        """Return an xattr of a control file: the text of its verb's last error. Raises PosixError (ENODATA)."""
        if name == ERROR_XATTR and ino in self._errors:
            return self._errors[ino].encode()
        raise PosixError(errno.ENODATA)

    def _file(self, ino: int) -> _File:
        file = self._files.get(ino)
        if file is None:
            raise PosixError(errno.ENOENT)
        return file
