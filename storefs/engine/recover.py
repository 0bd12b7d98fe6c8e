"""Recovery: a replica brought to where its last process left it, and to where the store is."""

import logging
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass

from storefs.cache.chunks import ChunkCache
from storefs.cache.staging import Record, Staging
from storefs.core.writemap import Piece, WriteMap
from storefs.engine.drafts import Drafts
from storefs.engine.journal import Commit, Journal, apply_commit
from storefs.engine.shardlog import ShardLog
from storefs.errors import Corrupt
from storefs.model import FILE_BYTES_MAX, ChunkPlace, Inode, ShardInfo
from storefs.shard.format import InlineEntry
from storefs.shard.reader import decode_chunk
from storefs.shard.writer import ShardWriter
from storefs.tree import apply, edits
from storefs.tree.local import Numbers
from storefs.tree.pending import merge
from storefs.tree.shards import ShardState
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start found of an earlier process.

    Attributes:
        unclean: whether that process ended without saying so (a crash, a kill, a power cut).
        staged_files, staged_bytes: writes taken over that were not part of a file's content yet.
        pending_changes: changes taken over that no commit holds yet.
        damaged_files: inodes that lost bytes to a power cut before they were synced.
    """

    unclean: bool
    staged_files: int
    staged_bytes: int
    pending_changes: int
    damaged_files: tuple[int, ...]


async def catch_up(tree: Tree, journal: Journal, staging: Staging) -> int:
    """Apply what was committed since this replica was last in use; return how many commits that were.

    A commit that this replica was putting when it stopped is recognized by its nonce: its changes are no longer
    pending then. Ends before somebody else's commit that has to go under pending changes or staged writes: that needs
    more than is there at this point (see Head).
    """
    # Their rows stand where an undo would put them back.
    for ino in tree.local.orphans():
        with tree.database.transaction():
            tree.inodes.remove(ino)
            tree.local.remove_orphan(ino)
            tree.shards.absorb(ino, 0, FILE_BYTES_MAX, staging.end)  # should it come back by another mount's commit
    applied = 0
    async with aclosing(journal.following(tree.local.position.seq)) as commits:
        async for commit in commits:
            if _is_own(tree, commit):
                _confirm_own(tree, commit)
            elif tree.pending.count or any(_unsettled(tree, staging)):
                break
            else:
                apply_commit(tree, commit)
            applied += 1
    return applied


def _is_own(tree: Tree, commit: Commit) -> bool:
    """Whether this replica made a commit: by its nonce, or (when a power cut took the note of it) by its writer."""
    intent = tree.local.intent
    if intent is not None and commit.header.nonce == intent.nonce:
        return True
    return (commit.header.node, commit.header.boot) == (tree.local.get("node"), tree.local.get("boot"))


def _confirm_own(tree: Tree, commit: Commit) -> None:
    """Record that an own commit is in the store; its changes are here already."""
    # A shard that it names is in the store, even if a power cut took the note of its upload.
    shards = edits.read(commit.changes).shards
    if tree.pending.last < commit.header.high:
        # A power cut took some of them from this disk: what is left of them makes way for the commit as it is.
        undo = apply.invert(merge(tree.pending.read(0, commit.header.high)))
        with tree.database.transaction():
            if undo:
                apply.apply(tree.database, undo)
            tree.pending.drop(commit.header.high)
            tree.shards.commit(commit.header.high)
            tree.shards.forget(shards)
            tree.local.intent = None
        apply_commit(tree, commit)
        return
    with tree.database.transaction():
        tree.pending.drop(commit.header.high)
        tree.shards.commit(commit.header.high)
        tree.shards.forget(shards)
        tree.local.intent = None
        tree.local.position = commit.position


def recover(
    tree: Tree,
    staging: Staging,
    cache: ChunkCache,
    drafts: Drafts,
    shards: ShardLog,
    numbers: Numbers,
    *,
    unclean: bool,
    verify: bool,
) -> Recovered:
    """Take over what the last process acknowledged. ``verify`` re-reads all that is not in the store yet.

    That is due after a power cut: then SQLite's word about a file may be younger than the file.
    """
    damaged = _check_shards(tree, cache, numbers) if verify else ()
    with tree.database.transaction():
        tree.shards.forget_uploads()
    _seal_open(tree, cache, shards)
    known = {cache.files.path(shard.shard) for shard in tree.shards.dirty()}
    for path in cache.files.strays():
        if path not in known:
            path.unlink()
    files, staged = _replay(tree, staging, drafts)
    report = Recovered(unclean, files, staged, tree.pending.count, damaged)
    if unclean:
        log.warning(
            "the last mount of this cache was cut off: took over %d bytes of %d files and %d changes",
            staged,
            files,
            report.pending_changes,
        )
    return report


def _seal_open(tree: Tree, cache: ChunkCache, shards: ShardLog) -> None:
    """Complete the shards that were being written, with the chunks that the tree knows of."""
    for shard in tree.shards.dirty():
        path = cache.files.path(shard.shard)
        places = tree.chunks.in_shard(shard.shard)
        if shard.state is not ShardState.OPEN:
            cache.files.note(shard.shard, 0, path.stat().st_size if path.exists() else 0)
        elif not places:
            path.unlink(missing_ok=True)
            with tree.pending.recorded():
                tree.database.run("DELETE FROM shard WHERE id = ?", (shard.shard,))
                tree.database.run("DELETE FROM local_shard WHERE id = ?", (shard.shard,))
        else:
            end = max(place.offset + place.stored for place in places)
            entries = [
                InlineEntry(place.chunk.hex(), place.offset, place.stored, place.codec, place.size) for place in places
            ]
            writer = ShardWriter.resume(path, entries, end)
            cache.files.extend(shard.shard, end)
            shards.adopt(ShardInfo(shard.shard, shard.day, 0), writer)


def _replay(tree: Tree, staging: Staging, drafts: Drafts) -> tuple[int, int]:
    """Make drafts again of the staged writes that are not part of their files yet."""
    files: set[int] = set()
    staged = 0
    for record, inode, piece in _unsettled(tree, staging):
        drafts.replay(record.ino, piece, record.time_ns if record.time_ns > inode.ctime_ns else None)
        files.add(record.ino)
        staged += piece.length
    # A power cut may have taken the log's end and left the notes on it: new records must not fall under these.
    staging.skip_to(tree.shards.absorbed_end())
    return len(files), staged


def _unsettled(tree: Tree, staging: Staging) -> Iterator[tuple[Record, Inode, Piece]]:
    """Yield the staged writes, or what is left of them, that are not part of their files' content."""
    absorbed = tree.shards.absorbed()
    for record in staging.records():
        inode = tree.inodes.get(record.ino)
        if inode is None or not inode.nlink:
            continue
        left = WriteMap()
        left.put(record.offset, record.length, record.position)
        for settled in absorbed.get(record.ino, ()):
            if record.position < settled.position:
                left.clear(settled.start, settled.end)
        for piece in left.pieces:
            yield record, inode, piece


