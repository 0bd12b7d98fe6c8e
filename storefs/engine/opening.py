"""Opening a store: its identity is read, or made where there is nothing yet."""

import json
import logging
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from storefs.core import keys, storeinfo
from storefs.core.chunking import ChunkSizes
from storefs.core.storeinfo import StoreInfo
from storefs.errors import NotAStore, ObjectMissing, PreconditionFailed
from storefs.ports import Chance, Clock, ObjectStore

log = logging.getLogger(__name__)

PROOF = f"{keys.CHECKS}conditional-puts.json"


@dataclass(frozen=True, slots=True)
class RootOwner:
    """Who owns the root directory of a store that is being made, and its permission bits."""

    uid: int
    gid: int
    mode: int = 0o755


async def open_store(
    store: ObjectStore,
    clock: Clock,
    chance: Chance,
    prove: Callable[[], Awaitable[dict[str, int]]],
    owner: RootOwner | None,
    sizes: ChunkSizes,
) -> StoreInfo:
    """Return the identity of the store; with an ``owner``, an empty place becomes a store.

    ``prove`` races conditional puts; it is asked once per store, before anything relies on them, and its answer is
    remembered in the store. Raises NotAStore, UnsafeStore, UnknownFormat, Corrupt, and the store's own errors.
    """
    try:
        info = storeinfo.parse(await store.get(keys.STORE_INFO))
    except ObjectMissing:
        return await _make(store, clock, chance, prove, owner, sizes)
    if owner is not None:
        await _remember_proof(store, clock, prove)
    return info


async def known(store: ObjectStore) -> StoreInfo:
    """Return the identity of what has to be a store already. Raises NotAStore, UnknownFormat, Corrupt."""
    try:
        return storeinfo.parse(await store.get(keys.STORE_INFO))
    except ObjectMissing:
        raise NotAStore(f"{store.url} is not a storefs store: it has no {keys.STORE_INFO}") from None


async def _make(
    store: ObjectStore,
    clock: Clock,
    chance: Chance,
    prove: Callable[[], Awaitable[dict[str, int]]],
    owner: RootOwner | None,
    sizes: ChunkSizes,
) -> StoreInfo:
    found = [info.key for info in await store.list_after("", limit=100) if not info.key.startswith(keys.CHECKS)]
    if found and (info := await _just_made(store)) is not None:
        return info
    if found:
        raise NotAStore(
            f"{store.url} is not a storefs store: it has no {keys.STORE_INFO}, but other objects, {found[0]!r} for one."
            " Name an empty prefix or directory, or one below it (bringing existing objects in is what"
            " 'storefs import' will do)"
        )
    if owner is None:
        raise NotAStore(f"{store.url} is empty: mount it once without 'ro' to make it a store")
    await _remember_proof(store, clock, prove)
    info = StoreInfo(chance.token(16), clock.now_ns(), stat.S_IFDIR | owner.mode, owner.uid, owner.gid, sizes)
    try:
        await store.put_if_absent(keys.STORE_INFO, storeinfo.pack(info))
    except PreconditionFailed:
        return storeinfo.parse(await store.get(keys.STORE_INFO))
    log.info("%s was empty and is a storefs store now", store.url)
    return info


async def _just_made(store: ObjectStore) -> StoreInfo | None:
    """Return the identity of a store that another mount made since we looked, or None."""
    try:
        return storeinfo.parse(await store.get(keys.STORE_INFO))
    except ObjectMissing:
        return None


async def _remember_proof(store: ObjectStore, clock: Clock, prove: Callable[[], Awaitable[dict[str, int]]]) -> None:
    try:
        await store.head(PROOF)
    except ObjectMissing:
        result = await prove()
        body = json.dumps({"atomic": True, "time_ns": clock.now_ns(), **result}).encode() + b"\n"
        await store.put(PROOF, body)
