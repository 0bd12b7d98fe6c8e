"""Replicas made from the store alone: from the newest snapshot, else from nothing, and the commits behind it."""

import logging
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from storefs.core.storeinfo import StoreInfo
from storefs.engine.journal import Journal, apply_commit
from storefs.engine.snapshots import Snapshots
from storefs.errors import Corrupt, Diverged
from storefs.model import ROOT_INO
from storefs.ports import Offload
from storefs.tree.database import remove_database
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)


async def open_replica(path: Path, info: StoreInfo, snapshots: Snapshots) -> Tree:
    """Open the replica ``path``; where there is none, make it from the newest snapshot, else with a root alone.

    Raises Corrupt for a snapshot of another store, and the store's errors.
    """
    if not path.exists():  # noqa: ASYNC240 - on the own disk
        await snapshots.restore(path, info.store)
    tree = Tree(path)
    if tree.inodes.get(ROOT_INO) is None:
        tree.plant(info)
    return tree


async def follow(
    tree: Tree, journal: Journal, offload: Offload, upto: int | None = None, told: Callable[[int], None] | None = None
) -> None:
    """Bring a replica that has nothing of its own to the head of the journal, or to commit ``upto``.

    ``told`` hears the number of each commit that was applied. Raises Diverged, Corrupt, UnknownFormat, and the store's
    errors; what was applied until then stays.
    """
    async with aclosing(journal.following(tree.local.position.seq)) as commits:
        async for commit in commits:
            if upto is not None and commit.header.seq > upto:
                return
            await offload.run(apply_commit, tree, commit)
            if told is not None:
                told(commit.header.seq)


async def replica_at_head(
    path: Path, info: StoreInfo, snapshots: Snapshots, journal: Journal, offload: Offload
) -> Tree:
    """Make the new replica ``path``, at the head of the journal; return it, open.

    Raises Corrupt when the store does not hold enough for that, and the store's errors.
    """
    remove_database(path)
    tree = await open_replica(path, info, snapshots)
    try:
        await follow(tree, journal, offload)
        await _check_reach(tree, journal)
    except BaseException as error:
        tree.close()
        if isinstance(error, Diverged):
            raise Corrupt(f"the journal does not fit its snapshot: {error}") from error
        raise
    return tree


async def _check_reach(tree: Tree, journal: Journal) -> None:
    """Raise Corrupt if the commits that have to follow were deleted."""
    floor = await journal.floor()
    if tree.local.position.seq < floor:
        raise Corrupt(f"commits up to {floor} were deleted, and no snapshot that holds them is readable")


def use_for_a_while(tree: Tree) -> Tree:
    """Return the replica, set up as one that goes with its process: it need not survive anything, only stay small."""
    tree.database.run("PRAGMA synchronous = OFF")
    tree.database.run("PRAGMA wal_autocheckpoint = 4096")
    return tree
