"""A volume beside the reference: each call is made on both, and both have to answer the same."""

import os
import stat
from collections.abc import Awaitable, Callable
from typing import Any

from storefs.errors import StorefsError
from storefs.model import ROOT_INO
from storefs.testing.reference.compare import check_attributes, check_file, check_nothing_else, check_tree, seek
from storefs.testing.reference.filesystem import EXCHANGE, NOREPLACE, Filesystem
from storefs.testing.reference.nodes import Listing, Moment, Node
from storefs.volume.attributes import Changes
from storefs.volume.caller import Caller
from storefs.volume.volume import Volume


class Beside:
    """The verbs, on both. Operands are numbers, taken modulo what there is: so every drawn call means something.

    Attributes:
        volume: the present mount; another one with each restart.
        reference: what it has to look like.
        inos: the volume's inode number of each of the reference's.
    """

    def __init__(self, volume: Volume, now_ns: Callable[[], int]) -> None:
        root = volume.attributes.get(ROOT_INO)
        self.volume = volume
        self.reference = Filesystem(root.mode, root.uid, root.gid, Moment(root.ctime_ns, root.ctime_ns))
        self.inos = {ROOT_INO: ROOT_INO}
        self._now_ns = now_ns
        self._listings: list[tuple[int, int, Listing]] = []

    async def both(self, actual: Callable[[], Any], wanted: Callable[[], Any]) -> tuple[Any, Any] | None:
        """Make a call on both; return both results, or None if both refused it, which must be for the same reason."""
        before_ns = self._now_ns() + 1
        refusals: list[int | None] = [None, None]
        answers: list[Any] = [None, None]
        try:
            answers[0] = actual()
            if isinstance(answers[0], Awaitable):
                answers[0] = await answers[0]
        except StorefsError as error:
            refusals[0] = error.errno
        self.reference.now = Moment(before_ns, self._now_ns())
        try:
            answers[1] = wanted()
        except OSError as error:
            refusals[1] = error.errno
        assert refusals[0] == refusals[1], [os.strerror(number) if number else "success" for number in refusals]
        return None if refusals[0] is not None else (answers[0], answers[1])

    def restarted(self, volume: Volume) -> None:
        """Take in that the mount ended, with all that was open, and is another one now."""
        self.volume = volume
        self.reference.let_all_go()
        self._listings.clear()

    def check_all_attributes(self) -> None:
        """Hold the attributes of every file against the reference's."""
        for ino, node in self.reference.nodes.items():
            check_attributes(self.volume.attributes.get(self.inos[ino]), self.reference, node)

    async def check(self, volume: Volume | None = None) -> None:
        """Hold everything against the reference; another ``volume`` has only what has a name."""
        await check_tree(volume or self.volume, self.reference, self.inos)
        nodes = self.reference.nodes.values()
        unnamed = [node for node in nodes if node.ino != ROOT_INO and not self.reference.names(node.ino)]
        if volume is None:
            for node in unnamed:
                await check_file(self.volume, self.reference, node, self.inos[node.ino])
            unnamed = []
        alive = {node.ino for node in nodes} - {node.ino for node in unnamed}
        check_nothing_else(volume or self.volume, [self.inos[ino] for ino in alive])

    # --- what the calls are about -------------------------------------------------------------------------------------

    def _pick(self, number: int, wanted: Callable[[Node], bool]) -> tuple[int, int] | None:
        """Return a file, if there is such a one, as (the reference's inode number, the volume's)."""
        found = [ino for ino, node in sorted(self.reference.nodes.items()) if wanted(node)]
        return (found[number % len(found)], self.inos[found[number % len(found)]]) if found else None

    def _any(self, number: int) -> tuple[int, int]:
        return self._pick(number, lambda _: True) or (ROOT_INO, ROOT_INO)

    def _directory(self, number: int) -> tuple[int, int]:
        return self._pick(number, lambda node: node.is_directory) or (ROOT_INO, ROOT_INO)

    def _regular(self, number: int) -> tuple[int, int] | None:
        return self._pick(number, lambda node: node.is_regular)

    def _entry(self, number: int) -> tuple[int, bytes]:
        """Return a name that exists, if there is one, as (directory, name)."""
        nodes = sorted(self.reference.nodes.items())
        found = [(ino, name) for ino, node in nodes for name in sorted(node.entries)]
        return found[number % len(found)] if found else (ROOT_INO, b"none")

    # --- names --------------------------------------------------------------------------------------------------------

    async def make(self, parent: int, name: bytes, mode: int) -> None:
        """Make a file of any kind."""
        ours, theirs = self._directory(parent)
        uid, gid = mode % 3, mode % 4
        rdev = 0x103 if stat.S_ISCHR(mode) else 0
        self._made(
            await self.both(
                lambda: self.volume.names.make(theirs, name, mode, Caller(uid, gid), rdev=rdev),
                lambda: self.reference.make(ours, name, mode, uid, gid, rdev),
            )
        )

    async def symlink(self, parent: int, name: bytes, length: int) -> None:
        """Make a symbolic link whose target is ``length`` bytes long."""
        ours, theirs = self._directory(parent)
        target = b"t" * length
        self._made(
            await self.both(
                lambda: self.volume.names.symlink(theirs, name, target, Caller(1, 2)),
                lambda: self.reference.symlink(ours, name, target, 1, 2),
            )
        )

    def _made(self, answers: tuple[Any, Any] | None) -> None:
        if answers is not None:
            inode, ino = answers
            assert inode.ino not in self.inos.values(), "an inode number was given out twice"
            self.inos[ino] = inode.ino
            check_attributes(inode, self.reference, self.reference.nodes[ino])

    async def link(self, file: int, parent: int, name: bytes) -> None:
        """Make another name for a file, of one in four attempts for whatever it is."""
        ours, theirs = (file % 4 and self._pick(file, lambda node: not node.is_directory)) or self._any(file)
        into, theirs_into = self._directory(parent)
        await self.both(
            lambda: self.volume.names.link(theirs, theirs_into, name), lambda: self.reference.link(ours, into, name)
        )

    async def remove(self, where: int, name: bytes | None, *, directory: bool) -> None:
        """Unlink or rmdir: ``name`` in a directory, or (None) a name that exists somewhere."""
        parent, found = self._entry(where) if name is None else (self._directory(where)[0], name)
        verb = "rmdir" if directory else "unlink"
        await self.both(
            lambda: getattr(self.volume.names, verb)(self.inos[parent], found),
            lambda: getattr(self.reference, verb)(parent, found),
        )

    async def rename(self, what: int, parent: int, name: bytes | None, flags: int) -> None:
        """Move a name that exists to ``name`` in a directory, or (None) to another name that exists somewhere."""
        source = self._entry(what)
        target = self._entry(parent) if name is None else (self._directory(parent)[0], name)
        one, other = (self.inos[source[0]], source[1]), (self.inos[target[0]], target[1])
        names, replace = self.volume.names, not flags & NOREPLACE
        await self.both(
            lambda: names.exchange(*one, *other) if flags & EXCHANGE else names.rename(*one, *other, replace=replace),
            lambda: self.reference.rename(*source, *target, flags),
        )

    def hold(self, file: int) -> None:
        """Open a file or directory."""
        self._hold(*self._any(file))

    def let_go(self, file: int) -> None:
        """Close a file or directory."""
        listed = {ours for ours, _, _ in self._listings}
        held = self._pick(file, lambda node: node.holders > 0 and node.ino not in {ROOT_INO, *listed})
        if held is not None:
            self._let_go(*held)

    def _hold(self, ours: int, theirs: int) -> None:
        self.volume.references.add(theirs)
        self.reference.hold(ours)

    def _let_go(self, ours: int, theirs: int) -> None:
        self.volume.names.forget(theirs, 1)
        self.reference.let_go(ours)

    def list(self, parent: int) -> None:
        """Begin to list a directory."""
        ours, theirs = self._directory(parent)
        self._hold(ours, theirs)
        self._listings.append((ours, 0, self.reference.list(ours)))

    def list_on(self, number: int, limit: int) -> None:
        """Go on with one of the listings."""
        if not self._listings:
            return
        ours, after, listing = self._listings.pop(number % len(self._listings))
        page = self.volume.names.page(self.inos[ours], after, limit)
        for dentry, inode in page:
            assert dentry.cookie > after, "cookies do not grow"
            assert dentry.ino == inode.ino
            after = dentry.cookie
            ino = self.reference.lookup(ours, dentry.name)
            assert ino is not None, f"{dentry.name!r} is listed and not there"
            assert self.inos[ino] == inode.ino
            assert (wrong := listing.tell(dentry.name, ino)) is None, wrong
            check_attributes(inode, self.reference, self.reference.nodes[ino])
        if page:
            self._listings.append((ours, after, listing))
        else:
            assert listing.missing() == []
            self._let_go(ours, self.inos[ours])

    # --- contents -----------------------------------------------------------------------------------------------------

    async def write(self, file: int, offset: int, data: bytes) -> None:
        """Write."""
        if found := self._regular(file):
            ours, theirs = found
            answers = await self.both(
                lambda: self.volume.files.write(theirs, offset, data), lambda: self.reference.write(ours, offset, data)
            )
            assert answers is None or answers[0] == answers[1]

    async def read(self, file: int, offset: int, length: int) -> None:
        """Read."""
        if found := self._regular(file):
            data = await self.volume.files.read(found[1], offset, length)
            assert bytes(data) == self.reference.read(found[0], offset, length)

    async def truncate(self, file: int, size: int) -> None:
        """Set the size."""
        ours, theirs = self._regular(file) or self._any(file)
        await self.both(
            lambda: self.volume.attributes.set(theirs, Changes(size=size)), lambda: self.reference.truncate(ours, size)
        )

    async def allocate(self, file: int, mode: int, offset: int, length: int) -> None:
        """Call fallocate."""
        if found := self._regular(file):
            ours, theirs = found
            await self.both(
                lambda: self.volume.files.allocate(theirs, mode, offset, length),
                lambda: self.reference.allocate(ours, mode, offset, length),
            )

    async def copy_range(self, source: int, offset: int, target: int, target_offset: int, length: int) -> None:
        """Copy bytes of one file to another, or within one: the volume may copy fewer than asked, but some."""
        found, into = self._regular(source), self._regular(target)
        if found is None or into is None:
            return
        copied = length

        async def copy() -> int:
            nonlocal copied
            copied = await self.volume.files.copy_range(found[1], offset, into[1], target_offset, length)
            return copied

        answers = await self.both(
            copy, lambda: self.reference.copy_range(found[0], offset, into[0], target_offset, copied)
        )
        if answers is not None:
            assert answers[0] == answers[1]
            assert copied or not length or offset >= self.reference.nodes[found[0]].size

    def seek(self, file: int, offset: int, whence: int) -> None:
        """Look for data or a hole."""
        if found := self._regular(file):
            answer = seek(self.volume, found[1], offset, whence)
            assert self.reference.nodes[found[0]].content.may_seek(offset, whence, answer), answer

    # --- attributes ---------------------------------------------------------------------------------------------------

    async def chmod(self, file: int, mode: int) -> None:
        """Set the permission bits."""
        ours, theirs = self._any(file)
        changes = Changes(mode=mode)
        await self.both(lambda: self.volume.attributes.set(theirs, changes), lambda: self.reference.chmod(ours, mode))

    async def chown(self, file: int, uid: int | None, gid: int | None) -> None:
        """Set owner and group."""
        ours, theirs = self._any(file)
        changes = Changes(uid=uid, gid=gid)
        await self.both(
            lambda: self.volume.attributes.set(theirs, changes), lambda: self.reference.chown(ours, uid, gid)
        )

    async def utimens(self, file: int, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set times."""
        ours, theirs = self._any(file)
        changes = Changes(atime_ns=atime_ns, mtime_ns=mtime_ns)
        await self.both(
            lambda: self.volume.attributes.set(theirs, changes),
            lambda: self.reference.utimens(ours, atime_ns, mtime_ns),
        )

    async def set_xattr(self, file: int, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        ours, theirs = self._any(file)
        await self.both(
            lambda: self.volume.attributes.set_xattr(theirs, name, value),
            lambda: self.reference.set_xattr(ours, name, value),
        )

    async def get_xattr(self, file: int, name: bytes) -> None:
        """Get an extended attribute."""
        ours, theirs = self._any(file)
        answers = await self.both(
            lambda: self.volume.attributes.get_xattr(theirs, name), lambda: self.reference.get_xattr(ours, name)
        )
        assert answers is None or answers[0] == answers[1]

    async def remove_xattr(self, file: int, name: bytes) -> None:
        """Remove an extended attribute."""
        ours, theirs = self._any(file)
        await self.both(
            lambda: self.volume.attributes.remove_xattr(theirs, name), lambda: self.reference.remove_xattr(ours, name)
        )
