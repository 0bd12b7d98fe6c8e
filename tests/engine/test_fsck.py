"""Checking a whole store: each kind of damage is planted and named, a clean store is clean, an index comes back."""

import random
import shutil
import sqlite3
from dataclasses import replace

import pytest
import trio

from storefs.core import commitheader, keys
from storefs.core.commitheader import CommitHeader
from storefs.engine import accounts, reindex
from storefs.engine.fsck import Fsck
from storefs.engine.journal import Journal
from storefs.engine.reindex import Reindex
from storefs.errors import NotAStore, StoreUnavailable
from storefs.shard import codec
from storefs.testing.world import (
    FOLDER_MODE,
    create,
    find,
    noise,
    put_file,
    read,
    tables,
    with_limits,
    write,
)
from storefs.tree import schema

pytestmark = pytest.mark.usefixtures("autojump_clock")

LIMITS = with_limits(snapshot_commits_unmount=3, idle_s=1)
WRITES = ("put", "put_if_absent", "put_if_match", "delete")


def quiet(_what, _done, _total):
    pass


class Checked:
    """A store with some files, and what can be done to it and asked of it."""

    def __init__(self, world, tmp_path, seed):
        self.world, self.tmp_path, self.seed = world, tmp_path, seed
        self.contents = {}
        self._folders = 0

    def folder(self):
        self._folders += 1
        folder = self.tmp_path / f"look-{self._folders}"
        folder.mkdir()
        return folder

    async def fill(self, disk="one", names="abcdef", limits=LIMITS):
        """Commit a file at a time, from one mount that ends cleanly."""
        async with self.world.engine_at(self.tmp_path / disk, limits) as volume:
            for number, name in enumerate(names):
                self.contents[name] = noise(f"{self.seed}/{name}", 3_000 + 9_000 * number)
                await put_file(volume, name, self.contents[name])
                await volume.files.fsync()
            await volume.engine.finish(60)

    async def check(self, *, reindex=None, **wishes):
        folder = self.folder()
        checking = Fsck(self.world.store, self.world.offload, folder, quiet, reindex=reindex, **wishes)
        try:
            return await checking.run()
        finally:
            shutil.rmtree(folder)

    def reindex(self):
        return Reindex(self.world.store, self.world.offload, self.world.clock, self.world.chance, "here")

    async def faults(self, **wishes):
        return (await self.check(**wishes)).faults

    async def accounts(self):
        return await accounts.take(self.world.store, self.world.offload, self.folder(), quiet)

    async def keys(self, prefix):
        return [info.key for info in await self.world.memory.list_after(prefix)]

    async def flip(self, key, at):
        """Change one bit of an object."""
        content = bytearray(await self.world.memory.get(key))
        content[at] ^= 1 << (self.seed % 8)
        await self.world.memory.put(key, bytes(content))

    async def tree(self):
        return await self.world.replica(self.folder() / "tree.sqlite")

    async def shard_of(self, name):
        """Return the key of the shard that has the beginning of a file."""
        tree = await self.tree()
        extent = tree.extents.all(tree.dentries.lookup(1, name.encode()).ino)[0]
        info = tree.chunks.shard(tree.chunks.place(extent.chunk).shard)
        tree.close()
        return keys.shard(info.shard, info.day)

    async def commit(self, *statements):
        """Put a commit that a mount would never make."""
        tree = await self.tree()
        at = tree.local.position
        with tree.pending.recorded():
            for sql, *bindings in statements:
                tree.database.run(sql, tuple(bindings))
        (changes,) = tree.pending.read(0, tree.pending.last)
        tree.close()
        body = codec.compress(changes)
        header = CommitHeader(
            schema.SCHEMA_VERSION, at.seq + 1, 77, bytes(16), noise(self.seed, 16), 1, 1, 0, schema.fingerprint(),
            at.nonce, commitheader.link(at.chain, changes), len(changes), len(body),
        )  # fmt: skip
        await self.world.memory.put_if_absent(keys.journal(header.seq), commitheader.pack(header, body))

    async def reads(self, disk):
        """Read everything through a new mount."""
        async with self.world.engine_at(self.tmp_path / disk, LIMITS, ro=True) as volume:
            for name, content in self.contents.items():
                assert await read(volume, find(volume, name)) == content


@pytest.fixture
async def checked(world, tmp_path, seed):
    found = Checked(world, tmp_path, seed)
    await found.fill()
    world.store.requests.clear()
    return found


def writes(world):
    return [one for one in world.store.requests if one.operation in WRITES]


# --- clean stores -----------------------------------------------------------------------------------------------------


async def test_a_clean_store_is_clean_and_only_read(checked, world):
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


async def test_without_data_no_shard_is_read(checked, world):
    assert await checked.faults() == []
    assert world.store.keys("get", keys.SHARDS) == []


async def test_a_store_without_commits_is_clean(world, tmp_path, seed):
    checked = Checked(world, tmp_path, seed)
    async with world.engine_at(tmp_path / "one"):
        pass
    assert await checked.faults(data=True) == []
    assert (await checked.accounts()).directories == 1


async def test_no_store_at_all(world, tmp_path, seed):
    checked = Checked(world, tmp_path, seed)
    with pytest.raises(NotAStore):
        await checked.check()
    with pytest.raises(NotAStore):
        await checked.accounts()


async def test_a_store_that_goes_away_is_no_fault_of_the_store(checked, world):
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


async def test_a_mount_that_writes_meanwhile_makes_no_faults(checked, world, tmp_path):
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
                await trio.sleep(0.001)

        nursery.start_soon(write_on)
        for _ in range(5):
            await trio.sleep(0.05)
            before = volume.engine.tree.local.position.seq
            reports.append(await checked.check(data=True))
            assert volume.engine.tree.local.position.seq > before, "it wrote meanwhile"
        nursery.cancel_scope.cancel()
    assert [report.faults for report in reports] == [[]] * 5
    assert len({report.counts["commit"] for report in reports}) > 1


