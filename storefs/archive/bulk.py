"""Many files at once: grouped by shard, neighbours in one request, a few shards at a time."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
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

_TRAY_OUTCOMES = 100
_TRAY_BYTES = 1 << 20

Request = tuple[str, datetime]
"""A file's uid, and the time it was made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request: the content, or what is wrong with this file (ObjectMissing, Corrupt, UsageError)."""

    uid: str
    created_at: datetime
    content: bytes | None
    error: StorefsError | None = None


class _Tray:
    """Outcomes on their way out: handed over by the dozen, for each handing over costs more than reading a file."""

    def __init__(self, send: trio.MemorySendChannel[list[Outcome]]) -> None:
        self._send = send
        self._held: list[Outcome] = []
        self._held_bytes = 0

    async def add(self, outcome: Outcome) -> None:
        """Add an outcome; when there are enough of them, wait until somebody takes them."""
        self._held.append(outcome)
        self._held_bytes += len(outcome.content or b"")
        if self._held_bytes >= _TRAY_BYTES or len(self._held) >= _TRAY_OUTCOMES:
            await self.clear()

    async def clear(self) -> None:
        """Wait until somebody takes what is left."""
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            await self._send.send(held)


class Bulk:
    """Reads many files of one archive."""

    def __init__(self, finder: Finder, requests: Requests, contents: Contents) -> None:
        self._finder = finder
        self._requests = requests
        self._contents = contents

    @trio.as_safe_channel
    async def outcomes(self, requests: Iterable[Request]) -> AsyncGenerator[list[Outcome], None]:
        """Yield the outcomes, one for each request, in no order, some at a time. Raises the store's errors."""
        left = iter(requests)
        while some := list(islice(left, BATCH)):
            send, receive = trio.open_memory_channel[list[Outcome]](0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_all, some, send)
                async with receive:
                    async for outcomes in receive:
                        yield outcomes

    async def _read_all(self, some: list[Request], send: trio.MemorySendChannel[list[Outcome]]) -> None:
        """Send the outcomes of some requests, a few routes at a time, and close the channel."""
        groups: defaultdict[Route, list[Request]] = defaultdict(list)
        async with send:
            tray = _Tray(send)
            for request in some:
                try:
                    groups[self._finder.route(*request)].append(request)
                except UsageError as error:
                    await tray.add(Outcome(*request, None, error))
            await tray.clear()
            routes = iter(groups.items())

            async def work() -> None:
                for place, group in routes:
                    tray = _Tray(send)
                    await self._read_route(place, group, tray)
                    await tray.clear()

            async with trio.open_nursery() as nursery:
                for _ in range(min(_ROUTES_AT_ONCE, len(groups))):
                    nursery.start_soon(work)

    async def _read_route(self, place: Route, group: list[Request], tray: _Tray) -> None:
        """Read what is found by what is remembered; whatever is not as it should be is looked at one by one."""
        shards, others = await self._by_shard(place, group)
        for shard, wanted in shards.items():
            inline = {found.entry: requests for found, requests in wanted if isinstance(found.entry, InlineEntry)}
            others += [one for found, same in wanted if found.entry not in inline for one in same]
            try:
                async with aclosing(payloads(self._requests, shard, list(inline))) as read:
                    async for entry, payload in read:
                        others += await self._add_entry(entry, payload, shard, inline.pop(entry), tray)
            except ObjectMissing:  # a rebuild took the shard away
                others += [one for same in inline.values() for one in same]
        for request in others:
            await tray.add(await self._alone(request))

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

    async def _add_entry(
        self, entry: InlineEntry, payload: memoryview, shard: Shard, same: list[Request], tray: _Tray
    ) -> list[Request]:
        """Add the outcomes of all who asked for this entry; return them when it is damaged."""
        try:
            content = await self._contents.decoded(payload, entry, shard.key)
        except Corrupt:
            return same
        for request in same:
            await tray.add(Outcome(*request, content))
        return []

    async def _alone(self, request: Request) -> Outcome:
        try:
            return Outcome(*request, await self._finder.use(*request, self._contents.whole))
        except (ObjectMissing, Corrupt) as error:
            return Outcome(*request, None, error)
