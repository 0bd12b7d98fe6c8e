"""Rebasing: what others committed goes under what is pending here, in one transaction.

Mostly both can stand side by side: then theirs is simply applied. Where it does not fit, mine is undone, theirs
applied, and mine put back on top: row by row where theirs left it alone, merged (tree/merge) where it did not.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import apsw

from storefs.errors import Diverged
from storefs.model import ChunkId, ChunkPlace
from storefs.tree import apply, edits, garbage, orphans, versions
from storefs.tree.edits import Edits
from storefs.tree.local import Numbers
from storefs.tree.merge import Merge, Side, Wish
from storefs.tree.orphans import Remains
from storefs.tree.pending import merge
from storefs.tree.tree import Tree
from storefs.tree.versions import Name, Place, Version

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Local:
    """What a rebase has to know of this mount.

    Attributes:
        numbers: where new inodes get their numbers from.
        node: its number; ``seq`` is the commit that its pending changes will be at the earliest.
        dirty: inodes with staged writes.
        exclusive: inodes whose newest name must be theirs or go; those that lose it are dropped from the set.
        in_use: tells which inodes the kernel holds.
        stale_before_ns: what was written before is too old to replace what others wrote since.
        now_ns: the time.
    """

    numbers: Numbers
    node: int
    seq: int
    dirty: set[int]
    exclusive: set[int]
    in_use: Callable[[int], bool]
    stale_before_ns: int
    now_ns: int


@dataclass(frozen=True, slots=True)
class Rebased:
    """What came of it: what changed in the replica, and how many conflict copies were made."""

    edits: Edits
    conflicts: int


def advance(tree: Tree, theirs: bytes, there: Edits, node: int, seq: int, local: Local) -> Rebased:
    """Apply the next commit, ``seq`` of ``node``, to a replica, inside the caller's transaction.

    ``there`` is what ``theirs`` touches. Raises Diverged when it does not follow what this replica had before its own
    changes.
    """
    remains = _remains(tree, there.removed, local)
    rebased = Rebased(there, 0) if _fits(tree, theirs, there, local.dirty) else None
    if rebased is None:
        exclusive = set(local.exclusive)
        try:
            with tree.database.attempt():
                rebased = _rebase(tree, theirs, there, node, seq, local)
        except Diverged as error:
            # That is either theirs, which then fails again, or a defect here: mine goes inode by inode then.
            local.exclusive.update(exclusive)
            rebased = _rebase(tree, theirs, there, node, seq, local, whole=True)
            log.error("commit %d is merged with all that is pending here: a part does not fit", seq, exc_info=error)
    for one in remains:
        _keep_orphan(tree, one)
    return rebased


def _remains(tree: Tree, inos: set[int], local: Local) -> list[Remains]:
    """Return what has to stay of inodes that may go: of those in use here."""
    used = [ino for ino in inos if local.in_use(ino) and not tree.local.is_orphan(ino)]
    return [orphans.save(tree.database, ino) for ino in used if tree.inodes.mode_and_group(ino) is not None]


def _fits(tree: Tree, theirs: bytes, there: Edits, dirty: set[int]) -> bool:
    """Apply theirs beside mine if it touches nothing of mine; return whether it was."""
    if there.contents & dirty or any(tree.local.is_orphan(ino) for ino in there.mentioned):
        return False
    if garbage.is_condemning(tree) or (there.dropped_chunks and tree.pending.count):
        return False
    if not tree.pending.count:
        apply.apply(tree.database, theirs)
        return True
    # Of each pending change, not of all together: a commit may end between two of them. And not by rows alone: where a
    # clock stands still, an inode's row does not change with its names and attributes.
    if there.mentioned & tree.pending.mentioned:
        return False
    try:
        with tree.database.attempt():
            apply.apply(tree.database, theirs)
            _require_tree(tree, there)
    except Diverged:
        return False
    return True


def _require_tree(tree: Tree, there: Edits) -> None:
    """Raise Diverged where mine needs what theirs removed, or the other way, or renames of both form a cycle."""
    for ino in there.removed:
        if tree.database.row("SELECT 1 FROM dentry WHERE parent = ?1 OR ino = ?1 LIMIT 1", (ino,)) is not None:
            raise Diverged(f"inode {ino} is needed")
    for name in there.names:
        if tree.dentries.exists(*name) and tree.inodes.mode_and_group(name.parent) is None:
            raise Diverged(f"inode {name.parent} was removed")
    for ino in there.moved:
        if tree.dentries.is_below_itself(ino):
            raise Diverged(f"inode {ino} is below itself")


def _rebase(
    tree: Tree, theirs: bytes, there: Edits, node: int, seq: int, local: Local, *, whole: bool = False
) -> Rebased:
    """Undo mine, apply theirs, and put mine back: merged where both touch an inode, everywhere if ``whole``."""
    database = tree.database
    # Their rows stand where the undo puts them back.
    hidden = [orphans.save(database, ino) for ino in tree.local.orphans()]
    for one in hidden:
        tree.inodes.remove(one.ino)
    mine = merge(tree.pending.read(0, tree.pending.last))
    here = edits.read(mine) if mine else Edits()
    contested = _spread(mine, there.mentioned & (here.mentioned | local.dirty) | _renewed(mine, there))
    if whole:
        contested |= here.mentioned
    remains = _remains(tree, contested, local)
    my_versions = _load(tree, contested)
    wishes = _wishes(tree, mine, contested, there) if mine else []
    places = ((chunk, tree.chunks.place(ChunkId(chunk))) for chunk in there.dropped_chunks)
    my_places = {chunk: place for chunk, place in places if place is not None}
    if mine:
        apply.apply(database, apply.invert(mine))
    base = _load(tree, contested)
    apply.apply(database, theirs)
    their_versions = _load(tree, contested)
    free = edits.without(mine, lambda change: _is_contested(change, contested, there)) if mine else b""
    if free:
        apply.apply(database, free)
    with tree.pending.noted() as noted:
        merging = Merge(
            tree,
            local.numbers,
            Side(here, local.node, local.seq),
            Side(there, node, seq),
            dirty=local.dirty,
            exclusive=local.exclusive,
            stale_before_ns=local.stale_before_ns,
            now_ns=local.now_ns,
        )
        merging.run(base, my_versions, their_versions, wishes)
        kept = {bytes(extent[2]) for version in my_versions.values() for extent in version.extents}
        _bring_back(tree, free, there, kept, my_places)
    again = merge([one for one in (free, noted.changes) if one])
    tree.local.put(garbage.CONDEMNING, 0)
    number = tree.pending.replace(again)
    if number:
        tree.shards.renumber(number)
    tree.forget_unseen()
    for one in hidden:
        if tree.inodes.mode_and_group(one.ino) is None:
            _keep_orphan(tree, one)
        else:
            tree.local.remove_orphan(one.ino)
    for one in [*remains, *(one for one in merging.dissolved if local.in_use(one.ino))]:
        _keep_orphan(tree, one)
    net = merge([part for part in (apply.invert(mine) if mine else b"", theirs, again) if part])
    return Rebased(edits.read(net), merging.conflicts)


def _renewed(mine: bytes, there: Edits) -> set[int]:
    """Return the inodes whose names I took away that theirs took away and gave back."""
    changes = apsw.Changeset.iter(mine) if mine and there.renewed else ()
    olds = ((change.name, change.old) for change in changes)
    rows = (old for name, old in olds if name == "dentry" and old is not None and isinstance(old[2], int))
    return {old[2] for old in rows if Name(old[0], bytes(old[1])) in there.renewed}  # type: ignore[misc, arg-type]


def _spread(mine: bytes, contested: set[int]) -> set[int]:
    """Return the contested inodes with those that mine let follow each other under one name: they go together."""
    changes = apsw.Changeset.iter(mine) if mine else ()
    pairs = [pair for change in changes if change.name == "dentry" and len(pair := edits.targets(change)) > 1]
    spread = set(contested)
    while more := [pair for pair in pairs if pair & spread and not pair <= spread]:
        spread.update(*more)
    return spread


def _load(tree: Tree, inos: set[int]) -> dict[int, Version]:
    found = ((ino, versions.load(tree.database, ino)) for ino in inos)
    return {ino: version for ino, version in found if version is not None}


def _is_contested(change: apsw.TableChange, contested: set[int], there: Edits) -> bool:
    """Whether a change of mine is left to the merge, or (a chunk that both have) to theirs."""
    key = change.new if change.old is None else change.old
    assert key is not None
    if change.name == "dentry":
        return Name(int(key[0]), bytes(key[1])) in there.names or bool(edits.targets(change) & contested)  # type: ignore[arg-type]
    if change.name in ("chunk", "shard"):
        # What I took out of the index may be needed by now; the next sweep looks again.
        return change.new is None or bytes(key[0]) in there.chunks  # type: ignore[arg-type]
    return key[0] in contested


def _bring_back(tree: Tree, free: bytes, there: Edits, kept: set[bytes], my_places: dict[bytes, ChunkPlace]) -> None:
    """Put chunks back into the index that theirs took out while mine came to need them, or ``kept`` them.

    They are where I had them: in shards that stay for long after that, or where I moved them.
    """
    if not there.dropped_chunks:
        return
    rows = [(change.name, change.new) for change in apsw.Changeset.iter(free)] if free else []
    needed = {bytes(new[2]) for name, new in rows if name == "extent" and new is not None}  # type: ignore[arg-type]
    needed |= kept | {bytes(row[0]) for row in tree.database.rows("SELECT chunk FROM held")}
    for chunk in needed & there.dropped_chunks.keys():
        place = my_places.get(chunk)
        if place is None or tree.chunks.place(place.chunk) is not None:
            continue
        tree.chunks.insert(place)
        if (shard := there.dropped_shards.get(bytes(place.shard))) is not None:
            tree.database.run("INSERT OR IGNORE INTO shard VALUES (?, ?, ?)", shard)


def _wishes(tree: Tree, mine: bytes, contested: set[int], there: Edits) -> list[Wish]:
    """Return my new names, of inodes that only I touch, that theirs may stand in the way of. Mine is still applied."""
    found = []
    for change in apsw.Changeset.iter(mine):
        new = change.new
        if change.name != "dentry" or new is None or not isinstance(new[2], int) or new[2] in contested:
            continue
        if not _is_contested(change, contested, there):
            continue
        key = new if change.old is None else change.old
        name = Name(int(key[0]), bytes(key[1]))  # type: ignore[arg-type]
        row = tree.database.row("SELECT cookie, kind FROM dentry WHERE parent = ? AND name = ?", name)
        assert row is not None
        found.append(Wish(new[2], name, Place(*row)))
    return found


def _keep_orphan(tree: Tree, remains: Remains) -> None:
    """Keep the rows of a file that is gone but in use here."""
    if tree.inodes.mode_and_group(remains.ino) is None:
        orphans.restore(tree.database, tree.local, remains)
