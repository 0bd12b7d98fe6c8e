"""Many mounts of one store, disturbed in every way: they agree in the end, and nothing is lost.

STOREFS_SIM_SEEDS sets how many runs there are, STOREFS_SOAK makes it 20,000. ``simulate(seed, folder)`` replays a run.
"""

import os
import random
import shutil

import pytest

from storefs.testing.simulation.run import simulate

SOAK = bool(os.environ.get("STOREFS_SOAK"))
RUNS = int(os.environ.get("STOREFS_SIM_SEEDS", "") or (20_000 if SOAK else 300))
BATCHES = max(1, RUNS // (500 if SOAK else 50))


@pytest.mark.timeout(60 + 3 * RUNS // BATCHES)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_mounts_agree_and_lose_nothing(seed, fast_folder, batch):
    dice = random.Random(seed)
    runs = len(range(batch, RUNS, BATCHES))
    commits = conflicts = crashes = 0
    for _ in range(runs):
        run, folder = dice.getrandbits(32), fast_folder / "run"
        try:
            report = simulate(run, folder)
        except BaseException:
            print(f"simulation seed: {run}")
            raise
        shutil.rmtree(folder)
        commits, conflicts, crashes = (
            commits + report.commits, conflicts + report.conflicts, crashes + report.crashes,
        )  # fmt: skip
    print(f"{runs} runs, {commits} commits, {conflicts} conflict copies, {crashes} crashes")
    # What never happens finds nothing.
    assert commits > 10 * runs
    assert conflicts > runs
    assert crashes > runs / 20


@pytest.mark.parametrize("run", [4046230774, 2877457554, 1808989811, 1239122518])
def test_seeds_that_failed_once(fast_folder, run):
    simulate(run, fast_folder / "run")


def test_a_seed_replays_exactly(seed, fast_folder):
    for number in range(3):
        one, other = (simulate(seed + number, fast_folder / f"{number}-{name}") for name in ("one", "other"))
        assert one == other
