"""``storefs gc`` and ``storefs compact``: the upkeep of a store, by hand."""

from dataclasses import asdict
from pathlib import Path

import click
import trio

from storefs import wiring
from storefs.cli.output import JSON, readable, show, show_json
from storefs.cli.progress import progress_bars
from storefs.cli.sources import CONFIG, OPTIONS, SOURCE, named_store, scratch_folder
from storefs.engine.compact import Compacted
from storefs.engine.replay import Progress
from storefs.engine.sweep import Swept
from storefs.errors import UsageError
from storefs.settings import Settings, duration

_DRY_RUN = click.option("--dry-run", is_flag=True, help="change nothing, only say what would be done")


@click.command()
@SOURCE
@_DRY_RUN
@click.option("--grace", default="24h", show_default=True, help="how long what is not needed any more stays")
@JSON
@OPTIONS
@CONFIG
def gc(source: str, dry_run: bool, grace: str, as_json: bool, options: tuple[str, ...], config: Path | None) -> None:
    """Delete what nothing in a store needs any more: commits behind a snapshot, chunks and shards of no file.

    Mounts do this by themselves each hour; one of them at a time. They may go on writing meanwhile. A mount must not be
    away from the store for longer than the grace period while it reads or writes.

    \b
    storefs gc s3://bucket/prefix --dry-run
    storefs gc /mnt/data
    """
    try:
        grace_s = duration(grace)
    except ValueError as error:
        raise UsageError(f"--grace takes {error}, not {grace!r}") from None
    found, settings = named_store(source, options, config)
    with scratch_folder(settings) as folder:
        swept = trio.run(_sweep, found, settings, folder, grace_s, dry_run)
    if as_json:
        show_json(asdict(swept))
        return
    deleted, left = ("would be deleted", "would leave") if dry_run else ("deleted", "left")
    show(
        f"{found}: {deleted}: {swept.commits} commits, {swept.snapshots} snapshots, {swept.shards} shards,"
        f" {swept.uploads} uploads, {readable(swept.bytes)} in all;"
        f" {swept.chunks} chunks of {readable(swept.chunk_bytes)} {left} the index"
    )


async def _sweep(source: str, settings: Settings, folder: Path, grace_s: float, dry_run: bool) -> Swept:
    async with wiring.private_engine(source, settings, folder, grace_s=grace_s) as engine:
        swept = await engine.sweeper.sweep(dry_run=dry_run)
        await engine.committer.sync()
        return swept


@click.command()
@SOURCE
@_DRY_RUN
@JSON
@OPTIONS
@CONFIG
def compact(source: str, dry_run: bool, as_json: bool, options: tuple[str, ...], config: Path | None) -> None:
    """Rewrite small and half-empty shards of a store into full ones.

    Mounts do this by themselves each hour; one of them at a time. They may go on writing meanwhile. The old shards are
    deleted by 'storefs gc' when its grace period is over.

    \b
    storefs compact s3://bucket/prefix --dry-run
    storefs compact /mnt/data
    """
    found, settings = named_store(source, options, config)
    with scratch_folder(settings) as folder, progress_bars({"compact": "rewriting shards"}) as progress:
        compacted = trio.run(_compact, found, settings, folder, progress, dry_run)
    if as_json:
        show_json(asdict(compacted))
        return
    done = "would be rewritten" if dry_run else "rewritten"
    show(
        f"{found}: {done}: {compacted.shards} shards of {readable(compacted.bytes)},"
        f" {readable(compacted.live_bytes)} of which files need"
    )


async def _compact(source: str, settings: Settings, folder: Path, progress: Progress, dry_run: bool) -> Compacted:
    async with wiring.private_engine(source, settings, folder) as engine:
        compacted = await engine.compactor.compact(
            dry_run=dry_run, progress=lambda done, total: progress("compact", done, total)
        )
        await engine.committer.sync()
        return compacted
