"""The race at the first mount: stores that break their word are refused, others are believed."""

import pytest
import trio
import trio.testing

from storefs.core.backoff import Backoff
from storefs.errors import StoreRefused, StoreUnavailable, UnsafeStore
from storefs.objects.memory import MemoryObjects
from storefs.objects.race import RaceProof, prove_conditional_puts
from storefs.objects.retry import RetryingObjects
from storefs.ports import Body, Chance
from storefs.testing.faults import Faults, FaultyObjects

MockClock = trio.testing.MockClock


class Careless(MemoryObjects):
    """A store that ignores conditions, as some servers do."""

    def __init__(self, *, absent: bool = True, match: bool = True) -> None:
        super().__init__("careless")
        self.ignores_absent = absent
        self.ignores_match = match

    async def put_if_absent(self, key: str, body: Body) -> str:
        return await (self.put(key, body) if self.ignores_absent else super().put_if_absent(key, body))

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        return await (self.put(key, body) if self.ignores_match else super().put_if_match(key, body, tag))


class Hasty(MemoryObjects):
    """A store that looks first and writes later: asked by one writer at a time, it seems right."""

    async def put_if_absent(self, key: str, body: Body) -> str:
        if await self.list_after(key):
            return await super().put_if_absent(key, body)
        await trio.sleep(0.01)
        return await self.put(key, body)


class Forgetful(MemoryObjects):
    """A store that lets one win and keeps another's bytes."""

    async def put_if_absent(self, key: str, body: Body) -> str:
        tag = await super().put_if_absent(key, body)
        await self.put(key, b"something else")
        return tag


class Deaf(MemoryObjects):
    """A store where nobody ever wins."""

    async def put_if_absent(self, key: str, body: Body) -> str:
        await self.put(key, b"")
        return await super().put_if_absent(key, body)


async def test_a_good_store_is_believed_and_left_clean(chance: Chance) -> None:
    store = MemoryObjects()
    assert await prove_conditional_puts(store, chance, writers=8, rounds=2) == RaceProof(rounds=2, writers=8)
    assert await store.list_after("") == []


@pytest.mark.parametrize(
    ("store", "seen"),
    [
        (Careless(), r"16 of 16 writers won .*put-if-absent"),
        (Careless(match=False), r"16 of 16 writers won .*put-if-absent"),
        (Careless(absent=False), r"16 of 16 writers won .*put-if-match"),
        (Hasty("hasty"), r"16 of 16 writers won .*put-if-absent"),
        (Forgetful("forgetful"), r"does not hold the bytes"),
        (Deaf("deaf"), r"0 of 16 writers won"),
    ],
    ids=["ignores both", "ignores absent", "ignores match", "hasty", "forgetful", "deaf"],
)
async def test_a_bad_store_is_refused(
    autojump_clock: MockClock, store: MemoryObjects, seen: str, chance: Chance
) -> None:
    with pytest.raises(UnsafeStore, match=seen) as refused:
        await prove_conditional_puts(store, chance)
    assert store.url in str(refused.value)
    assert "Use a store that honours" in str(refused.value)
    assert await store.list_after("") == []


async def test_one_writer_at_a_time_would_not_notice(chance: Chance) -> None:
    hasty = Hasty()
    await hasty.put_if_absent("key", b"1")
    with pytest.raises(Exception, match="exists already"):
        await hasty.put_if_absent("key", b"2")


async def test_a_bad_network_is_no_proof_against_a_store(autojump_clock: MockClock, seed: int, chance: Chance) -> None:
    memory = MemoryObjects()
    faulty = FaultyObjects(memory, seed, Faults(before=0.2, lost=0.2, slow=0.5))
    await prove_conditional_puts(RetryingObjects(faulty, chance, Backoff(tries=100)), chance)
    assert faulty.struck > 0


async def test_a_store_that_is_away_is_not_called_unsafe(seed: int, chance: Chance) -> None:
    faulty = FaultyObjects(MemoryObjects(), seed)
    faulty.away = True
    with pytest.raises(StoreUnavailable):
        await prove_conditional_puts(faulty, chance)


async def test_other_errors_come_as_they_are(chance: Chance) -> None:
    class Forbidden(MemoryObjects):
        async def put_if_absent(self, key: str, body: Body) -> str:
            raise StoreRefused("no")

    with pytest.raises(StoreRefused):
        await prove_conditional_puts(Forbidden(), chance)
