"""Recovery: a mount that was cut off anywhere goes on where it stopped, and what it was putting is put once."""

import os

import pytest

from storefs.core import keys
from storefs.errors import StoreUnavailable
from storefs.model import ROOT_INO
from storefs.testing.world import copy_disk, create, find, listing, noise, put_file, read, tables, write
from storefs.volume.attributes import Changes

CRASH_POINTS = {
    "between seal and upload": ("before", keys.SHARDS),
    "between upload and commit": ("before", keys.JOURNAL),
    "between commit and confirmation": ("after", keys.JOURNAL),
}


def die_at(world, when, prefix, snapshot):
    """Call ``snapshot`` at the first put below ``prefix``; from then on the store answers nothing."""
    dead = False

    async def reach(request):
        nonlocal dead
        if not dead and request.operation.startswith("put") and request.key.startswith(prefix):
            dead = True
            snapshot()
        if dead:
            raise StoreUnavailable("the process is dead")

    async def unreachable(_):
        if dead:
            raise StoreUnavailable("the process is dead")

    world.store.before, world.store.after = (reach, unreachable) if when == "before" else (unreachable, reach)


def let_all_pass(world):
    async def go(_):
        pass

    world.store.before = world.store.after = go


@pytest.mark.parametrize("power_cut", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("point", CRASH_POINTS)
async def test_a_commit_cut_off_is_made_once(world, tmp_path, autojump_clock, seed, point, power_cut):
    data = noise(seed, 50_000)
    image = tmp_path / "image"
    when, prefix = CRASH_POINTS[point]
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", data)
        die_at(world, when, prefix, lambda: copy_disk(tmp_path / "one", image))
        await volume.engine.cutter.drain()
        with pytest.raises(StoreUnavailable):
            await volume.engine.committer.commit()
        intent = volume.engine.tree.local.intent
        assert (intent is not None) == (prefix == keys.JOURNAL)
    let_all_pass(world)
    if power_cut:
        world.power_cut()
    async with world.engine_at(image) as volume:
        assert volume.engine.recovered.unclean
        assert await read(volume, find(volume, "file")) == data
        await volume.engine.finish(60)
        after = tables(volume.engine.tree)
    if intent is not None:
        assert await world.memory.get(keys.journal(1)) == intent.object
    assert len(await world.journal()) == 1
    assert len(await world.shards()) == 1
    tree = await world.replica(tmp_path / "replica.sqlite")
    assert tables(tree) == after
    tree.close()


async def test_staged_writes_survive_a_kill_in_their_order(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        world.faults.away = True
        ino = create(volume, "file")
        await write(volume, ino, b"1" * 300)
        await write(volume, ino, b"2" * 100, 100)
        await write(volume, ino, b"3" * 50, 150)
    world.faults.away = False
    async with world.engine_at(tmp_path / "one") as volume:
        assert volume.engine.recovered.staged_files == 1
        assert await read(volume, find(volume, "file")) == b"1" * 100 + b"2" * 50 + b"3" * 50 + b"1" * 100


async def test_the_log_goes_on_behind_a_torn_record(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        world.faults.away = True
        ino = create(volume, "file")
        await write(volume, ino, b"1" * 100)
        await write(volume, ino, b"2" * 100, 100)
        log = next(volume.engine.home.staging.glob("*.log"))
    os.truncate(log, log.stat().st_size - 1)
    world.faults.away = False
    async with world.engine_at(tmp_path / "one") as volume:
        ino = find(volume, "file")
        assert await read(volume, ino) == b"1" * 100
        await write(volume, ino, b"3" * 100, 100)
    async with world.engine_at(tmp_path / "one") as volume:
        assert await read(volume, find(volume, "file")) == b"1" * 100 + b"3" * 100


async def test_what_was_cut_is_not_replayed_over_later_truncates(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        world.faults.away = True
        ino = await put_file(volume, "file", b"1" * 1000)
        await volume.engine.cutter.drain()
        await volume.attributes.set(ino, Changes(size=10))
        await volume.attributes.set(ino, Changes(size=100))
    world.faults.away = False
    async with world.engine_at(tmp_path / "one") as volume:
        assert volume.engine.recovered.staged_bytes == 0
        assert await read(volume, find(volume, "file")) == b"1" * 10 + bytes(90)


async def test_shard_files_that_are_gone_are_fetched_again(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 3_000)
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", data)
        await volume.engine.finish(60)
        for path in volume.engine.home.shards.iterdir():
            path.unlink()
    async with world.engine_at(tmp_path / "one") as volume:
        assert await read(volume, find(volume, "file")) == data


async def test_stray_files_among_the_shards_go(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        await volume.engine.finish(60)
        stray = volume.engine.home.shards / "stray.des"
    stray.write_bytes(b"x")
    async with world.engine_at(tmp_path / "one"):
        assert not stray.exists()


async def test_a_clean_end_leaves_nothing_to_recover(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", b"1")
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "one") as volume:
        assert not volume.engine.recovered.unclean


async def test_an_end_with_changes_is_never_noted_as_clean(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", b"1")
        await volume.engine.finish(60)
        assert volume.engine.tree.local.get("clean") == 0
        create(volume, "late")
    async with world.engine_at(tmp_path / "one") as volume:
        assert volume.engine.recovered.unclean
        assert volume.engine.recovered.pending_changes
        assert listing(volume) == ["file", "late"]


async def test_an_end_with_a_draft_alone_is_never_noted_as_clean(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        ino = await put_file(volume, "file", b"1")
        await volume.engine.finish(60)
        await write(volume, ino, b"2")
    async with world.engine_at(tmp_path / "one") as volume:
        assert volume.engine.recovered.unclean
        assert await read(volume, ino) == b"2"


async def test_changes_made_while_finishing_are_committed_or_kept(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", b"1")

        async def change(request):
            if request.operation.startswith("put") and request.key.startswith(keys.JOURNAL):
                create(volume, f"late-{request.key[-1]}")

        world.store.after = change
        await volume.engine.finish(60)
        names = listing(volume)
        let_all_pass(world)
    async with world.engine_at(tmp_path / "one") as volume:
        assert listing(volume) == names
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as volume:
        assert listing(volume, ROOT_INO) == names


async def test_a_start_without_the_store_fails_and_a_later_one_has_everything(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", b"1")
        await volume.engine.finish(60)

    async def away(request):
        if request.key.startswith(keys.JOURNAL):
            raise StoreUnavailable("the journal is away")

    world.store.before = away
    with pytest.raises(StoreUnavailable):
        async with world.engine_at(tmp_path / "one"):
            pytest.fail("started without knowing the head of the journal")
    let_all_pass(world)
    async with world.engine_at(tmp_path / "one") as volume:
        assert await read(volume, find(volume, "file")) == b"1"
