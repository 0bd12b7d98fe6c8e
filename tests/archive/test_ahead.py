"""Results come in order, a few calls at a time, and the first error ends it."""

import random
from functools import partial

import pytest
import trio

from storefs.archive.ahead import in_order


@pytest.mark.parametrize("at_once", [1, 3, 100])
async def test_results_come_in_order_a_few_at_a_time(seed, autojump_clock, at_once):
    dice = random.Random(seed)
    running, most = 0, 0

    async def call(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(dice.uniform(0, 10))
        running -= 1
        return number

    async with in_order((partial(call, number) for number in range(30)), at_once) as results:
        assert [number async for number in results] == list(range(30))
    assert most == min(at_once, 30)


async def test_nothing_more_is_begun_than_is_taken(autojump_clock):
    begun = []

    async def call(number: int) -> None:
        begun.append(number)

    async with in_order((partial(call, number) for number in range(1000)), 4) as results:
        async for _ in results:
            await trio.sleep(1)
            break
    assert len(begun) <= 6


async def test_an_error_ends_it(autojump_clock):
    async def call(number: int) -> int:
        await trio.sleep(number)
        if number == 3:
            raise KeyError(number)
        return number

    seen = []
    with pytest.RaisesGroup(KeyError, flatten_subgroups=True, allow_unwrapped=True):
        async with in_order((partial(call, number) for number in range(1000)), 4) as results:
            async for number in results:
                seen.append(number)  # noqa: PERF401 - what was seen before the error
    assert seen == [0, 1, 2]
