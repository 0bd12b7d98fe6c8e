"""Following: what other mounts commit is applied here, and the kernel forgets what that changed."""

import logging
from collections.abc import Callable

import trio

from storefs.engine.commit import Committer
from storefs.engine.drafts import Drafts
from storefs.engine.journal import Commit, Journal, apply_commit
from storefs.engine.limits import Limits
from storefs.errors import Diverged, StorefsError, UnknownFormat
from storefs.ports import KernelCache
from storefs.tree import apply, orphans
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)


class Follower:
    """Keeps the replica at the head of the journal while nothing is pending here."""

    def __init__(
        self,
        tree: Tree,
        drafts: Drafts,
        journal: Journal,
        committer: Committer,
        kernel: KernelCache,
        in_use: Callable[[int], bool],
        limits: Limits,
    ) -> None:
        self._tree = tree
        self._drafts = drafts
        self._journal = journal
        self._committer = committer
        self._kernel = kernel
        self._in_use = in_use
        self._limits = limits
        self.trouble: StorefsError | None = None
        """Why the latest look at the journal failed; None after one that did not."""

    async def run(self) -> None:
        """Look at the journal each ``poll_s``, for as long as the mount lives."""
        while True:
            await trio.sleep(self._limits.poll_s)
            try:
                await self.poll()
                self.trouble = None
            except StorefsError as error:
                if str(error) != str(self.trouble):
                    log.warning("cannot follow the journal: %s", error)
                self.trouble = error

    async def poll(self) -> int:
        """Apply what was committed elsewhere; return how many commits that were."""
        applied = 0
        # The committer's lock: its own commit, put but not confirmed yet, must not be taken for somebody else's.
        async with self._committer.lock:
            while self._is_still() and self._tree.local.intent is None:
                try:
                    commit = await self._journal.get(self._tree.local.position.seq + 1)
                    # Changes may have come while the store answered: then the next commit settles who was first.
                    if commit is None or not self._is_still():
                        break
                    self._apply(commit)
                except (UnknownFormat, Diverged) as error:
                    self._committer.halt(error)
                applied += 1
        return applied

    def _is_still(self) -> bool:
        """Whether nothing is changed here that no commit holds, drafts included: contents are taken whole.

        Drafts of files without a name do not count; nobody else has these files.
        """
        if self._tree.pending.count:
            return False
        return all(self._tree.local.is_orphan(draft.ino) for draft in self._drafts.all())

    def _apply(self, commit: Commit) -> None:
        touched = apply.touched(commit.changes)
        used = [ino for ino in touched.removed if self._in_use(ino)]
        remains = [orphans.save(self._tree.database, ino) for ino in used]
        apply_commit(self._tree, commit)
        with self._tree.database.transaction():
            for one in remains:
                orphans.restore(self._tree.database, self._tree.local, one)
        for ino in touched.removed:
            if ino not in used:
                self._drafts.drop(ino)
        for parent, name in touched.names:
            self._kernel.forget_entry(parent, name)
        for ino in touched.attributes | touched.contents:
            self._kernel.forget_inode(ino, attributes_only=ino not in touched.contents)
