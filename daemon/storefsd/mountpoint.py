"""Mountpoints: whether one can be mounted on, and what is mounted where."""

import contextlib
import errno
import os
from pathlib import Path

from storefs.cli import mounted
from storefs.errors import MissingPart, MountpointError


def prepare(text: str) -> Path:
    """Return the mountpoint as an absolute path, ready to be mounted on.

    What a daemon that died left there is unmounted. Raises MountpointError (missing, no directory, in use) and
    MissingPart (no /dev/fuse).
    """
    if not Path("/dev/fuse").exists():
        raise MissingPart(
            "there is no /dev/fuse: load the module (modprobe fuse), or start the container with --device /dev/fuse"
        )
    path = Path(os.path.abspath(text))  # noqa: PTH100 - resolve() would ask a dead mount
    path = path.parent.resolve() / path.name if path.name else path
    for mount in mounted.all_mounts():
        if mount.path == path:
            if _answers(path):
                raise MountpointError(f"{path} is in use already: {mount.source} is mounted there")
            mounted.unmount(path, lazy=True)
    if not path.exists():
        raise MountpointError(f"cannot mount on {path}: there is no such directory (mkdir it first)")
    if not path.is_dir():
        raise MountpointError(f"cannot mount on {path}: it is not a directory")
    return path


def _answers(path: Path) -> bool:
    """Whether a mount's daemon is alive: statfs is the call that the kernel never answers from its caches."""
    try:
        os.statvfs(path)
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
            raise MountpointError(f"cannot mount on {path}: {error.strerror}") from error
        return False
    return True


def device(path: Path) -> str | None:
    """Return the device of what is mounted at ``path``, as in "0:39"; None if nothing is.

    The second number is that of the FUSE connection. It is read from mountinfo, never by stat: asking the own mount
    from the loop that serves it would wait for ever.
    """
    found = None  # the last: one may be mounted over a dead one
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if mounted.unescape(fields[4].encode(errors="surrogateescape")) == str(path):
            found = fields[2]
    return found


def raise_read_ahead(path: Path) -> None:
    """Let the kernel read ahead 4 MiB on this mount, where this process may say so: requests of 1 MiB, not 128 KiB."""
    with contextlib.suppress(OSError):  # not root: the default it is
        Path(f"/sys/class/bdi/{device(path)}/read_ahead_kb").write_text("4096")


def open_once(path: Path) -> None:
    """Open a directory and a file of the mount that serves this process's requests: never on its loop.

    The kernel learns from the answers whether it may open files by itself. Until then it sends a RELEASE for each file
    that it creates.
    """
    with contextlib.suppress(OSError):
        for name in (path, path / ".storefs" / "status"):
            os.close(os.open(name, os.O_RDONLY | os.O_CLOEXEC))
