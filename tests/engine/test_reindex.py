"""Rebuilding the chunk index: rows that are missing or wrong come back, from what the shards say."""

import pytest

from storefs.core import keys
from storefs.engine import reindex
from storefs.testing.world import (
    find,
    noise,
    put_file,
    tables,
    write,
)
from tests.engine.checked import LIMITS, writes


async def test_dropped_rows_come_back(checked, world, autojump_clock):
    tree = await checked.tree()
    before = tables(tree)
    tree.close()
    await checked.commit(("DELETE FROM chunk",), ("DELETE FROM shard",))
    assert len(await checked.faults()) >= len(checked.contents)
    report = await checked.check(data=True, reindex=checked.reindex())
    assert report.faults == []
    assert [note for note in report.notes if "corrects" in note]
    tree = await checked.tree()
    assert tables(tree) == before
    tree.close()
    await checked.reads("after")
    assert await checked.faults(data=True) == []


async def test_only_what_is_wrong_is_corrected(checked, world, autojump_clock):
    commits = len(await world.journal())
    report = await checked.check(reindex=checked.reindex())
    assert (report.faults, report.notes) == ([], ["the chunk index needs no correction"])
    assert writes(world) == []
    await checked.commit(
        ('UPDATE chunk SET "offset" = "offset" + 1 WHERE id = (SELECT chunk FROM extent LIMIT 1)',),
        ("UPDATE shard SET size = size + 1, day = 20000101 WHERE id = (SELECT max(id) FROM shard)",),
        ("DELETE FROM shard WHERE id = (SELECT min(id) FROM shard)",),
    )
    report = await checked.check(data=True, reindex=checked.reindex())
    assert report.faults == []
    assert report.notes == [f"commit {commits + 2} corrects 3 rows of the chunk index"]
    await checked.reads("after")


async def test_small_commits_do_too(checked, world, monkeypatch, autojump_clock):
    monkeypatch.setattr(reindex, "_ROWS_MAX", 2)
    await checked.commit(
        ("DELETE FROM chunk",),
    )
    chunks = (await checked.check()).counts["chunks"]
    assert chunks == 0
    report = await checked.check(data=True, reindex=checked.reindex())
    assert report.faults == []
    assert len([note for note in report.notes if "corrects" in note]) == -(-report.counts["chunks"] // 2)


@pytest.mark.parametrize(("at", "says"), [(4 + 2, "does not name it"), (4 + 2 + 64 + 1, " says ")])
async def test_a_row_that_is_right_stays_when_the_index_of_its_shard_is_wrong(checked, world, at, says, autojump_clock):
    key = await checked.shard_of("f")
    whole = await world.memory.get(key)
    index = len(whole) - 12 - int.from_bytes(whole[-8:], "little")
    damaged = bytearray(whole)
    damaged[index + at] ^= 1  # in the first entry: its name, or its offset
    await world.memory.put(key, bytes(damaged))
    commits = await world.journal()
    report = await checked.check(data=True, reindex=checked.reindex())
    (fault,) = report.faults
    assert says in fault.partition("the index of")[2]
    assert await world.journal() == commits
    await checked.reads("after")


async def test_a_copy_elsewhere_replaces_a_lost_shard(checked, world, autojump_clock):
    key = (await world.shards())[3]
    copy = keys.shard(noise(checked.seed, 16), 20260101)
    await world.memory.put(copy, await world.memory.get(key))
    await world.memory.delete([key])
    assert await checked.faults() != []
    report = await checked.check(data=True, reindex=checked.reindex())
    assert report.faults == []
    await checked.reads("after")


async def test_what_is_lost_stays_a_fault(checked, world, tmp_path, autojump_clock):
    before = set(await world.shards())
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        await put_file(volume, "gone", noise("gone", 1_000))
        await volume.files.fsync()
        volume.names.unlink(1, b"gone")
        await volume.files.fsync()
        gone = (set(await world.shards()) - before).pop()
    lost = await checked.shard_of("d")
    await world.memory.delete([lost, gone])
    assert len(await checked.faults()) == 2
    report = await checked.check(reindex=checked.reindex())
    (fault,) = report.faults
    assert fault.startswith(f"{lost} is missing, and ")
    assert report.notes == [f"commit {report.counts['commit']} corrects 2 rows of the chunk index"]


async def test_a_mount_that_is_faster_is_followed(checked, world, tmp_path, autojump_clock):
    await checked.commit(("DELETE FROM chunk",), ("DELETE FROM shard",))
    async with world.engine_at(tmp_path / "other", LIMITS) as volume:
        raced = []

        async def race(request):
            if request.operation == "put_if_absent" and request.key.startswith(keys.JOURNAL) and not raced:
                raced.append(request.key)
                checked.contents["new"] = noise("new", 5_000)
                await put_file(volume, "new", checked.contents["new"])
                await volume.files.fsync()

        world.store.before = race
        report = await checked.check(data=True, reindex=checked.reindex())
        assert report.faults == []
        (note,) = [note for note in report.notes if "corrects" in note]
        assert note.startswith(f"commit {int(raced[0].removeprefix(keys.JOURNAL), 16) + 1} ")
        await volume.engine.follower.poll()
        await write(volume, find(volume, "a"), b"more", 10)
        await volume.files.fsync()
    checked.contents["a"] = checked.contents["a"][:10] + b"more" + checked.contents["a"][14:]
    await checked.reads("after")
    assert await checked.faults(data=True) == []


async def test_without_the_head_the_index_is_left_alone(checked, world, autojump_clock):
    await world.memory.delete(await checked.keys(keys.SNAPSHOTS))
    await checked.flip((await world.journal())[-1], -1)
    report = await checked.check(reindex=checked.reindex())
    assert len(report.faults) == 2
    assert "not rebuilt" in report.faults[1]
    assert writes(world) == []
