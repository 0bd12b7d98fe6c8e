"""``storefs snapshot``: the tree as it is now, kept under a name."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import click
import trio

from storefs import wiring
from storefs.cli import mounted
from storefs.cli.fsck import named_store, scratch_folder
from storefs.cli.output import readable, show, show_json
from storefs.engine.limits import Limits
from storefs.engine.snapshots import Snapshots
from storefs.errors import UsageError
from storefs.metrics import Metrics
from storefs.model import ObjectInfo
from storefs.settings import Settings

_SOURCE = click.argument("source", metavar="SOURCE|MOUNTPOINT")
_OPTIONS = click.option("-o", "options", multiple=True, help="settings as name=value,..., as for 'storefs mount'")
_CONFIG = click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings")


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
@_SOURCE
@_OPTIONS
@_CONFIG
def create(name: str, source: str, options: tuple[str, ...], config: Path | None) -> None:
    """Keep the tree under NAME: of a mountpoint with everything that was written there until now."""
    if "://" not in source:
        with contextlib.suppress(UsageError):  # not a mountpoint: the path of a store
            mounted.at(Path(source)).sync()
    found, settings = named_store(source, options, config)
    with scratch_folder(settings) as folder:
        seq = trio.run(_create, name, found, settings, folder)
    show(f"{name} is the tree of {found} at commit {seq}")


async def _create(name: str, source: str, settings: Settings, folder: Path) -> int:
    async with wiring.private_engine(source, settings, folder) as engine:
        return await engine.snapshots.write_named(name, engine.tree.database.path)


@snapshot.command("list")
@_SOURCE
@click.option("--json", "as_json", is_flag=True, help="print all there is, as JSON")
@_OPTIONS
@_CONFIG
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
    store = wiring.connect(source, settings, Metrics())
    try:
        await wiring.identify(store, settings)
        return await Snapshots(store, wiring.Threads(1), Limits()).named()
    finally:
        await store.close()


@snapshot.command()
@click.argument("name")
@_SOURCE
@_OPTIONS
@_CONFIG
def delete(name: str, source: str, options: tuple[str, ...], config: Path | None) -> None:
    """Let the snapshot NAME go. What only it needs is deleted after the grace period."""
    found, settings = named_store(source, options, config)
    trio.run(_delete, name, found, settings)


async def _delete(name: str, source: str, settings: Settings) -> None:
    store = wiring.connect(source, settings, Metrics())
    try:
        await wiring.identify(store, settings)
        await Snapshots(store, wiring.Threads(1), Limits()).delete_named(name)
    finally:
        await store.close()
