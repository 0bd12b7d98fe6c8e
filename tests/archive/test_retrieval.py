"""A retrieval is counted by what came of it, under the names of Data Easy Store."""

import pytest

from storefs.archive.reader import ArchiveReader
from storefs.archive.retrieval import retrieve
from storefs.errors import Corrupt, ObjectMissing, StoreUnavailable, UsageError
from storefs.metrics import Metrics
from storefs.objects.memory import MemoryObjects
from storefs.testing.faults import FaultyObjects
from tests.archive.archives import File, put

TIME = "2024-01-01T00:00:00Z"


async def test_what_came_of_it_is_counted(seed, offload):
    store = FaultyObjects(MemoryObjects(), seed)
    key = await put(store, [File("a", b"content")])
    metrics = Metrics()
    reader = ArchiveReader(store, offload, metrics=metrics, backend="s3", listing_ttl_s=0)
    assert await retrieve(reader, "a", TIME) == b"content"
    assert await retrieve(reader, "a", "2024-01-01") == b"content"
    body = await store.get(key)
    for kind, uid, moment, status in [
        (ObjectMissing, "b", TIME, 404),
        (UsageError, "a", "now", 400),
        (UsageError, "", TIME, 400),
        (Corrupt, "a", TIME, 500),
        (StoreUnavailable, "a", TIME, 503),
    ]:
        if kind is Corrupt:
            await store.put(key, body[:10] + bytes([body[10] ^ 1]) + body[11:])
        store.away = kind is StoreUnavailable
        with pytest.raises(kind) as failed:
            await retrieve(reader, uid, moment)
        assert failed.value.http_status == status
    seen = metrics.snapshot()
    assert seen["des_retrievals"]["s3"] == {
        "ok": 2.0, "missing": 1.0, "usage": 2.0, "corrupt": 1.0, "unavailable": 1.0,
    }  # fmt: skip
    assert seen["des_retrieval_seconds"]["s3"]["count"] == 7.0
    assert seen["des_s3_range_calls"]["s3"]["payload"] >= 1.0
    text = metrics.render().decode()
    for line in (
        'des_retrievals_total{backend="s3",status="ok"} 2.0',
        'des_retrieval_seconds_count{backend="s3"} 7.0',
        'des_s3_range_calls_total{backend="s3",type="payload"}',
    ):
        assert line in text
