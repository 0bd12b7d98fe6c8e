"""A file exerciser: random calls on one file of a real mount, each result held against a model in memory.

python -m storefs.testing.fsx PATH --seed N --operations N
"""

import argparse
import contextlib
import ctypes
import errno
import itertools
import mmap
import os
import random
import sys
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from storefs.errors import StorefsError

_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 0x01, 0x02, 0x10
_TOLD, _SHOWN = 20, 16
_PAGE = mmap.PAGESIZE
_SOURCE_BYTES = 300_000

WEIGHTS = {
    "read": 14, "map_read": 5, "write": 16, "append": 5, "map_write": 8, "cut": 5, "extend": 4, "punch": 5, "zero": 3,
    "zero_keep": 3, "allocate": 2, "allocate_keep": 2, "copy_inside": 4, "copy_other": 4, "holes": 5, "fsync": 1,
    "reopen": 4, "forget": 10,
}  # fmt: skip
"""How often each operation comes."""

ALL = frozenset(WEIGHTS)
FALLOCATE = {
    "punch": _PUNCH_HOLE | _KEEP_SIZE,
    "zero": _ZERO_RANGE,
    "zero_keep": _ZERO_RANGE | _KEEP_SIZE,
    "allocate": 0,
    "allocate_keep": _KEEP_SIZE,
}
"""What a mount without the bridge answers with EOPNOTSUPP."""

MAPPED_WRITES = frozenset({"map_write"})
"""What a killed daemon may lose although the call returned."""

_libc = ctypes.CDLL(None, use_errno=True)


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    if _libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class FileDiffers(StorefsError):
    """The file is not what the model says; the text has the seed, the difference and the last operations."""


