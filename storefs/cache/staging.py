"""The staging log: every write as it arrived, safe from the death of the process when write() returns.

One append-only log for all files, in segments, because a file of its own for each small file would cost more than its
bytes. A record is a header and the data; positions count the bytes of the log since the cache was made, over all
segments. A segment goes when none of its bytes is needed any more. Layout: docs/FORMAT.md.
"""

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storefs.core.digest import digest_of, quick_check
from storefs.errors import Corrupt, NoSpace, StorefsError

MAGIC = b"SFW2"
MAGIC_BLAKE3 = b"SFW1"
"""Of records that are checked by eight bytes of BLAKE3: no longer written, still taken over."""
_FIELDS = struct.Struct("<4s4xQQQQ")
_CHECK_BYTES = 8
_HEADER_BYTES = _FIELDS.size + _CHECK_BYTES
_SEGMENT_BYTES = 64 << 20
_ROTATE_IDLE_BYTES = 8 << 20
"""A segment without live bytes is dropped from this length on, so that dead bytes rarely reach the disk."""


@dataclass(frozen=True, slots=True)
class Record:
    """A write found in the log: ``length`` bytes for ``offset`` of inode ``ino``, the data at ``position``."""

    ino: int
    offset: int
    length: int
    time_ns: int
    position: int


@dataclass(slots=True)
class _Segment:
    start: int
    fd: int
    path: Path
    length: int = 0
    live: int = 0


class Staging:
    """The log and its segments."""

    def __init__(self, folder: Path) -> None:
        """Open the log in ``folder`` (which exists), with whatever a previous process left in it."""
        self._folder = folder
        self._segments: list[_Segment] = []
        for path in sorted(folder.glob("*.log")):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            self._segments.append(_Segment(int(path.stem, 16), fd, path, os.fstat(fd).st_size))
        if not self._segments:
            self._open_segment(0)

    @property
    def end(self) -> int:
        """The position behind the last record."""
        return self._segments[-1].start + self._segments[-1].length

    @property
    def start(self) -> int:
        """The position where the oldest segment starts."""
        return self._segments[0].start

    @property
    def disk_bytes(self) -> int:
        """How much disk the log takes."""
        return sum(segment.length for segment in self._segments)

    @property
    def live_bytes(self) -> int:
        """How many bytes of the log are needed still."""
        return sum(segment.live for segment in self._segments)

    def skip_to(self, position: int) -> None:
        """Let the log go on at ``position`` or behind: below, notes may exist about bytes that a power cut took."""
        if position > self.end:
            self._open_segment(position)

    def append(self, ino: int, offset: int, data: bytes | memoryview, time_ns: int) -> int:
        """Append a write; return the position of its data. Raises NoSpace, and then nothing was appended."""
        segment = self._segments[-1]
        if segment.length >= _SEGMENT_BYTES:
            self._open_segment(self.end)
            segment = self._segments[-1]
        fields = _FIELDS.pack(MAGIC, ino, offset, len(data), time_ns)
        header = fields + quick_check(fields, data)
        total = len(header) + len(data)
        try:
            written = os.pwritev(segment.fd, [header, data], segment.length)
            if written < total:  # the disk filled up halfway, or a signal came: the rest decides
                rest = (header + bytes(data))[written:]
                while rest:
                    rest = rest[os.pwrite(segment.fd, rest, segment.length + total - len(rest)) :]
        except OSError as error:
            os.ftruncate(segment.fd, segment.length)
            kind = NoSpace if error.errno == NoSpace.errno else StorefsError
            raise kind(f"cannot stage a write in {self._folder}: {error.strerror}") from error
        position = segment.start + segment.length + len(header)
        segment.length += total
        segment.live += len(data)
        return position

    def read(self, position: int, length: int) -> bytes:
        """Return ``length`` bytes of one record's data."""
        segment = self._at(position)
        data = os.pread(segment.fd, length, position - segment.start)
        if len(data) != length:
            raise Corrupt(f"staging {segment.path} ends early: {len(data)} of {length} bytes at {position}")
        return data

    def locate(self, position: int) -> tuple[int, int]:
        """Return (file descriptor, offset) of a position, valid as long as its bytes are needed."""
        segment = self._at(position)
        return segment.fd, position - segment.start

    def retain(self, position: int, length: int) -> None:
        """Count bytes as needed (those of a record replayed at the start)."""
        self._at(position).live += length

    def release(self, position: int, length: int) -> None:
        """Count bytes as no longer needed."""
        segment = self._at(position)
        segment.live -= length
        assert segment.live >= 0, f"segment {segment.path} gave away more than it had"

    def drop_dead(self) -> bool:
        """Remove the segments without a byte that is needed; return whether any went."""
        active = self._segments[-1]
        if active.live == 0 and active.length >= _ROTATE_IDLE_BYTES:
            self._open_segment(self.end)
        dead = [segment for segment in self._segments[:-1] if segment.live == 0]
        for segment in dead:
            os.close(segment.fd)
            segment.path.unlink()
            self._segments.remove(segment)
        return bool(dead)

    def records(self) -> Iterator[Record]:
        """Yield the records of the log in order; each segment up to its first byte that is not one.

        A torn last record was never acknowledged; its bytes are cut off, so that the log goes on behind the last
        good one.
        """
        for segment in self._segments:
            at = 0
            while (record := self._record_at(segment, at)) is not None:
                yield record
                at += _HEADER_BYTES + record.length
            segment.length = at
            os.ftruncate(segment.fd, at)

    def close(self) -> None:
        """Close the files."""
        for segment in self._segments:
            os.close(segment.fd)

    def _record_at(self, segment: _Segment, at: int) -> Record | None:
        header = os.pread(segment.fd, _HEADER_BYTES, at)
        if len(header) < _HEADER_BYTES:
            return None
        fields, check = header[: _FIELDS.size], header[_FIELDS.size :]
        magic, ino, offset, length, time_ns = _FIELDS.unpack(fields)
        if magic not in (MAGIC, MAGIC_BLAKE3) or at + _HEADER_BYTES + length > segment.length:
            return None
        data = os.pread(segment.fd, length, at + _HEADER_BYTES)
        expected = quick_check(fields, data) if magic == MAGIC else digest_of(fields, data)[:_CHECK_BYTES]
        if expected != check:
            return None
        return Record(ino, offset, length, time_ns, segment.start + at + _HEADER_BYTES)

    def _open_segment(self, start: int) -> None:
        path = self._folder / f"{start:016x}.log"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NoSpace(f"cannot make the staging segment {path}: {error.strerror}") from error
        self._segments.append(_Segment(start, fd, path))

    def _at(self, position: int) -> _Segment:
        found = bisect_right(self._segments, position, key=lambda segment: segment.start) - 1
        assert found >= 0, f"position {position} was dropped"
        return self._segments[found]
