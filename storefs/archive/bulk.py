"""Many files at once: grouped by shard, neighbours in one request, a few shards at a time."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import trio

from storefs.archive.contents import Contents, Found
from storefs.archive.finder import Finder
from storefs.archive.requests import Requests
from storefs.archive.routing import Route
from storefs.archive.shards import Shard
from storefs.archive.windows import BATCH, payloads
from storefs.errors import Corrupt, ObjectMissing, StorefsError, UsageError
from storefs.shard.format import InlineEntry

_ROUTES_AT_ONCE = 8

Request = tuple[str, datetime]
"""A file's uid, and the time it was made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request: the content, or what is wrong with this file (ObjectMissing, Corrupt, UsageError)."""

    uid: str
    created_at: datetime
    content: bytes | None
    error: StorefsError | None = None


Emit = Callable[[Outcome], Awaitable[None]]


class Bulk:
    """Reads many files of one archive."""

    def __init__(self, finder: Finder, requests: Requests, contents: Contents) -> None:
        self._finder = finder
        self._requests = requests
        self._contents = contents

    @trio.as_safe_channel
    async def outcomes(self, requests: Iterable[Request]) -> AsyncGenerator[Outcome, None]:
        """Yield an outcome for each request, in no order. Raises the store's errors."""
        left = iter(requests)
        while some := list(islice(left, BATCH)):
            send, receive = trio.open_memory_channel[Outcome](0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_all, some, send)
                async with receive:
                    async for outcome in receive:
                        yield outcome

    async def _read_all(self, some: list[Request], send: trio.MemorySendChannel[Outcome]) -> None:
        """Send the outcomes of some requests, a few routes at a time, and close the channel."""
        groups: defaultdict[Route, list[Request]] = defaultdict(list)
        async with send:
            for request in some:
                try:
                    groups[self._finder.route(*request)].append(request)
                except UsageError as error:
                    await send.send(Outcome(*request, None, error))
            routes = iter(groups.items())

            async def work() -> None:
                for place, group in routes:
                    await self._read_route(place, group, send.send)

            async with trio.open_nursery() as nursery:
                for _ in range(min(_ROUTES_AT_ONCE, len(groups))):
                    nursery.start_soon(work)

    async def _read_route(self, place: Route, group: list[Request], emit: Emit) -> None:
        """Emit what is found by what is remembered; whatever is not as it should be is looked at one by one."""
        shards, others = await self._by_shard(place, group)
        for shard, wanted in shards.items():
            asked = {found.entry.name: requests for found, requests in wanted}
            entries = [found.entry for found, _ in wanted if isinstance(found.entry, InlineEntry)]
            others += [one for found, many in wanted if not isinstance(found.entry, InlineEntry) for one in many]
            try:
                async with aclosing(payloads(self._requests, shard, entries)) as read:
                    async for entry, payload in read:
                        others += await self._emit_entry(entry, payload, shard, asked.pop(entry.name), emit)
            except ObjectMissing:  # a rebuild took the shard away
                others += [one for entry in entries for one in asked.get(entry.name, ())]
        for request in others:
            await emit(await self._alone(request))

    async def _by_shard(
        self, place: Route, group: list[Request]
    ) -> tuple[dict[Shard, list[tuple[Found, list[Request]]]], list[Request]]:
        """Return which shards have which of these files, and the requests that need a closer look."""
        listing = await self._finder.shards.of(place)
        by_uid: defaultdict[str, list[Request]] = defaultdict(list)
        for request in group:
            by_uid[request[0]].append(request)
        found_in: defaultdict[Shard, list[tuple[Found, list[Request]]]] = defaultdict(list)
        others: list[Request] = []
        for uid, same in by_uid.items():
            try:
                found = await self._finder.search(listing, uid)
            except (ObjectMissing, Corrupt):
                found = None
            if found is None:
                others += same
            else:
                found_in[found.shard].append((found, same))
        return dict(found_in), others

    async def _emit_entry(
        self, entry: InlineEntry, payload: memoryview, shard: Shard, same: list[Request], emit: Emit
    ) -> list[Request]:
        try:
            content = await self._contents.decoded(payload, entry, shard.key)
        except Corrupt:
            return same
        for request in same:
            await emit(Outcome(*request, content))
        return []

    async def _alone(self, request: Request) -> Outcome:
        try:
            return Outcome(*request, await self._finder.use(*request, self._contents.whole))
        except (ObjectMissing, Corrupt) as error:
            return Outcome(*request, None, error)
