"""The engine of one mount: its parts put together, its background tasks, its beginning and end."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from storefs.cache.chunks import ChunkCache, DecodedChunks
from storefs.cache.direct import DirectIO
from storefs.cache.home import CacheHome
from storefs.cache.lending import Memory
from storefs.cache.shards import ShardFiles
from storefs.cache.staging import Staging
from storefs.core.chunking import Chunker
from storefs.core.references import References
from storefs.core.storeinfo import StoreInfo
from storefs.engine import node
from storefs.engine.arrivals import Arrivals
from storefs.engine.aside import Aside
from storefs.engine.commit import Committer
from storefs.engine.compact import Compactor
from storefs.engine.cut import Cutter
from storefs.engine.drafts import Drafts
from storefs.engine.fetch import Fetcher
from storefs.engine.follow import Follower
from storefs.engine.head import Head
from storefs.engine.journal import Journal, Writer
from storefs.engine.lease import Lease
from storefs.engine.limits import Limits
from storefs.engine.neighbours import Neighbours
from storefs.engine.past import Pasts
from storefs.engine.pressure import Pressure
from storefs.engine.read import Reader
from storefs.engine.readahead import ReadAhead
from storefs.engine.rebuild import open_replica, replica_at_head
from storefs.engine.recover import Recovered, catch_up, recover
from storefs.engine.shardlog import ShardLog
from storefs.engine.snapshots import Snapshots
from storefs.engine.sweep import Sweeper
from storefs.engine.trips import Trips
from storefs.engine.upkeep import Upkeep
from storefs.engine.wakeup import Wakeup
from storefs.engine.warm import Warmer
from storefs.errors import Corrupt, ReadOnly
from storefs.ports import Chance, Clock, KernelCache, ObjectStore, Offload
from storefs.tree.database import checkpoint, sync_log
from storefs.tree.local import Numbers
from storefs.tree.tree import Tree
from storefs.vault.vault import Vault

log = logging.getLogger(__name__)

_CHECKPOINT_S = 1.0
_RESTART_S = 1.0


@dataclass(frozen=True, slots=True)
class World:
    """What an engine is given: the ports and facts of the machine it runs on."""

    store: ObjectStore
    clock: Clock
    chance: Chance
    offload: Offload
    kernel: KernelCache
    host: str
    machine_boot: str
    """Names the present run of the machine: another one means that the power was off."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts of one mount."""

    world: World
    info: StoreInfo
    limits: Limits
    home: CacheHome
    tree: Tree
    staging: Staging
    cache: ChunkCache
    drafts: Drafts
    numbers: Numbers
    references: References
    trips: Trips
    neighbours: Neighbours
    read_ahead: ReadAhead
    warmer: Warmer
    reader: Reader
    cutter: Cutter
    committer: Committer
    pressure: Pressure
    follower: Follower
    snapshots: Snapshots
    pasts: Pasts
    upkeep: Upkeep
    sweeper: Sweeper
    compactor: Compactor
    aside: Aside
    arrivals: Arrivals
    writer: Writer
    recovered: Recovered
    exclusive: set[int]
    """Inodes whose newest name waits for its commit; see volume/exclusive."""
    ro: bool

    @property
    def read_only(self) -> bool:
        """Whether the mount takes no changes: by option, or because another mount won a race."""
        return self.ro or self.committer.halted is not None

    def require_writable(self) -> None:
        """Raise why the mount takes no changes, if it does not."""
        if self.committer.halted is not None:
            raise self.committer.halted
        if self.ro:
            raise ReadOnly("the mount is read-only")

    async def finish(self, deadline_s: float) -> None:
        """Commit everything, and write a snapshot when one is due. Raises NotCommitted and its kin."""
        if self.ro:
            return
        await self.committer.sync(deadline_s)
        if self.snapshots.due(self.tree, unmounting=True):
            await self.snapshots.write(self.tree, self.home.tree)

    def close_cleanly(self) -> None:
        """Note that the next start has nothing to recover, if that is so. The last thing that an engine does."""
        left = [draft for draft in self.drafts.all() if not self.tree.local.is_orphan(draft.ino)]
        if not self.ro and not self.tree.pending.count and not left:
            with self.tree.database.transaction():
                self.tree.local.put("clean", 1)


async def _open_tree(home: CacheHome, info: StoreInfo, snapshots: Snapshots) -> Tree:
    """Open the replica of a cache directory, or make one."""
    tree = await open_replica(home.tree, info, snapshots)
    if tree.local.get("store") != info.store:
        tree.close()
        raise Corrupt(f"the cache directory {home.path} belongs to another store: remove it, or set another cache_dir")
    return tree


