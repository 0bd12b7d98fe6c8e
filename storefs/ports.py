"""What the engine needs of the world, as protocols: adapters implement them, the wiring hands them in."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from storefs.model import ObjectInfo

T = TypeVar("T")

Body = bytes | Path
"""What a put sends: bytes, or the path of a file whose whole content is sent."""


class ObjectStore(Protocol):
    """A flat map from keys to objects, with conditional puts. Every adapter passes one contract suite.

    Keys are relative ``/``-separated names below the store's prefix. Every put is all or nothing: no reader ever sees a
    part. All methods raise the errors of ``storefs.errors`` only: ``StoreUnavailable`` when trying again may help,
    ``StoreRefused`` for credentials, ``StoreFull``, ``StoreError`` for the rest.
    """

    @property
    def url(self) -> str:
        """The store's name for messages: ``s3://bucket/prefix`` or ``file:///path``; never holds a secret."""
        ...

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return ``length`` bytes from ``start`` on (all that follow if None); fewer where the object ends.

        A negative ``start`` counts from the end (``start=-12`` is the last 12 bytes, or the whole object if it is
        shorter); ``length`` then stays None. Raises ObjectMissing.
        """
        ...

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        """Fill ``memory`` with the bytes from ``start`` on; return how many: fewer where the object ends.

        Raises ObjectMissing. After a failure, or when it is cancelled, something may still be written there.
        """
        ...

    async def put(self, key: str, body: Body) -> str:
        """Write the object, replacing any other; return its tag. It is durable when this returns."""
        ...

    async def put_if_absent(self, key: str, body: Body) -> str:
        """Write the object unless the key exists; return its tag. Exactly one of several racing writers wins.

        Raises PreconditionFailed when the key exists.
        """
        ...

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        """Replace the object if its tag is still ``tag``; return the new tag. Raises PreconditionFailed otherwise
        (also when the object is gone).
        """
        ...

    async def head(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectMissing."""
        ...

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Return up to ``limit`` objects whose keys start with ``prefix`` and sort after ``after``, in key order.

        An empty list means that there are no more; a failure is always an exception.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects; a key that does not exist is no error."""
        ...

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        """Give up uploads that began before a time (s since 1970, by the store's clock) and were never completed.

        Return how many there were; a store without such a thing has none.
        """
        ...

    async def close(self) -> None:
        """Release connections and threads."""
        ...


class Clock(Protocol):
    """The wall clock. Waiting and deadlines use trio's own clock, which tests replace by MockClock."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        ...


class Chance(Protocol):
    """The source of everything random."""

    def token(self, length: int) -> bytes:
        """Return ``length`` random bytes, good for names that must be unique in the world."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """Return a number between ``low`` and ``high``."""
        ...


class Offload(Protocol):
    """Runs blocking or heavy calls away from the event loop (in threads; in the simulation, inline)."""

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Return ``function(*args)``; its exceptions pass through."""
        ...


class KernelCache(Protocol):
    """The one call upward: tells the kernel which of its cached answers are no longer true, and gives it pages.

    The calls return at once; the work is done elsewhere, per inode in the order of the calls, and never blocks a
    request.
    """

    def forget_inode(self, ino: int, *, attributes_only: bool = False) -> None:
        """Drop the cached attributes of ``ino`` and, unless ``attributes_only``, its pages."""
        ...

    def forget_names(self, parent: int, names: Sequence[bytes]) -> None:
        """Drop the cached answers (positive or negative) to lookups in ``parent``, and its cached listing."""
        ...

    async def settled(self) -> None:
        """Return when all that was asked before is done.

        Nothing that the kernel waits for may wait for this: a call on a directory holds locks that forgetting needs.
        """
        ...

    def store(self, contents: Mapping[int, bytes]) -> bool:
        """Put whole contents of files into the page cache, by inode; return False when that is too much just now.

        Only on read-only mounts: it goes over whatever the page cache holds, bytes of a mapping that were not written
        back yet among it, and nobody can know of these.
        """
        ...
