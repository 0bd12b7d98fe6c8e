"""A world for engines in tests: a store in memory that records and can be held up, a settable clock, seeded chance."""

import fcntl
import os
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import trio

from storefs.cache.home import CacheHome
from storefs.core import keys, storeinfo
from storefs.core.chunking import ChunkSizes
from storefs.core.references import References
from storefs.engine import engine
from storefs.engine.journal import Journal, apply_commit
from storefs.engine.limits import Limits
from storefs.engine.opening import RootOwner, open_store
from storefs.metrics import Metrics
from storefs.model import ROOT_INO, ObjectInfo
from storefs.objects.memory import MemoryObjects
from storefs.ports import Body, ObjectStore
from storefs.testing.faults import Faults, FaultyObjects
from storefs.tree import schema
from storefs.tree.tree import Tree
from storefs.volume.caller import Caller
from storefs.volume.volume import Volume

T = TypeVar("T")

SMALL_SIZES = ChunkSizes(small=2048, minimum=1024, average=4096, maximum=16384)
"""Chunks a thousand times smaller than a real store's."""

SMALL_LIMITS = Limits(
    cache_bytes=64 << 20,
    dirty_bytes=32 << 20,
    decoded_bytes=256 << 10,
    shard_bytes=64 << 10,
    window_bytes=64 << 10,
    partial_bytes=32 << 10,
    fetch_bytes=64 << 10,
    fetch_gap_bytes=4 << 10,
    alone_bytes=2 << 10,
    small_bytes=2 << 10,
    window_least_bytes=4 << 10,
    window_most_bytes=32 << 10,
    read_ahead_bytes=64 << 10,
    ahead_bytes=256 << 10,
    whole_bytes=64 << 10,
    parallel=4,
)
"""Limits that a few files reach."""

FILE_MODE = 0o100644
FOLDER_MODE = 0o040755
CALLER = Caller(1000, 1000)


class SettableClock:
    """The Clock port: a moment that tests move."""

    def __init__(self, now_ns: int = 1_800_000_000_000_000_000) -> None:
        self.at_ns = now_ns

    def now_ns(self) -> int:
        """Return the moment; each look at it is a microsecond later than the one before."""
        self.at_ns += 1000
        return self.at_ns


class SeededChance:
    """The Chance port, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def token(self, length: int) -> bytes:
        """Return bytes of the seed's sequence."""
        return self._dice.randbytes(length)

    def uniform(self, low: float, high: float) -> float:
        """Return a number of the seed's sequence."""
        return self._dice.uniform(low, high)


