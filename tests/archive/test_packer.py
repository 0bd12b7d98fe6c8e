"""Packing, by real processes, into a real store: what comes back, what is there already, and what goes wrong."""

import hashlib
import os
import random
import signal
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storefs.archive import packer as packer_module
from storefs.archive.intake import Intake
from storefs.archive.job import Packing
from storefs.archive.manifest import Failure, Item
from storefs.archive.packer import Packed, Packer
from storefs.archive.planner import Bounds
from storefs.archive.reader import ArchiveReader
from storefs.archive.routing import ShardName
from storefs.archive.sources import Sources
from storefs.archive.stores import Part, Stores
from storefs.archive.verify import verify
from storefs.errors import Corrupt, StorefsError, StoreUnavailable, UsageError
from storefs.model import Codec
from storefs.objects.directory import DirectoryObjects
from storefs.objects.memory import MemoryObjects
from storefs.ports import Offload
from storefs.shard.format import InlineEntry
from storefs.shard.reader import ShardFile
from tests.archive.archives import DAY, Counting, File, place, put, same_route
from tests.shard import golden


class Packs:
    """Packs files of the test into one archive."""

    def __init__(self, store: Counting, offload: Offload, folder: Path) -> None:
        self.store = store
        self.stores = Stores.single(store)
        self.offload = offload
        self.bucket = MemoryObjects()
        self.failures: list[Failure] = []
        self._folder = folder
        self._runs = 0

    def items(self, files: dict[str, bytes], created_at: datetime = DAY, first: int = 1) -> list[Item]:
        """Write files to the disk, and return the entries that name them."""
        folder = self._folder / f"sources-{created_at:%Y%m%d}-{first}"
        folder.mkdir(exist_ok=True)
        found = []
        for number, (uid, content) in enumerate(files.items(), start=first):
            path = folder / str(number)
            path.write_bytes(content)
            found.append(Item(number, uid, created_at, len(content), str(path)))
        return found

    async def pack(
        self, items: Sequence[Item | Failure], packing: Packing | None = None, bounds: Bounds | None = None,
        processes: int = 2,
    ) -> Packed:  # fmt: skip
        self._runs += 1
        folder = self._folder / f"scratch-{self._runs}"
        folder.mkdir()
        sources = Sources(lambda _: self.bucket, self.offload)
        intake = Intake(sources, self.stores.n_bits, folder, bounds or Bounds(), self.failures.append)
        await intake.read(items)
        work = Packer(
            self.stores, intake, self.offload, folder, packing or Packing(),
            processes=processes, progress=lambda *_: None,
        )  # fmt: skip
        done = await work.run()
        assert [path.name for path in folder.iterdir() if not path.name.startswith("run-")] == []
        return done

    async def contents(self) -> dict[tuple[str, str], bytes]:
        """Return all files of the archive, by day and uid, each of them proven."""
        assert (await verify(self.stores, self.offload, lambda *_: None)).proof.faults == []
        reader, found = ArchiveReader(self.stores, self.offload), {}
        async with aclosing(reader.contents()) as read:
            async for stat, content in read:
                day = datetime.strptime(stat.day, "%Y%m%d").replace(tzinfo=UTC)
                found[stat.day, stat.uid] = await reader.get(stat.uid, day) if content is None else content
        return found

    async def keys(self) -> list[str]:
        return [info.key for info in await self.store.list_after("")]


@pytest.fixture
def packs(store: Counting, offload: Offload, tmp_path: Path) -> Packs:
    return Packs(store, offload, tmp_path)


def made(seed: int, count: int = 60) -> dict[str, bytes]:
    dice = random.Random(seed)
    files = {f"file-{number}": dice.randbytes(dice.randrange(3000)) for number in range(count)}
    return files | {"text.txt": b"line\n" * 1000, "zażółć": b"", "photo.JPG": b"\0" * 5000, "12345": b"digits"}


async def test_what_is_packed_comes_back(packs: Packs, seed: int) -> None:
    files = made(seed)
    done = await packs.pack(packs.items(files))
    assert packs.failures == []
    assert (done.files, done.bytes) == (len(files), sum(map(len, files.values())))
    assert await packs.contents() == {("20240101", uid): content for uid, content in files.items()}
    assert sorted(shard.key for shard in done.shards) == await packs.keys()
    assert sum(shard.files for shard in done.shards) == len(files)


