"""Verifying an archive: every shard, several at a time."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from storefs.archive import crew
from storefs.archive.prover import Proof, Prover
from storefs.archive.requests import Requests
from storefs.archive.shards import Shard, routes
from storefs.archive.stores import Stores
from storefs.errors import ObjectMissing
from storefs.metrics import Metrics
from storefs.ports import Offload

_SHARDS_AT_ONCE = 4
"""Each holds one window of payloads, or its longest payload."""

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is."""


@dataclass(slots=True)
class Verified:
    """What a verification found: the shards and their bytes, and what was in them."""

    shards: int = 0
    shard_bytes: int = 0
    proof: Proof = field(default_factory=Proof)


async def verify(
    stores: Stores, offload: Offload, progress: Progress, day: str | None = None, metrics: Metrics | None = None
) -> Verified:
    """Read an archive, or one day of it (YYYYMMDD), in full; return what is good and what is not.

    What is superseded is read too. A shard in a store where nobody looks for its route is a fault; one that a rebuild
    takes away meanwhile is none. Raises UsageError for another number of bits than the archive has, and the stores'
    errors: then nothing is known.
    """
    prover = Prover(Requests(metrics or Metrics(), "verify"), offload, stores.n_bits)
    total = sum([shard.size async for shard in _every(stores, day)])
    seen = Verified()
    progress("shards", 0, total)

    async def work(shard: Shard) -> None:
        if stores.at(shard.name.route.index) is not shard.store:
            seen.proof.faults.append(f"{shard.key}: it lies in {shard.store.url}, where nobody looks for its route")
            return
        try:
            proof = await prover.shard(shard)
        except ObjectMissing:
            if not await _is_listed(shard):
                return
            proof = Proof(faults=[f"{shard.key}: it is listed and cannot be read"])
        seen.proof.add(proof)
        seen.shards += 1
        seen.shard_bytes += shard.size
        progress("shards", min(seen.shard_bytes, total), total)

    await crew.each(_every(stores, day), work, _SHARDS_AT_ONCE)
    seen.proof.faults.sort()
    return seen


async def _every(stores: Stores, day: str | None) -> AsyncGenerator[Shard, None]:
    async with aclosing(routes(stores, day, misplaced=True)) as groups:
        async for shards in groups:
            home = stores.at(shards[0].name.route.index)
            if home is not shards[0].store and home.url == shards[0].store.url:
                continue  # two zones share a place: it is met again as the other's
            for shard in shards:
                yield shard


async def _is_listed(shard: Shard) -> bool:
    return any(info.key == shard.key for info in await shard.store.list_after(shard.key, "", 1))
