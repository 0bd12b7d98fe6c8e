"""Streams: open files that values are read from."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from storefs.vault.errors import InvalidArgument, IoError


class Reader(Protocol):
    """What a value can be read from."""

    def read(self, length: int, /) -> bytes:
        """Return up to ``length`` bytes, none at the end."""
        ...


class Writer(Protocol):
    """What a value can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A stream whose length is known.

    Attributes:
        length: how many bytes are to be read from it.
        read: returns up to so many of them.
        rewind: goes back to the first of them, if that can be.
    """

    length: int
    read: Callable[[int], bytes]
    rewind: Callable[[], object]


@contextmanager
def opened(reader: Reader, size: int | None, piece_bytes: int) -> Iterator[Source]:
    """Hand out the next ``size`` bytes of a reader, or all that is left of it.

    Of one that cannot be sought all is copied to a temporary file then, to know how much it is. Raises IoError.
    """
    read, begin = _guarded(reader), _position(reader)
    if begin is not None:
        stream: Any = reader
        yield Source(_left(stream, begin) if size is None else size, read, lambda: _sought(stream, begin))
    elif size is not None:
        yield Source(size, read, lambda: None)
    else:
        with tempfile.TemporaryFile() as copy:
            length = 0
            while piece := read(piece_bytes):
                copy.write(piece)
                length += len(piece)
            copy.seek(0)
            yield Source(length, copy.read, lambda: copy.seek(0))


def _guarded(reader: Reader) -> Callable[[int], bytes]:
    def read(length: int) -> bytes:
        try:
            data = reader.read(length)
        except (OSError, ValueError) as error:  # a closed file raises ValueError
            raise IoError(f"cannot read what is to be stored: {error}") from error
        if not isinstance(data, bytes | bytearray | memoryview):
            raise InvalidArgument(f"the reader gave {type(data).__name__}, not bytes: open the file in binary mode")
        return bytes(data)

    return read


def _position(reader: Any) -> int | None:
    """Return where a reader stands, or None if it cannot be sought."""
    try:
        return int(reader.tell()) if reader.seekable() else None
    except (AttributeError, OSError, ValueError):
        return None


def _left(stream: Any, begin: int) -> int:
    end = _sought(stream, 0, 2)
    _sought(stream, begin)
    return max(0, end - begin)


def _sought(stream: Any, offset: int, whence: int = 0) -> int:
    try:
        return int(stream.seek(offset, whence))
    except (OSError, ValueError) as error:
        raise IoError(f"cannot seek in what is to be stored: {error}") from error
