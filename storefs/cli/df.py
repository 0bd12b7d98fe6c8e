"""``storefs df``."""

from dataclasses import asdict
from pathlib import Path

import click
import trio

from storefs import wiring
from storefs.cli.output import JSON, readable, show, show_json
from storefs.cli.progress import progress_bars
from storefs.cli.sources import CONFIG, OPTIONS, SOURCE, connected, named_store, scratch_folder
from storefs.engine import accounts
from storefs.engine.accounts import Accounts
from storefs.engine.replay import Progress
from storefs.settings import Settings

_BARS = {"journal": "reading the journal"}


@click.command()
@SOURCE
@JSON
@OPTIONS
@CONFIG
def df(source: str, as_json: bool, options: tuple[str, ...], config: Path | None) -> None:
    """Show what a store holds, and what it takes: files, chunks, shards, journal, and what of it no file uses.

    What is looked at is what is in the store. A mountpoint only names its store: what was written there and is not
    committed yet is not seen.

    \b
    storefs df s3://bucket/prefix
    storefs df /mnt/data --json
    """
    found, settings = named_store(source, options, config)
    with scratch_folder(settings) as folder, progress_bars(_BARS) as progress:
        taken = trio.run(_take, found, settings, folder, progress)
    if as_json:
        ratios = {"dedup_ratio": taken.dedup_ratio, "compression_ratio": taken.compression_ratio}
        show_json(asdict(taken) | ratios)
        return
    for line in _lines(found, taken):
        show(line)


async def _take(source: str, settings: Settings, folder: Path, progress: Progress) -> Accounts:
    async with connected(source, settings) as store:
        return await accounts.take(store, wiring.Threads(4), folder, progress)


def _lines(source: str, taken: Accounts) -> list[str]:
    """Return the accounts as people read them."""
    return [
        f"{source}: commit {taken.commit}",
        (
            f"  files        {taken.files} files, {taken.directories} directories, {taken.others} others;"
            f" {readable(taken.logical_bytes)}, {readable(taken.data_bytes)} of them data"
        ),
        (
            f"  chunks       {taken.chunks} in use; {readable(taken.plain_bytes)}"
            f" (each byte serves {taken.dedup_ratio:.2f} of files),"
            f" stored as {readable(taken.stored_bytes)} (packed {taken.compression_ratio:.2f} to 1)"
        ),
        f"  shards       {taken.shards} named; all in the store take {readable(taken.shard_bytes)}",
        (
            f"  garbage      {readable(taken.dead_bytes)} of these shards are used by no file;"
            f" {taken.unnamed_shards} shards with {readable(taken.unnamed_bytes)} are not in the tree"
        ),
        f"  journal      {taken.commits} commits, {readable(taken.journal_bytes)}",
        f"  snapshots    {taken.snapshots}, {readable(taken.snapshot_bytes)}",
    ]
