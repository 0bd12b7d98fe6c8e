"""A store in a local directory: one file per object, each put atomic, durable and exclusive between processes."""

import errno
import fcntl
import itertools
import os
import secrets
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from storefs.errors import (
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StoreFull,
    StoreRefused,
)
from storefs.model import ObjectInfo
from storefs.objects.bodies import pieces, span
from storefs.objects.names import check_key, check_prefix
from storefs.objects.walk import HIDDEN, walk
from storefs.ports import Body, Offload

_UNFINISHED = "put-"
_STALE_AFTER_S = 86_400
_LOCKS = 64
"""Keys share this many lock files: enough that unrelated writers seldom meet."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class DirectoryObjects:
    """An ``ObjectStore`` below ``root``, which is made at the first put. ``offload`` runs the system calls.

    Keys are paths, so a key cannot also be the folder of another, no part may exceed the file system's NAME_MAX, and
    ``.tmp`` belongs to the store. Symbolic links are not listed.
    """

    def __init__(self, root: Path, offload: Offload) -> None:
        self._root = root.absolute()
        self._offload = offload
        self._durable: set[Path] = set()
        self._swept = False

    @property
    def url(self) -> str:
        """``file:///path``."""
        return f"file://{self._root}"

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return part of an object; see the port."""
        return await self._offload.run(self._get, key, start, length)

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        """Fill ``memory`` with part of an object."""
        return await self._offload.run(self._get_into, key, start, memory)

    async def put(self, key: str, body: Body) -> str:
        """Write the object, replacing any other."""
        return await self._offload.run(self._replace, key, body, None)

    async def put_if_absent(self, key: str, body: Body) -> str:
        """Write the object unless the key exists. Raises PreconditionFailed."""
        return await self._offload.run(self._create, key, body)

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        """Replace the object if its tag is still ``tag``. Raises PreconditionFailed."""
        return await self._offload.run(self._replace, key, body, tag)

    async def head(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectMissing."""
        return await self._offload.run(self._head, key)

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Return the next page of a listing; see the port."""
        return await self._offload.run(self._list, prefix, after, limit)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects; a key that does not exist is no error. Emptied folders stay."""
        await self._offload.run(self._delete, list(keys))

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        """Find none: what is not complete is nowhere but in files that the next put sweeps."""
        del before_s, dry_run
        await self._offload.run(lambda: None)
        return 0

    async def close(self) -> None:
        """Nothing to release: no file stays open between calls."""
        await self._offload.run(lambda: None)

    # --- what runs in threads -----------------------------------------------------------------------------------------

    def _get(self, key: str, start: int, length: int | None) -> bytes:
        path = self._path(key)
        with _reading(path, key, self.url), path.open("rb") as file:
            first, end = span(os.fstat(file.fileno()).st_size, start, length)
            file.seek(first)
            return file.read(end - first)

    def _get_into(self, key: str, start: int, memory: memoryview) -> int:
        path = self._path(key)
        with _reading(path, key, self.url), path.open("rb", buffering=0) as file:
            file.seek(start)
            filled = 0
            while got := file.readinto(memory[filled:]):
                filled += got
            return filled

    def _head(self, key: str) -> ObjectInfo:
        path = self._path(key)
        with _reading(path, key, self.url):
            status = path.stat()
            if path.is_dir():
                raise IsADirectoryError
        return _info(key, status)

    def _list(self, prefix: str, after: str, limit: int) -> list[ObjectInfo]:
        check_prefix(prefix)
        with _explained(self._root):
            found = walk(self._root, prefix, after)
            return [_info(key, status) for key, status in itertools.islice(found, limit)]

    def _create(self, key: str, body: Body) -> str:
        path = self._path(key)
        with self._written(path, body) as unfinished:
            try:
                path.hardlink_to(unfinished)  # fails if the name exists: the one exclusive step
            except FileExistsError:
                # Over NFS a lost answer is asked again and meets its own link.
                if unfinished.stat().st_nlink == 1:
                    raise PreconditionFailed(f"{key} exists already in {self.url}") from None
            return _tag(unfinished.stat())

    def _replace(self, key: str, body: Body, tag: str | None) -> str:
        path = self._path(key)
        if tag is not None and self._present(path) != tag:  # spares the copy where the answer is known
            raise PreconditionFailed(f"{key} in {self.url} is no longer version {tag}")
        with self._written(path, body) as unfinished:
            new_tag = _tag(unfinished.stat())
            with self._locked(key):
                if tag is not None and self._present(path) != tag:
                    raise PreconditionFailed(f"{key} in {self.url} is no longer version {tag}")
                unfinished.rename(path)
            return new_tag

    def _delete(self, keys: list[str]) -> None:
        folders = set()
        for key in keys:
            path = self._path(key)
            with _explained(path):
                if not path.is_file():
                    continue
                with self._locked(key):
                    path.unlink(missing_ok=True)
                folders.add(path.parent)
        for folder in folders:
            with _explained(folder):
                _sync_folder(folder)

    # --- steps of a put -----------------------------------------------------------------------------------------------

    @contextmanager
    def _written(self, path: Path, body: Body) -> Iterator[Path]:
        """Give a durable file that holds ``body``; after the block the folder of ``path`` is durable, the file gone."""
        with _explained(path):
            hidden = self._root / HIDDEN
            try:
                self._make_folder(path.parent)
                self._make_folder(hidden)
                unfinished = hidden / f"{_UNFINISHED}{secrets.token_hex(16)}"
                try:
                    _fill(unfinished, body)
                    self._sweep(hidden, unfinished)
                    yield unfinished
                    _sync_folder(path.parent)
                finally:
                    unfinished.unlink(missing_ok=True)
            except FileNotFoundError:
                self._durable.clear()  # somebody removed folders: look again next time
                raise

    def _make_folder(self, folder: Path) -> None:
        """Make ``folder`` and those above it, durably. Others may have made them, but not yet durable."""
        if folder in self._durable:
            return
        if folder == self._root:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(PermissionError):  # above the root others rule; the root may be all that is ours to open
                _sync_folder(folder.parent)
        else:
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.parent)
        self._durable.add(folder)

    def _sweep(self, hidden: Path, fresh: Path) -> None:
        """Remove what crashed writers left, once per instance, by the file system's own clock."""
        if self._swept:
            return
        self._swept = True
        limit_s = fresh.stat().st_ctime - _STALE_AFTER_S
        for path in hidden.glob(f"{_UNFINISHED}*"):
            with suppress(FileNotFoundError, PermissionError):
                if path.stat().st_mtime < limit_s:
                    path.unlink()

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Keep other replacing writers of ``key`` out, threads and processes alike."""
        hidden = self._root / HIDDEN
        self._make_folder(hidden)
        number = zlib.crc32(key.encode()) % _LOCKS
        lock = os.open(hidden / f"lock-{number:02x}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _path(self, key: str) -> Path:
        """Return where ``key`` lies. Raises StoreError for what is no key here."""
        check_key(key)
        if key.split("/", 1)[0] == HIDDEN:
            raise StoreError(f"{key!r} is no key: {HIDDEN} belongs to the store itself")
        return self._root / key

    def _present(self, path: Path) -> str | None:
        """Return the tag of the object at ``path``, None if there is none."""
        with _explained(path):
            try:
                return _tag(path.stat())
            except (FileNotFoundError, NotADirectoryError):
                return None


def _fill(path: Path, body: Body) -> None:
    """Write ``body`` to the new file ``path``, durably."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for piece in pieces(body):
            view = memoryview(piece)
            while view:
                view = view[file.write(view) :]
        # The kernel's own times move in ticks of milliseconds: two versions of one size, the inode number used again,
        # could share a tag. This clock counts nanoseconds.
        now_ns = time.time_ns()
        os.utime(descriptor, ns=(now_ns, now_ns))
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tag(status: os.stat_result) -> str:
    """Name a version of a file."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    """Describe the object ``key``."""
    return ObjectInfo(key=key, size=status.st_size, tag=_tag(status), modified_s=status.st_mtime)


@contextmanager
def _reading(path: Path, key: str, url: str) -> Iterator[None]:
    """Raise ObjectMissing where no file is found, a store error for what else the block raises."""
    with _explained(path):
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectMissing(f"no object {key} in {url}") from None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a store error that names ``path``."""
    try:
        yield
    except OSError as error:
        text = f"{error.filename or path}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StoreFull(text) from error
        if error.errno in _REFUSED:
            raise StoreRefused(text) from error
        raise StoreError(text) from error
