"""``storefs pack``."""

import io
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import click
import trio

from storefs import settings as sizes
from storefs import wiring
from storefs.archive.intake import Intake
from storefs.archive.job import Packing
from storefs.archive.manifest import Failure, Item, read_manifest
from storefs.archive.packer import Packed, Packer, Progress
from storefs.archive.planner import BIG_FILE_BYTES, SHARD_BYTES, Bounds, Estimate, estimate
from storefs.archive.sources import Sources
from storefs.cli.archive import N_BITS, Named, named_archive
from storefs.cli.output import JSON, readable, say, show, show_json
from storefs.cli.progress import progress_bars
from storefs.cli.sources import CONFIG, OPTIONS, scratch_folder
from storefs.errors import StorefsError, UsageError, cause_of
from storefs.metrics import Metrics
from storefs.model import Codec
from storefs.shard.codec import LEVEL_DENSE

_BARS = {"files": "packing"}
_CODECS = {"zstd": Codec.ZSTD, "lz4": Codec.LZ4, "none": Codec.NONE}
_LEVELS = {Codec.ZSTD: (1, 19, LEVEL_DENSE), Codec.LZ4: (0, 12, 0), Codec.NONE: (0, 0, 0)}
"""By codec: the lowest level, the highest, and what is taken if none is named."""

_FAILURES_SHOWN = 1000


