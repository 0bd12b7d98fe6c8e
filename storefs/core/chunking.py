"""Where a file is cut into chunks: one chunk when small, content-defined (FastCDC) otherwise.

Content-defined boundaries depend on the bytes alone, so that an insertion near the start of a large file leaves nearly
all of its chunks, and with them the bytes to store, as they were. Algorithm: Xia et al., "FastCDC" (USENIX ATC 2016),
with normalized chunking, as in the library pyfastcdc.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pyfastcdc import FastCDC


class _Cut(Protocol):
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """The bounds of chunking in bytes; part of a store's identity (store.json), for dedup needs them to agree."""

    small: int = 256 << 10
    minimum: int = 256 << 10
    average: int = 1 << 20
    maximum: int = 4 << 20


class Chunker:
    """Cuts runs of bytes into chunks."""

    def __init__(self, sizes: ChunkSizes) -> None:
        self.sizes = sizes
        self._cdc = FastCDC(avg_size=sizes.average, min_size=sizes.minimum, max_size=sizes.maximum)

    def cut(self, data: bytes | bytearray | memoryview, *, final: bool) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of the chunks of ``data``, in order.

        Unless ``final``, the last piece is held back: its end was set by the end of the data and not by its content,
        so the caller presents it again in front of what follows. Chunks then come out the same, however the data
        was sliced on its way here.
        """
        if final and len(data) <= self.sizes.small:
            if data:
                yield 0, len(data)
            return
        held: _Cut | None = None
        for piece in self._cdc.cut_buf(data):
            if held is not None:
                yield held.offset, held.length
            held = piece
        if held is not None and final:
            yield held.offset, held.length
