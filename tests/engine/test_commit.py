"""Commits: shards before the changes that name them, one commit whatever happens to the answer, cuts and dedup."""

import pytest
import trio

from storefs.core import keys
from storefs.engine.journal import Journal
from storefs.engine.shardlog import ShardLog
from storefs.errors import NoSpace, NotCommitted, StoreUnavailable
from storefs.model import FILE_BYTES_MAX, ROOT_INO
from storefs.testing.world import FOLDER_MODE, create, find, listing, noise, put_file, read, tables, with_limits, write
from storefs.tree import edits


async def test_all_that_a_commit_names_is_in_the_store_before_it(world, tmp_path, autojump_clock, seed):
    there = {}

    async def look(request):
        if request.operation.startswith("put") and request.key.startswith(keys.JOURNAL):
            there[request.key] = {key.rpartition("/")[2].removesuffix(".des") for key in await world.shards()}

    world.store.before = look
    async with world.engine_at(tmp_path / "one") as volume:
        for turn in range(4):
            for number in range(3):
                await put_file(volume, f"{turn}-{number}", noise(f"{seed}/{turn}/{number}", 70_000))
            await volume.files.fsync()
    assert len(there) >= 4
    for seq, key in enumerate(await world.journal(), 1):
        tree = await world.replica(tmp_path / f"{seq}.sqlite", seq)
        sealed = {row[0].hex() for row in tree.database.rows("SELECT id FROM shard WHERE size > 0")}
        named = {row[0].hex() for row in tree.database.rows("SELECT DISTINCT shard FROM chunk")}
        unplaced = tree.database.value("SELECT count(*) FROM extent WHERE chunk NOT IN (SELECT id FROM chunk)")
        tree.close()
        assert named <= sealed <= there[key]
        assert not unplaced


async def test_ten_thousand_small_files_are_a_few_commits(world, tmp_path, autojump_clock, seed):
    """What they cost is counted in requests: for all of them fewer than for one in a hundred."""
    names = [f"{number:05}" for number in range(10_000)]
    async with world.engine_at(tmp_path / "one", with_limits(shard_bytes=1 << 20, dirty_bytes=1 << 30)) as volume:
        folder = create(volume, "folder", mode=FOLDER_MODE)
        await volume.files.fsync()
        before = len(await world.journal())
        world.store.requests.clear()
        for name in names:
            ino = create(volume, name, folder)
            await volume.files.write(ino, 0, f"{seed}/{name}".encode())
            await volume.files.close(ino)
        await volume.files.fsync()
        assert len(await world.journal()) - before <= 5
        assert len(world.store.requests) <= 100, [str(one) for one in world.store.requests[:50]]
        assert listing(volume, folder) == names


@pytest.mark.parametrize("operation", ["put_if_absent", "put"])
async def test_a_lost_answer_makes_no_second_commit(world, tmp_path, autojump_clock, operation):
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", b"content")
        world.faults.lose_next.append(operation)
        await volume.files.fsync()
        assert world.faults.struck == 1
        assert not volume.engine.tree.pending.count
        assert volume.engine.tree.local.intent is None
        assert len(await world.journal()) == 1
        await put_file(volume, "more", b"content")
        await volume.files.fsync()
        after = tables(volume.engine.tree)
    tree = await world.replica(tmp_path / "replica.sqlite")
    assert tables(tree) == after
    tree.close()


async def test_the_same_bytes_are_put_until_the_number_is_taken(world, tmp_path, autojump_clock):
    """What comes between two tries goes into the next commit, not into this one."""
    async with world.engine_at(tmp_path / "one") as volume:
        create(volume, "one")
        world.faults.fail_next.append("put_if_absent")
        with pytest.raises(StoreUnavailable):
            await volume.engine.committer.commit()
        intent = volume.engine.tree.local.intent
        create(volume, "two")
        await volume.files.fsync()
    assert await world.memory.get(keys.journal(1)) == intent.object
    assert len(await world.journal()) == 2


