"""Retrieval: a file for somebody outside, with the metrics of Data Easy Store."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from storefs.archive.reader import ArchiveReader
from storefs.archive.routing import parse_time
from storefs.errors import Corrupt, ObjectMissing, StoreUnavailable, UsageError

_STATUSES: tuple[tuple[type[BaseException], str], ...] = (
    (ObjectMissing, "missing"),
    (Corrupt, "corrupt"),
    (UsageError, "usage"),
    (StoreUnavailable, "unavailable"),
    (trio.Cancelled, "cancelled"),
)
"""The statuses that have names besides "ok"; everything else is an "error"."""


async def retrieve(reader: ArchiveReader, uid: str, created_at: str) -> bytes:
    """Return a file's content. ``created_at`` is a time such as ``2024-01-01T00:00:00Z``.

    Counted in the rows ``des_retrievals`` and ``des_retrieval_seconds`` of the reader's metrics. Raises UsageError for
    a time that is none, and what ``ArchiveReader.get`` raises; ``http_status`` of each says what HTTP answers.
    """
    with _counted(reader):
        return await reader.get(uid, parse_time(created_at))


@contextmanager
def _counted(reader: ArchiveReader) -> Iterator[None]:
    began_s = trio.current_time()
    status = "ok"
    try:
        yield
    except BaseException as error:
        status = next((name for kind, name in _STATUSES if isinstance(error, kind)), "error")
        raise
    finally:
        reader.metrics.des_retrievals.labels(reader.backend, status).inc()
        reader.metrics.des_retrieval_seconds.labels(reader.backend).observe(trio.current_time() - began_s)
