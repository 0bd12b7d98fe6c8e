"""What every object store keeps, bare and under every decorator."""

import dataclasses
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import trio

from storefs.errors import ObjectMissing, PreconditionFailed, StoreError
from storefs.metrics import Metrics
from storefs.model import ObjectInfo
from storefs.objects.directory import DirectoryObjects
from storefs.objects.memory import MemoryObjects
from storefs.objects.meter import MeteredObjects
from storefs.objects.race import RaceProof, prove_conditional_puts
from storefs.objects.retry import RetryingObjects
from storefs.objects.s3.client import S3Objects
from storefs.ports import Chance, ObjectStore, Offload
from storefs.testing.faults import FaultyObjects

MIB = 1 << 20

ODD_KEYS = [
    "a b/c d",
    "a+b/c+d",
    "a%20b/100%",
    "a&b=c?d#e",
    "deep/b/c/d/e/f/g/h",
    "naïve/日本語/😀",
    "quote'\"<x>",
    "semi;colon,comma:~@!$*()",
    "UPPER/lower",
]

NO_KEYS = ["", "/a", "a//b", "a/", "..", "a/../b", "../a", "./a", "a/.", "a\0b", "\ud800", "x" * 1025]

RANGES = [
    (0, None, b"0123456789"),
    (3, None, b"3456789"),
    (0, 4, b"0123"),
    (3, 4, b"3456"),
    (8, 100, b"89"),
    (0, 100, b"0123456789"),
    (9, 1, b"9"),
    (10, 1, b""),
    (10, None, b""),
    (100, 5, b""),
    (2, 0, b""),
    (-3, None, b"789"),
    (-10, None, b"0123456789"),
    (-100, None, b"0123456789"),
]
"""Start, length and what a get returns of the ten digits."""


@pytest.fixture(params=["memory", "directory", pytest.param("s3", marks=pytest.mark.s3)])
def bare(request: pytest.FixtureRequest, tmp_path: Path, offload: Offload) -> ObjectStore:
    match request.param:
        case "memory":
            return MemoryObjects()
        case "directory":
            return DirectoryObjects(tmp_path / "store", offload)
        case _:
            options = request.getfixturevalue("s3_bucket")
            return S3Objects(dataclasses.replace(options, multipart_above=11 * MIB, part_bytes=5 * MIB))


@pytest.fixture(params=["bare", "retried-metered", "faults-off"])
async def store(
    request: pytest.FixtureRequest, bare: ObjectStore, chance: Chance, seed: int
) -> AsyncIterator[ObjectStore]:
    match request.param:
        case "bare":
            yield bare
        case "retried-metered":
            metrics = Metrics()
            yield RetryingObjects(MeteredObjects(bare, metrics), chance, metrics=metrics)
        case "faults-off":
            yield FaultyObjects(bare, seed)
    await bare.close()


async def test_what_is_put_is_read(store: ObjectStore) -> None:
    tag = await store.put("folder/name", b"hello")
    assert await store.get("folder/name") == b"hello"
    info = await store.head("folder/name")
    assert (info.key, info.size, info.tag) == ("folder/name", 5, tag)
    assert info.modified_s > 1_600_000_000
    assert await store.list_after("") == [dataclasses.replace(info, modified_s=pytest.approx(info.modified_s, abs=1.1))]


async def test_every_version_has_its_own_tag(store: ObjectStore) -> None:
    tags = [await store.put("key", b"version %d" % number) for number in range(5)]
    assert len(set(tags)) == 5
    assert (await store.head("key")).tag == tags[-1]


async def test_ranges(store: ObjectStore) -> None:
    await store.put("digits", b"0123456789")
    for start, length, expected in RANGES:
        assert await store.get("digits", start, length) == expected, (start, length)


async def test_an_empty_object_has_empty_ranges(store: ObjectStore) -> None:
    await store.put("empty", b"")
    for start, length, _ in RANGES:
        assert await store.get("empty", start, length) == b"", (start, length)
    assert (await store.head("empty")).size == 0


