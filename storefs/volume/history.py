"""History: the trees of named snapshots as files, read-only, with inode numbers of their own."""

import errno
from dataclasses import dataclass, field, replace

from storefs.engine.engine import Engine
from storefs.engine.past import Past
from storefs.errors import PosixError
from storefs.model import ROOT_INO, Buffer, Dentry, Inode

FIRST_INO = 1 << 63
"""Inode numbers from here on belong to past trees: those of the present one stay below."""

_TREE_BITS = 40
"""So many bits number the inodes of one past tree; the bits above, the tree."""


def is_past(ino: int) -> bool:
    """Whether an inode is one of a past tree."""
    return ino >= FIRST_INO


@dataclass(slots=True)
class _Numbered:
    """A past tree, and the numbers that its inodes have here, in the order in which they were met."""

    past: Past
    first: int
    known: list[int] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)

    def number(self, ino: int) -> int:
        if ino not in self.numbers:
            self.numbers[ino] = self.first + len(self.known)
            self.known.append(ino)
        return self.numbers[ino]


class History:
    """The verbs on past trees. All inode numbers are those of this mount."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._trees: list[_Numbered] = []

    async def names(self) -> list[bytes]:
        """Return the names of all snapshots, sorted. Raises the store's errors."""
        return sorted(name.encode() for name in await self._engine.pasts.names())

    async def root(self, name: bytes) -> Inode | None:
        """Return the root directory of a snapshot, or None when there is no such."""
        past = await self._engine.pasts.open(name.decode(errors="replace"))
        if past is None:
            return None
        one = next((tree for tree in self._trees if tree.past is past), None)
        if one is None:
            one = _Numbered(past, FIRST_INO | len(self._trees) << _TREE_BITS)
            self._trees.append(one)
        return self.get(one.number(ROOT_INO))

    def get(self, ino: int) -> Inode:
        """Return an inode. Raises PosixError (ENOENT)."""
        one, inner = self._find(ino)
        inode = one.past.tree.inodes.get(inner)
        if inode is None:
            raise PosixError(errno.ENOENT, f"inode {ino}")
        return replace(inode, ino=ino)

    def lookup(self, parent: int, name: bytes) -> Inode | None:
        """Return where a name leads, or None."""
        one, inner = self._find(parent)
        inode = one.past.tree.dentries.lookup(inner, name)
        return replace(inode, ino=one.number(inode.ino)) if inode is not None else None

    def parent(self, directory: int) -> int:
        """Return the directory that holds a directory; that of a past root is itself."""
        one, inner = self._find(directory)
        name = one.past.tree.dentries.name_of(inner)
        return one.number(name[0]) if name is not None else directory

    def page(self, directory: int, after: int, limit: int) -> list[tuple[Dentry, Inode]]:
        """Return up to ``limit`` entries behind the cookie ``after``."""
        one, inner = self._find(directory)
        found = []
        for dentry, inode in one.past.tree.dentries.page(inner, after, limit):
            number = one.number(inode.ino)
            found.append((replace(dentry, ino=number), replace(inode, ino=number)))
        return found

    def blocks(self, ino: int) -> int:
        """Return how many units of 512 bytes a file's data takes."""
        one, inner = self._find(ino)
        return -(-one.past.tree.extents.allocated(inner) // 512)

    def target(self, ino: int) -> bytes:
        """Return what a symbolic link points to."""
        one, inner = self._find(ino)
        return one.past.tree.inodes.target(inner)

    def xattr(self, ino: int, name: bytes) -> bytes:
        """Return an extended attribute. Raises PosixError (ENODATA)."""
        one, inner = self._find(ino)
        value = one.past.tree.xattrs.get(inner, name)
        if value is None:
            raise PosixError(errno.ENODATA)
        return value

    def xattrs(self, ino: int) -> list[bytes]:
        """Return the names of extended attributes."""
        one, inner = self._find(ino)
        return one.past.tree.xattrs.names(inner)

    async def read(self, ino: int, offset: int, length: int) -> list[Buffer]:
        """Return up to ``length`` bytes from ``offset`` on, in pieces. Raises the store's errors, Corrupt."""
        one, inner = self._find(ino)
        size = one.past.tree.inodes.size(inner) or 0
        end = min(offset + length, size)
        if end <= offset:
            return []
        parts = one.past.reader.now(inner, offset, end, size)
        return parts if parts is not None else await one.past.reader.read(inner, offset, end, size)

    def _find(self, ino: int) -> tuple[_Numbered, int]:
        number = (ino - FIRST_INO) >> _TREE_BITS
        index = ino & ((1 << _TREE_BITS) - 1)
        if number >= len(self._trees) or index >= len(self._trees[number].known):
            raise PosixError(errno.ENOENT, f"inode {ino}")
        return self._trees[number], self._trees[number].known[index]
