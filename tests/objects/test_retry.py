"""Retries: what is tried again, for how long, and who won when an answer was lost."""

from pathlib import Path

import pytest
import trio
import trio.testing

from storefs.core.backoff import Backoff
from storefs.errors import ObjectMissing, PreconditionFailed, StoreError, StoreRefused, StoreUnavailable
from storefs.metrics import Metrics
from storefs.objects.memory import MemoryObjects
from storefs.objects.retry import RetryingObjects
from storefs.ports import Body, Chance, ObjectStore
from storefs.testing.faults import Faults, FaultyObjects

MockClock = trio.testing.MockClock


class Setting:
    """A store in memory, faults in front of it, retries in front of these."""

    def __init__(
        self, seed: int, chance: Chance, faults: Faults | None = None, tries: int = 5, deadline_s: float = 60.0
    ) -> None:
        self.memory = MemoryObjects()
        self.faulty = FaultyObjects(self.memory, seed, faults)
        self.metrics = Metrics()
        self.store = RetryingObjects(self.faulty, chance, Backoff(tries=tries), deadline_s, self.metrics)

    def retries(self, operation: str) -> float:
        return float(self.metrics.snapshot()["store_retries"].get(operation, 0.0))


@pytest.fixture
def setting(seed: int, chance: Chance) -> Setting:
    return Setting(seed, chance)


@pytest.fixture(params=["bytes", "file"])
def body(request: pytest.FixtureRequest, tmp_path: Path, chance: Chance) -> Body:
    content = chance.token(9 << 20)
    if request.param == "bytes":
        return content
    path = tmp_path / "body"
    path.write_bytes(content)
    return path


async def test_a_lost_answer_to_put_if_absent_is_still_a_win(
    autojump_clock: MockClock, setting: Setting, body: Body
) -> None:
    setting.faulty.lose_next = ["put_if_absent"]
    tag = await setting.store.put_if_absent("key", body)
    assert tag == (await setting.memory.head("key")).tag
    assert setting.retries("put_if_absent") == 1
    assert setting.faulty.struck == 1


async def test_a_lost_answer_to_put_if_match_is_still_a_win(
    autojump_clock: MockClock, setting: Setting, body: Body
) -> None:
    before = await setting.memory.put("key", b"before")
    setting.faulty.lose_next = ["put_if_match"]
    tag = await setting.store.put_if_match("key", body, before)
    assert tag == (await setting.memory.head("key")).tag != before
    await setting.store.put_if_match("key", b"after", tag)


async def test_the_same_without_reading_back_is_a_false_defeat(autojump_clock: MockClock, setting: Setting) -> None:
    setting.faulty.lose_next = ["put_if_absent"]
    with pytest.raises(StoreUnavailable):
        await setting.faulty.put_if_absent("key", b"mine")
    with pytest.raises(PreconditionFailed):
        await setting.faulty.put_if_absent("key", b"mine")


async def test_reading_back_is_tried_again_too(autojump_clock: MockClock, setting: Setting) -> None:
    setting.faulty.lose_next = ["put_if_absent", "head", "get"]
    setting.faulty.fail_next = ["head"]
    await setting.store.put_if_absent("key", b"mine")
    assert setting.faulty.struck == 4


@pytest.mark.parametrize("others", [b"their", b"longer than mine", b"mine! and more", b"mine", b""])
async def test_another_writer_s_win_is_a_defeat(autojump_clock: MockClock, setting: Setting, others: bytes) -> None:
    before = await setting.memory.put("key", others)
    setting.faulty.fail_next = ["put_if_absent", "put_if_match"]
    with pytest.raises(PreconditionFailed):
        await setting.store.put_if_absent("key", b"mine!")
    with pytest.raises(PreconditionFailed):
        await setting.store.put_if_match("key", b"mine!", "an old tag")
    assert setting.faulty.struck == 2
    assert await setting.memory.get("key") == others
    assert (await setting.memory.head("key")).tag == before


async def test_a_file_that_differs_late_is_another_s(autojump_clock: MockClock, setting: Setting, body: Body) -> None:
    content = body.read_bytes() if isinstance(body, Path) else body
    await setting.memory.put("key", content[:-1] + bytes([content[-1] ^ 1]))
    setting.faulty.fail_next = ["put_if_absent"]
    with pytest.raises(PreconditionFailed):
        await setting.store.put_if_absent("key", body)


class Replacing(MemoryObjects):
    """A store where another writer replaces the object while its content is read."""

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        content = await super().get(key, start, length)
        if content == b"mine!":
            await self.put(key, b"their")
        return content


async def test_an_object_replaced_while_it_is_compared_is_a_defeat(
    autojump_clock: MockClock, seed: int, chance: Chance
) -> None:
    faulty = FaultyObjects(Replacing(), seed)
    faulty.lose_next = ["put_if_absent"]
    with pytest.raises(PreconditionFailed):
        await RetryingObjects(faulty, chance).put_if_absent("key", b"mine!")


