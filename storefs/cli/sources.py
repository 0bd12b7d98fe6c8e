"""Sources: how commands are told which store is meant, and how they reach it."""

import contextlib
import fcntl
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import click

from storefs import wiring
from storefs.cli import mounted
from storefs.cli.mounted import MountPoint
from storefs.errors import StorefsError, UsageError
from storefs.metrics import Metrics
from storefs.ports import ObjectStore
from storefs.settings import Settings, parse_options, resolve

SOURCE = click.argument("source", metavar="SOURCE|MOUNTPOINT")
"""What ``named_store`` takes as its source."""

OPTIONS = click.option("-o", "options", multiple=True, help="settings as name=value,..., as for 'storefs mount'")
"""What ``read_options`` takes."""

CONFIG = click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings")

_SCRATCH = "storefs-look-"
_FRESH_S = 60.0


def read_options(options: tuple[str, ...]) -> dict[str, str]:
    """Return the settings that all ``-o name=value,...`` of a command line give, by name; a later one wins."""
    return {name: value for text in options for name, value in parse_options(text).items()}


def named_mount(source: str) -> MountPoint | None:
    """Return the mount of this machine at ``source``; None when that is no mountpoint: the URL or path of a store."""
    if "://" in source:
        return None
    try:
        return mounted.at(Path(source))
    except UsageError:
        return None


def named_store(source: str, options: tuple[str, ...], config: Path | None) -> tuple[str, Settings]:
    """Return the store that a source or a mountpoint names, and the settings to reach it; of a mount, those it has.

    The settings say ``ro``: nobody makes a store to look at it. Raises UsageError.
    """
    given = read_options(options) | {"ro": "yes"}
    mount = named_mount(source)
    if mount is None:
        return source, resolve(given, os.environ, config)
    its_options, its_config = _started_with(mount)
    return mount.source, resolve(its_options | given, os.environ, config or its_config)


def _started_with(mount: MountPoint) -> tuple[dict[str, str], Path | None]:
    """Return the options and the configuration file of a mount's daemon, as far as they can be seen."""
    try:
        words = Path(f"/proc/{mount.status()['pid']}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
    except (OSError, StorefsError):  # a dead daemon, or somebody else's: what the caller says has to do
        return {}, None
    values = dict(itertools.pairwise(words))
    config = values.get("--config")
    return parse_options(values.get("-o", "")), Path(config) if config else None


@asynccontextmanager
async def connected(source: str, settings: Settings) -> AsyncIterator[ObjectStore]:
    """Hand out the bare store that ``source`` names, whether it is one of storefs or not; it is closed at the end.

    Blocks while credentials are looked for. Raises UsageError, NotAStore.
    """
    store = wiring.connect(source, settings, Metrics())
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def scratch_folder(settings: Settings) -> Iterator[Path]:
    """Make a folder for a replica, beside the caches or where temporary files go; it is removed at the end.

    Raises StorefsError when there is no place for it.
    """
    base = wiring.cache_dir(settings)
    try:
        try:
            base.mkdir(parents=True, exist_ok=True)
            made = tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=base)
        except OSError:
            made = tempfile.TemporaryDirectory(prefix=_SCRATCH)
        folder = Path(made.name)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorefsError(f"there is no place for a replica: {error}; set cache_dir") from error
    fcntl.flock(lock, fcntl.LOCK_EX)
    _remove_stale(folder)
    try:
        with made:
            yield folder
    finally:
        os.close(lock)


def _remove_stale(beside: Path) -> None:
    """Remove the folders of commands that were killed: nobody has them locked."""
    for folder in beside.parent.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):
            if folder == beside or time.time() - folder.stat().st_mtime < _FRESH_S:  # perhaps about to be locked
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