async def test_changes_are_committed_within_the_interval(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", b"content")
        await trio.sleep(volume.engine.limits.commit_interval_s + 1)
        assert not volume.engine.tree.pending.count
    assert len(await world.journal()) == 1


async def test_changes_that_cancel_out_make_no_commit(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        for mtime_ns in (5, volume.attributes.get(1).mtime_ns):
            with volume.engine.tree.pending.recorded():
                volume.engine.tree.inodes.update(1, mtime_ns=mtime_ns)
        assert volume.engine.tree.pending.count == 2
        await volume.files.fsync()
        assert not volume.engine.tree.pending.count
    assert await world.journal() == []


async def test_many_small_files_are_one_commit_and_few_objects(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one") as volume:
        for number in range(200):
            await put_file(volume, f"{number}", noise(f"{seed}/{number}", 100))
        await volume.files.fsync()
    assert len(await world.journal()) == 1
    assert len(await world.shards()) == 1


async def test_a_commit_holds_a_bounded_number_of_changes(world, tmp_path, autojump_clock, seed):
    """When very much has gathered it ends where one that was tried meanwhile would have: nothing is half done there."""
    async with world.engine_at(tmp_path / "one", with_limits(commit_rows=60)) as volume:
        world.faults.away = True
        for number in range(25):
            ino = await put_file(volume, f".{number}", noise(f"{seed}/{number}", 500))
            await volume.files.close(ino)
            volume.names.rename(ROOT_INO, f".{number}".encode(), ROOT_INO, f"{number}".encode())
            with pytest.raises(StoreUnavailable):
                await volume.engine.committer.commit()
        world.faults.away = False
        await volume.files.fsync()
        after = tables(volume.engine.tree)

    def look(tree):
        for dentry, inode in tree.dentries.page(ROOT_INO, 0, 100):
            assert inode.size == 500, dentry

    assert 3 <= len(await world.journal()) <= 6
    tree = await world.replica(tmp_path / "replica.sqlite", look=look)
    assert tables(tree) == after
    tree.close()


async def test_what_gathered_while_the_store_was_away_is_one_commit(world, tmp_path, autojump_clock, seed):
    """However many shards it takes: a commit that ends anywhere else may show names before what they lead to."""
    async with world.engine_at(tmp_path / "one") as volume:
        world.faults.away = True
        for number in range(5):
            await put_file(volume, f"{number}", noise(f"{seed}/{number}", 80_000))
        await volume.engine.cutter.drain()
        world.faults.away = False
        await volume.files.fsync()
    journal = Journal(world.memory, world.offload)
    (commit,) = [await journal.get(seq) for seq in range(1, len(await world.journal()) + 1)]
    assert len(edits.read(commit.changes).shards) >= 5


async def test_what_was_closed_is_whole_where_a_later_name_is_seen(world, tmp_path, autojump_clock, seed):
    """Write, close, rename; write, close, make a mark: in this order for other mounts too."""
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        for number in range(5):
            data = noise(f"{seed}/{number}", 30_000)
            ino = create(one, "fresh")
            await write(one, ino, data)
            await one.files.close(ino)
            one.names.rename(ROOT_INO, b"fresh", ROOT_INO, b"file")
            create(one, f"mark-{number}")
            await one.engine.committer.commit()  # as by the interval: nobody asked for what is being written
            await two.engine.follower.poll()
            assert f"mark-{number}" in listing(two)
            assert await read(two, find(two, "file")) == data


async def test_what_was_closed_is_there_where_a_later_name_is_seen_even_if_it_is_written_again(
    world, tmp_path, autojump_clock
):
    """As on the writing mount: a mark, and beside it no less than what was closed before it."""
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        ino = create(one, "file")
        for number in range(5):
            await write(one, ino, b"%d: done" % number)
            await one.files.close(ino)
            create(one, f"mark-{number}")
            await write(one, ino, b"%d" % (number + 1))
            await one.engine.committer.commit()
            await two.engine.follower.poll()
            assert f"mark-{number}" in listing(two)
            assert await read(two, ino) == b"%d: done" % (number + 1)


async def test_a_commit_waits_for_what_is_just_being_cut(world, tmp_path, monkeypatch, autojump_clock, seed):
    run = world.offload.run

    async def slow(function, *arguments):
        if function.__name__ == "_split":
            await trio.sleep(2)
        return await run(function, *arguments)

    async with world.engine_at(tmp_path / "one") as one, trio.open_nursery() as nursery:
        ino = await put_file(one, "file", noise(seed, 3000))
        await one.files.close(ino)
        world.offload.run = slow
        nursery.start_soon(one.engine.cutter.cut_due)
        await trio.sleep(1)
        assert one.engine.drafts.get(ino).cutting
        assert one.engine.tree.inodes.size(ino) == 0
        async with one.engine.cutter.settled() as complete:
            assert complete
            assert one.engine.tree.inodes.size(ino) == 3000


async def test_what_cannot_be_cut_is_owed_until_it_is(world, tmp_path, monkeypatch, autojump_clock, caplog):
    async def full(self, chunks):
        raise NoSpace("no room")

    async with world.engine_at(tmp_path / "one") as one:
        ino = await put_file(one, "file", b"content")
        await one.files.close(ino)
        with monkeypatch.context() as patch:
            patch.setattr(ShardLog, "append", full)
            async with one.engine.cutter.settled() as complete:
                assert not complete
        assert "no room" in caplog.text
        await write(one, ino, b"more")
        async with one.engine.cutter.settled() as complete:
            assert complete
        assert one.engine.tree.inodes.size(ino) == 7


async def test_a_file_is_not_closed_while_a_commit_takes_its_measure(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one") as volume:
        ino = create(volume, "file")
        await write(volume, ino, noise(seed, 3000))
        async with volume.engine.cutter.settled():
            with trio.move_on_after(1) as scope:
                await volume.files.close(ino)
            assert scope.cancelled_caught
        await volume.files.close(ino)


async def test_a_close_that_is_under_way_when_a_commit_begins_is_in_it_or_comes_after_it(
    world, tmp_path, autojump_clock, seed
):
    """Never in between: what its program does next would be in the commit without the content."""
    async with world.engine_at(tmp_path / "one") as volume, trio.open_nursery() as nursery:
        for number in range(40):  # which of two tasks goes first is up to chance
            ino = create(volume, f"{number}")
            await write(volume, ino, noise(f"{seed}/{number}", 3000))
            nursery.start_soon(volume.files.close, ino)
            await trio.lowlevel.checkpoint()
            async with volume.engine.cutter.settled():
                for _ in range(10):
                    await trio.lowlevel.checkpoint()
                draft = volume.engine.drafts.get(ino)
                assert draft is None or not draft.whole, f"file {number} was closed behind the commit's back"


async def test_a_second_copy_uploads_no_payload(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 50_000)
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", data)
        await volume.files.fsync()
        uploads = len(world.store.keys("put", keys.SHARDS))
        await put_file(volume, "copy", data)
        await volume.files.fsync()
        assert len(world.store.keys("put", keys.SHARDS)) == uploads == 1
    async with world.engine_at(tmp_path / "two") as volume:
        assert await read(volume, find(volume, "copy")) == data


async def test_shared_bytes_stay_here_until_their_commit(world, tmp_path, autojump_clock, seed):
    """Another mount's chunks, named again here: should they be condemned meanwhile, only this disk has them."""
    data = noise(seed, 20_000)
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", data)
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as volume:
        ino = await put_file(volume, "copy", data)
        world.faults.away = True
        await volume.engine.cutter.drain()
        volume.engine.pressure.evict(FILE_BYTES_MAX)
        chunks = {extent.chunk for extent in volume.engine.tree.extents.all(ino)}
        places = [volume.engine.tree.chunks.place(chunk) for chunk in chunks]
        assert len(places) > 1
        assert all(volume.engine.cache.has(place) for place in places)
        world.faults.away = False
        await volume.files.fsync()
        assert not volume.engine.tree.shards.held()
        volume.engine.pressure.evict(FILE_BYTES_MAX)
        assert not any(volume.engine.cache.has(place) for place in places)


async def test_own_shards_stay_here_until_their_commit(world, tmp_path, autojump_clock, seed):
    data = noise(seed, 200_000)
    async with world.engine_at(tmp_path / "one") as volume:
        world.faults.away = True
        ino = await put_file(volume, "file", data)
        await volume.engine.cutter.drain()
        volume.engine.pressure.evict(FILE_BYTES_MAX)
        assert await read(volume, ino) == data
        world.faults.away = False
        await volume.files.fsync()
        assert volume.engine.pressure.evict(FILE_BYTES_MAX) >= len(data)
        assert await read(volume, ino) == data


async def test_fsync_gives_up_at_the_deadline_and_the_rest_happens_by_itself(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", b"content")
        world.faults.away = True
        began_s = trio.current_time()
        with pytest.raises(NotCommitted):
            await volume.files.fsync()
        assert trio.current_time() - began_s == pytest.approx(volume.engine.limits.store_deadline_s, abs=1)
        await trio.sleep(300)
        assert await world.journal() == []
        world.faults.away = False
        await trio.sleep(8)
        assert not volume.engine.tree.pending.count
        assert len(await world.journal()) == 1
    async with world.engine_at(tmp_path / "two") as volume:
        assert listing(volume) == ["file"]


async def test_a_close_may_wait_for_the_commit(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one", with_limits(commit_on_close=True)) as volume:
        ino = create(volume, "file")
        await volume.files.write(ino, 0, b"content")
        await volume.files.close(ino)
        assert len(await world.journal()) == 1
        assert not volume.engine.tree.pending.count
        await volume.files.close(ino)
        assert len(await world.journal()) == 1, "nothing was written since"
        await volume.files.write(ino, 0, b"C")
        world.faults.away = True
        with pytest.raises(NotCommitted):
            await volume.files.close(ino)
    world.faults.away = False
    async with world.engine_at(tmp_path / "two") as volume:
        ino = create(volume, "file2")
        await volume.files.write(ino, 0, b"content")
        await volume.files.close(ino)
        assert len(await world.journal()) == 1


async def test_commits_of_others_are_followed_while_much_is_uploaded(world, tmp_path, autojump_clock, seed):
    async with world.engine_at(tmp_path / "one") as one, world.engine_at(tmp_path / "two") as two:
        await put_file(one, "large", noise(seed, 200_000))

        async def hold_up(request):
            if request.operation == "put" and request.key.startswith(keys.SHARDS):
                await trio.sleep(8)

        await put_file(two, "theirs", b"1")
        await two.files.fsync()
        world.store.before = hold_up
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.files.fsync)
            await trio.sleep(5)
            assert listing(one) == ["large", "theirs"]
            assert one.engine.tree.pending.count
        await two.engine.follower.poll()
        assert listing(two) == ["large", "theirs"]
        assert tables(one.engine.tree) == tables(two.engine.tree)