def _check_shards(tree: Tree, cache: ChunkCache, numbers: Numbers) -> tuple[int, ...]:
    """Check every chunk that only this disk has; what a power cut took becomes a hole, and its file is named."""
    damaged: set[int] = set()
    for shard in tree.shards.dirty():
        lost = [place for place in tree.chunks.in_shard(shard.shard) if not _is_whole(cache, place)]
        if shard.state is ShardState.UPLOADED:
            if lost:  # the store has it: fetched again when wanted
                cache.files.remove(shard.shard)
                tree.shards.forget({bytes(shard.shard)})
            continue
        for place in lost:
            damaged |= _lose(tree, place, numbers)
        if lost or not cache.files.path(shard.shard).exists():
            tree.shards.reopen(shard.shard)
    return tuple(sorted(damaged))


def _lose(tree: Tree, place: ChunkPlace, numbers: Numbers) -> set[int]:
    """Take a chunk whose bytes are gone out of the tree; return the inodes that lost them."""
    rows = tree.database.rows('SELECT ino, "offset", length FROM extent WHERE chunk = ?', (place.chunk,))
    with tree.pending.recorded():
        for ino, offset, length in rows:
            log.error("inode %d lost the bytes %d to %d in a power cut", ino, offset, offset + length)
            tree.extents.clear(ino, offset, offset + length)
            tree.inodes.update(ino, cid=numbers.take())
        tree.database.run("DELETE FROM chunk WHERE id = ?", (place.chunk,))
    return {ino for ino, _, _ in rows}


def _is_whole(cache: ChunkCache, place: ChunkPlace) -> bool:
    try:
        with cache.files.path(place.shard).open("rb") as file:
            file.seek(place.offset)
            decode_chunk(file.read(place.stored), place)
    except (Corrupt, OSError):
        return False
    return True
