"""Which store holds which routes: one store for all of them, or one for each zone."""

from collections.abc import Iterable
from dataclasses import dataclass

from storefs.archive.routing import N_BITS, check_n_bits
from storefs.errors import UsageError
from storefs.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class Part:
    """A store, and the numbers of the routes that it holds."""

    routes: range
    store: ObjectStore


class Stores:
    """The stores of one archive. Together they hold each route once.

    Attributes:
        n_bits: the number of bits of a route's number.
        parts: the stores, by the first of their routes.
    """

    def __init__(self, parts: Iterable[Part], n_bits: int) -> None:
        """Raises UsageError when a route has no store, or two."""
        self.n_bits = check_n_bits(n_bits)
        self.parts = tuple(sorted(parts, key=lambda part: part.routes.start))
        at = 0
        for part in self.parts:
            if part.routes.start != at:
                raise UsageError(f"the stores of an archive must hold each route once; route {at} breaks that")
            at = part.routes.stop
        if at != 1 << n_bits:
            raise UsageError(f"the stores of an archive hold routes up to {at - 1}; there are {1 << n_bits}")

    @classmethod
    def single(cls, store: ObjectStore, n_bits: int = N_BITS) -> "Stores":
        """Return an archive that lies in one store."""
        return cls((Part(range(1 << check_n_bits(n_bits)), store),), n_bits)

    @property
    def name(self) -> str:
        """The stores' names, for messages."""
        return ", ".join(part.store.url for part in self.parts)

    def at(self, route_index: int) -> ObjectStore:
        """Return the store of a route."""
        for part in self.parts:
            if route_index in part.routes:
                return part.store
        raise AssertionError(route_index)

    async def close(self) -> None:
        """Close all of them."""
        for part in self.parts:
            await part.store.close()
