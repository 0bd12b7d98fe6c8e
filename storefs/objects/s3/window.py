"""A body as a stream for the HTTP client: pieces of a size that is worth a system call."""

import io
from typing import BinaryIO

PIECE_BYTES = 256 << 10
"""The client asks for 16 KiB at a time and sends whatever it gets. This much stays in the processor's cache on its way
from the file to the socket, and one timeout covers no more than it."""


class Window(io.RawIOBase):
    """``length`` bytes of ``stream`` from ``start`` on, as a stream of their own. Closing it closes ``stream``.

    A piece that ``read`` returns may be longer than what was asked for, and is valid until the next call: good for a
    client that sends each piece before it asks for the next.
    """

    def __init__(self, stream: BinaryIO, start: int, length: int) -> None:
        self._stream = stream
        self._start = start
        self._length = length
        self._at = 0
        self._buffer = memoryview(bytearray(min(PIECE_BYTES, length)))
        stream.seek(start)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Return the position within the window."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the window."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = min(max(0, origin + offset), self._length)
        self._stream.seek(self._start + self._at)
        return self._at

    def read(self, size: int | None = -1) -> bytes | memoryview:
        """Return the next piece, empty at the end, whatever ``size`` is; all that is left if negative or None."""
        if size == 0:
            return b""
        if size is None or size < 0:
            return b"".join(bytes(piece) for piece in iter(lambda: self.read(PIECE_BYTES), b""))
        piece = self._buffer[: self._length - self._at]
        got: int = self._stream.readinto(piece)  # type: ignore[attr-defined] # every stream of bytes can do it
        self._at += got
        return piece[:got]

    def close(self) -> None:
        """Close the stream behind, too."""
        self._stream.close()
        super().close()