@pytest.mark.parametrize("codec", list(Codec))
async def test_compression_is_really_applied(packs: Packs, codec: Codec, tmp_path: Path) -> None:
    files = {"text.txt": b"line\n" * 1000, "photo.jpg": b"\0" * 5000, "noise": os.urandom(5000)}
    done = await packs.pack(packs.items(files), Packing(codec, 0 if codec is Codec.LZ4 else 3))
    codecs = {}
    for shard in done.shards:
        with ShardFile(tmp_path / "archive" / shard.key) as file:
            codecs |= {entry.name: entry.codec for entry in file.entries if isinstance(entry, InlineEntry)}
    assert codecs == {"text.txt": codec, "photo.jpg": Codec.NONE, "noise": Codec.NONE}
    assert (done.stored < 11_000) == (codec is not Codec.NONE)


async def test_the_golden_shard_is_packed_byte_for_byte(packs: Packs) -> None:
    items = packs.items({golden.GOLDEN_NAME: golden.GOLDEN_CONTENT})
    await packs.pack(items, Packing(Codec.NONE, digests=False))
    assert await packs.store.get(ShardName(place(golden.GOLDEN_NAME), 0).key) == golden.GOLDEN


async def test_the_same_again_adds_nothing(packs: Packs, seed: int) -> None:
    files = made(seed) | {"big": random.Random(seed).randbytes(50_000)}
    bounds = Bounds(big_file_bytes=20_000)
    await packs.pack(packs.items(files), bounds=bounds)
    before = await packs.keys()
    again = await packs.pack(packs.items(files), bounds=bounds)
    assert (again.files, again.present, again.shard_count) == (0, len(files), 0)
    assert await packs.keys() == before


async def test_what_others_packed_without_digests_is_known_by_its_content(packs: Packs, seed: int) -> None:
    files = made(seed)
    await packs.pack(packs.items(files), Packing(digests=False))
    again = await packs.pack(packs.items(files))
    assert (again.files, again.present) == (0, len(files))


async def test_another_run_takes_the_next_number_and_overwrites_nothing(packs: Packs, seed: int) -> None:
    one, two, three = same_route("uid", 3)
    await packs.pack(packs.items({one: b"old", two: b"stays"}))
    before = await packs.store.get(ShardName(place(one), 0).key)
    done = await packs.pack(packs.items({one: b"new", two: b"stays", three: b"more"}))
    assert (done.files, done.present) == (2, 1)
    assert [shard.key for shard in done.shards] == [ShardName(place(one), 1).key]
    assert await packs.store.get(ShardName(place(one), 0).key) == before
    expected = {one: b"new", two: b"stays", three: b"more"}
    assert await packs.contents() == {("20240101", uid): content for uid, content in expected.items()}


async def test_a_number_that_another_packer_took_meanwhile_is_left_to_it(packs: Packs, monkeypatch) -> None:
    """It puts its shard after this one has listed the route."""
    mine, others = same_route("uid", 2)
    inner = packs.store.put_if_absent

    async def raced(key: str, body: Path) -> str:
        monkeypatch.setattr(packs.store, "put_if_absent", inner)
        await put(packs.store, [File(others, b"theirs")])
        return await inner(key, body)

    monkeypatch.setattr(packs.store, "put_if_absent", raced)
    done = await packs.pack(packs.items({mine: b"mine"}))
    assert [shard.key for shard in done.shards] == [ShardName(place(mine), 1).key]
    assert await packs.contents() == {("20240101", mine): b"mine", ("20240101", others): b"theirs"}


async def test_long_routes_become_several_shards(packs: Packs, seed: int) -> None:
    uids = same_route("uid", 40)
    files = {uid: random.Random(f"{seed}/{uid}").randbytes(1000) for uid in uids}
    done = await packs.pack(packs.items(files), bounds=Bounds(shard_bytes=10_000), processes=3)
    assert sorted(shard.key for shard in done.shards) == [ShardName(place("uid"), number).key for number in range(4)]
    assert {shard.files for shard in done.shards} == {10}
    assert await packs.contents() == {("20240101", uid): content for uid, content in files.items()}


