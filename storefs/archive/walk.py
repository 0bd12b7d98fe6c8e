"""Walking through an archive: every file once, route by route, in bounded memory."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from itertools import islice

from storefs.archive.contents import Contents, Found
from storefs.archive.finder import Finder
from storefs.archive.lookup import Lookup
from storefs.archive.requests import Requests
from storefs.archive.shards import Shard, routes
from storefs.archive.windows import BATCH, payloads
from storefs.errors import ObjectMissing, StoreError
from storefs.shard.format import Entry, InlineEntry

_TRIES = 5

Layers = Sequence[tuple[Shard, Lookup]]
"""The shards of one route with their indexes, the newest first."""


class Walk:
    """Goes over the files of one archive."""

    def __init__(self, finder: Finder, requests: Requests, contents: Contents) -> None:
        self._finder = finder
        self._requests = requests
        self._contents = contents

    async def files(self, day: str | None) -> AsyncGenerator[Found, None]:
        """Yield each file in the version that counts. Raises Corrupt, and the store's errors."""
        async with aclosing(routes(self._finder.stores, day)) as every:
            async for shards in every:
                layers = await self._layers(shards)
                for depth, (shard, _) in enumerate(layers):
                    for entry in live(layers, depth):
                        yield Found(entry, shard)

    async def contents(self, day: str | None) -> AsyncGenerator[tuple[Found, bytes | None], None]:
        """Yield each file with its content, or None for a big file. Raises as ``files`` does."""
        async with aclosing(routes(self._finder.stores, day)) as every:
            async for shards in every:
                layers = await self._layers(shards)
                for depth, (shard, _) in enumerate(layers):
                    left = live(layers, depth)
                    while some := list(islice(left, BATCH)):
                        async with aclosing(self._read(shard, some)) as read:
                            async for one in read:
                                yield one

    async def _read(self, shard: Shard, some: list[Entry]) -> AsyncGenerator[tuple[Found, bytes | None], None]:
        for entry in some:
            if not isinstance(entry, InlineEntry):
                yield Found(entry, shard), None
        left = {entry.name: entry for entry in some if isinstance(entry, InlineEntry)}
        try:
            async with aclosing(payloads(self._requests, shard, list(left.values()))) as read:
                async for entry, payload in read:
                    content = await self._contents.decoded(payload, entry, shard.key)
                    del left[entry.name]
                    yield Found(entry, shard), content
        except ObjectMissing:  # a rebuild took the shard away: what it held is elsewhere now
            for entry in left.values():
                yield await self._finder.use_in(shard.name.route, entry.name, self._moved)

    async def _moved(self, found: Found) -> tuple[Found, bytes | None]:
        content = await self._contents.whole(found) if isinstance(found.entry, InlineEntry) else None
        return found, content

    async def _layers(self, shards: tuple[Shard, ...]) -> Layers:
        """Return the indexes of a route's shards; the route is listed again when a rebuild took one away."""
        route = shards[0].name.route
        for _ in range(_TRIES):
            try:
                return [(shard, (await self._finder.indexes.of(shard))[0]) for shard in shards]
            except ObjectMissing:
                shards = (await self._finder.shards.of(route, self._finder.shards.turn())).shards
        raise StoreError(
            f"the shards {route.prefix}* in {self._finder.stores.at(route.index).url} go while they are read"
        )


def live(layers: Layers, depth: int) -> Iterator[Entry]:
    """Yield the entries of one of a route's shards that no newer shard has. Raises Corrupt."""
    newer = [lookup for _, lookup in layers[:depth]]
    for entry in layers[depth][1]:
        if not any(entry.name in lookup for lookup in newer):
            yield entry