# --- damage -----------------------------------------------------------------------------------------------------------


async def test_store_json_that_cannot_be_read(checked, world):
    await world.memory.put(keys.STORE_INFO, b"{")
    (fault,) = await checked.faults()
    assert fault.startswith("store.json: ")


async def test_any_byte_of_a_shard(checked, world, seed):
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


async def test_a_damaged_chunk_hits_files_that_are_named(checked, world, tmp_path, seed):
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


async def test_a_shard_that_is_gone(checked, world):
    key = await checked.shard_of("c")
    await world.memory.delete([key])
    report = await checked.check(repair=True)
    (fault,) = report.faults
    assert fault.startswith(f"{key} is missing")
    (note,) = report.notes
    assert note.startswith("/c (inode ")
    assert note.endswith(") cannot be read at bytes 0 to 21000")


async def test_a_shard_of_another_size(checked, world):
    key = (await world.shards())[1]
    content = await world.memory.get(key)
    await world.memory.put(key, content[:-1])
    (fault,) = await checked.faults()
    assert fault == f"{key} has {len(content) - 1} bytes, the tree says {len(content)}"
    assert len(await checked.faults(data=True)) >= 2


async def test_any_byte_of_a_commit(checked, world, seed):
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


async def test_behind_damage_it_goes_on_from_the_next_snapshot(checked, world):
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
async def test_a_gap_in_the_journal(checked, world, gone):
    await world.memory.delete([keys.journal(seq) for seq in gone])
    faults = await checked.faults()
    said = "commit 3 is" if len(gone) == 1 else "commits 3 to 4 are"
    assert faults == [f"{said} missing in the journal, which goes on with {gone[-1] + 1}"]


async def test_a_commit_that_goes_away_meanwhile(checked, world):
    async def lose(request):
        if request.operation == "get" and request.key == keys.journal(2):
            await world.memory.delete([request.key])

    world.store.before = lose
    (fault,) = await checked.faults()
    assert fault == f"{keys.journal(2)}: it went away while the journal was read"


@pytest.mark.parametrize("tree_is_known", [True, False])
async def test_a_commit_of_another_history(checked, world, tree_is_known):
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


async def test_a_journal_that_no_longer_reaches_back(checked, world):
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


async def test_a_journal_that_is_just_pruned(checked, world):
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


async def test_snapshots_with_names(checked, world, tmp_path):
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


async def test_a_shard_that_is_no_longer_needed_goes_meanwhile(checked, world):
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


async def test_a_damaged_snapshot(checked, world):
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


async def test_a_damaged_snapshot_that_the_journal_does_not_give_stays(checked, world):
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
async def test_a_wrong_snapshot(checked, world, tmp_path, sql, says):
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


async def test_content_beyond_the_size_of_a_file(checked):
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
async def test_a_chunk_at_a_wrong_place(checked, sql, says):
    await checked.commit((f"{sql} WHERE id = (SELECT chunk FROM extent LIMIT 1)",))
    report = await checked.check(data=True, repair=True)
    assert [fault for fault in report.faults if says in fault]
    assert len([note for note in report.notes if "cannot be read at bytes" in note]) == 1


async def test_objects_that_nothing_names_are_notes(checked, world):
    shard = (await world.shards())[0]
    other = keys.shard(noise(checked.seed, 16), 20260101)
    await world.memory.put(other, await world.memory.get(shard))
    await world.memory.put("photos/cat.jpg", b"cat")
    await world.memory.put("journal/ffff", b"?")
    report = await checked.check(data=True)
    assert report.faults == []
    assert [note.split()[0] for note in report.notes] == ["journal/ffff", "photos/cat.jpg", other]


# --- the index --------------------------------------------------------------------------------------------------------


async def test_dropped_rows_come_back(checked, world):
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


async def test_only_what_is_wrong_is_corrected(checked, world):
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


async def test_small_commits_do_too(checked, world, monkeypatch):
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
async def test_a_row_that_is_right_stays_when_the_index_of_its_shard_is_wrong(checked, world, at, says):
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


async def test_a_copy_elsewhere_replaces_a_lost_shard(checked, world):
    key = (await world.shards())[3]
    copy = keys.shard(noise(checked.seed, 16), 20260101)
    await world.memory.put(copy, await world.memory.get(key))
    await world.memory.delete([key])
    assert await checked.faults() != []
    report = await checked.check(data=True, reindex=checked.reindex())
    assert report.faults == []
    await checked.reads("after")


async def test_what_is_lost_stays_a_fault(checked, world, tmp_path):
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


async def test_a_mount_that_is_faster_is_followed(checked, world, tmp_path):
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


async def test_without_the_head_the_index_is_left_alone(checked, world):
    await world.memory.delete(await checked.keys(keys.SNAPSHOTS))
    await checked.flip((await world.journal())[-1], -1)
    report = await checked.check(reindex=checked.reindex())
    assert len(report.faults) == 2
    assert "not rebuilt" in report.faults[1]
    assert writes(world) == []


# --- df ---------------------------------------------------------------------------------------------------------------


async def test_accounts(world, tmp_path, seed):
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


async def test_nothing_is_dead_in_a_store_where_nothing_was_removed(checked, world):
    taken = await checked.accounts()
    assert taken.dead_bytes == 0
    assert taken.shards == len(await world.shards())
    assert taken.shard_bytes > taken.stored_bytes >= sum(map(len, checked.contents.values()))
    assert min(world.store.keys("get", keys.JOURNAL)) > keys.journal(1), "it began with the snapshot"
