"""Reading an archive: a file by its uid and the time it was made, with three range requests at most."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from storefs.archive.bulk import Bulk, Outcome, Request
from storefs.archive.contents import Contents, Found, Write, is_proven, where
from storefs.archive.finder import Finder
from storefs.archive.indexes import Indexes
from storefs.archive.requests import Requests
from storefs.archive.routing import N_BITS
from storefs.archive.shards import Shards
from storefs.archive.stores import Stores
from storefs.archive.walk import Walk
from storefs.errors import Corrupt, ObjectMissing, StorefsError, UsageError, cause_of
from storefs.metrics import Metrics
from storefs.model import Codec
from storefs.ports import ObjectStore, Offload
from storefs.shard.format import BigFileEntry

INDEX_BYTES = 256 << 20
LISTING_TTL_S = 60.0


@dataclass(frozen=True, slots=True)
class FileStat:
    """What an archive knows of a file without reading it.

    Attributes:
        uid, day: its name, and the day (YYYYMMDD, UTC) it is filed under.
        size: the content's bytes.
        stored: the bytes that it takes in the store.
        codec: how its payload is stored; None for a big file.
        shard: the key of the shard that names it.
        sha256: of a big file, in hex; None for any other.
        proven: whether it has digests of its own, so that any change of its bytes is found. A big file without is
            proven when it is read as a whole, and in parts not.
    """

    uid: str
    day: str
    size: int
    stored: int
    codec: Codec | None
    shard: str
    sha256: str | None
    proven: bool


class ArchiveReader:
    """Reads one archive, which lies in one store or in zones. Any number of tasks may use it at once.

    A file is found by its uid and the day it was made (UTC): the shards of its route are listed and their indexes read,
    the newest first. Listings are remembered for ``listing_ttl_s`` seconds and asked for again when a uid is not in
    one or a shard has gone; until then a newer version of a file may not be seen. Indexes are kept in memory,
    ``index_bytes`` of them at most.

    Whatever is returned was held against its digest. An entry without one (other packers write none) is only as sure as
    its codec: lz4 frames carry a checksum, zstd frames and raw payloads do not. Corrupt names shard and uid.
    ObjectMissing means that there is no such file. Any other error is the store's, and says nothing about the file.
    """

    def __init__(
        self,
        place: ObjectStore | Stores,
        offload: Offload,
        n_bits: int = N_BITS,
        *,
        index_bytes: int = INDEX_BYTES,
        listing_ttl_s: float = LISTING_TTL_S,
        metrics: Metrics | None = None,
        backend: str = "archive",
    ) -> None:
        """Read the archive in ``place``; nothing is asked of it yet. Raises UsageError.

        With ``Stores`` it is they who know ``n_bits``. ``backend`` is what the rows ``des_*`` of ``metrics`` call this
        archive.
        """
        self.stores = place if isinstance(place, Stores) else Stores.single(place, n_bits)
        self.metrics = metrics or Metrics()
        self.backend = backend
        requests = Requests(self.metrics, backend)
        shards = Shards(self.stores, listing_ttl_s)
        self._indexes = Indexes(requests, offload, self.stores.n_bits, index_bytes)
        self._contents = Contents(requests, offload)
        self._finder = Finder(self.stores, shards, self._indexes)
        self._bulk = Bulk(self._finder, requests, self._contents)
        self._walk = Walk(self._finder, requests, self._contents)

    @property
    def index_bytes(self) -> int:
        """The memory that indexes take now."""
        return self._indexes.kept_bytes

    # --- one file -----------------------------------------------------------------------------------------------------

    async def get(self, uid: str, created_at: datetime) -> bytes:
        """Return a file's content. Raises ObjectMissing, Corrupt, UsageError, and the store's errors."""
        return await self._finder.use(uid, created_at, self._contents.whole)

    async def get_range(self, uid: str, created_at: datetime, start: int, length: int | None = None) -> bytes:
        """Return ``length`` bytes of a file from ``start`` on (all that follow if None); fewer where it ends.

        Of a big file only the blocks are read that are needed, and each is proven; one without digests of blocks is
        read in part and not proven, as is a raw payload without a digest. Anything else is read and proven as a whole.
        Raises as ``get`` does.
        """
        if start < 0 or (length is not None and length < 0):
            raise UsageError(f"a range starts at 0 or later and has no negative length, not {start} and {length}")

        async def part(found: Found) -> bytes:
            size = found.entry.size
            first = min(start, size)
            return await self._contents.part(found, first, size if length is None else min(first + length, size))

        return await self._finder.use(uid, created_at, part)

    async def copy_to(self, uid: str, created_at: datetime, write: Write) -> int:
        """Pass a file's content on to ``write``, one piece after another; return its size.

        Memory is taken for some 16 MiB, more for files above 16 GiB. Each piece is proven, but of a big file without
        digests of blocks: after Corrupt, nothing that was written may be used. Raises as ``get`` does.
        """
        written = 0

        async def copy(found: Found) -> StorefsError | None:
            nonlocal written
            try:
                async with self._contents.pieces(found) as pieces:
                    async for piece in pieces:
                        await write(piece)
                        written += len(piece)
            except ObjectMissing as error:
                if not written:
                    raise  # the finder looks where it is now
                return Corrupt(f"{where(found)}: it went while it was read: {error}")
            except Corrupt as error:
                if not written:
                    raise
                return error
            return None

        error = await self._finder.use(uid, created_at, copy)
        if error is not None:  # nothing starts again once something was written
            raise error
        return written

    async def stat(self, uid: str, created_at: datetime) -> FileStat:
        """Describe a file, without reading it. Raises as ``get`` does."""

        async def describe(found: Found) -> FileStat:
            return stat_of(found)

        return await self._finder.use(uid, created_at, describe)

    async def exists(self, uid: str, created_at: datetime) -> bool:
        """Whether there is such a file. Raises as ``get`` does, but for ObjectMissing."""
        try:
            await self.stat(uid, created_at)
        except ObjectMissing:
            return False
        return True

    # --- many files ---------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def get_many(self, requests: Iterable[Request]) -> AsyncIterator[AsyncIterator[Outcome]]:
        """Read many files: ``async with reader.get_many([(uid, created_at), ...]) as outcomes: async for ...``.

        Files that lie close together in a shard come in one request. Outcomes come in no order, one for each request;
        a file that is missing or damaged is an outcome too, and stops nothing. The store's errors do. ``requests`` may
        be longer than memory; some 4 MiB are in flight for each of a few tasks, or the longest file.
        """
        try:
            async with self._bulk.outcomes(requests) as some, aclosing(_one_by_one(some)) as outcomes:
                yield outcomes
        except BaseExceptionGroup as error:
            raise cause_of(error) from None

    async def files(self, day: str | None = None) -> AsyncGenerator[FileStat, None]:
        """Yield every file of the archive, or of one day (YYYYMMDD, UTC): each once, in the version that counts.

        The indexes of one route are in memory at a time. Raises Corrupt, and the store's errors.
        """
        async with aclosing(self.entries(day)) as found:
            async for one in found:
                yield stat_of(one)

    async def entries(self, day: str | None = None) -> AsyncGenerator[Found, None]:
        """Yield the same as entries of their shards."""
        async with aclosing(self._walk.files(day)) as found:
            async for one in found:
                yield one

    async def contents(self, day: str | None = None) -> AsyncGenerator[tuple[FileStat, bytes | None], None]:
        """Yield every file with its content, shard by shard; of big files None (``copy_to`` has theirs).

        The first damaged file raises Corrupt and ends it. Memory is taken for 4 MiB, or the longest file.
        """
        async with aclosing(self._walk.contents(day)) as read:
            async for found, content in read:
                yield stat_of(found), content


async def _one_by_one(some: AsyncIterator[list[Outcome]]) -> AsyncGenerator[Outcome, None]:
    async for outcomes in some:
        for outcome in outcomes:
            yield outcome


def stat_of(found: Found) -> FileStat:
    """Return what an entry says. Raises Corrupt for a digest that is none."""
    entry, shard = found.entry, found.shard
    facts = (entry.name, shard.name.route.day, entry.size)
    proven = is_proven(entry, shard.key)
    if isinstance(entry, BigFileEntry):
        return FileStat(*facts, entry.size, None, shard.key, entry.sha256, proven)
    return FileStat(*facts, entry.stored, entry.codec, shard.key, None, proven)
