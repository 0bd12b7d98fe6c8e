"""The cache directory of one mount: its place, its lock, its folders.

``<cache_dir>/<store id>/`` belongs to one mount at a time. A second mount of the same store on the same machine gets
``<store id>.2``, and so on; a daemon that still commits after its unmount keeps its lock, and is waited for.
"""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from storefs.errors import CacheLocked, NoSpace, StorefsError
from storefs.tree.pending import has_leftovers

_SLOTS_MAX = 64


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a cache directory: a process, what it has mounted where, and whether it is only finishing."""

    pid: int
    mountpoint: str
    finishing: bool


class CacheHome:
    """A locked cache directory. The lock dies with the process."""

    TREE = "tree.sqlite"

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @property
    def tree(self) -> Path:
        """The SQLite file of the tree."""
        return self.path / self.TREE

    @property
    def vault(self) -> Path:
        """The SQLite file of the cache's index and small chunks."""
        return self.path / "cache.sqlite"

    @property
    def staging(self) -> Path:
        """The folder of the staging log."""
        return self.path / "staging"

    @property
    def shards(self) -> Path:
        """The folder of shard files."""
        return self.path / "shards"

    def announce(self, mountpoint: str, *, finishing: bool) -> None:
        """Write into the lock who holds it, for others to read."""
        text = json.dumps({"pid": os.getpid(), "mountpoint": mountpoint, "finishing": finishing})
        os.pwrite(self._lock, text.encode().ljust(4096), 0)

    def release(self) -> None:
        """Give up the lock."""
        os.close(self._lock)


def acquire(cache_dir: Path, name: str) -> CacheHome | Holder:
    """Lock a cache directory ``name`` (or ``name.2``, ...), or return the mount that is just finishing with it.

    A directory whose last mount left changes behind comes before all others, so that they get committed.
    Raises CacheLocked when too many mounts hold one, NoSpace or StorefsError when it cannot be made.
    """
    free, holders = _lock_free(cache_dir, name)
    chosen = next((home for home in free if has_leftovers(home.tree)), None)
    finishing = next((holder for holder in holders if holder.finishing), None)
    if chosen is None and finishing is None:
        chosen = next(iter(free), None)
    for home in free:
        if home is not chosen:
            home.release()
    if chosen is not None:
        for folder in (chosen.staging, chosen.shards):
            folder.mkdir(exist_ok=True)
        return chosen
    if finishing is not None:
        return finishing
    raise CacheLocked(f"all {_SLOTS_MAX} cache directories in {cache_dir} are in use: set another cache_dir")


def _lock_free(cache_dir: Path, name: str) -> tuple[list[CacheHome], list[Holder]]:
    """Lock every free directory up to the first new one; return them and who holds the others."""
    free: list[CacheHome] = []
    holders: list[Holder] = []
    for number in range(1, _SLOTS_MAX + 1):
        path = cache_dir / (name if number == 1 else f"{name}.{number}")
        fresh = not path.exists()
        if fresh and free:
            break
        lock = _try_lock(path)
        if isinstance(lock, Holder):
            holders.append(lock)
        else:
            free.append(CacheHome(path, lock))
            if fresh:
                break
    return free, holders


def _try_lock(path: Path) -> int | Holder:
    """Lock the directory ``path``, made if need be; return the lock, or who has it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        kind = NoSpace if error.errno == NoSpace.errno else StorefsError
        raise kind(f"cannot use the cache directory {path}: {error.strerror}; set cache_dir to another") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(lock, 4096, 0).decode(errors="replace").strip()
        os.close(lock)
        try:
            said = json.loads(text)
            return Holder(int(said["pid"]), str(said["mountpoint"]), bool(said["finishing"]))
        except (ValueError, KeyError, TypeError):
            return Holder(0, "?", finishing=False)
    return lock
