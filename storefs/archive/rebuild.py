"""Rebuilding an archive: routes that got untidy are rewritten into fresh shards, and the old ones deleted.

A route is rewritten whole or not at all, and the old shards go only once the fresh ones were read back. The fresh ones
have the next numbers and are put only if nobody else has put any there: whoever packs into the route meanwhile either
comes later, and counts, or comes first, and then the route is left for the next time.
"""

from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import trio

from storefs.archive import crew, rewrite
from storefs.archive.prover import Prover
from storefs.archive.requests import Requests
from storefs.archive.rewrite import Need, Rewrite
from storefs.archive.routing import ShardName
from storefs.archive.shards import Shard, routes
from storefs.archive.stores import Stores
from storefs.archive.verify import Progress
from storefs.archive.walk import Layers
from storefs.errors import Corrupt, ObjectMissing, PreconditionFailed, UsageError
from storefs.metrics import Metrics
from storefs.ports import Offload

SHARD_BYTES = 1 << 30
"""How long a fresh shard becomes at most, unless one file is longer."""

_ROUTES_AT_ONCE = 2
"""Each has one fresh shard on the local disk."""

_TAKE_BACK_S = 30.0
"""How long taking back may take when all else is being cancelled."""


@dataclass(slots=True)
class Rebuilt:
    """What was done, or with ``dry_run`` would be.

    Attributes:
        routes: all routes that were looked at.
        rewritten: those that got fresh shards; ``files`` were in them.
        fresh: shards that were written.
        deleted: shards that were deleted.
        superseded: entries that were left out.
        unproven: files that had no digests and got them.
        faults: routes that were left alone because of damage, a line each.
        notes: routes that were left for the next time, a line each.
    """

    routes: int = 0
    rewritten: int = 0
    files: int = 0
    fresh: int = 0
    deleted: int = 0
    superseded: int = 0
    unproven: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Rebuild:
    """Rebuilds one archive. ``folder`` is a place on the local disk for fresh shards."""

    def __init__(
        self,
        stores: Stores,
        offload: Offload,
        folder: Path,
        *,
        dry_run: bool = False,
        keep_old: bool = False,
        shard_bytes: int = SHARD_BYTES,
        metrics: Metrics | None = None,
    ) -> None:
        requests = Requests(metrics or Metrics(), "rebuild")
        self._stores = stores
        self._prover = Prover(requests, offload, stores.n_bits)
        self._rewrite = Rewrite(requests, offload, self._prover, folder, shard_bytes)
        self._shard_bytes = shard_bytes
        self._dry_run = dry_run
        self._keep_old = keep_old
        self._done = Rebuilt()

    async def run(self, progress: Progress, day: str | None = None) -> Rebuilt:
        """Rebuild what needs it, in all of the archive or one day (YYYYMMDD); return what was done.

        Raises the stores' errors and NoSpace: then old shards and fresh ones may both be there, which is no harm.
        """
        async with aclosing(routes(self._stores, day)) as groups:
            total = sum([1 async for _ in groups])
        progress("routes", 0, total)

        async def work(shards: tuple[Shard, ...]) -> None:
            await self._route(shards)
            self._done.routes += 1
            progress("routes", min(self._done.routes, total), total)

        await crew.each(routes(self._stores, day), work, _ROUTES_AT_ONCE)
        return self._done

    async def _route(self, shards: tuple[Shard, ...]) -> None:
        where = f"{shards[0].name.route.prefix}*"
        try:
            layers = [(shard, await self._prover.index(shard)) for shard in shards]
            why = rewrite.need(layers, self._shard_bytes)
            if why.is_any:
                await self._replace(layers, why)
        except (Corrupt, UsageError) as error:
            self._done.faults.append(f"{where} is left as it is: {error}")
        except ObjectMissing as error:
            self._done.notes.append(f"{where} is left for the next time, it changed meanwhile: {error}")
        except PreconditionFailed:
            self._done.notes.append(f"{where} is left for the next time: somebody else packed into it meanwhile")

    async def _replace(self, layers: Layers, why: Need) -> None:
        fresh = 0
        if not self._dry_run:
            put = await self._put(layers)
            await self._prove(put, why.files)
            fresh = len(put)
            if not self._keep_old:
                store = layers[0][0].store
                await store.delete([shard.key for shard, _ in layers])
                self._done.deleted += len(layers)
        self._done.fresh += fresh
        self._done.rewritten += 1
        self._done.files += why.files
        self._done.superseded += why.superseded
        self._done.unproven += why.unproven

    async def _put(self, layers: Layers) -> list[Shard]:
        """Put the fresh shards; when that fails, none of them is left there."""
        newest = layers[0][0]
        put: list[Shard] = []
        try:
            async with aclosing(self._rewrite.write(layers)) as paths:
                async for path in paths:
                    name = ShardName(newest.name.route, newest.name.number + 1 + len(put))
                    try:
                        size = path.stat().st_size
                        tag = await newest.store.put_if_absent(name.key, path)
                    finally:
                        path.unlink(missing_ok=True)
                    put.append(Shard(name, newest.store, size, tag))
        except BaseException:
            await self._take_back(put)
            raise
        return put

    async def _prove(self, put: list[Shard], files: int) -> None:
        """Read back the fresh shards. Raises Corrupt unless they hold so many files, all of them good and proven."""
        faults = []
        found = 0
        for shard in put:
            proof = await self._prover.shard(shard)
            faults += proof.faults
            found += proof.files - proof.unproven
        if faults or found != files:
            await self._take_back(put)
            raise Corrupt(faults[0] if faults else f"{found} of {files} files came back from the fresh shards")

    async def _take_back(self, put: list[Shard]) -> None:
        """Delete fresh shards; until then they hold what the old ones do."""
        if put:
            with trio.move_on_after(_TAKE_BACK_S, shield=True):
                await put[0].store.delete([shard.key for shard in put])
