"""``storefs status``, ``sync``, ``info`` and ``doctor``."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import trio

from storefs import wiring
from storefs.cli import mounted
from storefs.cli.output import JSON, readable, show, show_json
from storefs.cli.sources import CONFIG, OPTIONS, connected, read_options
from storefs.core import keys, storeinfo
from storefs.errors import MountpointError, ObjectMissing
from storefs.settings import Settings, resolve


@click.command()
@click.argument("mountpoint", required=False, type=click.Path(path_type=Path))
@JSON
def status(mountpoint: Path | None, as_json: bool) -> None:
    """Show the state of the mount at MOUNTPOINT, or of all mounts of this machine.

    \b
    storefs status
    storefs status /mnt/data --json
    """
    mounts = [mounted.at(mountpoint)] if mountpoint is not None else mounted.all_mounts()
    documents, dead = [], []
    for mount in mounts:
        try:
            documents.append(mount.status())
        except MountpointError as error:
            if mountpoint is not None:
                raise
            dead.append(str(error))
    if as_json:
        show_json(documents[0] if mountpoint is not None else documents)
        return
    if not mounts:
        show("no storefs is mounted on this machine")
    for document in documents:
        for line in _lines(document):
            show(line)
    if dead:
        raise MountpointError("; ".join(dead))


def _lines(document: dict[str, Any]) -> list[str]:
    """Return a status as people read it."""
    pending, cache, commit = document["pending"], document["cache"], document["commit"]
    last = commit["last_ns"]
    when = datetime.fromtimestamp(last / 1e9, UTC).astimezone().strftime("%F %T") if last else "not by this mount yet"
    requests = document["requests"]["store_requests"]
    lines = [
        (
            f"{document['mountpoint']}: {document['store']['url']}"
            f" (node {document['node']}, process {document['pid']}, storefs {document['version']})"
        ),
        f"  last commit  number {commit['seq']}, {when}",
        f"  pending      {pending['changes']} changes, {pending['files']} open files, {readable(pending['bytes'])}",
        f"  cache        {readable(cache['bytes'])} of {readable(cache['limit_bytes'])} in {cache['path']}",
        f"  kernel       {_kernel_line(document['kernel'])}",
        f"  fetched      {_fetch_line(document['fetch'])}",
        f"  requests     {', '.join(f'{kind} {_total(counts):g}' for kind, counts in requests.items()) or 'none'}",
        f"  errors       {document['errors']}",
    ]
    if document["read_only"]:
        lines.append("  read-only")
    recovered = document["recovered"]
    if recovered["unclean"]:
        lines.append(
            f"  recovered    after a crash: {readable(recovered['staged_bytes'])} written to"
            f" {recovered['staged_files']} files, {recovered['pending_changes']} changes"
        )
    if recovered["damaged_files"]:
        lines.append(f"  DAMAGED      by a power cut: inodes {', '.join(map(str, recovered['damaged_files']))}")
    if document["conflicts"]:
        lines.append(f"  conflicts    {document['conflicts']} conflict copies were made here; the log has more")
    if document["trouble"]:
        lines.append(f"  TROUBLE      {document['trouble']}")
    return lines


def _kernel_line(kernel: dict[str, Any]) -> str:
    """Say how the kernel is served."""
    how = "opens files by itself" if kernel.get("resident") else "asks for each open"
    missing = f" ({kernel['why_not']})" if kernel.get("why_not") else ""
    return f"{how}{missing}; {kernel.get('requests', 0)} requests"


def _fetch_line(fetch: dict[str, Any]) -> str:
    """Say what reading took, and how far small files reached."""
    windows = ", ".join(f"{count} of {readable(int(size))}" for size, count in fetch["windows"].items())
    return (
        f"{readable(fetch['bytes'])} of shards in {fetch['requests']} ranges;"
        f" windows {windows or 'none'}; {fetch['pushed_files']} files pushed"
    )


def _total(counts: Any) -> float:
    return float(sum(counts.values())) if isinstance(counts, dict) else float(counts)


@click.command()
@click.argument("mountpoint", required=False, type=click.Path(path_type=Path))
def sync(mountpoint: Path | None) -> None:
    """Return when everything written to MOUNTPOINT (or the only mount) is in the store.

    \b
    storefs sync /mnt/data
    """
    mounted.only(mountpoint).sync()


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@JSON
def info(path: Path, as_json: bool) -> None:
    """Show what storefs knows of the file PATH: inode, chunks, shards, where the bytes are.

    \b
    storefs info /mnt/data/model.safetensors
    """
    document = mounted.info(path)
    if as_json:
        show_json(document)
        return
    show(f"{document['path']}: inode {document['inode']}, {readable(document['size'])}")
    show(
        f"  {document['extents']} extents of {document['chunks']} chunks, {readable(document['stored_bytes'])} stored"
        f" in {document['shards_total']} shards"
    )
    show(
        f"  here: {document['cached_chunks']} chunks; not in the store yet: {document['uncommitted_chunks']} chunks"
        f" and {readable(document['staged_bytes'])} just written"
    )
    for shard in document["shards"]:
        show(f"  {shard}")


@click.command()
@click.argument("source")
@OPTIONS
@CONFIG
def doctor(source: str, options: tuple[str, ...], config: Path | None) -> None:
    """Check that SOURCE can be a store: reachable, credentials good, conditional puts really exclusive.

    Several writers race for the same objects, which are removed again.

    \b
    storefs doctor s3://bucket/prefix -o endpoint_url=http://127.0.0.1:8333
    """
    trio.run(_examine, source, resolve(read_options(options), os.environ, config))


async def _examine(source: str, settings: Settings) -> None:
    async with connected(source, settings) as store:
        try:
            found = storeinfo.parse(await store.get(keys.STORE_INFO))
            show(f"{store.url}: a storefs store, id {found.store.hex()}")
        except ObjectMissing:
            others = await store.list_after("", limit=10)
            show(
                f"{store.url}: {'not a store, and not empty' if others else 'empty; the first mount makes it a store'}"
            )
        proof = await wiring.prove(store)
        show(
            f"conditional puts are exclusive: {proof['rounds']} races of {proof['writers']} writers had one winner each"
        )
