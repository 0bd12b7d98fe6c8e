"""Checking a whole store: each kind of damage is planted and named, a clean store is clean."""

import random

import pytest
import trio

from storefs.core import keys
from storefs.errors import NotAStore, StoreUnavailable
from storefs.testing.world import (
    FOLDER_MODE,
    create,
    noise,
    put_file,
    with_limits,
)
from tests.engine.checked import LIMITS, Checked, writes


async def test_a_clean_store_is_clean_and_only_read(checked, world, autojump_clock):
    await checked.fill("two", "ghij")
    world.store.requests.clear()
    report = await checked.check(data=True, repair=True)
    assert (report.faults, report.notes) == ([], [])
    assert report.counts["commits"] == report.counts["commit"] == len(await world.journal())
    assert report.counts["snapshots"] == len(await checked.keys(keys.SNAPSHOTS)) == 2
    assert report.counts["files"] == len(checked.contents)
    assert report.counts["shards"] == len(await world.shards())
    assert report.counts["bytes_read"] >= sum(map(len, checked.contents.values()))
    assert writes(world) == []


async def test_without_data_no_shard_is_read(checked, world, autojump_clock):
    assert await checked.faults() == []
    assert world.store.keys("get", keys.SHARDS) == []


async def test_a_store_without_commits_is_clean(world, tmp_path, seed, autojump_clock):
    checked = Checked(world, tmp_path, seed)
    async with world.engine_at(tmp_path / "one"):
        pass
    assert await checked.faults(data=True) == []
    assert (await checked.accounts()).directories == 1


async def test_no_store_at_all(world, tmp_path, seed, autojump_clock):
    checked = Checked(world, tmp_path, seed)
    with pytest.raises(NotAStore):
        await checked.check()
    with pytest.raises(NotAStore):
        await checked.accounts()


async def test_a_store_that_goes_away_is_no_fault_of_the_store(checked, world, autojump_clock):
    world.faults.away = True
    with pytest.raises(StoreUnavailable):
        await checked.check()
    world.faults.away = False

    async def fail(request):
        if request.key.startswith(keys.SHARDS):
            raise StoreUnavailable("away")

    world.store.before = fail
    with pytest.raises(StoreUnavailable):
        await checked.check(data=True)


async def test_a_mount_that_writes_meanwhile_makes_no_faults(checked, world, tmp_path, autojump_clock):
    reports = []
    async with (
        world.engine_at(tmp_path / "busy", with_limits(idle_s=1, commit_rows=3)) as volume,
        trio.open_nursery() as nursery,
    ):

        async def write_on():
            number = 0
            while True:
                number += 1
                await put_file(volume, f"busy-{number}", noise(number, 500 * number % 30_000))
                await volume.files.fsync()
                if number % 3 == 0:
                    volume.names.unlink(1, f"busy-{number - 1}".encode())
                await trio.lowlevel.checkpoint()

        nursery.start_soon(write_on)
        for _ in range(5):
            # Time stands still while somebody has something to do.
            for _ in range(200):
                await trio.lowlevel.checkpoint()
            before = volume.engine.tree.local.position.seq
            reports.append(await checked.check(data=True))
            assert volume.engine.tree.local.position.seq > before, "it wrote meanwhile"
        nursery.cancel_scope.cancel()
    assert [report.faults for report in reports] == [[]] * 5
    assert len({report.counts["commit"] for report in reports}) > 1


async def test_store_json_that_cannot_be_read(checked, world, autojump_clock):
    await world.memory.put(keys.STORE_INFO, b"{")
    (fault,) = await checked.faults()
    assert fault.startswith("store.json: ")


async def test_any_byte_of_a_shard(checked, world, seed, autojump_clock):
    dice = random.Random(seed)
    for key in await world.shards():
        whole = await world.memory.get(key)
        for at in {0, 4, 7, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(40))}:
            await checked.flip(key, at)
            assert await checked.faults() == [], "nobody looked into it"
            faults = await checked.faults(data=True)
            assert faults, f"byte {at} of {len(whole)}"
            assert all(key.removesuffix(".des")[-32:] in fault for fault in faults)
            await world.memory.put(key, whole)
    assert await checked.faults(data=True) == []


async def test_a_damaged_chunk_hits_files_that_are_named(checked, world, tmp_path, seed, autojump_clock):
    content = noise(seed, 60_000)
    async with world.engine_at(tmp_path / "two", LIMITS) as volume:
        folder = create(volume, "folder\n", mode=FOLDER_MODE)
        ino = await put_file(volume, "large", content, folder)
        volume.names.link(ino, folder, b"also")
        await volume.files.fsync()
        extents = volume.engine.tree.extents.all(ino)
        hit = extents[len(extents) // 2]
        place = volume.engine.tree.chunks.place(hit.chunk)
        info = volume.engine.tree.chunks.shard(place.shard)
    await checked.flip(keys.shard(info.shard, info.day), place.offset + place.stored // 2)
    report = await checked.check(data=True, repair=True)
    (fault,) = report.faults
    assert place.chunk.hex() in fault
    assert report.notes == [
        f"/folder\\n/{name} (inode {ino}) cannot be read at bytes {hit.offset} to {hit.end}"
        for name in ("also", "large")
    ]


async def test_a_shard_that_is_gone(checked, world, autojump_clock):
    key = await checked.shard_of("c")
    await world.memory.delete([key])
    report = await checked.check(repair=True)
    (fault,) = report.faults
    assert fault.startswith(f"{key} is missing")
    (note,) = report.notes
    assert note.startswith("/c (inode ")
    assert note.endswith(") cannot be read at bytes 0 to 21000")


async def test_a_shard_of_another_size(checked, world, autojump_clock):
    key = (await world.shards())[1]
    content = await world.memory.get(key)
    await world.memory.put(key, content[:-1])
    (fault,) = await checked.faults()
    assert fault == f"{key} has {len(content) - 1} bytes, the tree says {len(content)}"
    assert len(await checked.faults(data=True)) >= 2


async def test_content_beyond_the_size_of_a_file(checked, autojump_clock):
    await checked.commit(("UPDATE inode SET size = 10 WHERE ino = (SELECT ino FROM dentry WHERE name = x'63')",))
    (fault,) = await checked.faults()
    assert "of 10 bytes has content up to 21000" in fault


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ('UPDATE chunk SET "offset" = "offset" + 1', "the index of shards/"),
        ('UPDATE chunk SET "offset" = -5', "cannot be"),
        ("UPDATE chunk SET stored = stored + 1", "the index of shards/"),
        ("UPDATE chunk SET codec = 9", "codec 9"),
        ("UPDATE chunk SET size = 1 << 50", "cannot be"),
    ],
)
async def test_a_chunk_at_a_wrong_place(checked, sql, says, autojump_clock):
    await checked.commit((f"{sql} WHERE id = (SELECT chunk FROM extent LIMIT 1)",))
    report = await checked.check(data=True, repair=True)
    assert [fault for fault in report.faults if says in fault]
    assert len([note for note in report.notes if "cannot be read at bytes" in note]) == 1


async def test_objects_that_nothing_names_are_notes(checked, world, autojump_clock):
    shard = (await world.shards())[0]
    other = keys.shard(noise(checked.seed, 16), 20260101)
    await world.memory.put(other, await world.memory.get(shard))
    await world.memory.put("photos/cat.jpg", b"cat")
    await world.memory.put("journal/ffff", b"?")
    report = await checked.check(data=True)
    assert report.faults == []
    assert [note.split()[0] for note in report.notes] == ["journal/ffff", "photos/cat.jpg", other]
