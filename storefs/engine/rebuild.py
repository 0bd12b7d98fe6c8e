"""Rebuilding: a replica of the tree at the head, made from the store alone."""

import logging
from contextlib import aclosing
from pathlib import Path

from storefs.core.storeinfo import StoreInfo
from storefs.engine.journal import Journal, apply_commit
from storefs.engine.snapshots import Snapshots
from storefs.errors import Corrupt, Diverged
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)


async def replica_at_head(path: Path, info: StoreInfo, snapshots: Snapshots, journal: Journal) -> Tree:
    """Make the new replica ``path`` from the newest snapshot and the commits behind it; return it, open.

    Raises Corrupt when the store does not hold enough for that, and the store's errors.
    """
    for leftover in (path, *(path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm"))):
        leftover.unlink(missing_ok=True)
    restored = await snapshots.restore(path)
    if restored is not None and restored.store != info.store:
        raise Corrupt(f"a snapshot belongs to the store {restored.store.hex()}, not to {info.store.hex()}")
    tree = Tree(path)
    try:
        if restored is None:
            tree.plant(info.store, info.root_mode, info.root_uid, info.root_gid, info.created_ns)
        async with aclosing(journal.following(tree.local.position.seq)) as commits:
            async for commit in commits:
                apply_commit(tree, commit)
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
