"""What the volume's tests share: a mount in memory."""

import pytest

from storefs.testing.world import World


@pytest.fixture
async def volume(seed, tmp_path, autojump_clock):
    async with World(seed).engine_at(tmp_path / "one") as one:
        yield one