async def test_big_files_lie_beside_the_shard(packs: Packs, seed: int, tmp_path: Path) -> None:
    big = random.Random(seed).randbytes(9 << 20)
    items = packs.items({"big": big, "same": big, "small": b"small"})
    done = await packs.pack(items, bounds=Bounds(big_file_bytes=1 << 20))
    assert (done.files, done.big_files) == (3, 2)
    sha256 = hashlib.sha256(big).hexdigest()
    assert [key for key in await packs.keys() if not key.endswith(".des")] == [f"_bigFiles/{sha256}"]
    reader = ArchiveReader(packs.stores, packs.offload)
    assert await reader.get("big", DAY) == await reader.get("same", DAY) == big
    packs.store.take()
    assert await reader.get_range("big", DAY, 5 << 20, 10) == big[5 << 20 :][:10]
    assert [asked[2:] for asked in packs.store.take() if asked[1].startswith("_big")] == [(4 << 20, 4 << 20)]


async def test_a_big_file_is_there_before_the_shard_that_names_it(packs: Packs, monkeypatch) -> None:
    names = []
    inner = packs.store.put_if_absent

    async def noted(key: str, body: Path) -> str:
        names.append(key)
        return await inner(key, body)

    monkeypatch.setattr(packs.store, "put_if_absent", noted)
    await packs.pack(packs.items({"big": bytes(5000)}), bounds=Bounds(big_file_bytes=1000))
    assert [name.startswith("_bigFiles/") for name in names] == [True, False]


async def test_one_bad_entry_stops_nothing(packs: Packs, tmp_path: Path) -> None:
    good = packs.items({"good": b"good", "better": b"better"})
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "longer").write_bytes(b"123456")
    bad = [
        Item(11, "gone", DAY, 3, str(tmp_path / "gone")),
        Item(12, "gone-too", DAY, None, str(tmp_path / "gone")),
        Item(13, "folder", DAY, 3, str(tmp_path)),
        Item(14, "folder-too", DAY, None, str(tmp_path)),
        Item(15, "pipe", DAY, 0, str(tmp_path / "pipe")),
        Item(16, "longer", DAY, 3, str(tmp_path / "longer")),
        Item(17, "big", DAY, 1 << 30, str(tmp_path / "longer")),
        Item(18, "far", DAY, 3, "s3://bucket/none"),
        Item(19, "far-too", DAY, None, "s3://bucket/none"),
        Item(20, "nothing", DAY, 3, "s3://bucket"),
        Failure(21, "", "it has no uid"),
    ]
    done = await packs.pack([*bad[:5], *good, *bad[5:]])
    assert sorted(failure.number for failure in packs.failures) == list(range(11, 22))
    reasons = {failure.number: failure.reason for failure in packs.failures}
    assert reasons[11] == reasons[12] == "it cannot be read: No such file or directory"
    assert reasons[13] == reasons[14] == reasons[15] == "it is not a regular file"
    assert reasons[16] == "it has 6 bytes, 3 were stated"
    assert "6 bytes" in reasons[17]
    assert done.files == 2
    assert await packs.contents() == {("20240101", "good"): b"good", ("20240101", "better"): b"better"}


async def test_a_uid_that_is_named_twice(packs: Packs) -> None:
    same = packs.items({"uid": b"one", "big": bytes(3000)})
    again = packs.items({"uid": b"one", "big": bytes(3000)}, first=3)
    other = packs.items({"uid": b"two", "big": b"\1" * 3000}, first=5)
    longer = packs.items({"uid": b"longer", "big": bytes(4000)}, first=7)
    next_day = packs.items({"uid": b"next"}, DAY.replace(day=2), first=9)
    done = await packs.pack([*longer, *other, *again, *same, *next_day], bounds=Bounds(big_file_bytes=1000))
    assert (done.files, done.repeated) == (3, 2)
    assert sorted(failure.number for failure in packs.failures) == [5, 6, 7, 8]
    assert {failure.number: failure.reason for failure in packs.failures}[5] == (
        "entry 1 has the same uid and day, and other content"
    )
    assert await packs.contents() == {
        ("20240101", "uid"): b"one",
        ("20240101", "big"): bytes(3000),
        ("20240102", "uid"): b"next",
    }


async def test_sources_in_a_bucket(packs: Packs, seed: int) -> None:
    files = made(seed, 30) | {"big": random.Random(seed).randbytes(9 << 20), "block": bytes(4 << 20)}
    for uid, content in files.items():
        await packs.bucket.put(f"in/{uid}", content)
    items = [
        Item(number, uid, DAY, len(content) if number % 2 else None, f"s3://bucket/in/{uid}")
        for number, (uid, content) in enumerate(files.items(), start=1)
    ]
    await packs.bucket.put("in/short", b"1")
    items.append(Item(99, "short", DAY, 5000, "s3://bucket/in/short"))
    await packs.pack(items, bounds=Bounds(big_file_bytes=1 << 20))
    assert [(failure.number, failure.reason) for failure in packs.failures] == [
        (99, "it has 1 bytes, 5000 were stated")
    ]
    assert await packs.contents() == {("20240101", uid): content for uid, content in files.items()}


