"""Lost races: who commits second becomes read-only, overwrites nothing and keeps what it has."""

import errno

import pytest
import trio

from storefs.cache import home
from storefs.errors import LostRace
from storefs.model import ROOT_INO
from storefs.testing.world import create, find, listing, put_file, read, tables
from storefs.tree.pending import Leftover, leftover
from storefs.volume.attributes import Changes


@pytest.fixture
async def lost(world, tmp_path, autojump_clock):
    """Two mounts of which the second lost the race: (winner, loser)."""
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        await put_file(one, "theirs", b"1")
        await put_file(two, "mine", b"2")
        await one.files.fsync()
        with pytest.raises(LostRace):
            await two.files.fsync()
        yield one, two


async def test_every_change_is_refused_with_erofs(lost, world, autojump_clock):
    _, two = lost
    mine = find(two, "mine")
    assert two.engine.read_only
    with pytest.raises(LostRace) as refused:
        create(two, "more")
    assert refused.value.errno == errno.EROFS
    with pytest.raises(LostRace):
        await two.files.write(mine, 0, b"x")
    with pytest.raises(LostRace):
        await two.attributes.set(mine, Changes(mode=0o600))
    with pytest.raises(LostRace):
        two.names.unlink(ROOT_INO, b"mine")
    with pytest.raises(LostRace):
        two.names.rename(ROOT_INO, b"mine", ROOT_INO, b"other")
    with pytest.raises(LostRace):
        two.attributes.set_xattr(mine, b"user.a", b"1")


async def test_nothing_is_overwritten_and_what_is_pending_stays(lost, world, tmp_path, autojump_clock):
    one, two = lost
    assert len(await world.journal()) == 1
    await trio.sleep(60)
    assert len(await world.journal()) == 1
    tree = await world.replica(tmp_path / "replica.sqlite")
    assert tables(tree) == tables(one.engine.tree)
    tree.close()
    assert two.engine.tree.pending.count
    assert await read(two, find(two, "mine")) == b"2"


async def test_fsync_and_unmount_say_so_again(lost, autojump_clock):
    _, two = lost
    began_s = trio.current_time()
    with pytest.raises(LostRace):
        await two.files.fsync()
    with pytest.raises(LostRace):
        await two.engine.finish(60)
    assert trio.current_time() - began_s < 60


async def test_the_winner_goes_on(lost, world, autojump_clock):
    one, _ = lost
    await put_file(one, "next", b"3")
    await one.files.fsync()
    assert len(await world.journal()) == 2


async def test_a_new_mount_takes_another_cache(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        name = two.engine.info.store.hex()
        create(one, "theirs")
        create(two, "mine")
        await one.files.fsync()
        with pytest.raises(LostRace):
            await two.files.fsync()
    assert leftover(tmp_path / "two" / name / "tree.sqlite") is Leftover.LOST
    taken = home.acquire(tmp_path / "two", name)
    assert isinstance(taken, home.CacheHome)
    assert taken.path.name == f"{name}.2"
    taken.release()


async def test_a_mount_on_the_lost_cache_reads_and_stays_read_only(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        create(one, "theirs")
        await put_file(two, "mine", b"2")
        await one.files.fsync()
        with pytest.raises(LostRace):
            await two.files.fsync()
    async with world.engine_at(tmp_path / "two") as two:
        assert two.engine.read_only
        assert await read(two, find(two, "mine")) == b"2"
        with pytest.raises(LostRace):
            create(two, "more")
        await trio.sleep(30)
    assert len(await world.journal()) == 1


async def test_a_race_lost_while_this_machine_was_off(world, tmp_path, autojump_clock):
    """Only staged, not even pending: at the next start that is a lost race all the same."""
    async with world.engine_at(tmp_path / "one") as one:
        await put_file(one, "file", b"0" * 100)
        await one.engine.finish(60)
    async with world.engine_at(tmp_path / "one") as one:
        await one.files.write(find(one, "file"), 0, b"1")
    async with world.engine_at(tmp_path / "two") as two:
        create(two, "theirs")
        await two.engine.finish(60)
    async with world.engine_at(tmp_path / "one") as one:
        assert one.engine.read_only
        assert listing(one) == ["file"]
        assert (await read(one, find(one, "file")))[:1] == b"1"
    assert len(await world.journal()) == 2
