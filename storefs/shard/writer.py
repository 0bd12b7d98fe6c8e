"""Writing a shard: each payload reaches the kernel before append returns, the index comes with the seal."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from storefs.errors import Corrupt, NoSpace, StorefsError
from storefs.model import FILE_BYTES_MAX, Buffer, Codec
from storefs.shard.format import (
    HEADER,
    HEADER_BYTES,
    BigFileEntry,
    Entry,
    InlineEntry,
    pack_footer,
    pack_index,
    pack_meta,
    pack_name,
)

_FILE_MODE = 0o600


class ShardWriter:
    """An open shard on the local disk. Not for several threads at once.

    Nothing is buffered in the process: what ``append`` returned for survives the death of the process, and the death of
    the machine once ``seal`` returned. Where the payloads lie is told by the return values; a shard without its index
    is taken up again with ``resume``.
    """

    def __init__(self, path: Path, fd: int, entries: Iterable[Entry], end: int) -> None:
        """Use ``create`` or ``resume``."""
        self.path = path
        self._fd = fd
        self._entries = list(entries)
        self._end = end
        self._sealed = False
        self._doubtful = False

    @classmethod
    def create(cls, path: Path) -> Self:
        """Start a new shard. Raises FileExistsError (nothing is ever replaced), NoSpace."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        writer = cls(path, fd, (), 0)
        try:
            writer._extend(HEADER)
        except BaseException:
            writer.close()
            path.unlink(missing_ok=True)
            raise
        return writer

    @classmethod
    def resume(cls, path: Path, entries: Iterable[Entry], end: int) -> Self:
        """Take up a shard after a crash: drop what lies behind ``end``, and go on from there.

        ``entries`` are the payloads that are known to lie before ``end``; they will be in the index. What follows
        (a payload that was never acknowledged, or part of an index) is cut off. Raises Corrupt when the file is
        shorter than ``end`` or not a shard, FileNotFoundError.
        """
        known = list(entries)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _check_resumable(path, fd, known, end)
            os.ftruncate(fd, end)
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd, known, end)

    @property
    def end(self) -> int:
        """The file's length: where the next payload goes, or the shard's size once it is sealed."""
        return self._end

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What the index will hold (or holds), in order."""
        return tuple(self._entries)

    def append(self, name: str, payload: Buffer, codec: Codec, size: int, meta: Mapping[str, Any] | None = None) -> int:
        """Write a payload of ``size`` bytes of content; return its offset in the shard.

        When this returns the bytes are with the kernel. When it fails the shard is as it was. Raises NoSpace,
        UsageError for a name or meta that the format cannot hold.
        """
        self._require_trusted()
        assert not self._sealed, "a sealed shard takes nothing more"
        assert 0 <= size <= FILE_BYTES_MAX
        assert codec is not Codec.NONE or size == len(payload)
        pack_name(name)  # refused now, not when the shard is sealed
        entry = InlineEntry(name, self._end, len(payload), codec, size, pack_meta(meta))
        self._extend(payload)
        self._entries.append(entry)
        return entry.offset

    def note_big_file(self, name: str, sha256: str, size: int, meta: Mapping[str, Any] | None = None) -> None:
        """List content that lies beside the shard as an object of its own. Raises UsageError as ``append`` does."""
        assert not self._sealed, "a sealed shard takes nothing more"
        pack_name(name)
        self._entries.append(BigFileEntry(name, sha256, size, pack_meta(meta)))

    def seal(self, durable: bool = True) -> int:
        """Write index and footer (once, however often this is called); return the shard's size in bytes.

        With ``durable`` the file and its name survive a power cut when this returns. When there is no room the shard is
        as it was, and open. When syncing fails nobody knows which bytes are on the disk, and trying again may find out
        nothing: the writer is of no more use. Raises NoSpace, StorefsError.
        """
        self._require_trusted()
        if not self._sealed:
            index = pack_index(self._entries)
            self._extend(index + pack_footer(len(index)))
            self._sealed = True
        if durable:
            self._sync()
        return self._end

    def close(self) -> None:
        """Close the file, as it is. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extend(self, data: Buffer) -> None:
        view = memoryview(data)
        at = 0
        try:
            while at < len(view):  # the kernel may take less than it is given: 2 GiB at most, or up to a full disk
                at += os.pwrite(self._fd, view[at:], self._end + at)
        except OSError as error:
            self._cut(self._end)
            raise self._failure(error) from error
        except BaseException:
            self._cut(self._end)
            raise
        self._end += at

    def _cut(self, end: int) -> None:
        os.ftruncate(self._fd, end)
        self._end = end

    def _sync(self) -> None:
        try:
            os.fsync(self._fd)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            self._doubtful = True
            raise self._failure(error) from error

    def _require_trusted(self) -> None:
        if self._doubtful:
            raise StorefsError(f"{self.path} could not be synced before: what it holds is not known")

    def _failure(self, error: OSError) -> StorefsError:
        kind = NoSpace if error.errno == NoSpace.errno else StorefsError
        return kind(f"cannot write {self.path}: {error.strerror}")


def _check_resumable(path: Path, fd: int, known: Iterable[Entry], end: int) -> None:
    there = os.fstat(fd).st_size
    if os.pread(fd, HEADER_BYTES, 0) != HEADER:
        raise Corrupt(f"{path} does not start as a shard")
    if not HEADER_BYTES <= end <= there:
        raise Corrupt(f"{path} has {there} bytes; its payloads end at {end}")
    for entry in known:
        if isinstance(entry, InlineEntry) and not HEADER_BYTES <= entry.offset <= entry.end <= end:
            raise Corrupt(f"{path} ends at {end}, but {entry.name} ends at {entry.end}")
