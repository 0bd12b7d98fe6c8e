"""Checking a whole store, from what is in it alone: journal, snapshots, tree, shards, and every byte if asked for."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from storefs.core import keys
from storefs.core.ranges import Span, coalesce
from storefs.engine.crew import each
from storefs.engine.journal import Journal
from storefs.engine.listing import listed
from storefs.engine.opening import known
from storefs.engine.rebuild import follow
from storefs.engine.reindex import Reindex
from storefs.engine.replay import Progress, Replay, Report
from storefs.engine.trips import outcome_of
from storefs.errors import Corrupt, ObjectMissing, StorefsError
from storefs.model import ROOT_INO, SHARD_ID_BYTES, ChunkPlace, Codec, ShardId
from storefs.ports import ObjectStore, Offload
from storefs.shard.format import HEADER_BYTES, Entry, InlineEntry
from storefs.shard.index import parse_header
from storefs.shard.reader import read_index
from storefs.tree import check
from storefs.tree.chunks import place_from
from storefs.tree.tree import Tree

_RANGE_BYTES = 16 << 20
_GAP_BYTES = 256 << 10
_AT_ONCE = 4
_DAY_MAX = 99_999_999
_CODECS = {int(codec) for codec in Codec}
_KNOWN = re.compile(
    r"store\.json|journal/[0-9a-f]{16}|snapshots/[0-9a-f]{16}\.sqlite\.zst|nodes/[1-9][0-9]*"
    r"|checks/(clock|conditional-puts\.json|[0-9a-f]{32})|lease|floor|snapshots/named/[\w.-]+\.sqlite\.zst"
)


class Fsck:
    """One check of one store. It reads, and writes only what ``repair`` and ``reindex`` ask for."""

    def __init__(
        self,
        store: ObjectStore,
        offload: Offload,
        folder: Path,
        progress: Progress,
        *,
        data: bool = False,
        repair: bool = False,
        reindex: Reindex | None = None,
    ) -> None:
        """Check ``store`` with a replica in ``folder``, which the caller removes.

        ``data`` reads every chunk; ``repair`` deletes snapshots that are not what the journal gives, and names the
        files that are hit by what cannot be mended; ``reindex`` corrects the chunk index first.
        """
        self._store = store
        self._offload = offload
        self._folder = folder
        self._progress = progress
        self._data = data
        self._repair = repair
        self._reindex = reindex
        self._report = Report()
        self._lost: set[bytes] = set()
        self._missing: list[tuple[ShardId, str]] = []

    async def run(self) -> Report:
        """Return what is wrong. Raises NotAStore, UnknownFormat, and the store's own errors."""
        report = self._report
        try:
            info = await known(self._store)
        except Corrupt as error:
            report.faults.append(f"{keys.STORE_INFO}: {error}")
            return report
        replay = Replay(self._store, self._offload, self._folder, info, report, self._progress, repair=self._repair)
        try:
            await replay.run()
            if replay.tree is not None:
                await self._check_tree(replay.tree, replay.shards, current=replay.current)
        finally:
            if replay.tree is not None:
                replay.tree.close()
        return report

    async def _check_tree(self, tree: Tree, past: dict[str, set[ShardId]], *, current: bool) -> None:
        report = self._report
        if self._reindex is not None and current:
            report.notes += await self._reindex.run(tree, self._progress)
        elif self._reindex is not None:
            report.faults.append("the chunk index is not rebuilt: the tree at the head of the journal is not known")
        self._progress("tree", 0, 1)
        report.faults += await self._offload.run(_tree_faults, tree)
        for what, sql in (
            ("files", "SELECT count(*) FROM inode WHERE mode >> 12 = 8"),
            ("chunks", "SELECT count(*) FROM chunk"),
            ("shards", "SELECT count(*) FROM shard"),
        ):
            report.count(what, tree.database.value(sql))
        report.counts["commit"] = tree.local.position.seq
        self._progress("tree", 1, 1)
        there = await self._check_objects(tree, past, current=current)
        if self._data:
            await self._check_data(tree, there)
        await self._check_missing(tree, current=current)
        if self._repair:
            report.notes += await self._offload.run(_hits, tree, self._lost)

    # --- shards -------------------------------------------------------------------------------------------------------

    async def _check_objects(
        self, tree: Tree, past: dict[str, set[ShardId]], *, current: bool
    ) -> list[tuple[ShardId, str, int]]:
        """Look for the object of every shard, also those of snapshots (``past``); return those of the tree that are
        there: id, key, bytes.
        """
        report, seq = self._report, tree.local.position.seq
        wanted: dict[str, tuple[ShardId, int]] = {}
        for shard, day, size in tree.database.rows("SELECT id, day, size FROM shard"):
            if len(shard) != SHARD_ID_BYTES or not 0 <= day <= _DAY_MAX:
                report.faults.append(f"shard {shard.hex()} of day {day} cannot be the name of an object")
            else:
                wanted[keys.shard(shard, day)] = (shard, size)
        there, ids = [], set()
        snapshots = set().union(*past.values())
        async for info in listed(self._store, ""):
            found, named = wanted.pop(info.key, None), keys.shard_named(info.key)
            ids.add(named[0] if named is not None else b"")
            if found is not None:
                shard, size = found
                there.append((shard, info.key, info.size))
                if size not in (0, info.size):
                    report.faults.append(f"{info.key} has {info.size} bytes, the tree says {size}")
            elif named is not None:
                if current and named[0] not in snapshots:  # else later commits, which are not known, may name it
                    report.notes.append(f"{info.key} ({info.size} bytes) is not in the tree of commit {seq}")
            elif not _KNOWN.fullmatch(info.key):
                report.notes.append(f"{info.key} is no object of storefs")
        self._missing += [(shard, key) for key, (shard, _) in wanted.items()]
        for key, shards in past.items():
            # Shards of a snapshot without a name may go: only those of the oldest that is needed are kept for it.
            gone = shards - ids if key.startswith(keys.NAMED_SNAPSHOTS) else ()
            report.faults += [f"{key}: its shard {shard.hex()} is missing" for shard in sorted(gone)]
        return there

    async def _check_missing(self, tree: Tree, *, current: bool) -> None:
        """Say which shards are missing, unless later commits have no need of them."""
        if self._missing and current:
            await follow(tree, Journal(self._store, self._offload), self._offload)
        for shard, key in self._missing:
            if tree.chunks.shard(shard) is None:
                continue
            chunks = [bytes(row[0]) for row in tree.database.rows("SELECT id FROM chunk WHERE shard = ?", (shard,))]
            self._report.faults.append(f"{key} is missing, and {len(chunks)} chunks with it")
            self._lost.update(chunks)

    async def _check_data(self, tree: Tree, there: list[tuple[ShardId, str, int]]) -> None:
        """Read every chunk of the shards: a few shards at a time, of each one range at a time."""
        total = sum(size for _, _, size in there)
        done = 0

        async def check_one(one: tuple[ShardId, str, int]) -> None:
            nonlocal done
            shard, key, size = one
            try:
                await self._check_shard(tree, shard, key, size)
            except ObjectMissing:
                self._missing.append((shard, key))
            done += size
            self._progress("data", done, total)

        self._progress("data", 0, total)
        await each(there, check_one, _AT_ONCE)

    async def _check_shard(self, tree: Tree, shard: ShardId, key: str, size: int) -> None:
        """Hold the rows of a shard's chunks against its own index, and their content against their digests."""
        report = self._report
        places = list(self._places(tree, shard, key, size))
        try:
            entries = await read_index(partial(self._store.get, key), size, key)
        except Corrupt as error:
            report.faults.append(str(error))
        else:
            report.faults += _disagreements(places, entries, key)
        # The header is read with whatever is read beside it.
        spans = [Span(0, HEADER_BYTES), *(Span(one.offset, one.offset + one.stored) for one in places)]
        at = 0
        for span in coalesce(spans, _GAP_BYTES, _RANGE_BYTES):
            data = await self._store.get(key, span.start, span.length)
            upto = at
            while upto < len(places) and places[upto].offset + places[upto].stored <= span.end:
                upto += 1
            damaged = await self._offload.run(_damaged, data, span, key, places[at:upto])
            report.faults += [text for _, text in damaged]
            self._lost.update(chunk for chunk, _ in damaged if chunk)
            report.count("bytes_read", len(data))
            at = upto

    def _places(self, tree: Tree, shard: ShardId, key: str, size: int) -> Iterator[ChunkPlace]:
        """Yield where the tree has the chunks of a shard of ``size`` bytes, in order, unless that cannot be."""
        rows = tree.database.rows(
            'SELECT id, shard, "offset", stored, codec, size FROM chunk WHERE shard = ? ORDER BY "offset"', (shard,)
        )
        for row in rows:
            chunk, _, offset, stored, number, plain = row
            inside = HEADER_BYTES <= offset <= offset + stored <= size
            if inside and number in _CODECS and max(stored, plain) <= _RANGE_BYTES and plain >= 0:
                yield place_from(row)
                continue
            self._report.faults.append(
                f"chunk {chunk.hex()} cannot be {stored} bytes at {offset} ({plain} unpacked, codec {number}) of {key}"
            )
            self._lost.add(bytes(chunk))


