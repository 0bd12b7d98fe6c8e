"""The view of an archive, mounted by a real engine: its tree, its files, and what happens to them."""

from pathlib import Path

import pytest

from storefs.archive.reader import ArchiveReader
from storefs.archive.view import ArchiveView
from storefs.core import keys
from storefs.engine.limits import Limits
from storefs.errors import Corrupt, NotAStore, PosixError, ReadOnly
from storefs.model import Codec
from storefs.ports import Offload
from storefs.testing.world import World, find, listing, noise, put_file, read, with_limits
from storefs.volume.volume import Volume
from tests.archive.archives import DAY, Counting, File, put, put_all, same_route

OWNER = (1234, 5678)


@pytest.fixture
def world(seed: int) -> World:
    return World(seed)


@pytest.fixture
def view(store: Counting, offload: Offload, tmp_path: Path) -> ArchiveView:
    return fresh_view(store, offload, tmp_path)


def fresh_view(store: Counting, offload: Offload, folder: Path) -> ArchiveView:
    return ArchiveView(ArchiveReader(store, offload), offload, folder, OWNER)


async def content(volume: Volume, day: str, name: str) -> bytes:
    return await read(volume, find(volume, name, find(volume, day)))


async def test_all_files_are_there_by_day(world, view, store, seed, tmp_path):
    files = [
        File("raw", noise(seed, 5000), Codec.NONE),
        File("packed", b"text " * 2000),
        File("frames", b"lines " * 2000, Codec.LZ4),
        File("empty", b""),
        File("a/b", b"slash"),
        File("big", noise(seed, 10_000), block=4096),
    ]
    later = [File("raw", b"another day")]
    await put_all(store, files)
    await put_all(store, later, DAY.replace(day=2))
    async with world.engine_at(tmp_path / "disk", ro=True, store=view) as volume:
        assert listing(volume) == ["20240101", "20240102"]
        assert listing(volume, find(volume, "20240101")) == sorted(one.uid.replace("/", "%2F") for one in files)
        for one in files:
            assert await content(volume, "20240101", one.uid.replace("/", "%2F")) == one.content
        assert await content(volume, "20240102", "raw") == b"another day"
        inode = volume.names.lookup(find(volume, "20240101"), b"packed")
        assert inode is not None
        assert (inode.mode & 0o777, inode.uid, inode.gid, inode.size) == (0o444, *OWNER, 10_000)
        assert inode.mtime_ns == int(DAY.replace(hour=0).timestamp()) * 10**9


async def test_files_without_digests_are_shown_too(world, view, store, seed, tmp_path):
    limits = with_limits(alone_bytes=64 << 10)
    files = [
        File("raw", noise(seed, 5000), Codec.NONE, proven=False),
        File("long", noise(seed, 9 << 20), Codec.NONE, proven=False),
        File("packed", b"text " * 2000, proven=False),
        File("big", noise(seed, 100_000), proven=False, block=4096),
    ]
    for one in files:
        await put(store, [one], sealed=False)
    async with world.engine_at(tmp_path / "disk", limits, ro=True, store=view) as volume:
        for one in files:
            assert await content(volume, "20240101", one.uid) == one.content
        store.take()
        for one in files:  # from the disk now, whichever way it was kept there
            assert await content(volume, "20240101", one.uid) == one.content
        assert store.take() == []


async def test_the_newer_version_counts_and_is_shown_once(world, view, store, tmp_path):
    one, two = same_route("uid", 2)
    await put(store, [File(one, b"old"), File(two, b"other")])
    await put(store, [File(one, b"new")], number=1)
    async with world.engine_at(tmp_path / "disk", ro=True, store=view) as volume:
        assert listing(volume, find(volume, "20240101")) == sorted([one, two])
        assert await content(volume, "20240101", one) == b"new"


async def test_same_content_under_two_names(world, view, store, tmp_path):
    await put_all(store, [File("one", b"same"), File("two", b"same")])
    async with world.engine_at(tmp_path / "disk", ro=True, store=view) as volume:
        assert await content(volume, "20240101", "one") == await content(volume, "20240101", "two") == b"same"


