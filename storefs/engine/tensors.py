"""Files of tensors: what their first bytes say of how they will be read."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from storefs.core.modelfile import HEAD_BYTES, header_bytes, is_model, tensor_ends
from storefs.engine.fetch import Fetcher
from storefs.tree.tree import Tree

_HEADER_BYTES_MAX = 1 << 20
"""Longer headers, of some 10,000 tensors, are not looked through."""

_LONG_BYTES = 8 << 20
"""The ends of shorter tensors are passed over: to fetch some of them too many costs less than to wait for each."""

_AROUND_BYTES = 4 << 20
"""Of a mapping the kernel reads what lies around the place that is touched: the end of the tensor before as well."""

_OVER_BYTES = 2 * _AROUND_BYTES
"""So far over a tensor's end the kernel's own read-ahead goes before anybody has touched what is there."""


@dataclass(frozen=True, slots=True)
class Tensors:
    """What a file says of its tensors: whether it has some, and, if known, where long ones end, ascending."""

    any: bool
    ends: Sequence[int] = ()

    def end(self, start: int, at: int) -> int | None:
        """Return how far somebody will read in order who began at ``start`` and is at ``at``: to his tensor's end.

        None if nobody knows: he has gone on far behind it, so he reads one tensor after the other.
        """
        found = bisect_right(self.ends, start + _AROUND_BYTES)
        return self.ends[found] if found < len(self.ends) and at <= self.ends[found] + _OVER_BYTES else None


NO_TENSORS = Tensors(any=False)


class TensorFiles:
    """Looks at the first bytes of files."""

    def __init__(self, tree: Tree, fetcher: Fetcher) -> None:
        self._tree = tree
        self._fetcher = fetcher

    def is_near(self, ino: int) -> bool:
        """Whether a file's first bytes are in memory."""
        first = self._tree.extents.overlapping(ino, 0, HEAD_BYTES)
        return all(self._fetcher.now(extent.chunk) is not None for extent in first)

    async def look(self, ino: int, size: int) -> Tensors:
        """Return what a file of ``size`` bytes says. Raises StoreError and its kinds, Corrupt."""
        head = await self._start(ino, HEAD_BYTES)
        if not is_model(head, size):
            return NO_TENSORS
        length = header_bytes(head, size)
        if not 0 < length <= _HEADER_BYTES_MAX:
            return Tensors(any=True)
        ends = [length, *tensor_ends(await self._start(ino, length))]
        return Tensors(any=True, ends=[end for start, end in pairwise(ends) if end - start >= _LONG_BYTES])

    async def _start(self, ino: int, length: int) -> bytes:
        """Return the first ``length`` bytes of a file, those in front of its first hole."""
        found = bytearray()
        for extent in self._tree.extents.overlapping(ino, 0, length):
            if extent.offset > len(found):
                break
            content = memoryview(await self._fetcher.get(extent.chunk))
            found += content[extent.skip : extent.skip + extent.length]
        return bytes(found[:length])
