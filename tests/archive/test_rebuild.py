"""A rebuild leaves one tidy shard where there were many, and never less than there was."""

import hashlib
import json
import random
from datetime import timedelta

import pytest
import trio

from storefs.archive.reader import ArchiveReader
from storefs.archive.rebuild import Rebuild, Rebuilt
from storefs.archive.routing import big_file_key
from storefs.archive.stores import Stores
from storefs.archive.unnamed import GRACE_S, unnamed
from storefs.archive.verify import verify
from storefs.errors import StoreUnavailable
from storefs.model import Codec
from storefs.objects.memory import MemoryObjects
from storefs.shard.index import parse_footer, parse_index
from storefs.testing.faults import FaultyObjects
from tests.archive.archives import DAY, Counting, File, place, put, put_all, same_route
from tests.shard import golden

BIG = random.Random(7).randbytes(4500)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def quiet(*_: object) -> None:
    return


@pytest.fixture
def rebuild(store, offload, tmp_path):
    (tmp_path / "scratch").mkdir()

    async def rebuilt(where=store, **options) -> Rebuilt:
        done = await Rebuild(Stores.single(where), offload, tmp_path / "scratch", **options).run(quiet)
        assert list((tmp_path / "scratch").iterdir()) == []
        return done

    return rebuilt


async def keys(store) -> list[str]:
    return [info.key for info in await store.list_after("")]


async def contents(store, offload) -> dict[str, bytes | None]:
    return {one.uid: content async for one, content in ArchiveReader(store, offload).contents()}


async def entries(store, key: str) -> list:
    body = await store.get(key)
    index_size = parse_footer(body[-12:], len(body))
    return list(parse_index(body[-12 - index_size : -12], body[4], len(body)))


async def test_several_shards_become_one(store, offload, rebuild):
    uids = same_route("a", 5)
    await put(store, [File(uids[0], b"old"), File(uids[1], b"1" * 1000)], 3)
    await put(store, [File(uids[0], b"twice"), File(uids[0], b"new"), File(uids[2], b"2", Codec.LZ4)], 4)
    await put(store, [File(uids[3], b"", Codec.NONE), File(uids[4], BIG, block=1000)], 9)
    other = await put(store, [File("b", b"alone")])
    before = await contents(store, offload)
    reader = ArchiveReader(store, offload)
    assert await reader.get(uids[0], DAY) == b"new"
    done = await rebuild()
    assert (done.routes, done.rewritten, done.files, done.fresh, done.deleted, done.superseded) == (2, 1, 5, 1, 3, 2)
    assert done.faults == done.notes == []
    assert await keys(store) == sorted([f"{place('a').prefix}0010.des", other, big_file_key(sha256(BIG))])
    assert await contents(store, offload) == before
    assert await reader.get(uids[0], DAY) == b"new", "a reader that knew the old shards"
    assert (await verify(Stores.single(store), offload, quiet)).proof.unproven == 0
    assert (await rebuild()).rewritten == 0, "nothing is left to do"


async def test_digests_are_given_and_meta_stays(store, offload, rebuild):
    uids = same_route("a", 3)
    meta = {"kind": "photo", "ł": [1, None]}
    key = await put(
        store,
        [
            File(uids[0], b"1" * 500, Codec.ZSTD, proven=False, meta=meta),
            File(uids[1], b"2", Codec.NONE, proven=False),
            File(uids[2], BIG, block=1000, proven=False, meta=meta),
        ],
        sealed=False,
    )
    done = await rebuild()
    assert (done.rewritten, done.unproven, done.superseded) == (1, 3, 0)
    assert key not in await keys(store)
    first, _, big = await entries(store, f"{place('a').prefix}0001.des")
    assert json.loads(first.meta)["kind"] == json.loads(big.meta)["kind"] == "photo"
    reader = ArchiveReader(store, offload)
    for uid in uids:
        assert (await reader.stat(uid, DAY)).proven
    assert await reader.get(uids[2], DAY) == BIG
    assert (await rebuild()).rewritten == 0


