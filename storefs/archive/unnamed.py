"""Big files that no shard names: what superseded files leave behind."""

from contextlib import aclosing
from dataclasses import dataclass, field

from storefs.archive.prover import Prover
from storefs.archive.requests import Requests, listed
from storefs.archive.routing import BIG_FILES, big_file_key
from storefs.archive.shards import routes
from storefs.archive.stores import Stores
from storefs.archive.verify import Progress
from storefs.errors import Corrupt, ObjectMissing
from storefs.metrics import Metrics
from storefs.model import ObjectInfo
from storefs.ports import ObjectStore, Offload
from storefs.shard.format import BigFileEntry

GRACE_S = 86_400.0
"""A big file is uploaded before the shard that names it: one that is younger may still be named."""

_DELETED_AT_ONCE = 1000


@dataclass(slots=True)
class Unnamed:
    """Big files that no shard names, older than a day.

    Attributes:
        keys: theirs; ``bytes`` are what they take.
        faults: why nobody can know, a line for each shard that cannot be read. Then there are no keys.
    """

    keys: list[str] = field(default_factory=list)
    bytes: int = 0
    faults: list[str] = field(default_factory=list)


async def unnamed(
    stores: Stores, offload: Offload, now_s: float, progress: Progress, *, prune: bool, metrics: Metrics | None = None
) -> Unnamed:
    """Return the big files of an archive that no shard names at ``now_s`` (s since 1970); ``prune`` deletes them.

    While somebody packs, do not prune: a packer that finds its big file there already does not upload it again. Raises
    the stores' errors.
    """
    found = Unnamed()
    objects: dict[str, tuple[ObjectStore, dict[str, ObjectInfo]]] = {}
    for part in stores.parts:
        if part.store.url not in objects:
            young_s = now_s - GRACE_S
            old = {info.key: info async for info in listed(part.store, BIG_FILES) if info.modified_s < young_s}
            objects[part.store.url] = (part.store, old)
    if any(old for _, old in objects.values()):
        # After the listing: what was named since is heard now.
        await _strike_named(stores, Prover(Requests(metrics or Metrics(), "rebuild"), offload, stores.n_bits), objects,
                            found.faults, progress)  # fmt: skip
    if found.faults:
        return found
    for store, left in objects.values():
        keys = sorted(left)
        for start in range(0, len(keys) if prune else 0, _DELETED_AT_ONCE):
            await store.delete(keys[start : start + _DELETED_AT_ONCE])
        found.keys += keys
        found.bytes += sum(info.size for info in left.values())
    return found


async def _strike_named(
    stores: Stores,
    prover: Prover,
    objects: dict[str, tuple[ObjectStore, dict[str, ObjectInfo]]],
    faults: list[str],
    progress: Progress,
) -> None:
    """Take out what a shard names."""
    async with aclosing(routes(stores, misplaced=True)) as groups:
        total = sum([1 async for _ in groups])
    done = 0
    async with aclosing(routes(stores, misplaced=True)) as groups:
        async for shards in groups:
            for shard in shards:
                try:
                    for entry in (await prover.index(shard)).each():
                        if isinstance(entry, Corrupt):
                            raise entry
                        if isinstance(entry, BigFileEntry):
                            objects[shard.store.url][1].pop(big_file_key(entry.sha256), None)
                except (Corrupt, ObjectMissing) as error:
                    faults.append(str(error))
            done += 1
            progress("names", min(done, total), total)
