"""Files come back by uid and day, at the cost that was promised, and what is missing is told from what is damaged."""

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
import trio
import trio.testing

from storefs.archive.reader import ArchiveReader
from storefs.errors import Corrupt, ObjectMissing, StoreUnavailable, UsageError
from storefs.model import Codec
from storefs.objects.memory import MemoryObjects
from storefs.shard.format import pack_index
from storefs.shard.index import parse_footer, parse_index
from storefs.testing.faults import FaultyObjects
from tests.archive.archives import DAY, File, place, put, put_all, same_route
from tests.shard import golden

LONG = 600 << 10
"""Longer than what the first request for a shard brings."""

KINDS = ["get", "get"]


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def kinds(asked: list[tuple]) -> list[str]:
    return [one[0] for one in asked]


async def gathered(reader: ArchiveReader, requests) -> dict:
    async with reader.get_many(requests) as outcomes:
        return {
            (one.uid, one.created_at): one.content if one.error is None else type(one.error) async for one in outcomes
        }


# --- one file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("proven", [True, False])
async def test_what_was_packed_comes_back(store, reader, seed, codec, proven):
    files = [
        File("12345", b"text " * 1000, codec, proven),
        File("a name.txt", noise(seed, 1000), codec, proven),
        File("zażółć/日本語/😀", b"", codec, proven),
        File("x" * 5000, b"1", codec, proven),
        File("00", noise(seed, LONG), codec, proven),
    ]
    await put_all(store, files)
    for one in files:
        assert await reader.get(one.uid, DAY) == one.content
        assert await reader.exists(one.uid, DAY)
        stat = await reader.stat(one.uid, DAY)
        assert (stat.uid, stat.size, stat.day, stat.proven) == (one.uid, len(one.content), "20240101", proven)
        assert stat.shard.startswith(place(one.uid).prefix)
        for start, length in [(0, 3), (2, None), (7, 0), (len(one.content), 4), (10**12, None), (1, 10**12)]:
            end = None if length is None else start + length
            assert await reader.get_range(one.uid, DAY, start, length) == one.content[start:end]


async def test_the_day_is_that_of_utc(store, reader):
    await put(store, [File("a", b"1")])
    evening = datetime(2023, 12, 31, 20, tzinfo=timezone(timedelta(hours=-5)))
    assert await reader.get("a", evening) == b"1"
    assert await reader.get("a", datetime(2024, 1, 1)) == b"1"  # noqa: DTZ001 - without a zone it is UTC
    with pytest.raises(ObjectMissing, match="no file a of 20240102"):
        await reader.get("a", datetime(2024, 1, 2, tzinfo=UTC))


async def test_a_cold_read_costs_a_listing_and_three_ranges_and_a_warm_one_a_range(store, reader, seed):
    uids = [str(256 * number) for number in range(1500)]
    files = [File(uid, noise(seed + at, 400)) for at, uid in enumerate(uids)]
    key = await put(store, files)
    assert await reader.get(uids[0], DAY) == files[0].content
    asked = store.take()
    assert kinds(asked) == ["list", "get", "get", "get"]
    assert asked[-1][2:] == (8, 400)
    assert {one[1] for one in asked[1:]} == {key}
    for one in files[1:20]:
        assert await reader.get(one.uid, DAY) == one.content
        assert kinds(store.take()) == ["get"]
    calls = reader.metrics.snapshot()["des_s3_range_calls"]["archive"]
    assert calls == {"footer": 1.0, "index": 1.0, "payload": 20.0}


async def test_a_small_shard_comes_with_its_index(store, reader):
    await put(store, [File("a", b"1"), File(same_route("a", 2)[1], b"2")])
    assert await reader.get("a", DAY) == b"1"
    assert kinds(store.take()) == ["list", "get"]
    assert await reader.get("a", DAY) == b"1"
    assert kinds(store.take()) == ["get"]


async def test_the_highest_number_counts(store, reader):
    uids = same_route("a", 3)
    await put(store, [File(uids[0], b"old"), File(uids[1], b"only here")], 9)
    await put(store, [File(uids[0], b"new"), File(uids[2], b"only there"), File(uids[2], b"the last counts")], 10_000)
    assert await reader.get(uids[0], DAY) == b"new"
    assert await reader.get(uids[1], DAY) == b"only here"
    assert await reader.get(uids[2], DAY) == b"the last counts"


