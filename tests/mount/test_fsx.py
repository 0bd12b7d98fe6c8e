"""One file, thousands of random calls: whatever happens to the mount in between, it reads as the model says.

STOREFS_SOAK=1 runs 200,000 operations over 20 seeds. A failure names its seed; it can be replayed on any mount:
python -m storefs.testing.fsx PATH --seed N --operations N
"""

import contextlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from storefs.testing.fsx import ALL, FALLOCATE, MAPPED_WRITES, Exerciser
from storefs.testing.mounted import Mounted
from tests.mount.places import Mounts, Place

pytestmark = pytest.mark.mount

_SOAK = os.environ.get("STOREFS_SOAK") == "1"
_SOAK_SEEDS, _SOAK_OPERATIONS = 20, 10_000
_MIB = 1 << 20

each_bridge = pytest.mark.parametrize("bridge", ["yes", "no"], ids=["bridge", "plain"])


def _stay(mount: Mounted, exerciser: Exerciser, chance: random.Random) -> None:
    """Leave the mount as it is."""


def _remount(mount: Mounted, exerciser: Exerciser, chance: random.Random) -> None:
    exerciser.close()
    mount.umount()
    mount.remount(new_cache=chance.random() < 0.5)


def _kill(mount: Mounted, exerciser: Exerciser, chance: random.Random) -> None:
    exerciser.settle()
    if chance.random() < 0.5:
        exerciser.close()
    mount.kill()
    with contextlib.suppress(OSError):  # it was open: its end cannot be told to anyone
        exerciser.close()
    mount.remount()


Between = Callable[[Mounted, Exerciser, random.Random], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file goes through: some lives, each of so many operations, and what happens to the mount in between."""

    lives: int
    operations: int
    size_max: int = 600 << 10
    between: Between = _stay
    options: dict[str, str] = field(default_factory=dict)


_SMALL_CACHE = {"cache_size": "1M", "dirty_limit": "64M", "memory": "256K"}
PLANS = {
    "small": Plan(lives=2, operations=1500, size_max=100 << 10),
    "chunks": Plan(lives=1, operations=1500, size_max=3 * _MIB),
    "cache-too-small": Plan(lives=3, operations=400, size_max=4 * _MIB, options=_SMALL_CACHE),
    "remount": Plan(lives=2, operations=500, size_max=2 * _MIB, between=_remount),
    "kill": Plan(lives=4, operations=400, size_max=2 * _MIB, between=_kill),
}


def _operations(bridge: str) -> frozenset[str]:
    return ALL if bridge == "yes" else ALL - set(FALLOCATE)


def _live(mount: Mounted, plan: Plan, bridge: str, seed: int) -> None:
    """Put a file through a plan. In every second life before a kill nothing is mapped, so nothing needs an fsync."""
    chance = random.Random(seed)
    with Exerciser(mount.path / "file", seed, size_max=plan.size_max) as exerciser:
        for life in range(plan.lives):
            wary = plan.between is _kill and life % 2 == 0
            exerciser.operations = _operations(bridge) - (MAPPED_WRITES if wary else frozenset())
            exerciser.run(chance.randint(plan.operations // 2, plan.operations))
            plan.between(mount, exerciser, chance)
            exerciser.check()


@each_bridge
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_random_calls(directory_place: Place, mounts: Mounts, plan: Plan, bridge: str, seed: int) -> None:
    _live(mounts(directory_place, bridge=bridge, **plan.options), plan, bridge, seed)


@pytest.mark.s3
@pytest.mark.parametrize("name", ["remount", "kill"])
def test_random_calls_on_s3(s3_place: Place, mounts: Mounts, name: str, seed: int) -> None:
    plan = replace(PLANS[name], lives=2, operations=300)
    _live(mounts(s3_place, bridge="yes", **plan.options), plan, "yes", seed)


@pytest.mark.skipif(not _SOAK, reason="takes long: set STOREFS_SOAK=1")
@pytest.mark.timeout(3600)
@each_bridge
@pytest.mark.parametrize("number", range(_SOAK_SEEDS))
def test_soak(directory_place: Place, mounts: Mounts, bridge: str, number: int, seed: int) -> None:
    between = (_stay, _kill, _remount, _kill, _remount)[number % 5]
    options = _SMALL_CACHE if number % 4 == 3 else {}
    plan = Plan(5, _SOAK_OPERATIONS // 5, (256 << 10, _MIB, 4 * _MIB, 8 * _MIB)[number % 4], between, options)
    _live(mounts(directory_place, bridge=bridge, **options), plan, bridge, seed)
