"""The wiring: the one place where ports meet their adapters."""

import functools
import os
import secrets
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import trio

from storefs.archive import zones
from storefs.archive.blocking import Archive
from storefs.archive.reader import ArchiveReader
from storefs.archive.routing import N_BITS
from storefs.archive.stores import Part, Stores
from storefs.archive.view import ArchiveView
from storefs.archive.zones import Bucket, Zones
from storefs.cache import home
from storefs.cache.home import CacheHome, Holder
from storefs.core.chunking import ChunkSizes
from storefs.core.references import References
from storefs.core.storeinfo import StoreInfo
from storefs.engine.engine import Engine, World, running
from storefs.engine.limits import Limits
from storefs.engine.opening import RootOwner, open_store
from storefs.errors import CacheLocked, NotAStore, UsageError, cause_of
from storefs.metrics import Metrics
from storefs.objects.directory import DirectoryObjects
from storefs.objects.meter import MeteredObjects
from storefs.objects.race import prove_conditional_puts
from storefs.objects.retry import RetryingObjects
from storefs.ports import KernelCache, ObjectStore
from storefs.settings import Settings, resolve

T = TypeVar("T")

ARCHIVE = "archive://"
"""What stands before the source of an archive that is to be mounted."""

ZONES = "zones:"
"""What stands before the path of a file that says in which places the parts of an archive lie."""


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns()


class SystemChance:
    """The machine's randomness."""

    def token(self, length: int) -> bytes:
        """Random bytes."""
        return secrets.token_bytes(length)

    def uniform(self, low: float, high: float) -> float:
        """A number between two."""
        return low + (high - low) * secrets.randbits(53) / (1 << 53)


class NoKernel:
    """The KernelCache of an engine that serves no kernel."""

    def forget_inode(self, ino: int, *, attributes_only: bool = False) -> None:
        """Do nothing."""

    def forget_names(self, parent: int, names: Sequence[bytes]) -> None:
        """Do nothing."""

    async def settled(self) -> None:
        """Return at once."""

    def store(self, contents: Mapping[int, bytes]) -> bool:
        """Take nothing."""
        del contents
        return False


