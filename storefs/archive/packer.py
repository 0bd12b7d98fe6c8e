"""The packer: files of a manifest become shards of an archive, several at a time, each whole or not at all."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from itertools import count, groupby
from pathlib import Path

import trio

from storefs.archive import crew
from storefs.archive.care import Care
from storefs.archive.intake import Intake
from storefs.archive.job import Done, JobFile, Packing, Source, other_content, shard_of
from storefs.archive.manifest import Failure
from storefs.archive.planner import Planned
from storefs.archive.present import Present
from storefs.archive.routing import Route, ShardName
from storefs.archive.sources import S3
from storefs.archive.stores import Stores
from storefs.archive.workers import Worker, workers
from storefs.core import keys
from storefs.errors import ObjectMissing, PreconditionFailed, UsageError
from storefs.metrics import Metrics
from storefs.ports import Offload

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is."""

_SHARDS_SHOWN = 10_000

_JOBS_PER_PROCESS = 2
"""While one shard is on its way into the store, the process that made it makes another one."""


@dataclass(frozen=True, slots=True)
class PackedShard:
    """A shard that was put into the archive: its key, how many files it holds or names, and its length."""

    key: str
    files: int
    size: int


@dataclass(slots=True)
class Packed:
    """What a packer did.

    Attributes:
        shards: what was put, the first 10,000 of them; ``shard_count`` is all.
        files, big_files: what was packed; big files lie beside the shards.
        bytes: the content of all these.
        stored: what the content takes in the shards, compressed; without big files.
        present: entries whose content the archive had already.
        repeated: entries that said again what another entry of the manifest said.
    """

    shards: list[PackedShard] = field(default_factory=list)
    shard_count: int = 0
    files: int = 0
    big_files: int = 0
    bytes: int = 0
    stored: int = 0
    present: int = 0
    repeated: int = 0

    def add(self, done: Done) -> None:
        """Take in what came of a job."""
        self.files += done.files
        self.big_files += done.big_files
        self.bytes += done.bytes
        self.stored += done.stored
        self.present += done.present
        self.repeated += done.repeated


@dataclass(frozen=True, slots=True)
class _Job:
    """Files that go into one shard. ``care`` says that the parent has to see to some of them first."""

    route: Route
    number: int
    path: Path
    entries: int
    care: bool


class Packer:
    """Packs files into the archive in ``stores``. ``folder`` is an empty place on the local disk for work under way."""

    def __init__(
        self,
        stores: Stores,
        intake: Intake,
        offload: Offload,
        folder: Path,
        packing: Packing,
        *,
        processes: int,
        progress: Progress,
    ) -> None:
        """``intake`` has the files. ``processes`` work at a time, each on one shard: twice as much of the disk below
        ``folder`` is taken, for shards on their way into the store lie there, too.
        """
        self._stores = stores
        self._intake = intake
        self._folder = folder
        self._packing = packing
        self._processes = processes
        self._progress = progress
        self._present = Present(stores, offload, Metrics())
        self._care = Care(intake.sources, intake.bounds, packing)
        self._free, self._idle = trio.open_memory_channel[Worker](processes)
        self._first: dict[Route, int] = {}
        self._packed = Packed()
        self._seen = 0

    async def run(self) -> Packed:
        """Pack all files; return what was done.

        What concerns one file is told to the intake and stops nothing. Raises UsageError for a place that is no
        archive's, Corrupt for a damaged index of the archive, NoSpace, StorefsError, and the stores' errors: then what
        was put until then stays, and packing the same again completes it.
        """
        await self._check_place()
        self._progress("files", 0, len(self._intake))
        async with workers(self._processes) as found:
            for worker in found:
                self._free.send_nowait(worker)
            await crew.each(self._jobs(), self._do, _JOBS_PER_PROCESS * self._processes)
        return self._packed

    # --- planning -----------------------------------------------------------------------------------------------------

    async def _check_place(self) -> None:
        for part in self._stores.parts:
            try:
                await part.store.head(keys.STORE_INFO)
            except ObjectMissing:
                continue
            raise UsageError(
                f"{part.store.url} is a storefs store: name another place for an archive, or mount it and copy"
            )

    async def _jobs(self) -> AsyncGenerator[_Job, None]:
        """Yield the jobs of the plan. The next one is described while the others are done."""
        numbers = count()
        for _, planned in groupby(self._intake.planned(), key=lambda one: (one.route, one.shard)):
            entries, care = 0, False
            last: Planned | None = None
            with JobFile(self._folder / f"job-{next(numbers)}", self._packing) as file:
                for one in planned:
                    if last is not None and last.uid == one.uid and last.size != one.size:
                        self._intake.fail(Failure(one.number, one.uid, other_content(last.number)))
                        continue
                    present = await self._present.proof(one.route, one.uid)
                    file.add(Source(one.number, one.uid, one.size, one.source, present))
                    entries += 1
                    care = care or one.big or one.source.startswith(S3)
                    last = one
            assert last is not None, "a shard is planned for files"
            first = await self._first_number(last.route)
            yield _Job(last.route, first + last.shard, file.path, entries, care)

    async def _first_number(self, place: Route) -> int:
        """Return the number that the first shard of a route gets; routes come one after the other."""
        if place not in self._first:
            self._first = {place: await self._present.last_number(place) + 1}
        return self._first[place]

    # --- doing --------------------------------------------------------------------------------------------------------

    async def _do(self, job: _Job) -> None:
        done = Done()
        if job.care:
            async with self._care.taken(job.path, self._stores.at(job.route.index), done) as path:
                await self._write(job, path)
        else:
            await self._write(job, job.path)
        self._count(done)
        job.path.unlink()
        self._seen += job.entries
        self._progress("files", self._seen, len(self._intake))

    async def _write(self, job: _Job, path: Path) -> None:
        """Have the shard written, and put it into the archive if there is something in it."""
        worker = await self._idle.receive()
        done = await worker.run(path)
        self._free.send_nowait(worker)
        if done.files:
            key = await self._put(job, shard_of(path))
            self._packed.shard_count += 1
            if len(self._packed.shards) < _SHARDS_SHOWN:
                self._packed.shards.append(PackedShard(key, done.files, done.shard_bytes))
        self._count(done)

    def _count(self, done: Done) -> None:
        self._packed.add(done)
        for failure in done.failures:
            self._intake.fail(failure)

    async def _put(self, job: _Job, shard: Path) -> str:
        """Put a shard under the first number that is free; return its key."""
        store, number = self._stores.at(job.route.index), job.number
        try:
            while True:
                name = ShardName(job.route, number)
                try:
                    await store.put_if_absent(name.key, shard)
                except PreconditionFailed:  # somebody else packs, too
                    number = max(number, await self._present.last_number(job.route)) + 1
                else:
                    return name.key
        finally:
            shard.unlink()  # noqa: ASYNC240 - on the own disk
