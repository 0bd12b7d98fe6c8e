"""A store that fails on purpose, drawn from one seed."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import trio

from storefs.errors import StoreUnavailable
from storefs.model import ObjectInfo
from storefs.ports import Body, ObjectStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each fault strikes, as probabilities from 0 to 1; all off by default.

    Attributes:
        before: the request fails and nothing is applied.
        lost: the request is applied and its answer lost.
        slow: the request waits first, up to ``slow_s`` seconds.
        slow_s: the longest such wait.
    """

    before: float = 0.0
    lost: float = 0.0
    slow: float = 0.0
    slow_s: float = 1.0


class FaultyObjects:
    """An ``ObjectStore`` in front of ``store`` whose faults follow from ``seed`` and the order of the requests.

    Attributes:
        faults: how often each fault strikes; may be replaced at any time.
        away: while true every request fails and nothing is applied.
        lose_next: the names of operations whose next answer is lost, whatever the dice say; each entry is used once.
        fail_next: likewise for requests that are not applied.
        struck: how many requests met a fault.
    """

    def __init__(self, store: ObjectStore, seed: int, faults: Faults | None = None) -> None:
        self._store = store
        self._dice = random.Random(seed)
        self.faults = faults or Faults()
        self.away = False
        self.lose_next: list[str] = []
        self.fail_next: list[str] = []
        self.struck = 0

    @property
    def url(self) -> str:
        """The name of the store behind."""
        return self._store.url

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return part of an object; see the port."""
        return await self._perhaps("get", lambda: self._store.get(key, start, length))

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        """Fill ``memory`` with part of an object."""
        return await self._perhaps("get", lambda: self._store.get_into(key, start, memory))

    async def put(self, key: str, body: Body) -> str:
        """Write the object, replacing any other."""
        return await self._perhaps("put", lambda: self._store.put(key, body))

    async def put_if_absent(self, key: str, body: Body) -> str:
        """Write the object unless the key exists. Raises PreconditionFailed."""
        return await self._perhaps("put_if_absent", lambda: self._store.put_if_absent(key, body))

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        """Replace the object if its tag is still ``tag``. Raises PreconditionFailed."""
        return await self._perhaps("put_if_match", lambda: self._store.put_if_match(key, body, tag))

    async def head(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectMissing."""
        return await self._perhaps("head", lambda: self._store.head(key))

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Return the next page of a listing; see the port."""
        return await self._perhaps("list_after", lambda: self._store.list_after(prefix, after, limit))

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects."""
        await self._perhaps("delete", lambda: self._store.delete(keys))

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        """Give up old uploads."""
        return await self._perhaps("drop_unfinished", lambda: self._store.drop_unfinished(before_s, dry_run=dry_run))

    async def close(self) -> None:
        """Close the store behind; this never fails."""
        await self._store.close()

    async def _perhaps(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make the call, unless the dice are against it."""
        # Four numbers for each request, whatever is switched on: so one kind of fault does not shift the others.
        before, lost, slow, wait = (self._dice.random() for _ in range(4))
        if slow < self.faults.slow:
            await trio.sleep(wait * self.faults.slow_s)
        if self.away:
            self.struck += 1
            raise StoreUnavailable(f"{operation}: the store is away (injected)")
        if before < self.faults.before or _used(self.fail_next, operation):
            self.struck += 1
            raise StoreUnavailable(f"{operation}: failed before it was applied (injected)")
        answer = await call()
        if lost < self.faults.lost or _used(self.lose_next, operation):
            self.struck += 1
            raise StoreUnavailable(f"{operation}: applied, but its answer was lost (injected)")
        return answer


def _used(planned: list[str], operation: str) -> bool:
    """Take ``operation`` off the plan if it is there; return whether it was."""
    if operation not in planned:
        return False
    planned.remove(operation)
    return True
