"""Rebuilding the chunk index: from what the shards say of themselves, as ordinary commits."""

import contextlib
from functools import partial

from storefs.core import commitheader, keys
from storefs.engine import node
from storefs.engine.crew import each
from storefs.engine.journal import Commit, Journal, Writer, apply_commit, compose
from storefs.engine.listing import listed
from storefs.engine.rebuild import follow
from storefs.engine.replay import Progress
from storefs.errors import Corrupt, ObjectMissing
from storefs.model import CHUNK_ID_BYTES, ObjectInfo, ShardId
from storefs.ports import Chance, Clock, ObjectStore, Offload
from storefs.shard import codec
from storefs.shard.format import HEADER_BYTES, InlineEntry
from storefs.shard.reader import decode_chunk, read_index
from storefs.tree.chunks import place_from
from storefs.tree.tree import Tree

_AT_ONCE = 8
_ROWS_MAX = 50_000
"""How many rows one commit corrects."""

_TABLES = (
    # Shards whose own index was read.
    """CREATE TABLE indexed (shard BLOB NOT NULL PRIMARY KEY, day INTEGER NOT NULL, size INTEGER NOT NULL,
        modified REAL NOT NULL) WITHOUT ROWID""",
    # Shards of the tree whose own index was not, and whether there is no object at all.
    "CREATE TABLE mute (shard BLOB NOT NULL PRIMARY KEY, gone INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE found (id BLOB NOT NULL, shard BLOB NOT NULL, "offset" INTEGER NOT NULL, stored INTEGER NOT NULL,
        codec INTEGER NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (id, shard, "offset")) WITHOUT ROWID""",
    # Chunks that are where the tree says, whatever the index of the shard says.
    "CREATE TABLE proven (id BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID",
)

_DOUBTFUL = """
    SELECT id FROM chunk AS c WHERE (
        shard IN (SELECT shard FROM mute)
        OR shard IN (SELECT shard FROM indexed) AND NOT EXISTS (
            SELECT 1 FROM found AS f WHERE f.id = c.id AND f.shard = c.shard AND f."offset" = c."offset"
            AND f.stored = c.stored AND f.codec = c.codec AND f.size = c.size)
        OR shard NOT IN (SELECT id FROM shard) AND shard NOT IN (SELECT shard FROM indexed))
    AND id NOT IN (SELECT id FROM proven) AND EXISTS (SELECT 1 FROM found AS f WHERE f.id = c.id)"""
"""Chunks whose place no shard confirms, while some shard has them."""

_LACKING = """
    SELECT DISTINCT chunk FROM extent AS e WHERE NOT EXISTS (SELECT 1 FROM chunk AS c WHERE c.id = e.chunk)
    AND EXISTS (SELECT 1 FROM found AS f WHERE f.id = e.chunk)"""
"""Chunks of files that have no place, while some shard has them."""

_BEST = """
    SELECT f.id, f.shard, f."offset", f.stored, f.codec, f.size FROM found AS f JOIN indexed AS i ON i.shard = f.shard
    WHERE f.id = ?1 ORDER BY f.shard = (SELECT shard FROM chunk WHERE id = ?1) DESC,
    f.shard IN (SELECT id FROM shard) DESC, i.modified, f.shard, f."offset" LIMIT 1"""
"""Where a chunk is to be read: where it was, else in a shard of the tree, else in the oldest (which no mount that is
just uploading it is about to name)."""


_AROUND = (
    """INSERT INTO shard SELECT shard, day, size FROM indexed WHERE shard IN (SELECT shard FROM chunk)
        AND shard NOT IN (SELECT id FROM shard)""",
    # What no file uses of shards that are gone: else the next write of such a content would be taken for stored.
    """DELETE FROM chunk WHERE shard IN (SELECT shard FROM mute WHERE gone)
        AND id NOT IN (SELECT chunk FROM extent)""",
    """DELETE FROM shard WHERE id IN (SELECT shard FROM mute WHERE gone) AND size != 0
        AND NOT EXISTS (SELECT 1 FROM chunk WHERE chunk.shard = shard.id)""",
)
"""What follows once the chunks have their places."""


class Reindex:
    """Corrects chunk and shard rows that are missing or wrong."""

    def __init__(self, store: ObjectStore, offload: Offload, clock: Clock, chance: Chance, host: str) -> None:
        self._store = store
        self._offload = offload
        self._clock = clock
        self._chance = chance
        self._host = host
        self._journal = Journal(store, offload)
        self._writer: Writer | None = None

    async def run(self, tree: Tree, progress: Progress) -> list[str]:
        """Correct the rows in the store, and in ``tree``, a replica at the head; say what was done.

        Each commit leaves a tree that is better than before, so ending this at any point does no harm. Raises the
        store's errors.
        """
        await self._read_indexes(tree, progress)
        await self._prove_doubtful(tree)
        notes: list[str] = []
        while True:
            changes, rows = await self._offload.run(_corrections, tree)
            if not changes:
                return notes or ["the chunk index needs no correction"]
            if await self._commit(tree, changes):
                notes.append(f"commit {tree.local.position.seq} corrects {rows} rows of the chunk index")
            else:
                await follow(tree, self._journal, self._offload)

    async def _read_indexes(self, tree: Tree, progress: Progress) -> None:
        """Note what each shard of the store says of itself."""
        shards = [one async for info in listed(self._store, keys.SHARDS) if (one := _named(info)) is not None]
        with tree.database.transaction():
            for sql in _TABLES:
                tree.database.run(sql)
        done = 0

        async def read(one: tuple[ShardId, int, ObjectInfo]) -> None:
            nonlocal done
            # The check that follows says what is wrong with it.
            with contextlib.suppress(Corrupt, ObjectMissing):
                await self._read_index(tree, *one)
            done += 1
            progress("index", done, len(shards))

        await each(shards, read, _AT_ONCE)
        there = {shard for shard, _, _ in shards}
        with tree.database.transaction():
            for (shard,) in tree.database.rows("SELECT id FROM shard WHERE id NOT IN (SELECT shard FROM indexed)"):
                tree.database.run("INSERT INTO mute VALUES (?, ?)", (shard, shard not in there))

    async def _read_index(self, tree: Tree, shard: ShardId, day: int, info: ObjectInfo) -> None:
        entries = await read_index(partial(self._store.get, info.key), info.size, info.key)
        with tree.database.transaction():
            tree.database.run("INSERT INTO indexed VALUES (?, ?, ?, ?)", (shard, day, info.size, int(info.modified_s)))
            for entry in entries:
                if not isinstance(entry, InlineEntry) or len(entry.name) != 2 * CHUNK_ID_BYTES:
                    continue
                try:
                    chunk = bytes.fromhex(entry.name)
                except ValueError:
                    continue
                tree.database.run(
                    "INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?, ?, ?)",
                    (chunk, shard, entry.offset, entry.stored, int(entry.codec), entry.size),
                )

    async def _prove_doubtful(self, tree: Tree) -> None:
        """Read what no shard confirms where the tree has it: the index of the shard may be what is damaged."""
        proven: list[bytes] = []

        async def prove(row: tuple[bytes]) -> None:
            if await self._is_there(tree, bytes(row[0])):
                proven.append(bytes(row[0]))

        await each(tree.database.rows(_DOUBTFUL), prove, _AT_ONCE)
        with tree.database.transaction():
            for chunk in proven:
                tree.database.run("INSERT INTO proven VALUES (?)", (chunk,))

    async def _is_there(self, tree: Tree, chunk: bytes) -> bool:
        """Whether a chunk can be read where the tree has it."""
        row = tree.database.row('SELECT id, shard, "offset", stored, codec, size FROM chunk WHERE id = ?', (chunk,))
        assert row is not None
        info = tree.chunks.shard(ShardId(bytes(row[1])))
        if info is None:
            return False
        try:
            place = place_from(row)
            if place.offset < HEADER_BYTES or place.stored <= 0:
                return False
            payload = await self._store.get(keys.shard(info.shard, info.day), place.offset, place.stored)
            await self._offload.run(decode_chunk, payload, place)
        except (Corrupt, ObjectMissing, ValueError):
            return False
        return True

    async def _commit(self, tree: Tree, changes: bytes) -> bool:
        """Put a changeset as the next commit and apply it; return False when another mount took the number first."""
        if self._writer is None:
            self._writer = await node.claim(tree, self._store, self._clock, self._chance, self._host, fresh=True)
        at = tree.local.position
        body = await self._offload.run(codec.compress, changes)
        nothing = (at.seq + 1, at.seq + 1)  # was pending anywhere: any numbers that grow will do
        header = compose(at, self._writer, self._chance.token(16), nothing, self._clock.now_ns(), changes, body)
        if not await self._journal.put(header, commitheader.pack(header, body)):
            return False
        await self._offload.run(apply_commit, tree, Commit(header, changes))
        return True


def _named(info: ObjectInfo) -> tuple[ShardId, int, ObjectInfo] | None:
    named = keys.shard_named(info.key)
    return (*named, info) if named is not None else None


class _TakenBackError(Exception):
    """Ends a transaction that only shows what it would change."""


def _corrections(tree: Tree) -> tuple[bytes, int]:
    """Return what is to be changed in the tree, for one commit, and how many rows that are. In a thread."""
    database = tree.database
    chunks = database.rows(f"SELECT id FROM ({_DOUBTFUL}) UNION SELECT chunk FROM ({_LACKING}) LIMIT {_ROWS_MAX}")  # noqa: S608
    rows = 0
    with contextlib.suppress(_TakenBackError), database.transaction():
        with tree.pending.noted() as noted:
            rows += database.changed(
                """UPDATE shard SET day = i.day, size = i.size FROM indexed AS i
                WHERE i.shard = shard.id AND shard.size != 0 AND (i.day, i.size) != (shard.day, shard.size)"""
            )
            for (chunk,) in chunks:
                place = database.row(_BEST, (chunk,))
                assert place is not None
                rows += database.changed(
                    "INSERT INTO shard SELECT shard, day, size FROM indexed WHERE shard = ?1 "
                    "AND NOT EXISTS (SELECT 1 FROM shard WHERE id = ?1)",
                    (place[1],),
                )
                database.run("DELETE FROM chunk WHERE id = ?", (chunk,))
                rows += database.changed("INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?)", place)
            rows += sum(database.changed(sql) for sql in _AROUND)
        raise _TakenBackError
    return noted.changes, rows
