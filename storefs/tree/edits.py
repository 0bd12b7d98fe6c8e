"""Edits: what a changeset does to the tree, read from it without applying it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import apsw

from storefs.tree import schema
from storefs.tree.versions import MODE, Name, Row


@dataclass(slots=True)
class Edits:
    """What a changeset touches.

    Attributes:
        mentioned: inodes whose row, content, attributes or names change, and directories in which a name does.
        contents: inodes whose content changes, or goes.
        names: the names that appear, go, or lead elsewhere; ``renewed`` those that went and came back, to the same
            inode: it is the one thing that a changeset changes and does not mention.
        created: inodes that are made.
        removed: inodes that go.
        directories: the rows of those that are directories.
        moved: directories that get another name.
        former: the names that directories lose, by inode.
        chunks: chunks whose place is added, changed or taken away; ``dropped_chunks`` the rows of the last.
        shards: shards whose row is; ``dropped_shards`` the rows of those that are taken away.
    """

    mentioned: set[int] = field(default_factory=set)
    contents: set[int] = field(default_factory=set)
    names: set[Name] = field(default_factory=set)
    renewed: set[Name] = field(default_factory=set)
    created: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)
    directories: dict[int, Row] = field(default_factory=dict)
    moved: set[int] = field(default_factory=set)
    former: dict[int, Name] = field(default_factory=dict)
    chunks: set[bytes] = field(default_factory=set)
    dropped_chunks: dict[bytes, Row] = field(default_factory=dict)
    shards: set[bytes] = field(default_factory=set)
    dropped_shards: dict[bytes, Row] = field(default_factory=dict)


def read(changes: bytes) -> Edits:
    """Read what a changeset touches."""
    edits = Edits()
    for change in apsw.Changeset.iter(changes):
        old: Any = change.old
        new: Any = change.new
        key = new if old is None else old
        if change.name == "inode":
            _read_inode(edits, old, new)
        elif change.name == "extent":
            edits.mentioned.add(key[0])
            edits.contents.add(key[0])
        elif change.name == "xattr":
            edits.mentioned.add(key[0])
        elif change.name == "dentry":
            _read_dentry(edits, Name(key[0], bytes(key[1])), old, new)
        elif change.name == "chunk":
            edits.chunks.add(bytes(key[0]))
            if new is None:
                edits.dropped_chunks[bytes(key[0])] = tuple(old)
        elif change.name == "shard":
            edits.shards.add(bytes(key[0]))
            if new is None:
                edits.dropped_shards[bytes(key[0])] = tuple(old)
    edits.moved -= edits.created
    return edits


def _read_inode(edits: Edits, old: Any, new: Any) -> None:
    ino = int((new if old is None else old)[0])
    edits.mentioned.add(ino)
    if old is None:
        edits.created.add(ino)
    elif new is None:
        edits.removed.add(ino)
        edits.contents.add(ino)
        if old[MODE] >> 12 == schema.DIRECTORY_KIND:
            edits.directories[ino] = tuple(old)
    elif isinstance(new[5], int):
        edits.contents.add(ino)


def _read_dentry(edits: Edits, name: Name, old: Any, new: Any) -> None:
    edits.names.add(name)
    edits.mentioned.add(name.parent)
    if old is not None and new is not None and not isinstance(new[2], int):
        edits.renewed.add(name)
    for side in (old, new):
        # In an UPDATE, columns that did not change are left out.
        if side is not None and isinstance(side[2], int):
            edits.mentioned.add(side[2])
    if old is not None and isinstance(old[2], int) and old[4] in (schema.DIRECTORY_KIND, apsw.no_change):
        edits.former[old[2]] = name
    if new is not None and isinstance(new[2], int) and new[4] in (schema.DIRECTORY_KIND, apsw.no_change):
        edits.moved.add(new[2])


def without(changes: bytes, drop: Callable[[apsw.TableChange], bool]) -> bytes:
    """Return a changeset without some of its rows."""
    builder = apsw.ChangesetBuilder()  # type: ignore[no-untyped-call]
    try:
        for change in apsw.Changeset.iter(changes):
            if not drop(change):
                builder.add_change(change)
        return builder.output()
    finally:
        builder.close()


def targets(change: apsw.TableChange) -> set[int]:
    """Return the inodes that a changed dentry led to and leads to."""
    sides: tuple[Any, Any] = (change.old, change.new)
    return {side[2] for side in sides if side is not None and isinstance(side[2], int)}
