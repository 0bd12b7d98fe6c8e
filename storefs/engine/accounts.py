"""The accounts of a store: what its files hold, what of that is stored, and what the store takes for it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storefs.core import keys
from storefs.engine.journal import Journal
from storefs.engine.limits import Limits
from storefs.engine.listing import listed
from storefs.engine.opening import known
from storefs.engine.rebuild import follow, open_replica, use_for_a_while
from storefs.engine.replay import Progress
from storefs.engine.snapshots import Snapshots
from storefs.model import CHUNK_ID_BYTES
from storefs.ports import ObjectStore, Offload
from storefs.shard.format import (
    COUNT_FIELD,
    FLAGS_FIELD,
    FOOTER_BYTES,
    HEADER_BYTES,
    INLINE_FIELDS,
    NAME_FIELD,
)
from storefs.tree import schema
from storefs.tree.tree import Tree

_FILE_KIND = 8
"""``mode >> 12`` of a regular file."""

_ENTRY_BYTES = NAME_FIELD.size + 2 * CHUNK_ID_BYTES + FLAGS_FIELD.size + INLINE_FIELDS.size
_SHARD_BYTES = HEADER_BYTES + COUNT_FIELD.size + FOOTER_BYTES


@dataclass(frozen=True, slots=True)
class Accounts:
    """What a store holds at a commit, in bytes unless it says otherwise.

    Attributes:
        commit: the number of the commit.
        files, directories, others, chunks, shards, commits, snapshots: how many there are; of chunks those that
            files use, of shards those that the tree names.
        logical_bytes: the sizes of all files; of a file with several names once.
        data_bytes: the same without holes.
        plain_bytes: the chunks that files use, unpacked, each once.
        stored_bytes: the same as they are stored.
        shard_bytes: all shards in the store.
        dead_bytes: what of the tree's shards no file uses.
        unnamed_shards, unnamed_bytes: shards that the tree does not name: being uploaded, or kept for a while, or for a
            snapshot with a name.
        journal_bytes, snapshot_bytes: all commits, all snapshots.
    """

    commit: int
    files: int
    directories: int
    others: int
    chunks: int
    shards: int
    commits: int
    snapshots: int
    logical_bytes: int
    data_bytes: int
    plain_bytes: int
    stored_bytes: int
    shard_bytes: int
    dead_bytes: int
    unnamed_shards: int
    unnamed_bytes: int
    journal_bytes: int
    snapshot_bytes: int

    @property
    def dedup_ratio(self) -> float:
        """How many bytes of files there are for one byte of their chunks; 1 for an empty store."""
        return self.data_bytes / self.plain_bytes if self.plain_bytes else 1.0

    @property
    def compression_ratio(self) -> float:
        """How many bytes of chunks there are for one byte that is stored; 1 for an empty store."""
        return self.plain_bytes / self.stored_bytes if self.stored_bytes else 1.0


async def take(store: ObjectStore, offload: Offload, folder: Path, progress: Progress) -> Accounts:
    """Return the accounts of a store, with a replica in ``folder``, which the caller removes.

    Raises NotAStore, Corrupt, Diverged, UnknownFormat, and the store's own errors.
    """
    tree = await _replica(store, offload, folder, progress)
    try:
        commits: list[int] = []
        snapshots: list[int] = []
        shards: dict[bytes, int] = {}
        # After the journal was read: then the shards that it names are there.
        async for info in listed(store, ""):
            if (named := keys.shard_named(info.key)) is not None:
                shards[bytes(named[0])] = info.size
            elif _is(keys.journal_seq, info.key):
                commits.append(info.size)
            elif _is(keys.snapshot_seq, info.key) or _is(keys.snapshot_name, info.key):
                snapshots.append(info.size)
        return await offload.run(_count, tree, shards, commits, snapshots)
    finally:
        tree.close()


async def _replica(store: ObjectStore, offload: Offload, folder: Path, progress: Progress) -> Tree:
    """Make a replica at the head, from the newest snapshot and the journal behind it."""
    snapshots = Snapshots(store, offload, Limits())
    tree = use_for_a_while(await open_replica(folder / "tree.sqlite", await known(store), snapshots))
    try:
        start = tree.local.position.seq
        behind = [info.key async for info in listed(store, keys.JOURNAL, keys.journal(start))]
        head = max((keys.journal_seq(key) for key in behind if _is(keys.journal_seq, key)), default=start)
        # Only so far: what is committed meanwhile could go on for ever.
        await follow(
            tree, Journal(store, offload), offload, head, lambda seq: progress("journal", seq - start, head - start)
        )
    except BaseException:
        tree.close()
        raise
    return tree


def _is(number: Callable[[str], int | str], key: str) -> bool:
    try:
        number(key)
    except ValueError:
        return False
    return True


def _count(tree: Tree, objects: dict[bytes, int], commits: list[int], snapshots: list[int]) -> Accounts:
    """Add up a replica, the shards in the store (bytes by id), and its commits and snapshots. In a thread."""
    database = tree.database
    kinds = {
        kind: (count, size)
        for kind, count, size in database.rows("SELECT mode >> 12, count(*), sum(size) FROM inode GROUP BY 1")
    }
    files, logical = kinds.pop(_FILE_KIND, (0, 0))
    directories, _ = kinds.pop(schema.DIRECTORY_KIND, (0, 0))
    ((chunks, plain, stored, used),) = database.rows(
        """SELECT count(*), coalesce(sum(size), 0), coalesce(sum(stored), 0), count(DISTINCT shard) FROM chunk
        WHERE id IN (SELECT chunk FROM extent)"""
    )
    named = {bytes(shard) for (shard,) in database.rows("SELECT id FROM shard")}
    named_bytes = sum(size for shard, size in objects.items() if shard in named)
    unnamed = [size for shard, size in objects.items() if shard not in named]
    return Accounts(
        commit=tree.local.position.seq,
        files=files,
        directories=directories,
        others=sum(count for count, _ in kinds.values()),
        chunks=chunks,
        shards=len(named),
        commits=len(commits),
        snapshots=len(snapshots),
        logical_bytes=logical,
        data_bytes=database.value("SELECT sum(length) FROM extent"),
        plain_bytes=plain,
        stored_bytes=stored,
        shard_bytes=sum(objects.values()),
        # A chunk takes its payload and its entry in the index, a shard that has some a header and a footer.
        dead_bytes=max(0, named_bytes - stored - chunks * _ENTRY_BYTES - used * _SHARD_BYTES),
        unnamed_shards=len(unnamed),
        unnamed_bytes=sum(unnamed),
        journal_bytes=sum(commits),
        snapshot_bytes=sum(snapshots),
    )
