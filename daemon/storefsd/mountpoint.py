"""Mountpoints: whether one can be mounted on, and what is mounted where."""

import errno
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from storefs.errors import MissingPart, MountpointError

FSTYPE = "fuse.storefs"
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of /proc/mounts."""

    source: str
    mountpoint: str
    fstype: str


def mounts() -> list[Mounted]:
    """Return what is mounted on this machine, as this process sees it."""
    found = []
    for line in Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines():
        source, mountpoint, fstype, *_ = (_ESCAPE.sub(_unescape, field) for field in line.split(" "))
        found.append(Mounted(source, mountpoint, fstype))
    return found


def _unescape(match: re.Match[str]) -> str:
    return os.fsdecode(bytes([int(match[1], 8)]))


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
    for mount in mounts():
        if mount.mountpoint == str(path) and mount.fstype == FSTYPE:
            if _answers(path):
                raise MountpointError(f"{path} is in use already: {mount.source} is mounted there")
            unmount(path, lazy=True)
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


def unmount(path: Path, *, lazy: bool) -> None:
    """Unmount. Raises MountpointError with what the system said."""
    if os.geteuid() == 0:
        command = ["umount", *(["-l"] if lazy else []), str(path)]
    else:
        command = ["fusermount3", "-u", *(["-z"] if lazy else []), str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError as error:
        raise MissingPart(f"{command[0]} is not installed (package fuse3 or mount)") from error
    if done.returncode:
        raise MountpointError(done.stderr.strip() or f"{command[0]} failed with status {done.returncode}")


def raise_read_ahead(path: Path) -> None:
    """Let the kernel read ahead 4 MiB on this mount, where this process may say so: requests of 1 MiB, not 128 KiB."""
    # From mountinfo, never by stat: asking the own mount from the loop that serves it would wait for ever.
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if _ESCAPE.sub(_unescape, fields[4]) == str(path):
            try:
                Path(f"/sys/class/bdi/{fields[2]}/read_ahead_kb").write_text("4096")
            except OSError:
                return  # not root: the default it is
