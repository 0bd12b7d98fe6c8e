"""Packing, rebuilding and reading at the same time: nobody sees an older version than there was; nothing is lost."""

import random

import trio

from storefs.archive.reader import ArchiveReader
from storefs.archive.rebuild import Rebuild
from storefs.archive.routing import ShardName
from storefs.archive.stores import Stores
from storefs.archive.verify import verify
from storefs.errors import PreconditionFailed
from storefs.objects.memory import MemoryObjects
from storefs.testing.faults import Faults, FaultyObjects
from tests.archive.archives import DAY, File, place, same_route, shard_bytes

UIDS = same_route("a", 6)
PACKINGS = 40


def version(content: bytes) -> int:
    return int(content.rpartition(b":")[2])


async def pack(store: FaultyObjects, files: list[File]) -> None:
    """Put a shard under the next number, as a packer does."""
    body, _ = shard_bytes(files)
    while True:
        numbers = [int(info.key[-8:-4]) for info in await store.list_after(place("a").prefix)]
        try:
            await store.put_if_absent(ShardName(place("a"), max(numbers, default=-1) + 1).key, body)
        except PreconditionFailed:
            continue
        return


async def test_nobody_sees_less_than_there_was(seed, offload, tmp_path, autojump_clock):
    store = FaultyObjects(MemoryObjects(), seed, Faults(slow=0.7, slow_s=1.0))
    packed = dict.fromkeys(UIDS, 0)
    await pack(store, [File(uid, f"{uid}:0".encode()) for uid in UIDS])
    dice = random.Random(seed)
    rebuilt, read = [], 0
    done = trio.Event()

    async def packing() -> None:
        for number in range(1, PACKINGS):
            some = dice.sample(UIDS, dice.randint(1, 3))
            await pack(store, [File(uid, f"{uid}:{number}".encode()) for uid in some])
            packed.update(dict.fromkeys(some, number))
            await trio.sleep(dice.uniform(0, 60))
        done.set()

    async def rebuilding(folder) -> None:
        folder.mkdir()
        while not done.is_set():
            found = await Rebuild(Stores.single(store), offload, folder).run(lambda *_: None)
            assert found.faults == []
            rebuilt.append(found.rewritten)
            await trio.sleep(dice.uniform(0, 30))

    async def reading(reader: ArchiveReader, *, many: bool) -> None:
        nonlocal read
        while not done.is_set():
            before = dict(packed)
            some = dice.sample(UIDS, 3)
            if many:
                async with reader.get_many([(uid, DAY) for uid in some]) as outcomes:
                    seen = {one.uid: one.content async for one in outcomes}
            else:
                seen = {uid: await reader.get(uid, DAY) for uid in some}
            for uid, content in seen.items():
                assert content is not None
                assert content.startswith(f"{uid}:".encode())
                assert version(content) >= before[uid]
                read += 1
            await trio.sleep(dice.uniform(0, 3))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(packing)
        nursery.start_soon(rebuilding, tmp_path / "one")
        nursery.start_soon(rebuilding, tmp_path / "two")
        for many in (True, False):
            nursery.start_soon(lambda many=many: reading(ArchiveReader(store, offload, listing_ttl_s=0), many=many))
    assert sum(rebuilt) > 3
    assert read > 100
    store.faults = Faults()
    last = ArchiveReader(store, offload)
    assert {uid: version(await last.get(uid, DAY)) for uid in UIDS} == packed
    assert (await verify(Stores.single(store), offload, lambda *_: None)).proof.faults == []