async def test_a_missing_file_is_named_and_nothing_else_is_missing(store, reader, seed, offload):
    await put(store, [File("a", b"1")])
    for uid in ("b", same_route("a", 2)[1]):
        with pytest.raises(ObjectMissing, match=f"no file {uid} of 20240101"):
            await reader.get(uid, DAY)
        assert not await reader.exists(uid, DAY)
    with pytest.raises(UsageError, match="must not be empty"):
        await reader.get("", DAY)
    with pytest.raises(UsageError, match="a range starts"):
        await reader.get_range("a", DAY, -1)
    faulty = FaultyObjects(MemoryObjects(), seed)
    faulty.away = True
    with pytest.raises(StoreUnavailable):
        await ArchiveReader(faulty, offload).exists("a", DAY)


# --- what changes meanwhile -------------------------------------------------------------------------------------------


async def test_a_listing_is_remembered_for_a_while(store, offload, autojump_clock):
    reader = ArchiveReader(store, offload, listing_ttl_s=60)
    uids = same_route("a", 2)
    await put(store, [File(uids[0], b"old")])
    assert await reader.get(uids[0], DAY) == b"old"
    await put(store, [File(uids[0], b"new")], 1)
    await trio.sleep(59)
    assert await reader.get(uids[0], DAY) == b"old"
    await trio.sleep(2)
    assert await reader.get(uids[0], DAY) == b"new"
    store.take()
    assert await reader.get(uids[0], DAY) == b"new"
    assert kinds(store.take()) == ["get"]


async def test_what_a_listing_does_not_know_is_asked_for(store, reader):
    uids = same_route("a", 2)
    await put(store, [File(uids[0], b"1")])
    assert not await reader.exists(uids[1], DAY)
    assert kinds(store.take()) == ["list", "get"], "a listing of just now is not asked for again"
    await put(store, [File(uids[1], b"2")], 1)
    assert await reader.get(uids[1], DAY) == b"2"
    assert kinds(store.take()) == ["list", "get"]


@pytest.mark.parametrize("warm", [True, False])
async def test_a_rebuild_does_not_disturb(store, reader, warm):
    uids = same_route("a", 3)
    old = [await put(store, [File(uid, uid.encode())], number) for number, uid in enumerate(uids)]
    if warm:
        for uid in uids:
            await reader.get(uid, DAY)
    else:
        await reader.exists(uids[2], DAY)
    await put(store, [File(uid, uid.encode()) for uid in uids], 3)
    await store.delete(old)
    for uid in uids:
        assert await reader.get(uid, DAY) == uid.encode()
    assert await gathered(reader, [(uid, DAY) for uid in uids]) == {(uid, DAY): uid.encode() for uid in uids}


async def test_many_are_not_disturbed_either(store, reader):
    uids = same_route("a", 3)
    old = [await put(store, [File(uid, uid.encode())], number) for number, uid in enumerate(uids)]
    wanted = {(uid, DAY): uid.encode() for uid in uids}
    assert await gathered(reader, wanted) == wanted
    await put(store, [File(uid, uid.encode()) for uid in uids], 3)
    await store.delete(old)
    assert await gathered(reader, wanted) == wanted


async def test_another_shard_of_the_same_key_is_noticed(store, reader):
    uids = same_route("a", 2)
    await put(store, [File(uids[0], b"1" * 100)])
    assert await reader.get(uids[0], DAY) == b"1" * 100
    await put(store, [File(uids[1], b"2" * 50), File(uids[0], b"3" * 10)])
    assert await reader.get(uids[0], DAY) == b"3" * 10


async def test_an_index_is_fetched_once_for_all_who_wait(store, reader):
    await put(store, [File("a", b"1" * 100_000, Codec.NONE)])
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(reader.get, "a", DAY)
    asked = store.take()
    assert kinds(asked).count("list") == 1
    assert sum(one[2] > 8 for one in asked if one[0] == "get") == 1


async def test_the_memory_of_indexes_is_bounded(store, offload):
    reader = ArchiveReader(store, offload, index_bytes=1000)
    uids = [str(number) for number in range(30)]
    await put_all(store, [File(uid, uid.encode()) for uid in uids])
    for uid in uids:
        assert await reader.get(uid, DAY) == uid.encode()
        assert 0 < reader.index_bytes <= 1000
    store.take()
    await reader.get(uids[-1], DAY)
    assert kinds(store.take()) == ["get"]
    await reader.get(uids[0], DAY)
    assert kinds(store.take()) == ["get"], "index and payload of a small shard: one request"
    small = ArchiveReader(store, offload, index_bytes=10)
    assert await small.get("0", DAY) == b"0"
    assert small.index_bytes == 0


