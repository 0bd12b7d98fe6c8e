"""The end of a mount: signals, the last commit, and how long it may take."""

import logging
import signal
from collections.abc import AsyncIterator

import trio

from storefs.engine.engine import Engine
from storefs.errors import NotCommitted, StorefsError
from storefsd.fuse.session import Session

log = logging.getLogger(__name__)

_OFFLINE_LIMIT_S = 24 * 3600.0
"""How long a daemon whose mount is gone goes on trying to commit, if no signal tells it to end."""


class Ending:
    """Watches for signals from before the mount is up until everything is committed.

    A signal while the mount is up: commit, then unmount, so that nobody's files vanish for as long as the store takes.
    A signal afterwards: the last commit has ``store_deadline`` left.
    """

    def __init__(self, engine: Engine, session: Session) -> None:
        self._engine = engine
        self._session = session
        self._deadline_s = engine.limits.store_deadline_s
        self._early = trio.CancelScope()
        self._late = trio.CancelScope()
        self._unmounted = False
        self._failure: StorefsError | None = None

    async def watch(self, signals: AsyncIterator[int]) -> None:
        """Do what the signals ask for."""
        async for number in signals:
            name = signal.Signals(number).name
            self._late.deadline = min(self._late.deadline, trio.current_time() + self._deadline_s)
            if self._unmounted:
                log.info("%s: the last commit has %g s left", name, self._deadline_s)
                continue
            log.info("%s: committing, then unmounting", name)
            with self._early:
                try:
                    await self._engine.finish(self._deadline_s)
                except StorefsError as error:
                    self._failure = error
            if not self._unmounted:
                self._session.stop()

    def unmounted(self) -> None:
        """Take note that the mount is gone: what a signal began is left to ``finish``."""
        self._unmounted = True
        self._early.cancel()

    async def finish(self) -> None:
        """Commit what is left, trying on while the store is away. Raises NotCommitted and its kin."""
        if self._failure is not None:
            raise self._failure
        with self._late:
            await self._engine.finish(_OFFLINE_LIMIT_S)
        if self._late.cancelled_caught:
            engine = self._engine
            raise NotCommitted(
                f"{engine.tree.pending.count} changes and {len(engine.drafts)} files just written are not committed;"
                f" they are kept in {engine.home.path}, and the next mount with this cache commits them"
            )