class Threads:
    """Runs blocking calls in a few threads."""

    def __init__(self, threads: int) -> None:
        self._limiter = trio.CapacityLimiter(threads)

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Return ``function(*args)``, run in a thread."""
        return await trio.to_thread.run_sync(functools.partial(function, *args), limiter=self._limiter)


def connect(source: str, settings: Settings, metrics: Metrics) -> ObjectStore:
    """Return the store that ``source`` names (s3://bucket/prefix, file:///path, or a path), with retries and meter; for
    archive:// and any of these a view of the archive that lies there.

    Blocks while credentials are looked for. Raises UsageError, NotAStore.
    """
    if source.startswith(ARCHIVE):
        return _view(source.removeprefix(ARCHIVE), settings, metrics)
    parts = urlsplit(source)
    store: ObjectStore
    if parts.scheme == "s3":
        store = _bucket(parts.netloc, parts.path.strip("/"), settings)
    elif parts.scheme in ("", "file"):
        store = _directory(source if parts.scheme == "" else unquote(parts.path), create=not settings.flag("ro"))
    else:
        raise UsageError(f"{source}: a source is s3://bucket/prefix, file:///path or a path, not {parts.scheme}://")
    deadline_s = settings.number("store_deadline")
    return RetryingObjects(MeteredObjects(store, metrics), SystemChance(), deadline_s=deadline_s, metrics=metrics)


def _bucket(bucket: str, prefix: str, settings: Settings) -> ObjectStore:
    from storefs.objects.s3.client import S3Objects  # noqa: PLC0415 - boto3 is heavy, and not everybody's
    from storefs.objects.s3.options import S3Options  # noqa: PLC0415

    if not bucket:
        raise UsageError("an S3 source names a bucket: s3://bucket/prefix")
    endpoint = settings.text("endpoint_url")
    path_style = settings.values["path_style"]
    ca_bundle = settings.text("ca_bundle")
    return S3Objects(
        S3Options(
            bucket=bucket,
            prefix=prefix,
            endpoint_url=endpoint,
            region=settings.text("region"),
            profile=settings.text("profile"),
            path_style=bool(path_style) if path_style is not None else endpoint is not None,
            ca_bundle=Path(ca_bundle) if ca_bundle else None,
            sse=settings.text("sse"),
            kms_key=settings.text("sse_kms_key"),
            storage_class=settings.text("storage_class"),
            request_payer=settings.flag("request_payer"),
            connections=settings.whole("connections") or 16,
        )
    )


def _directory(path: str, *, create: bool) -> ObjectStore:
    root = Path(path).absolute()
    if root.exists() and not root.is_dir():
        raise NotAStore(f"{root} is not a directory")
    if not root.exists():
        if not create or not root.parent.is_dir():
            raise NotAStore(f"there is no directory {root}" + ("" if create else " (and 'ro' makes none)"))
        root.mkdir()
    return DirectoryObjects(root, Threads(16))


def archive_bits(source: str, settings: Settings) -> int:
    """Return how many bits number the routes of an archive: its zones file says it, or ``settings`` do.

    Raises UsageError.
    """
    if source.startswith(ZONES):
        return _zones(source).n_bits
    return settings.whole("n_bits") or N_BITS


def archive_stores(source: str, settings: Settings, metrics: Metrics) -> Stores:
    """Return the stores of the archive at ``source``: what ``connect`` takes, or zones:FILE. Nothing is asked of them
    yet. Raises UsageError, NotAStore.
    """
    if not source.startswith(ZONES):
        return Stores.single(connect(source, settings, metrics), archive_bits(source, settings))
    found = _zones(source)
    return Stores((Part(zone.routes, _zone(zone.place, settings, metrics)) for zone in found.zones), found.n_bits)


def archive(source: str, settings: Settings, metrics: Metrics) -> ArchiveReader:
    """Return a reader of the archive at ``source``. Raises as ``archive_stores`` does."""
    stores = archive_stores(source, Settings({**settings.values, "ro": True}), metrics)
    backend = "multi_s3" if source.startswith(ZONES) else "s3" if source.startswith("s3://") else "local"
    return ArchiveReader(stores, Threads(4), metrics=metrics, backend=backend)


def _zones(source: str) -> Zones:
    return zones.load(Path(source.removeprefix(ZONES)).expanduser())


def open_archive(source: str, n_bits: int | None = None, **options: str) -> Archive:
    """Open an archive for a script without async: ``with wiring.open_archive("s3://bucket/prefix") as archive: ...``.

    ``options`` are settings as those of a mount; environment and configuration file count too. Raises as ``archive``
    does.
    """
    bits = {} if n_bits is None else {"n_bits": str(n_bits)}
    settings = resolve(options | bits, os.environ, None)

    @asynccontextmanager
    async def opened() -> AsyncIterator[ArchiveReader]:
        reader = archive(source, settings, Metrics())
        try:
            yield reader
        finally:
            with trio.CancelScope(shield=True):
                await reader.stores.close()

    return Archive.open(opened)


def _zone(place: Bucket | Path, settings: Settings, metrics: Metrics) -> ObjectStore:
    if isinstance(place, Path):
        return connect(str(place), settings, metrics)
    own = {"endpoint_url": place.endpoint_url, "region": place.region_name}
    values = {**settings.values, **{name: value for name, value in own.items() if value is not None}}
    return connect(f"s3://{place.bucket}/{place.prefix}", Settings(values), metrics)


def for_source(source: str, settings: Settings) -> Settings:
    """Return the settings with which a source is mounted: an archive is always read-only."""
    return Settings({**settings.values, "ro": True}) if source.startswith(ARCHIVE) else settings


def _view(source: str, settings: Settings, metrics: Metrics) -> ArchiveView:
    folder = cache_dir(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"there is no place for the tree of an archive: {error}; set cache_dir") from error
    owner = (os.geteuid(), os.getegid())
    return ArchiveView(archive(source, settings, metrics), Threads(4), folder, owner)


async def drop_outdated(store: ObjectStore, held: CacheHome) -> None:
    """Remove the replica in a cache directory if it is that of an archive which has other shards now."""
    if isinstance(store, ArchiveView):
        await store.drop_outdated(held.tree)


async def identify(store: ObjectStore, settings: Settings) -> StoreInfo:
    """Return the store's identity, making a store of an empty place unless the mount is read-only."""
    owner = None if settings.flag("ro") else RootOwner(os.geteuid(), os.getegid())
    quick = functools.partial(prove, store, writers=8, rounds=1)
    return await open_store(store, SystemClock(), SystemChance(), quick, owner, ChunkSizes())


async def prove(store: ObjectStore, *, writers: int = 16, rounds: int = 3) -> dict[str, int]:
    """Race conditional puts on the store; return how it was done. Raises UnsafeStore."""
    proof = await prove_conditional_puts(store, SystemChance(), writers, rounds)
    return {"writers": proof.writers, "rounds": proof.rounds}


def cache_dir(settings: Settings) -> Path:
    """Return the directory of caches."""
    named = settings.text("cache_dir")
    if named:
        return Path(named).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/storefs")
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "storefs"


async def lock_cache(
    info: StoreInfo, settings: Settings, mountpoint: str, wait_s: float, say: Callable[[str], None]
) -> CacheHome:
    """Lock a cache directory for this mount, waiting for a daemon that is just finishing with it.

    Raises CacheLocked when it does not finish within ``wait_s``.
    """
    name = info.store.hex() + ("-ro" if settings.flag("ro") else "")
    began_s = trio.current_time()
    said = False
    while isinstance(found := home.acquire(cache_dir(settings), name), Holder):
        if trio.current_time() - began_s > wait_s:
            raise CacheLocked(
                f"the last mount of this store (process {found.pid}) is still committing after {wait_s:g} s:"
                " wait for it, or name another cache_dir"
            )
        if not said:
            say(f"waiting for process {found.pid}, which still commits what was written at {found.mountpoint}")
            said = True
        await trio.sleep(0.2)
    found.announce(mountpoint, finishing=False)
    return found


def limits(settings: Settings, home_path: Path) -> Limits:
    """Return the engine's bounds for these settings."""
    disk = shutil.disk_usage(home_path)
    cache_size = settings.whole("cache_size")
    if cache_size is None:
        cache_size = max(256 << 20, min(20 << 30, disk.free // 2))
    return Limits(
        spare_bytes=min(256 << 20, disk.total // 10),
        cache_bytes=cache_size,
        dirty_bytes=settings.whole("dirty_limit") or cache_size // 2,
        decoded_bytes=settings.whole("memory") or 128 << 20,
        commit_interval_s=settings.number("commit_interval"),
        store_deadline_s=settings.number("store_deadline"),
        poll_s=settings.number("poll_interval"),
        strict=settings.text("consistency") == "strict",
        commit_on_close=settings.text("commit") == "close",
    )


def world(store: ObjectStore, kernel: KernelCache) -> World:
    """Return the world of an engine on this machine."""
    return World(
        store=store,
        clock=SystemClock(),
        chance=SystemChance(),
        offload=Threads(4),
        kernel=kernel,
        host=socket.gethostname(),
        machine_boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    )


@asynccontextmanager
async def private_engine(source: str, settings: Settings, folder: Path, **bounds: float) -> AsyncIterator[Engine]:
    """Run an engine of one's own on a store, with its cache in the empty ``folder``: for work on the store itself.

    It commits when it is asked to; ``bounds`` are limits other than the usual. Raises what a mount does.
    """
    store = connect(source, settings, Metrics())
    try:
        info = await open_store(
            store, SystemClock(), SystemChance(), functools.partial(prove, store), None, ChunkSizes()
        )
        found = home.acquire(folder, info.store.hex())
        assert isinstance(found, CacheHome)
        try:
            own = replace(limits(settings, found.path), commit_interval_s=1e9, poll_s=1e9, upkeep_s=1e9)
            own = replace(own, **bounds)  # type: ignore[arg-type]
            async with running(world(store, NoKernel()), info, found, own, References(), ro=False) as engine:
                yield engine
        except BaseExceptionGroup as error:
            raise cause_of(error) from None
        finally:
            found.release()
    finally:
        await store.close()