@pytest.mark.parametrize("size", [10, 2 << 20])
async def test_ranges_into_memory(store: ObjectStore, seed: int, size: int) -> None:
    content = random.Random(seed).randbytes(size)
    await store.put("key", content)
    for start, length in (
        (0, size),
        (3, size - 5),
        (3, size),
        (size - 1, 1),
        (size - 1, size),
        (size, 5),
        (size + 7, 5),
    ):
        memory = bytearray(b"." * (length + 4))
        got = await store.get_into("key", start, memoryview(memory)[2 : 2 + length])
        assert got == len(content[start:][:length])
        assert memory[2 : 2 + got] == content[start:][:length]
        assert memory[:2] == memory[-2:] == b"..", "nothing beside it is touched"
    assert await store.get_into("key", 0, memoryview(bytearray())) == 0
    for missing in ("missing", "folder/missing"):
        with pytest.raises(ObjectMissing):
            await store.get_into(missing, 0, memoryview(bytearray(size)))


async def test_what_is_missing_is_said_to_be(store: ObjectStore) -> None:
    await store.put("there/below", b"x")
    for key in ("nowhere", "there", "there/below/deeper", "there/other"):
        for start, length in ((0, None), (1, 2), (0, 0), (-1, None)):
            with pytest.raises(ObjectMissing):
                await store.get(key, start, length)
        with pytest.raises(ObjectMissing):
            await store.head(key)


async def test_put_replaces(store: ObjectStore) -> None:
    await store.put("key", b"long content")
    await store.put("key", b"short")
    assert await store.get("key") == b"short"


async def test_put_if_absent(store: ObjectStore) -> None:
    tag = await store.put_if_absent("a/key", b"first")
    with pytest.raises(PreconditionFailed):
        await store.put_if_absent("a/key", b"second")
    assert await store.get("a/key") == b"first"
    assert (await store.head("a/key")).tag == tag
    await store.delete(["a/key"])
    await store.put_if_absent("a/key", b"third")
    assert await store.get("a/key") == b"third"


async def test_put_if_match(store: ObjectStore) -> None:
    first = await store.put("key", b"first")
    second = await store.put_if_match("key", b"second", first)
    with pytest.raises(PreconditionFailed):
        await store.put_if_match("key", b"third", first)
    assert await store.get("key") == b"second"
    await store.put_if_match("key", b"fourth", second)
    await store.delete(["key"])
    with pytest.raises(PreconditionFailed):
        await store.put_if_match("key", b"fifth", second)
    with pytest.raises(PreconditionFailed):
        await store.put_if_match("never/was", b"x", second)
    assert await store.list_after("") == []


async def test_a_listing_goes_in_pages_and_in_order(store: ObjectStore) -> None:
    keys = [f"journal/{number:016x}" for number in range(25)] + ["aaa", "zzz", "journal", "journal0"]
    keys.remove("journal")  # no key is another's folder
    for key in keys:
        await store.put(key, key.encode())
    for prefix in ("", "journal/", "journal", "journal/000000000000000", "j", "zzz", "nothing", "journal/x/"):
        wanted = sorted(key for key in keys if key.startswith(prefix))
        assert [info.key for info in await store.list_after(prefix)] == wanted
        assert await paged(store, prefix, 7) == wanted
    after = "journal/" + "0" * 14 + "0f"
    assert [info.key for info in await store.list_after("journal/", after, 3)] == sorted(keys)[17:20]
    assert await store.list_after("journal/", "zzz") == []
    assert [info.key for info in await store.list_after("journal/", "aaa", 1)] == [sorted(keys)[1]]
    assert [info.size for info in await store.list_after("aaa")] == [3]


async def test_a_deep_listing_is_in_the_order_of_keys(store: ObjectStore, seed: int) -> None:
    dice = random.Random(seed)
    keys = sorted({"/".join(dice.choice("abc") * 2 for _ in range(4)) for _ in range(40)})
    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(store.put, key, b"")
    assert await paged(store, "", 3) == keys
    for after in dice.sample(keys, 5):
        assert [info.key for info in await store.list_after("", after)] == [key for key in keys if key > after]


async def test_a_slash_sorts_like_any_other_letter(store: ObjectStore) -> None:
    if store.url.startswith("s3:"):
        pytest.skip("SeaweedFS lists folder by folder (a/b before a-b), unlike S3")
    keys = ["a b/x", "a-b", "a/b-c/d", "a/b.c", "a0"]
    for key in keys:
        await store.put(key, b"")
    assert await paged(store, "", 2) == keys
    assert await paged(store, "a/", 1) == ["a/b-c/d", "a/b.c"]
    for number, key in enumerate(keys):
        assert [info.key for info in await store.list_after("", key)] == keys[number + 1 :]


