"""Counts what is asked of a store, what came of it, how long it took and how many bytes moved."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio

from storefs.errors import (
    ObjectMissing,
    PreconditionFailed,
    StorefsError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from storefs.metrics import Metrics
from storefs.model import ObjectInfo
from storefs.objects.bodies import body_size
from storefs.ports import Body, ObjectStore

_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (ObjectMissing, "missing"),
    (PreconditionFailed, "precondition"),
    (StoreUnavailable, "unavailable"),
    (StoreRefused, "refused"),
    (StoreFull, "full"),
    (trio.Cancelled, "cancelled"),
)
"""The outcomes that have names besides "ok"; everything else is an "error"."""


class MeteredObjects:
    """An ``ObjectStore`` that passes everything on to ``store`` and keeps the ``store_*`` rows of ``metrics``."""

    def __init__(self, store: ObjectStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    @property
    def url(self) -> str:
        """The name of the store behind."""
        return self._store.url

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return part of an object; see the port."""
        with self._counted("get"):
            content = await self._store.get(key, start, length)
        self._metrics.store_bytes.labels("in").inc(len(content))
        return content

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        """Fill ``memory`` with part of an object; counted as a get."""
        with self._counted("get"):
            length = await self._store.get_into(key, start, memory)
        self._metrics.store_bytes.labels("in").inc(length)
        return length

    async def put(self, key: str, body: Body) -> str:
        """Write the object, replacing any other."""
        with self._counted("put", body):
            return await self._store.put(key, body)

    async def put_if_absent(self, key: str, body: Body) -> str:
        """Write the object unless the key exists. Raises PreconditionFailed."""
        with self._counted("put_if_absent", body):
            return await self._store.put_if_absent(key, body)

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        """Replace the object if its tag is still ``tag``. Raises PreconditionFailed."""
        with self._counted("put_if_match", body):
            return await self._store.put_if_match(key, body, tag)

    async def head(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectMissing."""
        with self._counted("head"):
            return await self._store.head(key)

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Return the next page of a listing; see the port."""
        with self._counted("list_after"):
            return await self._store.list_after(prefix, after, limit)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects."""
        with self._counted("delete"):
            await self._store.delete(keys)

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        """Give up old uploads."""
        with self._counted("drop_unfinished"):
            return await self._store.drop_unfinished(before_s, dry_run=dry_run)

    async def close(self) -> None:
        """Close the store behind."""
        await self._store.close()

    @contextmanager
    def _counted(self, operation: str, body: Body = b"") -> Iterator[None]:
        """Count one request; the bytes of ``body`` count as written once it succeeds."""
        size = body_size(body)
        outcome = "ok"
        began_s = trio.current_time()
        try:
            yield
        except (StorefsError, trio.Cancelled) as error:
            outcome = next((name for kind, name in _OUTCOMES if isinstance(error, kind)), "error")
            raise
        except BaseException:
            outcome = "error"
            raise
        else:
            self._metrics.store_bytes.labels("out").inc(size)
        finally:
            self._metrics.store_seconds.labels(operation).observe(trio.current_time() - began_s)
            self._metrics.store_requests.labels(operation, outcome).inc()