async def test_small_files_arrive_by_the_shard(world, view, store, seed, tmp_path):
    uids = same_route("file", 60)
    files = [File(uid, noise(f"{seed}/{uid}", 2000)) for uid in uids]
    key = await put(store, files)
    async with world.engine_at(tmp_path / "disk", Limits(), ro=True, store=view) as volume:
        store.take()
        for one in files:
            assert await content(volume, "20240101", one.uid) == one.content
        asked = store.take()
        assert {ask[:2] for ask in asked} == {("get", key)}
        assert len(asked) <= 5


async def test_a_small_shard_comes_once(world, view, store, seed, tmp_path):
    uids = same_route("file", 10)
    key = await put(store, [File(uid, noise(f"{seed}/{uid}", 1000)) for uid in uids])
    async with world.engine_at(tmp_path / "disk", Limits(), ro=True, store=view) as volume:
        store.take()
        for uid in uids:
            assert await content(volume, "20240101", uid) == noise(f"{seed}/{uid}", 1000)
        assert [ask[:2] for ask in store.take()] == [("get", key)]


async def test_a_flipped_bit_is_an_error_and_its_neighbours_are_not(world, view, store, seed, tmp_path):
    bad, good = same_route("file", 2)
    files = [File(bad, noise(seed, 3000), Codec.NONE), File(good, noise(seed + 1, 3000), Codec.NONE)]
    path = tmp_path / "archive" / await put(store, files)
    data = bytearray(path.read_bytes())
    data[100] ^= 4
    path.write_bytes(data)
    async with world.engine_at(tmp_path / "disk", ro=True, store=view) as volume:
        with pytest.raises(Corrupt, match="does not match its digest"):
            await content(volume, "20240101", bad)
        assert await content(volume, "20240101", good) == files[1].content


async def test_a_big_file_that_is_gone_is_an_error_and_not_a_missing_name(world, view, store, seed, tmp_path):
    await put(store, [File("big", noise(seed, 10_000), block=4096)])
    (beside,) = [info.key for info in await store.list_after("_bigFiles/")]
    await store.delete([beside])
    async with world.engine_at(tmp_path / "disk", ro=True, store=view) as volume:
        with pytest.raises(Corrupt):
            await content(volume, "20240101", "big")


async def test_nothing_is_written(world, view, store, tmp_path):
    await put(store, [File("uid", b"content")])
    before = [info.key for info in await store.list_after("")]
    async with world.engine_at(tmp_path / "disk", ro=True, store=view) as volume:
        with pytest.raises((ReadOnly, PosixError)):
            await put_file(volume, "new", b"x")
    with pytest.raises(ReadOnly):
        await view.put("key", b"")
    assert [info.key for info in await store.list_after("")] == before


async def test_what_is_cached_stays_of_use_and_new_shards_are_seen(world, view, store, offload, seed, tmp_path):
    one, two = same_route("uid", 2)
    first = File(one, noise(seed, 5000))
    await put(store, [first])
    disk = tmp_path / "disk"
    async with world.engine_at(disk, ro=True, store=view) as volume:
        assert await content(volume, "20240101", one) == first.content
        replica = volume.engine.home.tree
    again = fresh_view(store, offload, tmp_path)
    await again.drop_outdated(replica)
    assert replica.exists()
    store.take()
    async with world.engine_at(disk, ro=True, store=again) as volume:
        assert await content(volume, "20240101", one) == first.content
    assert [ask for ask in store.take() if ask[0] == "get"] == []  # neither indexes nor payloads

    await put(store, [File(two, b"later")], number=1)
    later = fresh_view(store, offload, tmp_path)
    await later.drop_outdated(replica)
    store.take()
    async with world.engine_at(disk, ro=True, store=later) as volume:
        store.take()  # the indexes
        assert await content(volume, "20240101", one) == first.content
        assert store.take() == []
        assert await content(volume, "20240101", two) == b"later"


async def test_an_empty_place_is_no_archive(view):
    with pytest.raises(NotAStore, match="holds no shards"):
        await view.get(keys.STORE_INFO)


async def test_a_damaged_index_is_named(view, store, tmp_path):
    key = await put(store, [File("uid", b"content")])
    path = tmp_path / "archive" / key
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=key):
        await view.head(keys.snapshot(1))


async def test_the_snapshot_goes_with_the_view(view, store, tmp_path):
    await put(store, [File("uid", b"content")])
    await view.head(keys.snapshot(1))
    assert list(tmp_path.glob("*.zst"))
    await view.close()
    assert not list(tmp_path.glob("*.zst"))