async def test_odd_keys_are_keys(store: ObjectStore) -> None:
    for key in ODD_KEYS:
        await store.put_if_absent(key, key.encode())
    for key in ODD_KEYS:
        assert await store.get(key) == key.encode()
        assert [info.key for info in await store.list_after(key)] == [key]
    listed = await store.list_after("")
    assert [info.key for info in listed] == sorted(ODD_KEYS)
    assert await paged(store, "", 2) == sorted(ODD_KEYS)
    assert [info.tag for info in listed] == [(await store.head(key)).tag for key in sorted(ODD_KEYS)]
    await store.delete(ODD_KEYS)
    assert await store.list_after("") == []


async def test_what_is_no_key_is_refused(store: ObjectStore) -> None:
    for key in NO_KEYS:
        with pytest.raises(StoreError, match="is no key"):
            await store.put(key, b"x")
        with pytest.raises(StoreError, match="is no key"):
            await store.put_if_absent(key, b"x")
        with pytest.raises(StoreError, match="is no key"):
            await store.put_if_match(key, b"x", "tag")
        with pytest.raises(StoreError, match="is no key"):
            await store.get(key)
        with pytest.raises(StoreError, match="is no key"):
            await store.head(key)
        with pytest.raises(StoreError, match="is no key"):
            await store.delete([key])
    for prefix in ("../", "/", "a/../b", "a//b", "\0"):
        with pytest.raises(StoreError, match="is no"):
            await store.list_after(prefix)


async def test_delete(store: ObjectStore) -> None:
    for key in ("a", "b/c", "b/d"):
        await store.put(key, b"x")
    await store.delete(["a", "b/c", "never/was", "neither"])
    await store.delete(["a"])
    await store.delete([])
    assert [info.key for info in await store.list_after("")] == ["b/d"]


@pytest.mark.parametrize("size", [0, 10 * MIB + 17, 11 * MIB, 11 * MIB + 1, 15 * MIB])
async def test_bodies_from_files(store: ObjectStore, tmp_path: Path, seed: int, size: int) -> None:
    content = random.Random(seed).randbytes(size)
    path = tmp_path / "body"
    path.write_bytes(content)
    tag = await store.put_if_absent("from/file", path)
    assert await store.get("from/file") == content
    assert (await store.head("from/file")).size == size
    assert (await store.head("from/file")).tag == tag
    with pytest.raises(PreconditionFailed):
        await store.put_if_absent("from/file", path)
    with pytest.raises(PreconditionFailed):
        await store.put_if_match("from/file", path, "no such tag")
    await store.put_if_match("from/file", content + b"!", tag)
    assert await store.get("from/file", -1) == b"!"
    await store.put("from/file", path)
    middle = size // 2
    assert await store.get("from/file", middle, 1000) == content[middle : middle + 1000]
    assert path.read_bytes() == content


async def test_a_body_that_cannot_be_read_is_named(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no-such-body"):
        await store.put("key", tmp_path / "no-such-body")
    assert await store.list_after("") == []


async def test_one_of_many_racing_writers_wins(store: ObjectStore, chance: Chance) -> None:
    assert await prove_conditional_puts(store, chance, writers=16, rounds=2) == RaceProof(rounds=2, writers=16)
    assert await store.list_after("") == []


async def test_readers_never_see_a_part(store: ObjectStore) -> None:
    versions = [bytes([number]) * 300_000 for number in range(4)]
    await store.put("key", versions[0])
    seen: list[bytes] = []
    done = trio.Event()

    async def read() -> None:
        while not done.is_set():
            seen.append(await store.get("key"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for version in versions * 3:
            await store.put("key", version)
        done.set()
    assert seen
    assert set(seen) <= set(versions)


async def test_the_name_shows_no_secret(store: ObjectStore) -> None:
    assert store.url.split("://")[0] in {"memory", "file", "s3"}
    assert "@" not in store.url


async def paged(store: ObjectStore, prefix: str, limit: int) -> Sequence[str]:
    """Return the keys of a whole listing, read in pages of ``limit``."""
    found: list[ObjectInfo] = []
    while page := await store.list_after(prefix, found[-1].key if found else "", limit):
        assert len(page) <= limit
        found += page
    return [info.key for info in found]
