"""Upkeep: what one mount of all does for the store: snapshots, deleting what is no longer needed, and what is due."""

import logging
from collections.abc import Awaitable, Callable

import trio

from storefs.engine.compact import Compactor
from storefs.engine.lease import Lease
from storefs.engine.limits import Limits
from storefs.engine.snapshots import Snapshots
from storefs.engine.sweep import Sweeper
from storefs.errors import StorefsError
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

Duty = Callable[[], Awaitable[object]]


class Upkeep:
    """Does the upkeep for as long as this mount holds the lease.

    Attributes:
        duties: what else is to be done each time, by whoever knows more of the tree.
    """

    def __init__(
        self, tree: Tree, lease: Lease, snapshots: Snapshots, sweeper: Sweeper, compactor: Compactor, limits: Limits
    ) -> None:
        self._tree = tree
        self._lease = lease
        self._snapshots = snapshots
        self._sweeper = sweeper
        self._compactor = compactor
        self._limits = limits
        self._sweep_s = trio.current_time() + limits.sweep_s
        self.duties: list[Duty] = []

    async def run(self) -> None:
        """Look for something to do each ``upkeep_s``, for as long as the mount lives."""
        while True:
            await trio.sleep(self._limits.upkeep_s)
            await self.do_what_is_due()

    async def do_what_is_due(self) -> None:
        """Do what is due, if the lease is ours or free. What fails is tried again the next time."""
        try:
            if not await self._lease.take():
                return
        except StorefsError as error:
            log.debug("cannot ask for the lease: %s", error)
            return
        for duty in (self._write_snapshot, *self.duties, self._sweep):
            try:
                await duty()
            except StorefsError as error:
                log.warning("upkeep: %s", error)

    async def _write_snapshot(self) -> None:
        if self._snapshots.due(self._tree, unmounting=False):
            await self._snapshots.write(self._tree, self._tree.database.path)

    async def _sweep(self) -> None:
        if trio.current_time() < self._sweep_s:
            return
        self._sweep_s = trio.current_time() + self._limits.sweep_s
        swept = await self._sweeper.sweep()
        compacted = await self._compactor.compact()
        log.info("swept: %s; %s", swept, compacted)
