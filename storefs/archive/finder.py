"""Finding a file: its route, the shards of the route, and the newest of them that has its uid."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from storefs.archive.contents import Found, where
from storefs.archive.indexes import Indexes
from storefs.archive.routing import Route, big_file_key, route
from storefs.archive.shards import Listing, Shards
from storefs.archive.stores import Stores
from storefs.errors import Corrupt, ObjectMissing, StoreError
from storefs.shard.format import BigFileEntry

T = TypeVar("T")

_TRIES = 5
"""How often the shards of a route may go while a file is looked for: a rebuild takes them away once."""


class Finder:
    """Finds the files of one archive."""

    def __init__(self, stores: Stores, shards: Shards, indexes: Indexes) -> None:
        self.stores = stores
        self.shards = shards
        self.indexes = indexes

    def route(self, uid: str, created_at: datetime) -> Route:
        """Return where a file belongs. Raises UsageError for an impossible uid."""
        return route(uid, created_at, self.stores.n_bits)

    async def search(self, listing: Listing, uid: str) -> Found | None:
        """Return a file of the shards that are listed, or None.

        Raises Corrupt, ObjectMissing when one of the shards is gone, and the store's other errors.
        """
        for shard in listing.shards:
            lookup, tail = await self.indexes.of(shard)
            entry = lookup.find(uid)
            if entry is not None:
                return Found(entry, shard, tail)
        return None

    async def use(self, uid: str, created_at: datetime, work: Callable[[Found], Awaitable[T]]) -> T:
        """Return what ``work`` makes of a file; it is called again when the shards changed under it.

        What is remembered is asked for again before a file is called missing or damaged. Raises ObjectMissing naming
        uid and day, Corrupt, UsageError, and the store's errors.
        """
        return await self.use_in(self.route(uid, created_at), uid, work)

    async def use_in(self, place: Route, uid: str, work: Callable[[Found], Awaitable[T]]) -> T:
        """Do as ``use`` does with a file whose route is known."""
        began = self.shards.turn()
        since = None
        for _ in range(_TRIES):
            listing = await self.shards.of(place, since)
            found = None
            try:
                found = await self.search(listing, uid)
                if found is not None:
                    return await work(found)
            except ObjectMissing as gone:
                if listing.turn > began and found is not None and isinstance(found.entry, BigFileEntry):
                    raise Corrupt(f"{where(found)}: {big_file_key(found.entry.sha256)} is not there") from gone
                since = self.shards.turn()
                continue
            except Corrupt:
                # Another shard may have got the same key: then it is what is remembered that is wrong.
                if listing.turn > began or (await self.shards.of(place, began)).shards == listing.shards:
                    raise
                continue
            if listing.turn > began:
                raise ObjectMissing(f"there is no file {uid} of {place.day} in {self.stores.at(place.index).url}")
            since = began
        raise StoreError(f"the shards {place.prefix}* in {self.stores.at(place.index).url} go while they are read")