class InlineOffload:
    """The Offload port without threads. As with threads, other tasks run before and after the call."""

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Return ``function(*args)``."""
        await trio.lowlevel.checkpoint()
        try:
            return function(*args)
        finally:
            await trio.lowlevel.checkpoint()


@dataclass
class RecordingKernel:
    """The KernelCache port; remembers what the kernel was told to forget and was given."""

    inodes: list[tuple[int, bool]] = field(default_factory=list)
    entries: list[tuple[int, bytes]] = field(default_factory=list)
    stored: dict[int, bytes] = field(default_factory=dict)
    takes: bool = True

    def forget_inode(self, ino: int, *, attributes_only: bool = False) -> None:
        """Remember (inode, whether only its attributes)."""
        self.inodes.append((ino, attributes_only))

    def forget_names(self, parent: int, names: Sequence[bytes]) -> None:
        """Remember (directory, name)."""
        self.entries += ((parent, name) for name in names)

    async def settled(self) -> None:
        """Have nothing to wait for."""

    def store(self, contents: Mapping[int, bytes]) -> bool:
        """Remember what was put into the page cache, unless it ``takes`` nothing."""
        if self.takes:
            self.stored |= contents
        return self.takes


@dataclass(frozen=True, slots=True)
class Request:
    """A request that reached the store: its operation, its key (or prefix), and which bytes a get asked for."""

    operation: str
    key: str
    start: int = 0
    length: int | None = None


Hook = Callable[[Request], Awaitable[None]]


async def _pass(_: Request) -> None:
    """Hold nothing up."""


class WatchedObjects:
    """An ``ObjectStore`` in front of ``store`` that records every request, and lets a test in before and after each.

    Attributes:
        requests: what was asked for, in order.
        before, after: awaited around each request; what they raise is the answer.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.requests: list[Request] = []
        self.before: Hook = _pass
        self.after: Hook = _pass

    @property
    def url(self) -> str:
        """The name of the store behind."""
        return self._store.url

    def keys(self, operation: str, prefix: str = "") -> list[str]:
        """Return the keys below ``prefix`` of all requests whose operation starts so, in order."""
        return [one.key for one in self.requests if one.operation.startswith(operation) and one.key.startswith(prefix)]

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return part of an object; see the port."""
        return await self._watch(Request("get", key, start, length), lambda: self._store.get(key, start, length))

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        """Fill ``memory`` with part of an object."""
        request = Request("get", key, start, len(memory))
        return await self._watch(request, lambda: self._store.get_into(key, start, memory))

    async def put(self, key: str, body: Body) -> str:
        """Write the object, replacing any other."""
        return await self._watch(Request("put", key), lambda: self._store.put(key, body))

    async def put_if_absent(self, key: str, body: Body) -> str:
        """Write the object unless the key exists. Raises PreconditionFailed."""
        return await self._watch(Request("put_if_absent", key), lambda: self._store.put_if_absent(key, body))

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        """Replace the object if its tag is still ``tag``. Raises PreconditionFailed."""
        return await self._watch(Request("put_if_match", key), lambda: self._store.put_if_match(key, body, tag))

    async def head(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectMissing."""
        return await self._watch(Request("head", key), lambda: self._store.head(key))

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Return the next page of a listing; see the port."""
        return await self._watch(Request("list", prefix), lambda: self._store.list_after(prefix, after, limit))

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects."""
        await self._watch(Request("delete", ",".join(keys)), lambda: self._store.delete(keys))

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        """Give up old uploads."""
        return await self._watch(
            Request("drop_unfinished", ""), lambda: self._store.drop_unfinished(before_s, dry_run=dry_run)
        )

    async def close(self) -> None:
        """Close the store behind."""
        await self._store.close()

    async def _watch(self, request: Request, call: Callable[[], Awaitable[T]]) -> T:
        self.requests.append(request)
        await self.before(request)
        answer = await call()
        await self.after(request)
        return answer


class World:
    """One store, and any number of machines that mount it: each folder is the disk of one.

    Leaving ``engine_at`` without ``finish`` is a crash: nothing is committed or taken down, as after kill -9.

    Attributes:
        memory: the store itself, without faults, for a look behind the scenes.
        faults: the faults of the store.
        store: what engines get: watched, faulty.
        boot: names the run of the machine; ``power_cut`` changes it.
    """

    def __init__(self, seed: int, sizes: ChunkSizes = SMALL_SIZES) -> None:
        self.clock = SettableClock()
        self.chance = SeededChance(seed)
        self.offload = InlineOffload()
        self.kernel = RecordingKernel()
        self.memory = MemoryObjects(clock=self.clock)
        self.faults = FaultyObjects(self.memory, seed, Faults())
        self.store = WatchedObjects(self.faults)
        self.sizes = sizes
        self.boot = "boot-1"

    def power_cut(self) -> None:
        """Let the next engine find that the machine was off."""
        self.boot = f"boot-{int(self.boot.removeprefix('boot-')) + 1}"

    async def journal(self) -> list[str]:
        """Return the keys of the commits in the store."""
        return [info.key for info in await self.memory.list_after("journal/")]

    async def shards(self) -> list[str]:
        """Return the keys of the shards in the store."""
        return [info.key for info in await self.memory.list_after("shards/")]

    async def replica(
        self, path: Path, upto: int | None = None, look: Callable[[Tree], None] = lambda tree: None
    ) -> Tree:
        """Make a replica at ``path`` from the journal alone, up to commit ``upto`` (all of it by default); ``look`` is
        shown the tree after each commit.
        """
        info = storeinfo.parse(await self.memory.get(keys.STORE_INFO))
        tree = Tree(path)
        tree.plant(info)
        journal = Journal(self.memory, self.offload)
        while upto is None or tree.local.position.seq < upto:
            commit = await journal.get(tree.local.position.seq + 1)
            if commit is None:
                break
            apply_commit(tree, commit)
            look(tree)
        return tree

    @asynccontextmanager
    async def engine_at(
        self, folder: Path, limits: Limits = SMALL_LIMITS, *, ro: bool = False, store: ObjectStore | None = None
    ) -> AsyncIterator[Volume]:
        """Mount the store with the cache directory in ``folder``. What the body or the start raises comes out bare."""
        store = store or self.store

        async def prove() -> dict[str, int]:
            return {}

        owner = None if ro else RootOwner(1000, 1000)
        info = await open_store(store, self.clock, self.chance, prove, owner, self.sizes)
        references = References()
        world = engine.World(
            store, self.clock, self.chance, self.offload, self.kernel, host="here", machine_boot=self.boot
        )
        with locked(folder, info.store.hex()) as held, _ungrouped():
            running = engine.running(world, info, held, limits, references, ro=ro)
            async with running as one:
                yield Volume(one, references, Metrics(), "/mnt")


