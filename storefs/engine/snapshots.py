"""Snapshots in the store: written now and then, so that a new mount need not read the whole journal."""

import logging
from pathlib import Path

from storefs.core import keys
from storefs.engine.limits import Limits
from storefs.engine.listing import listed
from storefs.errors import Corrupt, ObjectMissing, PreconditionFailed, StorefsError, UsageError
from storefs.model import ObjectInfo
from storefs.ports import ObjectStore, Offload
from storefs.shard import codec
from storefs.tree import snapshot
from storefs.tree.snapshot import SnapshotInfo
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_BYTES_MAX = 1 << 40
_PIECE_BYTES = 32 << 20


class Snapshots:
    """The snapshots of a store."""

    def __init__(self, store: ObjectStore, offload: Offload, limits: Limits) -> None:
        self._store = store
        self._offload = offload
        self._limits = limits

    async def newest(self) -> list[int]:
        """Return the commit numbers that have a snapshot, newest first."""
        found: list[int] = []
        async for info in listed(self._store, keys.SNAPSHOTS):
            if info.key.startswith(keys.NAMED_SNAPSHOTS):
                continue
            try:
                found.append(keys.snapshot_seq(info.key))
            except ValueError:
                log.warning("ignoring the foreign object %s", info.key)
        return sorted(found, reverse=True)

    async def fetch(self, key: str, path: Path) -> SnapshotInfo:
        """Download a snapshot to the new file ``path``, check it, and return what it says of itself.

        Raises Corrupt, ObjectMissing, UnknownFormat; what there is of the file then is removed.
        """
        packed = path.with_suffix(f"{path.suffix}.zst")
        try:
            await self._download(key, packed)
            await self._offload.run(codec.decompress_file, packed, path, _BYTES_MAX)
            return await self._offload.run(snapshot.read_info, path)
        except BaseException:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - on the own disk
            raise
        finally:
            packed.unlink(missing_ok=True)

    async def restore(self, path: Path, store: bytes) -> bool:
        """Make the replica ``path`` from the newest snapshot that is whole; False when there is none.

        A damaged one is passed over, loudly: the one before it and more of the journal give the same tree. Raises
        Corrupt for one of another store than ``store``.
        """
        plain = path.with_suffix(".part")
        for seq in await self.newest():
            try:
                info = await self.fetch(keys.snapshot(seq), plain)
            except (ObjectMissing, Corrupt) as error:
                log.error("snapshot %d is passed over: %s", seq, error)
                continue
            if info.store != store:
                plain.unlink()
                raise Corrupt(f"a snapshot belongs to the store {info.store.hex()}, not to {store.hex()}")
            await self._offload.run(snapshot.adopt, plain, info)
            plain.rename(path)
            return True
        return False

    async def _download(self, key: str, target: Path) -> None:
        """Copy an object into a file, piece by piece: the snapshot of a large tree does not belong into memory."""
        size = (await self._store.head(key)).size
        for start in range(0, max(size, 1), _PIECE_BYTES):
            piece = await self._store.get(key, start, _PIECE_BYTES)
            await self._offload.run(_write_at, target, start, piece)

    def due(self, tree: Tree, *, unmounting: bool) -> bool:
        """Whether enough was committed since the last snapshot that this mount knows of."""
        last = tree.local.get("snapshot")
        commits = tree.local.position.seq - (last if isinstance(last, int) else 0)
        size = tree.local.get("journal_bytes")
        limits = self._limits
        commits_due, bytes_due = (
            (limits.snapshot_commits_unmount, limits.snapshot_bytes_unmount)
            if unmounting
            else (limits.snapshot_commits, limits.snapshot_bytes)
        )
        return commits >= commits_due or (isinstance(size, int) and size >= bytes_due)

    async def write(self, tree: Tree, replica: Path) -> None:
        """Put a snapshot of the tree at the replica's position. Failing is no loss: the journal has it all."""
        plain, packed = replica.with_suffix(".snapshot"), replica.with_suffix(".snapshot.zst")
        try:
            seq = await self._pack(replica, plain, packed)
            await self._store.put(keys.snapshot(seq), packed)
            with tree.database.transaction():
                tree.local.put("snapshot", seq)
                tree.local.put("journal_bytes", 0)
            log.info("wrote the snapshot of commit %d", seq)
        except (StorefsError, OSError) as error:
            log.warning("no snapshot was written: %s", error)
        finally:
            plain.unlink(missing_ok=True)
            packed.unlink(missing_ok=True)

    async def _pack(self, replica: Path, plain: Path, packed: Path) -> int:
        """Make the object of a snapshot of a replica; return its commit number."""
        info = await self._offload.run(snapshot.write, replica, plain)
        await self._offload.run(codec.compress_file, plain, packed, 3)
        return info.position.seq

    async def write_named(self, name: str, replica: Path) -> int:
        """Put the tree at the replica's position under a name, for good; return its commit number.

        Raises UsageError for a name that cannot be or is taken, and the store's errors.
        """
        key = _named(name)
        plain, packed = replica.with_suffix(".named"), replica.with_suffix(".named.zst")
        try:
            seq = await self._pack(replica, plain, packed)
            await self._store.put_if_absent(key, packed)
        except PreconditionFailed as error:
            raise UsageError(f"there is a snapshot {name} already: delete it first, or take another name") from error
        finally:
            plain.unlink(missing_ok=True)
            packed.unlink(missing_ok=True)
        return seq

    async def named(self) -> dict[str, ObjectInfo]:
        """Return the snapshots that have names, by name."""
        found: dict[str, ObjectInfo] = {}
        async for info in listed(self._store, keys.NAMED_SNAPSHOTS):
            try:
                found[keys.snapshot_name(info.key)] = info
            except ValueError:
                log.warning("ignoring the foreign object %s", info.key)
        return found

    async def delete_named(self, name: str) -> None:
        """Delete a snapshot that has a name. Raises UsageError when there is none."""
        if name not in await self.named():
            raise UsageError(f"there is no snapshot {name}")
        await self._store.delete([_named(name)])


def _named(name: str) -> str:
    try:
        return keys.named_snapshot(name)
    except ValueError:
        raise UsageError(
            f"{name!r} cannot name a snapshot: up to 100 letters, digits, '_', '-' and '.', not '.' or '-' first"
        ) from None


def _write_at(path: Path, start: int, piece: bytes) -> None:
    """Write a piece of a file; the first one makes the file anew."""
    with path.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.write(piece)
