"""The head of the journal: this replica brought there, whoever made the commits on the way."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

from storefs.engine.arrivals import Arrivals, count_stored
from storefs.engine.journal import Commit, Journal, check_follows
from storefs.engine.limits import Limits
from storefs.errors import Diverged
from storefs.ports import Clock, Offload
from storefs.tree import snapshot
from storefs.tree.difference import difference
from storefs.tree.local import Position
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_ONE_BY_ONE = 4
"""After so many commits there are probably more: then several are fetched at a time."""


class Head:
    """Applies commits as they come, under whatever is pending here.

    Only who holds the committer's lock may call it: between a commit's put and its confirmation it would be taken for
    somebody else's.
    """

    def __init__(
        self,
        tree: Tree,
        journal: Journal,
        arrivals: Arrivals,
        clock: Clock,
        limits: Limits,
        offload: Offload,
        rebuild: Callable[[Path], Awaitable[Tree]],
        secure: Callable[[], Awaitable[None]],
    ) -> None:
        """``rebuild`` makes a replica at the head from the store alone; ``secure`` sees that what is pending here
        relies on nothing in the store that may be gone.
        """
        self._tree = tree
        self._journal = journal
        self._arrivals = arrivals
        self._clock = clock
        self._limits = limits
        self._offload = offload
        self._rebuild = rebuild
        self._secure = secure
        self._seen_ns = 0

    @property
    def conflicts(self) -> int:
        """How many conflict copies were made since the mount began."""
        return self._arrivals.conflicts

    async def advance(self, *, hurried: bool = False) -> int:
        """Apply all that was committed behind this replica's position; return how many commits that were.

        With ``hurried`` somebody waits for a commit of this mount.

        A replica that was away for longer than the journal reaches, or that turns out to be wrong, is brought there
        from a snapshot. Raises Diverged and UnknownFormat, after which going on makes no sense, Corrupt, and the
        store's errors.
        """
        start = self._tree.local.position.seq
        try:
            await self._advance(hurried=hurried)
        except Diverged as error:
            log.error("this replica is built again from the store: %s", error)
            await self._leap()
            await self._advance(hurried=hurried)
        self._seen_ns = self._clock.now_ns()
        return self._tree.local.position.seq - start

    @property
    def is_stale(self) -> bool:
        """Whether the journal was looked at so long ago that its end may have been deleted since.

        A number that is missing then need not be the next one: it may have been there.
        """
        return abs(self._clock.now_ns() - self._seen_ns) > self._limits.grace_s * 1e9 / 4

    async def _advance(self, *, hurried: bool) -> None:
        start = self._tree.local.position.seq
        while (at := self._tree.local.position.seq) < start + _ONE_BY_ONE:
            commit = await self._journal.get(at + 1)
            if commit is None:
                if self.is_stale and await self._journal.floor() > at:
                    await self._leap()
                    continue
                return
            await self._take(commit, hurried=hurried)
        async with aclosing(self._journal.following(at)) as commits:
            async for commit in commits:
                await self._take(commit, hurried=hurried)

    def confirm(self, high: int, position: Position | None, stored: int = 0) -> None:
        """Record that the store holds the changes up to ``high``: they are no longer pending.

        ``position`` is the commit that did it, of ``stored`` bytes; None if there was nothing to commit.
        """
        tree = self._tree
        with tree.database.transaction():
            tree.pending.drop(high)
            tree.shards.commit(high)
            tree.forget_unseen()
            tree.local.intent = None
            if position is not None:
                tree.local.position = position
                count_stored(tree, stored)

    async def _take(self, commit: Commit, *, hurried: bool) -> None:
        intent = self._tree.local.intent
        if intent is not None and commit.header.nonce == intent.nonce:  # the answer to its put was lost
            check_follows(self._tree, commit)
            self.confirm(intent.high, commit.position, len(intent.object))
            return
        check_follows(self._tree, commit)
        header = commit.header
        await self._arrivals.take(commit.changes, header.node, commit.position, header.stored, hurried=hurried)

    async def _leap(self) -> None:
        """Come to the head without the commits on the way there: by the difference of the two trees."""
        replica = self._tree.database.path
        old, new = replica.with_suffix(".before"), replica.with_suffix(".head")
        try:
            head = await self._rebuild(new)
            position = head.local.position
            head.close()
            old.unlink(missing_ok=True)
            await self._offload.run(snapshot.write, replica, old)
            changes = await self._offload.run(difference, old, new)
            await self._secure()
            with self._tree.database.transaction():
                self._tree.shards.forget_uploads()  # so long ago that they may have been swept away
            await self._arrivals.take(changes, 0, position, 0, hurried=False)
            log.warning("came to commit %d from a snapshot", position.seq)
        finally:
            for path in (old, new):
                path.unlink(missing_ok=True)
