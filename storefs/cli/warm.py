"""``storefs warm``."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import click

from storefs.cli import mounted
from storefs.cli.mounted import MountPoint
from storefs.cli.output import readable, show
from storefs.core import ioctls
from storefs.errors import MountpointError, NoSpace, StorefsError

_LOOK_S = 0.2


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def warm(path: Path) -> None:
    """Bring all that PATH holds, a file or a directory of a mount, to the disk of this machine.

    Ends when everything is there; ending the command earlier does not end the work.

    \b
    storefs warm /mnt/data/imagenet
    """
    mount = mounted.holding(path)
    inside = str("/" / path.resolve().relative_to(mount.path.resolve()))
    work = _Work(mount, path, inside)
    # A process that waits in a call of the mount could not be interrupted: the thread waits, and dies with us.
    thread = threading.Thread(target=work.run, daemon=True)
    thread.start()
    _show_progress(work, thread)
    if work.error is not None:
        raise work.error
    show(f"{path} is here")


class _Work:
    """The call that returns when all is here, and how it ended."""

    def __init__(self, mount: MountPoint, path: Path, inside: str) -> None:
        self.mount = mount
        self.inside = inside
        self.error: StorefsError | None = None
        self._path = path

    def run(self) -> None:
        """Make the call."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                fcntl.ioctl(descriptor, ioctls.WARM)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):  # the daemon runs without its bridge
                self._run_by_file()
            else:
                self.error = self._explained(error)

    def _run_by_file(self) -> None:
        try:
            self.mount.write_control("warm", os.fsencode(self.inside))
        except OSError as error:
            if error.errno == errno.EROFS:
                self.error = MountpointError(
                    f"{self.mount.path} is mounted with ro and without the bridge: 'storefs warm' cannot reach it"
                )
            else:
                self.error = self._explained(error)

    def _explained(self, error: OSError) -> StorefsError:
        kind = NoSpace if error.errno == errno.ENOSPC else StorefsError
        return kind(f"cannot warm {self._path}: {error.strerror}; the log of the mount says more")


def _show_progress(work: _Work, thread: threading.Thread) -> None:
    bar = None
    try:
        while thread.is_alive():
            thread.join(_LOOK_S)
            done, total = _progress(work)
            if total and bar is None:
                bar = click.progressbar(length=total, label=f"warming {readable(total)}")
                bar.__enter__()
            if bar is not None and total:
                bar.update(done - bar.pos)
    finally:
        if bar is not None:
            if work.error is None:
                bar.update((bar.length or 0) - bar.pos)
            bar.__exit__(None, None, None)


def _progress(work: _Work) -> tuple[int, int]:
    for one in work.mount.status()["warming"]:
        if one["path"] == work.inside:
            return int(one["bytes"]), int(one["total"])
    return 0, 0
