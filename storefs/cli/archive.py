"""``storefs archive``: reading, checking and tidying archives of shards."""

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import click
import trio

from storefs import wiring
from storefs.archive.environment import archive_source
from storefs.archive.reader import ArchiveReader, FileStat
from storefs.archive.rebuild import Rebuild, Rebuilt
from storefs.archive.routing import parse_time
from storefs.archive.unnamed import Unnamed, unnamed
from storefs.archive.verify import Progress, Verified, verify
from storefs.cli.output import JSON, readable, show, show_json
from storefs.cli.progress import progress_bars
from storefs.cli.sources import CONFIG, OPTIONS, read_options, scratch_folder
from storefs.errors import ObjectMissing, StorefsError, UsageError
from storefs.metrics import Metrics
from storefs.settings import Settings, resolve

_BARS = {"shards": "reading the shards", "routes": "rebuilding routes", "names": "looking for big files' names"}
_NS = 1e9

SOURCE = click.argument("source", metavar="[SOURCE]", required=False)
DAY = click.option("--day", metavar="YYYYMMDD", help="only this day (UTC)")
N_BITS = click.option("--n-bits", type=int, help="bits of a route's number, as it was packed [8]")


@dataclass(frozen=True, slots=True)
class Named:
    """An archive as a command line names it. ``n_bits`` is what was asked for, None if nothing was."""

    source: str
    settings: Settings
    n_bits: int | None


def named_archive(source: str | None, options: tuple[str, ...], config: Path | None, n_bits: int | None) -> Named:
    """Return the archive that a command means: its source, or else what the DES_* variables say. Raises UsageError."""
    given = read_options(options)
    # Of a source that is named, the variables say at most how it was packed.
    found = archive_source(os.environ if source is None else {"DES_N_BITS": os.environ.get("DES_N_BITS", "")})
    if n_bits is not None:
        given["n_bits"] = str(n_bits)
    elif found.n_bits is not None:
        given = {"n_bits": str(found.n_bits)} | given
    if source is not None:
        source = source.removeprefix(wiring.ARCHIVE)
        return Named(source, resolve(given, os.environ, config), n_bits)
    named = f"{wiring.ZONES}{found.zones}" if found.zones is not None else found.source
    if named is None:
        raise UsageError("which archive? Name a SOURCE, or set DES_BACKEND and what goes with it")
    return Named(named, resolve(dict(found.options) | given, os.environ, config), n_bits)


@click.group()
def archive() -> None:
    """Read, check and tidy archives: shards that 'storefs pack' or Data Easy Store packed.

    SOURCE is a path, file:///path, s3://bucket/prefix or zones:FILE. Without it, the variables DES_BACKEND,
    DES_BASE_DIR, DES_S3_* and DES_ZONES_CONFIG say which archive is meant, and DES_N_BITS how it was packed.

    \b
    storefs archive get s3://bucket/prefix uid-123 2024-01-01 > file
    storefs archive verify s3://bucket/prefix
    """


# --- reading ----------------------------------------------------------------------------------------------------------


