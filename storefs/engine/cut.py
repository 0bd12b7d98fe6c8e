"""Cutting: drafts become content, their bytes become chunks of local shards.

Files that were closed are cut together, many in one transaction; a file that is still being written is cut as it goes,
but for its last chunk, whose end is not known yet.
"""

import logging
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from storefs.cache.blocks import BlockChecks
from storefs.cache.staging import Staging
from storefs.core.chunking import Chunker
from storefs.core.digest import chunk_id
from storefs.core.ranges import Span
from storefs.engine.aside import Aside
from storefs.engine.drafts import Draft, Drafts
from storefs.engine.limits import Limits
from storefs.engine.read import Reader
from storefs.engine.shardlog import ShardLog
from storefs.engine.wakeup import Wakeup
from storefs.errors import StorefsError
from storefs.model import ChunkId, ChunkPlace, Extent
from storefs.ports import Offload
from storefs.tree.local import Numbers
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_BATCH_FILES = 512
_FRAGMENTS_MAX = 8
_SETTLE_S = 10.0
_SETTLE_TRIES = 3
_GATHER_S = 0.2
"""How long closed files are collected before they are cut together."""


@dataclass(slots=True)
class _Job:
    """A run of staged bytes to be cut. ``base`` is older content in front of it, or around it, that goes along."""

    draft: Draft
    start: int
    end: int
    final: bool
    base: bytes = b""


