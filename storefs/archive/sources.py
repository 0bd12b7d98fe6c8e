"""Sources: what is to be packed, brought to the local disk where it is not, or is too big for a shard."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from storefs.archive import proof
from storefs.archive.job import check_stated, check_unchanged, reason_of
from storefs.core.digest import digest
from storefs.errors import NoSpace, StoreError, StorefsError, UsageError
from storefs.ports import ObjectStore, Offload

S3 = "s3://"

OpenBucket = Callable[[str], ObjectStore]
"""Returns the store of a whole bucket, by its name."""

_PIECE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Big:
    """A big file on the local disk, digested while it was copied there."""

    path: Path
    size: int
    sha256: str
    blocks: tuple[bytes, ...]
    block_bytes: int


class Sources:
    """Files, by path or by s3://bucket/key. What concerns one file only is raised as UsageError."""

    def __init__(self, open_bucket: OpenBucket, offload: Offload) -> None:
        self._open_bucket = open_bucket
        self._offload = offload
        self._buckets: dict[str, ObjectStore] = {}

    async def size(self, source: str) -> int:
        """Return the length of a source in bytes. Raises UsageError, and the store's errors."""
        if not source.startswith(S3):
            try:
                status = os.stat(source)  # noqa: PTH116 - one of a million on the own disk
                check_stated(status, None)
            except OSError as error:
                raise UsageError(reason_of(error)) from None
            return status.st_size
        store, key = self._at(source)
        with _of_one_object():
            return (await store.head(key)).size

    async def fetch(self, source: str, size: int, target: Path) -> None:
        """Copy an object to a new file. Raises UsageError, NoSpace, and the store's errors."""
        store, key = self._at(source)
        with _of_one_object():
            data = await store.get(key, 0, size + 1)
        if len(data) != size:
            more = "more than " * (len(data) > size)
            raise UsageError(f"it has {more}{min(len(data), size)} bytes, {size} were stated")
        try:
            await self._offload.run(target.write_bytes, data)
        except OSError as error:
            raise _failure(target, error) from error

    async def copy_big(self, source: str, size: int, target: Path) -> Big:
        """Copy a big file to a new file, and digest what was copied. Raises as ``fetch`` does."""
        copy = _Copy(target, size)
        try:
            async with aclosing(self._pieces(source, size)) as pieces:  # type: ignore[type-var] # async generators
                async for piece in pieces:
                    await self._offload.run(copy.add, piece)
            return await self._offload.run(copy.finish)
        except BaseException:
            copy.discard()
            raise

    async def close(self) -> None:
        """Close the buckets."""
        for store in self._buckets.values():
            await store.close()

    async def _pieces(self, source: str, size: int) -> AsyncIterator[bytes]:
        if source.startswith(S3):
            store, key = self._at(source)
            for start in range(0, size + 1, _PIECE_BYTES):
                with _of_one_object():
                    piece = await store.get(key, start, _PIECE_BYTES)
                yield piece
                if len(piece) < _PIECE_BYTES:
                    return
            return
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise UsageError(reason_of(error)) from None
        try:
            before, read = os.fstat(descriptor), 0
            check_stated(before, size)
            while piece := await self._offload.run(os.read, descriptor, _PIECE_BYTES):
                read += len(piece)
                yield piece
            check_unchanged(before, os.fstat(descriptor), read)
        except OSError as error:
            raise UsageError(reason_of(error)) from None
        finally:
            os.close(descriptor)

    def _at(self, source: str) -> tuple[ObjectStore, str]:
        bucket, _, key = source.removeprefix(S3).partition("/")
        if not bucket or not key:
            raise UsageError(f"{source} names no object: s3://bucket/key does")
        if bucket not in self._buckets:
            self._buckets[bucket] = self._open_bucket(bucket)
        return self._buckets[bucket], key


class _Copy:
    """A copy under way: what was written was digested first. Used by one thread at a time."""

    def __init__(self, target: Path, size: int) -> None:
        self._target = target
        self._size = size
        self._block_bytes = proof.block_bytes(size)
        self._file = target.open("xb", buffering=0)
        self._sha256 = hashlib.sha256()
        self._block = bytearray()
        self._blocks: list[bytes] = []
        self._copied = 0

    def add(self, piece: bytes) -> None:
        self._sha256.update(piece)
        self._block += piece
        while len(self._block) >= self._block_bytes:
            self._blocks.append(digest(self._block[: self._block_bytes]))
            del self._block[: self._block_bytes]
        try:
            view = memoryview(piece)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _failure(self._target, error) from error
        self._copied += len(piece)

    def finish(self) -> Big:
        self.close()
        if self._copied != self._size:
            raise UsageError(f"it has {self._copied} bytes, {self._size} were stated")
        if self._block:
            self._blocks.append(digest(self._block))
        return Big(self._target, self._size, self._sha256.hexdigest(), tuple(self._blocks), self._block_bytes)

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        self.close()
        self._target.unlink(missing_ok=True)


@contextmanager
def _of_one_object() -> Iterator[None]:
    """Raise as UsageError what the store says of one object. That it does not answer concerns all of them."""
    try:
        yield
    except StoreError as error:
        if error.retryable:
            raise
        raise UsageError(f"it cannot be read: {error}") from None


def _failure(target: Path, error: OSError) -> StorefsError:
    kind = NoSpace if error.errno == NoSpace.errno else StorefsError
    return kind(f"cannot write {target}: {error.strerror}")
