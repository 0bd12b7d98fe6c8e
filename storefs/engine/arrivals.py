"""Arrivals: commits of others, put under what is pending here."""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import replace

import trio

from storefs.engine.aside import Aside
from storefs.engine.drafts import Drafts
from storefs.engine.limits import Limits
from storefs.model import FILE_BYTES_MAX, ROOT_INO
from storefs.ports import Clock, KernelCache, Offload
from storefs.tree import edits, rebase
from storefs.tree.edits import Edits
from storefs.tree.local import Numbers, Position
from storefs.tree.rebase import Local, Rebased
from storefs.tree.tree import Tree
from storefs.tree.versions import Name

log = logging.getLogger(__name__)

_AT_ONCE = 2048

_FORGET_S, _FORGET_PER_S = 0.25, 20_000
"""How long the kernel is waited for before a commit is applied, and how many names it surely forgets in a second.

It may need a lock that a call on a directory holds.
"""


class Arrivals:
    """Takes in what others committed, one commit after the other.

    Attributes:
        conflicts: how many conflict copies were made since the mount began.
    """

    def __init__(
        self,
        tree: Tree,
        drafts: Drafts,
        kernel: KernelCache,
        in_use: Callable[[int], bool],
        numbers: Numbers,
        node: int,
        clock: Clock,
        limits: Limits,
        exclusive: set[int],
        aside: Aside,
        offload: Offload,
    ) -> None:
        """Of ``exclusive``, inodes whose newest name must be ours alone, those are dropped that lost it."""
        self._tree = tree
        self._drafts = drafts
        self._kernel = kernel
        self._in_use = in_use
        self._numbers = numbers
        self._node = node
        self._clock = clock
        self._limits = limits
        self._exclusive = exclusive
        self._aside = aside
        self._offload = offload
        self._coming = Edits()
        self._aside_numbers: Numbers | None = None
        self.conflicts = 0

    def changes(self, ino: int) -> bool:
        """Whether a commit that is just being applied may change what there is to know of an inode."""
        return ino in self._coming.mentioned

    def changes_name(self, parent: int, name: bytes) -> bool:
        """Whether such a commit may change what a name leads to."""
        return (parent, name) in self._coming.names

    async def take(self, changes: bytes, node: int, position: Position, stored: int, *, hurried: bool) -> None:
        """Apply the changes of ``node`` that lead to ``position`` (``stored`` bytes in the journal). Raises Diverged.

        The kernel forgets what they change, before and after. Before, lest a program finds a new name, which the kernel
        has to ask for, and reads an old file, which it has not; until then it is given nothing of these to keep.
        ``hurried`` leaves that out: who waits for a commit of this mount may hold a lock that the kernel needs to
        forget, and who takes longer to come to the head than others to commit never comes there.
        """
        long = len(changes) + self._tree.pending.bytes >= self._limits.aside_bytes
        self._coming = await self._offload.run(edits.read, changes) if long else edits.read(changes)
        try:
            if not hurried:
                await self._forget(self._coming, self._perhaps_staying())
                with trio.move_on_after(_FORGET_S + len(self._coming.names) / _FORGET_PER_S):
                    await self._kernel.settled()
            rebased = await self._apply(changes, node, position, stored, long=long)
        finally:
            self._coming = Edits()
        if rebased.conflicts:
            self.conflicts += rebased.conflicts
            log.warning("commit %d meets changes of this mount: %d conflict copies", position.seq, rebased.conflicts)
        with trio.CancelScope(shield=True):  # the tree has changed: the kernel must be told
            await self._forget(rebased.edits)

    async def _apply(self, changes: bytes, node: int, position: Position, stored: int, *, long: bool) -> Rebased:
        tree, rebased = self._tree, None

        def arrival() -> _Arrival:
            local = Local(
                numbers=self._numbers,  # of the replica as the loop has it
                node=self._node,
                seq=position.seq + 1,
                dirty=self._dirty(),
                in_use=self._in_use,
                exclusive=set(self._exclusive),
                stale_before_ns=self._clock.now_ns() - int(self._limits.offline_s * 1e9),
                now_ns=self._clock.now_ns(),
            )
            return _Arrival(changes, self._coming, node, position, stored, local, self._dirty, self._drafts)

        def apply_aside(twin: Tree) -> Rebased:
            if self._aside_numbers is None:
                self._aside_numbers = Numbers(twin.database, twin.local, self._node)
            return one.apply(twin, self._aside_numbers)

        one = arrival()
        if long:
            rebased = await self._aside.attempt(apply_aside, one.settle_if_true)
        if rebased is None:  # it is short, or was in somebody's way: in one step
            one = arrival()
            with tree.database.transaction():
                rebased = one.apply(tree, self._numbers)
                one.settle(tree, rebased)
        self._exclusive -= one.lost
        for ino in one.dropped:
            self._drafts.drop(ino)
        return rebased

    def _dirty(self) -> set[int]:
        """Return the inodes with staged writes."""
        return {draft.ino for draft in self._drafts.all() if not self._tree.local.is_orphan(draft.ino)}

    def _perhaps_staying(self) -> set[Name]:
        """Return names of directories that were removed there, and come back if something here needs them.

        One that stays must not be forgotten: what is mounted below it would go.
        """
        if not self._tree.pending.count:
            return set()
        return {name for ino, name in self._coming.former.items() if ino in self._coming.removed}

    async def _forget(self, changed: Edits, but: Collection[Name] = ()) -> None:
        """Let the kernel forget what is changed of that which it knows."""
        names: dict[int, list[bytes]] = defaultdict(list)
        for number, one in enumerate(changed.names, start=1):
            if one not in but and self._knows(one.parent):
                names[one.parent].append(one.name)
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        for parent, those in names.items():
            self._kernel.forget_names(parent, those)
        for number, ino in enumerate(changed.mentioned, start=1):
            if self._knows(ino):
                self._kernel.forget_inode(ino, attributes_only=ino not in changed.contents)
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def _knows(self, ino: int) -> bool:
        return ino == ROOT_INO or self._in_use(ino)


