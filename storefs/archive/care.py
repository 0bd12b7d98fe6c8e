"""Care: what a packer does before its workers: it fetches what lies in S3, and puts big files in place."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import trio

from storefs.archive import proof
from storefs.archive.job import Beside, Done, JobFile, Packing, Source, other_content, read_job
from storefs.archive.manifest import Failure
from storefs.archive.planner import Bounds
from storefs.archive.routing import big_file_key
from storefs.archive.sources import S3, Big, Sources
from storefs.errors import PreconditionFailed, StoreError, UsageError
from storefs.ports import ObjectStore

_FETCHES_AT_ONCE = 8
_BATCH = 1000


class Care:
    """Turns jobs with sources elsewhere, or too big for a shard, into jobs that a worker can do."""

    def __init__(self, sources: Sources, bounds: Bounds, packing: Packing) -> None:
        self._sources = sources
        self._bounds = bounds
        self._packing = packing

    @asynccontextmanager
    async def taken(self, job: Path, store: ObjectStore, done: Done) -> AsyncIterator[Path]:
        """Hand out the job that is left for a worker; what was fetched for it is gone at the end.

        Big files go into ``store``. What is settled here is counted in ``done``. Raises NoSpace, StorefsError, and the
        stores' errors.
        """
        folder, path = job.with_suffix(".sources"), job.with_suffix(".local")
        folder.mkdir()
        try:
            with JobFile(path, self._packing) as left:
                await self._divide(job, left, folder, store, done)
            yield path
        finally:
            path.unlink(missing_ok=True)
            shutil.rmtree(folder)

    async def _divide(self, job: Path, left: JobFile, folder: Path, store: ObjectStore, done: Done) -> None:
        last: tuple[Source, str] | None = None
        for batch in _batches(job):
            local = await self._fetch_all(batch, folder, done)
            for one in batch:
                if not self._is_big(one):
                    if one.number in local:
                        left.add(local[one.number])
                    continue
                sha256, beside = await self._settle(one, last, store, folder / "big", done)
                last = (one, sha256) if sha256 is not None else last
                if beside is not None:
                    left.add(beside)

    def _is_big(self, one: Source) -> bool:
        return one.size > self._bounds.big_file_bytes

    async def _fetch_all(self, batch: list[Source], folder: Path, done: Done) -> dict[int, Source]:
        """Return the small files of a batch by number, each with a path on the local disk."""
        local = {one.number: one for one in batch if not one.path.startswith(S3)}
        left = iter([one for one in batch if one.path.startswith(S3) and not self._is_big(one)])

        async def fetch() -> None:
            for one in left:
                target = folder / str(one.number)
                try:
                    await self._sources.fetch(one.path, one.size, target)
                except UsageError as error:
                    done.failures.append(Failure(one.number, one.uid, str(error)))
                else:
                    local[one.number] = replace(one, path=str(target))

        async with trio.open_nursery() as nursery:
            for _ in range(_FETCHES_AT_ONCE):
                nursery.start_soon(fetch)
        return local

    async def _settle(
        self, one: Source, last: tuple[Source, str] | None, store: ObjectStore, copy: Path, done: Done
    ) -> tuple[str | None, Beside | None]:
        """Put a big file in place; return its SHA-256, and how the shard is to name it, if it is.

        ``last`` is the big file before it, with its SHA-256.
        """
        try:
            big = await self._sources.copy_big(one.path, one.size, copy)
        except UsageError as error:
            done.failures.append(Failure(one.number, one.uid, str(error)))
            return None, None
        try:
            if last is not None and last[0].uid == one.uid:
                if last[1] == big.sha256:
                    done.repeated += 1
                else:
                    done.failures.append(Failure(one.number, one.uid, other_content(last[0].number)))
                return None, None
            if big.sha256 == one.present:
                done.present += 1
                return big.sha256, None
            await _put(store, big)
        finally:
            big.path.unlink()
        meta = proof.blocks_meta(big.block_bytes, big.blocks) if self._packing.digests else {}
        return big.sha256, Beside(one.number, one.uid, big.size, big.sha256, meta)


async def _put(store: ObjectStore, big: Big) -> None:
    """Put a big file into the store, unless it is there. Raises StoreError if another content has its name."""
    key = big_file_key(big.sha256)
    try:
        await store.put_if_absent(key, big.path)
    except PreconditionFailed:
        size = (await store.head(key)).size
        if size != big.size:
            raise StoreError(
                f"{store.url} has {key} with {size} bytes, it must have {big.size}: remove it and pack again"
            ) from None


def _batches(job: Path) -> Iterator[list[Source]]:
    _, entries = read_job(job)
    sources = (one for one in entries if isinstance(one, Source))
    while batch := list(islice(sources, _BATCH)):
        yield batch
