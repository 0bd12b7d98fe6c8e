"""What the engine's tests share: a world from this test's seed."""

import pytest

from storefs.testing.world import World, with_limits
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


@pytest.fixture(params=["in one step", "aside"])
async def pair(world, tmp_path, request):
    limits = with_limits(aside_bytes=0 if request.param == "aside" else 1 << 20)
    async with world.engine_at(tmp_path / "one", limits) as one, world.engine_at(tmp_path / "two", limits) as two:
        yield Pair(world, one, two)
