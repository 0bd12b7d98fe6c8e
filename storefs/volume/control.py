"""Control: what the control directory shows and does."""

import contextlib
import errno
import json
import os
from collections.abc import Callable
from typing import Any

import trio

import storefs
from storefs.core import keys
from storefs.engine.engine import Engine
from storefs.errors import PosixError, StoreError
from storefs.metrics import Metrics
from storefs.volume.attributes import Attributes
from storefs.volume.clone import Clone
from storefs.volume.names import Names

_SHARDS_SHOWN_MAX = 100


class Control:
    """The control verbs: status, info, sync."""

    def __init__(
        self, engine: Engine, attributes: Attributes, names: Names, cloner: Clone, metrics: Metrics, mountpoint: str
    ) -> None:
        self._engine = engine
        self._attributes = attributes
        self._names = names
        self._cloner = cloner
        self._metrics = metrics
        self._mountpoint = mountpoint
        self.kernel: Callable[[], dict[str, object]] = dict
        """What the daemon adds about how the kernel is served."""
        self.errors = 0
        """How many calls ended in an error that was no ordinary refusal."""

    def status(self) -> dict[str, Any]:
        """Return the state of the mount, ready for JSON."""
        engine = self._engine
        tree, committer, recovered = engine.tree, engine.committer, engine.recovered
        trouble = committer.halted or committer.trouble or engine.follower.trouble
        return {
            "version": storefs.__version__,
            "pid": os.getpid(),
            "mountpoint": self._mountpoint,
            "store": {"url": engine.world.store.url, "id": engine.info.store.hex()},
            "node": engine.writer.node,
            "read_only": engine.read_only,
            "conflicts": engine.committer.conflicts,
            "trouble": str(trouble) if trouble is not None else None,
            "commit": {"seq": tree.local.position.seq, "last_ns": committer.last_commit_ns},
            "pending": {
                "changes": tree.pending.count,
                "files": len(engine.drafts),
                "bytes": engine.pressure.dirty_bytes if not engine.ro else 0,
                "limit_bytes": engine.limits.dirty_bytes,
            },
            "cache": {
                "path": str(engine.home.path),
                "bytes": engine.cache.disk_bytes + engine.staging.disk_bytes,
                "limit_bytes": engine.limits.cache_bytes,
            },
            "recovered": {
                "unclean": recovered.unclean,
                "staged_files": recovered.staged_files,
                "staged_bytes": recovered.staged_bytes,
                "pending_changes": recovered.pending_changes,
                "damaged_files": list(recovered.damaged_files),
            },
            "kernel": self.kernel(),
            "fetch": {
                "requests": engine.trips.requests,
                "bytes": engine.trips.bytes,
                "ahead_bytes": engine.trips.ahead_bytes,
                "windows": {str(size): count for size, count in sorted(engine.neighbours.windows.items())},
                "pushed_files": engine.neighbours.pushed,
                "pushed_bytes": engine.neighbours.pushed_bytes,
                "whole_files": engine.read_ahead.whole_files,
            },
            "warming": [
                {"path": one.path, "files": one.files, "bytes": one.bytes, "total": one.total}
                for one in engine.warmer.running
            ],
            "requests": self._metrics.snapshot(),
            "errors": self.errors,
        }

    def status_text(self) -> bytes:
        """Return the state of the mount as JSON."""
        return json.dumps(self.status(), indent=2).encode() + b"\n"

    def info(self, ino: int) -> dict[str, Any]:
        """Return where a file's bytes are, ready for JSON."""
        engine = self._engine
        inode = self._attributes.get(ino)
        draft = engine.drafts.get(ino)
        extents = engine.tree.extents.all(ino)
        chunks = {extent.chunk for extent in extents}
        places = [place for chunk in chunks if (place := engine.tree.chunks.place(chunk)) is not None]
        dirty = {shard.shard for shard in engine.tree.shards.dirty()}
        shards = sorted({place.shard for place in places})
        return {
            "path": os.fsdecode(self._names.path_of(ino)),
            "inode": ino,
            "size": inode.size,
            "content": inode.cid,
            "staged_bytes": draft.staged_bytes if draft is not None else 0,
            "extents": len(extents),
            "chunks": len(chunks),
            "stored_bytes": sum(place.stored for place in places),
            "cached_chunks": sum(engine.cache.has(place) for place in places),
            "uncommitted_chunks": sum(place.shard in dirty for place in places),
            "shards": [
                keys.shard(info.shard, info.day)
                for shard in shards[:_SHARDS_SHOWN_MAX]
                if (info := engine.tree.chunks.shard(shard)) is not None
            ],
            "shards_total": len(shards),
        }

    def info_text(self, ino: int) -> bytes:
        """Return where a file's bytes are as JSON."""
        return json.dumps(self.info(ino), indent=2).encode() + b"\n"

    async def sync(self) -> None:
        """Return when everything acknowledged is in the store; what others committed comes in as well."""
        if not self._engine.ro:
            await self._engine.committer.sync()
        with contextlib.suppress(StoreError):  # what is written is safe; status tells of trouble with following
            await self._engine.follower.poll()
        await self._kernel_knows()

    def hint(self) -> None:
        """Look for commits of others now: somebody has said that there are some."""
        self._engine.follower.wake()

    async def warm(self, ino: int) -> None:
        """Return when all that a file or directory holds is on this disk. Raises NoSpace if the cache is too small."""
        await self._engine.warmer.warm(ino, os.fsdecode(self._names.path_of(ino)))

    async def warm_path(self, path: bytes) -> None:
        """Do the same for a path, as seen from the root of the tree."""
        await self.warm(self._names.resolve(path).ino)

    async def clone(self, paths: bytes) -> None:
        """Copy a file or directory, see volume/clone: ``paths`` are the source's and the target's, with a NUL between.

        When this returns, the kernel knows of the copy. Raises PosixError, EINVAL for anything but two paths.
        """
        source, _, target = paths.partition(b"\0")
        if not target or b"\0" in target:
            raise PosixError(errno.EINVAL, "clone takes two paths with a NUL between them")
        await self._cloner.clone(source, target)
        await self._kernel_knows()

    async def _kernel_knows(self) -> None:
        """Return when the kernel has forgotten what it was told to, or after the deadline."""
        with trio.move_on_after(self._engine.limits.store_deadline_s):
            await self._engine.world.kernel.settled()
