"""What the engine's tests share: a world from this test's seed."""

import pytest

from storefs.testing.world import World
from tests.engine.checked import Checked
from tests.engine.pair import Pair


@pytest.fixture
def world(seed: int) -> World:
    return World(seed)


@pytest.fixture
async def checked(world, tmp_path, seed):
    found = Checked(world, tmp_path, seed)
    await found.fill()
    world.store.requests.clear()
    return found


@pytest.fixture
async def pair(world, tmp_path):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        yield Pair(world, one, two)
