"""Proves by racing that a store's conditional puts let exactly one writer win."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from storefs.core.keys import CHECKS
from storefs.errors import PreconditionFailed, StorefsError, StoreUnavailable, UnsafeStore
from storefs.ports import Chance, ObjectStore

_log = logging.getLogger(__name__)

_CLEANUP_S = 30.0
_NONCE_BYTES = 16

Put = Callable[[bytes], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class RaceProof:
    """That ``writers`` concurrent writers raced ``rounds`` times for each kind of conditional put, and one won each."""

    rounds: int
    writers: int


@dataclass(slots=True)
class _Entry:
    """One writer of a race: what it wrote and what it was told (neither, if it got no answer)."""

    body: bytes
    tag: str = ""
    lost: bool = False
    error: StorefsError | None = None


async def prove_conditional_puts(store: ObjectStore, chance: Chance, writers: int = 16, rounds: int = 3) -> RaceProof:
    """Race ``writers`` concurrent writers for fresh keys below ``checks/``, ``rounds`` times for each conditional put.

    Raises UnsafeStore if anything but exactly one writer wins a race or the object does not hold the winner's bytes;
    StoreUnavailable if too few answers came to tell; other store errors as they come. The keys are removed again.
    """
    assert writers > 1
    keys = []
    try:
        for _ in range(rounds):
            key = f"{CHECKS}{chance.token(_NONCE_BYTES).hex()}"
            keys.append(key)
            tag = await _race_if_absent(store, chance, key, writers)
            await _race_if_match(store, chance, key, tag, writers)
    finally:
        await _clean_up(store, keys)
    return RaceProof(rounds=rounds, writers=writers)


async def _race_if_absent(store: ObjectStore, chance: Chance, key: str, writers: int) -> str:
    """Race for a key that does not exist; return the tag of the object that won."""

    async def put(body: bytes) -> str:
        return await store.put_if_absent(key, body)

    return await _judge(store, key, "put-if-absent", await _race(chance, put, writers))


async def _race_if_match(store: ObjectStore, chance: Chance, key: str, tag: str, writers: int) -> str:
    """Race to replace the version ``tag``; return the tag of the object that won."""

    async def put(body: bytes) -> str:
        return await store.put_if_match(key, body, tag)

    return await _judge(store, key, "put-if-match", await _race(chance, put, writers))


async def _race(chance: Chance, put: Put, writers: int) -> list[_Entry]:
    """Let ``writers`` tasks put a body of their own, all released at once; return what each was told."""
    entries = [_Entry(body=chance.token(_NONCE_BYTES).hex().encode()) for _ in range(writers)]
    released = trio.Event()

    async def write(entry: _Entry, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await released.wait()
        try:
            entry.tag = await put(entry.body)
        except PreconditionFailed:
            entry.lost = True
        except StorefsError as error:
            entry.error = error

    async with trio.open_nursery() as nursery:
        for entry in entries:
            await nursery.start(write, entry)
        released.set()
    return entries


async def _judge(store: ObjectStore, key: str, what: str, entries: list[_Entry]) -> str:
    """Return the tag of the only winner. Raises UnsafeStore, or the error that left the race undecided."""
    errors = [entry.error for entry in entries if entry.error]
    for error in errors:
        if not isinstance(error, StoreUnavailable):
            raise error
    winners = [entry for entry in entries if entry.tag]
    if len(winners) > 1 or (not winners and not errors):
        raise _unsafe(store, what, f"{len(winners)} of {len(entries)} writers won the same race")
    if errors and not winners:
        # The winner may be among those that got no answer: nothing is proved, nothing refuted.
        raise errors[0]
    winner = winners[0]
    held = await store.get(key)
    if held != winner.body:
        raise _unsafe(store, what, "the object does not hold the bytes of the only writer that won")
    return winner.tag


def _unsafe(store: ObjectStore, what: str, seen: str) -> UnsafeStore:
    """Return the refusal of a store, with what to do about it."""
    return UnsafeStore(
        f"{store.url} does not keep conditional puts apart: {seen} ({what}). Two mounts would overwrite each other's "
        "commits there. Use a store that honours If-None-Match and If-Match on PUT (Amazon S3, SeaweedFS, MinIO), "
        "update the server, or mount this one read-only."
    )


async def _clean_up(store: ObjectStore, keys: list[str]) -> None:
    """Remove the keys, even when cancelled. What cannot be removed is harmless: its names are never used again."""
    with trio.move_on_after(_CLEANUP_S, shield=True):
        try:
            await store.delete(keys)
        except StorefsError as error:
            _log.warning("objects of the conditional-put check stay in %s: %s", store.url, error)