def _disagreements(places: list[ChunkPlace], entries: tuple[Entry, ...], key: str) -> Iterator[str]:
    """Yield which places of the tree a shard's own index does not have."""
    own: dict[str, list[tuple[int, ...]]] = {place.chunk.hex(): [] for place in places}
    for entry in entries:
        if isinstance(entry, InlineEntry) and entry.name in own:
            own[entry.name].append((entry.stored, entry.offset, entry.codec, entry.size))
    for place in places:
        here = (place.stored, place.offset, place.codec, place.size)
        there = own[place.chunk.hex()]
        if here not in there:
            text = f"says {_where(there[-1])}" if there else "does not name it"
            yield f"chunk {place.chunk.hex()}: the tree says {_where(here)}, the index of {key} {text}"


def _where(at: tuple[int, ...]) -> str:
    return "{} bytes at {} (codec {}, {} unpacked)".format(*at)


def _tree_faults(tree: Tree) -> list[str]:
    return list(check.faults(tree.database))


def _damaged(data: bytes, span: Span, key: str, places: list[ChunkPlace]) -> list[tuple[bytes, str]]:
    """Return which chunks of a range that was read are damaged, and how; of the header, with no chunk. In a thread."""
    found: list[tuple[bytes, str]] = []
    if span.start == 0:
        try:
            parse_header(data[:HEADER_BYTES])
        except Corrupt as error:
            found.append((b"", f"{key}: {error}"))
    view = memoryview(data)
    for place in places:
        outcome = outcome_of(view[place.offset - span.start :][: place.stored], place)
        if isinstance(outcome, StorefsError):
            found.append((place.chunk, str(outcome)))
    return found


