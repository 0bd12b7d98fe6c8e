"""The plan: which files of a manifest go together into one shard. The same files give the same plan, in any order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from storefs.archive import proof
from storefs.archive.routing import Route
from storefs.archive.sorting import Record
from storefs.shard.format import INDEX_BYTES_MAX

SHARD_BYTES = 1 << 30
BIG_FILE_BYTES = 10 << 20

_FIELDS_BYTES = 256

_INDEX_BYTES = INDEX_BYTES_MAX // 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where shards end.

    Attributes:
        shard_bytes: the most content of one shard, before compression. A file that is longer has a shard of its own.
        big_file_bytes: files longer than this lie beside their shard.
    """

    shard_bytes: int = SHARD_BYTES
    big_file_bytes: int = BIG_FILE_BYTES


@dataclass(frozen=True, slots=True)
class Planned:
    """A file's place in the plan: which shard of its route it goes into, from 0 on. ``size`` is in bytes."""

    route: Route
    uid: str
    number: int
    size: int
    source: str
    big: bool
    shard: int


def record(route: Route, uid: str, number: int, size: int, source: str) -> Record:
    """Return what is sorted, to be given to ``plan`` in order."""
    return [route.day, route.hex, uid, number, size, source]


def plan(records: Iterable[Record], bounds: Bounds) -> Iterator[Planned]:
    """Yield the files in the order in which they are packed. Those with one uid are in one shard."""
    for (day, name), group in groupby(records, key=lambda one: (one[0], one[1])):
        route = Route(day, name)
        shard = filled = index = 0
        last = ""
        for _, _, uid, number, size, source in group:
            big = size > bounds.big_file_bytes
            content = 0 if big or (index and uid == last) else size  # one of several of a uid is packed
            entry = len(uid.encode()) + _entry_bytes(size, big=big)
            full = filled + content > bounds.shard_bytes or index + entry > _INDEX_BYTES
            if full and index and uid != last:
                shard += 1
                filled = index = 0
            filled += content
            index += entry
            last = uid
            yield Planned(route, uid, number, size, source, big, shard)


def _entry_bytes(size: int, *, big: bool) -> int:
    """Return what an entry takes in the index besides its name, at most: its fields, and its digests."""
    return _FIELDS_BYTES + (proof.blocks_meta_bytes(size) if big else 0)


@dataclass(slots=True)
class Estimate:
    """What packing will make, at most: files that are there already or cannot be read make it less."""

    files: int = 0
    bytes: int = 0
    big_files: int = 0
    big_bytes: int = 0
    shards: int = 0

    def add(self, other: "Estimate") -> None:
        """Take in another one."""
        self.files += other.files
        self.bytes += other.bytes
        self.big_files += other.big_files
        self.big_bytes += other.big_bytes
        self.shards += other.shards


def estimate(planned: Iterable[Planned]) -> dict[str, Estimate]:
    """Return the estimate of each day."""
    days: dict[str, Estimate] = {}
    last: tuple[Route, int] | None = None
    for one in planned:
        day = days.setdefault(one.route.day, Estimate())
        if (one.route, one.shard) != last:
            last = one.route, one.shard
            day.shards += 1
        day.files += 1
        day.bytes += one.size
        day.big_files += one.big
        day.big_bytes += one.size if one.big else 0
    return days
