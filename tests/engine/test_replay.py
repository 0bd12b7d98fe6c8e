"""Reading a whole journal with its snapshots: what is damaged, missing or of another history is named."""

import random
import sqlite3
from dataclasses import replace

import pytest

from storefs.core import commitheader, keys
from storefs.engine.journal import Journal
from storefs.shard import codec
from storefs.testing.world import (
    with_limits,
)
from tests.engine.checked import LIMITS, writes


async def test_any_byte_of_a_commit(checked, world, seed, autojump_clock):
    dice = random.Random(seed)
    for key in await world.journal():
        whole = await world.memory.get(key)
        # Another format version (bytes 8 and 9) is refused, not called damage.
        for at in {0, 10, len(whole) - 1, *(dice.randrange(10, len(whole)) for _ in range(3))}:
            await checked.flip(key, at)
            faults = await checked.faults(data=True)
            assert [fault for fault in faults if fault.startswith(f"{key}: ")], f"byte {at} of {len(whole)}"
            await world.memory.put(key, whole)
    assert await checked.faults() == []


async def test_behind_damage_it_goes_on_from_the_next_snapshot(checked, world, autojump_clock):
    (snapshot,) = await checked.keys(keys.SNAPSHOTS)
    await checked.fill("two", "gh", with_limits(snapshot_commits_unmount=1000))
    last = len(await world.journal())
    key = keys.journal(2)
    await checked.flip(key, -1)
    report = await checked.check(data=True)
    assert [fault.partition(": ")[0] for fault in report.faults] == [key]
    assert report.counts["commit"] == last
    assert report.counts["files"] == len(checked.contents)
    await world.memory.delete([snapshot])
    report = await checked.check(data=True)
    assert [fault.partition(": ")[0] for fault in report.faults] == [key]
    assert report.counts["commit"] == 1
    assert report.notes == ["the tree of commit 1 is checked: behind it the journal is damaged"]


@pytest.mark.parametrize("gone", [(3,), (3, 4)])
async def test_a_gap_in_the_journal(checked, world, gone, autojump_clock):
    await world.memory.delete([keys.journal(seq) for seq in gone])
    faults = await checked.faults()
    said = "commit 3 is" if len(gone) == 1 else "commits 3 to 4 are"
    assert faults == [f"{said} missing in the journal, which goes on with {gone[-1] + 1}"]


async def test_a_commit_that_goes_away_meanwhile(checked, world, autojump_clock):
    async def lose(request):
        if request.operation == "get" and request.key == keys.journal(2):
            await world.memory.delete([request.key])

    world.store.before = lose
    (fault,) = await checked.faults()
    assert fault == f"{keys.journal(2)}: it went away while the journal was read"


@pytest.mark.parametrize("tree_is_known", [True, False])
async def test_a_commit_of_another_history(checked, world, tree_is_known, autojump_clock):
    seq = len(await world.journal())
    commit = await Journal(world.memory, world.offload).get(seq)
    body = codec.compress(commit.changes)
    header = replace(commit.header, previous=bytes(16), stored=len(body))
    await world.memory.put(keys.journal(seq), commitheader.pack(header, body))
    if not tree_is_known:
        await checked.flip(keys.journal(1), -1)
    says = "this replica" if tree_is_known else "the journal"
    faults = await checked.faults()
    assert f"{keys.journal(seq)}: commit {seq} does not follow commit {seq - 1} as {says} has it" in faults


async def test_a_journal_that_no_longer_reaches_back(checked, world, autojump_clock):
    await checked.fill("two", "ghij")
    first, last = (keys.snapshot_seq(key) for key in await checked.keys(keys.SNAPSHOTS))
    await world.memory.delete([keys.journal(seq) for seq in range(1, first + 1)])
    (fault,) = await checked.faults()
    assert fault == f"the journal begins with commit {first + 1}, but only commits up to 0 were to go"
    await world.memory.put(keys.FLOOR, b"%d\n" % first)
    report = await checked.check(data=True)
    assert (report.faults, report.notes) == ([], [])
    assert (report.counts["commit"], report.counts["commits"]) == (last, last - first)
    await world.memory.delete(await checked.keys(keys.SNAPSHOTS))
    (fault,) = await checked.faults()
    assert fault.startswith(f"the journal begins with commit {first + 1}, and no snapshot")


async def test_a_journal_that_is_just_pruned(checked, world, autojump_clock):
    (snapshot,) = await checked.keys(keys.SNAPSHOTS)
    upto = keys.snapshot_seq(snapshot)
    await checked.fill("two", "gh", with_limits(snapshot_commits_unmount=1000))

    async def prune(request):
        if request.operation == "get" and request.key == keys.journal(3):
            await world.memory.put(keys.FLOOR, b"%d\n" % upto)
            await world.memory.delete([keys.journal(seq) for seq in (1, 3, 4)])

    world.store.before = prune
    for _ in range(2):  # while it goes on, and cut off in the middle
        report = await checked.check(data=True)
        assert report.faults == []
        assert report.counts["commit"] == upto + 2


