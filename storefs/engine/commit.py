"""Committing: shards to the store first, then the changeset that names them, as the journal's next number.

The put of that number is conditional; it is the only lock there is. What is to be put is written down before the first
try and put unchanged until the number is taken, by us or by somebody else: a try whose answer was lost may have won.
"""

import logging
import math
from dataclasses import dataclass
from typing import NoReturn

import trio

from storefs.cache.shards import ShardFiles
from storefs.core import commitheader, keys
from storefs.core.backoff import Backoff
from storefs.engine.cut import Cutter
from storefs.engine.head import Head
from storefs.engine.journal import Journal, Writer, compose
from storefs.engine.limits import Limits
from storefs.engine.shardlog import ShardLog
from storefs.engine.turns import Turns
from storefs.engine.wakeup import Wakeup
from storefs.errors import Corrupt, Diverged, NotCommitted, StorefsError, UnknownFormat
from storefs.ports import Chance, Clock, ObjectStore, Offload
from storefs.shard import codec
from storefs.tree import pending
from storefs.tree.database import sync_log
from storefs.tree.local import Intent, Position
from storefs.tree.shards import LocalShard, ShardState
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_MANY_CHANGES = 20_000
_MARKS_IN_A_COMMIT = 10
"""How many moments at which nothing was half done are remembered of the changes for one commit: it ends at one."""
_LOOK_S = 0.5

