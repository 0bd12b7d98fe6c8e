"""The journal: reading commits from the store, and fitting them to this replica."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import trio

from storefs.core import commitheader, keys
from storefs.core.commitheader import CommitHeader
from storefs.errors import Corrupt, Diverged, ObjectMissing, PreconditionFailed, StorefsError, UnknownFormat
from storefs.ports import ObjectStore, Offload
from storefs.shard import codec
from storefs.tree import apply, schema
from storefs.tree.local import Position
from storefs.tree.tree import Tree

_AHEAD = 16
"""How many commits are fetched at a time when many are to be caught up."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who commits: a mount's number and the nonce of its present start."""

    node: int
    boot: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as the store has it."""

    header: CommitHeader
    changes: bytes

    @property
    def position(self) -> Position:
        """Where a replica stands that has applied it."""
        return Position(self.header.seq, self.header.nonce, self.header.chain)


class Journal:
    """The ordered commits of a store."""

    def __init__(self, store: ObjectStore, offload: Offload) -> None:
        self._store = store
        self._offload = offload

    async def get(self, seq: int) -> Commit | None:
        """Return commit ``seq``, or None while there is none. Raises Corrupt, UnknownFormat."""
        data = await self._fetch(seq)
        return await self._offload.run(_decode, data, seq) if data is not None else None

    async def put(self, header: CommitHeader, packed: bytes) -> bool:
        """Put a commit; return False when its number is taken by another one. One whose answer was lost has won.

        Raises Corrupt or UnknownFormat when what took the number cannot be read, and the store's errors.
        """
        try:
            await self._store.put_if_absent(keys.journal(header.seq), packed)
        except PreconditionFailed:
            taken = await self.get(header.seq)
            return taken is not None and taken.header.nonce == header.nonce
        return True

    async def floor(self) -> int:
        """Return the number up to which commits may have been deleted: a snapshot holds what they did."""
        try:
            body = await self._store.get(keys.FLOOR)
        except ObjectMissing:
            return 0
        try:
            return int(body)
        except ValueError as error:
            raise Corrupt(f"{keys.FLOOR} is no number: {body[:40]!r}") from error

    async def following(self, seq: int) -> AsyncGenerator[Commit, None]:
        """Yield the commits behind ``seq`` that exist now, up to the head.

        A few are fetched at a time, but only one is unpacked: a commit of a million files takes hundreds of MB then.
        Raises Corrupt, UnknownFormat, and the store's errors, once the commits before are yielded.
        """
        while True:
            for data in await self._fetch_some(seq):
                seq += 1
                if data is None:
                    return
                if isinstance(data, StorefsError):
                    raise data
                yield await self._offload.run(_decode, data, seq)

    async def _fetch_some(self, seq: int) -> list[bytes | StorefsError | None]:
        """Return the objects of the next few commits behind ``seq``: None for each that there is not."""
        found: list[bytes | StorefsError | None] = [None] * _AHEAD

        async def fetch(index: int) -> None:
            try:
                found[index] = await self._fetch(seq + 1 + index)
            except StorefsError as error:
                found[index] = error

        async with trio.open_nursery() as nursery:
            for index in range(_AHEAD):
                nursery.start_soon(fetch, index)
        return found

    async def _fetch(self, seq: int) -> bytes | None:
        try:
            return await self._store.get(keys.journal(seq))
        except ObjectMissing:
            return None


def _decode(data: bytes, seq: int) -> Commit:
    header, body = commitheader.parse(data, seq)
    if header.schema != schema.SCHEMA_VERSION or header.fingerprint != schema.fingerprint():
        # Applying it anyway would drop what does not fit, without any error.
        raise UnknownFormat(
            f"commit {seq} was written with tree schema {header.schema}, this storefs has {schema.SCHEMA_VERSION}:"
            " update storefs to the version that wrote it"
        )
    changes = codec.decompress(body, header.plain)
    if len(changes) != header.plain:
        raise Corrupt(f"commit {seq} unpacks to {len(changes)} bytes, not {header.plain}")
    return Commit(header, changes)


def compose(
    at: Position, writer: Writer, nonce: bytes, pending: tuple[int, int], time_ns: int, changes: bytes, body: bytes
) -> CommitHeader:
    """Return the header of the commit that follows ``at``, of the closed range ``pending`` of the writer's changes.

    ``body`` is how the journal has the net ``changes``, compressed.
    """
    low, high = pending
    return CommitHeader(
        schema=schema.SCHEMA_VERSION,
        seq=at.seq + 1,
        node=writer.node,
        boot=writer.boot,
        nonce=nonce,
        low=low,
        high=high,
        time_ns=time_ns,
        fingerprint=schema.fingerprint(),
        previous=at.nonce,
        chain=commitheader.link(at.chain, changes),
        plain=len(changes),
        stored=len(body),
    )


def check_follows(tree: Tree, commit: Commit) -> None:
    """Raise Diverged unless a commit is the next one of the history that this replica has applied."""
    at, header = tree.local.position, commit.header
    if header.seq != at.seq + 1 or header.previous != at.nonce:
        raise Diverged(f"commit {header.seq} does not follow commit {at.seq} as this replica has it")
    if header.chain != commitheader.link(at.chain, commit.changes):
        raise Diverged(f"commit {header.seq} continues another history than the one applied here")


def apply_commit(tree: Tree, commit: Commit) -> None:
    """Apply the next commit to a replica without pending changes: one transaction. Raises Diverged."""
    check_follows(tree, commit)
    with tree.database.transaction():
        apply.apply(tree.database, commit.changes)
        tree.local.position = commit.position
