"""Shards: which there are in a route, as far as a listing that is not too old can tell."""

from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import trio

from storefs.archive.requests import listed
from storefs.archive.routing import BIG_FILES, Route, ShardName, hex_width, shard_name
from storefs.archive.stores import Stores
from storefs.errors import UsageError
from storefs.model import ObjectInfo
from storefs.ports import ObjectStore

_DAY_DIGITS = 8

_ROUTES_MAX = 1 << 14
"""How many routes' listings are remembered: some 500 bytes for each shard."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard in its store. ``tag`` is its version: shards never change, but another may get the same key."""

    name: ShardName
    store: ObjectStore
    size: int
    tag: str

    @property
    def key(self) -> str:
        """Its key below the archive's prefix."""
        return self.name.key


@dataclass(frozen=True, slots=True)
class Listing:
    """The shards of one route, the highest number first: the first one that has a uid has the one that counts.

    Attributes:
        shards: the shards.
        turn: when it was asked for, in turns of ``Shards``.
        asked_s: the same, by trio's clock.
    """

    shards: tuple[Shard, ...]
    turn: int
    asked_s: float


class Shards:
    """The listings of an archive's routes. Each is remembered for ``listing_ttl_s`` seconds."""

    def __init__(self, stores: Stores, listing_ttl_s: float) -> None:
        self._stores = stores
        self._ttl_s = listing_ttl_s
        self._known: OrderedDict[Route, Listing] = OrderedDict()
        self._asking: defaultdict[Route, trio.Lock] = defaultdict(trio.Lock)
        self._turn = 0

    def turn(self) -> int:
        """Return a number that is higher than that of any listing so far, and lower than that of any to come."""
        self._turn += 1
        return self._turn

    async def of(self, route: Route, since: int | None = None) -> Listing:
        """Return the listing of a route: a remembered one, or with ``since`` one asked for after that turn.

        Raises the store's errors.
        """
        lock = self._asking[route]
        try:
            async with lock:  # who waits here takes what the one before has brought
                known = self._known.get(route)
                if known is not None and self._is_good(known, since):
                    self._known.move_to_end(route)
                    return known
                return await self._ask(route)
        finally:
            if not lock.locked():
                self._asking.pop(route, None)

    def _is_good(self, known: Listing, since: int | None) -> bool:
        if since is not None:
            return known.turn > since
        return trio.current_time() - known.asked_s < self._ttl_s

    async def _ask(self, route: Route) -> Listing:
        turn, asked_s = self.turn(), trio.current_time()
        store = self._stores.at(route.index)
        found = [shard async for info in listed(store, route.prefix) if (shard := _shard(info, store)) is not None]
        fresh = Listing(newest_first(found), turn, asked_s)
        self._known[route] = fresh
        self._known.move_to_end(route)
        while len(self._known) > _ROUTES_MAX:
            self._known.popitem(last=False)
        return fresh


async def routes(
    stores: Stores, day: str | None = None, *, misplaced: bool = False
) -> AsyncGenerator[tuple[Shard, ...], None]:
    """Yield the shards of each route that has any, store by store, in the order of days (or of one ``day``, YYYYMMDD).

    Shards of routes that belong to another store are left out, but for ``misplaced``: nobody finds them there. Raises
    UsageError for shards that no archive of so many bits has, and the stores' errors.
    """
    check_day(day)
    for part in stores.parts:
        group: list[Shard] = []
        async with aclosing(listed(part.store, "" if day is None else f"{day}_")) as objects:
            async for info in objects:
                if info.key >= BIG_FILES:  # what comes now is no shard: digits sort before it
                    break
                shard = _shard(info, part.store)
                if shard is None:
                    continue
                _check_route(shard, stores)
                if shard.name.route.index not in part.routes and not misplaced:
                    continue
                if group and group[0].name.route != shard.name.route:
                    yield newest_first(group)
                    group = []
                group.append(shard)
        if group:
            yield newest_first(group)


def check_day(day: str | None) -> str | None:
    """Return a day. Raises UsageError unless it is None or YYYYMMDD."""
    if day is not None and not (len(day) == _DAY_DIGITS and day.isascii() and day.isdigit()):
        raise UsageError(f"a day is YYYYMMDD, such as 20240101, not {day!r}")
    return day


def newest_first(shards: list[Shard]) -> tuple[Shard, ...]:
    """Return shards of one route, the highest number first."""
    return tuple(sorted(shards, key=lambda shard: shard.name.number, reverse=True))


def _check_route(shard: Shard, stores: Stores) -> None:
    route = shard.name.route
    if len(route.hex) != hex_width(stores.n_bits) or route.index >= 1 << stores.n_bits:
        raise UsageError(
            f"{shard.key} in {shard.store.url} is not of an archive with {stores.n_bits} bits: name the right --n-bits"
        )


def _shard(info: ObjectInfo, store: ObjectStore) -> Shard | None:
    name = shard_name(info.key)
    return None if name is None else Shard(name, store, info.size, info.tag)
