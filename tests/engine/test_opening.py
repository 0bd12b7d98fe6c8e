"""Opening: an empty place becomes a store once, anything else is left alone."""

import pytest

from storefs.core import keys, storeinfo
from storefs.engine.opening import RootOwner, open_store
from storefs.errors import NotAStore, UnsafeStore
from storefs.testing.world import SMALL_SIZES

OWNER = RootOwner(1000, 100, 0o700)


async def opened(world, owner=OWNER, proof=None):
    async def prove():
        if proof is not None:
            raise proof
        return {}

    return await open_store(world.store, world.clock, world.chance, prove, owner, SMALL_SIZES)


async def test_an_empty_place_becomes_a_store_once(world, autojump_clock):
    info = await opened(world)
    assert (info.root_mode, info.root_uid, info.root_gid) == (0o040700, 1000, 100)
    assert await opened(world, RootOwner(0, 0)) == info
    assert await opened(world, None) == info


async def test_foreign_objects_are_left_alone(world, autojump_clock):
    await world.memory.put("photo.jpg", b"x")
    with pytest.raises(NotAStore, match=r"photo\.jpg"):
        await opened(world)
    assert [info.key for info in await world.memory.list_after("")] == ["photo.jpg"]


async def test_a_read_only_mount_makes_no_store(world, autojump_clock):
    with pytest.raises(NotAStore):
        await opened(world, None)
    assert await world.memory.list_after("") == []


async def test_an_unsafe_place_becomes_no_store(world, autojump_clock):
    with pytest.raises(UnsafeStore):
        await opened(world, proof=UnsafeStore("two winners"))
    assert await world.memory.list_after("") == []


async def test_who_loses_the_race_to_make_it_takes_the_others(world, autojump_clock):
    async def overtake(request):
        if request.operation == "put_if_absent":
            world.store.before = go_on
            found.append(await opened(world, RootOwner(1, 1)))

    async def go_on(_):
        pass

    found = []
    world.store.before = overtake
    found.append(await opened(world))
    assert found[0] == found[1]
    assert found[0].root_uid == 1
    assert world.store.keys("put_if_absent") == [keys.STORE_INFO] * 2


async def test_another_mount_makes_the_store_while_we_look(world, autojump_clock):
    """Between the look for store.json and the listing: what is found there is no foreign object."""

    async def prove():
        return {}

    async def make(request):
        if request.operation == "list" and not await world.memory.list_after(keys.STORE_INFO):
            await open_store(world.memory, world.clock, world.chance, prove, OWNER, SMALL_SIZES)

    world.store.before = make
    made = await opened(world)
    assert made == storeinfo.parse(await world.memory.get(keys.STORE_INFO))