async def test_snapshots_with_names(checked, world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        await volume.engine.snapshots.write_named("kept", volume.engine.home.tree)
        seq = volume.engine.tree.local.position.seq
    key = keys.named_snapshot("kept")
    report = await checked.check(data=True)
    assert (report.faults, report.notes, report.counts["snapshots"]) == ([], [], 2)
    shard = await checked.shard_of("b")
    name = shard[-36:-4]
    drop = (
        "DELETE FROM extent WHERE ino = (SELECT ino FROM dentry WHERE name = x'62')",
        "DELETE FROM chunk WHERE id NOT IN (SELECT chunk FROM extent)",
        "DELETE FROM shard WHERE id NOT IN (SELECT shard FROM chunk)",
    )
    await checked.commit(*((sql,) for sql in drop))
    report = await checked.check(data=True)
    assert (report.faults, report.notes) == ([], []), "the snapshots need the shard"
    await world.memory.delete([shard])
    assert await checked.faults(data=True) == [f"{key}: its shard {name} is missing"]
    await world.memory.put(key, (await world.memory.get(key))[:-9])
    (fault,) = (await checked.check(repair=True)).faults
    assert fault.startswith(f"{key}: ")
    await world.memory.put(key, await world.memory.get(keys.snapshot(seq)))
    assert await checked.faults() == [f"{key}: its shard {name} is missing"]


async def test_a_shard_that_is_no_longer_needed_goes_meanwhile(checked, world, autojump_clock):
    shard = await checked.shard_of("b")

    async def compact(request):
        if request.operation == "get" and request.key == shard:
            world.store.before = after
            await checked.commit(
                ("DELETE FROM extent WHERE ino = (SELECT ino FROM dentry WHERE name = x'62')",),
                ("DELETE FROM chunk WHERE id NOT IN (SELECT chunk FROM extent)",),
                ("DELETE FROM shard WHERE id NOT IN (SELECT shard FROM chunk)",),
            )
            await world.memory.delete([shard])

    async def after(_request):
        pass

    world.store.before = compact
    assert await checked.faults(data=True) == []


async def test_a_damaged_snapshot(checked, world, autojump_clock):
    (key,) = await checked.keys(keys.SNAPSHOTS)
    size = (await world.memory.head(key)).size
    await checked.flip(key, size // 2)
    (fault,) = await checked.faults()
    assert fault.startswith(f"{key}: ")
    assert writes(world) == []
    report = await checked.check(repair=True)
    assert report.faults == []
    assert report.notes[0].startswith(f"deleted {key}: ")
    assert await checked.keys(keys.SNAPSHOTS) == []
    assert await checked.faults() == []
    await checked.reads("after")


async def test_a_damaged_snapshot_that_the_journal_does_not_give_stays(checked, world, autojump_clock):
    (key,) = await checked.keys(keys.SNAPSHOTS)
    await checked.flip(key, (await world.memory.head(key)).size // 2)
    await checked.flip(keys.journal(2), -1)
    report = await checked.check(repair=True)
    assert len(report.faults) == 2
    assert await checked.keys(keys.SNAPSHOTS) == [key]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("UPDATE inode SET size = size + 1 WHERE ino = (SELECT max(ino) FROM inode)", "inode differ"),
        ("DELETE FROM dentry WHERE name = x'61'", "dentry differ"),
        ("UPDATE chunk SET \"offset\" = \"offset\" + 1", "chunk differ"),
        ("INSERT INTO xattr VALUES (1, x'75', x'00')", "xattr differ"),
        ("DROP TABLE extent", "extent differ"),
        ("UPDATE snapshot SET value = value + 1 WHERE key = 'seq'", "it says that it holds commit"),
        ("UPDATE snapshot SET value = zeroblob(16) WHERE key = 'nonce'", "another history"),
        ("UPDATE snapshot SET value = zeroblob(16) WHERE key = 'store'", "belongs to the store 0000"),
    ],
)  # fmt: skip
async def test_a_wrong_snapshot(checked, world, tmp_path, sql, says, autojump_clock):
    (key,) = await checked.keys(keys.SNAPSHOTS)
    packed, plain = tmp_path / "packed", tmp_path / "plain"
    packed.write_bytes(await world.memory.get(key))
    codec.decompress_file(packed, plain, 1 << 30)
    with sqlite3.connect(plain) as database:
        database.execute(sql)
    database.close()
    codec.compress_file(plain, packed)
    await world.memory.put(key, packed.read_bytes())
    (fault,) = await checked.faults()
    assert fault.startswith(f"{key}: ")
    assert says in fault
    assert (await checked.check(repair=True)).faults == []
    assert await checked.keys(keys.SNAPSHOTS) == []