@dataclass(frozen=True, slots=True)
class _Slice:
    """The part of a job that is cut in one go; its staged bytes lie at (offset, file descriptor, at, length)."""

    job: _Job
    start: int
    end: int
    final: bool
    sources: list[tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk that came out of a slice."""

    offset: int
    chunk: ChunkId
    data: memoryview


class Cutter:
    """Turns drafts into content."""

    def __init__(
        self,
        tree: Tree,
        drafts: Drafts,
        staging: Staging,
        shards: ShardLog,
        reader: Reader,
        blocks: BlockChecks,
        chunker: Chunker,
        numbers: Numbers,
        offload: Offload,
        limits: Limits,
        aside: Aside,
    ) -> None:
        self._tree = tree
        self._drafts = drafts
        self._staging = staging
        self._shards = shards
        self._reader = reader
        self._blocks = blocks
        self._chunker = chunker
        self._numbers = numbers
        self._offload = offload
        self._limits = limits
        self._aside = aside
        self.lock = trio.Lock()
        """Held while something is cut."""
        self._wake = Wakeup()
        self._gate = trio.Event()
        self._gate.set()

    def wake(self) -> None:
        """Say that a draft is whole, or has grown enough to be cut."""
        self._wake.ring()

    async def run(self) -> None:
        """Cut whatever is due, for as long as the mount lives."""
        while True:
            if await self._wake.wait(self._limits.idle_s / 5):
                await trio.sleep(_GATHER_S)
            try:
                await self.cut_due()
            except StorefsError as error:
                log.error("what was written stays staged: %s", error)
                await trio.sleep(self._limits.idle_s / 5)

    async def cut_due(self) -> None:
        """Cut the drafts that are whole, idle or large."""
        now_s = trio.current_time()
        due: list[tuple[Draft, bool]] = []
        for draft in self._drafts.all():
            final = draft.whole or now_s - draft.touched_s >= self._limits.idle_s
            if final or draft.staged_bytes >= self._limits.partial_bytes:
                due.append((draft, final))
        await self._cut(due)

    async def gate(self) -> None:
        """Return when files may be closed; see ``settled``. What is done before the next await is done in time."""
        # No await once it is open: it may be shut in there, by a commit that does not know of this file then.
        while not self._gate.is_set():
            await self._gate.wait()

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[bool]:
        """Hold a moment at which all files that were closed have their contents in the tree; no other is closed inside.

        What was made after a file was closed, a name for it or a mark that it is complete, must not be seen by other
        mounts before its content. Where cutting takes very long, or the disk is full, this is given up. Yields whether
        all is as it should be.
        """
        gate = self._gate = trio.Event()
        complete, trouble = False, "there is too much of it"
        try:
            try:
                with trio.move_on_after(_SETTLE_S):
                    for _ in range(_SETTLE_TRIES):
                        owed = [draft for draft in self._drafts.all() if draft.owed and self._has_name(draft)]
                        if complete := not owed:
                            break
                        await self._cut([(draft, True) for draft in owed])  # after what is just being cut
            except StorefsError as error:
                trouble = str(error)
            if not complete:
                log.warning("a commit comes before what was written to files that are closed: %s", trouble)
            yield complete
        finally:
            gate.set()

    async def drain(self) -> None:
        """Cut everything that was written before this call. Raises NoSpace."""
        await self._cut([(draft, True) for draft in self._drafts.all()])

    async def _cut(self, due: list[tuple[Draft, bool]]) -> None:
        async with self.lock:
            live = [(draft, final) for draft, final in due if self._cuttable(draft)]
            jobs: deque[_Job] = deque()
            for draft, final in live:
                self._drafts.freeze(draft)
                jobs.extend(self._jobs(draft, final=final))
            # Positions of later writes are not below this one.
            upto = self._staging.end
            try:
                while jobs:
                    await self._cut_batch(self._next_batch(jobs), jobs, upto)
            finally:
                for draft, _ in live:
                    self._drafts.thaw(draft)
                if self._staging.drop_dead():
                    self._tree.shards.forget_absorbed(self._staging.start)

    def _cuttable(self, draft: Draft) -> bool:
        """Whether a draft has something to cut into a file that still has a name."""
        return self._drafts.get(draft.ino) is draft and bool(draft.fresh) and self._has_name(draft)

    def _has_name(self, draft: Draft) -> bool:
        return not self._tree.local.is_orphan(draft.ino)

    def _jobs(self, draft: Draft, *, final: bool) -> list[_Job]:
        """Plan the runs of a draft. Small neighbours go along, lest a file crumble into ever smaller extents."""
        ino, runs = draft.ino, draft.cutting.runs()
        inode = self._tree.inodes.get(ino)
        if inode is None or not inode.size:  # nothing older that could go along
            return [_Job(draft, run.start, run.end, final=final or run.end < draft.end) for run in runs]
        size = max(inode.size, draft.end)
        extents, small = self._tree.extents, self._chunker.sizes.small
        if final and size <= small and extents.count(ino, _FRAGMENTS_MAX + 1) + len(runs) > _FRAGMENTS_MAX:
            base = self._reader.local(ino, 0, size)
            if base is not None:
                return [_Job(draft, 0, size, final=True, base=base)]
        jobs: list[_Job] = []
        for run in runs:
            start = run.start
            # Never more than doubles the work: each byte is rewritten a logarithmic number of times.
            while (left := extents.before(ino, start)) is not None:
                if left.length > 2 * (run.end - start) or left.length >= self._chunker.sizes.minimum:
                    break
                if jobs and left.offset < jobs[-1].end:
                    break
                start = left.offset
            base = self._reader.local(ino, start, run.start) if start < run.start else b""
            if base is None:
                start, base = run.start, b""
            jobs.append(_Job(draft, start, run.end, final=final or run.end < draft.end, base=base))
        return jobs

    def _next_batch(self, jobs: deque[_Job]) -> list[_Slice]:
        """Take slices off the jobs until a window is full. A job that is cut short stays the first."""
        batch: list[_Slice] = []
        room = self._limits.window_bytes
        assert room >= 2 * self._chunker.sizes.maximum, "a window must hold more than one chunk"
        while jobs and room > 0 and len(batch) < _BATCH_FILES:
            job = jobs.popleft()
            end = min(job.end, job.start + room)
            room -= end - job.start
            sources = [
                (piece.offset, *self._staging.locate(piece.position), piece.length)
                for piece in job.draft.cutting.overlapping(job.start, end)
            ]
            batch.append(_Slice(job, job.start, end, job.final and end == job.end, sources))
        return batch

    async def _cut_batch(self, batch: list[_Slice], jobs: deque[_Job], upto: int) -> None:
        pieces = await self._offload.run(_split, self._chunker, batch)
        contents = {piece.chunk: piece.data for group in pieces for piece in group}
        places: dict[ChunkId, ChunkPlace] = {}
        await self._aside.calm()
        # Again, for while new ones were appended a commit may have come in that takes known ones out of the index.
        while fresh := [one for one in contents.items() if one[0] not in places and not self._is_known(one[0])]:
            places |= {place.chunk: place for place in await self._shards.append(fresh)}
        for place in places.values():
            self._blocks.note(place, contents[place.chunk])
        self._reader.hold(
            [(piece.chunk, piece.data) for group in pieces for piece in group if piece.chunk not in places]
        )
        gone = self._record(batch, pieces, places, upto)
        for one, group in zip(batch, pieces, strict=True):
            if one.job.draft.ino in gone:
                continue  # what was staged stays so: somebody may still have the file open
            done = group[-1].offset + len(group[-1].data) if group else one.start
            self._drafts.absorbed(one.job.draft, Span(one.start, done))
            if one.end < one.job.end:  # cut short by the window: the rest comes next
                one.job.start, one.job.base = done, one.job.base[done - one.start :]
                jobs.appendleft(one.job)

    def _is_known(self, chunk: ChunkId) -> bool:
        return self._tree.chunks.place(chunk) is not None

    def _record(
        self, batch: list[_Slice], pieces: list[list[_Piece]], places: dict[ChunkId, ChunkPlace], upto: int
    ) -> set[int]:
        """Make the new contents part of the tree: one transaction for the whole batch.

        Return the inodes that went while they were cut (and perhaps came back); nothing was recorded of these.
        """
        tree = self._tree
        gone: set[int] = set()
        with tree.pending.recorded():
            number = tree.pending.last + 1
            for place in places.values():
                if tree.chunks.place(place.chunk) is None:
                    tree.chunks.insert(place)
            for one, group in zip(batch, pieces, strict=True):
                draft = one.job.draft
                inode = tree.inodes.get(draft.ino)
                if inode is None or tree.local.is_orphan(draft.ino) or self._drafts.get(draft.ino) is not draft:
                    gone.add(draft.ino)
                    continue
                if not group:
                    continue
                end = group[-1].offset + len(group[-1].data)
                tree.extents.clear(draft.ino, one.start, end)
                for piece in group:
                    tree.extents.insert(draft.ino, Extent(piece.offset, len(piece.data), piece.chunk, 0))
                    if piece.chunk not in places:
                        tree.shards.hold(piece.chunk, number)
                columns = {"size": max(inode.size, end), "cid": self._numbers.take()}
                if draft.mtime_ns is not None:
                    columns |= {"mtime_ns": draft.mtime_ns, "ctime_ns": max(inode.ctime_ns, draft.mtime_ns)}
                tree.inodes.update(draft.ino, **columns)
                tree.shards.absorb(draft.ino, one.start, end, upto)
        return gone


def _split(chunker: Chunker, batch: list[_Slice]) -> list[list[_Piece]]:
    """Read, cut and name the chunks of each slice. Runs in a thread."""
    return [_split_one(chunker, one) for one in batch]


def _split_one(chunker: Chunker, one: _Slice) -> list[_Piece]:
    buffer = bytearray(one.end - one.start)
    view = memoryview(buffer)
    base = one.job.base[: len(buffer)]
    view[: len(base)] = base
    for offset, fd, at, length in one.sources:
        target = view[offset - one.start : offset - one.start + length]
        read = os.preadv(fd, [target], at)
        assert read == length, f"staging ends early: {read} of {length} bytes"
    found = []
    for offset, length in chunker.cut(buffer, final=one.final):
        data = view[offset : offset + length]
        found.append(_Piece(one.start + offset, chunk_id(data), data))
    return found
