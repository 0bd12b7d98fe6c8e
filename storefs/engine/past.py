"""The past: trees of named snapshots, opened to be read beside the present one."""

import logging
from contextlib import suppress
from dataclasses import dataclass

import trio

from storefs.cache.chunks import ChunkCache, DecodedChunks
from storefs.cache.home import CacheHome
from storefs.cache.staging import Staging
from storefs.core import keys
from storefs.core.references import References
from storefs.engine.drafts import Drafts
from storefs.engine.fetch import Fetcher
from storefs.engine.limits import Limits
from storefs.engine.neighbours import Neighbours
from storefs.engine.read import Reader
from storefs.engine.readahead import ReadAhead
from storefs.engine.snapshots import Snapshots
from storefs.engine.trips import Trips
from storefs.model import ObjectInfo
from storefs.ports import KernelCache, ObjectStore, Offload
from storefs.tree import snapshot
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_LISTED_S = 1.0
"""How old the list of snapshots may be."""

_DECODED_PART = 4
"""A past tree has this part of the memory that the present one has for plain contents."""


@dataclass(frozen=True, slots=True)
class Past:
    """A tree as it was: its replica, and how its files are read."""

    tag: str
    tree: Tree
    reader: Reader


class Pasts:
    """All named snapshots of a store, opened when somebody looks into them; at the end of the mount they are closed."""

    def __init__(
        self,
        home: CacheHome,
        snapshots: Snapshots,
        store: ObjectStore,
        cache: ChunkCache,
        staging: Staging,
        kernel: KernelCache,
        offload: Offload,
        limits: Limits,
        nursery: trio.Nursery,
    ) -> None:
        self._folder = home.path / "past"
        self._snapshots = snapshots
        self._store = store
        self._cache = cache
        self._staging = staging
        self._kernel = kernel
        self._offload = offload
        self._limits = limits
        self._nursery = nursery
        self._open: dict[str, Past] = {}
        self._listed: dict[str, ObjectInfo] = {}
        self._listed_s = -_LISTED_S
        self._lock = trio.Lock()

    async def names(self) -> dict[str, ObjectInfo]:
        """Return what snapshots there are, as of a second ago at most. Raises the store's errors."""
        if trio.current_time() - self._listed_s > _LISTED_S:
            self._listed = await self._snapshots.named()
            self._listed_s = trio.current_time()
        return self._listed

    async def open(self, name: str) -> Past | None:
        """Return the tree of a snapshot, or None when there is no such. Raises Corrupt and the store's errors."""
        info = (await self.names()).get(name)
        if info is None:
            return None
        async with self._lock:
            past = self._open.get(name)
            if past is None or past.tag != info.tag:  # deleted and made anew: whoever looks into the old one goes on
                past = self._open[name] = await self._load(name, info)
        return past

    async def _load(self, name: str, info: ObjectInfo) -> Past:
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{len(self._open)}-{name}.sqlite"
        taken = await self._snapshots.fetch(keys.named_snapshot(name), path)
        await self._offload.run(snapshot.adopt, path, taken)
        tree = Tree(path)
        decoded = DecodedChunks(self._limits.decoded_bytes // _DECODED_PART)
        trips = Trips(tree, self._store, self._cache, decoded, self._offload, self._limits, self._nursery)
        fetcher = Fetcher(tree, trips, self._cache, decoded, self._offload, self._limits, self._nursery)
        neighbours = Neighbours(
            tree, fetcher, trips, self._cache, References(), self._kernel, self._offload, self._limits,
            self._nursery, pushes=False,
        )  # fmt: skip
        read_ahead = ReadAhead(tree, fetcher, trips, self._cache, self._limits, self._nursery)
        drafts = Drafts(self._staging)  # of a past tree there are none
        return Past(info.tag, tree, Reader(tree, drafts, fetcher, neighbours, read_ahead, self._cache, self._limits))

    def close(self) -> None:
        """Close and remove the replicas."""
        for past in self._open.values():
            past.tree.close()
        if self._folder.exists():
            for path in self._folder.iterdir():
                with suppress(OSError):
                    path.unlink()
