"""Many mounts of one store, disturbed in every way: they agree in the end, and nothing is lost.

STOREFS_SIM_SEEDS sets how many runs there are, STOREFS_SOAK makes it 20,000. ``simulate(seed, folder)`` replays a run.
"""

import os
import random

import pytest

from storefs.testing.simulation.run import simulate

SOAK = bool(os.environ.get("STOREFS_SOAK"))
RUNS = int(os.environ.get("STOREFS_SIM_SEEDS", "") or (20_000 if SOAK else 300))


@pytest.mark.timeout(60 + 3 * RUNS)
def test_mounts_agree_and_lose_nothing(seed, fast_folder):
    dice = random.Random(seed)
    commits = conflicts = crashes = 0
    for number in range(RUNS):
        run = dice.getrandbits(32)
        try:
            report = simulate(run, fast_folder / str(number))
        except BaseException:
            print(f"simulation seed: {run}")
            raise
        commits, conflicts, crashes = (
            commits + report.commits, conflicts + report.conflicts, crashes + report.crashes,
        )  # fmt: skip
    # What never happens finds nothing.
    assert commits > 10 * RUNS
    assert conflicts > RUNS
    assert crashes > RUNS / 20


def test_a_seed_replays_exactly(seed, fast_folder):
    for number in range(3):
        one, other = (simulate(seed + number, fast_folder / f"{number}-{name}") for name in ("one", "other"))
        assert one == other