def _hits(tree: Tree, lost: set[bytes]) -> list[str]:
    """Say which files have bytes in chunks that are lost, and which bytes. In a thread."""
    database = tree.database
    with database.transaction():
        database.run("CREATE TABLE lost (id BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID")
        for chunk in lost:
            database.run("INSERT INTO lost VALUES (?)", (chunk,))
    rows = database.rows(
        """SELECT ino, "offset", "offset" + length FROM extent AS e WHERE chunk IN (SELECT id FROM lost)
        OR NOT EXISTS (SELECT 1 FROM chunk AS c WHERE c.id = e.chunk) ORDER BY 1, 2"""
    )
    hit: dict[int, list[Span]] = {}
    for ino, start, end in rows:
        spans = hit.setdefault(ino, [])
        if spans and spans[-1].end == start:
            spans[-1] = Span(spans[-1].start, end)
        else:
            spans.append(Span(start, end))
    texts = []
    for ino, spans in hit.items():
        parts = ", ".join(f"{span.start} to {span.end}" for span in spans)
        names = database.rows("SELECT parent, name FROM dentry WHERE ino = ?", (ino,))
        paths = [_path(tree, int(parent), bytes(name)) for parent, name in names] or ["(no name)"]
        texts += [f"{path} (inode {ino}) cannot be read at bytes {parts}" for path in paths]
    return texts


def _path(tree: Tree, parent: int, name: bytes) -> str:
    """Return the path of a name from the root of the tree, or from where its directories lead nowhere, in one line."""
    parts, seen = [name], set()
    while parent != ROOT_INO and parent not in seen and (up := tree.dentries.name_of(parent)) is not None:
        seen.add(parent)
        parent, name = up
        parts.append(name)
    text = (b"/" + b"/".join(reversed(parts))).decode(errors="backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