# --- big files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def big(seed) -> bytes:
    return noise(seed, 10_500)


async def test_a_big_file_is_read_and_proven_by_blocks(store, reader, big):
    await put(store, [File("big", big, block=1000)])
    assert await reader.get("big", DAY) == big
    store.take()
    for start, length, blocks in [(0, 1, 1), (999, 2, 2), (1000, 1000, 1), (10_400, 500, 1), (10_500, 1, 0), (3, 0, 0)]:
        assert await reader.get_range("big", DAY, start, length) == big[start : start + length]
        assert kinds(store.take()) == ["get"] * blocks
    stat = await reader.stat("big", DAY)
    assert (stat.size, stat.codec, stat.proven) == (10_500, None, True)
    pieces = []

    async def write(piece: bytes) -> None:
        pieces.append(piece)

    assert await reader.copy_to("big", DAY, write) == 10_500
    assert b"".join(pieces) == big
    assert max(map(len, pieces)) == 1000


async def test_a_damaged_block_is_named_and_the_others_are_good(store, reader, big):
    await put(store, [File("big", big, block=1000)])
    key = f"_bigFiles/{(await reader.stat('big', DAY)).sha256}"
    await store.put(key, big[:5500] + bytes([big[5500] ^ 1]) + big[5501:])
    written = bytearray()

    async def write(piece: bytes) -> None:
        written.extend(piece)

    for work in (reader.get("big", DAY), reader.get_range("big", DAY, 5000, 1), reader.copy_to("big", DAY, write)):
        with pytest.raises(Corrupt, match=r"20240101_.*\.des, entry big: block 5 of"):
            await work
    assert big[:5000].startswith(written), "nothing that is wrong is passed on"
    assert await reader.get_range("big", DAY, 6000, 100) == big[6000:6100]
    await store.put(key, big[:9000])
    with pytest.raises(Corrupt, match="0 bytes came"):
        await reader.get_range("big", DAY, 9000, 100)
    await store.delete([key])
    for work in (reader.get("big", DAY), reader.get_range("big", DAY, 0, 10)):
        with pytest.raises(Corrupt, match=rf"entry big: {key} is not there"):
            await work
    assert await reader.exists("big", DAY)


async def test_a_big_file_without_digests_is_proven_as_a_whole(store, reader, big):
    await put(store, [File("big", big, block=1000, proven=False)])
    assert await reader.get("big", DAY) == big
    stat = await reader.stat("big", DAY)
    assert not stat.proven
    await store.put(f"_bigFiles/{stat.sha256}", big[:-1] + bytes([big[-1] ^ 1]))
    with pytest.raises(Corrupt, match=r"entry big: the content of _bigFiles/\w+ does not match its SHA-256"):
        await reader.get("big", DAY)
    written = bytearray()

    async def write(piece: bytes) -> None:
        written.extend(piece)

    with pytest.raises(Corrupt, match="SHA-256"):
        await reader.copy_to("big", DAY, write)
    assert await reader.get_range("big", DAY, 10, 20) == big[10:30]


# --- many files -------------------------------------------------------------------------------------------------------


async def test_neighbours_come_in_one_request(store, reader, seed):
    uids = [str(256 * number) for number in range(300)]
    files = {uid: noise(seed + at, 1000) for at, uid in enumerate(uids)}
    await put(store, [File(uid, content) for uid, content in files.items()])
    await reader.exists("0", DAY)
    store.take()
    wanted = {(uid, DAY): files[uid] for uid in random.Random(seed).sample(uids, 200)}
    assert await gathered(reader, wanted) == wanted
    assert kinds(store.take()) == ["get"]


