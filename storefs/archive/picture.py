"""The picture: the files of an archive as a tree of days, written into a snapshot."""

import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from storefs.archive import proof
from storefs.archive.contents import Found
from storefs.archive.filenames import file_name
from storefs.archive.shards import Shard
from storefs.core.digest import digest
from storefs.errors import Corrupt
from storefs.model import ROOT_INO, SHARD_ID_BYTES, ChunkId, ChunkPlace, Codec, Extent, ShardId, ShardInfo
from storefs.shard.format import BigFileEntry, InlineEntry
from storefs.shard.reader import named_by_place
from storefs.tree.snapshot import SnapshotWriter

FILE_MODE = stat.S_IFREG | 0o444
FOLDER_MODE = stat.S_IFDIR | 0o555

BIG_FILES_DAY = 0
"""Big files belong to no day: several may name one."""

_FIRST_INO = 1 << 40
"""Where the numbers of files begin that a mount made: those below are the root's and the control directory's."""

_PIECE_BYTES = 4 << 20
"""What can be read in part is divided into chunks of this length."""


class Picture:
    """Draws files in the order of their shards, so that neighbours there are neighbours by inode number too.

    All times of a file are the midnight (UTC) that its day begins with: an archive knows no more.
    """

    def __init__(self, writer: SnapshotWriter, owner: tuple[int, int]) -> None:
        self._writer = writer
        self._owner = owner
        self._last = _FIRST_INO
        self._folders: dict[str, tuple[int, int]] = {}
        self._shard: tuple[Shard, ShardId] | None = None

    def add(self, batch: Iterable[Found]) -> None:
        """Draw some files. Raises Corrupt for digests that are none."""
        for found in batch:
            self._add(found)
        self._writer.flush()

    def _add(self, found: Found) -> None:
        entry, day = found.entry, found.shard.name.route.day
        folder, time_ns = self._folders.get(day) or self._add_folder(day)
        ino = self._take()
        self._writer.add_inode(ino, FILE_MODE, *self._owner, entry.size, time_ns)
        self._writer.add_name(folder, file_name(entry.name), ino, FILE_MODE)
        if not entry.size:
            return
        if isinstance(entry, BigFileEntry):
            self._writer.add_shard(ShardInfo(big_file_id(entry.sha256), BIG_FILES_DAY, entry.size))
            places = _of_big_file(entry)
        else:
            places = _of_entry(entry, self._shard_of(found.shard))
        at = 0
        for place in places:
            self._writer.add_chunk(place)
            self._writer.add_extent(ino, Extent(at, place.size, place.chunk, 0))
            at += place.size

    def _add_folder(self, day: str) -> tuple[int, int]:
        """Draw a day; return its inode number, and the time of what is in it."""
        ino, time_ns = self._folders[day] = self._take(), _midnight_ns(day)
        self._writer.add_inode(ino, FOLDER_MODE, *self._owner, 0, time_ns)
        self._writer.add_name(ROOT_INO, day.encode(), ino, FOLDER_MODE)
        return ino, time_ns

    def _shard_of(self, shard: Shard) -> ShardId:
        """Draw the shard that is next, and return its id."""
        if self._shard is None or self._shard[0] is not shard:
            self._shard = shard, shard_id(shard)
            self._writer.add_shard(ShardInfo(self._shard[1], day_of(shard), shard.size))
        return self._shard[1]

    def _take(self) -> int:
        self._last += 1
        return self._last


def shard_id(shard: Shard) -> ShardId:
    """Return the id under which a mount knows a shard: another one when another shard gets its key."""
    return _id(f"{shard.store.url}\0{shard.key}\0{shard.size}\0{shard.tag}")


def big_file_id(sha256: str) -> ShardId:
    """Return the id under which a mount knows a big file."""
    return _id(sha256)


def day_of(shard: Shard) -> int:
    """Return a shard's day as a number, YYYYMMDD."""
    return int(shard.name.route.day)


def _id(text: str) -> ShardId:
    return ShardId(digest(text.encode())[:SHARD_ID_BYTES])


def _of_entry(entry: InlineEntry, shard: ShardId) -> Iterator[ChunkPlace]:
    """Yield the chunks of an inline entry: one, for it proves itself as a whole only; several where nothing does."""
    known = proof.digest_of(entry)
    if known is not None or entry.codec is not Codec.NONE:
        chunk = ChunkId(known) if known is not None else named_by_place(shard, entry.offset, entry.size)
        yield ChunkPlace(chunk, shard, entry.offset, entry.stored, entry.codec, entry.size)
        return
    yield from _pieces(shard, entry.offset, entry.size)


def _of_big_file(entry: BigFileEntry) -> Iterator[ChunkPlace]:
    shard = big_file_id(entry.sha256)
    blocks = proof.blocks_of(entry)
    if blocks is None:
        yield from _pieces(shard, 0, entry.size)
        return
    for number, known in enumerate(blocks.digests):
        at = number * blocks.size
        length = min(blocks.size, entry.size - at)
        yield ChunkPlace(ChunkId(known), shard, at, length, Codec.NONE, length)


def _pieces(shard: ShardId, offset: int, size: int) -> Iterator[ChunkPlace]:
    """Yield chunks of raw bytes whose digests nobody knows."""
    for at in range(offset, offset + size, _PIECE_BYTES):
        length = min(_PIECE_BYTES, offset + size - at)
        yield ChunkPlace(named_by_place(shard, at, length), shard, at, length, Codec.NONE, length)


def _midnight_ns(day: str) -> int:
    try:
        return int(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        raise Corrupt(f"{day} is no day, but shards are named after it") from None
