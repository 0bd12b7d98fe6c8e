"""``storefs mount`` and ``storefs umount``."""

import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from storefs import wiring
from storefs.cli import launch, mounted
from storefs.cli.output import readable, say, show
from storefs.cli.sources import CONFIG, read_options
from storefs.errors import MountpointError, NotCommitted, StorefsError
from storefs.settings import TABLE, Settings, resolve, switch

_EXIT_WAIT_S = 600.0


def _with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each row of the settings' table."""
    for setting in reversed(TABLE):
        flag = f"--{setting.name.replace('_', '-')}"
        default = f" [{setting.default}]" if setting.default not in (None, False) and "[" not in setting.help else ""
        extra: dict[str, Any] = {"is_flag": True, "flag_value": "yes"} if setting.read is switch else {"metavar": "V"}
        command = click.option(flag, setting.name, default=None, help=setting.help + default, **extra)(command)
    return command


@click.command()
@click.argument("source")
@click.argument("mountpoint")
@click.option("-o", "options", multiple=True, help="settings as name=value,..., as in fstab")
@click.option("-f", "--foreground", is_flag=True, help="stay in the foreground, log to standard error")
@click.option("--archive", is_flag=True, help="SOURCE is an archive: show it read-only, as YYYYMMDD/uid")
@CONFIG
@_with_settings
def mount(
    source: str,
    mountpoint: str,
    options: tuple[str, ...],
    foreground: bool,
    archive: bool,
    config: Path | None,
    **flags: str | None,
) -> None:
    """Mount SOURCE at MOUNTPOINT and return when it is up.

    SOURCE is s3://bucket/prefix, file:///path or a path. An empty place becomes a store. Credentials come from where
    the AWS tools look for them: environment, ~/.aws, instance role. An archive may also be zones:FILE; archive://SOURCE
    means the same as --archive, in fstab too.

    \b
    storefs mount s3://models/llm /mnt/models --ro
    storefs mount s3://data/train /mnt/train --endpoint-url http://127.0.0.1:8333
    storefs mount ~/store ~/data -o cache_size=50G,commit_interval=1s
    storefs mount --archive s3://photos/packed /mnt/photos

    Every option is also a setting: STOREFS_CACHE_SIZE=50G in the environment, cache_size = "50G" in
    ~/.config/storefs/config.toml. A flag wins over the environment, that over the file.
    """
    given = read_options(options)
    given |= {name: value for name, value in flags.items() if value is not None}
    settings = resolve(given, os.environ, config)
    if archive and not source.startswith(wiring.ARCHIVE):
        source = wiring.ARCHIVE + source
    line = launch.command(_absolute(source), os.path.abspath(mountpoint), given, config)  # noqa: PTH100
    if foreground:
        os.execv(line[0], line)  # noqa: S606
    log_file = _log_file(settings, mountpoint)
    launch.start(line, log_file, say)
    show(f"{source} is mounted at {mountpoint}")


@click.command()
@click.argument("mountpoint", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="unmount even if not everything can be committed now (nothing is lost)")
def umount(mountpoint: Path, force: bool) -> None:
    """Commit everything, unmount MOUNTPOINT, and return when the daemon is gone.

    With the store away it stays mounted and the command fails with exit code 5, unless --force: then what is pending
    stays in the cache directory, and the next mount with this cache commits it.

    \b
    storefs umount /mnt/data
    """
    point = mounted.at(mountpoint)
    pid = 0
    try:
        pid = int(point.status()["pid"])
        point.sync()
    except NotCommitted as error:
        pending = point.status()["pending"]
        left = f"{pending['changes']} changes and {readable(pending['bytes'])} are not in the store"
        if not force:
            raise NotCommitted(f"{error}. {left}; {point.path} stays mounted") from error
        say(f"storefs: {error}. {left}; they are kept in the cache directory")
    except MountpointError as error:
        say(f"storefs: {error}")  # a dead daemon: unmounting is all there is to do
    mounted.unmount(point.path, lazy=pid == 0)
    if force and pid:
        os.kill(pid, signal.SIGTERM)
    elif pid:
        _wait_gone(pid)


def _wait_gone(pid: int) -> None:
    """Wait for the daemon to commit what came after the sync, and end."""
    until = time.monotonic() + _EXIT_WAIT_S
    while _is_daemon(pid):
        if time.monotonic() > until:
            raise NotCommitted(f"unmounted, but process {pid} is still committing after {_EXIT_WAIT_S:g} s")
        time.sleep(0.02)


def _is_daemon(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and b"storefsd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _absolute(source: str) -> str:
    """Return a path as an absolute one: the daemon runs elsewhere."""
    for prefix in (wiring.ARCHIVE, wiring.ZONES):
        if source.startswith(prefix):
            return prefix + _absolute(source.removeprefix(prefix))
    return source if "://" in source else os.path.abspath(Path(source).expanduser())  # noqa: PTH100


def _log_file(settings: Settings, mountpoint: str) -> Path:
    named = settings.text("log_file")
    if named:
        return Path(named).absolute()
    path = os.path.abspath(mountpoint)  # noqa: PTH100
    name = f"{Path(path).name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}.log"
    folder = wiring.cache_dir(settings) / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorefsError(f"cannot write logs to {folder}: {error.strerror}; set cache_dir or log_file") from error
    return folder / name