async def test_each_request_has_an_outcome(store, reader, big, seed):
    files = [File(f"file {number}", noise(seed + number, 50)) for number in range(100)]
    keys = await put_all(store, [*files, File("big", big, block=1000)])
    body = bytearray(await store.get(keys[0]))
    body[8] ^= 1  # the first payload of the first shard: the first file
    await store.put(keys[0], bytes(body))
    requests = [(one.uid, DAY) for one in files]
    requests += [(one.uid, DAY) for one in files[:10]] + [("nobody", DAY), ("", DAY), ("big", DAY)]
    async with reader.get_many(iter(requests)) as outcomes:
        seen = [one async for one in outcomes]
    assert sorted(one.uid for one in seen) == sorted(uid for uid, _ in requests)
    wrong = {one.uid: one for one in seen if one.error is not None}
    assert {uid: type(one.error) for uid, one in wrong.items()} == {
        files[0].uid: Corrupt, "nobody": ObjectMissing, "": UsageError,
    }  # fmt: skip
    contents = {one.uid: one.content for one in files} | {"big": big}
    assert all(one.content == contents[one.uid] for one in seen if one.error is None)
    assert all(one.content is None for one in wrong.values())


async def test_a_store_that_is_away_stops_many(seed, offload):
    faulty = FaultyObjects(MemoryObjects(), seed)
    await put(faulty, [File("a", b"1")])
    faulty.away = True
    with pytest.raises(StoreUnavailable):
        await gathered(ArchiveReader(faulty, offload), [("a", DAY), ("b", DAY)])


async def test_who_stops_early_stops_it(store, reader):
    await put_all(store, [File(str(number), b"x") for number in range(300)])
    async with reader.get_many((str(number), DAY) for number in range(300)) as outcomes:
        async for _ in outcomes:
            break
    assert len(store.take()) < 100

    async def fail() -> None:
        async with reader.get_many([("1", DAY), ("2", DAY)]) as outcomes:
            async for _ in outcomes:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


# --- all files --------------------------------------------------------------------------------------------------------


async def test_a_walk_sees_every_file_once(store, reader, big):
    uids = same_route("a", 4)
    await put(store, [File(uids[0], b"old"), File(uids[1], b"only")], 0)
    await put(store, [File(uids[0], b"twice"), File(uids[0], b"new"), File(uids[2], b"x", Codec.NONE)], 1)
    await put(store, [File("big", big, block=1000)])
    await put(store, [File(uids[3], b"another day")], created_at=DAY + timedelta(days=1))
    await store.put("20240101_0A_0000.des.bak", b"no shard")
    first = {uids[0]: b"new", uids[1]: b"only", uids[2]: b"x", "big": None}
    second = {uids[3]: b"another day"}
    for day, expected in [("20240101", first), ("20240102", second), (None, first | second), ("20240103", {})]:
        assert sorted([one.uid async for one in reader.files(day)]) == sorted(expected)
        assert {one.uid: content async for one, content in reader.contents(day)} == expected


async def test_a_walk_goes_on_through_a_rebuild(store, reader):
    uids = [str(256 * number) for number in range(200)]
    files = [File(uid, uid.encode() * 1000, Codec.NONE) for uid in uids]
    old = await put(store, files)
    seen = {}
    async for one, content in reader.contents():
        if len(seen) == 3:
            await put(store, files[::-1], 1)
            await store.delete([old])
        assert one.uid not in seen
        seen[one.uid] = content
    assert seen == {file.uid: file.content for file in files}


async def test_shards_of_other_packers_are_read(store, reader):
    """Version 1 and 2, every codec, uids in Unicode, meta of others: each golden shard as that of a route it fits."""
    bodies = {"one": golden.old(), "two": golden.old(), "uid-123": golden.GOLDEN}
    mixed = golden.mixed()
    bodies |= dict.fromkeys(["raw", "zażółć.txt", "lz4", "big"], mixed)
    contents = {"one": golden.GOLDEN_CONTENT, "raw": golden.GOLDEN_CONTENT, "uid-123": golden.GOLDEN_CONTENT}
    await store.put(f"_bigFiles/{golden.BIG_SHA256}", golden.TEXT)
    for uid, body in bodies.items():
        await store.put(f"{place(uid).prefix}0000.des", only(body, uid))
        assert await reader.get(uid, DAY) == contents.get(uid, golden.TEXT)


def only(body: bytes, uid: str) -> bytes:
    """Return a golden shard with the index entry of ``uid`` alone: the others belong to other routes."""
    index_size = parse_footer(body[-12:], len(body))
    at = len(body) - 12 - index_size
    entries = parse_index(body[at:-12], body[4], len(body))
    (entry,) = [one for one in entries if one.name == uid]
    if body[4] == 2:
        return golden.shard(body[8:at], pack_index([entry]))
    old = golden.old_inline(uid.encode(), entry.offset, entry.stored, entry.codec, entry.size)
    return golden.shard(body[8:at], golden.index(old), version=1)
