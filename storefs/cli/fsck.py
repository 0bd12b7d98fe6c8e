"""``storefs fsck``."""

import contextlib
import fcntl
import itertools
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import trio

from storefs import wiring
from storefs.cli import mounted
from storefs.cli.output import readable, show, show_json
from storefs.engine.fsck import Fsck
from storefs.engine.reindex import Reindex
from storefs.engine.replay import Progress, Report
from storefs.errors import StorefsError, UsageError
from storefs.metrics import Metrics
from storefs.settings import Settings, parse_options, resolve

_SCRATCH = "storefs-look-"
_FRESH_S = 60.0

_BARS = {
    "journal": "reading the journal",
    "index": "reading the shards' indexes",
    "tree": "checking the tree",
    "data": "reading all chunks",
}


@click.command()
@click.argument("source", metavar="SOURCE|MOUNTPOINT")
@click.option("--data", is_flag=True, help="read every chunk, and hold it against its digest")
@click.option("--repair", is_flag=True, help="delete bad snapshots; name the files that are hit by what is lost")
@click.option("--rebuild-index", is_flag=True, help="first correct the chunk index from the indexes of the shards")
@click.option("--json", "as_json", is_flag=True, help="print all there is, as JSON")
@click.option("-o", "options", multiple=True, help="settings as name=value,..., as for 'storefs mount'")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings")
def fsck(
    source: str,
    data: bool,
    repair: bool,
    rebuild_index: bool,
    as_json: bool,
    options: tuple[str, ...],
    config: Path | None,
) -> None:
    """Check a whole store: journal, snapshots, tree and shards, and with --data every byte.

    What is looked at is what is in the store. A mountpoint only names its store: what was written there and is not
    committed yet is not seen. Mounts may go on writing meanwhile. Nothing is written to the store without --repair or
    --rebuild-index. Exits with 1 when there are faults; notes are none.

    \b
    storefs fsck s3://bucket/prefix
    storefs fsck /mnt/data --data --json
    storefs fsck ~/store --repair
    """
    found, settings = named_store(source, options, config)
    with scratch_folder(settings) as folder, progress_bars(_BARS) as progress:
        report = trio.run(_check, found, settings, folder, progress, data, repair, rebuild_index)
    if as_json:
        show_json({"faults": report.faults, "notes": report.notes, "counts": report.counts})
    else:
        for note in report.notes:
            show(f"note: {note}")
        for fault in report.faults:
            show(f"fault: {fault}")
        show(_summary(found, report))
    if report.faults:
        sys.exit(1)


async def _check(
    source: str, settings: Settings, folder: Path, progress: Progress, data: bool, repair: bool, rebuild: bool
) -> Report:
    store = wiring.connect(source, settings, Metrics())
    offload = wiring.Threads(4)
    try:
        reindex = None
        if rebuild:
            reindex = Reindex(store, offload, wiring.SystemClock(), wiring.SystemChance(), socket.gethostname())
        return await Fsck(store, offload, folder, progress, data=data, repair=repair, reindex=reindex).run()
    finally:
        await store.close()


def _summary(source: str, report: Report) -> str:
    counts = {
        name: report.counts.get(name, 0) for name in ("commit", "commits", "snapshots", "files", "chunks", "shards")
    }
    found = "clean" if not report.faults else f"{len(report.faults)} faults"
    looked = (
        f"{counts['commits']} commits up to number {counts['commit']}, {counts['snapshots']} snapshots,"
        f" {counts['files']} files, {counts['chunks']} chunks in {counts['shards']} shards"
    )
    if "bytes_read" in report.counts:
        looked += f", {readable(report.counts['bytes_read'])} of them read"
    return f"{source}: {found}; {looked}"


def named_store(source: str, options: tuple[str, ...], config: Path | None) -> tuple[str, Settings]:
    """Return the store that a source or a mountpoint names, and the settings to reach it; of a mount, those it has.

    The settings say ``ro``: nobody makes a store to look at it. Raises UsageError.
    """
    given = {name: value for text in options for name, value in parse_options(text).items()} | {"ro": "yes"}
    if "://" not in source:
        try:
            mount = mounted.at(Path(source))
        except UsageError:
            return source, resolve(given, os.environ, config)
        its_options, its_config = _started_with(mount)
        return mount.source, resolve(its_options | given, os.environ, config or its_config)
    return source, resolve(given, os.environ, config)


def _started_with(mount: mounted.MountPoint) -> tuple[dict[str, str], Path | None]:
    """Return the options and the configuration file of a mount's daemon, as far as they can be seen."""
    try:
        words = Path(f"/proc/{mount.status()['pid']}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
    except (OSError, StorefsError):  # a dead daemon, or somebody else's: what the caller says has to do
        return {}, None
    values = dict(itertools.pairwise(words))
    config = values.get("--config")
    return parse_options(values.get("-o", "")), Path(config) if config else None


@contextmanager
def scratch_folder(settings: Settings) -> Iterator[Path]:
    """Make a folder for a replica, beside the caches or where temporary files go; it is removed at the end."""
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


@contextmanager
def progress_bars(labels: dict[str, str]) -> Iterator[Progress]:
    """Hand out what shows how far the parts of a work are, one bar after another, if somebody watches."""
    bar: Any = None
    shown = ""

    def end() -> None:
        if bar is not None:
            bar.__exit__(None, None, None)

    def progress(what: str, done: int, total: int) -> None:
        nonlocal bar, shown
        if what != shown:
            end()
            bar = click.progressbar(length=total, label=labels[what], file=sys.stderr)
            bar.__enter__()
            shown = what
        bar.update(done - bar.pos)

    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    try:
        yield progress
    finally:
        end()
