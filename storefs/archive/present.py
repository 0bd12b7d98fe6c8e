"""What an archive has already, so that packing the same files again adds nothing."""

from storefs.archive.contents import Contents
from storefs.archive.finder import Finder
from storefs.archive.indexes import Indexes
from storefs.archive.proof import digest_of
from storefs.archive.requests import Requests
from storefs.archive.routing import Route
from storefs.archive.shards import Listing, Shards
from storefs.archive.stores import Stores
from storefs.core.digest import digest
from storefs.metrics import Metrics
from storefs.ports import Offload
from storefs.shard.format import BigFileEntry

_INDEX_BYTES = 64 << 20


class Present:
    """Looks up files of one route after the other."""

    def __init__(self, stores: Stores, offload: Offload, metrics: Metrics) -> None:
        requests = Requests(metrics, "pack")
        self._shards = Shards(stores, 0.0)
        self._finder = Finder(stores, self._shards, Indexes(requests, offload, stores.n_bits, _INDEX_BYTES))
        self._contents = Contents(requests, offload)
        self._offload = offload
        self._route: Route | None = None
        self._listing: Listing | None = None

    async def last_number(self, route: Route) -> int:
        """Return the highest number of a shard of a route as it is now, -1 if there is none."""
        shards = (await self._shards.of(route, self._shards.turn())).shards
        return shards[0].name.number if shards else -1

    async def proof(self, route: Route, uid: str) -> str | None:
        """Return what proves the content that the archive has under a uid, in hex; None when it has no such file.

        Of an inline entry that is the BLAKE3-256 digest, of a big file its SHA-256. Raises Corrupt, naming the shard,
        and the store's errors.
        """
        if self._listing is None or route != self._route:
            self._listing, self._route = await self._shards.of(route, self._shards.turn()), route
        if not self._listing.shards:
            return None
        found = await self._finder.search(self._listing, uid)
        if found is None:
            return None
        if isinstance(found.entry, BigFileEntry):
            return found.entry.sha256
        known = digest_of(found.entry)
        if known is None:  # another program packed it
            known = await self._offload.run(digest, await self._contents.whole(found))
        return known.hex()
