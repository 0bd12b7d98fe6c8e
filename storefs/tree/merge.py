"""Merging: inodes that two mounts changed at the same time, decided one by one by the rules of a file tree.

Of each inode three versions are known: what both began from, mine, and theirs, which is committed. The result is
written over theirs. Names belong to whoever committed first, contents to whoever commits last, and no bytes are
dropped: what has to make way gets a name of its own. docs/SEMANTICS.md has the rules as users meet them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from storefs.core.conflictname import conflict_names
from storefs.model import ROOT_INO
from storefs.tree import orphans, schema, versions
from storefs.tree.edits import Edits
from storefs.tree.local import Numbers
from storefs.tree.orphans import Remains
from storefs.tree.tree import Tree
from storefs.tree.versions import CID, CTIME, MTIME, SIZE, Name, Place, Version

LOST_AND_FOUND = b"lost+found"
"""The directory, below the root, of what has lost its own."""

_ATTRIBUTES = (versions.MODE, versions.UID, versions.GID, versions.ATIME, MTIME, CTIME)


@dataclass(frozen=True, slots=True)
class Side:
    """A party to a merge: its edits, and who it is: the node and the commit that conflict copies are named by."""

    edits: Edits
    node: int
    seq: int


@dataclass(frozen=True, slots=True)
class Wish:
    """A name of mine that has yet to find its place, and where that was."""

    ino: int
    at: Name
    place: Place


class Merge:
    """One merge, inside the caller's transaction, on a replica that holds theirs and what of mine touches it nowhere.

    Attributes:
        conflicts: how many conflict copies were made.
        dissolved: new directories of mine that became part of theirs.
    """

    def __init__(
        self,
        tree: Tree,
        numbers: Numbers,
        mine: Side,
        theirs: Side,
        *,
        dirty: set[int],
        exclusive: set[int],
        stale_before_ns: int,
        now_ns: int,
    ) -> None:
        """``dirty`` are inodes with staged writes: their content counts as mine. Of ``exclusive`` those are dropped
        that do not get the name they were made or renamed for.

        What I wrote to a file before ``stale_before_ns`` does not replace what somebody wrote since.
        """
        self._tree = tree
        self._database = tree.database
        self._numbers = numbers
        self._mine = mine
        self._theirs = theirs
        self._dirty = dirty
        self._exclusive = exclusive
        self._stale_before_ns = stale_before_ns
        self._now_ns = now_ns
        self._wishes: list[Wish] = []
        self._emptied: dict[int, Version] = {}
        self.conflicts = 0
        self.dissolved: list[Remains] = []

    def run(
        self,
        base: Mapping[int, Version],
        mine: Mapping[int, Version],
        theirs: Mapping[int, Version],
        wishes: list[Wish],
    ) -> None:
        """Merge the inodes that both sides mention; ``wishes`` are names of mine for inodes of mine alone."""
        self._wishes = list(wishes)
        for ino in sorted(base.keys() | mine.keys() | theirs.keys()):
            self._merge(ino, base.get(ino), mine.get(ino), theirs.get(ino))
        self._remove_empty()
        for wish in sorted(self._wishes, key=lambda one: (one.at, one.ino)):
            self._place(wish.ino, wish.at, wish.place, self._mine)
        self._house_strays()
        self._break_cycles()

    # --- one inode ----------------------------------------------------------------------------------------------------

    def _merge(self, ino: int, base: Version | None, mine: Version | None, theirs: Version | None) -> None:
        if mine is not None and theirs is not None:
            self._merge_both(ino, base or _nothing(mine, theirs), mine, theirs)
        elif mine is not None and theirs is None:
            added = _less(mine.names, base)
            wrote = ino in self._dirty or base is None or mine.cid != base.cid
            if wrote or added or self._has_entries(ino):
                self._keep(ino, mine, None, added or mine.names)
        elif mine is None and theirs is not None:
            added = _less(theirs.names, base)
            wrote = base is None or theirs.cid != base.cid
            if wrote or added:
                self._keep(ino, theirs, theirs, added or theirs.names)
            elif theirs.kind == schema.DIRECTORY_KIND:
                self._emptied[ino] = theirs
            else:
                self._remove(ino, theirs)

    def _merge_both(self, ino: int, base: Version, mine: Version, theirs: Version) -> None:
        result, copy = self._contents(ino, base, mine, theirs)
        names = self._names(ino, base, mine, theirs)
        if theirs.cid != base.cid and base.names.keys() - mine.names.keys():
            self._tree.local.note_unseen(ino)
        if not names and ino != ROOT_INO:
            written = result.cid != base.cid or self._tree.local.is_unseen(ino)
            if not written or not theirs.names:
                self._remove(ino, theirs)
                return
            names = dict(theirs.names)  # it was written to: that is not thrown away with the names
        self._keep(ino, result, theirs, names)
        if copy is not None:
            self._copy(*copy, names)

    def _contents(
        self, ino: int, base: Version, mine: Version, theirs: Version
    ) -> tuple[Version, tuple[Version, Side] | None]:
        """Return the file as it will be, but for its names, and what becomes its conflict copy, if anything."""
        row = list(theirs.row)
        for column in _ATTRIBUTES:
            if mine.row[column] != base.row[column]:
                row[column] = mine.row[column]
        latest = (MTIME, CTIME) if base.kind == schema.DIRECTORY_KIND else (CTIME,)
        for column in latest:
            row[column] = max(mine.row[column], theirs.row[column])
        xattrs = dict(theirs.xattrs)
        for name in base.xattrs.keys() | mine.xattrs.keys():
            value = mine.xattrs.get(name)
            if value != base.xattrs.get(name):
                xattrs.pop(name, None)
                if value is not None:
                    xattrs[name] = value
        merged = Version(tuple(row), theirs.extents, xattrs, theirs.names)
        i_wrote = ino in self._dirty or mine.cid != base.cid
        if not i_wrote:
            return merged, None
        they_wrote = theirs.cid != base.cid
        same = mine.has_content_of(theirs) and ino not in self._dirty
        if they_wrote and same:
            return merged, None
        if they_wrote and ino not in self._dirty and mine.row[MTIME] < self._stale_before_ns:
            row[MTIME] = theirs.row[MTIME]
            return replace(merged, row=tuple(row)), (mine, self._mine)
        row[SIZE] = mine.row[SIZE]
        # With writes on top that are not cut yet it is a version that nobody has seen.
        row[CID] = self._numbers.take() if mine.cid == base.cid else mine.cid
        row[MTIME] = mine.row[MTIME]
        result = replace(merged, row=tuple(row), extents=mine.extents)
        return result, (theirs, self._theirs) if they_wrote else None

    def _names(self, ino: int, base: Version, mine: Version, theirs: Version) -> dict[Name, Place]:
        """Return the names of a file that both have."""
        my_new, their_new = _less(mine.names, base), _less(theirs.names, base)
        if my_new and their_new and base.names.keys() - mine.names.keys() - theirs.names.keys():
            self._exclusive.discard(ino)
        if base.kind == schema.DIRECTORY_KIND:
            return dict(theirs.names if their_new else my_new or theirs.names)
        taken = base.names.keys() - mine.names.keys()
        if my_new and their_new:
            # Renamed on both sides: the first to commit has named it, and mine would be a second name.
            renamed = len(taken & (base.names.keys() - theirs.names.keys()))
            my_new = dict(sorted(my_new.items())[min(renamed, len(their_new)) :])
        return {name: place for name, place in theirs.names.items() if name not in taken} | my_new

    def _keep(self, ino: int, version: Version, now: Version | None, names: Mapping[Name, Place]) -> None:
        """Write an inode, and see to its names: those that are new to the replica are wished for."""
        versions.store(self._database, ino, version, now)
        there = now.names if now is not None else {}
        for name in sorted(there.keys() - names.keys()):
            self._tree.dentries.remove(*name)
        self._wishes += [Wish(ino, name, names[name]) for name in sorted(names.keys() - there.keys())]

    def _remove(self, ino: int, now: Version) -> None:
        for name in now.names:
            self._tree.dentries.remove(*name)
        self._tree.inodes.remove(ino)

    def _copy(self, loser: Version, side: Side, names: Mapping[Name, Place]) -> None:
        """Give the content that made way a file of its own, beside the one that it was."""
        ino = self._numbers.take()
        row = list(loser.row)
        row[CID] = self._numbers.take()
        versions.store(self._database, ino, replace(loser, row=tuple(row)), None)
        parent, name = min(loser.names or names)
        self._settle(ino, Name(self._directory(parent), name), loser.kind, side)

    # --- names --------------------------------------------------------------------------------------------------------

    def _place(self, ino: int, at: Name, place: Place, side: Side) -> None:
        """Give an inode a name, that one if it is free."""
        if self._tree.inodes.mode_and_group(ino) is None:
            return  # gone meanwhile, with a directory that was merged
        parent = self._directory(at.parent)
        there = self._tree.dentries.lookup(parent, at.name)
        if there is None:
            self._insert(Name(parent, at.name), ino, place)
        elif there.ino == ino:
            return
        elif ino in self._exclusive:
            self._exclusive.discard(ino)
            if ino in self._mine.edits.created:
                self._tree.inodes.remove(ino)
        elif there.is_directory and place.kind == schema.DIRECTORY_KIND and ino in self._mine.edits.created:
            self._pour(ino, there.ino)
        else:
            self._settle(ino, Name(parent, at.name), place.kind, side)

    def _settle(self, ino: int, beside: Name, kind: int, side: Side) -> None:
        """Give an inode the first free name of a conflict copy."""
        self.conflicts += 1
        for name in conflict_names(beside.name, side.node, side.seq):
            if not self._tree.dentries.exists(beside.parent, name):
                self._insert(Name(beside.parent, name), ino, Place(self._numbers.take(), kind))
                return

    def _insert(self, at: Name, ino: int, place: Place) -> None:
        self._database.run("INSERT INTO dentry VALUES (?, ?, ?, ?, ?)", (*at, ino, *place))

    def _pour(self, mine: int, theirs: int) -> None:
        """Move what is in a new directory of mine into the one that got its name first."""
        entries = self._database.rows("SELECT name, ino, cookie, kind FROM dentry WHERE parent = ?", (mine,))
        for name, ino, cookie, kind in entries:
            self._tree.dentries.remove(mine, name)
            self._place(ino, Name(theirs, name), Place(cookie, kind), self._mine)
        self.dissolved.append(orphans.save(self._database, mine))
        self._tree.inodes.remove(mine)

    def _directory(self, ino: int) -> int:
        """Return a directory that exists, made again if it was removed; ``lost+found`` if nothing is known of it."""
        inode = self._tree.inodes.get(ino)
        if inode is not None and inode.is_directory:
            return ino
        for edits in (self._theirs.edits, self._mine.edits):
            row, name = edits.directories.get(ino), edits.former.get(ino)
            if row is not None and name is not None:
                version = Version(row, (), {}, {})
                versions.store(self._database, ino, version, None)
                self._place(ino, name, Place(self._numbers.take(), schema.DIRECTORY_KIND), self._mine)
                return ino
        return self._lost_and_found()

    def _lost_and_found(self) -> int:
        found = self._tree.dentries.lookup(ROOT_INO, LOST_AND_FOUND)
        if found is not None and found.is_directory:
            return found.ino
        root = self._tree.inodes.get(ROOT_INO)
        assert root is not None
        ino = self._numbers.take()
        self._tree.inodes.insert(ino, 0o40700, root.uid, root.gid, self._now_ns)
        place = Place(self._numbers.take(), schema.DIRECTORY_KIND)
        if found is None:
            self._insert(Name(ROOT_INO, LOST_AND_FOUND), ino, place)
        else:
            self._settle(ino, Name(ROOT_INO, LOST_AND_FOUND), place.kind, self._mine)
        return ino

    def _remove_empty(self) -> None:
        """Remove the directories that I removed, from the innermost on, but for those that something is in."""
        while empty := [ino for ino in self._emptied if not self._has_entries(ino)]:
            for ino in empty:
                self._remove(ino, self._emptied.pop(ino))

    # --- the shape of the tree ----------------------------------------------------------------------------------------

    def _has_entries(self, ino: int) -> bool:
        return not self._tree.dentries.is_empty(ino)

    def _house_strays(self) -> None:
        """Make directories again that one side removed while the other put something in."""
        for edits in (self._theirs.edits, self._mine.edits):
            for ino in sorted(edits.directories):
                if self._has_entries(ino):
                    self._directory(ino)

    def _break_cycles(self) -> None:
        """Take back renames of mine that would put a directory below itself, together with one of theirs."""
        for ino in sorted(self._mine.edits.moved):
            if not self._tree.dentries.is_below_itself(ino):
                continue
            for name in [self._mine.edits.former.get(ino), None]:
                at = self._tree.dentries.name_of(ino)
                assert at is not None
                cookie = self._tree.dentries.remove(*at)
                place = Place(cookie, schema.DIRECTORY_KIND)
                self._place(ino, name or Name(self._lost_and_found(), at[1]), place, self._mine)
                if not self._tree.dentries.is_below_itself(ino):
                    break


def _nothing(mine: Version, theirs: Version) -> Version:
    """Return what both began from where that was gone: a file that each of them brought back by itself."""
    row = list(theirs.row)
    row[CID] = theirs.cid if theirs.cid == mine.cid else -1
    return Version(tuple(row), (), {}, {})


def _less(names: Mapping[Name, Place], base: Version | None) -> dict[Name, Place]:
    """Return the names that the version both began from did not have."""
    known = base.names if base is not None else {}
    return {name: place for name, place in names.items() if name not in known}
