"""Two mounts of one store that change it at the same time."""

from storefs.model import ROOT_INO
from storefs.testing.world import listing, read, tables
from storefs.tree import check


class Pair:
    """Two mounts of one store: ``one`` commits first."""

    def __init__(self, world, one, two):
        self.world, self.one, self.two = world, one, two

    async def begin(self):
        """Commit what the first has made, and let the second see it."""
        await self.one.files.fsync()
        await self.two.engine.follower.poll()
        self.world.kernel.inodes.clear()
        self.world.kernel.entries.clear()

    async def meet(self):
        """Let both commit, and see that they agree on something that is a tree."""
        await self.one.files.fsync()
        await self.two.files.fsync()
        await self.one.engine.follower.poll()
        for volume in (self.one, self.two):
            assert list(check.faults(volume.engine.tree.database)) == []
            assert not volume.engine.tree.pending.count
            assert not volume.engine.read_only
        assert tables(self.one.engine.tree) == tables(self.two.engine.tree)

    async def files(self, parent=ROOT_INO, at=""):
        """Return the tree as the first has it: contents by path, None for directories."""
        found = {}
        for name in listing(self.one, parent):
            inode = self.one.names.lookup(parent, name.encode())
            if inode.is_directory:
                found[at + name] = None
                found |= await self.files(inode.ino, f"{at}{name}/")
            else:
                found[at + name] = await read(self.one, inode.ino)
        assert self.one.engine.tree.pending.count == 0
        return found


def conflict(name, volume, seq):
    return f"{name}.conflict-{volume.engine.writer.node}-{seq}"