class _Arrival:
    """One commit as it is applied, in one transaction.

    Attributes:
        lost: exclusive inodes that lost their newest name by it.
        dropped: inodes whose staged writes are not what they hold any more.
    """

    def __init__(
        self,
        changes: bytes,
        there: Edits,
        node: int,
        position: Position,
        stored: int,
        local: Local,
        dirty: Callable[[], set[int]],
        drafts: Drafts,
    ) -> None:
        """``local`` is how it is here now; ``dirty`` tells which inodes have staged writes later."""
        self._changes = changes
        self._there = there
        self._node = node
        self._position = position
        self._stored = stored
        self._answers: dict[int, bool] = {}
        self._in_use = local.in_use
        self._local = local
        self._dirty_then, self._dirty = set(local.dirty), dirty
        self._exclusive_then = set(local.exclusive)
        self._drafts = drafts
        self._orphans: list[int] = []
        self.lost: set[int] = set()
        self.dropped: list[int] = []

    def _ask_in_use(self, ino: int) -> bool:
        return self._answers.setdefault(ino, self._in_use(ino))

    def apply(self, tree: Tree, numbers: Numbers) -> Rebased:
        """Change the replica. In a thread, or in one step of the loop."""
        self._orphans = tree.local.orphans()
        local = replace(self._local, numbers=numbers, in_use=self._ask_in_use)
        return rebase.advance(tree, self._changes, self._there, self._node, self._position.seq, local)

    def settle_if_true(self, tree: Tree, rebased: Rebased) -> bool:
        """Settle it, on the loop, unless what it took for granted does not hold any more; return whether it did."""
        if self._dirty() != self._dirty_then or any(self._in_use(ino) != was for ino, was in self._answers.items()):
            return False
        self.settle(tree, rebased)
        return True

    def settle(self, tree: Tree, rebased: Rebased) -> None:
        """Note what comes with it, in the same transaction."""
        # What was staged of a file that goes, or of one without a name that comes back, is not what it holds then.
        self.dropped = [ino for ino in rebased.edits.removed if not tree.local.is_orphan(ino)]
        self.dropped += [ino for ino in self._orphans if not tree.local.is_orphan(ino)]
        for ino in self.dropped:
            if self._drafts.get(ino) is not None:
                tree.shards.absorb(ino, 0, FILE_BYTES_MAX, self._drafts.staged_end)
        tree.local.intent = None  # its number is taken
        tree.local.position = self._position
        count_stored(tree, self._stored)
        self.lost = self._exclusive_then - self._local.exclusive


def count_stored(tree: Tree, stored: int) -> None:
    """Note that the journal grew by ``stored`` bytes."""
    size = tree.local.get("journal_bytes")
    tree.local.put("journal_bytes", (size if isinstance(size, int) else 0) + stored)