async def test_the_old_version_becomes_the_new_one(store, offload, rebuild):
    uid = "one"
    old = golden.old_inline(uid.encode(), 8, len(golden.GOLDEN_CONTENT), 0, len(golden.GOLDEN_CONTENT))
    key = f"{place(uid).prefix}0000.des"
    await store.put(key, golden.shard(golden.GOLDEN_CONTENT, golden.index(old), version=1))
    assert (await rebuild()).rewritten == 1
    assert (await store.get(f"{place(uid).prefix}0001.des"))[4] == 2
    assert await contents(store, offload) == {uid: golden.GOLDEN_CONTENT}


async def test_a_dry_run_changes_nothing(store, rebuild):
    uids = same_route("a", 2)
    for number, uid in enumerate(uids):
        await put(store, [File(uid, b"x")], number)
    before = await keys(store)
    done = await rebuild(dry_run=True)
    assert (done.rewritten, done.files, done.fresh, done.deleted) == (1, 2, 0, 0)
    assert await keys(store) == before


async def test_old_shards_may_stay(store, offload, rebuild):
    uids = same_route("a", 2)
    old = [await put(store, [File(uid, uid.encode())], number) for number, uid in enumerate(uids)]
    done = await rebuild(keep_old=True)
    assert (done.fresh, done.deleted) == (1, 0)
    assert await keys(store) == [*old, f"{place('a').prefix}0002.des"]
    assert await contents(store, offload) == {uid: uid.encode() for uid in uids}


async def test_shards_have_a_longest_length_and_full_ones_are_left(store, offload, rebuild):
    uids = [str(256 * number) for number in range(40)]
    files = [File(uid, random.Random(uid).randbytes(1000)) for uid in uids]
    for number, one in enumerate(files):
        await put(store, [one], number)
    done = await rebuild(shard_bytes=10_000)
    assert (done.rewritten, done.deleted) == (1, 40)
    assert 5 <= done.fresh <= 6
    assert await contents(store, offload) == {one.uid: one.content for one in files}
    assert (await rebuild(shard_bytes=10_000)).rewritten == 0
    assert (await rebuild()).rewritten == 1


@pytest.mark.parametrize("damage", ["payload", "index", "big file", "no big file"])
async def test_a_damaged_route_is_left_alone(store, rebuild, damage):
    uids = same_route("a", 3)
    key = await put(store, [File(uids[0], b"the content", Codec.NONE)])
    await put(store, [File(uids[1], b"x"), File(uids[2], BIG, block=1000)], 1)
    good = same_route("b", 2)
    for number, uid in enumerate(good):
        await put(store, [File(uid, b"x")], number)
    body = bytearray(await store.get(key))
    body[9 if damage == "payload" else -20] ^= 1
    if damage in ("payload", "index"):
        await store.put(key, bytes(body))
    else:
        beside = big_file_key(sha256(BIG))
        await (store.put(beside, b"x" + BIG[1:]) if damage == "big file" else store.delete([beside]))
    before = {name: await store.get(name) for name in await keys(store) if name.startswith(place("a").prefix)}
    done = await rebuild()
    assert done.rewritten == 1, "the other route"
    assert len(done.faults) == 1
    assert done.faults[0].startswith(f"{place('a').prefix}* is left as it is: ")
    assert {name: await store.get(name) for name in await keys(store) if name.startswith(place("a").prefix)} == before


async def test_who_packs_meanwhile_is_not_lost(store, offload, rebuild):
    uids = same_route("a", 3)

    class Busy(Counting):
        async def put_if_absent(self, key: str, body) -> str:
            await put(store, [File(uids[0], b"newest")], 2)
            return await super().put_if_absent(key, body)

    for number, uid in enumerate(uids[:2]):
        await put(store, [File(uid, b"x")], number)
    done = await rebuild(Busy(store))
    assert (done.rewritten, done.deleted, done.faults) == (0, 0, [])
    assert "packed into it meanwhile" in done.notes[0]
    assert await contents(store, offload) == {uids[0]: b"newest", uids[1]: b"x"}
    assert (await rebuild()).rewritten == 1
    assert await contents(store, offload) == {uids[0]: b"newest", uids[1]: b"x"}


