"""What the meter counts, and how metrics are read."""

import json
from pathlib import Path

import pytest
import trio
import trio.testing

from storefs.errors import ObjectMissing, PreconditionFailed, StoreUnavailable
from storefs.metrics import Metrics, rows
from storefs.objects.memory import MemoryObjects
from storefs.objects.meter import MeteredObjects
from storefs.testing.faults import Faults, FaultyObjects


async def test_requests_bytes_and_outcomes(seed: int, tmp_path: Path) -> None:
    metrics = Metrics()
    faulty = FaultyObjects(MemoryObjects(), seed)
    store = MeteredObjects(faulty, metrics)
    body = tmp_path / "body"
    body.write_bytes(b"x" * 100)
    await store.put("a", b"12345")
    await store.put_if_absent("b", body)
    with pytest.raises(PreconditionFailed):
        await store.put_if_absent("b", body)
    await store.get("a", 1, 3)
    assert await store.get_into("a", 3, memoryview(bytearray(5))) == 2
    with pytest.raises(ObjectMissing):
        await store.get("c")
    faulty.away = True
    with pytest.raises(StoreUnavailable):
        await store.delete(["a"])
    seen = metrics.snapshot()
    assert seen["store_requests"] == {
        "put": {"ok": 1.0},
        "put_if_absent": {"ok": 1.0, "precondition": 1.0},
        "get": {"ok": 2.0, "missing": 1.0},
        "delete": {"unavailable": 1.0},
    }
    assert seen["store_bytes"] == {"out": 105.0, "in": 5.0}
    assert seen["store_seconds"]["get"]["count"] == 3.0


async def test_time_and_cancellation(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    metrics = Metrics()
    store = MeteredObjects(FaultyObjects(MemoryObjects(), seed, Faults(slow=1.0, slow_s=1e6)), metrics)
    with trio.move_on_after(3):
        await store.head("a")
    assert metrics.snapshot()["store_requests"] == {"head": {"cancelled": 1.0}}
    assert metrics.snapshot()["store_seconds"]["head"]["sum"] == pytest.approx(3.0)


def test_every_row_is_shown_and_named_by_its_attribute() -> None:
    metrics = Metrics()
    assert set(metrics.snapshot()) == {name for name, row in vars(Metrics).items() if row in list(rows())}
    for row in rows():
        assert f"# HELP {row.name}" in metrics.render().decode()
        assert row.text


def test_a_snapshot_is_json_and_instances_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.store_retries.labels("get").inc()
    one.store_seconds.labels("get").observe(0.5)
    assert json.loads(json.dumps(one.snapshot()))["store_retries"] == {"get": 1.0}
    assert one.snapshot()["store_seconds"] == {"get": {"count": 1.0, "sum": 0.5}}
    assert other.snapshot()["store_retries"] == {}
    assert b'storefs_store_retries_total{operation="get"} 1.0' in one.render()