def _size(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else sizes.size(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not {error}") from None


@click.command()
@click.argument("words", metavar="[MANIFEST] [TARGET]", nargs=-1)
@click.option("--input-json", metavar="FILE", help="the manifest; - is standard input")
@click.option(
    "--output-dir", metavar="TARGET", help="where the archive lies: a directory, s3://bucket/prefix, zones:FILE"
)
@N_BITS
@click.option("--max-shard-size", callback=_size, metavar="SIZE", help="the most content of one shard [1G]")
@click.option("--big-file-threshold", callback=_size, metavar="SIZE", help="longer files lie beside the shards [10M]")
@click.option("--compression", type=click.Choice(list(_CODECS)), default="zstd", help="of what shrinks by it [zstd]")
@click.option("--level", type=int, help="of the compression: zstd 1 to 19 [3], lz4 0 to 12 [0]")
@click.option("--jobs", type=click.IntRange(1), help="shards at a time [as many as there are processors]")
@click.option("--no-digest", is_flag=True, help="leave the digests out: a flipped bit is then not noticed")
@click.option("--dry-run", is_flag=True, help="say what would be made, and pack nothing")
@JSON
@OPTIONS
@CONFIG
def pack(
    words: tuple[str, ...],
    *,
    input_json: str | None,
    output_dir: str | None,
    n_bits: int | None,
    max_shard_size: int | None,
    big_file_threshold: int | None,
    compression: str,
    level: int | None,
    jobs: int | None,
    no_digest: bool,
    dry_run: bool,
    as_json: bool,
    options: tuple[str, ...],
    config: Path | None,
) -> None:
    """Pack many small files into few shards, where they are found by uid and day without a database.

    MANIFEST is a JSON list of {"uid", "created_at", "source_path", "size_bytes"}; a source is a path or s3://bucket/key,
    the size may be left out. Packing the same again adds nothing. An entry that cannot be packed is reported and stops
    nothing; the exit code is 1 then. Without TARGET the variables DES_BACKEND, DES_BASE_DIR, DES_S3_* and
    DES_ZONES_CONFIG say where the archive lies, and DES_N_BITS how it is packed.

    \b
    storefs pack files.json /data/archive
    storefs pack files.json s3://bucket/archive --n-bits 10
    find-files | storefs pack - /data/archive --dry-run
    """
    manifest, target = _manifest_and_target(words, input_json, output_dir)
    archive = named_archive(target, options, config, n_bits)
    codec = _CODECS[compression]
    packing = Packing(codec, _level(codec, level), digests=not no_digest)
    bounds = Bounds(max_shard_size or SHARD_BYTES, BIG_FILE_BYTES if big_file_threshold is None else big_file_threshold)
    failures = _Failures()
    with _opened(manifest) as stream, scratch_folder(archive.settings) as folder, progress_bars(_BARS) as progress:
        work = _Work(archive, folder, packing, bounds, jobs or os.cpu_count() or 1, failures, progress)
        entries = read_manifest(stream)
        done: Packed | dict[str, Estimate]
        try:
            done = trio.run(work.estimate, entries) if dry_run else trio.run(work.pack, entries)
        except BaseExceptionGroup as error:
            raise cause_of(error) from None
    _tell(done, failures, as_json=as_json)
    if failures.count:
        raise StorefsError(f"{failures.count} entries could not be packed")


class _Failures:
    """Entries that are not packed: each is said as it comes, and the first of them are kept."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Failure] = []

    def __call__(self, failure: Failure) -> None:
        self.count += 1
        if len(self.first) < _FAILURES_SHOWN:
            self.first.append(failure)
        say(f"storefs: {failure}")


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done: pack the entries of a manifest into an archive, or say what that would make."""

    archive: Named
    folder: Path
    packing: Packing
    bounds: Bounds
    jobs: int
    failures: _Failures
    progress: Progress

    async def pack(self, entries: Iterable[Item | Failure]) -> Packed:
        """Pack."""
        async with self._taken_in(entries) as intake:
            stores = wiring.archive_stores(self.archive.source, self.archive.settings, Metrics())
            try:
                packer = Packer(
                    stores, intake, wiring.Threads(4), self.folder, self.packing,
                    processes=self.jobs, progress=self.progress,
                )  # fmt: skip
                return await packer.run()
            finally:
                await stores.close()

    async def estimate(self, entries: Iterable[Item | Failure]) -> dict[str, Estimate]:
        """Return what packing would make, by day; the archive is not asked for anything."""
        async with self._taken_in(entries) as intake:
            return estimate(intake.planned())

    @asynccontextmanager
    async def _taken_in(self, entries: Iterable[Item | Failure]) -> AsyncIterator[Intake]:
        settings = self.archive.settings
        sources = Sources(lambda bucket: wiring.connect(f"s3://{bucket}", settings, Metrics()), wiring.Threads(4))
        n_bits = wiring.archive_bits(self.archive.source, settings)
        try:
            intake = Intake(sources, n_bits, self.folder, self.bounds, self.failures)
            await intake.read(entries)
            yield intake
        finally:
            with trio.CancelScope(shield=True):
                await sources.close()


def _manifest_and_target(
    words: tuple[str, ...], input_json: str | None, output_dir: str | None
) -> tuple[str, str | None]:
    """Return manifest and target, named by position or by option; the target may be left out."""
    left = list(words)
    manifest = input_json if input_json is not None else left.pop(0) if left else None
    target = output_dir if output_dir is not None else left.pop(0) if left else None
    if left:
        raise click.UsageError(f"there is one argument too many: {left[0]}")
    if manifest is None:
        raise click.UsageError("what is to be packed? Name a MANIFEST (- is standard input)")
    return manifest, target


def _level(codec: Codec, level: int | None) -> int:
    least, most, usual = _LEVELS[codec]
    if level is None:
        return usual
    if not least <= level <= most:
        raise click.BadParameter(f"levels of {codec.name.lower()} are {least} to {most}, not {level}")
    return level


@contextmanager
def _opened(manifest: str) -> Iterator[TextIO]:
    """Open a manifest. Raises UsageError."""
    if manifest == "-":
        stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8")  # JSON is, whatever the terminal is
        try:
            yield stream
        finally:
            stream.detach()
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(manifest).open(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot read the manifest {manifest}: {error.strerror}") from error
        yield file


def _tell(done: Packed | dict[str, Estimate], failures: _Failures, *, as_json: bool) -> None:
    if as_json:
        first = [asdict(failure) for failure in failures.first]
        told = asdict(done) if isinstance(done, Packed) else {"days": {day: asdict(one) for day, one in done.items()}}
        show_json({**told, "failed": failures.count, "failures": first})
        return
    for line in _packed_lines(done) if isinstance(done, Packed) else _estimate_lines(done):
        show(line)


def _packed_lines(done: Packed) -> list[str]:
    inline = done.files - done.big_files
    lines = [f"{done.shard_count} shards hold {inline} files, stored as {readable(done.stored)}"]
    if done.big_files:
        lines.append(f"{done.big_files} big files lie beside them")
    lines.append(f"{readable(done.bytes)} packed in all")
    if done.present:
        lines.append(f"{done.present} files were there already")
    if done.repeated:
        lines.append(f"{done.repeated} entries were named twice")
    return lines


def _estimate_lines(days: dict[str, Estimate]) -> list[str]:
    def line(name: str, one: Estimate) -> str:
        return (
            f"{name}: {one.files} files, {readable(one.bytes)}; at most {one.shards} shards"
            f" and {one.big_files} big files with {readable(one.big_bytes)}"
        )

    total = Estimate()
    for one in days.values():
        total.add(one)
    return [*(line(day, one) for day, one in days.items()), line("in all", total)]
