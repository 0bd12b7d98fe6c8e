"""The stage: one of each kind of file, for calls that must fail and must leave everything as it was."""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mount.places import refused
from tests.mount.posix.actor import Caller

NOBODY = 65534
LONG = b"n" * 256
"""A name that is one byte too long."""

TOO_DEEP = b"./" * 2048
"""A path that is longer than any may be."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that fails: on the stage, with this errno.

    Attributes:
        name: what is wrong, in a word or two.
        who: "root" or "nobody" makes the call, or "each" of both.
        on_mount: the errno on a mount, where the documentation says that it differs from a local filesystem's.
    """

    name: str
    error: int
    call: Callable[[Caller], Any]
    who: str = "each"
    on_mount: int | None = None

    def check(self, caller: Caller, *, is_mount: bool) -> None:
        """Make the call in the current directory, and see it fail without any effect."""
        before = seen(b".")
        with refused(self.on_mount if is_mount and self.on_mount is not None else self.error):
            self.call(caller)
        assert seen(b".") == before, "a call that fails changes nothing"


def make(root: Path) -> None:
    """Make the stage in an empty directory, as root; owners other than root only if that is possible."""
    root.chmod(0o777)
    for name, mode in (("folder", 0o755), ("full", 0o777), ("full/sub", 0o777), ("locked", 0o700), ("shut", 0o555),
                       ("shut/sub", 0o755), ("sticky", 0o1777), ("sticky/folder", 0o777)):  # fmt: skip
        (root / name).mkdir()
        (root / name).chmod(mode)
    for name, mode in (("file", 0o644), ("writable", 0o666), ("closed", 0o600), ("full/file", 0o644), ("mine", 0o644),
                       ("locked/file", 0o666), ("shut/file", 0o666), ("sticky/file", 0o666)):  # fmt: skip
        (root / name).write_bytes(b"content")
        (root / name).chmod(mode)
    (root / "second").hardlink_to(root / "file")
    for name, target in (("link", "file"), ("folder-link", "full"), ("dangling", "missing"), ("loop", "loop")):
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    (root / "fifo").chmod(0o666)
    os.mknod(root / "socket", stat.S_IFSOCK | 0o666)
    (root / "socket").chmod(0o666)
    if os.geteuid() == 0:
        os.chown(root / "mine", NOBODY, NOBODY)


def seen(path: bytes) -> dict[bytes, tuple[object, ...]]:
    """Return all that lstat tells of the names below a directory, but for atime."""
    found: dict[bytes, tuple[object, ...]] = {}
    for entry in os.scandir(path):
        status = entry.stat(follow_symlinks=False)
        found[entry.path] = (status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid,
                             status.st_size, status.st_mtime_ns, status.st_ctime_ns)  # fmt: skip
        if entry.is_dir(follow_symlinks=False):
            found |= seen(entry.path)
    return found


def refusals(*table: Refusal) -> pytest.MarkDecorator:
    """Let a test run once for each row and each user that it is for."""
    rows = [(row, who) for row in table for who in (("root", "nobody") if row.who == "each" else (row.who,))]
    return pytest.mark.parametrize(
        ("refusal", "who"), rows, ids=[f"{row.name}-{errno.errorcode[row.error]}-{who}" for row, who in rows]
    )
