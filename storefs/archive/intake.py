"""The intake: the entries of a manifest, looked at and put in order."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import trio

from storefs.archive.manifest import Failure, Item
from storefs.archive.planner import Bounds, Planned, plan, record
from storefs.archive.routing import check_n_bits, route
from storefs.archive.sorting import Sorter
from storefs.archive.sources import Sources
from storefs.errors import UsageError

Report = Callable[[Failure], None]
"""Is told of each entry that is not packed."""

_TURN = 1000
"""After so many entries others get their turn."""


class Intake:
    """The files of one manifest. More than memory holds lies in ``folder``.

    Attributes:
        sources: where they are read from.
        bounds: where shards end.
        fail: is told of each entry that is not packed.
    """

    def __init__(self, sources: Sources, n_bits: int, folder: Path, bounds: Bounds, fail: Report) -> None:
        """Begin without files. Raises UsageError for a number of bits that cannot be."""
        self.sources = sources
        self.bounds = bounds
        self.fail = fail
        self._n_bits = check_n_bits(n_bits)
        self._sorter = Sorter(folder)

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self._sorter)

    async def read(self, entries: Iterable[Item | Failure]) -> None:
        """Take in the entries; what is not worth a try fails. Sources are asked for their length at most.

        Raises UsageError for a manifest that cannot be read, and the errors of stores that sources lie in.
        """
        for turn, item in enumerate(entries):
            if not turn % _TURN:
                await trio.lowlevel.checkpoint()
            if isinstance(item, Failure):
                self.fail(item)
                continue
            try:
                place = route(item.uid, item.created_at, self._n_bits)
                size = await self.sources.size(item.source) if item.size is None else item.size
            except UsageError as error:
                self.fail(Failure(item.number, item.uid, str(error)))
            else:
                self._sorter.add(record(place, item.uid, item.number, size, item.source))

    def planned(self) -> Iterator[Planned]:
        """Yield the files in the order in which they are packed."""
        return plan(self._sorter, self.bounds)
