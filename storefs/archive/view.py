"""The view: an archive as a store that can be mounted, read-only. Its tree is ``YYYYMMDD/uid``.

A mount needs a store's identity, a snapshot of its tree, and shards; an archive has shards. The rest is made up here:
the snapshot from the shards' indexes as they are when it is asked for. So everything that makes mounts fast serves
archives too, and nothing of it has to know of them.
"""

import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from storefs.archive.contents import Found
from storefs.archive.picture import BIG_FILES_DAY, FOLDER_MODE, Picture, big_file_id, day_of, shard_id
from storefs.archive.reader import ArchiveReader
from storefs.archive.requests import listed
from storefs.archive.routing import BIG_FILES
from storefs.archive.shards import routes
from storefs.core import keys, storeinfo
from storefs.core.chunking import ChunkSizes
from storefs.core.digest import digest, digest_of
from storefs.core.storeinfo import StoreInfo
from storefs.errors import Corrupt, NotAStore, ObjectMissing, ReadOnly
from storefs.model import ObjectInfo
from storefs.ports import Body, ObjectStore, Offload
from storefs.shard import codec
from storefs.tree.database import Database, remove_database
from storefs.tree.local import Local, Position
from storefs.tree.snapshot import SnapshotWriter

_SEQ = 1
_SNAPSHOT = keys.snapshot(_SEQ)
_BATCH = 2000
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Object:
    """Where a shard, or a big file, really is."""

    store: ObjectStore
    key: str


class ArchiveView:
    """An ``ObjectStore`` that shows an archive as the store of one commit: its tree at the time of ``open``.

    Whatever is written is refused with ReadOnly.
    """

    def __init__(self, reader: ArchiveReader, offload: Offload, folder: Path, owner: tuple[int, int]) -> None:
        """Show the archive of ``reader``; ``folder`` takes the snapshot while it is made and fetched, ``owner`` is
        whom the files belong to (uid, gid).
        """
        self._reader = reader
        self._offload = offload
        self._folder = folder
        self._owner = owner
        self._objects: dict[str, _Object] = {}
        self._position: Position | None = None
        self._packed: Path | None = None

    @property
    def url(self) -> str:
        """The names of the stores behind."""
        return f"archive {self._reader.stores.name}"

    async def open(self) -> Position:
        """Look which shards there are, once; return the position that stands for just these.

        Raises NotAStore when there are none, and the store's errors.
        """
        if self._position is not None:
            return self._position
        names = []
        async with aclosing(routes(self._reader.stores)) as every:
            async for shards in every:
                for shard in shards:
                    place = keys.shard(shard_id(shard), day_of(shard))
                    self._objects[place] = _Object(shard.store, shard.key)
                    names.append(f"{shard.store.url}\0{shard.key}\0{shard.size}\0{shard.tag}")
        if not names:
            raise NotAStore(f"{self._reader.stores.name} holds no shards: name the place where the archive lies")
        for part in self._reader.stores.parts:
            async for info in listed(part.store, BIG_FILES):
                place = keys.shard(big_file_id(info.key.removeprefix(BIG_FILES)), BIG_FILES_DAY)
                self._objects[place] = _Object(part.store, info.key)
        chain = digest("\n".join(sorted(names)).encode())
        self._position = Position(_SEQ, chain[:_ID_BYTES], chain)
        return self._position

    async def drop_outdated(self, replica: Path) -> None:
        """Remove the replica of an earlier mount if there are other shards now: it has to be made anew then."""
        position = await self.open()
        if replica.exists() and await self._offload.run(_position, replica) != position:  # noqa: ASYNC240 - own disk
            await self._offload.run(remove_database, replica)

    # --- the store ----------------------------------------------------------------------------------------------------

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return part of an object; see the port."""
        if key == keys.STORE_INFO:
            await self.open()
            return storeinfo.pack(self._info())
        if key == _SNAPSHOT:
            return await self._offload.run(_read, await self._snapshot(), start, length)
        found = self._objects.get(key)
        if found is None:
            raise ObjectMissing(f"{self.url} has no {key}")
        return await found.store.get(found.key, start, length)

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        """Fill ``memory`` with part of one of the archive's objects."""
        found = self._objects.get(key)
        if found is None:
            raise ObjectMissing(f"{self.url} has no {key}")
        return await found.store.get_into(found.key, start, memory)

    async def head(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectMissing."""
        if key == _SNAPSHOT:
            return ObjectInfo(key, (await self._snapshot()).stat().st_size, "", 0.0)
        found = self._objects.get(key)
        if found is None:
            raise ObjectMissing(f"{self.url} has no {key}")
        return await found.store.head(found.key)

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Return the snapshot, where it is meant: nobody has to list anything else."""
        wanted = _SNAPSHOT.startswith(prefix) and after < _SNAPSHOT and limit > 0
        return [await self.head(_SNAPSHOT)] if wanted else []

    async def put(self, key: str, body: Body) -> str:
        """Refuse."""
        del body
        self._refuse(key)

    async def put_if_absent(self, key: str, body: Body) -> str:
        """Refuse."""
        del body
        self._refuse(key)

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        """Refuse."""
        del body, tag
        self._refuse(key)

    async def delete(self, keys: Sequence[str]) -> None:
        """Refuse."""
        self._refuse(", ".join(keys))

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        """Find none: whoever packs looks after that."""
        del before_s, dry_run
        return 0

    async def close(self) -> None:
        """Close the stores behind, and remove the snapshot."""
        self._forget_snapshot()
        await self._reader.stores.close()

    def _refuse(self, what: str) -> NoReturn:
        raise ReadOnly(f"an archive is only read; {what} was to be written: mount it with ro")

    # --- the tree -----------------------------------------------------------------------------------------------------

    def _info(self) -> StoreInfo:
        """Return the identity of the archive, by the names of its stores: what is cached of it stays of use."""
        store = digest_of(b"storefs archive", self._reader.stores.name.encode())[:_ID_BYTES]
        return StoreInfo(store, 0, FOLDER_MODE, *self._owner, ChunkSizes())

    async def _snapshot(self) -> Path:
        """Return the file of the snapshot, made now if it is not there. Raises Corrupt, NoSpace, the store's errors."""
        position = await self.open()
        if self._packed is not None:
            return self._packed
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            plain, packed = Path(scratch) / "tree", self._folder / "archive.sqlite.zst"
            writer = await self._offload.run(SnapshotWriter, plain, self._info(), position)
            try:
                await self._draw(Picture(writer, self._owner))
                await self._offload.run(writer.finish)
            finally:
                writer.close()
            await self._offload.run(codec.compress_file, plain, packed, codec.LEVEL_FAST)
        self._packed = packed
        return packed

    async def _draw(self, picture: Picture) -> None:
        batch: list[Found] = []
        async with aclosing(self._reader.entries()) as entries:
            async for found in entries:
                batch.append(found)
                if len(batch) == _BATCH:
                    await self._offload.run(picture.add, batch)
                    batch = []
        await self._offload.run(picture.add, batch)

    def _forget_snapshot(self) -> None:
        if self._packed is not None:
            self._packed.unlink(missing_ok=True)
            self._packed = None


def _position(replica: Path) -> Position | None:
    """Return where a replica stands, or None if it is not readable."""
    try:
        database = Database(replica)
        try:
            return Local(database).position
        finally:
            database.close()
    except Corrupt:
        return None


def _read(path: Path, start: int, length: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)
