"""Tries again what may succeed a moment later, and finds out who won when the answer to a conditional put was lost."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from storefs.core.backoff import Backoff
from storefs.errors import ObjectMissing, PreconditionFailed, StorefsError, StoreUnavailable
from storefs.metrics import Metrics
from storefs.model import ObjectInfo
from storefs.objects.bodies import body_size, pieces
from storefs.ports import Body, Chance, ObjectStore

T = TypeVar("T")

_COMPARED_BYTES = 8 << 20
_BACKOFF = Backoff()


class RetryingObjects:
    """An ``ObjectStore`` that asks ``store`` up to ``backoff.tries`` times, within ``deadline_s`` seconds in all.

    A conditional put that fails a precondition after an earlier try went unanswered is settled by reading the object
    back: if it holds exactly my body, I won. So two writers that race with identical bodies may both be told that they
    won; who must tell them apart puts a nonce into the body. And a winner that was replaced before it could look is
    told PreconditionFailed. StoreUnavailable from a put leaves open whether it was applied.
    """

    def __init__(
        self,
        store: ObjectStore,
        chance: Chance,
        backoff: Backoff = _BACKOFF,
        deadline_s: float = 60.0,
        metrics: Metrics | None = None,
    ) -> None:
        self._store = store
        self._chance = chance
        self._backoff = backoff
        self._deadline_s = deadline_s
        self._metrics = metrics

    @property
    def url(self) -> str:
        """The name of the store behind."""
        return self._store.url

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return part of an object; see the port."""
        return await self._tried("get", key, lambda: self._store.get(key, start, length))

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        """Fill ``memory`` with part of an object."""
        return await self._tried("get", key, lambda: self._store.get_into(key, start, memory))

    async def put(self, key: str, body: Body) -> str:
        """Write the object; a second try writes the same again."""
        return await self._tried("put", key, lambda: self._store.put(key, body))

    async def put_if_absent(self, key: str, body: Body) -> str:
        """Write the object unless the key exists. Raises PreconditionFailed."""
        return await self._tried(
            "put_if_absent",
            key,
            lambda: self._store.put_if_absent(key, body),
            lambda: self._settle(key, body),
        )

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        """Replace the object if its tag is still ``tag``. Raises PreconditionFailed."""
        return await self._tried(
            "put_if_match",
            key,
            lambda: self._store.put_if_match(key, body, tag),
            lambda: self._settle(key, body),
        )

    async def head(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectMissing."""
        return await self._tried("head", key, lambda: self._store.head(key))

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Return the next page of a listing; see the port."""
        return await self._tried("list_after", prefix, lambda: self._store.list_after(prefix, after, limit))

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects."""
        what = keys[0] if len(keys) == 1 else f"of {len(keys)} objects"
        await self._tried("delete", what, lambda: self._store.delete(keys))

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        """Give up old uploads."""
        return await self._tried(
            "drop_unfinished", "uploads", lambda: self._store.drop_unfinished(before_s, dry_run=dry_run)
        )

    async def close(self) -> None:
        """Close the store behind."""
        await self._store.close()

    async def _tried(
        self,
        operation: str,
        what: str,
        call: Callable[[], Awaitable[T]],
        settle: Callable[[], Awaitable[T]] | None = None,
    ) -> T:
        """Return what ``call`` returns, sooner or later; ``settle`` finds out what became of an unanswered call."""
        failed = 0
        last: StorefsError | None = None
        with trio.move_on_after(self._deadline_s):
            while True:
                try:
                    return await call()
                except PreconditionFailed:
                    if last is None or settle is None:
                        raise
                    # From here on only the read-back is tried; its PreconditionFailed is the final answer.
                    call, settle = settle, None
                    continue
                except StorefsError as error:
                    failed += 1
                    if not error.retryable or failed >= self._backoff.tries:
                        raise
                    last = error
                if self._metrics:
                    self._metrics.store_retries.labels(operation).inc()
                await trio.sleep(self._backoff.wait_s(failed, self._chance.uniform(0, 1)))
        reason = f"; the last error was: {last}" if last else ""
        raise StoreUnavailable(f"{operation} {what} at {self.url}: not done within {self._deadline_s:g} s{reason}")

    async def _settle(self, key: str, body: Body) -> str:
        """Return the object's tag if it holds ``body``. Raises PreconditionFailed if it does not, or is gone."""
        while True:
            try:
                before = await self._store.head(key)
                mine = before.size == body_size(body) and await self._holds(key, body)
                after = await self._store.head(key)
            except ObjectMissing:
                raise PreconditionFailed(f"{key} in {self.url} was written and removed by another") from None
            if before.tag == after.tag:  # what was compared is one version
                break
        if not mine:
            raise PreconditionFailed(f"{key} in {self.url} was written by another")
        return before.tag

    async def _holds(self, key: str, body: Body) -> bool:
        """Whether the object's content is ``body``."""
        offset = 0
        for piece in pieces(body, _COMPARED_BYTES):
            if await self._store.get(key, offset, len(piece)) != piece:
                return False
            offset += len(piece)
        return True
