"""Indexes of shards: fetched with one request or two, and kept in memory up to a bound."""

from collections import OrderedDict, defaultdict
from dataclasses import dataclass

import trio

from storefs.archive.lookup import Lookup
from storefs.archive.requests import Kind, Requests
from storefs.archive.shards import Shard
from storefs.errors import Corrupt
from storefs.ports import Offload
from storefs.shard.format import FOOTER_BYTES, HEADER_BYTES
from storefs.shard.index import parse_footer, parse_header

_TAIL_BYTES = 64 << 10
"""What the first request brings: the index of some hundred files, and all of a small shard."""

_LONG_BYTES = 256 << 10
"""An index above that is looked over in a thread."""

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Tail:
    """The bytes of a shard from ``start`` to its end, as the first request brought them."""

    start: int
    data: bytes

    def part(self, start: int, length: int) -> bytes | None:
        """Return a part of the shard, if it is in here."""
        if start < self.start:
            return None
        return self.data[start - self.start : start - self.start + length]


class Indexes:
    """The indexes of an archive's shards, those used last in memory: ``bytes_max`` of them at most."""

    def __init__(self, requests: Requests, offload: Offload, n_bits: int, bytes_max: int) -> None:
        self._requests = requests
        self._offload = offload
        self._n_bits = n_bits
        self._bytes_max = bytes_max
        self._kept: OrderedDict[_Key, Lookup] = OrderedDict()
        self._kept_bytes = 0
        self._loading: defaultdict[_Key, trio.Lock] = defaultdict(trio.Lock)

    @property
    def kept_bytes(self) -> int:
        """The memory that is taken now."""
        return self._kept_bytes

    async def of(self, shard: Shard) -> tuple[Lookup, Tail | None]:
        """Return the index of a shard, and the tail of the shard if it was just fetched.

        Raises Corrupt, naming the shard, ObjectMissing when the shard is gone, and the store's other errors.
        """
        key = (shard.store.url, shard.key, shard.tag)
        lock = self._loading[key]
        try:
            async with lock:
                known = self._kept.get(key)
                if known is not None:
                    self._kept.move_to_end(key)
                    return known, None
                lookup, tail = await self.load(shard)
                self._keep(key, lookup)
                return lookup, tail
        finally:
            if not lock.locked():
                self._loading.pop(key, None)

    async def load(self, shard: Shard) -> tuple[Lookup, Tail]:
        """Fetch an index, past the memory. Raises as ``of`` does."""
        try:
            tail, index_at = await self._fetch(shard)
            index = tail.data[index_at - tail.start : -FOOTER_BYTES]
            version = parse_header(tail.data[:HEADER_BYTES]) if tail.start == 0 else None
        except Corrupt as error:
            raise Corrupt(f"{shard.key}: {error}") from error
        facts = (index, version, shard.size, shard.name.route, self._n_bits, shard.key)
        if len(index) <= _LONG_BYTES:
            return Lookup(*facts), tail
        return await self._offload.run(Lookup, *facts), tail

    async def _fetch(self, shard: Shard) -> tuple[Tail, int]:
        """Return the end of a shard, from its index on at least, and where the index begins."""
        start = max(shard.size - _TAIL_BYTES, 0)
        data = await self._requests.range(shard.store, shard.key, start, shard.size - start, Kind.FOOTER)
        _check_length(data, shard.size - start)
        index_at = shard.size - FOOTER_BYTES - parse_footer(data[-FOOTER_BYTES:], shard.size)
        if index_at >= start:
            return Tail(start, data), index_at
        rest = await self._requests.range(shard.store, shard.key, index_at, start - index_at, Kind.INDEX)
        _check_length(rest, start - index_at)
        return Tail(index_at, rest + data), index_at

    def _keep(self, key: _Key, lookup: Lookup) -> None:
        if lookup.cost_bytes > self._bytes_max:
            return
        self._kept[key] = lookup
        self._kept_bytes += lookup.cost_bytes
        while self._kept_bytes > self._bytes_max:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.cost_bytes


def _check_length(data: bytes, expected: int) -> None:
    if len(data) != expected:
        raise Corrupt(f"{len(data)} bytes came, {expected} expected: it is shorter than its listing says")
