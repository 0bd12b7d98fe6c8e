"""The head of the journal: this replica brought there, whoever made the commits on the way."""

import logging
from collections.abc import Callable
from contextlib import aclosing

from storefs.engine.drafts import Drafts
from storefs.engine.journal import Commit, Journal, check_follows
from storefs.engine.limits import Limits
from storefs.ports import Clock, KernelCache
from storefs.tree import apply, rebase
from storefs.tree.local import Numbers, Position
from storefs.tree.rebase import Local
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

_ONE_BY_ONE = 4
"""After so many commits there are probably more: then several are fetched at a time."""


class Head:
    """Applies commits as they come, under whatever is pending here.

    Only who holds the committer's lock may call it: between a commit's put and its confirmation it would be taken for
    somebody else's.

    Attributes:
        conflicts: how many conflict copies were made since the mount began.
    """

    def __init__(
        self,
        tree: Tree,
        drafts: Drafts,
        journal: Journal,
        kernel: KernelCache,
        in_use: Callable[[int], bool],
        numbers: Numbers,
        node: int,
        clock: Clock,
        limits: Limits,
        exclusive: set[int],
    ) -> None:
        """Of ``exclusive``, inodes whose newest name must be ours alone, those are dropped that lost it."""
        self._tree = tree
        self._drafts = drafts
        self._journal = journal
        self._kernel = kernel
        self._in_use = in_use
        self._numbers = numbers
        self._node = node
        self._clock = clock
        self._limits = limits
        self._exclusive = exclusive
        self.conflicts = 0

    async def advance(self) -> int:
        """Apply all that was committed behind this replica's position; return how many commits that were.

        Raises Diverged and UnknownFormat, after which going on makes no sense, Corrupt, and the store's errors.
        """
        start = self._tree.local.position.seq
        while (at := self._tree.local.position.seq) < start + _ONE_BY_ONE:
            commit = await self._journal.get(at + 1)
            if commit is None:
                return at - start
            self._take(commit)
        async with aclosing(self._journal.following(at)) as commits:
            async for commit in commits:
                self._take(commit)
        return self._tree.local.position.seq - start

    def confirm(self, high: int, position: Position | None, stored: int = 0) -> None:
        """Record that the store holds the changes up to ``high``: they are no longer pending.

        ``position`` is the commit that did it, of ``stored`` bytes; None if there was nothing to commit.
        """
        tree = self._tree
        with tree.database.transaction():
            tree.pending.drop(high)
            tree.shards.commit(high)
            tree.local.intent = None
            if position is not None:
                tree.local.position = position
                self._count(stored)

    def _take(self, commit: Commit) -> None:
        intent = self._tree.local.intent
        if intent is not None and commit.header.nonce == intent.nonce:  # the answer to its put was lost
            check_follows(self._tree, commit)
            self.confirm(intent.high, commit.position, len(intent.object))
            return
        self._apply(commit)

    def _apply(self, commit: Commit) -> None:
        """Apply somebody else's commit, and let the kernel forget what that changed."""
        tree, header = self._tree, commit.header
        check_follows(tree, commit)
        now_ns = self._clock.now_ns()
        local = Local(
            numbers=self._numbers,
            node=self._node,
            seq=header.seq + 1,
            dirty={draft.ino for draft in self._drafts.all() if not tree.local.is_orphan(draft.ino)},
            in_use=self._in_use,
            exclusive=self._exclusive,
            stale_before_ns=now_ns - int(self._limits.offline_s * 1e9),
            now_ns=now_ns,
        )
        with tree.database.transaction():
            rebased = rebase.advance(tree, commit.changes, header.node, header.seq, local)
            tree.local.intent = None  # its number is taken
            tree.local.position = commit.position
            self._count(header.stored)
        if rebased.conflicts:
            self.conflicts += rebased.conflicts
            log.warning(
                "commit %d and what is pending here touch the same: %d conflict copies", header.seq, rebased.conflicts
            )
        self._forget(rebased.changes)

    def _count(self, stored: int) -> None:
        size = self._tree.local.get("journal_bytes")
        self._tree.local.put("journal_bytes", (size if isinstance(size, int) else 0) + stored)

    def _forget(self, changes: bytes) -> None:
        touched = apply.touched(changes)
        for ino in touched.removed:
            if not self._tree.local.is_orphan(ino):
                self._drafts.drop(ino)
        for parent, name in touched.names:
            self._kernel.forget_entry(parent, name)
        for ino in touched.attributes | touched.contents:
            self._kernel.forget_inode(ino, attributes_only=ino not in touched.contents)
