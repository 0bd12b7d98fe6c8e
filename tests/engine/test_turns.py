"""Turns: who commits without a break leaves others a turn; nobody waits for minutes for a quicker mount."""

import trio

from storefs.engine.turns import Turns
from storefs.testing.world import create

PUT_S = 0.05


def breaks(turns, for_s, between_s=0.01, others_s=None):
    """Commit for a while, others every now and then; return the breaks."""
    now, found, next_s = 0.0, [], others_s or for_s + 1
    while now < for_s:
        turns.mine(now, now + PUT_S)
        now += PUT_S + between_s
        if now > next_s:
            turns.theirs()
            next_s += others_s
        if pause := turns.take_break_s():
            found.append((now, pause))
            now += pause
    return found


def test_a_break_is_long_enough_for_a_turn_and_rare():
    found = breaks(Turns(), 100)
    assert 5 < len(found) < 15
    assert all(PUT_S * 5 < pause < PUT_S * 7 for _, pause in found)
    assert sum(pause for _, pause in found) < 5


def test_whoever_comes_to_his_turn_anyway_needs_no_break():
    assert breaks(Turns(), 100, between_s=0.5) == []
    assert breaks(Turns(), 100, others_s=2) == []


async def test_a_mount_that_syncs_all_the_time_lets_others_sync(world, tmp_path, autojump_clock):
    """It has nothing to take in, and so would always be first."""
    counts = {"one": 0, "two": 0}
    longest_s = 0.0

    async def slow(request):
        await trio.sleep(0.03)

    world.store.before = slow
    async with (
        world.engine_at(tmp_path / "one") as one,
        world.engine_at(tmp_path / "two") as two,
        trio.open_nursery() as nursery,
    ):

        async def work(name, volume):
            nonlocal longest_s
            while True:
                began_s = trio.current_time()
                create(volume, f"{name}-{counts[name]}")
                await volume.files.fsync()
                longest_s = max(longest_s, trio.current_time() - began_s)
                counts[name] += 1

        nursery.start_soon(work, "one", one)
        nursery.start_soon(work, "two", two)
        await trio.sleep(120)
        nursery.cancel_scope.cancel()
    print(counts, longest_s)
    assert min(counts.values()) > max(counts.values()) / 10
    assert longest_s < 13