class Exerciser:
    """A file at ``path``, made anew and changed at random, and what it must contain.

    Between two runs the mount may be taken away, if ``close`` was called before; ``check`` or the next run opens the
    file again. Before the daemon is killed, ``settle`` writes down what was only written into mapped pages.

    Attributes:
        seed: makes the same sequence of operations again.
        model: the bytes that the file must have.
        operations: names of the operations that may come; it can be changed between two runs.
    """

    def __init__(self, path: Path, seed: int, *, size_max: int = 256 << 10, operations: Collection[str] = ALL) -> None:
        self.path = path
        self.seed = seed
        self.model = bytearray()
        self.operations = operations
        self._size_max = size_max
        self._chance = random.Random(seed)
        self._done = 0
        self._log: deque[str] = deque(maxlen=_TOLD)
        self._fd: int | None = None
        self._unsettled = False
        self._source_path = path.with_name(path.name + ".source")
        self._source = self._chance.randbytes(_SOURCE_BYTES // 2).ljust(_SOURCE_BYTES, b"\0")
        self._source_path.write_bytes(self._source)
        path.write_bytes(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # the mount may be gone
            self.close()

    def run(self, count: int) -> None:
        """Make ``count`` random operations. Raises FileDiffers."""
        names = [name for name in WEIGHTS if name in self.operations]
        for name in self._chance.choices(names, [WEIGHTS[name] for name in names], k=count):
            if name in FALLOCATE:
                self._step(name, partial(self._allocate_range, FALLOCATE[name]))
            else:
                self._step(name, getattr(self, f"_{name}"))

    def check(self) -> None:
        """Compare the whole file, read from the daemon and not from the kernel's pages. Raises FileDiffers."""
        self._step("forget", self._forget)
        self._step("check", self._whole)
        self._step("holes", self._holes)

    def settle(self) -> None:
        """Have the kernel write down the pages that were changed through a mapping. Raises FileDiffers."""
        if self._unsettled:
            self._step("fsync", self._fsync)

    def close(self) -> None:
        """Close the file; the next operation opens it again."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _step(self, name: str, step: Callable[[], None]) -> None:
        self._done += 1
        self._log.append(f"{self._done} {name}")
        try:
            step()
            self._expect_size()
        except OSError as error:
            raise self._differs(f"{name} failed: {error!r}") from error

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        offset, length = self._place(self._size_max)
        self._note(f"{offset} +{length}")
        self._compare(offset, self._pread(offset, length), length)

    def _whole(self) -> None:
        self._compare(0, self._pread(0, len(self.model) + 1), len(self.model) + 1)

    def _map_read(self) -> None:
        if not self.model:
            return
        start, length = self._mapped_range()
        self._note(f"{start} +{length}")
        with mmap.mmap(self._open(), length, prot=mmap.PROT_READ, offset=start) as mapped:
            self._compare(start, mapped[:], length)

    def _holes(self) -> None:
        """Walk all data and holes: what is called a hole must be zeros."""
        fd, size = self._open(), len(self.model)
        at = 0 if not self.model else self._chance.choice((0, self._chance.randrange(size)))
        self._note(f"from {at}")
        while at < size:
            try:
                data = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = size
            if not at <= data <= size:
                raise self._differs(f"SEEK_DATA from {at} is {data}, and the size is {size}")
            self._expect_zeros(at, data)
            if data == size:
                return
            at = os.lseek(fd, data, os.SEEK_HOLE)
            if not data < at <= size:
                raise self._differs(f"SEEK_HOLE from {data}, which is data, is {at}, and the size is {size}")

    def _expect_zeros(self, start: int, end: int) -> None:
        if any(self.model[start:end]):
            first = next(offset for offset in range(start, end) if self.model[offset])
            raise self._differs(f"{start} to {end} is called a hole, and there is data at offset {first}")

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        offset, length = self._place(self._size_max)
        content = self._content(length)
        self._note(f"{offset} +{length}")
        written = os.pwrite(self._open(), content, offset)
        self._expect_count(length, written)
        self._put(offset, content)

    def _append(self) -> None:
        content = self._content(self._length(self._size_max - len(self.model)))
        self._note(f"{len(self.model)} +{len(content)}")
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            self._expect_count(len(content), os.write(fd, content))
        finally:
            os.close(fd)
        self._put(len(self.model), content)

    def _map_write(self) -> None:
        if not self.model:
            return
        start, length = self._mapped_range()
        offset = self._chance.randrange(length)
        content = self._content(self._length(length - offset))
        sync = self._one_in(10)
        self._note(f"{start + offset} +{len(content)}{' and msync' if sync else ''}")
        with mmap.mmap(self._open(), length, offset=start) as mapped:
            mapped[offset : offset + len(content)] = content
            self._put(start + offset, content)
            self._unsettled = True
            if sync:
                mapped.flush()

    def _cut(self) -> None:
        self._truncate(self._chance.choice((0, self._chance.randint(0, len(self.model)), len(self.model) * 9 // 10)))

    def _extend(self) -> None:
        self._truncate(self._chance.randint(len(self.model), self._size_max))

    def _truncate(self, size: int) -> None:
        by_path = self._one_in(2)
        self._note(f"{len(self.model)} to {size}{' by path' if by_path else ''}")
        if by_path:
            os.truncate(self.path, size)
        else:
            os.ftruncate(self._open(), size)
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    def _copy_inside(self) -> None:
        """Copy a range of the file to another place of it, where the two do not overlap."""
        one, other = sorted(self._chance.randrange(len(self.model) + 1) for _ in "12")
        if one == other:
            return
        length = self._length(min(other - one, self._size_max - other))
        source, target = self._chance.choice(((one, other), (other, one)))
        length = min(length, len(self.model) - source)
        self._copy(self._open(), source, target, self.model[source : source + length])

    def _copy_other(self) -> None:
        source, target = self._chance.randrange(_SOURCE_BYTES), self._chance.randint(0, self._size_max)
        length = min(self._length(self._size_max - target), _SOURCE_BYTES - source)
        fd = os.open(self._source_path, os.O_RDONLY)
        try:
            self._copy(fd, source, target, self._source[source : source + length])
        finally:
            os.close(fd)

    def _copy(self, fd: int, source: int, target: int, content: bytes | bytearray) -> None:
        self._note(f"{source} to {target} +{len(content)}")
        done = 0
        while done < len(content):
            count = os.copy_file_range(fd, self._open(), len(content) - done, source + done, target + done)
            if not 0 < count <= len(content) - done:
                raise self._differs(f"copy_file_range copied {count} of {len(content) - done} bytes")
            self._put(target + done, content[done : done + count])
            done += count

    def _allocate_range(self, mode: int) -> None:
        offset, length = self._place(self._size_max)
        self._note(f"{offset} +{length}")
        _fallocate(self._open(), mode, offset, length)
        end = offset + length
        if not mode & _KEEP_SIZE:
            self.model.extend(bytes(max(0, end - len(self.model))))
        if mode & (_PUNCH_HOLE | _ZERO_RANGE):
            inside = min(end, len(self.model))
            self.model[offset:inside] = bytes(max(0, inside - offset))

    # --- the file's life ----------------------------------------------------------------------------------------------

    def _fsync(self) -> None:
        self._chance.choice((os.fsync, os.fdatasync))(self._open())
        self._unsettled = False

    def _reopen(self) -> None:
        self.close()
        self._open()

    def _forget(self) -> None:
        """Have the kernel drop the pages that are in the store's hands, so that the next reads reach the daemon."""
        os.posix_fadvise(self._open(), 0, 0, os.POSIX_FADV_DONTNEED)

    # --- drawing and comparing ----------------------------------------------------------------------------------------

    def _open(self) -> int:
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR)
        return self._fd

    def _pread(self, offset: int, length: int) -> bytes:
        parts = []
        while length and (part := os.pread(self._open(), length, offset)):
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def _one_in(self, number: int) -> bool:
        return not self._chance.randrange(number)

    def _place(self, end: int) -> tuple[int, int]:
        """Return (offset, length) of a range up to ``end``, often at the file's end or where pages begin."""
        size = len(self.model)
        offset = self._chance.choice((self._chance.randrange(end), self._chance.randint(0, min(size, end - 1)), size))
        if self._one_in(3):
            offset -= offset % _PAGE
        offset = min(offset, end - 1)
        return offset, self._length(end - offset)

    def _length(self, at_most: int) -> int:
        """Return 1 to ``at_most``: small numbers as often as large ones, and often one page."""
        if at_most <= 1:
            return max(0, at_most)
        drawn = int(at_most ** self._chance.random())
        return min(at_most, self._chance.choice((drawn, drawn, drawn, _PAGE)))

    def _mapped_range(self) -> tuple[int, int]:
        """Return (offset, length) of a mapping that lies in the file."""
        start = self._chance.randrange(len(self.model))
        start -= start % mmap.ALLOCATIONGRANULARITY
        return start, self._length(len(self.model) - start)

    def _content(self, length: int) -> bytes:
        """Return bytes to write: mostly unlike any other, sometimes zeros, or what compresses, or what is there."""
        kind = self._chance.choices(("new", "zeros", "pattern", "there"), (13, 2, 2, 3))[0]
        if kind == "zeros":
            return bytes(length)
        if kind == "pattern":
            return (self._chance.randbytes(7) * (length // 7 + 1))[:length]
        if kind == "there" and len(self.model) > length:
            start = self._chance.randrange(len(self.model) - length)
            return bytes(self.model[start : start + length])
        return self._chance.randbytes(length)

    def _put(self, offset: int, content: bytes | bytearray) -> None:
        if content:
            self.model.extend(bytes(max(0, offset - len(self.model))))
            self.model[offset : offset + len(content)] = content

    def _compare(self, offset: int, found: bytes, length: int) -> None:
        wanted = bytes(self.model[offset : offset + length])
        if found == wanted:
            return
        pairs = enumerate(itertools.zip_longest(wanted, found))
        first = next(number for number, (one, other) in pairs if one != other)
        raise self._differs(
            f"offset {offset + first}: expected {_shown(wanted[first:])}, found {_shown(found[first:])}"
            f" (read {len(found)} bytes from {offset}, {len(wanted)} were expected)"
        )

    def _expect_size(self) -> None:
        found = os.fstat(self._open()).st_size
        if found != len(self.model):
            raise self._differs(f"the size is {found}, expected {len(self.model)}")

    def _expect_count(self, wanted: int, found: int) -> None:
        if found != wanted:
            raise self._differs(f"{found} of {wanted} bytes written")

    def _note(self, what: str) -> None:
        self._log[-1] += f" {what}"

    def _differs(self, what: str) -> FileDiffers:
        lines = "\n  ".join(self._log)
        return FileDiffers(f"{self.path}, seed {self.seed}, operation {self._done}: {what}\nlast:\n  {lines}")


def _shown(content: bytes) -> str:
    """Return the first bytes in words."""
    return f"{content[:_SHOWN].hex(' ') or 'nothing'}{' ...' if len(content) > _SHOWN else ''}"


def main() -> None:
    """Exercise one file as the command line says; the exit code is 1 when it is not as it must be."""
    parser = argparse.ArgumentParser(prog="storefs.testing.fsx", description="Exercise a file of a mount at random.")
    parser.add_argument("path", type=Path, help="the file: it is made anew, and PATH.source beside it")
    parser.add_argument("--seed", type=int, default=None, help="draw the operations from this seed")
    parser.add_argument("--operations", type=int, default=10_000, help="how many")
    parser.add_argument("--size", type=int, default=256 << 10, help="the file's size in bytes, at most")
    parser.add_argument("--without", nargs="*", default=[], choices=[*WEIGHTS, "fallocate"], help="leave these out")
    given = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if given.seed is None else given.seed
    left_out = {*given.without, *(FALLOCATE if "fallocate" in given.without else ())}
    sys.stdout.write(f"{given.path}: seed {seed}, {given.operations} operations\n")
    sys.stdout.flush()
    try:
        with Exerciser(given.path, seed, size_max=given.size, operations=ALL - left_out) as exerciser:
            exerciser.run(given.operations)
            exerciser.check()
    except FileDiffers as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
