"""Verifying finds every damage and names it, and finds none where there is none."""

import random

import pytest

from storefs.archive.stores import Stores
from storefs.archive.verify import Verified, verify
from storefs.errors import StoreUnavailable, UsageError
from storefs.model import Codec
from storefs.objects.memory import MemoryObjects
from storefs.testing.faults import FaultyObjects
from tests.archive.archives import Counting, File, put, put_all, same_route

BIG = random.Random(7).randbytes(4500)


@pytest.fixture
def check(store, offload):
    async def checked(day: str | None = None) -> Verified:
        seen = []
        found = await verify(Stores.single(store), offload, lambda *step: seen.append(step), day)
        assert seen[0][1] == 0
        assert seen[-1][1] == seen[-1][2]
        return found

    return checked


async def test_a_good_archive_is_clean(store, check):
    files = [File(f"file {number}", b"%d" % number * 99, Codec(number % 3), number % 2 > 0) for number in range(60)]
    await put_all(store, [*files, File("big", BIG, block=1000), File("other", BIG, block=1000, proven=False)])
    await put(store, [File("file 1", b"newer")], 1)
    seen = await check()
    assert seen.proof.faults == []
    assert (seen.proof.files, seen.proof.big_files, seen.proof.unproven) == (63, 2, 31)
    assert seen.proof.bytes == sum(len(one.content) for one in files) + 2 * len(BIG) + 5
    assert (await check("20240102")).shards == 0
    assert (await check("20240101")) == seen
    with pytest.raises(UsageError, match="a day is YYYYMMDD"):
        await check("2024-01-01")


async def test_a_big_file_is_read_once(store, check):
    await put_all(store, [File(f"copy {number}", BIG, block=1000) for number in range(20)])
    store.take()
    assert (await check()).proof.big_files == 20
    assert len([one for one in store.take() if one[1].startswith("_bigFiles/") and one[0] == "get"]) == 5


async def test_each_damage_is_a_line_with_shard_and_uid(store, check):
    uids = same_route("a", 4)
    key = await put(store, [File(uid, b"content of " + uid.encode(), Codec.NONE) for uid in uids])
    broken = await put(store, [File("cut", b"x")])
    big = await put(store, [File("big", BIG, block=1000)])
    (beside,) = [info.key for info in await store.list_after("_bigFiles/")]
    body = bytearray(await store.get(key))
    body[8] ^= 1
    body[body.index(b"content of " + uids[2].encode())] ^= 1
    await store.put(key, bytes(body))
    await store.put(broken, (await store.get(broken))[:-1])
    await store.put(beside, BIG[:2500] + b"\0" + BIG[2501:])
    seen = await check()
    assert seen.proof.files == 2
    assert len(seen.proof.faults) == 4
    said = [f"{key}, entry {uids[0]} ", f"{key}, entry {uids[2]} ", f"{broken}: footer", f"{big}, entry big: block 2"]
    for fault, start in zip(seen.proof.faults, sorted(said), strict=True):
        assert fault.startswith(start)
    await store.put(beside, BIG + b"x")
    assert f"{big}, entry big: {beside} has 4501 bytes, 4500 expected" in (await check()).proof.faults
    await store.delete([beside])
    assert f"{big}, entry big: {beside} is not there" in (await check()).proof.faults


async def test_a_header_of_another_version_is_a_fault(store, check):
    key = await put(store, [File("a", b"x")])
    body = await store.get(key)
    for header, says in ((b"DES2\x01", "version"), (b"DES2\x03", "version 3"), (b"DESX\x02", "not a DES shard")):
        await store.put(key, header + body[5:])
        (fault,) = (await check()).proof.faults
        assert fault.startswith(key)
        assert says in fault or "index" in fault


async def test_a_shard_that_goes_meanwhile_is_no_fault(store, offload):
    class Going(Counting):
        async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
            await self.delete([key])
            return await super().get(key, start, length)

    await put(store, [File("a", b"x")])
    seen = await verify(Stores.single(Going(store)), offload, lambda *_: None)
    assert (seen.shards, seen.proof.faults) == (0, [])


async def test_a_store_that_is_away_is_no_verdict(seed, offload):
    faulty = FaultyObjects(MemoryObjects(), seed)
    await put(faulty, [File("a", b"x")])
    faulty.away = True
    with pytest.raises(StoreUnavailable):
        await verify(Stores.single(faulty), offload, lambda *_: None)