@archive.command()
@click.argument("words", metavar="[SOURCE] UID CREATED_AT", nargs=-1)
@click.option("-O", "--output", default="-", metavar="FILE", help="write there instead of to standard output")
@N_BITS
@OPTIONS
@CONFIG
def get(words: tuple[str, ...], output: str, n_bits: int | None, options: tuple[str, ...], config: Path | None) -> None:
    """Write one file. CREATED_AT is a time such as 2024-01-01T00:00:00Z; only its day counts.

    Exits with 2 when there is no such file, with 1 when it is damaged: then nothing of what was written may be used.

    \b
    storefs archive get s3://bucket/prefix uid-123 2024-01-01 -O file.bin
    storefs archive get zones:zones.yaml uid-123 2024-01-01T12:00:00Z > file.bin
    """
    if len(words) not in (2, 3):
        raise click.UsageError("what is needed is [SOURCE] UID CREATED_AT")
    *source, uid, created_at = words
    named = named_archive(source[0] if source else None, options, config, n_bits)
    if output == "-":
        trio.run(_copy, named, uid, created_at, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    else:
        _replace(Path(output), lambda file: trio.run(_copy, named, uid, created_at, file))


async def _copy(named: Named, uid: str, created_at: str, file: BinaryIO) -> None:
    moment = parse_time(created_at)
    async with _connected(named) as reader:

        async def write(piece: bytes) -> None:
            await trio.to_thread.run_sync(file.write, piece)

        try:
            await reader.copy_to(uid, moment, write)
        except ObjectMissing as error:  # 3 would mean that the archive itself cannot be reached
            raise UsageError(str(error)) from None


def _replace(path: Path, fill: Callable[[BinaryIO], None]) -> None:
    """Put what ``fill`` writes at ``path``, whole or not at all. Raises StorefsError when that cannot be written."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("xb") as file:
            fill(file)
        unfinished.replace(path)
    except OSError as error:
        raise StorefsError(f"cannot write {path}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


@archive.command()
@SOURCE
@DAY
@click.option("--json", "as_json", is_flag=True, help="print all there is, a JSON object for each file")
@N_BITS
@OPTIONS
@CONFIG
def ls(
    source: str | None,
    day: str | None,
    as_json: bool,
    n_bits: int | None,
    options: tuple[str, ...],
    config: Path | None,
) -> None:
    """List the files: day, uid, size and shard, with tabs between. What is superseded is left out.

    \b
    storefs archive ls s3://bucket/prefix --day 20240101
    storefs archive ls ~/archive --json
    """
    named = named_archive(source, options, config, n_bits)
    trio.run(_list, named, day, _as_json if as_json else _as_line)


async def _list(named: Named, day: str | None, line: Callable[[FileStat], str]) -> None:
    async with _connected(named) as reader:
        async for one in reader.files(day):
            show(line(one))


def _as_line(one: FileStat) -> str:
    # A uid may be anything: a tab or a line break in it must not look like the next field.
    uid = one.uid if one.uid.isprintable() else json.dumps(one.uid)
    return f"{one.day}\t{uid}\t{one.size}\t{one.shard}"


def _as_json(one: FileStat) -> str:
    return json.dumps(asdict(one) | {"codec": None if one.codec is None else one.codec.name.lower()})


# --- checking and tidying ---------------------------------------------------------------------------------------------


@archive.command("verify")
@SOURCE
@DAY
@JSON
@N_BITS
@OPTIONS
@CONFIG
def verify_(
    source: str | None,
    day: str | None,
    as_json: bool,
    n_bits: int | None,
    options: tuple[str, ...],
    config: Path | None,
) -> None:
    """Read every shard in full: header, index, every payload and every big file, each held against its digest.

    Each fault is one line that names shard and uid. Exits with 1 when there are any. An entry without a digest (other
    packers write none) is only as sure as its codec: how many there are is said.

    \b
    storefs archive verify s3://bucket/prefix
    storefs archive verify ~/archive --day 20240101 --json
    """
    named = named_archive(source, options, config, n_bits)
    with progress_bars(_BARS) as progress:
        seen = trio.run(_verify, named, day, progress)
    if as_json:
        show_json(asdict(seen))
    else:
        for fault in seen.proof.faults:
            show(f"fault: {fault}")
        show(f"{named.source}: {_verdict(seen)}")
    if seen.proof.faults:
        sys.exit(1)


async def _verify(named: Named, day: str | None, progress: Progress) -> Verified:
    async with _connected(named) as reader:
        return await verify(reader.stores, wiring.Threads(4), progress, day)


def _verdict(seen: Verified) -> str:
    proof = seen.proof
    found = "clean" if not proof.faults else f"{len(proof.faults)} faults"
    return (
        f"{found}; {seen.shards} shards with {readable(seen.shard_bytes)}, in them {proof.files} good entries"
        f" ({proof.big_files} big files) with {readable(proof.bytes)}; {proof.unproven} entries have no digest"
    )


@archive.command()
@SOURCE
@DAY
@click.option("--dry-run", is_flag=True, help="only say what would be done")
@click.option("--keep-old", is_flag=True, help="leave the old shards beside the fresh ones")
@click.option("--prune", is_flag=True, help="delete big files that no shard names; not while somebody packs")
@JSON
@N_BITS
@OPTIONS
@CONFIG
def rebuild(
    source: str | None,
    day: str | None,
    dry_run: bool,
    keep_old: bool,
    prune: bool,
    as_json: bool,
    n_bits: int | None,
    options: tuple[str, ...],
    config: Path | None,
) -> None:
    """Rewrite routes that have more shards than they need, superseded files, entries without digests, or old shards.

    Every entry is proven first; the old shards are deleted once the fresh ones were read back. A route with a damaged
    entry is left as it is, and exits with 1. Readers may go on. Big files that no shard names are listed.

    \b
    storefs archive rebuild s3://bucket/prefix --dry-run
    storefs archive rebuild ~/archive --prune
    """
    if prune and day is not None:
        raise click.UsageError("--prune looks at the whole archive: it does not go with --day")
    named = named_archive(source, options, config, n_bits)
    with scratch_folder(named.settings) as folder, progress_bars(_BARS) as progress:
        done, beside = trio.run(_rebuild, named, folder, progress, day, dry_run, keep_old, prune)
    faults = done.faults + beside.faults
    if as_json:
        show_json({"rebuilt": asdict(done), "unnamed": asdict(beside)})
    else:
        for note in done.notes:
            show(f"note: {note}")
        for fault in faults:
            show(f"fault: {fault}")
        for line in _lines(named.source, done, beside, dry_run, prune):
            show(line)
    if faults:
        sys.exit(1)


async def _rebuild(
    named: Named, folder: Path, progress: Progress, day: str | None, dry_run: bool, keep_old: bool, prune: bool
) -> tuple[Rebuilt, Unnamed]:
    offload = wiring.Threads(4)
    async with _connected(named) as reader:
        done = await Rebuild(reader.stores, offload, folder, dry_run=dry_run, keep_old=keep_old).run(progress, day)
        beside = Unnamed()
        if day is None:
            now_s = wiring.SystemClock().now_ns() / _NS
            beside = await unnamed(reader.stores, offload, now_s, progress, prune=prune and not dry_run)
        return done, beside


def _lines(source: str, done: Rebuilt, beside: Unnamed, dry_run: bool, prune: bool) -> list[str]:
    would = "would be " if dry_run else ""
    summary = (
        f"{source}: {done.rewritten} of {done.routes} routes {would}rewritten, with {done.files} files;"
        f" {done.superseded} superseded entries {would}left out, {done.unproven} entries {would}given digests;"
        f" {done.fresh} shards put, {done.deleted} deleted"
    )
    lines = [summary]
    if beside.keys:
        lines += [f"big file without a name: {key}" for key in beside.keys]
        fate = f"{would}deleted" if prune else "left there (--prune deletes them)"
        lines.append(f"{len(beside.keys)} big files without a name, {readable(beside.bytes)}, {fate}")
    return lines


@asynccontextmanager
async def _connected(named: Named) -> AsyncIterator[ArchiveReader]:
    """Hand out a reader of an archive; its stores are closed at the end."""
    reader = wiring.archive(named.source, named.settings, Metrics())
    try:
        if named.n_bits not in (None, reader.stores.n_bits):
            raise UsageError(f"{named.source}: its zones say {reader.stores.n_bits} bits, not {named.n_bits}")
        yield reader
    finally:
        await reader.stores.close()
