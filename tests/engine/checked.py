"""A store with some files, to be damaged and looked at."""

import shutil

from storefs.core import commitheader, keys
from storefs.core.commitheader import CommitHeader
from storefs.engine import accounts
from storefs.engine.fsck import Fsck
from storefs.engine.reindex import Reindex
from storefs.shard import codec
from storefs.testing.world import (
    find,
    noise,
    put_file,
    read,
    with_limits,
)
from storefs.tree import schema

LIMITS = with_limits(snapshot_commits_unmount=3, idle_s=1)


WRITES = ("put", "put_if_absent", "put_if_match", "delete")


def writes(world):
    return [one for one in world.store.requests if one.operation in WRITES]


def quiet(_what, _done, _total):
    pass


class Checked:
    """A store with some files, and what can be done to it and asked of it."""

    def __init__(self, world, tmp_path, seed):
        self.world, self.tmp_path, self.seed = world, tmp_path, seed
        self.contents = {}
        self._folders = 0

    def folder(self):
        self._folders += 1
        folder = self.tmp_path / f"look-{self._folders}"
        folder.mkdir()
        return folder

    async def fill(self, disk="one", names="abcdef", limits=LIMITS):
        """Commit a file at a time, from one mount that ends cleanly."""
        async with self.world.engine_at(self.tmp_path / disk, limits) as volume:
            for number, name in enumerate(names):
                self.contents[name] = noise(f"{self.seed}/{name}", 3_000 + 9_000 * number)
                await put_file(volume, name, self.contents[name])
                await volume.files.fsync()
            await volume.engine.finish(60)

    async def check(self, *, reindex=None, **wishes):
        folder = self.folder()
        checking = Fsck(self.world.store, self.world.offload, folder, quiet, reindex=reindex, **wishes)
        try:
            return await checking.run()
        finally:
            shutil.rmtree(folder)

    def reindex(self):
        return Reindex(self.world.store, self.world.offload, self.world.clock, self.world.chance, "here")

    async def faults(self, **wishes):
        return (await self.check(**wishes)).faults

    async def accounts(self):
        return await accounts.take(self.world.store, self.world.offload, self.folder(), quiet)

    async def keys(self, prefix):
        return [info.key for info in await self.world.memory.list_after(prefix)]

    async def flip(self, key, at):
        """Change one bit of an object."""
        content = bytearray(await self.world.memory.get(key))
        content[at] ^= 1 << (self.seed % 8)
        await self.world.memory.put(key, bytes(content))

    async def tree(self):
        return await self.world.replica(self.folder() / "tree.sqlite")

    async def shard_of(self, name):
        """Return the key of the shard that has the beginning of a file."""
        tree = await self.tree()
        extent = tree.extents.all(tree.dentries.lookup(1, name.encode()).ino)[0]
        info = tree.chunks.shard(tree.chunks.place(extent.chunk).shard)
        tree.close()
        return keys.shard(info.shard, info.day)

    async def commit(self, *statements):
        """Put a commit that a mount would never make."""
        tree = await self.tree()
        at = tree.local.position
        with tree.pending.recorded():
            for sql, *bindings in statements:
                tree.database.run(sql, tuple(bindings))
        (changes,) = tree.pending.read(0, tree.pending.last)
        tree.close()
        body = codec.compress(changes)
        header = CommitHeader(
            schema.SCHEMA_VERSION, at.seq + 1, 77, bytes(16), noise(self.seed, 16), 1, 1, 0, schema.fingerprint(),
            at.nonce, commitheader.link(at.chain, changes), len(changes), len(body),
        )  # fmt: skip
        await self.world.memory.put_if_absent(keys.journal(header.seq), commitheader.pack(header, body))

    async def reads(self, disk):
        """Read everything through a new mount."""
        async with self.world.engine_at(self.tmp_path / disk, LIMITS, ro=True) as volume:
            for name, content in self.contents.items():
                assert await read(volume, find(volume, name)) == content