@asynccontextmanager
async def running(
    world: World, info: StoreInfo, home: CacheHome, limits: Limits, references: References, *, ro: bool
) -> AsyncIterator[Engine]:
    """Bring a mount's engine up, recovered and at the head of the journal; take it down at the end.

    Taking down commits nothing by itself: ``finish`` does. What is pending then stays in the cache directory.
    """
    snapshots = Snapshots(world.store, world.offload, limits)
    tree = await _open_tree(home, info, snapshots)
    vault = Vault(home.vault)
    files = ShardFiles(home.shards, vault, DirectIO(Memory(limits.direct_bytes)))
    staging = Staging(home.staging)
    aside = Aside(tree, world.offload)
    try:
        async with trio.open_nursery() as nursery:
            engine = await _assemble(
                world, info, home, limits, references, ro=ro, nursery=nursery, snapshots=snapshots,
                tree=tree, aside=aside, vault=vault, files=files, staging=staging,
            )  # fmt: skip
            tasks: list[Callable[[], Awaitable[None]]] = [
                engine.follower.run,
                engine.pressure.run,
                partial(_checkpoint, engine),
            ]
            if not ro:
                tasks += [engine.cutter.run, engine.committer.run, engine.committer.run_uploads]
                tasks.append(engine.upkeep.run)
            for task in tasks:
                nursery.start_soon(_keep_running, task)
            yield engine
            nursery.cancel_scope.cancel()
        engine.pasts.close()
        engine.close_cleanly()
    finally:
        staging.close()
        files.close()
        vault.close()
        aside.close()
        tree.close()


async def _assemble(
    world: World,
    info: StoreInfo,
    home: CacheHome,
    limits: Limits,
    references: References,
    *,
    ro: bool,
    nursery: trio.Nursery,
    snapshots: Snapshots,
    tree: Tree,
    aside: Aside,
    vault: Vault,
    files: ShardFiles,
    staging: Staging,
) -> Engine:
    store, clock, chance, offload = world.store, world.clock, world.chance, world.offload
    journal = Journal(store, offload)
    await catch_up(tree, journal, staging)
    unclean = tree.local.get("clean") == 0
    power_cut = unclean and tree.local.get("machine_boot") != world.machine_boot
    writer = Writer(0, bytes(16)) if ro else await node.claim(tree, store, clock, chance, world.host, fresh=power_cut)
    numbers = Numbers(tree.database, tree.local, writer.node)
    cache = ChunkCache(vault, files)
    sealed = Wakeup()
    drafts = Drafts(staging)
    shards = ShardLog(tree, files, offload, clock, chance, limits, sealed)
    recovered = Recovered(unclean, 0, 0, 0, ())
    if not ro:
        recovered = recover(tree, staging, cache, drafts, shards, numbers, unclean=unclean, verify=power_cut)
        with tree.database.transaction():
            tree.local.put("clean", 0)
            tree.local.put("machine_boot", world.machine_boot)
        # If the power goes, the next start has to see that this one was not a clean end.
        await offload.run(sync_log, home.tree)
    decoded = DecodedChunks(limits.decoded_bytes)
    trips = Trips(tree, store, cache, decoded, offload, limits, nursery)
    fetcher = Fetcher(tree, trips, cache, decoded, offload, limits, nursery)
    neighbours = Neighbours(tree, fetcher, trips, cache, references, world.kernel, offload, limits, nursery, pushes=ro)
    read_ahead = ReadAhead(tree, fetcher, trips, cache, limits, nursery)
    reader = Reader(tree, drafts, fetcher, neighbours, read_ahead, cache, limits)
    cutter = Cutter(
        tree, drafts, staging, shards, reader, cache.blocks, Chunker(info.sizes), numbers, offload, limits, aside
    )
    compactor = Compactor(tree, fetcher, shards, offload, limits)
    exclusive: set[int] = set()
    arrivals = Arrivals(
        tree, drafts, world.kernel, references.__contains__, numbers, writer.node, clock, limits, exclusive, aside,
        offload,
    )  # fmt: skip
    rebuild = partial(replica_at_head, info=info, snapshots=snapshots, journal=journal, offload=offload)
    head = Head(tree, journal, arrivals, clock, limits, offload, rebuild, compactor.secure_held)
    committer = Committer(
        tree, cutter, shards, files, store, journal, head, offload, clock, chance, limits, writer, sealed
    )
    await committer.advance()
    pressure = Pressure(tree, staging, cache, cutter, committer, limits)
    follower = Follower(committer, limits)
    sweeper = Sweeper(tree, cutter, committer, store, journal, snapshots, offload, limits)
    pasts = Pasts(home, snapshots, store, cache, staging, world.kernel, offload, limits, nursery)
    upkeep = Upkeep(tree, Lease(store, clock, writer, limits.lease_s), snapshots, sweeper, compactor, limits)
    return Engine(
        world=world, info=info, limits=limits, home=home, tree=tree, staging=staging, cache=cache, drafts=drafts,
        numbers=numbers, references=references, trips=trips, neighbours=neighbours, read_ahead=read_ahead,
        warmer=Warmer(tree, trips, cache, limits), reader=reader, cutter=cutter, committer=committer, pressure=pressure,
        follower=follower, snapshots=snapshots, pasts=pasts, upkeep=upkeep, sweeper=sweeper, compactor=compactor,
        aside=aside, arrivals=arrivals, writer=writer, recovered=recovered, exclusive=exclusive, ro=ro,
    )  # fmt: skip


async def _keep_running(task: Callable[[], Awaitable[None]]) -> None:
    """Run a background task; a defect in it is logged and must not take the mount down with it."""
    while True:
        try:
            await task()
        except Exception:
            log.exception("a background task failed and is started again")
            await trio.sleep(_RESTART_S)


async def _checkpoint(engine: Engine) -> None:
    """Keep the replica's write-ahead log short."""
    while True:
        await trio.sleep(_CHECKPOINT_S)
        await engine.world.offload.run(checkpoint, engine.home.tree)