async def test_bad_sources_in_a_bucket(packs: Packs) -> None:
    for key, content in {"short": b"1", "long": bytes(3000)}.items():
        await packs.bucket.put(key, content)
    bad = [("short", 500), ("long", 3), ("short", 5000), ("short", 1 << 70), ("long", 2000), ("none", 1), ("a//b", 1)]
    items = [Item(number, f"uid-{number}", DAY, size, f"s3://bucket/{key}") for number, (key, size) in enumerate(bad)]
    await packs.pack([*items, *packs.items({"good": b"good"}, first=100)], bounds=Bounds(big_file_bytes=1000))
    reasons = [failure.reason for failure in sorted(packs.failures, key=lambda one: one.number)]
    assert reasons[:5] == [
        "it has 1 bytes, 500 were stated",
        "it has more than 3 bytes, 3 were stated",
        "it has 1 bytes, 5000 were stated",
        f"it has 1 bytes, {1 << 70} were stated",
        "it has 3000 bytes, 2000 were stated",
    ]
    assert ["none" in reasons[5], "'a//b' is no key" in reasons[6]] == [True, True]
    assert await packs.contents() == {("20240101", "good"): b"good"}


async def test_a_place_of_a_store_is_refused(packs: Packs) -> None:
    await packs.store.put("store.json", b"{}")
    with pytest.raises(UsageError, match="is a storefs store"):
        await packs.pack(packs.items({"uid": b"content"}))
    assert await packs.keys() == ["store.json"]


async def test_an_archive_of_other_bits_is_not_added_to(packs: Packs) -> None:
    uid = next(uid for uid in (f"uid-{n}" for n in range(1000)) if place(uid, n_bits=5).index >= 16)
    other = next(one for one in (f"o-{n}" for n in range(1000)) if place(one).hex == place(uid, n_bits=5).hex)
    await put(packs.store, [File(uid, b"content")], n_bits=5)
    with pytest.raises(Corrupt, match="8 bits"):
        await packs.pack(packs.items({other: b"content"}))


async def test_zones_are_packed_into(store: Counting, offload: Offload, tmp_path: Path, seed: int) -> None:
    other = Counting(DirectoryObjects(tmp_path / "other", offload))
    packs = Packs(store, offload, tmp_path)
    packs.stores = Stores((Part(range(100), store), Part(range(100, 256), other)), 8)
    files = made(seed)
    await packs.pack(packs.items(files))
    assert await packs.contents() == {("20240101", uid): content for uid, content in files.items()}
    for part in packs.stores.parts:
        for info in await part.store.list_after(""):
            assert int(info.key[9:11], 16) in part.routes


async def test_a_run_that_fails_is_completed_by_the_next(packs: Packs, monkeypatch, seed: int) -> None:
    files = made(seed)
    inner, puts = packs.store.put_if_absent, 0

    async def failing(key: str, body: Path) -> str:
        nonlocal puts
        puts += 1
        if puts > 10:
            raise StoreUnavailable("the store is away")
        return await inner(key, body)

    monkeypatch.setattr(packs.store, "put_if_absent", failing)
    with pytest.raises(StoreUnavailable):
        await packs.pack(packs.items(files))
    assert len(await packs.keys()) == 10
    monkeypatch.setattr(packs.store, "put_if_absent", inner)
    done = await packs.pack(packs.items(files))
    assert done.files + done.present == len(files)
    assert done.present >= 10
    assert await packs.contents() == {("20240101", uid): content for uid, content in files.items()}


async def test_a_worker_that_is_killed_is_an_error(packs: Packs, monkeypatch) -> None:
    inner = packer_module.workers

    def killed(count: int):
        class Doomed:
            async def __aenter__(self):
                self.all = inner(count)
                found = await self.all.__aenter__()
                for worker in found:
                    os.kill(worker._process.pid, signal.SIGKILL)
                    await worker._process.wait()
                return found

            async def __aexit__(self, *error):
                return await self.all.__aexit__(*error)

        return Doomed()

    monkeypatch.setattr(packer_module, "workers", killed)
    with pytest.raises(StorefsError, match="ended before its time"):
        await packs.pack(packs.items({"uid": b"content"}))
    assert await packs.keys() == []