_RETRY = Backoff(first_s=0.5, most_s=5.0)
_RACE = Backoff(first_s=0.005, most_s=0.05)
"""Between two tries to be first. Short, for who has lost is behind already; without it, mounts that lost together would
meet again."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """The changes up to ``high`` can be committed behind commit ``seq``: the store has what they name."""

    seq: int
    high: int


class Committer:
    """Puts what is pending into the store."""

    def __init__(
        self,
        tree: Tree,
        cutter: Cutter,
        shards: ShardLog,
        files: ShardFiles,
        store: ObjectStore,
        journal: Journal,
        head: Head,
        offload: Offload,
        clock: Clock,
        chance: Chance,
        limits: Limits,
        writer: Writer,
        sealed: Wakeup,
    ) -> None:
        self._tree = tree
        self._cutter = cutter
        self._shards = shards
        self._files = files
        self._store = store
        self._journal = journal
        self._head = head
        self._offload = offload
        self._clock = clock
        self._chance = chance
        self._limits = limits
        self._writer = writer
        self.lock = trio.Lock()
        """Held while a commit is under way."""
        self._wake = Wakeup()
        self._sealed = sealed
        self._uploading = trio.Lock()
        self._progress = trio.Event()
        self._waiting = 0
        self._turns = Turns()
        self.last_commit_ns = 0
        """When this mount last committed, ns since 1970; 0 if it has not yet."""
        self.trouble: StorefsError | None = None
        """Why the latest try failed; None after one that did not."""
        self.halted: StorefsError | None = None
        """Why this mount commits no more and takes no changes (a foreign format, say); None while it does."""

    @property
    def conflicts(self) -> int:
        """How many conflict copies were made here since the mount began."""
        return self._head.conflicts

    @property
    def committed(self) -> int:
        """The id of the latest change up to which all are in the store."""
        first = self._tree.pending.first()
        return first - 1 if first else self._tree.pending.last

    def wake(self) -> None:
        """Ask for a commit soon, before the interval is over."""
        self._wake.ring()

    async def run(self) -> None:
        """Commit each interval, and when asked, for as long as the mount lives."""
        failed = 0
        while True:
            if failed:
                await self._wake.wait(_RETRY.wait_s(failed, self._chance.uniform(0, 1)))
            else:
                await self._wait_for_reason()
            try:
                await self.commit()
                failed = 0
                await trio.sleep(self._turns.take_break_s())
            except StorefsError:
                failed += 1

    async def _wait_for_reason(self) -> None:
        """Return when the interval is over, somebody asks, or very much is pending."""
        until_s = trio.current_time() + self._limits.commit_interval_s
        while (left_s := until_s - trio.current_time()) > 0 and self._tree.pending.count < _MANY_CHANGES:
            if await self._wake.wait(min(left_s, _LOOK_S)):
                return

    async def run_uploads(self) -> None:
        """Put shards into the store as soon as they are full, for as long as the mount lives.

        So a commit, and who waits for it, finds most of what it names there already.
        """
        while True:
            await self._sealed.wait(math.inf)
            try:
                await self._upload()
            except StorefsError as error:
                log.debug("a shard stays here until the next commit: %s", error)

    async def sync(self, deadline_s: float | None = None, *, cut: bool = True) -> None:
        """Return when everything acknowledged before this call is in the store; without ``cut`` only what is pending
        is: names and attributes, and contents that were cut into chunks.

        Raises NotCommitted when the deadline (``store_deadline_s`` if None) passes first, and at once what cannot
        get better: NoSpace, StoreRefused, ...
        """
        deadline_s = self._limits.store_deadline_s if deadline_s is None else deadline_s
        with trio.move_on_after(deadline_s):
            if cut:
                await self._cutter.drain()
            goal = self._tree.pending.last
            if self.committed >= goal:
                return
            # Once: a commit under way leaves the ring for the next, and one that fails has its own time to wait.
            self._wake.ring()
            self._waiting += 1
            try:
                await self._wait_until(goal)
            finally:
                self._waiting -= 1
            return
        reason = f": {self.trouble}" if self.trouble else ""
        raise NotCommitted(f"not in the store within {deadline_s:g} s{reason}")

    async def _wait_until(self, goal: int) -> None:
        """Return when the change ``goal`` and all before it are in the store. Raises what cannot get better."""
        while self.committed < goal:
            if self.halted is not None:
                raise self.halted
            await self._progress.wait()
            if self.committed < goal and self.trouble is not None and not self.trouble.retryable:
                raise self.trouble

    async def commit(self) -> None:
        """Commit everything that is pending now. Raises what went wrong; nothing is lost by that."""
        try:
            await self._commit()
            self.trouble = None
        except StorefsError as error:
            if self.trouble is None or str(self.trouble) != str(error):
                log.error("cannot commit: %s", error)
            self.trouble = error
            raise
        finally:
            self._progress.set()
            self._progress = trio.Event()

    async def advance(self) -> int:
        """Apply what was committed elsewhere; return how many commits that were. The caller holds the lock."""
        try:
            others = await self._head.advance(hurried=self._waiting > 0)
        except (UnknownFormat, Diverged) as error:
            self.halt(error)
        if others:
            self._turns.theirs()
        return others

    async def _commit(self) -> None:
        self._require_going()
        # Without the lock: what others commit is followed while much is uploaded.
        ready = await self._make_ready()
        async with self.lock:
            races = 0
            while not await self._put_all(ready):
                races += 1
                await trio.sleep(_RACE.wait_s(races, self._chance.uniform(0, 1)))
                await self.advance()  # last: the number that is tried next must not be an old one by then

    def _require_going(self) -> None:
        if self.halted is not None:
            raise self.halted

    async def _make_ready(self) -> _Ready:
        """Upload what the changes that are pending now need; return which these are."""
        if not self._tree.pending.count:
            return _Ready(self._tree.local.position.seq, 0)
        async with self._cutter.settled() as complete:
            await self._shards.seal()
            if complete:
                self._tree.pending.mark(self._limits.commit_rows // _MARKS_IN_A_COMMIT)
            ready = _Ready(self._tree.local.position.seq, self._tree.pending.last)
        await self._upload()
        return ready

    async def _put_all(self, ready: _Ready) -> bool:
        """Commit everything that is ready; return False when another mount took the next number first."""
        self._require_going()
        if self._head.is_stale:  # a number whose commit was deleted must not be taken for a free one
            await self.advance()
        if (intent := self._tree.local.intent) is not None and not await self._put(intent):
            return False
        if ready.seq != self._tree.local.position.seq:
            # Commits came in since, and changes were perhaps merged into one with newer ones.
            ready = await self._make_ready()
        while (low := self._tree.pending.first()) and low <= ready.high:
            upto = self._tree.pending.slice_end(low, ready.high, self._limits.commit_rows)
            intent = await self._intend(low, upto)
            if intent is None:
                self._confirm(upto, None)
            elif not await self._put(intent):
                return False
        return True

    async def _upload(self) -> None:
        """Put the sealed shards that the store does not have; a few at a time."""
        requests = trio.Semaphore(max(1, self._limits.parallel // 2))
        failures: list[StorefsError] = []

        async def upload(shard: LocalShard) -> None:
            try:
                async with requests:
                    await self._store.put(keys.shard(shard.shard, shard.day), self._files.path(shard.shard))
                self._tree.shards.set_uploaded(shard.shard)
            except StorefsError as error:
                failures.append(error)

        async with self._uploading, trio.open_nursery() as nursery:
            for shard in self._tree.shards.dirty():
                if shard.state is ShardState.SEALED:
                    nursery.start_soon(upload, shard)
        if failures:
            raise failures[0]

    async def _intend(self, low: int, high: int) -> Intent | None:
        """Write down the commit of ``low`` to ``high``; None when these changes cancel out."""
        at = self._tree.local.position
        changesets = self._tree.pending.read(low, high)
        changes, body = await self._offload.run(_merge_and_compress, changesets)
        if not changes:
            return None
        header = compose(at, self._writer, self._chance.token(16), (low, high), self._clock.now_ns(), changes, body)
        intent = Intent(header.seq, header.nonce, low, high, commitheader.pack(header, body))
        with self._tree.database.transaction():
            self._tree.local.intent = intent
        # The store may hold this commit from the next moment on. A replica that a power cut threw back behind it would
        # replay staged writes that the commit already contains.
        await self._offload.run(sync_log, self._tree.database.path)
        return intent

    async def _put(self, intent: Intent) -> bool:
        """Put a commit; return False when its number is taken by another one."""
        header, _ = commitheader.parse(intent.object, intent.seq)
        began_s = trio.current_time()
        try:
            if not await self._journal.put(header, intent.object):
                return False
        except (UnknownFormat, Corrupt) as error:
            self.halt(error)
        self._confirm(intent.high, Position(header.seq, header.nonce, header.chain), len(intent.object))
        self.last_commit_ns = self._clock.now_ns()
        self._turns.mine(began_s, trio.current_time())
        log.debug("commit %d holds changes %d to %d", intent.seq, intent.low, intent.high)
        return True

    def halt(self, error: StorefsError) -> NoReturn:
        """Take no changes from now on, because of ``error``; raise it."""
        self.halted = error
        raise error from None

    def _confirm(self, high: int, position: Position | None, stored: int = 0) -> None:
        self._head.confirm(high, position, stored)
        self.trouble = None
        self._progress.set()
        self._progress = trio.Event()


def _merge_and_compress(changesets: list[bytes]) -> tuple[bytes, bytes]:
    changes = pending.merge(changesets)
    return changes, codec.compress(changes)
