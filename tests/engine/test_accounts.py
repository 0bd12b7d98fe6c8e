"""The accounts of a store."""

import pytest

from storefs.core import keys
from storefs.testing.world import (
    FOLDER_MODE,
    create,
    noise,
    put_file,
    write,
)
from tests.engine.checked import LIMITS, Checked


async def test_accounts(world, tmp_path, seed, autojump_clock):
    checked = Checked(world, tmp_path, seed)
    one, many = noise(seed, 10_000), b"text " * 2_000
    async with world.engine_at(tmp_path / "one", LIMITS) as volume:
        for name in ("a", "b"):
            await put_file(volume, name, one)
        create(volume, "folder", mode=FOLDER_MODE)
        holed = await put_file(volume, "holed", b"x")
        await write(volume, holed, many, 1 << 20)
        await put_file(volume, "gone", noise("gone", 7_000))
        await volume.files.fsync()
        volume.names.unlink(1, b"gone")
        await volume.files.fsync()
        await volume.engine.finish(60)
    unnamed = keys.shard(noise(seed, 16), 20260101)
    await world.memory.put(unnamed, bytes(500))
    taken = await checked.accounts()
    stored = {info.key: info.size for info in await world.memory.list_after("")}

    def total(prefix):
        return sum(size for key, size in stored.items() if key.startswith(prefix))

    assert (taken.files, taken.directories, taken.others) == (3, 2, 0)
    assert taken.logical_bytes == 20_000 + (1 << 20) + 10_000
    assert taken.data_bytes == 20_000 + 1 + 10_000
    assert taken.plain_bytes == 10_000 + 1 + 10_000
    assert 10_000 < taken.stored_bytes < 12_000
    assert taken.dedup_ratio == pytest.approx(30_001 / 20_001)
    assert taken.compression_ratio == 20_001 / taken.stored_bytes
    assert (taken.unnamed_shards, taken.unnamed_bytes) == (1, 500)
    assert taken.shard_bytes == total(keys.SHARDS)
    assert 7_000 <= taken.dead_bytes < 8_000
    assert (taken.journal_bytes, taken.commits) == (total(keys.JOURNAL), len(await world.journal()))
    assert (taken.snapshot_bytes, taken.snapshots) == (total(keys.SNAPSHOTS), len(await checked.keys(keys.SNAPSHOTS)))
    assert taken.commit == taken.commits


async def test_nothing_is_dead_in_a_store_where_nothing_was_removed(checked, world, autojump_clock):
    taken = await checked.accounts()
    assert taken.dead_bytes == 0
    assert taken.shards == len(await world.shards())
    assert taken.shard_bytes > taken.stored_bytes >= sum(map(len, checked.contents.values()))
    assert min(world.store.keys("get", keys.JOURNAL)) > keys.journal(1), "it began with the snapshot"
