"""The bounds of the engine: every queue, cache, wait and batch has its number here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """All defaults in one table; tests set them small.

    Attributes:
        cache_bytes: disk that the cache may take.
        spare_bytes: disk that the cache leaves free, whatever its limit: the tree and staged writes need it.
        dirty_bytes: how much may wait for the store before writes wait too.
        decoded_bytes: memory for the plain contents of chunks.
        direct_writers: how many fetched ranges are written past the page cache at a time.
        commit_interval_s: the longest that a change waits for its commit while the store is there.
        commit_rows: operations in one commit, about: it ends where nothing is half done.
        aside_bytes: changes, of others and pending ones together, from which on they are merged beside the loop.
        idle_s: a file that is not written for so long counts as whole.
        offline_s: what waited longer for its commit does not replace what others wrote to the same file since.
        grace_s: how long what is no longer needed stays in the store: commits behind a snapshot, unnamed shards.
        lease_s: the term of the lease on upkeep.
        upkeep_s: how often a mount looks whether there is upkeep for it to do.
        sweep_s: how often, while it holds the lease, it looks for what may be deleted.
        store_deadline_s: how long a call that needs the store waits for it, all tries together.
        shard_bytes: a shard is sealed from this length on.
        window_bytes: how much of the staged data is cut into chunks at once (memory).
        partial_bytes: a file being written is cut as it goes from this much on.
        fetch_bytes: the longest range of one request.
        fetch_gap_bytes: neighbours of a shard that lie this close are fetched in one request.
        alone_bytes: a fetched range up to this length goes to the vault, chunk by chunk, if it is nothing but what was
            asked for; others go to shard files.
        small_bytes: a chunk up to this length is taken for a small file's: its neighbours come along.
        window_least_bytes, window_most_bytes: how much of a shard comes along with a small file.
        read_ahead_bytes: how far ahead of a sequential reader chunks are fetched.
        ahead_bytes: how much may be on its way at a time that nobody waits for.
        whole_bytes: files from this length on are brought in whole when a model in them is read here and there.
        strict: whether exclusive names wait for their commit (see volume/exclusive).
        commit_on_close: whether a close waits until its file is committed.
        parallel: requests to the store at a time, for reading and for writing each.
        poll_s: how often the journal is looked at.
        snapshot_commits, snapshot_bytes: a snapshot is due when the journal grew by so much since the last.
        snapshot_commits_unmount, snapshot_bytes_unmount: the same at a clean unmount.
    """

    cache_bytes: int = 20 << 30
    spare_bytes: int = 256 << 20
    dirty_bytes: int = 10 << 30
    decoded_bytes: int = 128 << 20
    commit_interval_s: float = 5.0
    commit_rows: int = 200_000
    aside_bytes: int = 128 << 10
    idle_s: float = 5.0
    offline_s: float = 86_400.0
    grace_s: float = 86_400.0
    lease_s: float = 180.0
    upkeep_s: float = 60.0
    sweep_s: float = 3600.0
    store_deadline_s: float = 60.0
    shard_bytes: int = 64 << 20
    window_bytes: int = 16 << 20
    partial_bytes: int = 16 << 20
    fetch_bytes: int = 16 << 20
    fetch_gap_bytes: int = 256 << 10
    alone_bytes: int = 64 << 10
    small_bytes: int = 256 << 10
    window_least_bytes: int = 256 << 10
    window_most_bytes: int = 4 << 20
    read_ahead_bytes: int = 64 << 20
    ahead_bytes: int = 96 << 20
    whole_bytes: int = 8 << 20
    strict: bool = False
    commit_on_close: bool = False
    parallel: int = 8
    direct_writers: int = 2
    poll_s: float = 1.0
    snapshot_commits: int = 256
    snapshot_bytes: int = 64 << 20
    snapshot_commits_unmount: int = 32
    snapshot_bytes_unmount: int = 8 << 20

    @property
    def direct_bytes(self) -> int:
        """Memory for what goes past the page cache: decoded chunks lie in it, and ranges on their way."""
        return self.decoded_bytes + (96 << 20)
