"""What the engine's tests share: a world from this test's seed."""

import pytest

from storefs.testing.world import World


@pytest.fixture
def world(seed: int) -> World:
    return World(seed)
