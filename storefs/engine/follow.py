"""Following: looking at the journal now and then for what other mounts committed."""

import logging

from storefs.engine.commit import Committer
from storefs.engine.limits import Limits
from storefs.engine.wakeup import Wakeup
from storefs.errors import StorefsError

log = logging.getLogger(__name__)


class Follower:
    """Keeps the replica at the head of the journal."""

    def __init__(self, committer: Committer, limits: Limits) -> None:
        self._committer = committer
        self._limits = limits
        self._wake = Wakeup()
        self.trouble: StorefsError | None = None
        """Why the latest look at the journal failed; None after one that did not."""

    def wake(self) -> None:
        """Look at the journal now."""
        self._wake.ring()

    async def run(self) -> None:
        """Look at the journal each ``poll_s``, for as long as the mount lives."""
        while True:
            await self._wake.wait(self._limits.poll_s)
            try:
                await self.poll()
                self.trouble = None
            except StorefsError as error:
                if str(error) != str(self.trouble):
                    log.warning("cannot follow the journal: %s", error)
                self.trouble = error

    async def poll(self) -> int:
        """Apply what was committed elsewhere; return how many commits that were."""
        async with self._committer.lock:
            return await self._committer.advance()
