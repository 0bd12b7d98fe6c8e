"""Sweeping: deleting from the store what nothing needs any more, a grace period after that became so.

The memory of what was needed when are the snapshots: commits are deleted once a snapshot that holds them is older than
the grace period; chunks leave the index once they were unused for so long; shards are deleted once neither the tree nor
any snapshot names them. Whoever looks at the store less often than that recovers from a snapshot.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from storefs.core import keys
from storefs.engine.commit import Committer
from storefs.engine.cut import Cutter
from storefs.engine.journal import Journal
from storefs.engine.limits import Limits
from storefs.engine.listing import listed
from storefs.engine.snapshots import Snapshots
from storefs.errors import ObjectMissing
from storefs.model import ObjectInfo
from storefs.ports import ObjectStore, Offload
from storefs.tree import garbage
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_DELETED_AT_ONCE = 1000


@dataclass(slots=True)
class Swept:
    """What a sweep found and, unless it was only to look, did.

    Attributes:
        commits, snapshots, shards: objects that were deleted; ``bytes`` theirs.
        uploads: uploads in parts that were never completed, given up.
        chunks: chunks that left the index, of ``chunk_bytes`` stored bytes; their shards may hold others.
    """

    commits: int = 0
    snapshots: int = 0
    shards: int = 0
    bytes: int = 0
    uploads: int = 0
    chunks: int = 0
    chunk_bytes: int = 0


class Sweeper:
    """Sweeps one store. Safe beside mounts that write and beside other sweepers, and to cut off anywhere."""

    def __init__(
        self,
        tree: Tree,
        cutter: Cutter,
        committer: Committer,
        store: ObjectStore,
        journal: Journal,
        snapshots: Snapshots,
        offload: Offload,
        limits: Limits,
    ) -> None:
        self._tree = tree
        self._cutter = cutter
        self._committer = committer
        self._store = store
        self._journal = journal
        self._snapshots = snapshots
        self._offload = offload
        self._limits = limits

    async def sweep(self, *, dry_run: bool = False) -> Swept:
        """Delete what may go. Raises the store's errors; what was done until then is done."""
        swept = Swept()
        now_s = await self._store_time_s()
        old = await self._oldest_needed(now_s)
        if old is None:
            return swept
        await self._prune(keys.snapshot_seq(old.key), swept, dry_run=dry_run)
        past = self._tree.database.path.with_suffix(".old")
        await self._snapshots.fetch(old.key, past)
        try:
            await self._drop_chunks(past, swept, dry_run=dry_run)
            await self._delete_shards(now_s, past, swept, dry_run=dry_run)
            swept.uploads = await self._store.drop_unfinished(now_s - self._limits.grace_s, dry_run=dry_run)
        finally:
            past.unlink(missing_ok=True)
        return swept

    async def _oldest_needed(self, now_s: float) -> ObjectInfo | None:
        """Return the newest snapshot that is older than the grace period."""
        found = None
        async for info in listed(self._store, keys.SNAPSHOTS):
            if not info.key.startswith(keys.NAMED_SNAPSHOTS) and info.modified_s < now_s - self._limits.grace_s:
                found = info
        return found

    async def _store_time_s(self) -> float:
        """Return the time by the store's own clock, in s since 1970: it is that clock that objects are dated by."""
        await self._store.put(keys.CLOCK, b"\n")
        return (await self._store.head(keys.CLOCK)).modified_s

    async def _prune(self, upto: int, swept: Swept, *, dry_run: bool) -> None:
        """Delete the commits up to ``upto``, and the snapshots before it."""
        commits = [info async for info in listed(self._store, keys.JOURNAL) if info.key <= keys.journal(upto)]
        older = [
            info
            async for info in listed(self._store, keys.SNAPSHOTS)
            if not info.key.startswith(keys.NAMED_SNAPSHOTS) and info.key < keys.snapshot(upto)
        ]
        if commits and not dry_run:
            await self._raise_floor(upto)
        swept.commits = await self._delete(commits, swept, dry_run=dry_run)
        swept.snapshots = await self._delete(older, swept, dry_run=dry_run)

    async def _raise_floor(self, upto: int) -> None:
        """Say that commits up to ``upto`` may be gone, before the first of them is. It never falls."""
        body = f"{upto}\n".encode()
        try:
            tag = (await self._store.head(keys.FLOOR)).tag
        except ObjectMissing:
            await self._store.put_if_absent(keys.FLOOR, body)
            return
        if await self._journal.floor() < upto:
            await self._store.put_if_match(keys.FLOOR, body, tag)

    async def _drop_chunks(self, old: Path, swept: Swept, *, dry_run: bool) -> None:
        """Take chunks out of the index that no file has needed since the snapshot ``old``."""
        dead = await self._offload.run(garbage.dead_chunks, self._tree.database.path, old)
        # While nothing is being cut: what is cut next looks for its chunks in the index, and may find one of these.
        async with self._cutter.lock:
            gone = dead.chunks if dry_run else garbage.still_dead(self._tree, dead)[: self._limits.commit_rows]
            if gone and not dry_run:
                garbage.drop(self._tree, [chunk for chunk, _ in gone])
        swept.chunks, swept.chunk_bytes = len(gone), sum(size for _, size in gone)

    async def _delete_shards(self, now_s: float, old: Path, swept: Swept, *, dry_run: bool) -> None:
        """Delete shards that neither the tree nor a snapshot names, and that were not just uploaded."""
        named = await self._offload.run(garbage.shards_of, old)
        async for info in listed(self._store, keys.NAMED_SNAPSHOTS):
            one = self._tree.database.path.with_suffix(".named")
            await self._snapshots.fetch(info.key, one)
            try:
                named |= await self._offload.run(garbage.shards_of, one)
            finally:
                one.unlink(missing_ok=True)
        young = now_s - self._limits.grace_s
        old_shards = [info async for info in listed(self._store, keys.SHARDS) if info.modified_s < young]
        # After the listing: whoever committed one of these since is heard now.
        async with self._committer.lock:
            await self._committer.advance()
        named |= garbage.shards_in(self._tree)
        shards = [(shard[0], info) for info in old_shards if (shard := keys.shard_named(info.key)) is not None]
        unnamed = [info for shard, info in shards if shard not in named]
        swept.shards = await self._delete(unnamed, swept, dry_run=dry_run)

    async def _delete(self, objects: list[ObjectInfo], swept: Swept, *, dry_run: bool) -> int:
        for start in range(0, len(objects), _DELETED_AT_ONCE):
            some = objects[start : start + _DELETED_AT_ONCE]
            if not dry_run:
                await self._store.delete([info.key for info in some])
            swept.bytes += sum(info.size for info in some)
        return len(objects)