@pytest.mark.parametrize("spoil", ["fresh shard", "second shard", "cancelled"])
async def test_what_fails_half_way_leaves_the_old_shards_alone(store, offload, rebuild, spoil):
    uids = [str(256 * number) for number in range(10)]
    files = [File(uid, random.Random(uid).randbytes(1000)) for uid in uids]
    for number, one in enumerate(files):
        await put(store, [one], number)
    scope = trio.CancelScope()

    class Spoiling(Counting):
        puts = 0

        async def put_if_absent(self, key: str, body) -> str:
            self.puts += 1
            if spoil == "second shard" and self.puts == 2:
                raise StoreUnavailable("away")
            tag = await super().put_if_absent(key, body)
            if spoil == "fresh shard" and self.puts == 1:
                data = bytearray(await store.get(key))
                data[100] ^= 1
                await store.put(key, bytes(data))
            if spoil == "cancelled" and self.puts == 2:
                scope.cancel()
                await trio.lowlevel.checkpoint()
            return tag

    before = await keys(store)
    spoiling = Spoiling(store)
    with scope:
        if spoil == "second shard":
            with pytest.raises(StoreUnavailable):
                await rebuild(spoiling, shard_bytes=5000)
        else:
            done = await rebuild(spoiling, shard_bytes=5000)
            assert "does not match its digest" in done.faults[0]
    assert set(await keys(store)) - set(before) <= {f"{place('0').prefix}0011.des"}
    assert set(before) <= set(await keys(store))
    assert await contents(store, offload) == {one.uid: one.content for one in files}


async def test_a_store_with_hiccups_loses_nothing(seed, offload, rebuild):
    inner = MemoryObjects()
    uids = same_route("a", 3)
    for number, uid in enumerate(uids):
        await put(inner, [File(uid, uid.encode())], number)
    faulty = FaultyObjects(inner, seed)
    for _ in range(40):
        faulty.faults = type(faulty.faults)(before=0.1, lost=0.1)
        try:
            await rebuild(faulty)
        except StoreUnavailable:
            assert await contents(inner, offload) == {uid: uid.encode() for uid in uids}
    assert await contents(inner, offload) == {uid: uid.encode() for uid in uids}


# --- big files without a name -----------------------------------------------------------------------------------------


async def test_big_files_without_a_name_are_found_and_deleted(store, offload, rebuild):
    stores = Stores.single(store)
    await put(store, [File("big", BIG, block=1000)])
    await put(store, [File("big", BIG[1:], block=1000)], 1)
    await put_all(store, [File("another", BIG[2:], block=1000)], DAY + timedelta(days=1))
    now_s = (await store.head(big_file_key(sha256(BIG)))).modified_s
    later_s = now_s + GRACE_S + 3600
    assert (await unnamed(stores, offload, later_s, quiet, prune=True)).keys == []
    await rebuild()
    assert (await unnamed(stores, offload, now_s + 3600, quiet, prune=True)).keys == [], "too young"
    found = await unnamed(stores, offload, later_s, quiet, prune=False)
    assert (found.keys, found.bytes) == ([big_file_key(sha256(BIG))], len(BIG))
    assert await unnamed(stores, offload, later_s, quiet, prune=True) == found
    assert sorted(key for key in await keys(store) if key.startswith("_bigFiles/")) == sorted(
        big_file_key(sha256(content)) for content in (BIG[1:], BIG[2:])
    )


async def test_nothing_is_deleted_while_a_shard_cannot_be_read(store, offload):
    stores = Stores.single(store)
    key = await put(store, [File("big", BIG, block=1000)])
    await store.put(key, (await store.get(key))[:-1])
    later_s = (await store.head(key)).modified_s + GRACE_S + 3600
    found = await unnamed(stores, offload, later_s, quiet, prune=True)
    assert found.keys == []
    assert key in found.faults[0]
    assert big_file_key(sha256(BIG)) in await keys(store)
