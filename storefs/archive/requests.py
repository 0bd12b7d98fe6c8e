"""Requests for ranges of an archive's objects, counted by what they are for."""

from collections.abc import AsyncGenerator
from enum import StrEnum

from storefs.metrics import Metrics
from storefs.model import ObjectInfo
from storefs.ports import ObjectStore

_PAGE = 1000


class Kind(StrEnum):
    """What a range is: the end of a shard, the rest of its index, payloads, or part of a big file."""

    FOOTER = "footer"
    INDEX = "index"
    PAYLOAD = "payload"
    BIG_FILE = "big_file"


class Requests:
    """Asks stores, and keeps the row ``des_s3_range_calls`` of ``metrics`` for the archive called ``backend``."""

    def __init__(self, metrics: Metrics, backend: str) -> None:
        self._calls = metrics.des_s3_range_calls
        self._backend = backend

    async def range(self, store: ObjectStore, key: str, start: int, length: int, kind: Kind) -> bytes:
        """Return ``length`` bytes of an object from ``start`` on, fewer where it ends. Raises the store's errors."""
        self._calls.labels(self._backend, kind.value).inc()
        return await store.get(key, start, length)


async def listed(store: ObjectStore, prefix: str, after: str = "") -> AsyncGenerator[ObjectInfo, None]:
    """Yield all objects whose keys start with ``prefix``, in order, with one request for each thousand of them."""
    while True:
        page = await store.list_after(prefix, after, _PAGE)
        for info in page:
            yield info
        if len(page) < _PAGE:
            return
        after = page[-1].key
