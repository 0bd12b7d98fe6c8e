"""``storefs fsck``."""

import socket
import sys
from pathlib import Path

import click
import trio

from storefs import wiring
from storefs.cli.output import JSON, readable, show, show_json
from storefs.cli.progress import progress_bars
from storefs.cli.sources import CONFIG, OPTIONS, SOURCE, connected, named_store, scratch_folder
from storefs.engine.fsck import Fsck
from storefs.engine.reindex import Reindex
from storefs.engine.replay import Progress, Report
from storefs.settings import Settings

_BARS = {
    "journal": "reading the journal",
    "index": "reading the shards' indexes",
    "tree": "checking the tree",
    "data": "reading all chunks",
}


@click.command()
@SOURCE
@click.option("--data", is_flag=True, help="read every chunk, and hold it against its digest")
@click.option("--repair", is_flag=True, help="delete bad snapshots; name the files that are hit by what is lost")
@click.option("--rebuild-index", is_flag=True, help="first correct the chunk index from the indexes of the shards")
@JSON
@OPTIONS
@CONFIG
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
    offload = wiring.Threads(4)
    async with connected(source, settings) as store:
        reindex = None
        if rebuild:
            reindex = Reindex(store, offload, wiring.SystemClock(), wiring.SystemChance(), socket.gethostname())
        return await Fsck(store, offload, folder, progress, data=data, repair=repair, reindex=reindex).run()


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
