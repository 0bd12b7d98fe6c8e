"""The lease: one mount has it, keeps it while it renews it, and another one gets it when it does not."""

import json

import pytest
import trio

from storefs.core import keys
from storefs.engine.commit import Writer
from storefs.engine.lease import Lease

TERM_S = 60.0


@pytest.fixture
def leases(world):
    return [Lease(world.store, world.clock, Writer(node, bytes([node]) * 16), TERM_S) for node in (1, 2, 3)]


async def test_the_first_one_gets_it_and_keeps_it(leases, autojump_clock):
    one, two, _ = leases
    assert await one.take()
    for _ in range(5):
        assert not await two.take()
        await trio.sleep(TERM_S / 2)
        assert await one.take()
        assert one.is_held
        assert not two.is_held


async def test_it_is_taken_over_from_one_that_is_gone(leases, autojump_clock):
    one, two, three = leases
    assert await one.take()
    assert not await two.take()
    await trio.sleep(TERM_S)
    assert not one.is_held
    assert not await two.take(), "unchanged for a term only"
    await trio.sleep(TERM_S)
    assert await two.take()
    assert not await one.take()
    assert not await three.take()


async def test_who_has_not_watched_it_does_not_take_it(leases, autojump_clock):
    one, _, three = leases
    assert await one.take()
    await trio.sleep(10 * TERM_S)
    assert not await three.take(), "perhaps it was renewed a moment ago"


async def test_of_several_that_take_over_one_wins(leases, world, autojump_clock):
    one, two, three = leases
    assert await one.take()
    await two.take()
    await three.take()
    await trio.sleep(2 * TERM_S)
    taken = {}

    async def take(lease, number):
        taken[number] = await lease.take()

    async def wait(request):
        if request.operation == "head":
            await trio.sleep(1)  # both have looked before one of them puts

    world.store.after = wait
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, two, 2)
        nursery.start_soon(take, three, 3)
    (winner,) = [number for number, won in taken.items() if won]
    assert json.loads(await world.memory.get(keys.LEASE))["node"] == winner


async def test_who_was_replaced_while_away_hears_so(leases, autojump_clock):
    one, two, _ = leases
    assert await one.take()
    await two.take()
    await trio.sleep(2 * TERM_S)
    assert await two.take()
    assert not await one.take()
    assert not one.is_held
