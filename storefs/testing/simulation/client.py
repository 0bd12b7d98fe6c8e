"""A client of a mount: draws one call after the other, makes it, and notes what it did in the history.

Between its look at a file's content and the change that it makes there is no await, so that it knows which version the
change was made of.
"""

import errno
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from storefs.errors import NotCommitted, PosixError, StoreUnavailable
from storefs.model import ROOT_INO, Dentry, Inode
from storefs.testing.simulation.history import UNIT, History, Violation, fill
from storefs.testing.simulation.machine import Machine
from storefs.testing.simulation.trace import Trace
from storefs.testing.world import CALLER, FILE_MODE, FOLDER_MODE
from storefs.volume.attributes import Changes
from storefs.volume.volume import Volume

PUBLISHED = b"published"
"""A directory in which files appear only whole."""

_NAMES = (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h")
_LEVELS = 2
_XATTRS = (b"user.a", b"user.b")
_LENGTHS = (1, 3, 3, 20, 20, 100, 200, 400)
_REACH = 300


class Client:
    """A process that works on one mount."""

    def __init__(self, machine: Machine, volume: Volume, history: History, trace: Trace, nursery: trio.Nursery) -> None:
        self._machine = machine
        self._volume = volume
        self._dice: random.Random = machine.dice
        self._history = history
        self._trace = trace
        self._nursery = nursery
        self._held: list[int] = []
        self._calls: list[tuple[int, Callable[[], Awaitable[object]]]] = [
            (10, self._create), (24, self._write), (5, self._truncate), (8, self._unlink), (5, self._make_directory),
            (4, self._remove_directory), (12, self._rename), (3, self._exchange), (3, self._link), (1, self._symlink),
            (3, self._change_mode), (2, self._set_times), (3, self._set_xattr), (2, self._remove_xattr),
            (3, self._fsync), (3, self._fsync_beside), (4, self._copy_range), (5, self._open), (4, self._forget),
            (5, self._flush), (5, self._read), (2, self._poll), (6, self._publish), (5, self._look_at_published),
        ]  # fmt: skip

    async def step(self) -> None:
        """Make one call."""
        weights = [weight for weight, _ in self._calls]
        ((_, call),) = self._dice.choices(self._calls, weights)
        name = call.__name__.strip("_")
        try:
            await self._alive()
            result = await call()
        except PosixError as error:
            self._trace.note(self._machine.number, name, errno.errorcode[error.errno])
        except (StoreUnavailable, NotCommitted) as error:
            self._trace.note(self._machine.number, name, type(error).__name__)
        else:
            self._trace.note(self._machine.number, name, result)

    # --- names --------------------------------------------------------------------------------------------------------

    async def _create(self) -> object:
        parent, name = self._new()
        inode = self._volume.names.make(parent, name, FILE_MODE, CALLER)
        await self._write_to(inode.ino)
        if self._perhaps(0.5):
            self._volume.files.flush(inode.ino)
        return parent, name, inode.ino

    async def _make_directory(self) -> object:
        parent, name = self._new()
        return parent, name, self._volume.names.make(parent, name, FOLDER_MODE, CALLER).ino

    async def _symlink(self) -> object:
        parent, name = self._new()
        return parent, name, self._volume.names.symlink(parent, name, b"to", CALLER).ino

    async def _link(self) -> object:
        ino = self._file()
        parent, name = self._new()
        self._volume.names.link(ino, parent, name)
        return ino, parent, name

    async def _unlink(self) -> object:
        parent, name, _ = self._old()
        await self._removing(parent, name)
        return parent, name, self._volume.names.unlink(parent, name)

    async def _remove_directory(self) -> object:
        parent, name, _ = self._old(directory=True)
        return parent, name, self._volume.names.rmdir(parent, name)

    async def _rename(self) -> object:
        parent, name, _ = self._old(directory=self._perhaps(0.3) or None)
        to, new = self._new() if self._perhaps(0.7) else self._old()[:2]
        await self._removing(to, new, unless=(parent, name))
        self._volume.names.rename(parent, name, to, new)
        return parent, name, to, new

    async def _exchange(self) -> object:
        (parent, name, _), (other, second, _) = self._old(), self._old()
        self._volume.names.exchange(parent, name, other, second)
        return parent, name, other, second

    async def _removing(self, parent: int, name: bytes, unless: tuple[int, bytes] | None = None) -> None:
        """Note what goes with a name that is about to be removed, or replaced by ``unless``."""
        while (inode := self._volume.names.lookup(parent, name)) is not None and inode.is_regular:
            moved = self._volume.names.lookup(*unless) if unless is not None else None
            if unless is not None and (moved is None or moved.ino == inode.ino or moved.is_directory):
                return
            with self._holding(inode.ino):
                content = await self._content(inode.ino)
                if self._is(parent, name, inode.ino):
                    self._history.remove(self._machine.number, inode.ino, content)
                    return

    def _is(self, parent: int, name: bytes, ino: int) -> bool:
        now = self._volume.names.lookup(parent, name)
        return now is not None and now.ino == ino

    # --- contents -----------------------------------------------------------------------------------------------------

    async def _write(self) -> object:
        ino = self._file()
        with self._holding(ino):
            return ino, await self._write_to(ino)

    async def _write_to(self, ino: int) -> object:
        before = await self._content(ino)
        units = self._dice.choice(_LENGTHS)
        offset = self._dice.choice((0, len(before) // UNIT, self._dice.randrange(_REACH))) * UNIT
        number = self._history.number(self._machine.number)
        data = fill(self._machine.number, number, units * UNIT)
        orphan = self._volume.engine.tree.local.is_orphan(ino)
        await self._volume.files.write(ino, offset, data)
        after = _over(before, offset, data)
        self._history.change(self._machine.number, ino, before, [after], owed=not orphan)
        self._expect(ino, after)
        return number, offset, len(data)

    async def _truncate(self) -> object:
        ino = self._file()
        size = self._dice.choice((0, self._dice.randrange(_REACH))) * UNIT
        with self._holding(ino):
            before = await self._content(ino, settled=True)
            await self._volume.attributes.set(ino, Changes(size=size))
            after = before[:size].ljust(size, b"\0")
            self._history.change(self._machine.number, ino, before, [after], owed=False)
            self._expect(ino, after)
        return ino, size

    async def _copy_range(self) -> object:
        source, target = self._file(), self._file()
        if source == target:
            return "same"
        start, offset = (self._dice.choice((0, self._dice.randrange(_REACH))) * UNIT for _ in range(2))
        with self._holding(source), self._holding(target):
            while True:
                taken = await self._content(source, settled=True)
                before = await self._content(target, settled=True)
                if self._now(source) == taken and not self._cutting(source):
                    break
            length = await self._volume.files.copy_range(
                source, start, target, offset, self._dice.randrange(_REACH) * UNIT
            )
            if length:
                data = taken[start : start + length]
                # What is cut of the source is there at once, what is staged of it follows when that is cut again.
                older = [one.content for one in self._history.see(self._machine.number, source, taken).line()]
                pieces = [one[start : start + length].ljust(length, b"\0") for one in reversed(older)]
                steps = [_over(before, offset, piece) for piece in (bytes(length), *pieces, data)]
                self._history.change(self._machine.number, target, before, steps, owed=False)
                self._expect(target, steps[-1])
        return source, start, target, offset, length

    async def _read(self) -> object:
        ino = self._file()
        with self._holding(ino):
            content = await self._content(ino)
            self._history.see(self._machine.number, ino, content)
        return ino, len(content)

    async def _publish(self) -> object:
        """Write a file, close it, and rename it into place, as programs do that want no half of it to be seen."""
        folder = self._published()
        number = self._history.number(self._machine.number)
        data = fill(self._machine.number, number, self._dice.choice(_LENGTHS) * UNIT)
        fresh, name = b".%d-%d" % (self._machine.number, number), self._dice.choice(_NAMES)
        ino = self._volume.names.make(folder, fresh, FILE_MODE, CALLER).ino
        with self._holding(ino):
            await self._volume.files.write(ino, 0, data)
            self._history.change(self._machine.number, ino, b"", [data], owed=True)
            self._history.publish(data)
            await self._volume.files.close(ino)
            await self._removing(folder, name, unless=(folder, fresh))
            self._volume.names.rename(folder, fresh, folder, name)
        return number, name, len(data)

    async def _look_at_published(self) -> object:
        found = self._volume.names.page(self._published(), 0, 1000)
        for dentry, inode in found:
            if not dentry.name.startswith(b"."):
                with self._holding(inode.ino):
                    content = await self._content(inode.ino)
                self._history.see_published(self._machine.number, inode.ino, content)
        return len(found)

    def _published(self) -> int:
        found = self._volume.names.lookup(ROOT_INO, PUBLISHED)
        assert found is not None
        return found.ino

    async def _flush(self) -> object:
        ino = self._file()
        self._volume.files.flush(ino)
        return ino

    async def _content(self, ino: int, *, settled: bool = False) -> bytes:
        """Return a file's content as the mount shows it at this moment. ``settled``: while nothing of it is cut."""
        while True:
            draft = self._volume.engine.drafts.get(ino)
            if settled and draft is not None and draft.cutting:
                await draft.settled.wait()
            elif (now := self._now(ino)) is not None:
                await self._alive()
                return now
            else:
                await self._volume.files.read(ino, 0, self._volume.attributes.size(ino))

    def _cutting(self, ino: int) -> bool:
        draft = self._volume.engine.drafts.get(ino)
        return draft is not None and bool(draft.cutting)

    def _now(self, ino: int) -> bytes | None:
        """Return a file's content if no byte of it has to be fetched."""
        if not self._volume.attributes.get(ino).is_regular:
            raise PosixError(errno.EINVAL)
        parts = self._volume.files.read_now(ino, 0, self._volume.attributes.size(ino))
        return None if parts is None else b"".join(parts)

    def _expect(self, ino: int, content: bytes) -> None:
        now = self._now(ino)
        if now is not None and now != content:
            raise Violation(f"mount {self._machine.number} does not show in inode {ino:#x} what it just did")

    # --- attributes ---------------------------------------------------------------------------------------------------

    async def _change_mode(self) -> object:
        inode = self._old()[2]
        mode = self._dice.choice((0o600, 0o640, 0o644))
        await self._volume.attributes.set(inode.ino, Changes(mode=mode))
        return inode.ino, mode

    async def _set_times(self) -> object:
        inode = self._old()[2]
        time_ns = self._dice.randrange(2_000_000_000) * 10**9
        await self._volume.attributes.set(inode.ino, Changes(mtime_ns=time_ns))
        return inode.ino, time_ns

    async def _set_xattr(self) -> object:
        inode, name = self._old()[2], self._dice.choice(_XATTRS)
        self._volume.attributes.set_xattr(inode.ino, name, self._dice.randbytes(2))
        return inode.ino, name

    async def _remove_xattr(self) -> object:
        inode, name = self._old()[2], self._dice.choice(_XATTRS)
        self._volume.attributes.remove_xattr(inode.ino, name)
        return inode.ino, name

    # --- the store ----------------------------------------------------------------------------------------------------

    async def _fsync(self) -> object:
        mark = self._history.mark()
        await self._volume.files.fsync()
        await self._alive()
        self._history.synced(self._machine.number, mark)
        return "done"

    async def _fsync_beside(self) -> object:
        """Let an fsync run while other calls come, or while the machine crashes."""
        hops = self._dice.choice((2, 5, 9, 15, 25, 40))

        async def sync() -> None:
            try:
                await self._fsync()
            except (StoreUnavailable, NotCommitted):
                self._trace.note(self._machine.number, "fsync beside failed")

        self._nursery.start_soon(sync)
        for _ in range(hops):
            await trio.lowlevel.checkpoint()
        return hops

    async def _poll(self) -> object:
        return await self._volume.engine.follower.poll()

    # --- references ---------------------------------------------------------------------------------------------------

    async def _open(self) -> object:
        inode = self._old(directory=None)[2]
        self._volume.references.add(inode.ino)
        self._held.append(inode.ino)
        return inode.ino

    async def _forget(self) -> object:
        if not self._held:
            return "nothing"
        ino = self._held.pop(self._dice.randrange(len(self._held)))
        self._volume.names.forget(ino, 1)
        return ino

    @contextmanager
    def _holding(self, ino: int) -> Iterator[None]:
        """Hold a file as the kernel does during a call."""
        self._volume.references.add(ino)
        try:
            yield
        finally:
            if not self._machine.is_down:
                self._volume.names.forget(ino, 1)

    def let_go(self) -> None:
        """Forget all that is open."""
        while self._held:
            self._volume.names.forget(self._held.pop(), 1)

    # --- what to do it to ---------------------------------------------------------------------------------------------

    async def _alive(self) -> None:
        """Go no further if the machine has crashed."""
        if self._machine.is_down:
            await trio.sleep_forever()

    def _perhaps(self, chance: float) -> bool:
        return self._dice.random() < chance

    def _directory(self) -> int:
        at = ROOT_INO
        for _ in range(_LEVELS):
            below = [inode.ino for _, inode in self._entries(at) if inode.is_directory]
            if not below or self._perhaps(0.4):
                break
            at = self._dice.choice(below)
        return at

    def _entries(self, parent: int) -> list[tuple[Dentry, Inode]]:
        """Return what of a directory anything may be done to."""
        return [one for one in self._volume.names.page(parent, 0, 1000) if one[0].name != PUBLISHED]

    def _new(self) -> tuple[int, bytes]:
        return self._directory(), self._dice.choice(_NAMES)

    def _old(self, *, directory: bool | None = False) -> tuple[int, bytes, Inode]:
        """Return (parent, name, inode) of a name that exists. Raises PosixError."""
        parent = self._directory()
        found = [
            (parent, dentry.name, inode)
            for dentry, inode in self._entries(parent)
            if directory is None or inode.is_directory == directory
        ]
        if not found:
            raise PosixError(errno.ENOENT)
        return self._dice.choice(found)

    def _file(self) -> int:
        """Return a regular file: one that is open, or one with a name. Raises PosixError."""
        tree = self._volume.engine.tree
        if self._held and self._perhaps(0.3):
            ino = self._dice.choice(self._held)
            found = tree.inodes.get(ino)
            if found is not None and found.is_regular:
                return ino
        inode = self._old()[2]
        if not inode.is_regular:
            raise PosixError(errno.EINVAL)
        return inode.ino


def _over(content: bytes, offset: int, data: bytes) -> bytes:
    """Return a content with a write over it."""
    return content[:offset].ljust(offset, b"\0") + data + content[offset + len(data) :]
