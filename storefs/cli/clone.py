"""``storefs clone``."""

import errno
import os
from pathlib import Path

import click

from storefs.cli import mounted
from storefs.cli.mounted import MountPoint
from storefs.cli.output import show
from storefs.errors import MountpointError, NoSpace, StorefsError, UsageError


@click.command()
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
def clone(source: Path, target: Path) -> None:
    """Copy SRC, a file or a whole directory of a mount, to DST on the same mount, without copying data.

    DST must not exist. Modes, owners, times, extended attributes and hard links are copied as well. DST appears when
    the copy is complete; each file is taken as it is when its turn comes.

    \b
    storefs clone /mnt/data/run-1 /mnt/data/run-2
    """
    source, target = _given(source), _given(target)
    if not os.path.lexists(source):
        raise UsageError(f"there is no file {source}")
    if os.path.lexists(target):
        raise StorefsError(f"{target} exists already")
    if not target.parent.is_dir():
        raise UsageError(f"there is no directory {target.parent}")
    mount = mounted.holding(source.parent if source.is_symlink() else source)
    if mounted.holding(target.parent) != mount:
        raise UsageError(f"{source} and {target} are not on the same mount")
    if target.is_relative_to(source):
        raise UsageError(f"{target} is inside {source}: a directory cannot be cloned into itself")
    paths = b"\0".join(os.fsencode("/" / path.relative_to(mount.path.resolve())) for path in (source, target))
    try:
        mount.write_control("clone", paths)
    except OSError as error:
        raise _explained(error, mount, source, target) from error
    show(f"{source} is cloned to {target}")


def _given(path: Path) -> Path:
    """Return a path without links in it, but for its last part: a symbolic link itself is copied."""
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def _explained(error: OSError, mount: MountPoint, source: Path, target: Path) -> StorefsError:
    if error.errno == errno.EEXIST:
        return StorefsError(f"{target} exists already")
    if error.errno == errno.EROFS:
        return MountpointError(f"{mount.path} takes no changes")
    if error.errno in (errno.EACCES, errno.EPERM):
        return MountpointError(f"only the owner of the mount {mount.path} and root may clone")
    kind = NoSpace if error.errno == errno.ENOSPC else StorefsError
    return kind(f"cannot clone {source}: {error.strerror}")
