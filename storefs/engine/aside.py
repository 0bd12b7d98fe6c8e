"""Aside: a long change of the replica, made in a thread over a connection of its own, while the loop goes on reading.

Nobody sees any of it before its commit, which is a short step of the loop. SQLite has one writer at a time: whoever
changes the tree at the kernel's request waits for the long change with ``calm``. Whoever does not wait and finds the
file locked goes first: the long change is taken back, for its maker to make again.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

import trio

from storefs.ports import Offload
from storefs.tree.tree import Tree

T = TypeVar("T")

_ASK_AGAIN_S = 0.001
"""How often a thread that does not hear is told to stop: SQLite hears it only while a statement runs."""


class _TakenBackError(Exception):
    """Ends the transaction of a change that gives way."""


class Aside:
    """Makes long changes of one replica, one at a time."""

    def __init__(self, tree: Tree, offload: Offload) -> None:
        self._tree = tree
        self._offload = offload
        self._twin: Tree | None = None
        self._calm = trio.Event()
        self._calm.set()
        self._lock = threading.Lock()  # between who begins to work and who has it give way
        self._at_work = False
        self._gives_way = False
        self._stopped = threading.Event()
        tree.database.when_busy(self._give_way)

    async def calm(self) -> None:
        """Return when no long change is being made: wait for one at most, not for others that follow it."""
        if not self._calm.is_set():
            await self._calm.wait()

    async def attempt(self, change: Callable[[Tree], T], settle: Callable[[Tree, T], bool]) -> T | None:
        """Run ``change`` in a thread, then ``settle`` with what it returned, in one transaction; return that.

        Both get the replica over the other connection. ``settle`` belongs to the step of the loop that commits and ends
        with this call's return; it says whether what the change took for granted still holds. Returns None, with
        nothing changed, when it does not, or when somebody had to write meanwhile. Errors pass through, with nothing
        changed.
        """
        twin = self._open()
        self._calm, self._stopped, self._gives_way = trio.Event(), threading.Event(), False
        try:
            with twin.database.transaction():
                result: T = await self._offload.run(self._work, change, twin)
                if self._gives_way or not settle(twin, result):
                    raise _TakenBackError  # noqa: TRY301 - it ends the transaction
        except _TakenBackError:
            return None
        finally:
            self._calm.set()
        self._tree.database.reread()
        return result

    def close(self) -> None:
        """Close the other connection."""
        if self._twin is not None:
            self._twin.close()
            self._twin = None

    def _open(self) -> Tree:
        if self._twin is None:
            self._twin = Tree(self._tree.database.path)
            # What does not fit goes to the log at once, in the thread: that leaves little for the commit.
            self._twin.database.run("PRAGMA cache_size = -8192")
        self._twin.database.reread()
        return self._twin

    def _work(self, change: Callable[[Tree], T], twin: Tree) -> T:
        """Make a change, unless somebody was first. In a thread."""
        with self._lock:
            if self._gives_way:
                raise _TakenBackError
            self._at_work = True
        try:
            return change(twin)
        except Exception:
            if self._gives_way:  # whatever comes of being interrupted
                raise _TakenBackError from None
            raise
        finally:
            self._at_work = False
            self._stopped.set()

    def _give_way(self) -> bool:
        """Take the change that is being made back, if there is one: somebody on the loop is in its way."""
        if self._calm.is_set():
            return False
        assert self._twin is not None
        database = self._twin.database
        with self._lock:
            self._gives_way = True
            at_work = self._at_work
        while at_work and not self._stopped.wait(_ASK_AGAIN_S):
            database.interrupt()
        database.roll_back()
        return True