async def test_an_object_gone_again_is_a_defeat(autojump_clock: MockClock, setting: Setting) -> None:
    setting.faulty.fail_next = ["put_if_match"]
    with pytest.raises(PreconditionFailed):
        await setting.store.put_if_match("key", b"mine", "tag")


async def test_a_failed_precondition_at_the_first_try_costs_one_request(
    autojump_clock: MockClock, setting: Setting
) -> None:
    await setting.store.put("key", b"mine")
    # Even with my own bytes there: nothing of mine was under way.
    with pytest.raises(PreconditionFailed):
        await setting.store.put_if_absent("key", b"mine")
    assert setting.retries("put_if_absent") == 0


async def test_tries_are_bounded(autojump_clock: MockClock, seed: int, chance: Chance) -> None:
    setting = Setting(seed, chance, tries=4)
    setting.faulty.away = True
    with pytest.raises(StoreUnavailable, match="away"):
        await setting.store.get("key")
    assert setting.faulty.struck == 4
    assert setting.retries("get") == 3


async def test_time_is_bounded(autojump_clock: MockClock, seed: int, chance: Chance) -> None:
    setting = Setting(seed, chance, Faults(slow=1.0, slow_s=1e12), tries=1000)
    began_s = trio.current_time()
    with pytest.raises(StoreUnavailable, match="not done within 60 s"):
        await setting.store.list_after("prefix")
    assert trio.current_time() - began_s == pytest.approx(60.0)
    setting.faulty.faults = Faults()
    setting.faulty.away = True
    with pytest.raises(StoreUnavailable, match=r"the last error was.*away"):
        await setting.store.put("key", b"x")
    assert trio.current_time() - began_s == pytest.approx(120.0)


async def test_a_store_that_comes_back_is_used_again(autojump_clock: MockClock, setting: Setting) -> None:
    setting.faulty.away = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setting.store.put, "key", b"x")
        await trio.sleep(0.15)
        assert await setting.memory.list_after("") == []
        setting.faulty.away = False
    assert await setting.memory.get("key") == b"x"


class Failing(MemoryObjects):
    """A store whose every head ends in one error."""

    def __init__(self, error: StoreError) -> None:
        super().__init__()
        self.error = error
        self.asked = 0

    async def head(self, key: str) -> "object":  # type: ignore[override]
        self.asked += 1
        raise self.error


@pytest.mark.parametrize("kind", [ObjectMissing, StoreRefused, StoreError, PreconditionFailed])
async def test_what_will_not_change_is_not_asked_again(
    autojump_clock: MockClock, chance: Chance, kind: type[StoreError]
) -> None:
    failing = Failing(kind("no"))
    store: ObjectStore = RetryingObjects(failing, chance)  # type: ignore[arg-type]
    with pytest.raises(kind):
        await store.head("key")
    assert failing.asked == 1


async def test_every_race_has_one_winner_in_a_storm(autojump_clock: MockClock, seed: int, chance: Chance) -> None:
    """Writers append to a journal through a bad network: each entry has one owner, who knows it."""
    # Reading back takes three answers in a row: only patience (of a mock clock) makes sure that every entry gets done.
    faults = Faults(before=0.2, lost=0.2, slow=0.3, slow_s=0.2)
    setting = Setting(seed, chance, faults, tries=1000, deadline_s=100_000.0)
    owners: dict[str, list[int]] = {}

    async def write(writer: int) -> None:
        seq = 0
        for number in range(5):
            while True:
                key = f"journal/{seq:04d}"
                seq += 1
                try:
                    await setting.store.put_if_absent(key, f"{writer}/{number}".encode())
                except PreconditionFailed:
                    continue
                owners.setdefault(key, []).append(writer)
                break

    async with trio.open_nursery() as nursery:
        for writer in range(6):
            nursery.start_soon(write, writer)
    assert setting.faulty.struck > 0
    assert sorted(owners) == [f"journal/{seq:04d}" for seq in range(30)]
    for key, told in owners.items():
        assert len(told) == 1
        assert (await setting.memory.get(key)).startswith(f"{told[0]}/".encode())


async def test_faults_follow_from_the_seed(autojump_clock: MockClock, seed: int, chance: Chance) -> None:
    async def outcomes() -> list[str]:
        faulty = FaultyObjects(MemoryObjects(), seed, Faults(before=0.3, lost=0.3))
        told = []
        for number in range(50):
            try:
                await faulty.put(f"key{number}", b"")
                told.append("done")
            except StoreUnavailable as error:
                told.append(str(error))
        return told

    first = await outcomes()
    assert first == await outcomes()
    assert len(set(first)) == 3
