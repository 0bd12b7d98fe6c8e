"""``storefs snapshot``: the tree as it is now, kept under a name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import trio

from storefs import wiring
from storefs.cli.output import JSON, readable, show, show_json
from storefs.cli.sources import CONFIG, OPTIONS, SOURCE, connected, named_mount, named_store, scratch_folder
from storefs.engine.limits import Limits
from storefs.engine.snapshots import Snapshots
from storefs.model import ObjectInfo
from storefs.settings import Settings


@click.group()
def snapshot() -> None:
    """Keep the tree as it is now under a name, list what is kept, or let it go.

    A snapshot keeps the bytes of all its files from being deleted. It is seen, read-only, in the control directory of
    each mount: MOUNTPOINT/.storefs/snapshots/NAME.

    \b
    storefs snapshot create before-training /mnt/data
    storefs snapshot list s3://bucket/prefix
    storefs snapshot delete before-training /mnt/data
    """


@snapshot.command()
@click.argument("name")
@SOURCE
@OPTIONS
@CONFIG
def create(name: str, source: str, options: tuple[str, ...], config: Path | None) -> None:
    """Keep the tree under NAME: of a mountpoint with everything that was written there until now."""
    mount = named_mount(source)
    if mount is not None:
        mount.sync()
    found, settings = named_store(source, options, config)
    with scratch_folder(settings) as folder:
        seq = trio.run(_create, name, found, settings, folder)
    show(f"{name} is the tree of {found} at commit {seq}")


async def _create(name: str, source: str, settings: Settings, folder: Path) -> int:
    async with wiring.private_engine(source, settings, folder) as engine:
        return await engine.snapshots.write_named(name, engine.tree.database.path)


@snapshot.command("list")
@SOURCE
@JSON
@OPTIONS
@CONFIG
def list_them(source: str, as_json: bool, options: tuple[str, ...], config: Path | None) -> None:
    """List the snapshots that have names."""
    found, settings = named_store(source, options, config)
    kept = trio.run(_list, found, settings)
    if as_json:
        show_json({name: {"bytes": info.size, "created_s": info.modified_s} for name, info in kept.items()})
        return
    for name, info in kept.items():
        made = datetime.fromtimestamp(info.modified_s, UTC)
        show(f"{made:%Y-%m-%d %H:%M:%S}  {readable(info.size):>10}  {name}")


async def _list(source: str, settings: Settings) -> dict[str, ObjectInfo]:
    async with _opened(source, settings) as snapshots:
        return await snapshots.named()


@snapshot.command()
@click.argument("name")
@SOURCE
@OPTIONS
@CONFIG
def delete(name: str, source: str, options: tuple[str, ...], config: Path | None) -> None:
    """Let the snapshot NAME go. What only it needs is deleted after the grace period."""
    found, settings = named_store(source, options, config)
    trio.run(_delete, name, found, settings)


async def _delete(name: str, source: str, settings: Settings) -> None:
    async with _opened(source, settings) as snapshots:
        await snapshots.delete_named(name)


@asynccontextmanager
async def _opened(source: str, settings: Settings) -> AsyncIterator[Snapshots]:
    """Hand out the snapshots of what is surely a store of storefs."""
    async with connected(source, settings) as store:
        await wiring.identify(store, settings)
        yield Snapshots(store, wiring.Threads(1), Limits())