@contextmanager
def locked(folder: Path, name: str) -> Iterator[CacheHome]:
    """Lock the cache directory ``folder/name``, whatever is left in it."""
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    # Not by acquire: that passes over what lost a race, and tests want to look at it.
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    held = CacheHome(path, lock)
    held.staging.mkdir(exist_ok=True)
    held.shards.mkdir(exist_ok=True)
    try:
        yield held
    finally:
        held.release()


def copy_disk(folder: Path, target: Path) -> Path:
    """Copy a machine's disk as it is at this moment, with an engine running on it or not; return the copy."""
    shutil.copytree(folder, target)
    return target


@contextmanager
def _ungrouped() -> Iterator[None]:
    """Raise the one error of a group by itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


# --- verbs that tests need often --------------------------------------------------------------------------------------


def create(volume: Volume, name: str, parent: int = ROOT_INO, mode: int = FILE_MODE) -> int:
    """Make a file (or a directory, by its mode); return its inode number."""
    return volume.names.make(parent, name.encode(), mode, CALLER).ino


async def write(volume: Volume, ino: int, data: bytes, offset: int = 0, piece: int = 128 << 10) -> None:
    """Write in pieces, as the kernel does."""
    for at in range(0, len(data), piece):
        await volume.files.write(ino, offset + at, data[at : at + piece])


async def put_file(volume: Volume, name: str, data: bytes, parent: int = ROOT_INO) -> int:
    """Make a file with content and close it; return its inode number."""
    ino = create(volume, name, parent)
    await write(volume, ino, data)
    volume.files.flush(ino)
    return ino


def find(volume: Volume, name: str, parent: int = ROOT_INO) -> int:
    """Return the inode number of a name that exists."""
    inode = volume.names.lookup(parent, name.encode())
    assert inode is not None, f"there is no {name}"
    return inode.ino


async def read(volume: Volume, ino: int, offset: int = 0, length: int = 1 << 30) -> bytes:
    """Return bytes of a file: all of them by default."""
    return bytes(await volume.files.read(ino, offset, length))


def listing(volume: Volume, parent: int = ROOT_INO) -> list[str]:
    """Return the names in a directory, sorted."""
    return sorted(dentry.name.decode() for dentry, _ in volume.names.page(parent, 0, 1 << 20))


def tables(tree: Tree) -> dict[str, list[tuple[object, ...]]]:
    """Return every replicated row of a replica, by table."""
    return {name: sorted(tree.database.rows(f"SELECT * FROM {name}")) for name in schema.REPLICATED}


def noise(seed: int | str, length: int) -> bytes:
    """Return bytes of the seed's sequence, which neither pack nor dedup."""
    return random.Random(seed).randbytes(length)


def with_limits(**changes: float) -> Limits:
    """Return the small limits with some of them changed."""
    return replace(SMALL_LIMITS, **changes)  # type: ignore[arg-type]
