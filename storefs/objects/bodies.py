"""What a put sends and what a get asks for, as plain arithmetic and pieces of bounded size."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from storefs.errors import StoreError
from storefs.ports import Body

PIECE_BYTES = 1 << 20
"""How much of a file is held in memory at a time."""


def open_body(body: Body) -> BinaryIO:
    """Return a seekable stream of ``body``; the caller closes it. Raises StoreError if its file cannot be opened."""
    if not isinstance(body, Path):
        return io.BytesIO(body)
    try:
        return body.open("rb")
    except OSError as error:
        raise _unreadable(body, error) from error


def body_size(body: Body) -> int:
    """Return the length of ``body`` in bytes. Raises StoreError if its file cannot be examined."""
    if not isinstance(body, Path):
        return len(body)
    try:
        return body.stat().st_size
    except OSError as error:
        raise _unreadable(body, error) from error


def pieces(body: Body, most: int = PIECE_BYTES) -> Iterator[bytes]:
    """Yield the content of ``body`` in order, at most ``most`` bytes at a time. Raises StoreError if reading fails."""
    with open_body(body) as stream:
        while True:
            try:
                piece = stream.read(most)
            except OSError as error:
                raise _unreadable(body, error) from error
            if not piece:
                return
            yield piece


def body_bytes(body: Body) -> bytes:
    """Return the whole content of ``body``. Raises StoreError if its file cannot be read."""
    return b"".join(pieces(body)) if isinstance(body, Path) else bytes(body)


def span(size: int, start: int, length: int | None) -> tuple[int, int]:
    """Return the first byte and the byte behind the last one that ``get(start, length)`` means in ``size`` bytes."""
    assert start >= 0 or length is None, "a start counted from the end has no length"
    assert length is None or length >= 0
    first = max(0, size + start) if start < 0 else min(start, size)
    return first, size if length is None else min(size, first + length)


def _unreadable(body: Body, error: OSError) -> StoreError:
    """Return the error for a body whose file cannot be read: the store has no part in it."""
    name = body if isinstance(body, Path) else "the bytes"
    return StoreError(f"cannot read {name}, which was to be put: {error.strerror}")
