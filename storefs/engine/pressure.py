"""Pressure: what keeps the cache within its limit, and writers from running away from the store."""

import logging

import trio

from storefs.cache.chunks import ChunkCache
from storefs.cache.staging import Staging
from storefs.engine.commit import Committer
from storefs.engine.cut import Cutter
from storefs.engine.limits import Limits
from storefs.errors import NoSpace, NotCommitted
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_LOOK_S = 0.2


class Pressure:
    """Knows how much waits for the store, and what may leave the disk."""

    def __init__(
        self,
        tree: Tree,
        staging: Staging,
        cache: ChunkCache,
        cutter: Cutter,
        committer: Committer,
        limits: Limits,
    ) -> None:
        self._tree = tree
        self._staging = staging
        self._cache = cache
        self._cutter = cutter
        self._committer = committer
        self._limits = limits
        self._looked_s = -1.0
        self._shard_bytes = 0
        self._free_bytes = 0

    @property
    def dirty_bytes(self) -> int:
        """How many bytes on this disk the store does not have: staged writes, shards, changes of the tree."""
        self._look()
        return self._staging.live_bytes + self._shard_bytes + self._tree.pending.bytes

    def _look(self) -> None:
        """Ask the tree and the disk anew what each write would have to know, if the last answer is old."""
        now_s = trio.current_time()
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            files = self._cache.files
            self._shard_bytes = sum(files.size(shard.shard) for shard in self._tree.shards.dirty())
            self._free_bytes = self._cache.free_bytes

    async def admit(self) -> None:
        """Return when a write may be taken in.

        Raises NotCommitted when too much waits for a store that takes nothing, NoSpace when the local disk is full.
        """
        if self._has_room():
            return
        with trio.move_on_after(self._limits.store_deadline_s):
            while not self._has_room():
                self.evict()
                await self._cutter.drain()
                self._committer.wake()
                await trio.sleep(_LOOK_S)
            return
        trouble = self._committer.trouble
        if self.dirty_bytes < self._limits.dirty_bytes:
            raise NoSpace(
                f"the disk of the cache has {self._cache.free_bytes} bytes left{f': {trouble}' if trouble else ''}"
            )
        raise NotCommitted(
            f"{self.dirty_bytes} bytes wait for the store, the limit is {self._limits.dirty_bytes}"
            f"{f': {trouble}' if trouble else ''}"
        )

    def _has_room(self) -> bool:
        """Whether limit and disk have room for a write: what is staged takes its length again when it is cut."""
        self._look()
        if self.dirty_bytes >= self._limits.dirty_bytes:
            return False
        # As of the last look: a write that finds the disk full after all is told by the disk.
        return self._free_bytes - self._limits.spare_bytes // 2 >= self._staging.live_bytes

    def evict(self, at_least: int = 0) -> int:
        """Bring the cache back under its limit (freeing ``at_least`` bytes if it can); return how many bytes went."""
        over_limit = self._cache.disk_bytes + self._staging.disk_bytes - self._limits.cache_bytes
        excess = max(at_least, over_limit, self._limits.spare_bytes - self._cache.free_bytes)
        if excess <= 0:
            return 0
        kept = {bytes(shard.shard) for shard in self._tree.shards.dirty()} | self._tree.shards.held_shards()
        freed = self._cache.evict(excess, self._tree.shards.held(), kept)
        log.debug("evicted %d of %d bytes", freed, excess)
        return freed

    async def run(self) -> None:
        """Evict whenever the cache is over its limit, for as long as the mount lives."""
        while True:
            await trio.sleep(_LOOK_S)
            self.evict()
