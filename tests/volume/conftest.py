"""What the volume's tests share: a world from this test's seed, and a mount in it."""

import pytest

from storefs.testing.world import World
from storefs.volume import clone


@pytest.fixture
def world(seed):
    return World(seed)


@pytest.fixture
async def volume(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one:
        yield one


@pytest.fixture
def slices(monkeypatch):
    """Let a few rows fill a slice of a clone."""
    monkeypatch.setattr(clone, "SLICE_ROWS", 5)
    monkeypatch.setattr(clone, "_PAGE_ENTRIES", 2)
