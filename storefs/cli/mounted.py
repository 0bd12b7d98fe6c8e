"""Mounts of this machine, spoken to through their control directories."""

import errno
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storefs.errors import MissingPart, MountpointError, NotCommitted, StorefsError, UsageError

_CONTROL = ".storefs"
_FSTYPE = "fuse.storefs"
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A storefs mount on this machine."""

    source: str
    path: Path

    def status(self) -> dict[str, Any]:
        """Return what the daemon says of itself. Raises MountpointError when it does not answer."""
        try:
            document: dict[str, Any] = json.loads((self.path / _CONTROL / "status").read_bytes())
        except OSError as error:
            raise MountpointError(self._dead(error)) from error
        return document

    def sync(self) -> None:
        """Return when everything written here is in the store. Raises NotCommitted with the daemon's reason."""
        file = self.path / _CONTROL / "sync"
        try:
            descriptor = os.open(file, os.O_WRONLY)
        except OSError as error:
            if error.errno == errno.EROFS:  # mounted with ro: nothing was written
                return
            raise MountpointError(self._dead(error)) from error
        try:
            os.write(descriptor, b"1")
        except OSError as error:
            reason = _reason(file) or error.strerror
            raise NotCommitted(f"{self.path}: {reason}") from error
        finally:
            os.close(descriptor)

    def write_control(self, name: str, data: bytes) -> None:
        """Write to a control file; return when its verb is done. Raises OSError."""
        descriptor = os.open(self.path / _CONTROL / name, os.O_WRONLY)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def _dead(self, error: OSError) -> str:
        if error.errno == errno.ENOTCONN:
            return f"the daemon of {self.path} is dead: 'storefs umount {self.path}', then mount again; nothing is lost"
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"only the owner of the mount {self.path} and root may do this"
        return f"{self.path} does not answer: {error.strerror}"


def all_mounts() -> list[MountPoint]:
    """Return the storefs mounts of this machine."""
    found = []
    for line in Path("/proc/self/mounts").read_bytes().splitlines():
        source, path, fstype = (unescape(field) for field in line.split(b" ")[:3])
        if fstype == _FSTYPE:
            found.append(MountPoint(source, Path(path)))
    return found


def unescape(field: bytes) -> str:
    """Return a field of /proc/mounts or mountinfo as it is meant: they write blanks as octal numbers."""
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field))


def unmount(path: Path, *, lazy: bool) -> None:
    """Unmount. Raises MountpointError with what the system said, MissingPart."""
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


def at(path: Path) -> MountPoint:
    """Return the mount that is mounted at ``path``. Raises UsageError when there is none."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would ask a dead mount
    try:
        wanted = {absolute, absolute.parent.resolve() / absolute.name}
    except OSError:
        wanted = {absolute}
    for mount in all_mounts():
        if mount.path in wanted:
            return mount
    raise UsageError(f"no storefs is mounted at {absolute}")


def holding(path: Path) -> MountPoint:
    """Return the mount that ``path`` lies on. Raises UsageError when that is none of storefs."""
    resolved = path.resolve()
    mounts = [mount for mount in all_mounts() if resolved.is_relative_to(mount.path)]
    if not mounts:
        raise UsageError(f"{path} is not on a storefs mount")
    return max(mounts, key=lambda mount: len(mount.path.parts))


def only(path: Path | None) -> MountPoint:
    """Return the mount at ``path``, or the only one there is. Raises UsageError when that is not one."""
    if path is not None:
        return at(path)
    mounts = all_mounts()
    if len(mounts) == 1:
        return mounts[0]
    if not mounts:
        raise UsageError("no storefs is mounted on this machine")
    raise UsageError(f"name a mountpoint: storefs is mounted at {', '.join(str(mount.path) for mount in mounts)}")


def info(path: Path) -> dict[str, Any]:
    """Return what the daemon knows of a file. Raises UsageError, StorefsError."""
    try:
        document: dict[str, Any] = json.loads(os.getxattr(path, b"user.storefs.info", follow_symlinks=False))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            raise UsageError(f"{path} is not on a storefs mount") from None
        raise StorefsError(f"{path}: {error.strerror}") from error
    return document


def _reason(file: Path) -> str | None:
    try:
        return os.getxattr(file, b"user.storefs.error").decode()
    except OSError:
        return None
